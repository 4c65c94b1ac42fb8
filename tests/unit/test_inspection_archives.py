"""What archives are made of: every kind that push reads, sparse ones too, and none of it is compressed or made."""

from __future__ import annotations

import json

import pytest

from ecrdrag.cli.choice import wish_of
from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError, IntegrityError, NotFoundError, UnsupportedError, UsageError
from ecrdrag.inspection.anatomy import Kind
from ecrdrag.inspection.story import InspectOptions, raw_of_archive
from ecrdrag.manifest import OCI_INDEX
from tests import kinds
from tests.archives import reading
from tests.inspected import document, image_with, looked_into, only, windows_image
from tests.kinds import Parcel, buildx_index, document_of, greeter, index
from tests.packed import packed, without
from tests.saved import (
    CONFIG,
    LAYER_TARS,
    NAME,
    Files,
    crane_archive,
    docker_archive,
    docker_save_new,
    docker_save_old,
)

INDEX = buildx_index()
AMD64, ARM64 = INDEX.of("amd64"), INDEX.of("arm64")
APP, OTHER = "registry.example.com/app:1", "registry.example.com/other:1"
ALL = packed({APP: INDEX})


def raw(files: Files, platform: str | None = None, *, config: bool = False, image: str | None = None) -> bytes:
    with reading(files) as archive:
        options = InspectOptions(wish_of([platform] if platform else None), image=image)
        return raw_of_archive(archive, options, config=config)


def config_of(parcel: Parcel) -> Digest:
    return Digest.parse(json.loads(parcel.root.content)["config"]["digest"])


def test_all_images_are_shown_with_their_names() -> None:
    found = looked_into(packed({APP: INDEX, OTHER: kinds.helm_chart()}))
    assert (found.where, found.is_archive) == ("app.tar", True)
    assert [(image.names, image.root.kind) for image in found.images] == [
        ((APP,), Kind.INDEX),
        ((OTHER,), Kind.ARTIFACT),
    ]


@pytest.mark.parametrize("wish", [OTHER, str(ARM64.digest), ARM64.digest.hex])
def test_one_image_is_chosen_as_push_does(wish: str) -> None:
    files = packed({APP: INDEX, OTHER: ARM64})
    assert only(looked_into(files, image=wish)).root.digest == ARM64.digest


def test_one_image_inside_an_index_is_chosen_by_its_digest() -> None:
    assert only(looked_into(ALL, image=str(AMD64.digest))).root.digest == AMD64.digest


def test_an_image_that_is_not_there_is_not_found_and_those_that_are_there_are_listed() -> None:
    with pytest.raises(NotFoundError, match="holds no image nothing") as info:
        looked_into(ALL, image="nothing")
    assert APP in info.value.hint


def test_a_platform_is_wanted_of_one_image_at_least() -> None:
    files = packed({APP: INDEX, OTHER: greeter("s390x", "x")})
    found = looked_into(files, "linux/arm64")
    assert [len(image.detailed) for image in found.images] == [1, 0]
    with pytest.raises(NotFoundError, match="it has linux/amd64, linux/arm64, linux/s390x"):
        looked_into(files, "linux/riscv64")


def test_what_an_archive_has_about_an_image_is_shown_with_no_question() -> None:
    about = kinds.all_about(AMD64)
    image = only(looked_into(packed({APP: INDEX}, about)))
    assert {one.tree.root.digest for one in image.referrers} == {each.digest for each in about}
    other = greeter("amd64", "other")
    found = looked_into(packed({APP: INDEX, OTHER: other}, [kinds.sbom(other)]))
    assert [len(image.referrers) for image in found.images] == [0, 1]


def test_indexes_are_opened_in_each_image_that_has_them() -> None:
    inner = index([AMD64])
    found = looked_into(packed({APP: index([inner]), OTHER: index([inner, ARM64])}))
    assert [image.root.parts[0].is_repeated for image in found.images] == [False, False]


def test_a_sparse_archive_says_what_is_missing() -> None:
    layer = next(digest for digest, blob in AMD64.blobs.items() if "layer" in blob.media_type)
    root = only(looked_into(without(ALL, ARM64.digest, layer), "linux/amd64")).root
    assert [part.missing for part in root.parts] == [False, True, False, False]
    assert [one.missing for one in root.parts[0].layers] == [True]
    assert root.parts[2].layers
    assert not any(one.missing for one in root.parts[2].layers)


def test_a_config_that_is_missing_is_said_to_be_even_where_it_is_not_wanted() -> None:
    found = only(looked_into(without(ALL, config_of(AMD64), config_of(ARM64)), "linux/amd64")).root.parts
    assert [part.config.missing if part.config else None for part in found] == [True, True, False, False]


def test_a_root_that_is_missing_is_an_error() -> None:
    with pytest.raises(ArchiveError, match="is missing"):
        looked_into(without(ALL, INDEX.digest))


@pytest.mark.parametrize("victim", [INDEX.digest, ARM64.digest, config_of(AMD64)], ids=["root", "child", "config"])
def test_damage_is_an_error(victim: Digest) -> None:
    name = f"blobs/sha256/{victim.hex}"
    files = {**ALL, name: bytes([ALL[name][0] ^ 1]) + ALL[name][1:]}
    with pytest.raises(IntegrityError):
        looked_into(files, "linux/amd64")


