"""Own how REPO and REF are read where they name what is in ECR.

The commands about repositories and images enter.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from ecrdrag.cli.arguments import TAKING_LATEST
from ecrdrag.cursor import SHOWN
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import UsageError
from ecrdrag.naming import MAX_TAG_LENGTH, TAG

log = logging.getLogger(__name__)


def repository_of(text: str, *, instead: str) -> EcrName:
    """Read REPO; instead is the hint where an image in it is named."""
    name = EcrName.parse(text)
    if not name.is_repository:
        raise UsageError(f"{text} names an image, and a repository is wanted", hint=instead)
    return name


def image_of(text: str) -> EcrName:
    """Read REF; raise UsageError where it names a repository alone."""
    name = EcrName.parse(text)
    if name.is_repository:
        raise UsageError(f"{text} names no image", hint=f"add a tag or a digest: {text}:TAG or {text}@sha256:DIGEST")
    return name


def image_or_latest(text: str) -> EcrName:
    """Read REF, which without tag and digest means :latest, as docker has it, and say so."""
    name = EcrName.parse(text)
    if not name.is_repository:
        return name
    log.warning(TAKING_LATEST, "")
    return replace(name, tag="latest")


def tag_of(text: str) -> str:
    """Read a tag that stands alone."""
    if ":" in text or "/" in text:
        hint = "give what stands behind the colon; to another repository `ecrdrag copy` brings an image"
        raise UsageError(f"a new tag stands alone, without the name of a repository: {text!r}", hint=hint)
    if not TAG.fullmatch(text) or len(text) > MAX_TAG_LENGTH:
        form = f"1 to {MAX_TAG_LENGTH} letters, digits and _.- of which the first is no dot and no dash"
        raise UsageError(f"{text[:SHOWN]!a} is no tag", hint=f"a tag is {form}")
    return text
