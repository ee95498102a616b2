"""The user's wishes + resolved bitmaps -> a decision for each: migrate, leave behind, or refused."""

from bitmapmig.policy import fragment
from bitmapmig.policy.decide import Decision, decide
from bitmapmig.policy.model import Policy
from bitmapmig.policy.place import place, words

__all__ = ["Decision", "Policy", "decide", "fragment", "place", "words"]
