"""Images whose layers become gzip or plain on their way: which, how, under which types, and what stays as it was."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from ecrdrag.archive.compress import Compression
from ecrdrag.content import Digest, Platform
from ecrdrag.conversion.converter import Converted, Converter
from ecrdrag.manifest import ATTESTED, DOCKER_MANIFEST, OCI_MANIFEST, Index, Manifest
from ecrdrag.resolve import Image, Wish
from tests.converting import (
    ALL,
    FAST,
    GZIP,
    OPEN_FILES,
    PLAIN,
    WHERE,
    Far,
    Part,
    Shown,
    Told,
    content_of,
    converting,
    found,
    image_of,
    tars_of,
    temporary_files,
    type_of,
)
from tests.images import Blob, tar_of
from tests.kinds import OCI_TAR, Parcel, attestation, buildx_index, foreign_image, helm_chart, image, index, zstd_image

SEED = 20240607
AT_ONCE = 8  # layers that are converted at once, each into a file
OWN_FILES = 64
TARS = [
    tar_of({"base": b"base " * 5000}),
    tar_of({"noise": random.Random(SEED).randbytes(700_000)}),
    tar_of({"top": b""}),
]


def image_in(far: Far, wish: Wish = ALL) -> Image:
    resolved = found(far, wish)
    assert isinstance(resolved, Image)
    return resolved


def root_of(converted: Converted) -> Manifest:
    root = converted.image.root
    assert isinstance(root, Manifest)
    return root


def types_of(manifest: Manifest) -> list[str]:
    return [layer.media_type for layer in manifest.layers]


@pytest.mark.parametrize("oci", [True, False], ids=["oci", "docker"])
@pytest.mark.parametrize("wanted", ["gzip", ""], ids=["to gzip", "to plain"])
@pytest.mark.parametrize("form", ["gzip", "zstd", ""], ids=["from gzip", "from zstd", "from plain"])
def test_layers_come_into_the_wanted_form_and_the_config_stays(form: str, wanted: str, oci: bool) -> None:
    far = Far(image_of([Part(tar, form) for tar in TARS], oci=oci))
    before = image_in(far)
    with converting(GZIP if wanted else PLAIN) as convert:
        converted = convert(far)
        manifest = root_of(converted)
        assert tars_of(converted, far, manifest) == TARS
    assert types_of(manifest) == [type_of(wanted, oci=oci)] * 3
    assert manifest.media_type == (OCI_MANIFEST if oci else DOCKER_MANIFEST)
    assert before.manifest is not None
    assert manifest.config == before.manifest.config
    assert (manifest is before.root) == (form == wanted)
    assert converted.image.tree.documents == (manifest,)
    assert (converted.image.manifest, converted.image.platform) == (manifest, Platform("linux", "amd64"))
    assert converted.image.configs == before.configs
    far.check_nothing_twice()


@pytest.mark.parametrize(
    ("parcel", "wish", "needs"),
    [
        (zstd_image(), None, False),
        (image(TARS), GZIP, False),
        (image(TARS), PLAIN, True),
        (zstd_image(), GZIP, True),
        (zstd_image(), PLAIN, True),
        (zstd_image(oci=False), GZIP, True),
        (image_of([Part(TARS[0], "")]), PLAIN, False),
        (image_of([Part(TARS[0], "")]), GZIP, True),
        (buildx_index(), GZIP, False),
        (buildx_index(), PLAIN, True),
        (helm_chart(), PLAIN, False),
        (attestation(image(TARS)), PLAIN, False),
        (image(TARS, layer_type=f"{OCI_TAR}+gzip+encrypted"), PLAIN, False),
        (image(TARS[:1], urls={0: "https://a.example/layer"}), PLAIN, False),
    ],
)
def test_whether_there_is_anything_to_convert_is_seen_in_types(
    parcel: Parcel, wish: Compression | None, needs: bool
) -> None:
    far, shown = Far(parcel), Shown()
    before = image_in(far)
    given = far.given.total()
    with Converter(wish, jobs=1, retry=FAST, stage=shown) as converter:
        assert (converter.convert(before, far, WHERE).image is before) is not needs
    assert (bool(shown.told), far.given.total() > given) == (needs, needs)


def test_only_layers_of_another_form_are_brought_and_what_lies_here_is_offered() -> None:
    far = Far(image_of([Part(TARS[0]), Part(TARS[1], "zstd"), Part(TARS[2])]))
    with converting() as convert:
        converted = convert(far)
        manifest = root_of(converted)
        assert set(converted.blobs) == {manifest.config.digest, manifest.layers[1].digest}
        assert tars_of(converted, far, manifest) == TARS
        assert content_of(converted, far, manifest.config) == far.blobs[manifest.config.digest]
    far.check_nothing_twice()


def test_foreign_layers_stay_what_they_are() -> None:
    parcel = foreign_image()
    far = Far(parcel)
    before = image_in(far)
    assert before.manifest is not None
    with converting(PLAIN) as convert:
        after = root_of(convert(far))
    assert after.layers[1] == before.manifest.layers[1]
    assert types_of(after)[0] == OCI_TAR
    assert not far.given.keys() & parcel.elsewhere.keys()


@pytest.mark.parametrize(
    ("form", "said", "wanted", "becomes"),
    [
        ("gzip", "zstd", GZIP, "gzip"),
        ("zstd", "", GZIP, "gzip"),
        ("", "zstd", GZIP, "gzip"),
        ("", "gzip", PLAIN, ""),
        ("zstd", "gzip", PLAIN, ""),
        ("gzip", "zstd", PLAIN, ""),
        ("bzip2", "zstd", GZIP, "gzip"),
        ("bzip2", "gzip", PLAIN, ""),
    ],
)
def test_what_a_layer_really_is_decides_and_its_new_type_is_true(
    form: str, said: str, wanted: Compression, becomes: str
) -> None:
    part = Part(TARS[0], form, said)
    far = Far(image_of([part]))
    with converting(wanted) as convert:
        converted = convert(far)
        manifest = root_of(converted)
        assert tars_of(converted, far, manifest) == TARS[:1]
        assert types_of(manifest) == [type_of(becomes)]
        assert (manifest.layers[0].digest == Digest.of(part.content)) == (form == becomes)
    far.check_nothing_twice()


def test_an_artifact_is_never_touched_though_its_layers_are_of_the_same_types() -> None:
    made = image_of([Part(TARS[0], "zstd"), Part(TARS[1], "zstd")])
    document = json.loads(made.root.content)
    document["config"]["mediaType"] = "application/vnd.example.config+json"
    del document["layers"][1]
    artifact = Parcel((Blob(json.dumps(document).encode(), OCI_MANIFEST),), made.blobs)
    with Converter(GZIP, jobs=1, retry=FAST, stage=Shown()) as converter:
        alone = image_in(Far(artifact))
        assert converter.convert(alone, Far(artifact), WHERE).image is alone
    with converting() as convert:
        image, beside = convert(Far(index([made, artifact]))).image.tree.manifests
    assert types_of(image) == [type_of("gzip")] * 2
    assert beside.raw == artifact.root.content


def test_an_index_names_the_new_images_and_attestations_follow_theirs() -> None:
    images = [image_of([Part(TARS[0], "zstd"), Part(TARS[1])], architecture=one) for one in ("amd64", "arm64")]
    kept = image_of([Part(TARS[2])], architecture="386")
    statements = [attestation(one) for one in images]
    far = Far(index([*images, kept, *statements]))
    before = image_in(far)
    with converting() as convert:
        converted = convert(far)
        root = converted.image.root
        assert isinstance(root, Index)
        *manifests, last = converted.image.tree.manifests[:3]
        for manifest in manifests:
            assert types_of(manifest) == [type_of("gzip")] * 2
            assert gzip.decompress(content_of(converted, far, manifest.layers[0])) == TARS[0]
    assert last.raw == kept.root.content
    assert not far.given.keys() & kept.blobs.keys()
    assert [each.digest for each in root.manifests] == [each.digest for each in converted.image.tree.manifests]
    assert [each.size for each in root.manifests] == [len(each.raw) for each in converted.image.tree.manifests]
    assert isinstance(before.root, Index)
    assert [each.platform for each in root.manifests] == [each.platform for each in before.root.manifests]
    assert [each.annotations.get(ATTESTED) for each in root.manifests[3:]] == [str(each.digest) for each in manifests]
    assert [each.raw for each in converted.image.tree.manifests[3:]] == [each.root.content for each in statements]
    assert converted.image.manifest is manifests[0]
    assert {manifest.config.digest for manifest in manifests} <= set(converted.image.configs) & set(converted.blobs)
    far.check_nothing_twice()


def test_one_image_of_an_index_is_converted_and_the_index_is_only_what_was_named() -> None:
    far = Far(index([zstd_image(), zstd_image("arm64")]))
    before = image_in(far, Wish((Platform("linux", "arm64"),)))
    with Converter(GZIP, jobs=2, retry=FAST, stage=Shown()) as converter:
        after = converter.convert(before, far, WHERE).image
    assert after.root is before.root
    assert after.tree.root is after.manifest
    assert after.manifest is not before.manifest
    assert after.platform == Platform("linux", "arm64")


def test_a_layer_that_several_images_share_is_brought_and_converted_once() -> None:
    shared = Part(TARS[1], "zstd")
    first = Far(image_of([shared, Part(TARS[0], "zstd")]))
    second = Far(image_of([shared, Part(TARS[2], "zstd")], oci=False))
    third = Far(image_of([shared]))
    shown = Shown()
    with converting(shown=shown) as convert:
        done = [(far, convert(far)) for far in (first, second, third)]
        digests = [root_of(converted).layers[0].digest for _, converted in done]
        for far, converted in done:
            assert tars_of(converted, far, root_of(converted))[0] == TARS[1]
    assert len(set(digests)) == 1
    assert [far.given[Digest.of(shared.content)] for far, _ in done] == [len(shared.content), 0, 0]
    assert [blobs for _, _, blobs, _, _ in shown.sums] == [2, 2, 1, 1]


def test_two_images_in_one_index_that_differ_in_compression_alone_become_one() -> None:
    gzipped = image_of([Part(tar) for tar in TARS])
    with converting() as convert:
        mine = root_of(convert(Far(image_of([Part(tar, "zstd") for tar in TARS]))))
        again = image_of([Part(tar, "zstd") for tar in TARS], architecture="amd64")
        converted = convert(Far(index([again, gzipped, Parcel((Blob(mine.raw, OCI_MANIFEST),))])))
    digests = [document.digest for document in converted.image.tree.documents]
    assert len(digests) == len(set(digests)) == 3
    assert isinstance(converted.image.root, Index)
    assert [each.digest for each in converted.image.root.manifests] == [mine.digest, gzipped.digest, mine.digest]


@pytest.mark.parametrize("wish", ["gzip", "gzip:1", "none"])
def test_the_bytes_are_the_same_with_any_number_of_jobs_and_whatever_came_before(wish: str) -> None:
    def convert_all(jobs: int, *earlier: Far) -> tuple[bytes, ...]:
        far = Far(
            index([image_of([Part(tar, "zstd") for tar in TARS], architecture=one) for one in ("amd64", "arm64")])
        )
        with converting(Compression.parse(wish), jobs=jobs) as convert:
            for each in earlier:
                convert(each)
            converted = convert(far)
            contents = [content_of(converted, far, blob) for blob in converted.image.tree.blobs]
        return (*(document.raw for document in converted.image.tree.documents), *contents)

    other = Far(image_of([Part(TARS[2], "zstd"), Part(b"another" * 1000, "zstd")]))
    assert len({convert_all(1), convert_all(7), convert_all(3, other)}) == 1


def test_a_level_is_obeyed() -> None:
    far = Far(zstd_image())
    sizes = []
    for level in (1, 9):
        with converting(Compression.parse(f"gzip:{level}")) as convert:
            sizes.append(root_of(convert(far)).layers[0].size)
    assert sizes[0] > sizes[1]


def test_both_stages_tell_all_that_moves() -> None:
    parts = [Part(tar, "zstd") for tar in TARS]
    shown = Shown()
    with converting(shown=shown) as convert:
        convert(Far(image_of([*parts, Part(b"in form already")])))
    size = sum(len(part.content) for part in parts)
    assert shown.sums == [("fetch to convert", size, 3, size, 3), ("convert", size, 3, size, 3)]


@pytest.mark.parametrize(
    "rootfs", [{}, {"rootfs": None}, {"rootfs": {"type": "layers"}}, {"rootfs": {"diff_ids": None}}]
)
def test_a_config_that_says_nothing_of_its_layers_holds_them_to_nothing(rootfs: dict[str, object]) -> None:
    config = Blob(json.dumps({"os": "linux", "architecture": "amd64", **rootfs}).encode(), "")
    parcel = image_of([Part(TARS[0], "zstd")])
    document = json.loads(parcel.root.content)
    document["config"] |= {"digest": str(config.digest), "size": len(config.content)}
    root = Blob(json.dumps(document).encode(), OCI_MANIFEST)
    far = Far(Parcel((root,), {**parcel.blobs, config.digest: config}))
    with converting() as convert:
        converted = convert(far)
        assert tars_of(converted, far, root_of(converted)) == TARS[:1]


def test_an_empty_layer_and_one_of_zeros_are_converted_too() -> None:
    tars = [b"", bytes(1024), bytes(3_000_000)]
    far = Far(image_of([Part(tar, "zstd") for tar in tars]))
    with converting() as convert:
        converted = convert(far)
        assert tars_of(converted, far, root_of(converted)) == tars


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system doesn't list open files")
def test_space_of_layers_is_given_back_as_soon_as_they_are_converted_and_files_are_not_too_many() -> None:
    class Counting(Told):
        def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
            most.append(len(ours()))
            super().begin(size, blobs, landed=landed)

    def ours() -> dict[Path, int]:
        """Leave out what earlier tests have left open."""
        return {file: size for file, size in temporary_files().items() if file not in before}

    tars = [TARS[1], *(tar_of({f"file-{place}": bytes([place]) * place * 7}) for place in range(150))]
    far, before = Far(image_of([Part(tar, "zstd") for tar in tars])), temporary_files()
    most: list[int] = []
    with converting(shown=Shown(convert=Counting)) as convert:
        converted = convert(far)
        manifest = root_of(converted)
        assert len(ours()) <= AT_ONCE + 1
        assert sum(ours().values()) < sum(layer.size for layer in manifest.layers) + len(TARS[1]) // 2
        assert tars_of(converted, far, manifest) == tars
    assert ours() == {}
    assert most[0] <= OWN_FILES + 1


def test_the_streams_are_what_gzip_reads() -> None:
    far = Far(zstd_image())
    with converting() as convert:
        converted = convert(far)
        layer = root_of(converted).layers[1]
        assert b"\x7fELF" in gzip.decompress(content_of(converted, far, layer))
