"""Own the secrets of one local ECR: made at random on the first start, kept with its data, mode 0600.

The server and its command may enter.
"""

from __future__ import annotations

import json
import os
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from ecrdrag.errors import ArchiveError
from ecrdrag.localecr.storage.folders import sync_folder

_KEY_ALPHABET: Final = string.ascii_uppercase + "234567"
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits
# AWS key ids are "AKIA" and 16 characters of base 32, secrets are 40 characters: IAM user guide, "IAM identifiers".
_KEY_LENGTH: Final = 16
_SECRET_LENGTH: Final = 40


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _secret() -> str:
    return _random(_SECRET_ALPHABET, _SECRET_LENGTH)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """What somebody signs with."""

    key_id: str = field(default_factory=lambda: "AKIA" + _random(_KEY_ALPHABET, _KEY_LENGTH))
    secret: str = field(default_factory=_secret, repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """The key pair of each account's clients, and what the server signs its own links and tokens with."""

    accounts: Mapping[str, KeyPair] = field(default_factory=dict)
    link: KeyPair = field(default_factory=KeyPair)
    token_secret: str = field(default_factory=_secret, repr=False)

    @classmethod
    def of(cls, path: Path, accounts: Sequence[str]) -> Keys:
        """Read the keys kept at path; make and keep those that are missing for these accounts."""
        kept = cls._read(path)
        missing = {account: KeyPair() for account in accounts if account not in kept.accounts}
        keys = cls({**kept.accounts, **missing}, kept.link, kept.token_secret)
        if missing:
            write_private(path, json.dumps(asdict(keys), indent=1) + "\n")
        return keys

    @classmethod
    def _read(cls, path: Path) -> Keys:
        try:
            kept = json.loads(path.read_text("utf-8"))
            pairs = {str(account): _pair(pair) for account, pair in kept["accounts"].items()}
            return cls(pairs, _pair(kept["link"]), _text(kept["token_secret"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArchiveError(
                f"{path} doesn't hold the keys of a local ECR: {error!r}", hint="remove it to get new key pairs"
            ) from error


def _pair(kept: Mapping[str, object]) -> KeyPair:
    return KeyPair(_text(kept["key_id"]), _text(kept["secret"]))


def _text(kept: object) -> str:
    if not isinstance(kept, str):
        raise TypeError(f"a text is expected, not {type(kept).__name__}")
    return kept


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
