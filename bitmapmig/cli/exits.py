"""The exit codes that this version gives; 1 is never deliberate, it means a bug."""

DONE = 0
COULD_NOT_RUN = 2  #: wrong usage, an unreadable file, an unreachable or misbehaving QEMU
REFUSED = 3
INTERRUPTED = 130  #: what shells make of an interrupt
