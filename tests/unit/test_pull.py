"""The story of a pull of several references, on sources in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ecrdrag.archive.compress import Compression
from ecrdrag.archive.convert import Conversion
from ecrdrag.cli.archives import opened
from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.errors import AuthError, IntegrityError, NotFoundError, UsageError
from ecrdrag.manifest import OCI_INDEX, OCI_MANIFEST
from ecrdrag.pull import Pulled, PullOptions, pull
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Source
from ecrdrag.resolve import Wish
from tests.fake_ends import FAST, HERE, THERE, MemorySource
from tests.images import Blob, Image, hello_image, image_of, index_of, tar_of
from tests.unseen import unseen

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
SHARED = tar_of({"shared": bytes(100_000)})
ONE, TWO = image_of([SHARED, tar_of({"one": b"1"})]), image_of([SHARED, tar_of({"two": b"2"})])
BOTH = index_of([hello_image("arm64"), hello_image("amd64"), image_of([SHARED], architecture="s390x")])


def source_of(**tagged: Image) -> MemorySource:
    source = MemorySource()
    for tag, image in tagged.items():
        source.put(image, tag.removeprefix("t"))
    return source


def pulled(
    references: Sequence[ImageReference],
    open_source: Callable[[ImageReference], Source],
    path: Path,
    **changes: object,
) -> Pulled:
    options = PullOptions(Wish((AMD64,)), path, retry=FAST)
    return pull(references, open_source, replace(options, **changes), unseen)  # type: ignore[arg-type]


def test_each_blob_comes_once_from_a_source_that_has_it(tmp_path: Path) -> None:
    sources = {HERE: source_of(t1=ONE), THERE: source_of(t2=TWO)}
    found = pulled([HERE, THERE], sources.__getitem__, tmp_path / "a.tar")
    shared = ONE.layers[0].digest
    assert sum(source.count(f"blob {shared}") for source in sources.values()) == 1
    assert [each.references for each in found.images] == [(HERE,), (THERE,)]
    with opened(str(tmp_path / "a.tar"), Conversion(), unseen) as archive:
        assert {image.digest for image in archive.images} == {ONE.manifest.digest, TWO.manifest.digest}


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    pinned = replace(HERE, digest=TWO.manifest.digest)
    sources = {HERE: source_of(t1=ONE), pinned: source_of(t1=TWO)}
    with pytest.raises(UsageError, match=r"are two images, and both would be called one\.example:5000/team/app:1"):
        pulled([HERE, pinned], sources.__getitem__, tmp_path / "a.tar")
    assert list(tmp_path.iterdir()) == []


def test_all_problems_are_one_error_of_the_first_one_s_kind(tmp_path: Path) -> None:
    def closed(reference: ImageReference) -> Source:
        if reference == HERE:
            raise AuthError("nobody knows us", hint="log in")
        return source_of(t1=ONE)

    missing = replace(THERE, tag="none")
    with pytest.raises(AuthError) as caught:
        pulled([HERE, missing, replace(THERE, tag="1")], closed, tmp_path / "a.tar")
    assert str(caught.value) == "2 of 3 references can't be pulled"
    assert caught.value.hint.splitlines() == [
        f"{HERE}: nobody knows us",
        f"{missing}: there is no none",
        "log in",
        "--keep-going pulls the others",
    ]


def test_one_reference_s_problem_is_said_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"^there is no 1$"):
        pulled([HERE], lambda _: MemorySource(), tmp_path / "a.tar", keep_going=True)


def test_a_config_that_is_wrong_spoils_its_own_image_alone(tmp_path: Path) -> None:
    source = source_of(t1=ONE, t2=TWO)
    source.blobs[TWO.config.digest] = b"x" * len(TWO.config.content)
    found = pulled([HERE, replace(HERE, tag="2")], lambda _: source, tmp_path / "a.tar", keep_going=True)
    assert [each.references for each in found.images] == [(HERE,)]
    assert [type(problem.error) for problem in found.problems] == [IntegrityError]
    assert not source.aborted.is_set()


def mislabelled(image: Image) -> Image:
    """Let the config say of its layers what they aren't."""
    config = json.loads(image.config.content)
    config["rootfs"]["diff_ids"] = [str(Digest.of(b"")) for _ in image.layers]
    said = Blob(json.dumps(config).encode(), image.config.media_type)
    document = json.loads(image.manifest.content) | {"config": said.json}
    return replace(image, config=said, manifest=Blob(json.dumps(document).encode(), image.manifest.media_type))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_image_that_cannot_be_converted_spoils_no_other(tmp_path: Path, place: int) -> None:
    images = [ONE, TWO]
    images.insert(place, mislabelled(TWO))
    source = source_of(t1=images[0], t2=images[1], t3=images[2])
    references = [replace(HERE, tag=tag) for tag in ("1", "2", "3")]
    changes = {"layers": Compression(None), "keep_going": True}
    found = pulled(references, lambda _: source, tmp_path / "a.tar", **changes)
    assert [problem.reference for problem in found.problems] == [references[place]]
    assert [each.references[0] for each in found.images] == [each for each in references if each != references[place]]
    assert not source.aborted.is_set()
    with pytest.raises(IntegrityError, match="isn't its image's"):
        pulled(references, lambda _: source, tmp_path / "b.tar", layers=Compression(None))


