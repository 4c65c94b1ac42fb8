"""Own what stands behind the registry in the name of an image: its repository, tag and digest.

reference.py and ecr_name.py enter, and who needs the patterns.
"""

from __future__ import annotations

import re
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.cursor import SHOWN, Cursor, Piece
from ecrdrag.errors import UsageError

# RepositoryName and its length: ECR's model, botocore data/ecr/2015-09-21/service-2.json.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
MIN_REPOSITORY_LENGTH: Final = 2
MAX_REPOSITORY_LENGTH: Final = 256
# OCI distribution spec, "Pulling manifests"; ECR's API allows longer tags, which no client can pull.
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
MAX_TAG_LENGTH: Final = 128
# distribution/reference, reference.go: RepositoryNameTotalLengthMax, without the host.
_MAX_NAME_LENGTH: Final = 255


def check_characters(cursor: Cursor, wanted: str) -> None:
    """Refuse an empty text, and what no name has; wanted is the hint."""
    if not cursor.text:
        raise cursor.error(cursor.rest, f"the {cursor.kind} is empty", hint=wanted)
    for place, char in enumerate(cursor.text):
        if not "!" <= char <= "~":
            raise cursor.error(cursor.rest.after(place), f"{char!a} can't stand in a {cursor.kind}")


def read_repository(cursor: Cursor, *, folder: str = "", at_ecr: bool) -> str:
    """Step over the name of a repository; one of a single word is in the folder."""
    least, most = (MIN_REPOSITORY_LENGTH, MAX_REPOSITORY_LENGTH) if at_ecr else (1, _MAX_NAME_LENGTH)
    name = cursor.until(":@")
    if len(name.text) < least:
        wanted = f"a name of {least} or more characters" if at_ecr else "the name of a repository"
        raise cursor.error(name, f"expected {wanted}, found {name}")
    if not REPOSITORY.fullmatch(name.text):
        raise _bad_repository(cursor, name)
    folder = "" if "/" in name.text else folder
    if len(folder + name.text) > most:
        most -= len(folder)
        raise cursor.error(name.after(most), f"a repository name has at most {most} characters")
    return folder + name.text


def _bad_repository(cursor: Cursor, name: Piece) -> UsageError:
    match = REPOSITORY.match(name.text)
    bad = name.after(match.end() if match else 0)
    separators = len(bad.text) - len(bad.text.lstrip("._/-"))
    stray = bad.after(separators)
    if not stray.text or REPOSITORY.match(stray.text):
        return cursor.error(bad, f"a repository name can't have {bad.text[:separators][:SHOWN]!r} here")
    lower = name.text.lower()
    hint = cursor.instead(name, lower) if REPOSITORY.fullmatch(lower) else ""
    return cursor.error(stray, f"a repository name can't have {stray.text[0]!r} here", hint=hint)


def read_tag(cursor: Cursor) -> str:
    """Step over a tag, up to a digest or the end."""
    tag = cursor.until("@")
    if not tag.text:
        raise cursor.error(tag, f"expected a tag after the colon, found {cursor.rest}")
    match = TAG.match(tag.text)
    bad = tag.after(match.end() if match else 0)
    if bad.text:
        raise cursor.error(bad, f"a tag can't have {bad.text[0]!r} here")
    if len(tag.text) > MAX_TAG_LENGTH:
        raise cursor.error(tag.after(MAX_TAG_LENGTH), f"a tag has at most {MAX_TAG_LENGTH} characters")
    return tag.text


def read_digest(cursor: Cursor) -> Digest:
    """Step over a digest, which is the end."""
    whole = cursor.rest
    cursor.until(":@")
    cursor.take(":")
    cursor.until(":@")
    if cursor.rest.text:
        raise cursor.error(cursor.rest, f"nothing can stand after a digest, found {cursor.rest}")
    try:
        return Digest.parse(whole.text)
    except ValueError as error:
        raise cursor.error(whole, str(error)) from None
