"""Own the secrets of one local ECR: made at random on the first start, kept with its data, mode 0600.

The server and its command may enter.
"""

from __future__ import annotations

import json
import os
import secrets
import string
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final

from ecrdrag.errors import ArchiveError

_KEY_ALPHABET: Final = string.ascii_uppercase + "234567"
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits
# AWS key ids are "AKIA" and 16 characters of base 32, secrets are 40 characters: IAM user guide, "IAM identifiers".
_KEY_LENGTH: Final = 16
_SECRET_LENGTH: Final = 40


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


@dataclass(frozen=True, slots=True)
class Keys:
    """The key pair that clients sign with, and what the server signs its own links and tokens with."""

    key_id: str = field(default_factory=lambda: "AKIA" + _random(_KEY_ALPHABET, _KEY_LENGTH))
    secret: str = field(default_factory=lambda: _random(_SECRET_ALPHABET, _SECRET_LENGTH), repr=False)
    link_key_id: str = field(default_factory=lambda: "AKIA" + _random(_KEY_ALPHABET, _KEY_LENGTH))
    link_secret: str = field(default_factory=lambda: _random(_SECRET_ALPHABET, _SECRET_LENGTH), repr=False)
    token_secret: str = field(default_factory=lambda: _random(_SECRET_ALPHABET, _SECRET_LENGTH), repr=False)

    @classmethod
    def of(cls, path: Path) -> Keys:
        """Read the keys kept at path; on the first start make and keep them."""
        try:
            kept = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            keys = cls()
            write_private(path, json.dumps(asdict(keys), indent=1) + "\n")
            return keys
        except ValueError as error:
            raise ArchiveError(f"{path} is damaged: {error}", hint="remove it to get a new key pair") from error
        return cls._read(kept, path)

    @classmethod
    def _read(cls, kept: object, path: Path) -> Keys:
        names = {one.name for one in fields(cls)}
        if not isinstance(kept, dict) or set(kept) != names or not all(isinstance(text, str) for text in kept.values()):
            raise ArchiveError(f"{path} doesn't hold the keys of a local ECR", hint="remove it to get a new key pair")
        return cls(**kept)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at once: readers see the old text or the new, whole."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in folder survive a power cut, where the system can (POSIX fsync of a folder)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
