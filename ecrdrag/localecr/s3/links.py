"""Own blob URLs: signed as S3 signs them, for GET only, for a while, and checked by signing again.

GetDownloadUrlForLayer makes them, downloads.py checks them. botocore computes every signature.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final
from urllib.parse import parse_qsl, quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ecrdrag.content import Digest
from ecrdrag.localecr.names import RepositoryKey
from ecrdrag.localecr.storage.keys import KeyPair
from ecrdrag.localecr.web.exchange import Request

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
# S3 user guide, "Authenticating requests: using query parameters".
_QUERY_NAMES: Final = frozenset(
    f"X-Amz-{word}" for word in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
)
# The sample of get-download-url-for-layer in the AWS CLI documentation: bucket, folder of the registry, layer.
_PATH: Final = re.compile(r"/prod-[a-z0-9-]+-starport-layer-bucket/[0-9]{12}/(?P<hex>[0-9a-f]{64})")
_CREDENTIAL: Final = re.compile(r"(?P<key>[^/]+)/(?P<date>[0-9]{8})/(?P<region>[a-z0-9-]+)/s3/aws4_request")


# Signed with the rest: this link is for a client of /v2/, which may send its password along.
_TOLERANT: Final = "via=registry"


def is_link(path: str) -> bool:
    """Tell whether a path is one of a blob URL."""
    return _PATH.fullmatch(path) is not None


class LinkRefused(Exception):  # noqa: N818 - what a client gets, not a fault of ours
    """S3's answer to a link that isn't good: status, code, message and further XML elements."""

    def __init__(self, status: int, code: str, message: str, **elements: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.elements = elements


@dataclass(frozen=True, slots=True)
class Links:
    """Sign and check links with the server's own key; expiry is in seconds."""

    key: KeyPair
    expiry: int
    scheme: str = "http"
    tolerant: bool = False
    """Whether links put up with the password of /v2/: here it has the same host, and clients keep it for one host."""

    def make(self, host: str, repository: RepositoryKey, digest: Digest, now: float) -> str:
        """Return a URL that gives the blob until it expires."""
        moment = datetime.fromtimestamp(now, timezone.utc).strftime(_TIMESTAMP)
        path = f"/prod-{repository.region}-starport-layer-bucket/{repository.account}/{digest.hex}"
        credential = f"{self.key.key_id}/{moment[:8]}/{repository.region}/s3/aws4_request"
        query = (
            f"X-Amz-Algorithm={_ALGORITHM}&X-Amz-Date={moment}&X-Amz-SignedHeaders=host"
            f"&X-Amz-Expires={self.expiry}&X-Amz-Credential={quote(credential, safe='')}"
            f"{f'&{_TOLERANT}' if self.tolerant else ''}"
        )
        url = f"{self.scheme}://{host}{path}?{query}"
        return f"{url}&X-Amz-Signature={self._signature('GET', url, host, moment, repository.region)}"

    def check(self, request: Request, now: float) -> str:
        """Return the sha256 that a good link gives access to; raise LinkRefused."""
        path = _PATH.fullmatch(request.path)
        values = dict(parse_qsl(request.query, keep_blank_values=True))
        if path is None or not _QUERY_NAMES & set(values):
            raise LinkRefused(403, "AccessDenied", "Access Denied")
        if "Authorization" in request.headers and _TOLERANT not in request.query.split("&"):
            raise LinkRefused(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
                "Signature query string parameter or the Authorization header should be specified",
                ArgumentName="Authorization",
                ArgumentValue="",
            )
        self._check_signature(request, values)
        _check_time(values, now)
        return path["hex"]

    def _check_signature(self, request: Request, values: dict[str, str]) -> None:
        credential = _CREDENTIAL.fullmatch(values.get("X-Amz-Credential", ""))
        if credential is None or _QUERY_NAMES - set(values) or values["X-Amz-SignedHeaders"] != "host":
            raise LinkRefused(
                400,
                "AuthorizationQueryParametersError",
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
                "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        if credential["key"] != self.key.key_id:
            raise LinkRefused(
                403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
            )
        pairs = [pair for pair in request.query.split("&") if not pair.startswith("X-Amz-Signature=")]
        url = f"{self.scheme}://{request.host}{request.path}?{'&'.join(pairs)}"
        wanted = self._signature(request.method, url, request.host, values["X-Amz-Date"], credential["region"])
        if not hmac.compare_digest(wanted, values["X-Amz-Signature"].encode("ascii", "replace").decode()):
            raise LinkRefused(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method.",
                AWSAccessKeyId=self.key.key_id,
            )

    def _signature(self, method: str, url: str, host: str, moment: str, region: str) -> str:
        signer = S3SigV4QueryAuth(Credentials(self.key.key_id, self.key.secret), "s3", region)
        request = AWSRequest(method=method, url=url, headers={"Host": host})
        request.context["timestamp"] = moment
        return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


def _check_time(values: dict[str, str], now: float) -> None:
    """Refuse after the expiry; the signature covers both numbers, so they are as they were made."""
    start = datetime.strptime(values["X-Amz-Date"], _TIMESTAMP).replace(tzinfo=timezone.utc).timestamp()
    end = start + int(values["X-Amz-Expires"])
    if now < end:
        return
    raise LinkRefused(
        403,
        "AccessDenied",
        "Request has expired",
        **{"X-Amz-Expires": values["X-Amz-Expires"], "Expires": _iso(end), "ServerTime": _iso(now)},
    )


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
