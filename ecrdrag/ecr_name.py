"""Own how the everyday commands name what is in a private ECR: a name alone, where account and region are known, too.

The stories about registries and cli may enter.

    [ecr.aws/]arn:PARTITION:ecr:REGION:ACCOUNT:repository/NAME[:TAG][@DIGEST]
    [https://]ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX/NAME[:TAG][@DIGEST]
    NAME[:TAG][@DIGEST]                                                       in the registry that AWS settings lead to
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.cursor import Cursor
from ecrdrag.errors import UsageError
from ecrdrag.hostname import SCHEME, check_no_login
from ecrdrag.naming import check_characters, read_digest, read_repository, read_tag
from ecrdrag.reference import LIKE_ECR, PUBLIC_HOSTS, EcrHost, ImageReference

_WANTED: Final = "name a repository, or give its ARN"
_PORT: Final = re.compile(r"[^/:@]+:[0-9]+/")


@dataclass(frozen=True, slots=True)
class EcrName:
    """Name a repository in ECR, or an image in it; host is None where the registry is the user's own."""

    repository: str
    tag: str | None = None
    digest: Digest | None = None
    host: EcrHost | None = None

    @classmethod
    def parse(cls, text: str) -> EcrName:
        """Read any form; raise UsageError that says what is wrong at which character, from 1.

        What looks like another registry's host is the beginning of a name: repositories of pull-through caches are
        called docker.io/library/nginx. With a port it can't be one, and ECR Public has commands of its own.
        """
        cursor = Cursor(text, "repository")
        check_no_login(cursor, has_digest=True)
        check_characters(cursor, _WANTED)
        if text.startswith("arn:") or text.lower().startswith("ecr.aws/") or SCHEME.match(text) or LIKE_ECR.match(text):
            return cls._of(ImageReference.parse(text))
        if _PORT.match(text) or text.partition("/")[0].lower() in PUBLIC_HOSTS:
            raise _not_private(text.partition("/")[0])
        repository = read_repository(cursor, at_ecr=True)
        tag = read_tag(cursor) if cursor.take(":") else None
        digest = read_digest(cursor) if cursor.take("@") else None
        return cls(repository, tag, digest)

    @classmethod
    def _of(cls, reference: ImageReference) -> EcrName:
        if reference.ecr is None:
            raise _not_private(reference.registry)
        return cls(reference.repository, reference.tag, reference.digest, reference.ecr)

    @property
    def is_repository(self) -> bool:
        """Whether no image in it is named."""
        return self.tag is None and self.digest is None

    @property
    def image_id(self) -> dict[str, str]:
        """Name the image to the ECR API: ImageIdentifier of its model."""
        tag = {"imageTag": self.tag} if self.tag else {}
        return {**tag, **({"imageDigest": str(self.digest)} if self.digest else {})}

    def __str__(self) -> str:
        version = (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")
        return (f"{self.host}/" if self.host else "") + self.repository + version


def _not_private(host: str) -> UsageError:
    hint = "give the name of the repository alone, as --region and --endpoint-url say where; or its ARN"
    return UsageError(f"{host} is not a private ECR registry", hint=hint)
