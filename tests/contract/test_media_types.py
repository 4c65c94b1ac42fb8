"""Every media type that Amazon's own client of ECR reads is pulled, pushed and copied, and those that OCI has beside.

awslabs/amazon-ecr-containerd-resolver: ecr/resolver.go and ecr/base.go for documents, ecr/fetcher.go for the rest.
"""

from __future__ import annotations

import io
import logging
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

from ecrdrag.cli.main import main_of
from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr
from ecrdrag.manifest import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    FOREIGN_LAYER_TYPES,
    IMAGE_CONFIG_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    parse,
)
from ecrdrag.schema1 import SCHEMA1_TYPES, SIGNED, UNSIGNED
from tests import kinds
from tests.images import Blob, tar_of
from tests.kinds import Parcel
from tests.localecr import ACCOUNT, REGION, client, running
from tests.schema1_images import KEYS, hello_schema1, put_old_image

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
TARS = [tar_of({"below": b"below\n"}), tar_of({"hello": b"hello\n"})]
PLAIN: Callable[[bytes], bytes] = bytes
PACKERS = {"": PLAIN, "gzip": kinds.gzipped, "zstd": kinds.zstded}
DOCUMENTS = {
    DOCKER_MANIFEST: kinds.image(TARS, oci=False),
    OCI_MANIFEST: kinds.image(TARS),
    DOCKER_LIST: kinds.index([kinds.image(TARS, oci=False)], oci=False),
    OCI_INDEX: kinds.index([kinds.image(TARS)]),
}
LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar": ("docker", ""),
    "application/vnd.docker.image.rootfs.diff.tar.gzip": ("docker", "gzip"),
    "application/vnd.oci.image.layer.v1.tar": ("oci", ""),
    "application/vnd.oci.image.layer.v1.tar+gzip": ("oci", "gzip"),
    "application/vnd.oci.image.layer.v1.tar+zstd": ("oci", "zstd"),
}
FOREIGN = {
    "application/vnd.docker.image.rootfs.foreign.diff.tar": ("docker", ""),
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": ("docker", "gzip"),
    # These three Amazon's client doesn't know.
    "application/vnd.oci.image.layer.nondistributable.v1.tar": ("oci", ""),
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": ("oci", "gzip"),
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": ("oci", "zstd"),
}


def of_layer(kind: str) -> Parcel:
    """Build an image of layers of one type."""
    style, packing = LAYERS[kind]
    return kinds.image(TARS, oci=style == "oci", pack=PACKERS[packing], layer_type=kind)


def of_foreign(kind: str) -> Parcel:
    """Build an image with a layer of one type upon another, which the registry needn't have."""
    style, packing = FOREIGN[kind]
    tars = [TARS[0], tar_of({"licensed": kind.encode()})]
    made = kinds.image(tars, oci=style == "oci", pack=PACKERS[packing], urls={1: kinds.FOREIGN_URL}, foreign_type=kind)
    assert [blob.media_type for blob in made.elsewhere.values()] == [kind]
    return made


PARCELS = {
    **DOCUMENTS,
    **{kind: of_layer(kind) for kind in LAYERS},
    **{kind: of_foreign(kind) for kind in FOREIGN},
}
OLD = {SIGNED: 1, UNSIGNED: 0}  # and how many have signed it


@dataclass(frozen=True)
class Site:
    """A registry with an image of each type, another one with what was pulled and pushed, and what was said of it."""

    origin: LocalEcr
    other: LocalEcr
    archive: Path
    digests: dict[str, str]
    said: str

    @property
    def contents(self) -> dict[str, bytes]:
        with tarfile.open(self.archive) as archive:
            return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


def there(ecr: LocalEcr, repository: str, documents: Sequence[Blob]) -> dict[str, str]:
    """Ask for all documents by their digests."""
    with client(ecr) as api:
        wanted: list[ImageIdentifierTypeDef] = [{"imageDigest": str(each.digest)} for each in documents]
        found = api.batch_get_image(repositoryName=repository, imageIds=wanted)["images"]
    return {image["imageId"]["imageDigest"]: image["imageManifest"] for image in found}