def test_a_layer_that_is_damaged_spoils_its_own_image_alone(tmp_path: Path) -> None:
    other = image_of([tar_of({"three": b"3"})])
    source = source_of(t1=ONE, t2=other, t3=TWO)
    source.blobs[other.layers[0].digest] = bytes(len(other.layers[0].content))
    references = [replace(HERE, tag=tag) for tag in ("1", "2", "3")]
    changes = {"layers": Compression(None), "keep_going": True}
    found = pulled(references, lambda _: source, tmp_path / "a.tar", **changes)
    assert [problem.reference for problem in found.problems] == [references[1]]
    assert not source.aborted.is_set()
    with pytest.raises(IntegrityError):
        pulled(references, lambda _: source, tmp_path / "b.tar", layers=Compression(None))
    assert source.aborted.is_set()


def test_a_part_of_an_index_keeps_its_digest_or_is_an_index_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = MemorySource()
    source.put(BOTH, "1")
    wish = Wish((ARM64, AMD64))
    kept = pulled([HERE], lambda _: source, tmp_path / "kept.tar", wish=wish)
    assert kept.images[0].image.tree.root.digest == BOTH.manifest.digest
    assert "becomes" not in caplog.text
    new = pulled([HERE], lambda _: source, tmp_path / "new.tar", wish=wish, subset=True)
    digest = new.images[0].image.tree.root.digest
    assert digest != BOTH.manifest.digest
    assert f"{BOTH.manifest.digest} becomes {digest}" in caplog.text
    with opened(str(tmp_path / "new.tar"), Conversion(), unseen) as archive:
        entries = archive.root(archive.images[0]).manifests  # type: ignore[union-attr]
        assert [entry.digest for entry in entries] == [image.manifest.digest for image in BOTH.images[:2]]


FOREIGN = Descriptor(
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    Digest.of(b"away"),
    4,
    urls=("https://a.example/x?s=1",),
)


def with_foreign() -> tuple[MemorySource, Image]:
    image = hello_image(oci=False)
    document = json.loads(image.manifest.content)
    entry = {"mediaType": FOREIGN.media_type, "digest": str(FOREIGN.digest), "size": 4, "urls": list(FOREIGN.urls)}
    document["layers"].insert(0, entry)
    changed = replace(image, manifest=Blob(json.dumps(document).encode(), image.manifest.media_type))
    return source_of(t1=changed), changed


