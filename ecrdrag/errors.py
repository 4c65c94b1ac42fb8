"""Own the exceptions a user can meet and the exit code of each.

Everybody may enter; this room imports nothing of ours.

    EcrdragError               70  a bug, when nothing more exact is known
    ├── UsageError              2  bad reference, platform, option
    ├── AuthError               3  credentials: none, expired, refused
    ├── NotFoundError           4  repository, image, layer, platform
    │   └── RepositoryNotFoundError 4  the repository itself; a push may offer to create it
    ├── TransferError           5  given up
    │   └── TransientError      5  worth another try; engines retry it, users see it when tries end
    │       ├── BusyError     5  the far end wants fewer requests at once
    │       ├── StalledError  5  bytes came too slowly, or not at all
    │       ├── RangeIgnoredError 5  the whole blob came where a part was asked for
    │       ├── PartOffsetError 5  the registry has another number of bytes than was thought
    │       └── UploadLostError 5  the registry knows this upload no more
    ├── IntegrityError          6  size or digest differs
    ├── ArchiveError            7  archive or disk: full, exists, unreadable, unsafe
    ├── UnsupportedError        8  a kind of image that can't be handled
    └── ConflictError           9  immutable tag
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class EcrdragError(Exception):
    """Say what failed, on which thing and at which end; the hint says what to do next."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def locate(self, where: str, *, hint: str = "") -> None:
        """Put where it arises before what it says; it stays what it is, as engines and exit codes go by its kind."""
        self.args = (f"{where}: {self}",)
        self.hint = hint or self.hint


class UsageError(EcrdragError):
    """The command line asks for something that can't be."""

    exit_code = 2


class AuthError(EcrdragError):
    """Credentials are missing, expired or refused."""

    exit_code = 3


class NotFoundError(EcrdragError):
    """The repository, image, layer or platform isn't there."""

    exit_code = 4


class RepositoryNotFoundError(NotFoundError):
    """There is no repository of this name in the registry."""


class TransferError(EcrdragError):
    """Bytes could not be moved, and another try would not help."""

    exit_code = 5


class TransientError(TransferError):
    """Bytes could not be moved this time; another try may help."""


class BusyError(TransientError):
    """The far end wants fewer requests at once: it said so, or cut the connection."""


class StalledError(TransientError):
    """Bytes came more slowly than is worth waiting for, or not at all."""


class RangeIgnoredError(TransientError):
    """The server answered a range request with the whole blob."""


class PartOffsetError(TransientError):
    """The registry refused a part since the next byte that it takes is another, at offset."""

    def __init__(self, message: str, *, offset: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offset = offset


class UploadLostError(TransientError):
    """The registry doesn't know this upload, or knows it no more: expired, or completed already."""


class IntegrityError(EcrdragError):
    """Received bytes are not what their digest or size promises."""

    exit_code = 6


class ArchiveError(EcrdragError):
    """The archive or the disk under it is full, taken, unreadable or unsafe."""

    exit_code = 7


class UnsupportedError(EcrdragError):
    """The image is of a kind that this version doesn't handle."""

    exit_code = 8


class ConflictError(EcrdragError):
    """The registry refuses to overwrite an immutable tag."""

    exit_code = 9


@contextmanager
def located(where: str, *, damaged: str = "") -> Iterator[None]:
    """Let errors say where they arise, if they don't yet; damaged is the hint to those about bytes that don't."""
    try:
        yield
    except EcrdragError as error:
        if where not in str(error):
            error.locate(where, hint=damaged if isinstance(error, IntegrityError) else "")
        raise
