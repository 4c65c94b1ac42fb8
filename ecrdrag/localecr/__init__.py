"""Hold a local ECR: the API, signed blob URLs and a store on disk.

with LocalEcr(Path("data")) as ecr:
    boto3.client("ecr", endpoint_url=ecr.endpoint, ...)
"""

from ecrdrag.localecr.service import LocalEcr
from ecrdrag.localecr.settings import Settings

__all__ = ["LocalEcr", "Settings"]
