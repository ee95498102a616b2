"""The exit codes that this version gives; 1 is never deliberate, it means a bug."""

DONE = 0
COULD_NOT_RUN = 2  #: wrong usage, an unreadable file, an unreachable or misbehaving QEMU
REFUSED = 3
STALE = 4  #: the plan does not fit what is there any more
VERIFICATION_FAILED = 5  #: what was planned did not arrive, or it is not proven and had to be
LOCK_HELD = 6  #: another process writes to this VM
INTERRUPTED = 130  #: what shells make of an interrupt
