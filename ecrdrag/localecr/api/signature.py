"""Own the check of Signature Version 4 on API calls: botocore signs what came, and the two must agree.

The API may enter. Error names and texts: AWS general reference, "Common errors", and "Troubleshoot
Signature Version 4 requests"; the date texts are those that boto issues show.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from http.client import HTTPMessage
from typing import Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.names import PUBLIC
from ecrdrag.localecr.storage.keys import Keys
from ecrdrag.localecr.web.exchange import Request

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
_TERMINATOR: Final = "aws4_request"
# Regions are lower-case words joined by dashes in botocore's partitions data.
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What an Authorization header says."""

    key_id: str
    date: str
    region: str
    service: str
    signed: frozenset[str]
    signature: str
    moment: str


class _AsClaimed(SigV4Auth):
    """Sign exactly the headers that the client says it signed."""

    def __init__(self, secret: str, claim: _Claim) -> None:
        super().__init__(Credentials(claim.key_id, secret), claim.service, claim.region)
        self._names = claim.signed
        self._key = _signing_key(secret, claim.date, claim.region, claim.service)

    def signature(self, string_to_sign: str, request: AWSRequest) -> str:
        return hmac.digest(self._key, string_to_sign.encode(), "sha256").hex()

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        chosen = HTTPHeaders()
        for name, value in request.headers.items():
            if name.lower() in self._names:
                chosen[name.lower()] = value
        return chosen


@dataclass(frozen=True, slots=True)
class Signed:
    """What a good signature proves: whose it is, and for which region."""

    account: str
    region: str


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """Know the account and the secret of each key id; skew is how many seconds a client's clock may be off."""

    secrets: Mapping[str, tuple[str, str]] = field(repr=False)
    skew: int

    @classmethod
    def of(cls, keys: Keys, skew: int) -> SignatureCheck:
        """Know a store's key pairs."""
        return cls({pair.key_id: (account, pair.secret) for account, pair in keys.accounts.items()}, skew)

    def knows(self, request: Request) -> bool:
        """Tell whether a request names one of the keys; whether it is signed with it, its body tells too."""
        try:
            return _claim(request).key_id in self.secrets
        except Refusal:
            return False

    def signed(self, request: Request, body: bytes, now: float, service: str) -> Signed:
        """Return what a well-signed request to a service proves; raise Refusal for any other request."""
        claim = _claim(request)
        if claim.key_id not in self.secrets:
            raise Refusal("UnrecognizedClientException", "The security token included in the request is invalid.")
        account, secret = self.secrets[claim.key_id]
        _check_scope(claim, service)
        _check_signed_headers(request, claim)
        self._check_time(claim, now)
        if not hmac.compare_digest(_recompute(request, body, claim, secret).encode(), claim.signature.encode()):
            raise _refuse(_MISMATCH)
        return Signed(account, claim.region)

    def _check_time(self, claim: _Claim, now: float) -> None:
        try:
            signed = _seconds(claim.moment)
        except ValueError:
            raise _incomplete("Date must be in ISO-8601 'basic format'") from None
        if signed < now - self.skew:
            raise _refuse(
                f"Signature expired: {claim.moment} is now earlier than {_basic(now - self.skew)} "
                f"({_basic(now)} - {self.skew // 60} min.)"
            )
        if signed > now + self.skew:
            raise _refuse(
                f"Signature not yet current: {claim.moment} is still later than {_basic(now + self.skew)} "
                f"({_basic(now)} + {self.skew // 60} min.)"
            )


def _claim(request: Request) -> _Claim:
    header = request.headers.get("Authorization", "")
    if not header:
        raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    if algorithm != _ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{algorithm[:40]}'.")
    pairs = dict(pair.strip().partition("=")[::2] for pair in rest.split(","))
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not pairs.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    moment = request.headers.get("X-Amz-Date", "")
    if not moment:
        raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    return _scoped(pairs, moment)


def _scoped(pairs: dict[str, str], moment: str) -> _Claim:
    scope = pairs["Credential"].split("/")
    if len(scope) != 5 or scope[-1] != _TERMINATOR:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term"
        )
    key_id, date, region, service, _ = scope
    signed = frozenset(name.lower() for name in pairs["SignedHeaders"].split(";"))
    return _Claim(key_id, date, region, service, signed, pairs["Signature"], moment)


def _check_scope(claim: _Claim, service: str) -> None:
    if claim.service != service:
        raise _refuse(f"Credential should be scoped to correct service: '{service}'.")
    if not _REGION.fullmatch(claim.region) or claim.region == PUBLIC:
        raise _refuse("Credential should be scoped to a valid region.")
    if claim.date != claim.moment[:8]:
        raise _refuse(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{claim.date}' != '{claim.moment[:8]}', from '{claim.moment}'."
        )


def _check_signed_headers(request: Request, claim: _Claim) -> None:
    """Refuse a signature that leaves out the host or an x-amz- header, as AWS does."""
    needed = {"host"} | {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-")}
    missing = sorted(needed - claim.signed)
    if missing:
        raise _refuse(f"'{missing[0]}' must be a 'SignedHeader' in the AWS Authorization.")


def _recompute(request: Request, body: bytes, claim: _Claim, secret: str) -> str:
    copy = AWSRequest(method=request.method, url=f"http://{request.host}{request.target}")
    for name, value in request.headers.items():
        copy.headers[name] = value
    # The hash of what really came; a client that signed another one gets a mismatch.
    del copy.headers["X-Amz-Content-SHA256"]
    copy.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    copy.context["timestamp"] = claim.moment
    signer = _AsClaimed(secret, claim)
    return signer.signature(signer.string_to_sign(copy, signer.canonical_request(copy)), copy)


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Derive what a client signs with for a day: AWS general reference, "Create a signed AWS API request"."""
    key = f"AWS4{secret}".encode()
    for word in (date, region, service, _TERMINATOR):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


@lru_cache(maxsize=256)
def _seconds(moment: str) -> float:
    return datetime.strptime(moment, _TIMESTAMP).replace(tzinfo=timezone.utc).timestamp()


def _basic(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime(_TIMESTAMP)


def _refuse(message: str) -> Refusal:
    return Refusal("InvalidSignatureException", message)


def _incomplete(message: str) -> Refusal:
    return Refusal("IncompleteSignatureException", message)