def test_a_layer_of_another_size_is_an_error() -> None:
    layer = next(digest for digest, blob in AMD64.blobs.items() if "layer" in blob.media_type)
    with pytest.raises(IntegrityError, match="its descriptor says"):
        looked_into({**ALL, f"blobs/sha256/{layer.hex}": b"short"})


def test_a_foreign_layer_is_there_where_the_archive_has_it() -> None:
    parcel = windows_image()
    (base,) = parcel.elsewhere.values()
    files = packed({APP: parcel})
    assert [layer.missing for layer in only(looked_into(files)).root.layers] == [True, False]
    files[f"blobs/sha256/{base.digest.hex}"] = base.content
    assert [layer.missing for layer in only(looked_into(files)).root.layers] == [False, False]


def test_a_referrer_of_an_image_is_kept_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    from ecrdrag.inspection import library

    monkeypatch.setattr(library, "MAX_KEPT", 3000)
    assert looked_into(packed({APP: AMD64}, [kinds.sbom(AMD64)]))
    with pytest.raises(UnsupportedError, match="more than 3000 bytes"):
        looked_into(packed({APP: AMD64}, [kinds.sbom(AMD64), kinds.in_toto(AMD64), kinds.signature(AMD64)]))


# Docker's own format


@pytest.mark.parametrize("write", [docker_save_old, docker_save_new, docker_archive, crane_archive])
def test_an_image_in_dockers_format_is_shown_as_it_lies_there(write: object) -> None:
    assert callable(write)
    files = write()
    found = document(looked_into(files))
    assert (found["references"], found["imageId"]) == ([NAME], str(Digest.of(CONFIG)))
    assert (found["digest"], found["mediaType"], found["kind"]) == (None, None, "image")
    assert found["config"]["diffIds"] == [str(Digest.of(tar)) for tar in LAYER_TARS]
    assert [layer["digest"] for layer in found["layers"]] == [None, None]
    assert [line["layer"] for line in found["history"]] == [0, 1]
    assert found["config"]["digest"] == str(Digest.of(CONFIG))
    assert found["blobs"] == 3
    assert found["totalSize"] == len(CONFIG) + sum(layer["size"] for layer in found["layers"])
    if write is not crane_archive:
        assert [layer["size"] for layer in found["layers"]] == [len(tar) for tar in LAYER_TARS]


def test_no_layer_of_dockers_format_is_read() -> None:
    layers = {f"{Digest.of(tar).hex}.tar": b"?" * len(tar) for tar in LAYER_TARS}
    assert set(layers) < set(docker_archive())
    assert only(looked_into({**docker_archive(), **layers})).root.total == sum(map(len, (CONFIG, *LAYER_TARS)))


def test_a_layer_that_comes_twice_counts_once_there_too() -> None:
    found = document(looked_into(docker_archive(tars=[LAYER_TARS[0]] * 2)))
    assert (len(found["layers"]), found["blobs"]) == (2, 2)
    assert found["totalSize"] == found["config"]["size"] + len(LAYER_TARS[0])


def test_a_platform_is_wanted_of_dockers_format_too() -> None:
    assert only(looked_into(docker_archive(), "linux/amd64")).detailed
    with pytest.raises(NotFoundError, match="it has linux/amd64"):
        looked_into(docker_archive(), "linux/arm64")


# Bytes as they are


def test_the_root_is_given_byte_for_byte() -> None:
    assert raw(ALL) == INDEX.root.content
    assert raw(packed({APP: INDEX, OTHER: ARM64}), image=OTHER) == ARM64.root.content


def test_with_a_platform_the_manifest_is_that_of_its_image() -> None:
    assert raw(ALL, "linux/arm64") == ARM64.root.content
    with pytest.raises(NotFoundError, match="has no image for linux/riscv64"):
        raw(ALL, "linux/riscv64")


def test_an_image_for_another_platform_is_not_given() -> None:
    assert raw(packed({APP: ARM64}), "linux/arm64") == ARM64.root.content
    with pytest.raises(NotFoundError, match="it has linux/arm64"):
        raw(packed({APP: ARM64}), "linux/amd64")


def test_a_config_is_given_byte_for_byte_whatever_it_is() -> None:
    assert raw(ALL, "linux/arm64", config=True) == ARM64.blobs[config_of(ARM64)].content
    assert raw(packed({APP: image_with(b"\xff\n")}), config=True) == b"\xff\n"
    assert raw(packed({APP: kinds.helm_chart()}), config=True).startswith(b'{"name": "hello"')


def test_bytes_are_of_one_image_alone() -> None:
    with pytest.raises(UsageError, match="holds 2 images: choose one with --image") as info:
        raw(packed({APP: INDEX, OTHER: ARM64}))
    assert OTHER in info.value.hint


def test_dockers_format_has_no_manifest_and_a_config() -> None:
    assert raw(docker_archive(), config=True) == CONFIG
    with pytest.raises(UnsupportedError, match="has no manifest") as info:
        raw(docker_archive())
    assert "--raw --config" in info.value.hint


def test_a_config_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="is missing"):
        raw(without(ALL, config_of(AMD64)), "linux/amd64", config=True)
    parcel = Parcel((document_of(OCI_INDEX, manifests=[]),))
    with pytest.raises(NotFoundError, match="no image at all"):
        raw(packed({APP: parcel}), config=True)
