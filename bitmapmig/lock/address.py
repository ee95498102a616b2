"""URL of a coordination service -> what is asked of it, and what its driver is told."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from urllib.parse import SplitResult, parse_qs, urlsplit

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError, Where

#: Seconds that a service keeps the lock of a holder who gives no sign of life: thrice what a QMP command may take.
LEASE = 30
#: Seconds that a service may take for one answer.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of service: how its URL is written, the packages that its driver needs, and the port to try first.

    Without a port its driver itself is quick to say that nothing is there.
    """

    syntax: str
    packages: tuple[str, ...]
    port: int | None = None


SCHEMES: dict[str, Scheme] = {
    "file": Scheme("file:///FOLDER", ("tooz",)),
    "redis": Scheme("redis://HOST:PORT", ("tooz", "redis"), 6379),
    "etcd3+http": Scheme("etcd3+http://HOST:PORT", ("tooz", "etcd3gw"), 2379),
    "etcd3+https": Scheme("etcd3+https://HOST:PORT", ("tooz", "etcd3gw"), 2379),
    "zookeeper": Scheme("zookeeper://HOST:PORT", ("tooz", "kazoo")),
}


@dataclass(frozen=True, slots=True)
class Address:
    """A service: `url` as it was given, which may hold a password, and `shown`, which holds none."""

    url: str
    shown: str
    kind: str
    place: tuple[str, int] | str | None  #: where to try first whether anything listens: on TCP, or a unix socket
    folder: str | None  #: of `file://`
    lease: int  #: seconds
    options: dict[str, str]  #: these come before those of the URL

    @property
    def scheme(self) -> Scheme:
        """What is known of its kind."""
        return SCHEMES[self.kind]


def parse(url: str) -> Address:
    """The service that `url` names. Raises `CannotRunError` (BM753) where it names none."""
    try:
        parts = urlsplit(url)
        scheme = SCHEMES.get(parts.scheme)
        if scheme is not None:
            return _address(url, parts, scheme)
        reason = f"its scheme is none of {', '.join(one.syntax for one in SCHEMES.values())}"
    except ValueError as error:
        reason = str(error)
    raise CannotRunError(codes.LOCK_URL_MALFORMED.at(Where(), url=_shown(url), reason=reason))


def _address(url: str, parts: SplitResult, scheme: Scheme) -> Address:
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    lease = _seconds(given, "lock_timeout", _seconds(given, "timeout", LEASE))
    options = {"executor": "sync"}
    folder = None
    if parts.scheme == "file":
        # the driver takes `file://a/b` for /b
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise ValueError("a folder is written with its whole path, as file:///var/lock/vms")
        folder = parts.path
        options["timeout"] = str(lease)
    elif parts.scheme == "redis":
        options |= {"lock_timeout": str(lease), "membership_timeout": str(lease)}
        options |= {name: str(PATIENCE) for name in ("socket_timeout", "socket_connect_timeout") if name not in given}
    elif parts.scheme.startswith("etcd3"):
        # both leases end together, so that one tells of the other
        options |= {"lock_timeout": str(lease), "membership_timeout": str(lease), "timeout": str(ceil(PATIENCE))}
    place = _place(parts, scheme)
    return Address(url, _shown(url), parts.scheme, place, folder, lease, options)


def _place(parts: SplitResult, scheme: Scheme) -> tuple[str, int] | str | None:
    if scheme.port is None:
        if parts.scheme == "zookeeper" and not parts.netloc:
            raise ValueError("no host follows")
        return None
    if parts.hostname:
        return parts.hostname, parts.port or scheme.port
    if parts.scheme == "redis" and parts.path:
        return parts.path
    raise ValueError("no host follows")


def _seconds(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= len("86400") and int(text) > 0:
        return int(text)
    message = f"{name} is no whole number of seconds from 1 on"
    raise ValueError(message)


def _shown(url: str) -> str:
    """Without user, password and options, among which there may be more passwords."""
    head, colon, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{head}{colon}{host.rpartition('@')[2]}{slash}{path}".encode(errors="backslashreplace").decode()
