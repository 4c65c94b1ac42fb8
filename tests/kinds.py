"""Every kind of thing that registries hold, made from nothing: buildx's indexes, signatures, charts, zstd, foreign.

The tests that need more than a plain image enter.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import zstandard

from ecrdrag.content import Digest
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from tests.images import Blob, Image, ImageIndex, hello_program, tar_of
from tests.putting import put_blob

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

    from tests.registry import Client

# OCI image spec, manifest.md, "Guidance for an Empty Descriptor".
EMPTY: Final = Blob(b"{}", "application/vnd.oci.empty.v1+json")
IN_TOTO: Final = "application/vnd.in-toto+json"
# cosign, specs/SIGNATURE_SPEC.md and pkg/oci: the layer of a signature, and what OCI 1.1 calls one.
SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
SPDX: Final = "application/spdx+json"
# helm.sh/docs/topics/registries, "Helm Chart manifest".
HELM_CONFIG: Final = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART: Final = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
# tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact.
WASM_CONFIG: Final = "application/vnd.wasm.config.v0+json"
WASM: Final = "application/wasm"
# BuildKit, docs/attestations/attestation-storage.md.
ATTESTATION: Final = "attestation-manifest"
NOWHERE: Final[Mapping[str, str]] = MappingProxyType({"architecture": "unknown", "os": "unknown"})
OCI_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_TAR: Final = "application/vnd.docker.image.rootfs.diff.tar"
FOREIGN_URL: Final = "https://layers.example.com/foreign/layer.tar.gz"
_NOTHING: Final[Mapping[Digest, Blob]] = MappingProxyType({})
_UNSAID: Final[Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True)
class Parcel:
    """A document with all that it leads to: documents, children first and itself last, and the blobs of them all.

    said is what an index says of it beside type, digest and size; tag is what finds it, where that isn't for users to
    choose; elsewhere are blobs that registries don't get.
    """

    documents: tuple[Blob, ...]
    blobs: Mapping[Digest, Blob] = field(default_factory=lambda: _NOTHING)
    said: Mapping[str, object] = field(default_factory=lambda: _UNSAID)
    tag: str = ""
    elsewhere: Mapping[Digest, Blob] = field(default_factory=lambda: _NOTHING)

    @property
    def root(self) -> Blob:
        return self.documents[-1]

    @property
    def digest(self) -> Digest:
        return self.root.digest

    @property
    def contents(self) -> dict[str, bytes]:
        """What an archive has of it, by the names of its files."""
        there = {blob.digest: blob.content for blob in (*self.documents, *self.blobs.values())}
        return {f"blobs/sha256/{digest.hex}": content for digest, content in there.items()}

    def of(self, architecture: str) -> Parcel:
        """Give one platform's image, of those right under this index."""
        entries = json.loads(self.root.content)["manifests"]
        (digest,) = (each["digest"] for each in entries if each["platform"]["architecture"] == architecture)
        (document,) = (each for each in self.documents if str(each.digest) == digest)
        return Parcel((document,), {blob.digest: blob for blob in _named(document, self.blobs)})


def parcel_of(content: Image | ImageIndex) -> Parcel:
    """Pack what tests/images.py makes."""
    if isinstance(content, ImageIndex):
        packed = [parcel_of(image) for image in content.images]
        documents = tuple(document for each in packed for document in each.documents)
        return Parcel((*documents, content.manifest), _together(packed))
    return Parcel((content.manifest,), content.blobs, {"platform": _platform(content.platform.architecture)})


def document_of(kind: str, **members: object) -> Blob:
    """Write a document as nobody else would: its bytes have to survive."""
    return Blob(json.dumps({"schemaVersion": 2, "mediaType": kind, **members}, indent=2).encode(), kind)


def program(architecture: str, greeting: str) -> bytes:
    """Give what says a greeting; on a machine that there is no program for, what can't run."""
    known = architecture in ("amd64", "arm64")
    return hello_program(architecture, greeting) if known else f"for {architecture}: {greeting}".encode()


