"""Own what a registry's error reply says: its code and its text, out of whatever form, with no secret in them.

distribution_errors.py enters. The forms are those of registries in the field, of what stands before them, of the token
servers that they name, and of the storage that they redirect to.
"""

from __future__ import annotations

import base64
import html
import http.client
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3

from ecrdrag.errors import StalledError
from ecrdrag.registry.blocks import Blocks
from ecrdrag.registry.http import beginning

_MAX_BODY: Final = 64 * 1024  # bytes; Go's registry clients read about as much
_MAX_TEXT: Final = 400  # characters; an IAM denial with two ARNs has some 300
_MAX_CODE: Final = 60
_MAX_SEEN: Final = 8192  # characters that are searched for secrets, and shown in part
_BROKEN: Final = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError, StalledError)
_FORM: Final = "application/x-www-form-urlencoded"

# Where errors are, and what they are called there: the specification's own; Google's and most frameworks';
# OAuth 2 (RFC 6749, 5.2); Docker Hub's details; problem details (RFC 9457).
_LISTS: Final = ("errors", "error")
_TEXTS: Final = ("message", "error_description", "details", "error", "title")
_DETAILS: Final = ("message", "reason")
# S3's error document, and what Azure's and Google's storage have taken over of it.
_STORAGE_CODE: Final = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STORAGE_TEXT: Final = re.compile(r"<Message>([^<]*)</Message>")
_TITLE: Final = re.compile(r"<title[^<>]*>([^<]*)</title>", re.IGNORECASE)

_MASK: Final = "***"
_LEAST_SECRET: Final = 4  # characters; to blot a shorter one out would leave no sentence whole
_LEAST_PIECE: Final = 8  # characters; less of a secret gives nothing away
_WORD: Final = re.compile(rf"[^\s\"'<>,;:()=]{{{_LEAST_PIECE},}}")
# Of members, parameters and headers.
_TELLTALE: Final = (
    r"(?<![\w-])(?:[\w-]*(?:passw(?:or)?d|secret|token|signature|credential|authorization|api[_-]?key)[\w-]*|sig)"
)
_VALUE: Final = r"[^\s\"'&,;}]"
# What may be a secret that was never ours, such as a signed URL of another's.
_MASKED: Final = (
    (re.compile(r"\b(basic|bearer|negotiate)\s+[\w.~+/-]{16,}=*", re.IGNORECASE), rf"\1 {_MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,4}"), _MASK),  # RFC 7519; {" in base64 begins so
    (re.compile(r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s/@\"'<>]*@", re.IGNORECASE), rf"\1{_MASK}@"),
    (re.compile(r"\b(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE), rf"\1?{_MASK}"),
    (re.compile(rf"({_TELLTALE}=)[\"']?{_VALUE}+", re.IGNORECASE), rf"\1{_MASK}"),
    (re.compile(rf"({_TELLTALE}[\"']?\s*:\s*[\"']?)(?={_VALUE}*[0-9]){_VALUE}{{8,}}", re.IGNORECASE), rf"\1{_MASK}"),
)


def read_refusal(response: requests.Response) -> tuple[str, str]:
    """Read the code and the text of an error reply, either perhaps empty, fit for people to see."""
    code, text = _found(_body(response), response.status_code)
    secrets = tuple(_secrets(response.request))
    text = text if code or text else response.reason or ""
    return _shown(code, secrets, _MAX_CODE), _shown(text, secrets, _MAX_TEXT)


def _body(response: requests.Response) -> bytes:
    """Read what comes of a body; one that breaks off takes nothing from what the status says."""
    found = bytearray()
    with suppress(*_BROKEN):
        for view in beginning(response, _MAX_BODY):
            found += view
    return bytes(found)


def _found(raw: bytes, status: int) -> tuple[str, str]:
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:  # compressed, though nobody asked for that
        return "", ""
    with suppress(ValueError, RecursionError):
        return _in_document(json.loads(text), status)
    return _in_markup(text) if text.startswith("<") else ("", text)


def _in_document(document: object, status: int) -> tuple[str, str]:
    if isinstance(document, str):
        return "", document
    if not isinstance(document, dict):
        return "", ""
    for name in _LISTS:
        inner = document.get(name)
        several = inner if isinstance(inner, list) else [inner]
        if several and isinstance(several[0], dict):
            code, text = _in_error(several[0], status)
            return code, f"{text} (and {len(several) - 1} more)" if len(several) > 1 else text
        if isinstance(inner, list) and inner and isinstance(inner[0], str):
            return "", inner[0]
    return _in_error(document, status)


def _in_error(error: Mapping[str, object], status: int) -> tuple[str, str]:
    code = error.get("code")
    if isinstance(error.get("error"), str) and "error_description" in error:
        code = error["error"]
    if not isinstance(code, str | int) or isinstance(code, bool) or code == status:
        code = ""
    detail = error.get("detail")
    if isinstance(detail, dict):
        detail = _first_text(detail, _DETAILS)
    texts = [_first_text(error, _TEXTS), detail if isinstance(detail, str) else ""]
    return str(code), ": ".join(dict.fromkeys(text for text in texts if text))


def _first_text(found: Mapping[str, object], names: Iterable[str]) -> str:
    for name in names:
        text = found.get(name)
        if isinstance(text, str) and text.strip():
            return text.strip()
    return ""


def _in_markup(text: str) -> tuple[str, str]:
    """Read the document of storage, or the title of a page, which a proxy may have sent."""
    code = _STORAGE_CODE.search(text)
    said = (_STORAGE_TEXT if code else _TITLE).search(text)
    return code[1] if code else "", html.unescape(said[1]) if said else ""


def _secrets(request: requests.PreparedRequest) -> Iterable[str]:
    """Give what was sent that a reply may echo, whole or in part."""
    _, _, given = request.headers.get("Authorization", "").partition(" ")
    yield given
    with suppress(ValueError):
        yield base64.b64decode(given, validate=True).decode().partition(":")[2]
    for sent in (urlsplit(request.url or "").query, _form(request)):
        yield from (value for name, value in parse_qsl(sent) if re.fullmatch(_TELLTALE, name, re.IGNORECASE))


def _form(request: requests.PreparedRequest) -> str:
    """Read once more what a token server was sent; nothing else is a form."""
    body: object = request.body
    if request.headers.get("Content-Type") != _FORM or not isinstance(body, Blocks):
        return ""
    body.seek(0)
    return bytes(body.read()).decode("ascii", "replace")


def _shown(text: str, secrets: Iterable[str], limit: int) -> str:
    text = " ".join(text[:_MAX_SEEN].split())
    long = [" ".join(secret.split()) for secret in secrets if len(secret) >= _LEAST_SECRET]
    for secret in sorted(long, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    text = _WORD.sub(lambda word: _MASK if any(word[0] in secret for secret in long) else word[0], text)
    for pattern, mask in _MASKED:
        text = pattern.sub(mask, text)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
