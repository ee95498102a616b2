"""A plan, after its migration -> both ends without what it had set on them."""

from bitmapmig.finishing.document import Finished, FinishRefused
from bitmapmig.finishing.finisher import finish

__all__ = ["FinishRefused", "Finished", "finish"]