def image(
    tars: Sequence[bytes],
    *,
    architecture: str = "amd64",
    oci: bool = True,
    pack: Callable[[bytes], bytes] | None = None,
    layer_type: str = "",
    foreign_type: str = "",
    urls: Mapping[int, str] = MappingProxyType({}),
) -> Parcel:
    """Build an image of layers, bottom first, in any compression; those with a url are foreign, and lie there."""
    foreign_type = foreign_type or _foreign_type(oci)
    layer_type = layer_type or (f"{OCI_TAR}+gzip" if oci else f"{DOCKER_TAR}.gzip")
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/hello"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in tars]},
        "history": [{"created_by": "ecrdrag"} for _ in tars],
    }
    config_blob = Blob(json.dumps(config).encode(), OCI_CONFIG if oci else DOCKER_CONFIG)
    layers = [
        Blob((pack or gzipped)(tar), foreign_type if place in urls else layer_type) for place, tar in enumerate(tars)
    ]
    named = [{**blob.json, **({"urls": [urls[place]]} if place in urls else {})} for place, blob in enumerate(layers)]
    root = document_of(OCI_MANIFEST if oci else DOCKER_MANIFEST, config=config_blob.json, layers=named)
    away = {layer.digest: layer for place, layer in enumerate(layers) if place in urls}
    blobs = {blob.digest: blob for blob in (config_blob, *layers) if blob.digest not in away}
    return Parcel((root,), blobs, {"platform": _platform(architecture)}, elsewhere=away)


def greeter(architecture: str, greeting: str, *, oci: bool = True, shared: bytes = b"") -> Parcel:
    """Build an image that says a greeting, upon a layer that others have too, if any."""
    tars = [tar_of({"shared": shared})] if shared else []
    return image([*tars, tar_of({"hello": program(architecture, greeting)})], architecture=architecture, oci=oci)


def zstd_image(architecture: str = "amd64", greeting: str = "hello from zstd\n", *, oci: bool = True) -> Parcel:
    """Build an image of two zstd layers; docker's type for them is buildx's."""
    tars = [tar_of({"data": b"zstd " * 1000}), tar_of({"hello": program(architecture, greeting)})]
    layer_type = f"{OCI_TAR}+zstd" if oci else f"{DOCKER_TAR}.zstd"
    return image(tars, architecture=architecture, oci=oci, pack=zstded, layer_type=layer_type)


def foreign_image(
    architecture: str = "amd64", greeting: str = "hello beside\n", *, oci: bool = True, url: str = FOREIGN_URL
) -> Parcel:
    """Build an image that runs, with a layer upon it that lies elsewhere."""
    tars = [tar_of({"hello": program(architecture, greeting)}), tar_of({"licensed": b"not for everybody\n" * 50})]
    return image(tars, architecture=architecture, oci=oci, urls={1: url})


def index(parcels: Iterable[Parcel], *, oci: bool = True, **members: object) -> Parcel:
    """Put images, artifacts or indexes under one index, in this order."""
    parcels = tuple(parcels)
    entries = [{**each.root.json, **each.said} for each in parcels]
    root = document_of(OCI_INDEX if oci else DOCKER_LIST, manifests=entries, **members)
    documents = {document.digest: document for each in parcels for document in each.documents}
    return Parcel((*documents.values(), root), _together(parcels))


