"""Conversions of what a registry serves over HTTP: ranged, in parallel, each byte once, the same as from anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ecrdrag.archive.compress import Compression
from ecrdrag.content import Digest, Platform
from ecrdrag.conversion.converter import Converted, Converter
from ecrdrag.errors import TransferError
from ecrdrag.localecr.faults import FaultScript
from ecrdrag.manifest import ATTESTED, Index
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Source
from ecrdrag.resolve import Resolver, Wish
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.routes import Routes
from tests.converting import FAST, GZIP, PLAIN, Far, Part, Shown, image_of, type_of, unpacked
from tests.flow.copies import Site, api_of, site, source_at
from tests.images import tar_of
from tests.kinds import attestation, index, put
from tests.schema1_images import hello_schema1, put_old_image

REFERENCE = ImageReference.parse("123456789012.dkr.ecr.us-west-2.amazonaws.com/team/app:1")
OLD = ImageReference.parse(f"{REFERENCE.name}:old")
WISH = Wish((Platform("linux", "arm64"),), explicit=False, everything=True)
HONEST = FaultScript()
SHARED, SMALL = tar_of({"shared": b"shared " * 30_000}), tar_of({"small": b"x"})
LARGE = tar_of({"noise": random.Random(20240607).randbytes(5 * 1024 * 1024)})
PARTS = {tar: Part(tar, "zstd") for tar in (SHARED, LARGE, SMALL)}
IMAGES = [
    image_of([PARTS[SHARED], PARTS[LARGE]], architecture="amd64"),
    image_of([PARTS[SHARED], PARTS[SMALL]], architecture="arm64"),
]
BOTH = index([*IMAGES, *map(attestation, IMAGES)])
SIZE = sum(len(part.content) for part in PARTS.values())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("ecr")) as there, api_of(there, REFERENCE) as api:
        api.create_repository(repositoryName=REFERENCE.repository)
        put(api, REFERENCE.repository, BOTH, "1")
        put_old_image(api, REFERENCE.repository, hello_schema1(), "old")
        yield there


@pytest.fixture
def place(registry: Site) -> Iterator[Site]:
    yield registry
    registry.faults.play(HONEST)


def converted_by(converter: Converter, source: Source, reference: ImageReference = REFERENCE) -> Converted:
    found = Resolver(source, reference.name, FAST).resolve(reference, WISH)
    return converter.convert(found, source, reference.name)


def documents_of(source: Source, wish: Compression = GZIP, jobs: int = 5) -> list[bytes]:
    with Converter(wish, jobs=jobs, retry=FAST, stage=Shown()) as converter:
        return [document.raw for document in converted_by(converter, source).image.tree.documents]


@pytest.mark.parametrize("wish", [GZIP, PLAIN], ids=["gzip", "plain"])
def test_a_whole_index_is_converted_and_each_byte_of_it_comes_once(place: Site, wish: Compression) -> None:
    shown, links = Shown(), place.recorder.count("GetDownloadUrlForLayer")
    with source_at(place, REFERENCE) as source, Converter(wish, jobs=5, retry=FAST, stage=shown) as converter:
        converted = converted_by(converter, source)
        tree, routes = converted.image.tree, Routes(source, converted.blobs)
        images = tree.manifests[:2]
        tars = [[unpacked(one, fetch(one, routes)) for one in image.layers] for image in images]
        for image in images:
            fetch(image.config, routes)
    assert tars == [[SHARED, LARGE], [SHARED, SMALL]]
    assert {one.media_type for image in images for one in image.layers} == {type_of("" if wish.plain else "gzip")}
    assert isinstance(tree.root, Index)
    assert tree.root.manifests[3].annotations[ATTESTED] == str(images[1].digest)
    assert converted.image.manifest is images[1]
    assert place.recorder.count("GetDownloadUrlForLayer") - links == len(PARTS) + len(images)
    assert shown.sums == [("fetch to convert", SIZE, 3, SIZE, 3), ("convert", SIZE, 3, SIZE, 3)]


def test_the_bytes_are_those_that_any_other_source_leads_to(place: Site) -> None:
    with source_at(place, REFERENCE) as source:
        assert documents_of(source) == documents_of(Far(BOTH), jobs=1)


def test_cut_connections_and_wrong_bytes_are_made_good(place: Site) -> None:
    with source_at(place, REFERENCE) as source:
        honest = documents_of(source)
        place.faults.play(FaultScript.parse("blob 3x cut 1000\nblob flip 500"))
        assert documents_of(source) == honest


def test_a_registry_that_gives_no_layer_is_given_up(place: Site) -> None:
    with source_at(place, REFERENCE) as source, Converter(GZIP, jobs=5, retry=FAST, stage=Shown()) as converter:
        found = Resolver(source, REFERENCE.name, FAST).resolve(REFERENCE, WISH)
        place.faults.play(FaultScript.parse("blob 90x cut 0"))
        with pytest.raises(TransferError) as caught:
            converter.convert(found, source, REFERENCE.name)
    assert str(caught.value).startswith(f"{REFERENCE.name}: gave up on ")


def test_the_blobs_of_a_schema_1_image_are_measured_and_brought_once(place: Site) -> None:
    links = place.recorder.count("GetDownloadUrlForLayer")
    with source_at(place, OLD) as source, Converter(None, jobs=5, retry=FAST, stage=Shown()) as converter:
        converted = converted_by(converter, source, OLD)
        manifest, routes = converted.image.manifest, Routes(source, converted.blobs)
        assert manifest is not None
        assert [Digest.of(fetch(blob, routes)) for blob in manifest.blobs] == [blob.digest for blob in manifest.blobs]
        assert b"\x7fELF" in unpacked(manifest.layers[0], fetch(manifest.layers[0], routes))
    needed = {layer.digest for layer in manifest.layers}
    assert place.recorder.count("GetDownloadUrlForLayer") - links <= len(needed) + 1, "one more turns out to be empty"
