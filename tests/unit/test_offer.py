"""What a shelf has on it: each image once under each label, where its blobs lie, and limits."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ecrdrag import offer as offering
from ecrdrag.archive.compress import Compression
from ecrdrag.archive.convert import Conversion
from ecrdrag.archive.intake import open_members
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.errors import UnsupportedError, UsageError
from ecrdrag.manifest import OCI_INDEX, OCI_MANIFEST
from ecrdrag.offer import offer
from ecrdrag.shelf import Shelf
from ecrdrag.transfer.progress import Progress, Silence
from tests.images import Blob, ImageIndex, hello_image, image_of, index_of
from tests.kinds import Parcel, cosign_signature, parcel_of, sbom, signature, wasm
from tests.packed import packed
from tests.saved import LAYER_TARS, Files, docker_save_old, oci_layout, tar_with

HELLO = hello_image()
ARM = hello_image("arm64")
BOTH = index_of([HELLO, ARM])
HEX_TAG = "0" * 64


class Stages:
    """Note which stages there were, and how many bytes each was said to have and had."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int | None]] = []

    @contextmanager
    def __call__(self, label: str) -> Iterator[Progress]:
        outer = self

        class Noted(Silence):
            def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
                outer.seen.append((label, size))

        yield Noted()


class Archives:
    """Write archives into a folder and offer them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stages = Stages()
        self._stack = stack
        self.readers: list[ArchiveReader] = []

    def add(self, name: str, files: Files) -> Path:
        path = self.folder / name
        path.write_bytes(tar_with(files))
        with path.open("rb") as stdin:
            members = open_members(path, stdin, lambda _: None)
        self.readers.append(self._stack.enter_context(ArchiveReader(members, Conversion(Compression(None)))))
        return path

    def shelf(self) -> Shelf:
        return offer(self.readers, self.stages)


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[Archives]:
    with ExitStack() as stack:
        yield Archives(tmp_path, stack)


def lines(shelf: Shelf) -> list[str]:
    return [str(image) for image in shelf.images]


def test_blobs_lie_where_the_archive_has_them(archives: Archives) -> None:
    path = archives.add("app.tar", oci_layout({"r.io/app:1": BOTH}))
    whole, shelf = path.read_bytes(), archives.shelf()
    wanted = {digest: one.content for image in BOTH.images for digest, one in image.blobs.items()}
    assert {digest: whole[at.offset : at.offset + at.size] for digest, at in shelf.blobs.items()} == wanted
    assert {at.name for at in shelf.blobs.values()} == {str(path)}


def test_the_documents_of_an_image_end_with_its_root(archives: Archives) -> None:
    archives.add("app.tar", oci_layout({"r.io/app:1": BOTH}))
    (image,) = archives.shelf().images
    blobs = [HELLO.manifest, ARM.manifest, BOTH.manifest]
    assert [one.raw for one in image.documents] == [one.content for one in blobs]
    assert image.digest == BOTH.manifest.digest


def test_an_image_is_there_once_however_often_it_is_named(archives: Archives) -> None:
    for name in ("one.tar", "two.tar"):
        archives.add(name, oci_layout({"a.io/app:1": HELLO, "b.io/app:1": HELLO, "b.io/app:2": HELLO, "2": HELLO}))
    assert lines(archives.shelf()) == ["app:1", "app:2", "one:2", "two:2"]


def test_a_tag_of_64_hex_digits_is_one_in_dockers_format_only(archives: Archives) -> None:
    archives.add("layout.tar", oci_layout({f"r.io/app:{HEX_TAG}": HELLO}))
    archives.add("docker.tar", docker_save_old([f"r.io/saved:{HEX_TAG}"]))
    assert lines(archives.shelf()) == [f"app@{HELLO.manifest.digest}", f"saved:{HEX_TAG}"]


def test_two_pulls_by_digest_are_no_two_images_of_one_name(archives: Archives) -> None:
    archives.add("one.tar", oci_layout({f"r.io/app:{HEX_TAG}": HELLO}))
    archives.add("two.tar", oci_layout({f"r.io/app:{HEX_TAG}": ARM}))
    assert lines(archives.shelf()) == [f"app@{one.manifest.digest}" for one in (HELLO, ARM)]


def test_a_name_that_cannot_be_served_is_said_and_the_image_served_by_its_digest(
    archives: Archives, caplog: pytest.LogCaptureFixture
) -> None:
    archives.add("one.tar", oci_layout({"r.io/My/App:1": HELLO}))
    with caplog.at_level(logging.WARNING, "ecrdrag"):
        assert lines(archives.shelf()) == [f"one@{HELLO.manifest.digest}"]
    assert "is not offered as 'r.io/My/App:1'" in caplog.text


def test_two_images_of_one_name_in_one_archive_are_refused(archives: Archives) -> None:
    archives.add("app.tar", oci_layout({"a.io/app:1": HELLO, "b.io/app:1": ARM}))
    with pytest.raises(UsageError, match=r"app:1 would be two images: a\.io/app:1 .*, and b\.io/app:1"):
        archives.shelf()


def test_only_what_has_to_be_read_is_read(archives: Archives) -> None:
    archives.add("layout.tar", oci_layout({"r.io/app:1": BOTH}))
    archives.shelf()
    assert archives.stages.seen == []
    archives.add("docker.tar", docker_save_old(["r.io/saved:1"]))
    archives.shelf()
    ((label, size),) = archives.stages.seen
    assert label == "check"
    assert size is not None
    assert size > 60_000


def test_a_blob_of_dockers_format_is_no_image_of_an_index(archives: Archives) -> None:
    config = image_of(LAYER_TARS, oci=False).config
    entries = [{**config.json, "mediaType": OCI_MANIFEST}, HELLO.manifest.json]
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    archives.add("docker.tar", docker_save_old(["r.io/saved:1"]))
    archives.add("layout.tar", oci_layout({"r.io/app:1": ImageIndex(Blob(raw, OCI_INDEX), (HELLO,))}))
    image = archives.shelf().images[-1]
    assert [one.raw for one in image.documents] == [HELLO.manifest.content, raw]


def test_documents_are_limited_together(archives: Archives, monkeypatch: pytest.MonkeyPatch) -> None:
    archives.add("app.tar", oci_layout({"r.io/app:1": BOTH, "r.io/app:2": index_of([ARM])}))
    size = sum(len(one.content) for one in (HELLO.manifest, ARM.manifest, BOTH.manifest, index_of([ARM]).manifest))
    monkeypatch.setattr(offering, "_MAX_SIZE", size)
    assert len(archives.shelf().images) == 2
    monkeypatch.setattr(offering, "_MAX_SIZE", size - 1)
    with pytest.raises(UnsupportedError, match="the manifests of all images"):
        archives.shelf()


def test_what_is_about_an_image_is_there_once_beside_every_name(archives: Archives) -> None:
    image = wasm()
    signed = cosign_signature(image)
    for name in ("one.tar", "two.tar"):
        archives.add(name, packed({"a.io/app:1": image, "b.io/other:1": image}, [signed, sbom(image)]))
    assert sorted(lines(archives.shelf())) == sorted(
        f"{name}{version}"
        for name in ("app", "other")
        for version in (":1", f":{signed.tag}", f"@{sbom(image).digest}")
    )


def test_what_is_about_something_lost_is_beside_that_in_whichever_order(archives: Archives) -> None:
    materials = sbom(wasm())
    about = [signature(signature(materials)), signature(materials), materials]
    archives.add("one.tar", packed({"r.io/app:1": parcel_of(HELLO)}, about[:1]))
    archives.add("two.tar", packed({"r.io/app:2": parcel_of(HELLO)}, about[1:]))
    assert sorted(lines(archives.shelf())[2:]) == sorted(f"two@{one.digest}" for one in about)


def test_tags_that_lead_in_a_circle_end_where_the_archive_says(archives: Archives) -> None:
    one, two = sbom(wasm()), signature(wasm())
    pair = [
        Parcel(this.documents, this.blobs, tag=f"sha256-{that.digest.hex}.sig")
        for this, that in ((one, two), (two, one))
    ]
    archives.add("lost.tar", packed({"r.io/app:1": parcel_of(HELLO)}, pair))
    assert sorted(lines(archives.shelf())) == sorted(["app:1", *(f"lost:{each.tag}" for each in pair)])
