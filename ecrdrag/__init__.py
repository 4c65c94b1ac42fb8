"""Move container images in and out of Amazon ECR without a Docker daemon."""

from typing import Final

__version__: Final = "0.1.0"
