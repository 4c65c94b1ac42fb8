"""Schema 1 images made from nothing, unsigned and signed, as docker before 1.10 pushed them; they run.

Every test that needs one enters. docker distribution, docs/spec/manifest-v2-1.md; libtrust, jsonsign.go.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ecrdrag.archive.decompress import sniff
from ecrdrag.content import Digest
from ecrdrag.conversion.schema1 import LayerFacts
from ecrdrag.schema1 import SIGNED, UNSIGNED
from tests.es256 import Key, base64url
from tests.images import hello_program, tar_of
from tests.putting import put_blob

if TYPE_CHECKING:  # stubs are not installed for the demo
    from mypy_boto3_ecr import ECRClient

# What docker pushed for a layer with nothing in it: docker distribution, manifest/schema1/config_builder.go.
EMPTY_GZIP = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
EMPTY_TAR = bytes(1024)
KEYS = (Key(0xEC2DBA6), Key(0x5C4E3A1))
_TIME = "2015-06-01T12:00:00Z"


@dataclass(frozen=True)
class Step:
    """One line of a Dockerfile, and the blob of the layer that it made; more goes into its entry of the history."""

    command: str
    blob: bytes = EMPTY_GZIP
    more: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class OldImage:
    """A schema 1 manifest, what of it is signed, and the blobs of its layers, bottom first."""

    raw: bytes
    payload: bytes
    media_type: str
    steps: tuple[bytes, ...]

    @property
    def blobs(self) -> dict[Digest, bytes]:
        return {Digest.of(blob): blob for blob in self.steps}


def packed(files: Mapping[str, bytes]) -> bytes:
    """Pack files into the blob of a layer."""
    return gzip.compress(tar_of(files), 6, mtime=0)


def old_image(
    steps: Sequence[Step],
    *,
    keys: Sequence[Key] = (),
    name: str = "app",
    tag: str = "old",
    top: Mapping[str, object] | None = None,
    indent: int | None = 3,
) -> OldImage:
    """Build an image of these steps, bottom first, signed with each of the keys; top goes into the top entry."""
    entries: list[dict[str, object]] = []
    for place, step in enumerate(steps):
        parent = {"parent": entries[-1]["id"]} if entries else {}
        entries.append({**_entry(place, step), **parent, **step.more})
    entries[-1] |= {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/hello"]}} | dict(top or {})
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": str(Digest.of(step.blob))} for step in reversed(steps)],
        "history": [{"v1Compatibility": json.dumps(entry, ensure_ascii=False)} for entry in reversed(entries)],
    }
    payload = json.dumps(document, indent=indent).encode()
    raw = signed(payload, keys) if keys else payload
    return OldImage(raw, payload, SIGNED if keys else UNSIGNED, tuple(step.blob for step in steps))


def hello_steps(architecture: str = "amd64") -> list[Step]:
    """Give the steps of an image that says hello: layers that count, one of them twice, and all kinds of empty ones."""
    motd = Step("/bin/sh -c echo >/motd", packed({"motd": b"good day\n"}))
    return [
        Step("/bin/sh -c #(nop) ADD file:1 in /", packed({"hello": hello_program(architecture)})),
        Step("/bin/sh -c #(nop) ENV PATH=/bin", more={"throwaway": True}),
        motd,
        Step("/bin/sh -c #(nop) MAINTAINER somebody", more={"author": "somebody"}),
        Step("/bin/sh -c true", gzip.compress(EMPTY_TAR, 9, mtime=1), {"comment": "nothing in it"}),
        motd,
        Step("/bin/sh -c #(nop) ADD plain", tar_of({"plain": b"not compressed\n"})),
        Step('/bin/sh -c #(nop) CMD ["/hello"]', more={"throwaway": True}),
    ]


def hello_schema1(*, keys: Sequence[Key] = KEYS[:1], name: str = "app", tag: str = "old") -> OldImage:
    """Build an image that runs and says hello."""
    return old_image(hello_steps(), keys=keys, name=name, tag=tag, top={"config": {"Cmd": ["/hello"], "Env": ["A=b"]}})


def _entry(place: int, step: Step) -> dict[str, object]:
    return {
        "id": Digest.of(f"{place} {step.command}".encode()).hex,
        "created": f"2015-06-01T12:00:{place:02}.123456789Z",
        "container_config": {"Cmd": step.command.split(" ", 2)},
    }


def facts_of(image: OldImage) -> dict[Digest, LayerFacts]:
    """Read every layer, as a conversion does."""
    return {digest: _facts(blob) for digest, blob in image.blobs.items()}


def _facts(blob: bytes) -> LayerFacts:
    tar = plain(blob)
    return LayerFacts(Digest.of(tar), len(blob), sniff(blob), empty=not any(tar))


def plain(blob: bytes) -> bytes:
    """Give the tar in a layer."""
    return gzip.decompress(blob) if sniff(blob) else blob


# libtrust's pretty signatures


def signed(payload: bytes, keys: Sequence[Key]) -> bytes:
    """Put the signatures of keys into an object, as libtrust's PrettySignature does, which keeps its indent."""
    body = payload.rstrip()[:-1].rstrip()
    indent = payload[2 : payload.index(b'"')].decode() if payload[1:2] == b"\n" else ""
    signatures = [signature_of(payload, key, len(body), payload[len(body) :]) for key in keys]
    written = json.dumps(signatures, indent=len(indent) or None).replace("\n", "\n" + indent)
    member = f',\n{indent}"signatures": {written}\n}}' if indent else f',"signatures":{written}}}'
    return body + member.encode()


def signature_of(payload: bytes, key: Key, length: int, tail: bytes) -> dict[str, object]:
    """Sign a payload, of which length bytes stay where they are and the tail is told."""
    header = {"formatLength": length, "formatTail": base64url(tail), "time": _TIME}
    return signature(payload, key, json.dumps(header, separators=(",", ":")).encode())


def signature(payload: bytes, key: Key, protected: bytes) -> dict[str, object]:
    """Sign a payload under any protected header."""
    header = base64url(protected)
    made = key.sign(f"{header}.{base64url(payload)}".encode())
    return {"header": {"jwk": key.jwk, "alg": "ES256"}, "signature": base64url(made), "protected": header}


# Into a registry


def put_old_image(ecr: ECRClient, repository: str, image: OldImage, tag: str = "") -> None:
    """Upload what is missing of an image and put its manifest, with a tag or without."""
    for blob in image.blobs.values():
        put_blob(ecr, repository, blob)
    with suppress(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(
            repositoryName=repository,
            imageManifest=image.raw.decode(),
            imageManifestMediaType=image.media_type,
            **({"imageTag": tag} if tag else {}),
        )
