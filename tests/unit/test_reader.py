"""Archives of every kind, read: which images are there, what they become, what is refused."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import zstandard

from ecrdrag.archive.compress import Compression
from ecrdrag.archive.convert import Conversion
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import ArchiveError, EcrdragError, IntegrityError, NotFoundError, TransferError, UnsupportedError
from ecrdrag.manifest import DOCKER_MANIFEST, OCI_MANIFEST, Index, Manifest
from tests.archives import reading
from tests.images import Image, hello_image, image_of, index_of, tar_of
from tests.saved import (
    CONFIG,
    LAYER_TARS,
    NAME,
    Files,
    Link,
    config_of,
    crane_archive,
    docker_archive,
    docker_save_new,
    docker_save_old,
    oci_layout,
)

PLAIN_KINDS = {"old": docker_save_old(), "new": docker_save_new(), "skopeo": docker_archive()}


def content_of(reader: ArchiveReader, blob: Descriptor) -> bytes:
    assert reader.holds(blob)
    return b"".join(bytes(view) for view in reader.read(blob, 0, blob.size))


def manifest_in(files: Files, conversion: Conversion | None = None) -> tuple[Manifest, list[bytes]]:
    """Read the one image of an archive: its manifest, its config and its layers."""
    with reading(files, conversion) as reader:
        (image,) = reader.images
        read: list[int] = []
        reader.prepare([image], read.append)
        assert reader.size_to_prepare([image]) == 0
        root = reader.root(image)
        assert isinstance(root, Manifest)
        return root, [content_of(reader, blob) for blob in (root.config, *root.layers)]


def refused(files: Files, conversion: Conversion | None = None) -> EcrdragError:
    with pytest.raises(EcrdragError) as caught:
        manifest_in(files, conversion)
    assert str(caught.value).startswith("app.tar")
    return caught.value


@pytest.mark.parametrize("kind", PLAIN_KINDS)
def test_plain_layers_become_gzip_and_the_config_stays_byte_for_byte(kind: str) -> None:
    manifest, (config, *layers) = manifest_in(PLAIN_KINDS[kind])
    assert (manifest.media_type, config) == (DOCKER_MANIFEST, CONFIG)
    assert [gzip.decompress(layer) for layer in layers] == list(LAYER_TARS)
    assert [Digest.of(layer) for layer in layers] == [layer.digest for layer in manifest.layers]
    assert {layer.media_type for layer in manifest.layers} == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}


def test_the_same_image_has_one_digest_whatever_saved_it_and_however_often() -> None:
    digests = {manifest_in(files)[0].digest for files in [*PLAIN_KINDS.values()] * 2}
    assert len(digests) == 1


def test_layers_stay_plain_where_no_compression_is_wanted() -> None:
    manifest, (_, *layers) = manifest_in(docker_save_old(), Conversion(Compression.parse("none")))
    assert layers == list(LAYER_TARS)
    assert {layer.media_type for layer in manifest.layers} == {"application/vnd.docker.image.rootfs.diff.tar"}


def test_a_level_is_obeyed() -> None:
    sizes = [
        manifest_in(docker_save_old(), Conversion(Compression.parse(f"gzip:{level}")))[0].layers[1].size
        for level in (1, 9)
    ]
    assert sizes[0] > sizes[1]


def test_an_oci_manifest_is_made_on_demand() -> None:
    manifest, (config, *_) = manifest_in(docker_save_old(), Conversion(format="oci"))
    assert (manifest.media_type, config) == (OCI_MANIFEST, CONFIG)
    assert manifest.config.media_type == "application/vnd.oci.image.config.v1+json"
    assert {layer.media_type for layer in manifest.layers} == {"application/vnd.oci.image.layer.v1.tar+gzip"}


@pytest.mark.parametrize("format_", [None, "docker"])
def test_gzip_layers_are_kept_byte_for_byte(format_: str | None) -> None:
    files = crane_archive()
    manifest, (config, *layers) = manifest_in(files, Conversion(format=format_))
    assert (manifest.media_type, config) == (DOCKER_MANIFEST, CONFIG)
    assert layers == [gzip.compress(tar, mtime=0) for tar in LAYER_TARS]


def test_zstd_layers_are_kept_and_make_the_image_an_oci_one() -> None:
    packed = zstandard.ZstdCompressor().compress
    manifest, (_, *layers) = manifest_in(docker_archive(pack=packed))
    assert (manifest.media_type, layers) == (OCI_MANIFEST, [packed(tar) for tar in LAYER_TARS])
    assert {layer.media_type for layer in manifest.layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_layers_that_no_registry_takes_are_compressed_anew(pack: object) -> None:
    files = docker_archive(pack=pack)  # type: ignore[arg-type]
    assert manifest_in(files)[0].digest == manifest_in(docker_archive())[0].digest
    none = Conversion(Compression.parse("none"))
    assert manifest_in(files, none)[1][1:] == list(LAYER_TARS)


def test_a_layer_that_comes_twice_is_a_link_and_is_read_once() -> None:
    tars = [LAYER_TARS[0], LAYER_TARS[1], LAYER_TARS[0]]
    files = docker_save_old(tars=tars)
    assert any(isinstance(content, Link) for content in files.values())
    with reading(files) as reader:
        read: list[int] = []
        assert reader.size_to_prepare(reader.images) == sum(map(len, LAYER_TARS))
        reader.prepare(reader.images, read.append)
        assert sum(read) == sum(map(len, LAYER_TARS))
        root = reader.root(reader.images[0])
        assert isinstance(root, Manifest)
        assert root.layers[0] == root.layers[2] != root.layers[1]


@pytest.mark.parametrize("names", [(NAME, "app:latest"), ("app:1",), (), None])
@pytest.mark.parametrize("kind", [docker_save_old, docker_save_new, docker_archive, crane_archive])
def test_names_are_those_of_the_archive(kind: object, names: tuple[str, ...] | None) -> None:
    with reading(kind(names)) as reader:  # type: ignore[operator]
        (image,) = reader.images
        assert (image.names, image.digest) == (names or (), Digest.of(CONFIG))


def entries_of(files: Mapping[str, bytes | Link]) -> list[dict[str, object]]:
    manifest = files["manifest.json"]
    assert isinstance(manifest, bytes)
    entries: list[dict[str, object]] = json.loads(manifest)
    return entries


@pytest.mark.parametrize("link", [False, True])
def test_one_image_under_several_entries_has_the_names_of_all(link: bool) -> None:
    files = docker_archive(["x:1"])
    (entry,) = entries_of(files)
    config: bytes | Link = Link(str(entry["Config"])) if link else CONFIG
    both = [entry, {**entry, "Config": "again", "RepoTags": ["x:2", "x:1"]}]
    with reading({**files, "again": config, "manifest.json": json.dumps(both).encode()}) as reader:
        assert [image.names for image in reader.images] == [("x:1", "x:2")]


def test_names_of_one_image_are_not_those_of_another() -> None:
    one, two = docker_archive(["x:1"]), docker_archive(["y:1"], LAYER_TARS[:1])
    both = entries_of(one) + entries_of(two)
    with reading({**one, **two, "manifest.json": json.dumps(both).encode()}) as reader:
        assert [image.names for image in reader.images] == [("x:1",), ("y:1",)]


def test_one_file_for_two_layers_is_damaged_for_one_of_them() -> None:
    files = docker_archive()
    (entry,) = entries_of(files)
    layers = entry["Layers"]
    assert isinstance(layers, list)
    for twice in (layers[:1] * 2, layers[1:] * 2):
        wrong = json.dumps([{**entry, "Layers": twice}]).encode()
        assert isinstance(refused({**files, "manifest.json": wrong}), IntegrityError)


def test_a_size_that_the_index_says_wrong_is_refused() -> None:
    files = layout_of(hello_image())
    index = json.loads(files["index.json"])  # type: ignore[arg-type]
    index["manifests"][0]["size"] += 1
    error = refused({**files, "index.json": json.dumps(index).encode()})
    assert isinstance(error, IntegrityError)
    assert "index.json says" in str(error)


def test_an_image_without_layers_is_one() -> None:
    manifest, contents = manifest_in(docker_save_old(tars=[]))
    assert (manifest.layers, contents) == ((), [config_of([])])


def layout_of(image: Image) -> dict[str, bytes | Link]:
    return oci_layout({"1.2": image})


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("oci", [True, False])
def test_the_manifest_of_a_layout_is_kept_byte_for_byte(oci: bool, compressed: bool) -> None:
    image = image_of(LAYER_TARS, oci=oci, compressed=compressed)
    manifest, contents = manifest_in(layout_of(image))
    assert (manifest.raw, manifest.media_type) == (image.manifest.content, image.manifest.media_type)
    assert contents == [blob.content for blob in (image.config, *image.layers)]


def test_a_manifest_without_a_media_type_has_that_of_the_index() -> None:
    image = hello_image()
    raw = json.dumps({key: value for key, value in json.loads(image.manifest.content).items() if key != "mediaType"})
    bare = Image(type(image.manifest)(raw.encode(), DOCKER_MANIFEST), image.config, image.layers, image.platform)
    assert manifest_in(layout_of(bare))[0].media_type == DOCKER_MANIFEST


def test_json_of_several_megabytes_is_read_as_it_is() -> None:
    files = docker_save_old()
    manifest = files["manifest.json"]
    assert isinstance(manifest, bytes)
    padding = b"".join(b"%7d " % number for number in range(400_000))
    wide = manifest[:-2] + b',"Padding":"' + padding + b'"}]'
    assert manifest_in({**files, "manifest.json": wide})[0] == manifest_in(files)[0]


def test_an_index_is_given_whole() -> None:
    index = index_of([hello_image("amd64"), hello_image("arm64")])
    with reading(oci_layout({"multi": index})) as reader:
        (image,) = reader.images
        root = reader.root(image)
        assert isinstance(root, Index)
        assert root.raw == index.manifest.content
        for entry, one in zip(root.manifests, index.images, strict=True):
            child = reader.manifest(digest=entry.digest)
            assert isinstance(child, Manifest)
            assert content_of(reader, child.config) == one.config.content


def test_a_name_in_an_index_is_the_full_one_where_there_is_one() -> None:
    files = layout_of(hello_image())
    index = json.loads(files["index.json"])  # type: ignore[arg-type]
    index["manifests"][0]["annotations"]["io.containerd.image.name"] = NAME
    files["index.json"] = json.dumps(index).encode()
    with reading(files) as reader:
        assert reader.images[0].names == (NAME,)


def test_an_image_under_two_names_is_one_image() -> None:
    image = hello_image()
    files = oci_layout({"a:1": image, "b:2": image})
    with reading(files) as reader:
        assert [one.names for one in reader.images] == [("a:1", "b:2")]


def test_a_tag_finds_the_image_with_that_name() -> None:
    hello, other = hello_image(), hello_image("arm64")
    with reading(oci_layout({"x/app:1": hello, "2": other})) as reader:
        assert reader.manifest(tag="1").digest == hello.manifest.digest
        assert reader.manifest(tag="2", digest=other.manifest.digest).digest == other.manifest.digest
        for tag, digest in (("3", None), ("2", hello.manifest.digest)):
            with pytest.raises(NotFoundError):
                reader.manifest(tag=tag, digest=digest)


def test_after_abort_nothing_is_read() -> None:
    image = hello_image()
    with reading(layout_of(image)) as reader:
        reader.abort()
        with pytest.raises(TransferError, match="stopped"):
            content_of(reader, Descriptor("", image.config.digest, len(image.config.content)))


def with_sources(digests: Sequence[str]) -> dict[str, bytes | Link]:
    """Give an OCI archive with a manifest.json beside, whose LayerSources have these keys."""
    image = image_of(LAYER_TARS)
    paths = [f"blobs/sha256/{layer.digest.hex}" for layer in image.layers]
    entry = {
        "Config": f"blobs/sha256/{image.config.digest.hex}",
        "RepoTags": [NAME],
        "Layers": paths,
        "LayerSources": {digest: {} for digest in digests},
    }
    return {**oci_layout({NAME: image}), "manifest.json": json.dumps([entry]).encode()}


def test_sources_by_the_registry_s_digests_leave_the_manifest_as_it_is() -> None:
    image = image_of(LAYER_TARS)  # as regctl writes them
    assert manifest_in(with_sources([str(layer.digest) for layer in image.layers]))[0].raw == image.manifest.content
    by_plain_tar = manifest_in(with_sources([str(Digest.of(tar)) for tar in LAYER_TARS]))[0]  # as docker does
    assert by_plain_tar.digest != image.manifest.digest


def test_parts_of_an_index_that_are_listed_beside_it_are_no_images_of_their_own() -> None:
    index = index_of([hello_image("amd64"), hello_image("arm64")])
    files = oci_layout([index.images[0], index, index.images[1]])  # as oras writes them
    with reading(files) as reader:
        assert [image.digest for image in reader.images] == [index.manifest.digest]
    named = oci_layout({"": index, "arm": index.images[1]})
    with reading(named) as reader:
        assert [image.names for image in reader.images] == [(), ("arm",)]


def test_a_listed_index_that_is_missing_is_no_reason_to_list_nothing() -> None:
    index = index_of([hello_image("amd64")])
    files = oci_layout([index, index.images[0]])
    del files[f"blobs/sha256/{index.manifest.digest.hex}"]
    with reading(files) as reader:
        assert len(reader.images) == 2


def changed(files: Mapping[str, bytes | Link], name: str, content: bytes | None) -> dict[str, bytes | Link]:
    kept = {key: value for key, value in files.items() if key != name}
    return kept if content is None else {**kept, name: content}


def first_layer(files: Files) -> str:
    return next(name for name, content in files.items() if content in LAYER_TARS)


OLD, NEW, LAYOUT = docker_save_old(), docker_save_new(), layout_of(hello_image())
CONFIG_NAME = f"{Digest.of(CONFIG).hex}.json"
MANIFEST_PATH = f"blobs/sha256/{hello_image().manifest.digest.hex}"
OTHER_TAR = tar_of({"other": b"other"})


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ({}, ArchiveError, "neither oci-layout nor manifest.json, but no file at all"),
        ({"bin/hello": b""}, ArchiveError, "neither oci-layout nor manifest.json, but 'bin/hello'"),
        (dict.fromkeys("abcde", b""), ArchiveError, "but 'a', 'b', 'c' and 2 more"),
        ({"repositories": b"{}"}, UnsupportedError, "docker before 1.10"),
        (changed(OLD, "manifest.json", b"no JSON"), ArchiveError, "manifest.json is not JSON"),
        (changed(OLD, "manifest.json", b"[" * 100_000), ArchiveError, "manifest.json is not JSON"),
        (changed(OLD, "manifest.json", b" " * (4 * 2**20 + 1)), ArchiveError, "over the limit of 4194304"),
        (changed(OLD, "manifest.json", b"{}"), ArchiveError, "is no list of 1 to 1000 images"),
        (changed(OLD, "manifest.json", b"[]"), ArchiveError, "is no list of 1 to 1000 images"),
        (changed(OLD, "manifest.json", b"null"), ArchiveError, "is no list of 1 to 1000 images"),
        (changed(OLD, "manifest.json", b"[1]"), ArchiveError, "an entry has no Config"),
        (changed(OLD, "manifest.json", b'[{"Config":1}]'), ArchiveError, "an entry has no Config"),
        (changed(OLD, "manifest.json", b'[{"Config":"x","Layers":7}]'), ArchiveError, "Layers is no list of strings"),
        (changed(OLD, "manifest.json", b'[{"Config":"x","RepoTags":[7]}]'), ArchiveError, "RepoTags is no list"),
        (changed(OLD, "manifest.json", b'[{"Config":"../x"}]'), ArchiveError, "the config ../x is missing"),
        (changed(OLD, "manifest.json", b'[{"Config":"/etc/passwd"}]'), ArchiveError, "/etc/passwd is missing"),
        (changed(OLD, CONFIG_NAME, None), ArchiveError, f"the config {CONFIG_NAME} is missing"),
        (changed(OLD, CONFIG_NAME, CONFIG + b" "), IntegrityError, f"{CONFIG_NAME} is damaged"),
        (changed(OLD, first_layer(OLD), None), ArchiveError, f"a layer {first_layer(OLD)} is missing"),
        (changed(OLD, first_layer(OLD), OTHER_TAR), IntegrityError, f"layer {first_layer(OLD)} is damaged"),
        (changed(NEW, first_layer(NEW), OTHER_TAR), IntegrityError, f"layer {first_layer(NEW)} is damaged"),
        (changed(LAYOUT, "index.json", None), ArchiveError, "index.json is missing"),
        (changed(LAYOUT, "index.json", b"{"), UnsupportedError, "index.json: the manifest is not JSON"),
        (changed(LAYOUT, "index.json", b'{"schemaVersion":2,"manifests":[]}'), ArchiveError, "lists 0 images"),
        (changed(LAYOUT, "oci-layout", b"[]"), UnsupportedError, "an OCI layout of version None"),
        (changed(LAYOUT, "oci-layout", b'{"imageLayoutVersion":"2"}'), UnsupportedError, "of version '2', not 1.0.0"),
        (changed(LAYOUT, MANIFEST_PATH, None), ArchiveError, f"{MANIFEST_PATH} is missing"),
        (changed(LAYOUT, MANIFEST_PATH, b"{}"), IntegrityError, f"{MANIFEST_PATH} is damaged"),
    ],
)
def test_what_is_wrong_with_an_archive_is_said(files: Files, kind: type[EcrdragError], said: str) -> None:
    error = refused(files)
    assert said in str(error)
    assert type(error) is kind


def test_a_config_that_knows_another_number_of_layers_is_refused() -> None:
    files = docker_save_old()
    config = config_of([LAYER_TARS[0]])
    manifest = json.loads(files["manifest.json"])  # type: ignore[arg-type]
    manifest[0]["Config"] = "config"
    wrong = {**files, "config": config, "manifest.json": json.dumps(manifest).encode()}
    assert "manifest.json names 2 layers, config knows 1" in str(refused(wrong))


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (b"{}", UnsupportedError),
        (b"no", UnsupportedError),
        (b'{"rootfs":{"diff_ids":["x","y"]}}', ArchiveError),
        (b'{"rootfs":{"diff_ids":[1,2]}}', ArchiveError),
    ],
)
def test_a_config_without_layer_digests_is_refused(config: bytes, kind: type[EcrdragError]) -> None:
    manifest = json.loads(docker_save_old()["manifest.json"])  # type: ignore[arg-type]
    manifest[0]["Config"] = "config"
    files = {**docker_save_old(), "config": config, "manifest.json": json.dumps(manifest).encode()}
    assert type(refused(files)) is kind


def test_a_gzip_layer_whose_tar_is_another_is_refused() -> None:
    files = crane_archive()
    name = next(name for name in files if name.endswith(".tar.gz"))
    error = refused({**files, name: gzip.compress(OTHER_TAR)})
    assert isinstance(error, IntegrityError)
    assert f"layer {name} is damaged" in str(error)


def test_a_layer_cut_short_in_its_compression_is_refused() -> None:
    files = crane_archive()
    name = next(name for name in files if name.endswith(".tar.gz"))
    content = files[name]
    assert isinstance(content, bytes)
    assert "is cut short" in str(refused({**files, name: content[:-9]}))


def test_a_blob_of_another_size_than_its_descriptor_is_damaged() -> None:
    image = hello_image()
    with reading(layout_of(image)) as reader, pytest.raises(IntegrityError, match="its descriptor says 1"):
        reader.holds(Descriptor("", image.config.digest, 1))


def test_what_is_not_there_is_not_held() -> None:
    with reading(LAYOUT) as reader:
        nowhere = Descriptor("", Digest.of(b"nowhere"), 7)
        assert not reader.holds(nowhere)
        with pytest.raises(ArchiveError, match="is missing"):
            list(reader.read(nowhere, 0, 7))


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    manifest_in(docker_save_old())
    refused(changed(OLD, first_layer(OLD), OTHER_TAR))
    assert list(tmp_path.iterdir()) == []
