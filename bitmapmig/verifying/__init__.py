"""A plan and what both ends show after the migration -> a verdict on every bitmap, with the proof that it rests on."""

from bitmapmig.verifying.document import Difference, Proof, VerificationFailed, Verified, VerifiedBitmap, VerifiedEnd
from bitmapmig.verifying.judge import Gone, judge
from bitmapmig.verifying.seen import Seen
from bitmapmig.verifying.verifier import verify

__all__ = [
    "Difference",
    "Gone",
    "Proof",
    "Seen",
    "VerificationFailed",
    "Verified",
    "VerifiedBitmap",
    "VerifiedEnd",
    "judge",
    "verify",
]
