"""`python -m bitmapmig` is the command `bitmapmig`."""

import sys

from bitmapmig.cli import main

sys.exit(main())