def attestation(about: Parcel, *, is_artifact: bool = False) -> Parcel:
    """Build what BuildKit says of an image beside it: provenance and an SBOM, in an image that runs nowhere."""
    layers = [_statement(about, "https://slsa.dev/provenance/v0.2"), _statement(about, "https://spdx.dev/Document")]
    diff_ids = [str(layer.digest) for layer, _ in layers]
    config = {**NOWHERE, "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config_blob = EMPTY if is_artifact else Blob(json.dumps(config).encode(), OCI_CONFIG)
    named = [{**layer.json, "annotations": {"in-toto.io/predicate-type": kind}} for layer, kind in layers]
    more: dict[str, object] = {"artifactType": "application/vnd.docker.attestation.manifest.v1+json"}
    root = document_of(OCI_MANIFEST, **(more if is_artifact else {}), config=config_blob.json, layers=named)
    annotations = {"vnd.docker.reference.digest": str(about.digest), "vnd.docker.reference.type": ATTESTATION}
    blobs = {blob.digest: blob for blob in (config_blob, *(layer for layer, _ in layers))}
    return Parcel((root,), blobs, {"annotations": annotations, "platform": dict(NOWHERE)})


def buildx_index(
    architectures: Sequence[str] = ("amd64", "arm64"), *, greeting: str = "hello from buildx\n", artifacts: bool = False
) -> Parcel:
    """Build what ``docker buildx build --platform … --attest …`` pushes: images, then an attestation of each."""
    images = [greeter(each, greeting) for each in architectures]
    return index([*images, *(attestation(each, is_artifact=artifacts) for each in images)])


def nested_index(architectures: Sequence[str] = ("amd64", "arm64")) -> Parcel:
    """Put an index of platforms into an index, beside a chart."""
    return index([index([index([greeter(each, "hello from below\n") for each in architectures])]), helm_chart()])


def artifact(
    layers: Sequence[tuple[Blob, Mapping[str, str]]],
    *,
    config: Blob = EMPTY,
    artifact_type: str = "",
    subject: Parcel | None = None,
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> Parcel:
    """Build what is no image: layers with their annotations, and perhaps what it is about."""
    members: dict[str, object] = {"artifactType": artifact_type} if artifact_type else {}
    members["config"] = config.json
    members["layers"] = [{**blob.json, **({"annotations": said} if said else {})} for blob, said in layers]
    if subject:
        members["subject"] = subject.root.json
    if annotations:
        members["annotations"] = dict(annotations)
    blobs = {blob.digest: blob for blob in (config, *(blob for blob, _ in layers))}
    return Parcel((document_of(OCI_MANIFEST, **members),), blobs)


def cosign_signature(about: Parcel, *, suffix: str = "sig") -> Parcel:
    """Build a signature as cosign stores it by default: an image by a tag that names what it is about."""
    payload = _simple_signing(about)
    config = {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    made = artifact([payload], config=Blob(json.dumps(config).encode(), OCI_CONFIG))
    return replace(made, tag=f"sha256-{about.digest.hex}.{suffix}")


def signature(about: Parcel) -> Parcel:
    """Build a signature as cosign stores it with OCI 1.1: it has its subject."""
    return artifact([_simple_signing(about)], artifact_type=SIGNATURE, subject=about)


def in_toto(about: Parcel) -> Parcel:
    """Build an attestation that is about an image and not in its index."""
    layer, kind = _statement(about, "https://slsa.dev/provenance/v1")
    return artifact([(layer, {"in-toto.io/predicate-type": kind})], artifact_type=IN_TOTO, subject=about)


def sbom(about: Parcel) -> Parcel:
    """Build a bill of materials about an image."""
    text = json.dumps({"spdxVersion": "SPDX-2.3", "name": str(about.digest), "packages": []})
    annotations = {"org.opencontainers.image.created": "2024-05-06T07:08:09Z"}
    return artifact([(Blob(text.encode(), SPDX), {})], artifact_type=SPDX, subject=about, annotations=annotations)


def all_about(about: Parcel) -> tuple[Parcel, ...]:
    """Build all that is about an image: by subject and by tag, and a signature of its bill of materials."""
    materials = sbom(about)
    return (cosign_signature(about), signature(about), in_toto(about), materials, signature(materials))


def helm_chart() -> Parcel:
    """Build a chart as ``helm push`` does."""
    about = {"name": "hello", "version": "1.2.3", "apiVersion": "v2"}
    chart = gzipped(tar_of({"hello/Chart.yaml": json.dumps(about).encode()}))
    config = Blob(json.dumps(about).encode(), HELM_CONFIG)
    return artifact([(Blob(chart, HELM_CHART), {})], config=config, annotations={"org.opencontainers.image.title": "x"})


def wasm() -> Parcel:
    """Build a WebAssembly component: the empty module, by its magic number and version."""
    config = Blob(b'{"architecture":"wasm","os":"wasip2","layerDigests":[]}', WASM_CONFIG)
    return artifact([(Blob(b"\0asm\1\0\0\0", WASM), {})], config=config)


def bare_artifact() -> Parcel:
    """Build an artifact without a config, whose one file has a name, as ``oras push`` does."""
    file = Blob(b"any file at all\n", "text/plain")
    return artifact([(file, {"org.opencontainers.image.title": "a.txt"})], artifact_type="application/vnd.example+type")


def gzipped(tar: bytes) -> bytes:
    """Compress without any time in it."""
    return gzip.compress(tar, 6, mtime=0)


def zstded(tar: bytes) -> bytes:
    """Compress with zstd, the size of the content in the frame."""
    return zstandard.ZstdCompressor(level=3).compress(tar)


def put(ecr: ECRClient, repository: str, parcel: Parcel, *tags: str) -> None:
    """Put all of it through the ECR API, under its own tag and these."""
    for blob in parcel.blobs.values():
        put_blob(ecr, repository, blob.content)
    for document, tag in _in_order(parcel, tags):
        with suppress(ecr.exceptions.ImageAlreadyExistsException):
            ecr.put_image(
                repositoryName=repository,
                imageManifest=document.content.decode(),
                imageManifestMediaType=document.media_type,
                imageDigest=str(document.digest),
                **({"imageTag": tag} if tag else {}),
            )


def put_v2(v2: Client, repository: str, parcel: Parcel, *tags: str) -> None:
    """Put all of it through /v2/, under its own tag and these."""
    for blob in parcel.blobs.values():
        v2.push_blob(blob.content, repository)
    for document, tag in _in_order(parcel, tags):
        reply = v2.push(document.content.decode(), repository, tag, document.media_type)
        assert reply.status == 201, reply


def _in_order(parcel: Parcel, tags: Sequence[str]) -> Iterable[tuple[Blob, str]]:
    known = [tag for tag in (parcel.tag, *tags) if tag]
    return [*((each, "") for each in parcel.documents[:-1]), *((parcel.root, tag) for tag in known or [""])]


def _statement(about: Parcel, kind: str) -> tuple[Blob, str]:
    subject = [{"name": "app", "digest": {"sha256": about.digest.hex}}]
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": kind, "subject": subject}
    return Blob(json.dumps({**statement, "predicate": {}}).encode(), IN_TOTO), kind


def _simple_signing(about: Parcel) -> tuple[Blob, Mapping[str, str]]:
    critical = {"image": {"docker-manifest-digest": str(about.digest)}, "type": "cosign container image signature"}
    payload = json.dumps({"critical": {"identity": {"docker-reference": ""}, **critical}, "optional": None})
    return Blob(payload.encode(), SIMPLE_SIGNING), {"dev.cosignproject.cosign/signature": "MEUCIQDsigned+by/nobody=="}


def _foreign_type(oci: bool) -> str:
    types = ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", f"{OCI_TAR}+gzip")
    return types[1].replace("layer.", "layer.nondistributable.") if oci else types[0]


def _platform(architecture: str) -> Mapping[str, str]:
    return {"architecture": architecture, "os": "linux"}


def _together(parcels: Iterable[Parcel]) -> Mapping[Digest, Blob]:
    return {digest: blob for each in parcels for digest, blob in each.blobs.items()}


def _named(document: Blob, blobs: Mapping[Digest, Blob]) -> Iterable[Blob]:
    read = json.loads(document.content)
    return [blobs[Digest.parse(each["digest"])] for each in (read["config"], *read["layers"])]