@pytest.mark.parametrize("held", [False, True])
def test_a_foreign_layer_is_left_out_and_named_unless_the_registry_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, held: bool
) -> None:
    source, _ = with_foreign()
    if held:
        source.blobs[FOREIGN.digest] = b"away"
    with caplog.at_level(logging.WARNING):
        found = pulled([HERE], lambda _: source, tmp_path / "a.tar")
    assert [blob.digest for blob in found.images[0].left_out] == ([] if held else [FOREIGN.digest])
    assert (f"left out layer {FOREIGN.digest}" in caplog.text) is not held
    assert ("--foreign-layers fetches it from a.example" in caplog.text) is not held
    assert "s=1" not in caplog.text


def test_a_layer_that_one_registry_lacks_comes_from_another_that_has_it(tmp_path: Path) -> None:
    sources = {HERE: with_foreign()[0], THERE: with_foreign()[0]}
    sources[HERE].tags["2"] = sources[THERE].tags["2"] = sources[HERE].tags["1"]
    sources[THERE].blobs[FOREIGN.digest] = b"away"
    pulled([HERE, THERE], sources.__getitem__, tmp_path / "a.tar")
    with opened(str(tmp_path / "a.tar"), Conversion(), unseen) as archive:
        assert archive.holds(FOREIGN)


def test_foreign_layers_come_from_elsewhere_where_that_is_wished(tmp_path: Path) -> None:
    source, _ = with_foreign()
    elsewhere = MemorySource()
    elsewhere.blobs[FOREIGN.digest] = b"away"
    options = PullOptions(Wish((AMD64,)), tmp_path / "a.tar", retry=FAST)
    found = pull([HERE], lambda _: source, options, unseen, elsewhere)
    assert found.images[0].left_out == ()
    assert (elsewhere.count("blob"), source.count(f"blob {FOREIGN.digest}")) == (1, 0)
    elsewhere.blobs[FOREIGN.digest] = b"evil"
    with pytest.raises(IntegrityError):
        pull([HERE], lambda _: source, replace(options, output=tmp_path / "b.tar"), unseen, elsewhere)


def test_a_registry_that_has_a_foreign_layer_goes_before_where_strangers_say(tmp_path: Path) -> None:
    sources = {HERE: with_foreign()[0], THERE: with_foreign()[0]}
    sources[THERE].tags["2"] = sources[THERE].tags["1"]
    sources[THERE].blobs[FOREIGN.digest] = b"away"
    elsewhere = MemorySource()
    for order in ((HERE, THERE), (THERE, HERE)):
        options = PullOptions(Wish((AMD64,)), tmp_path / "a.tar", retry=FAST, force=True)
        pull(order, sources.__getitem__, options, unseen, elsewhere)
        (tmp_path / "a.tar").unlink()
    assert elsewhere.asked == []


def test_what_another_registry_has_is_not_said_to_be_left_out(tmp_path: Path) -> None:
    sources = {HERE: with_foreign()[0], THERE: with_foreign()[0]}
    sources[THERE].tags["2"] = sources[THERE].tags["1"]
    sources[THERE].blobs[FOREIGN.digest] = b"away"
    assert pulled([HERE, THERE], sources.__getitem__, tmp_path / "a.tar").images[0].left_out == ()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://[bad/x", "nowhere"),
        ("https://me:pw@a.example/x", "a.example"),
        ("https://a.example\x1b[31m/", "nowhere"),
    ],
)
def test_urls_that_cant_be_read_don_t_stop_a_pull(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str, host: str
) -> None:
    source, image = with_foreign()
    content = image.manifest.content.replace(json.dumps(FOREIGN.urls[0]).encode(), json.dumps(url).encode())
    source.put_document(Blob(content, image.manifest.media_type), "1")
    pulled([HERE], lambda _: source, tmp_path / "a.tar")
    assert f"--foreign-layers fetches it from {host}\n" in caplog.text
    assert "pw" not in caplog.text


