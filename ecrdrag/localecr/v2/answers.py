"""Own what /v2/ says no with: the codes of the specification, and which of them an error of ECR's API becomes.

Every room of /v2/ may enter. ECR's texts are its API's: what users paste of both doors is the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ecrdrag.localecr.web.exchange import Answer

VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}
"""What every answer of /v2/ carries: deitch/docker_registry2#34 shows ECR's."""
JSON: Final = "application/json; charset=utf-8"
PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Code:
    """An error's status and its code: OCI distribution spec, "Error Codes"."""

    status: int
    name: str


BLOB_UNKNOWN: Final = Code(404, "BLOB_UNKNOWN")
UPLOAD_INVALID: Final = Code(400, "BLOB_UPLOAD_INVALID")
UPLOAD_UNKNOWN: Final = Code(404, "BLOB_UPLOAD_UNKNOWN")
DENIED: Final = Code(403, "DENIED")
BAD_TOKEN: Final = Code(400, "DENIED")
DIGEST_INVALID: Final = Code(400, "DIGEST_INVALID")
MANIFEST_BLOB_UNKNOWN: Final = Code(404, "MANIFEST_BLOB_UNKNOWN")
MANIFEST_INVALID: Final = Code(400, "MANIFEST_INVALID")
MANIFEST_TOO_LARGE: Final = Code(413, "MANIFEST_INVALID")
MANIFEST_UNKNOWN: Final = Code(404, "MANIFEST_UNKNOWN")
NAME_INVALID: Final = Code(400, "NAME_INVALID")
NAME_UNKNOWN: Final = Code(404, "NAME_UNKNOWN")
# Not of the specification, but what distribution's registry answers to a bad n.
PAGE_INVALID: Final = Code(400, "PAGINATION_NUMBER_INVALID")
SIZE_INVALID: Final = Code(400, "SIZE_INVALID")
TAG_INVALID: Final = Code(400, "TAG_INVALID")
TOO_MANY: Final = Code(429, "TOOMANYREQUESTS")
UNAUTHORIZED: Final = Code(401, "UNAUTHORIZED")
UNKNOWN: Final = Code(500, "UNKNOWN")
UNSUPPORTED: Final = Code(405, "UNSUPPORTED")
WRONG_OFFSET: Final = Code(416, "BLOB_UPLOAD_INVALID")


class Refused(Exception):  # noqa: N818 - what a client gets, not a fault of ours
    """An error answer of /v2/."""

    def __init__(self, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.headers = headers or {}

    @property
    def answer(self) -> Answer:
        """Write it; ECR's bodies are compact and end with a line feed: bazelbuild/rules_docker#298 tells the length."""
        return write_json(
            {"errors": [{"code": self.code.name, "message": self.message}]},
            status=self.code.status,
            headers=self.headers,
            summary=self.code.name,
        )


def write_json(
    document: object,
    *,
    status: int = 200,
    kind: str = JSON,
    headers: Mapping[str, str] | None = None,
    summary: str = "",
) -> Answer:
    """Write a JSON answer."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    return Answer(status, {"Content-Type": kind, **(headers or {})}, body, summary)


def nowhere() -> Answer:
    """Answer a path that isn't one of /v2/'s, as ECR does: aws/containers-roadmap#1229."""
    return Answer(404, {"Content-Type": PLAIN}, b"404 page not found\n", "no such path")


CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {
        "AccessDeniedException": DENIED,
        "ImageDigestDoesNotMatchException": MANIFEST_INVALID,  # google/go-containerregistry#1568
        "ImageTagAlreadyExistsException": TAG_INVALID,  # aws/containers-roadmap#862
        "InvalidLayerException": UPLOAD_INVALID,  # bazelbuild/rules_docker#298
        "InvalidLayerPartException": WRONG_OFFSET,  # apple/containerization#790
        "InvalidParameterException": UNSUPPORTED,  # oras-project/oras#690, google/go-containerregistry#681
        "LayerPartTooSmallException": UPLOAD_INVALID,  # dotnet/sdk-container-builds#424
        "EmptyUploadException": UPLOAD_INVALID,  # devcontainers/cli#814
        "LayersNotFoundException": BLOB_UNKNOWN,
        "PutImage:LayersNotFoundException": UPLOAD_UNKNOWN,  # mapbox/ecs-conex#50
        "ReferencedImagesNotFoundException": MANIFEST_BLOB_UNKNOWN,  # int128/docker-manifest-create-action#63
        "RepositoryNotFoundException": NAME_UNKNOWN,  # awslabs/aws-orbit-workbench#720
        "ThrottlingException": TOO_MANY,
        # What follows is not public; it is what the specification has for the like.
        "ImageNotFoundException": MANIFEST_UNKNOWN,
        "LayerInaccessibleException": BLOB_UNKNOWN,
        "LimitExceededException": DENIED,
        "UnableToGetUpstreamImageException": MANIFEST_UNKNOWN,
        "UnableToGetUpstreamLayerException": BLOB_UNKNOWN,
        "UploadNotFoundException": UPLOAD_UNKNOWN,
        # The codes that one of several images fails with.
        "ImageInaccessible": MANIFEST_UNKNOWN,
        "ImageNotFound": MANIFEST_UNKNOWN,
        "ImageReferencedByManifestList": UNSUPPORTED,
        "InvalidImageDigest": DIGEST_INVALID,
        "InvalidImageTag": TAG_INVALID,  # bazel-contrib/rules_oci#720 shows the status
        "InvalidLayerDigest": DIGEST_INVALID,
        "UpstreamAccessDenied": DENIED,
        "UpstreamTooManyRequests": TOO_MANY,
        "UpstreamUnavailable": MANIFEST_UNKNOWN,
    }
)
"""An error of ECR's API, or of one operation of it, and what /v2/ makes of it."""
