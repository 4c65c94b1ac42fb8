"""Own what can be set about the local ECR, with ECR's values as defaults.

Every room of the local ECR and its command may enter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

MEBIBYTE: Final = 1024 * 1024
HOUR: Final = 3600


class Dialect(Enum):
    """How /v2/ speaks at a host name that doesn't say it."""

    ECR = "ecr"
    OCI = "oci"
    """As the distribution spec has it where ECR doesn't, and repositories come into being by a push."""
    PUBLIC = "public"
    """As public.ecr.aws does."""


class SignedDigest(Enum):
    """What the digest of a signed schema 1 image is of."""

    RAW = "raw"
    """All bytes, signatures included."""
    PAYLOAD = "payload"
    """What is signed, as docker and its registry have it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and names of one local ECR. Sizes are bytes, times are seconds."""

    accounts: tuple[str, ...] = ("123456789012",)
    """Who has a key pair here; the first one is meant where nobody else is named."""
    region: str = "us-east-1"
    """Which region a host name without one stands for, without a password; the API takes it from the signature."""
    dialect: Dialect = Dialect.ECR
    url_expiry: int = HOUR
    """GetDownloadUrlForLayer's sample in the AWS CLI documentation has X-Amz-Expires=3600."""
    token_lifetime: int = 12 * HOUR
    """Amazon ECR user guide, registry authentication: valid for 12 hours."""
    part_size: int = 10 * MEBIBYTE
    """InitiateLayerUpload's sample in the AWS CLI documentation: 10485760."""
    min_part_size: int = 5 * MEBIBYTE
    """LayerPartTooSmallException: "at least 5MB", checked at CompleteLayerUpload."""
    max_parts: int = 4200
    """Amazon ECR service quotas, "Layer parts"."""
    max_layer: int = 52_000 * MEBIBYTE
    """Amazon ECR service quotas, "Maximum layer size"."""
    max_layers: int = 500
    """No AWS document; users met it: cirruslabs/tart#890, spinframework/spin#1787."""
    empty_layers: bool = False
    """Whether a layer may have no bytes at all; ECR answers EmptyUploadException."""
    loose_layers: bool = False
    """Whether layers are given out that no image refers to; ECR answers LayerInaccessibleException."""
    signed_digest: SignedDigest = SignedDigest.RAW
    """ECR's is "incorrect" in docker's eyes, aws/amazon-ecs-agent#4249, which doesn't say what else it is; but that
    of every other image is of all its bytes."""
    max_rules: int = 50
    """Amazon ECR service quotas, "Pull through cache rules per registry"."""
    digest_pulls: bool = False
    """Whether a pull by digest through a rule brings what isn't here; at AWS it "returns as missing", also where a tag
    comes with it, until a pull by tag has brought the image: aws/containers-roadmap#2837, of July 2026."""
    create_on_push: frozenset[str] = frozenset({"InitiateLayerUpload", "PutImage"})
    """What creates a missing repository, given a template; AWS says only that it is a push."""
    max_body: int = 32 * MEBIBYTE
    """A part of 20 MiB is 28 MB of base64 in JSON."""
    upload_expiry: float = 24 * HOUR
    """How long an upload may rest before it is forgotten; AWS's own number is not public."""
    layer_expiry: float = 24 * HOUR
    """How long a layer stays that no image refers to: "may be cleaned up at any time" in LayerInaccessibleException."""
    sweep_interval: float = HOUR
    """How often garbage is collected: what has expired, and files that metadata doesn't know."""
    anonymous_pull: bool = False
    """Whether /v2/ gives images to those who don't log in."""
    read_only: bool = False
    """Whether everything that would change something is refused."""
    activation: float = 0.0
    """How long an archived image is ACTIVATING before it is ACTIVE again."""
    clock_skew: int = 5 * 60
    """AWS general reference, "Troubleshoot signed requests": five minutes either way."""
    idle_timeout: float = 60.0
    """How long a connection may be silent."""
    head_timeout: float = 30.0
    """How long a TLS handshake may take, and a request's line and headers from their first byte to their last."""
    max_connections: int = 1000
    """How many clients may be connected; for one more, the one that has been idle for the longest must go."""
    grace: float = 1.5
    """How long requests in progress may go on when the server stops."""
    limit_rate: float | None = None
    """Bytes per second of each connection's blob bodies, as S3 limits a stream; None is no limit."""
    latency: float = 0.0
    """How long every answer is held back, as by a round trip."""
    min_rate: float = 1024.0
    """Bytes per second of a body, over idle_timeout of waiting for the client, below which it is given up."""
    scheme: str = "http"
    """What the URLs begin with that are handed out: https where the server has a certificate."""

    @property
    def account(self) -> str:
        """The account that is meant where nobody else is named."""
        return self.accounts[0]