def test_references_of_one_name_are_one_name_in_the_archive(tmp_path: Path) -> None:
    source = source_of(t1=ONE)
    pulled([HERE], lambda _: source, tmp_path / "one.tar")
    pinned = replace(HERE, digest=ONE.manifest.digest)
    for place, order in enumerate(([HERE, pinned], [pinned, HERE])):
        found = pulled(order, lambda _: source, tmp_path / f"{place}.tar")
        assert found.images[0].references == tuple(order)
        assert (tmp_path / f"{place}.tar").read_bytes() == (tmp_path / "one.tar").read_bytes()


def test_two_signatures_of_one_tag_are_refused(tmp_path: Path) -> None:
    sources = {HERE: source_of(t1=ONE), THERE: source_of(t2=ONE)}
    tag = f"sha256-{ONE.manifest.digest.hex}.sig"
    for source, config in zip(sources.values(), (b"{}", b"[]"), strict=True):
        blob = {"mediaType": "application/x", "digest": str(Digest.of(config)), "size": 2}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob, "layers": []}
        source.blobs[Digest.of(config)] = config
        source.put_document(Blob(json.dumps(document).encode(), OCI_MANIFEST), tag)
    with pytest.raises(UsageError, match=rf"are both tagged {tag}, in different repositories$"):
        pulled([HERE, THERE], sources.__getitem__, tmp_path / "a.tar", types=())
    assert list(tmp_path.iterdir()) == []
    sources[THERE].tags[tag] = sources[HERE].tags[tag]
    sources[THERE].documents |= sources[HERE].documents
    assert len(pulled([HERE, THERE], sources.__getitem__, tmp_path / "a.tar", types=()).images[0].referrers) == 1


def test_where_nothing_can_be_had_nobody_is_told_to_pull_the_others(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        pulled([HERE, THERE], lambda _: MemorySource(), tmp_path / "a.tar", keep_going=True)
    assert str(caught.value) == "2 of 2 references can't be pulled"
    assert "--keep-going" not in caught.value.hint


@pytest.mark.parametrize("silent", [0, 1])
def test_a_foreign_layer_comes_from_where_any_of_its_manifests_says(tmp_path: Path, silent: int) -> None:
    source, elsewhere = MemorySource(), MemorySource()
    elsewhere.blobs[FOREIGN.digest] = b"away"
    entries = []
    for place, architecture in enumerate(("amd64", "arm64")):
        image = hello_image(architecture, oci=False)
        document = json.loads(image.manifest.content)
        entry = {"mediaType": FOREIGN.media_type, "digest": str(FOREIGN.digest), "size": 4, "urls": list(FOREIGN.urls)}
        document["layers"].insert(0, {name: entry[name] for name in entry if name != "urls" or place != silent})
        changed = replace(image, manifest=Blob(json.dumps(document).encode(), image.manifest.media_type))
        source.put(changed)
        entries.append({**changed.manifest.json, "platform": {"os": "linux", "architecture": architecture}})
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    source.put_document(Blob(raw, OCI_INDEX), "1")
    options = PullOptions(Wish((AMD64,), everything=True), tmp_path / "a.tar", retry=FAST)
    reading = Told(elsewhere)
    assert pull([HERE], lambda _: source, options, unseen, reading).images[0].left_out == ()
    assert reading.urls == {FOREIGN.urls}


class Told:
    """Be a source that notes which urls it is told."""

    def __init__(self, source: MemorySource) -> None:
        self.source, self.urls = source, set[tuple[str, ...]]()
        self.expect, self.abort = source.expect, source.abort

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        self.urls.add(blob.urls)
        return self.source.read(blob, start, stop)


def test_several_images_need_a_name_for_their_file() -> None:
    with pytest.raises(UsageError, match="several images need a name"):
        pull([HERE, THERE], lambda _: MemorySource(), PullOptions(Wish((AMD64,))), unseen)


def test_an_error_that_is_no_error_of_ours_is_not_swallowed(tmp_path: Path) -> None:
    def broken(reference: ImageReference) -> Source:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        pulled([HERE, THERE], broken, tmp_path / "a.tar", keep_going=True)
