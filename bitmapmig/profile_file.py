"""Path -> Profile: the document that `bitmapmig selftest` wrote of one QEMU, read with findings where it is none."""

from __future__ import annotations

from bitmapmig import codes, json_document
from bitmapmig.diagnostics import CannotRunError, Where
from bitmapmig.json_document import AnotherVersionError, MalformedError, UnreadableError
from bitmapmig.profile import Profile

#: Bytes of the largest profile that is read; an experiment takes some thousand at most.
FILE_LIMIT = 1 << 24

_FORMAT_VERSION = 1


def read(path: str) -> Profile:
    """The profile in the file `path`.

    Raises `CannotRunError`: BM131 where it cannot be read or is no JSON, BM132 where it is no profile, BM133 where it
    is of another version.
    """
    shown = path.encode(errors="backslashreplace").decode()
    where = Where(file=shown)
    try:
        return json_document.parse(json_document.read(path, FILE_LIMIT), Profile, _FORMAT_VERSION)
    except UnreadableError as error:
        unreadable = codes.PROFILE_UNREADABLE.at(where, path=shown, reason=error.reason)
        raise CannotRunError(unreadable) from error
    except AnotherVersionError as error:
        version = codes.PROFILE_VERSION.at(where, path=shown, found=error.found, known=_FORMAT_VERSION)
        raise CannotRunError(version) from error
    except MalformedError as error:
        place = where.model_copy(update={"key": error.place})
        raise CannotRunError(codes.PROFILE_MALFORMED.at(place, path=shown, reason=error.reason)) from error
