"""Own what can be set about the local ECR, with ECR's values as defaults.

Every room of the local ECR and its command may enter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEBIBYTE: Final = 1024 * 1024
HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and names of one local ECR. Sizes are bytes, times are seconds."""

    account: str = "123456789012"
    region: str = "us-east-1"
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
    max_layers: int = 500
    """No AWS document; users met it: cirruslabs/tart#890, spinframework/spin#1787."""
    max_body: int = 32 * MEBIBYTE
    """A part of 20 MiB is 28 MB of base64 in JSON."""
    clock_skew: int = 5 * 60
    """AWS general reference, "Troubleshoot signed requests": five minutes either way."""
    idle_timeout: float = 60.0
    """How long a connection may be silent."""
    limit_rate: float | None = None
    """Bytes per second of each connection's blob bodies, as S3 limits a stream; None is no limit."""
    latency: float = 0.0
    """How long every answer is held back, as by a round trip."""
    proxy_endpoint: str = ""
    """Where GetAuthorizationToken sends docker clients; empty means the host that was asked."""
