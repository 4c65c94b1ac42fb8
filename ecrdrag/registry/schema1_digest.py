"""Own the question whether a manifest is the one that was asked for, or what its registry says that it is.

The sources in registry enter. A schema 1 manifest has two digests: that of its bytes, and docker distribution's, which
is of what was signed (docs/spec/manifest-v2-1.md). ECR tells one that may be neither (aws/amazon-ecs-agent#4249).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.errors import IntegrityError, UnsupportedError
from ecrdrag.manifest import Document, parse_any
from ecrdrag.schema1 import Schema1

_BY_TAG: Final = "registries don't agree on what the digest of a schema 1 manifest is: pull it by its tag alone"


def schema1_in(raw: bytes, media_type: str) -> Schema1 | None:
    """Read bytes that may be schema 1; None when they are anything else."""
    with suppress(UnsupportedError):
        found = parse_any(raw, media_type)
        return found if isinstance(found, Schema1) else None
    return None


def verified(
    raw: bytes, media_type: str, where: str, *, wanted: Digest | None, told: Digest | None, trusts_told: bool
) -> Document | Schema1:
    """Read a manifest that has the digest that was wanted, or without one what its registry told.

    Without trust, what is told about schema 1 may be wrong. Raises IntegrityError, UnsupportedError.
    """
    expected = wanted or told
    found = Digest.of(raw, expected.algorithm) if expected else None
    if expected is None or found == expected:
        return parse_any(raw, media_type)
    old = schema1_in(raw, media_type)
    if old and (Digest.of(old.payload, expected.algorithm) == expected or not (wanted or trusts_told)):
        return old
    hint = _BY_TAG if old and wanted else ""
    raise IntegrityError(f"{where}: the manifest {expected} arrived with digest {found}", hint=hint)
