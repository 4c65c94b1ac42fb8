"""Own the passwords that are kept on disk: one file for each registry and caller, readable by its owner only.

The credential helper enters. Nothing here is fatal: without a folder that is the user's own, a file or its lock it
just costs a call. When AWS is out of reach, a password past its half life, not yet expired, does.
"""

from __future__ import annotations

import json
import logging
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ecrdrag.credentials import folders
from ecrdrag.errors import TransferError
from ecrdrag.registry.auth import EcrToken, Login

if sys.platform != "win32":  # where files are not locked: many helpers at once may make many calls
    import fcntl

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
# No link is followed and no pipe waited for: who may write to a folder on the way could have laid them. Windows has
# neither flag.
_CAREFUL: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_TOKENS: Final = "tokens"
_SUFFIX: Final = ".json"
_MAX_SIZE: Final = 64 * 1024  # bytes; passwords of ECR have some 2,000
_CALLER_LENGTH: Final = 32  # characters of a hash in a file's name
# Seconds: how long to wait for somebody else's call, how often to look, after how long a file is rubbish (ECR's
# passwords are good for 12 hours: API reference, GetAuthorizationToken).
_PATIENCE, _PAUSE, _RUBBISH = 30.0, 0.02, 24 * 3600

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    registry: str
    login: Login
    fetched: float
    expires: float

    def is_fresh(self, now: float) -> bool:
        """Say whether it is in the first half of its life; a clock that was set back makes it old."""
        return self.fetched <= now < (self.fetched + self.expires) / 2

    def is_good(self, now: float) -> bool:
        return now < self.expires

    @classmethod
    def parse(cls, raw: bytes) -> _Kept | None:
        """Read what write() wrote; None for anything else."""
        with suppress(ValueError, RecursionError):
            match json.loads(raw):
                case {
                    "registry": str(registry),
                    "username": str(username),
                    "password": str(password),
                    "fetched": int() | float() as fetched,
                    "expires": int() | float() as expires,
                } if username and password and math.isfinite(fetched) and math.isfinite(expires):
                    return cls(registry, Login(username, password), fetched, expires)
        return None

    def dump(self) -> bytes:
        login = {"username": self.login.username, "password": self.login.password}
        life = {"fetched": self.fetched, "expires": self.expires}
        return json.dumps({"registry": self.registry, **login, **life}).encode()


class TokenCache:
    """Passwords by registry, a host name, and caller, a hash; for many processes at once."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time, patience: float = _PATIENCE) -> None:
        self._folder = folder / _TOKENS
        self._clock = clock
        self._patience = patience

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> TokenCache:
        """Find the user's own."""
        return cls(folders.cache(environ))

    def fresh(self, registry: str, caller: str) -> Login | None:
        """Look for a password in the first half of its life."""
        kept = _read(self._file(registry, caller), registry) if self._is_private() else None
        return kept.login if kept and kept.is_fresh(self._clock()) else None

    def login(self, registry: str, caller: str, fetch: Callable[[], EcrToken]) -> Login:
        """Give a password, fetched if need be: by one caller at a time, while others wait or make do with an old one.

        Raises what fetch raises, where there is no old one or its credentials were refused.
        """
        file = self._file(registry, caller)
        self._make_folder()
        if not self._is_private():
            log.info("passwords can't be kept in %s, which isn't this user's alone", self._folder)
            return fetch().login
        kept = _read(file, registry)
        with _turn(file.with_suffix(".lock"), 0 if kept and kept.is_good(self._clock()) else self._patience) as ours:
            kept = _read(file, registry)
            now = self._clock()
            if kept and (kept.is_fresh(now) or (kept.is_good(now) and not ours)):
                return kept.login
            try:
                issued = fetch()
            except TransferError as error:  # out of reach, too busy or out of order; what is refused is an AuthError
                if kept is None or not kept.is_good(now):
                    raise
                left = (kept.expires - now) / 60
                log.warning("AWS is out of reach, so the old password does, for %.0f minutes more: %s", left, error)
                return kept.login
            self._write(file, _Kept(registry, issued.login, now, issued.expires))
            return issued.login

    def registries(self) -> dict[str, str]:
        """Give the user name by registry where a password is good."""
        now = self._clock()
        with suppress(OSError):
            found = [_read(file) for file in sorted(self._folder.glob(f"*{_SUFFIX}"))]
            return {kept.registry: kept.login.username for kept in found if kept and kept.is_good(now)}
        return {}

    def _file(self, registry: str, caller: str) -> Path:
        return self._folder / f"{registry}-{caller[:_CALLER_LENGTH]}{_SUFFIX}"

    def _make_folder(self) -> None:
        with suppress(OSError):
            self._folder.parent.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(_PRIVATE_FOLDER, exist_ok=True)

    def _is_private(self) -> bool:
        """Say whether nobody else can put files here, or a folder in place of this one."""
        try:
            found = self._folder.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and _is_ours(found, _OTHERS_WRITE)

    def _write(self, file: Path, kept: _Kept) -> None:
        from ecrdrag.credentials.drafts import draft_beside  # late: tempfile takes its time, and most of us only read

        try:
            with draft_beside(file) as (descriptor, _), os.fdopen(descriptor, "wb") as stream:
                stream.write(kept.dump())
            self._sweep()
        except OSError as error:
            log.info("the password can't be kept in %s: %s", self._folder, error.strerror)

    def _sweep(self) -> None:
        """Remove what is of no use to anybody: passwords of former callers, files of killed helpers, old locks."""
        for file in self._folder.iterdir():
            with suppress(OSError):
                if self._clock() - file.stat().st_mtime > _RUBBISH:
                    file.unlink()


def _read(file: Path, registry: str = "") -> _Kept | None:
    """Read a file of ours; None where there is none, or it is damaged, somebody else's or open to others."""
    try:
        with open(os.open(file, os.O_RDONLY | _CAREFUL), "rb") as stream:  # noqa: PTH123 - a descriptor
            if not _is_ours(os.fstat(stream.fileno()), _OTHERS):
                return None
            kept = _Kept.parse(stream.read(_MAX_SIZE))
    except OSError:
        return None
    return kept if kept and registry in ("", kept.registry) else None


def _is_ours(found: os.stat_result, forbidden: int) -> bool:
    return sys.platform == "win32" or (found.st_uid == os.geteuid() and not found.st_mode & forbidden)


@contextmanager
def _turn(file: Path, patience: float) -> Iterator[bool]:
    """Keep others out until the block ends; False when somebody else is in after so many seconds."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | _CAREFUL, _PRIVATE_FILE)
    except OSError:
        yield True  # nobody can be kept out
        return
    try:
        yield _locked(descriptor, time.monotonic() + patience)
    finally:
        os.close(descriptor)  # which gives it up


def _locked(descriptor: int, deadline: float) -> bool:
    while not _try_to_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)
    return True


def _try_to_lock(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True
