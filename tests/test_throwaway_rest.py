"""What a throw-away QEMU has printed, as it is told."""

from __future__ import annotations

from bitmapmig.throwaway.rest import lines


def test_a_line_of_a_log_tells_nothing_of_the_host() -> None:
    """Neither the path of the program nor that of the folder is in it; what is no program stays."""
    log = "/opt/qemu-system-x86_64: cannot open /tmp/own/disk0\n\nqemu-kvm: a: b\nplain text: more\n"
    assert lines(log, "/tmp/own/") == ("cannot open .../disk0", "a: b", "plain text: more")
