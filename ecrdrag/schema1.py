"""Own schema 1, the manifest of registries before 2016: parsed from raw bytes, its signatures taken off, never written.

manifest.py and the stories may enter. Source: docker distribution, docs/spec/manifest-v2-1.md, and libtrust's JSON
signatures. Nothing is made of the signatures: whoever signed with a key that comes along has proved nothing.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from ecrdrag.content import Digest, Platform
from ecrdrag.errors import UnsupportedError

SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
UNSIGNED: Final = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_TYPES: Final = (UNSIGNED, SIGNED)

# ImageManifest's maximum length in ECR's model; manifest.py stops there too.
_MAX_SIZE: Final = 4 * 1024 * 1024
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_OS, _ARCHITECTURE = "linux", "amd64"  # the only ones that docker had when images did not say them
# Members of other kinds of documents: two readers could take this one for two things, CVE-2021-41190.
_FOREIGN_MEMBERS: Final = ("config", "layers", "manifests")


@dataclass(frozen=True, slots=True)
class Schema1:
    """One image before 2016: layers and what docker knew of each, bottom layer first.

    digest is that of the payload, which is raw without signatures. It has no config; sizes of layers aren't said.
    """

    raw: bytes
    media_type: str
    digest: Digest
    payload: bytes
    layers: tuple[Digest, ...]
    history: tuple[str, ...]  # of each layer, JSON: "v1Compatibility"
    architecture: str = ""  # what the document says beside its history, and docker never used

    @classmethod
    def parse(cls, raw: bytes, media_type: str = "") -> Schema1:
        """Read a manifest, signed or not; raises UnsupportedError for what breaks the format.

        Whether it is signed is seen from the document, which has to be where media_type says so.
        """
        if len(raw) > _MAX_SIZE:
            raise UnsupportedError(f"schema 1: a manifest of {len(raw)} bytes is over the limit of {_MAX_SIZE}")
        if media_type not in ("", *SCHEMA1_TYPES):
            raise UnsupportedError(f"schema 1: media type {media_type!r} is another kind's")
        whole = _object(raw, "the manifest")
        is_signed = "signatures" in whole
        if media_type == SIGNED and not is_signed:
            raise UnsupportedError("schema 1: the manifest has no signatures, and its media type says that it has")
        payload = _payload(raw, whole) if is_signed else raw
        document = _object(payload, "what is signed") if is_signed else whole
        _check(document, whole)
        layers, history = _layers(document), _history(document)
        if len(layers) != len(history):
            raise UnsupportedError(f"schema 1: {len(layers)} layers, but a history of {len(history)}")
        return cls(
            raw=raw,
            media_type=media_type or (SIGNED if is_signed else UNSIGNED),
            digest=Digest.of(payload),
            payload=payload,
            layers=layers,
            history=history,
            architecture=_text(document, "architecture", "the manifest"),
        )

    @property
    def platform(self) -> Platform:
        """Say what it runs on: by its top entry, else by the document."""
        top = self.entries()[-1]
        told = [word if isinstance(word := top.get(name), str) else "" for name in ("os", "architecture", "variant")]
        return Platform(told[0] or _OS, told[1] or self.architecture or _ARCHITECTURE, told[2])

    def entries(self) -> tuple[Mapping[str, object], ...]:
        """Read the history: of each layer a JSON object, bottom first."""
        return tuple(_object(text, "v1Compatibility") for text in self.history)


def _payload(raw: bytes, whole: Mapping[str, object]) -> bytes:
    """Take the signatures off as libtrust's ParsePrettySignature does: all of them have to agree on what is left."""
    signatures = _list(whole, "signatures")
    found = {_format(signature, len(raw)) for signature in signatures}
    if len(found) != 1:
        raise UnsupportedError("schema 1: the signatures don't agree on what they sign")
    ((length, tail),) = found
    return raw[:length] + tail