def name_of(kind: str) -> str:
    return f"{HOST}/app:{kind.removeprefix('application/').replace('+', '-')}"


def run(ecr: LocalEcr, command: str, *arguments: str) -> tuple[str, str]:
    """Run a command against a registry, and give what it printed and said."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in [each for each in os.environ if each.startswith("AWS_") or each.lower().endswith("_proxy")]:
            patch.delenv(name)
        for name, value in {**ecr.environment, "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(name, value)
        code = main_of(command, [*arguments, "--progress", "none"], program=command)
    logging.getLogger("ecrdrag").handlers.clear()
    assert code == 0, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Pull all of them into one archive, and push that into another registry."""
    folder = tmp_path_factory.mktemp("types")
    with running(folder / "origin") as origin, running(folder / "other") as other:
        with client(origin) as api:
            api.create_repository(repositoryName="app")
            api.create_repository(repositoryName="copies")
            for kind, parcel in PARCELS.items():
                kinds.put(api, "app", parcel, name_of(kind).rpartition(":")[2])
            for kind, signers in OLD.items():
                image = hello_schema1(keys=KEYS[:signers], name="app")
                put_old_image(api, "app", image, name_of(kind).rpartition(":")[2])
        path = folder / "all.tar"
        names = map(name_of, (*PARCELS, *OLD))
        out, said = run(origin, "pull", *names, "--platform", "all", "-o", str(path))
        run(other, "push", str(path), "--create-repository")
        printed = [line.split() for line in out.splitlines()]
        yield Site(origin, other, path, {name: digest for _, digest, name in printed}, said)


def test_every_type_that_is_known_here_is_tried() -> None:
    assert {*MANIFEST_TYPES, *INDEX_TYPES, *SCHEMA1_TYPES} == {*DOCUMENTS, *OLD}
    assert set(FOREIGN_LAYER_TYPES) == set(FOREIGN)
    types = {blob.media_type for parcel in DOCUMENTS.values() for blob in parcel.blobs.values()}
    assert types & {*IMAGE_CONFIG_TYPES} == {DOCKER_CONFIG, OCI_CONFIG}


@pytest.mark.parametrize("kind", PARCELS)
def test_a_type_is_pulled_and_pushed_byte_for_byte(site: Site, kind: str) -> None:
    parcel, contents = PARCELS[kind], site.contents
    assert site.digests[name_of(kind)] == str(parcel.digest)
    assert parcel.contents.items() <= contents.items()
    assert not {f"blobs/sha256/{digest.hex}" for digest in parcel.elsewhere} & contents.keys()
    assert all(f"{name_of(kind)}: left out layer {digest}" in site.said for digest in parcel.elsewhere)
    assert there(site.other, "app", parcel.documents) == texts_of(parcel.documents)


@pytest.mark.parametrize("kind", PARCELS)
def test_a_type_is_copied_byte_for_byte(site: Site, kind: str) -> None:
    run(site.origin, "copy", name_of(kind), name_of(kind).replace("/app:", "/copies:"))
    assert there(site.origin, "copies", PARCELS[kind].documents) == texts_of(PARCELS[kind].documents)


@pytest.mark.parametrize("kind", OLD)
def test_schema_1_is_pulled_pushed_and_copied_as_schema_2(site: Site, kind: str) -> None:
    digest = Digest.parse(site.digests[name_of(kind)])
    made = Blob(site.contents[f"blobs/sha256/{digest.hex}"], DOCKER_MANIFEST)
    assert isinstance(parse(made.content, made.media_type), Manifest)
    run(site.origin, "copy", name_of(kind), name_of(kind).replace("/app:", "/copies:"))
    assert there(site.other, "app", [made]) == there(site.origin, "copies", [made]) == texts_of([made])


def texts_of(documents: Sequence[Blob]) -> dict[str, str]:
    return {str(document.digest): document.content.decode() for document in documents}
