"""Own what the dialects of /v2/ disagree on, as data: ECR's, ECR Public's, and the specification's own.

Every room of /v2/ may enter. A fact without a source is in the documents that the fields of Settings name,
or is said to be unknown.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from ecrdrag.localecr.settings import Dialect, Settings
from ecrdrag.localecr.v2 import answers
from ecrdrag.localecr.v2.answers import CODES, Code, Refused

# The text is in a comment that copies of docker-registry-client share; the status also in aws/aws-cli#5317.
_INVALID: Final = "Your Authorization Token is invalid."
_EXPIRED: Final = "Your authorization token has expired. Reauthenticate and try again."


@dataclass(frozen=True, slots=True)
class Manner:
    """How one dialect speaks. The defaults are ECR's."""

    challenge: str = 'Basic realm="{base}/",service="ecr.amazonaws.com"'
    """What WWW-Authenticate holds: mayflower/docker-ls#28, regclient/regclient#709."""
    gives_tokens: bool = False
    """Whether clients log in with a bearer token of /token/, which anybody gets, and pushers by their password."""
    invalid_token: Code | None = answers.BAD_TOKEN
    """What a token gets that this server never gave; None is the challenge once more."""
    expired_token: Code | None = answers.DENIED
    by_alias: bool = False
    """Whether a name begins with the alias of its registry."""
    codes: Mapping[str, Code] = field(default_factory=lambda: CODES)

    creates_repositories: bool = False
    """Whether a push to a repository that isn't there creates it."""
    patched: int = 201
    """What answers a PATCH: cirruslabs/tart#273."""
    stale_range: bool = True
    """Whether an upload's Range stays with its first part: aws/containers-roadmap#2831."""
    mounts_freely: bool = False
    """Whether any blob can be mounted; else an account setting and an image decide."""
    deletes_freely: bool = False
    """Whether blobs can be deleted, a tag without its image, and an image that an index refers to."""
    hidden_heads: bool = False
    """Whether HEAD of a blob is refused to those who didn't log in: aws/containers-roadmap#2671."""
    get_tells_digest: bool = False
    """Whether Docker-Content-Digest is with GET of a manifest as with HEAD: aws/containers-roadmap#1931."""
    translates: bool = True
    """Whether a manifest becomes what Accept asks for."""
    lists_by_name: bool = False
    """Whether lists are sorted, and last is a name; else both are the API's: deitch/docker_registry2#34."""
    list_type: str = answers.PLAIN
    empty_referrers: bool = False
    """Whether what refers to something in a repository that isn't there is nothing, not an error."""

    def refuse_token(self, *, expired: bool, base: str) -> Refused:
        """Say no to a token."""
        code = self.expired_token if expired else self.invalid_token
        message = _EXPIRED if expired else _INVALID
        challenge = {} if code else {"WWW-Authenticate": self.challenge.format(base=base)}
        return Refused(code or answers.UNAUTHORIZED, message, challenge)

    def code(self, operation: str, shape: str) -> Code:
        """Return what an error of one of the API's operations becomes here."""
        return self.codes.get(f"{operation}:{shape}") or self.codes.get(shape, answers.UNKNOWN)


MANNERS: Final[Mapping[Dialect, Manner]] = MappingProxyType(
    {
        Dialect.ECR: Manner(),
        Dialect.PUBLIC: Manner(
            challenge='Bearer realm="{base}/token/",service="public.ecr.aws",scope="aws"',
            gives_tokens=True,
            expired_token=answers.BAD_TOKEN,  # aws/containers-roadmap#2835
            by_alias=True,
            hidden_heads=True,
        ),
        Dialect.OCI: Manner(
            invalid_token=None,
            expired_token=None,
            codes={
                **CODES,
                "ImageDigestDoesNotMatchException": answers.DIGEST_INVALID,
                "InvalidLayerException": answers.DIGEST_INVALID,
                "InvalidParameterException": answers.NAME_INVALID,
                "PutImage:InvalidParameterException": answers.MANIFEST_INVALID,
                "PutImage:LayersNotFoundException": answers.MANIFEST_BLOB_UNKNOWN,
                "GetDownloadUrlForLayer:InvalidParameterException": answers.DIGEST_INVALID,
                "CompleteLayerUpload:InvalidParameterException": answers.DIGEST_INVALID,
                "UploadLayerPart:InvalidParameterException": answers.UPLOAD_UNKNOWN,
            },
            creates_repositories=True,
            patched=202,
            stale_range=False,
            mounts_freely=True,
            deletes_freely=True,
            get_tells_digest=True,
            translates=False,
            lists_by_name=True,
            list_type=answers.JSON,
            empty_referrers=True,
        ),
    }
)


def settings_in(dialect: Dialect, settings: Settings) -> Settings:
    """Return the settings as a dialect has them: the specification knows none of ECR's limits."""
    if dialect is not Dialect.OCI:
        return settings
    return replace(
        settings,
        min_part_size=0,
        max_parts=sys.maxsize,
        max_layer=sys.maxsize,
        max_layers=sys.maxsize,
        empty_layers=True,
        loose_layers=True,
    )