def _format(signature: object, size: int) -> tuple[int, bytes]:
    """Say how many bytes of the manifest were signed, and what followed on them."""
    protected = _member(signature, "protected", "signature")
    header = _object(_decode(protected, "protected"), "protected")
    length = header.get("formatLength")
    if not isinstance(length, int) or isinstance(length, bool) or not 0 < length <= size:
        raise UnsupportedError("schema 1: a signature's formatLength is no length of this manifest")
    return length, _decode(_text(header, "formatTail", "protected"), "formatTail")


def _decode(text: str, member: str) -> bytes:
    """Read base64url without padding, in the one spelling that it has: RFC 7515, section 2."""
    if _BASE64URL.fullmatch(text) and len(text) % 4 != 1:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if urlsafe_b64encode(data).rstrip(b"=").decode() == text:
            return data
    raise UnsupportedError(f"schema 1: a signature's {member} is not base64url")


def _check(document: Mapping[str, object], whole: Mapping[str, object]) -> None:
    """Hold a document to its kind; what is signed has to be all of it but the signatures."""
    version = document.get("schemaVersion")
    if not isinstance(version, int) or isinstance(version, bool) or version != 1:
        raise UnsupportedError(f"schema 1: schemaVersion is {str(version)[:20]}, not 1")
    for member in _FOREIGN_MEMBERS:
        if member in document:
            raise UnsupportedError(f"schema 1: {member} has no place in a document of this kind")
    if document.get("mediaType", UNSIGNED) not in SCHEMA1_TYPES:
        raise UnsupportedError("schema 1: the manifest's mediaType is another kind's")
    if document is not whole and not _is_same(document, {**whole, "signatures": None}):
        raise UnsupportedError("schema 1: the signatures sign something else than the manifest")


def _is_same(document: Mapping[str, object], whole: Mapping[str, object]) -> bool:
    try:
        return {**document, "signatures": None} == whole and "signatures" not in document
    except RecursionError:  # comparing may go deeper than reading did, depending on Python
        return False


def _layers(document: Mapping[str, object]) -> tuple[Digest, ...]:
    return tuple(_blob_sum(entry) for entry in reversed(_list(document, "fsLayers")))


def _blob_sum(entry: object) -> Digest:
    text = _member(entry, "blobSum", "fsLayers")
    try:
        digest = Digest.parse(text)
    except ValueError as error:
        raise UnsupportedError(f"schema 1: blobSum: {error}") from None
    if digest.algorithm != "sha256":
        raise UnsupportedError(f"schema 1: blobSum is a {digest.algorithm} digest, not sha256")
    return digest


def _history(document: Mapping[str, object]) -> tuple[str, ...]:
    found = tuple(_member(entry, "v1Compatibility", "history") for entry in reversed(_list(document, "history")))
    for text in found:
        _object(text, "v1Compatibility")
    return found


def _object(data: bytes | str, what: str) -> Mapping[str, object]:
    """Read a JSON object in UTF-8; NaN and its like are no JSON."""
    try:
        text = data.decode() if isinstance(data, bytes) else data
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UnsupportedError(f"schema 1: {what} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UnsupportedError(f"schema 1: {what} is a JSON {type(found).__name__}, not an object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _list(document: Mapping[str, object], member: str) -> Sequence[object]:
    found = document.get(member)
    if not isinstance(found, list) or not found:
        raise UnsupportedError(f"schema 1: {member} is not a list with something in it")
    return found


def _member(entry: object, member: str, place: str) -> str:
    if not isinstance(entry, dict) or member not in entry:
        raise UnsupportedError(f"schema 1: an entry of {place} is no object with a {member}")
    return _text(entry, member, place)


def _text(document: Mapping[str, object], member: str, place: str) -> str:
    found = document.get(member, "")
    if not isinstance(found, str):
        raise UnsupportedError(f"schema 1: {place}: {member} is not a string")
    return found
