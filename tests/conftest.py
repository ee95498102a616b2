"""What all tests share: property tests try the same examples each time, so that a run speaks of the change.

`HYPOTHESIS_PROFILE=search` tries others, ten times as many.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
