"""Own the translation of what a registry refuses at /v2/ into our errors: its codes and texts kept, with a hint each.

The rooms of /v2/ in registry may enter.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import requests

from ecrdrag.errors import (
    AuthError,
    BusyError,
    ConflictError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
    UploadLostError,
    UsageError,
)
from ecrdrag.registry.refusal_text import read_refusal
from ecrdrag.registry.registry_hints import Deed, refused_hint

Translation = tuple[type[EcrdragError], str]

_LATER_HINT: Final = "wait a little and run the same command again"
_VERSION_HINT: Final = "check the tag or the digest"
_NOWHERE_HINT: Final = "check the registry, the repository and the version"
_IMMUTABLE_HINT: Final = "the tag, or every tag of the repository, is immutable: choose another one"
_LINK_HINT: Final = (
    "the registry's link to its storage was refused: a policy of the network or the storage may forbid it"
)
_FRESH_HINT: Final = "the registry's link to its storage was too old: another try gets a fresh one"

# OCI distribution spec, "Error Codes", and docker's before it: docs/content/spec/api.md.
ERROR_CODES: Final[Mapping[str, Translation]] = {
    "BLOB_UNKNOWN": (NotFoundError, ""),
    "BLOB_UPLOAD_INVALID": (TransferError, ""),
    "BLOB_UPLOAD_UNKNOWN": (UploadLostError, ""),
    "DENIED": (AuthError, ""),
    "DIGEST_INVALID": (IntegrityError, "what arrived there has another digest: it was changed on the way"),
    "MANIFEST_BLOB_UNKNOWN": (TransientError, "what a manifest names must be there before it"),
    "MANIFEST_INVALID": (UnsupportedError, "the registry doesn't take such a manifest"),
    "MANIFEST_UNKNOWN": (NotFoundError, _VERSION_HINT),
    "MANIFEST_UNVERIFIED": (UnsupportedError, ""),
    "NAME_INVALID": (UsageError, "the registry has rules of its own for the names of repositories"),
    "NAME_UNKNOWN": (RepositoryNotFoundError, "check the registry and the name of the repository"),
    "PAGINATION_NUMBER_INVALID": (UsageError, ""),
    "RANGE_INVALID": (TransferError, ""),
    "SIZE_INVALID": (IntegrityError, "what arrived there has another size: it was changed on the way"),
    "TAG_INVALID": (ConflictError, _IMMUTABLE_HINT),
    "TOOMANYREQUESTS": (BusyError, _LATER_HINT),
    "UNAUTHORIZED": (AuthError, ""),
    "UNAVAILABLE": (BusyError, _LATER_HINT),
    "UNKNOWN": (TransferError, ""),
    "UNSUPPORTED": (UnsupportedError, ""),
}

# What single registries send beside these.
FIELD_CODES: Final[Mapping[str, Translation]] = {
    # Harbor: src/lib/errors/const.go.
    "BAD_REQUEST": (TransferError, ""),
    "CONFLICT": (ConflictError, ""),
    "FORBIDDEN": (AuthError, ""),
    "NOT_FOUND": (NotFoundError, _NOWHERE_HINT),
    "PRECONDITION": (ConflictError, ""),
    "PROJECTPOLICYVIOLATION": (AuthError, "a policy of the project forbids it, such as one on vulnerabilities"),
    # Quay: endpoints/v2/errors.py.
    "INVALID_REQUEST": (TransferError, ""),
    "TAG_ALREADY_EXISTS": (ConflictError, _IMMUTABLE_HINT),
    "TAG_EXPIRED": (NotFoundError, _VERSION_HINT),
    "TOO_MANY_TAGS_REQUESTED": (UsageError, ""),  # fluxcd/image-reflector-controller#585
    # Token servers: RFC 6749, 5.2.
    "invalid_client": (AuthError, ""),
    "invalid_grant": (AuthError, ""),
    # Storage that a registry redirects to: S3 API reference, "Error responses"; Azure's "Common REST API error codes".
    "AccessDenied": (AuthError, _LINK_HINT),
    "AuthenticationFailed": (AuthError, _LINK_HINT),
    "AuthorizationFailure": (AuthError, _LINK_HINT),
    "ExpiredToken": (TransientError, _FRESH_HINT),
    "NoSuchKey": (NotFoundError, "the registry's storage has lost it"),
    "RequestTimeout": (TransientError, _LATER_HINT),
    "SignatureDoesNotMatch": (AuthError, _LINK_HINT),
    "SlowDown": (BusyError, _LATER_HINT),
}

_BY_STATUS: Final[Mapping[int, Translation]] = {
    HTTPStatus.NOT_FOUND: (NotFoundError, _NOWHERE_HINT),
    HTTPStatus.METHOD_NOT_ALLOWED: (UnsupportedError, "the registry doesn't offer this"),
    HTTPStatus.NOT_ACCEPTABLE: (UnsupportedError, ""),
    HTTPStatus.CONFLICT: (ConflictError, ""),
    HTTPStatus.GONE: (NotFoundError, ""),
    HTTPStatus.PRECONDITION_FAILED: (ConflictError, ""),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        TransferError,
        "the registry, or a proxy before it, limits the size of a request, as nginx's client_max_body_size does",
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (UnsupportedError, "the registry doesn't take this media type"),
    HTTPStatus.NOT_IMPLEMENTED: (UnsupportedError, "the registry doesn't offer this"),
}
# RFC 9110, 15, and RFC 8470, 5.2: another try later is asked for.
_TRY_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY)
_DENIED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
# What registries say to who would move an immutable tag: ECR with TAG_INVALID (moby/buildkit#3776), Harbor with 412
# (goharbor/harbor#9718), Docker Hub with 403 (docker/hub-feedback#2466), Quay with 409.
_IMMUTABLE: Final = re.compile(r"immutab|can(?:no|')t be (?:overwr|overrid)", re.IGNORECASE)
# Docker Hub counts pulls over six hours (docker/hub-feedback#2464), ECR Public bytes over a month (its service quotas).
_USED_UP: Final = re.compile(r"pull rate limit|data limit exceeded", re.IGNORECASE)
# What Go's net/http says, and nginx.
_IS_TLS: Final = re.compile(r"HTTP request (?:to an|was sent to) HTTPS", re.IGNORECASE)
# Our own tries in a row take about a minute in all: transfer/retry.py.
_WORTH_WAITING: Final = 60  # seconds
_NO_DEED: Final = Deed()


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a registry said: the status, its first code, perhaps empty, its text for people; and to which request.

    wait is the seconds that it wants to be left alone.
    """

    status: int
    code: str
    text: str
    deed: Deed = _NO_DEED
    wait: int | None = None

    @classmethod
    def read(cls, response: requests.Response) -> Refusal:
        """Read what came in place of what was asked for, whatever its form."""
        code, text = read_refusal(response)
        known = re.sub(r"[ -]", "_", code).upper()
        wait = _seconds(response.headers.get("Retry-After", ""))
        code = known if known in ERROR_CODES else code
        return cls(response.status_code, code, text, _deed(response), wait)

    def error(self, host: str, what: str) -> EcrdragError:
        """Build the error; what was asked for is part of its text."""
        reason = ": ".join(said for said in (self.code, self.text) if said) or "no reason given"
        kind, hint = self._meaning()
        if kind is AuthError and not hint:
            hint = refused_hint(self.deed, self.text)
        return kind(f"{host} answered {self.status} ({reason}) when asked for {what}", hint=hint)

    def _meaning(self) -> Translation:
        """Weigh status, code and text, the most telling first."""
        known = ERROR_CODES.get(self.code) or FIELD_CODES.get(self.code)
        if self.status == HTTPStatus.TOO_MANY_REQUESTS or (known and known[0] is BusyError):
            return self._busy()
        if self.deed.is_writing and _IMMUTABLE.search(self.text):
            return ConflictError, _IMMUTABLE_HINT
        if self.status in _DENIED:
            return self._denied(known)
        if self.status in _TRY_LATER or (self.status >= 500 and self.status != HTTPStatus.NOT_IMPLEMENTED):
            kind = BusyError if self.status == HTTPStatus.SERVICE_UNAVAILABLE else TransientError
            return kind, _LATER_HINT
        if _IS_TLS.search(self.text):
            return UsageError, "this registry speaks TLS: leave --plain-http out"
        if self.code == "TAG_INVALID" and not self.deed.is_writing:
            return UsageError, "there can't be such a tag"
        return known or _BY_STATUS.get(self.status) or (TransferError, "")

    def _busy(self) -> Translation:
        """Tell too many at once, which a pause helps, from a quota that is used up, which only time does."""
        if _USED_UP.search(self.text):
            more = "" if self.deed.login == "basic" else "; who is logged in has a higher limit than others"
            return TransferError, f"a few minutes won't help: come back later, or pull from a mirror{more}"
        if self.wait is None:
            return BusyError, _LATER_HINT
        kind = BusyError if self.wait <= _WORTH_WAITING else TransferError
        return kind, f"the registry asks to wait for {self.wait} seconds"

    def _denied(self, known: Translation | None) -> Translation:
        """Keep an error of credentials one, unless it is storage's link that has grown too old."""
        if known and known[1] == _LINK_HINT and "expired" in self.text.lower():
            return TransientError, _FRESH_HINT
        if known and self.code in FIELD_CODES:
            return known
        return AuthError, ""


def _deed(response: requests.Response) -> Deed:
    """Say what was asked, as far as hints need it; the query, which may be signed, is left out."""
    request, parts = response.request, urlsplit(response.url)
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    return Deed(request.method or "GET", parts.path, parts.netloc.rpartition("@")[2], scheme)


def _seconds(text: str) -> int | None:
    """Read Retry-After: RFC 9110, 10.2.3, seconds or a date; Docker Hub has sent seconds since 1970."""
    now = time.time()
    if text.isdecimal() and len(text) <= 12:
        return int(text) if int(text) < now / 2 else max(0, round(int(text) - now))
    with suppress(ValueError, TypeError, OverflowError):
        return max(0, round(parsedate_to_datetime(text).timestamp() - now))
    return None
