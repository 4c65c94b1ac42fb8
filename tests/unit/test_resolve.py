"""The choice of what a reference means: one image, several, all; indexes in indexes, platforms given or not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest

from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.errors import BusyError, IntegrityError, NotFoundError, UnsupportedError
from ecrdrag.manifest import ATTESTED, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Index, Manifest, parse
from ecrdrag.reference import ImageReference
from ecrdrag.resolve import MAX_CONFIG_SIZE, Image, Resolver, Wish
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import MAX_DEPTH, MAX_DOCUMENTS

REFERENCE = ImageReference.parse("123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app:1")


class Shelf:
    """A source of manifests and configs in memory, which counts what is asked for."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.root = b""
        self.asked: list[Digest | None] = []

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Manifest | Index:
        self.asked.append(digest)
        return parse(self.blobs[digest] if digest else self.root)

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        yield memoryview(self.blobs[blob.digest])[start:stop]

    def expect(self, blob: Descriptor) -> None:
        pass

    def abort(self) -> None:
        raise AssertionError("other references are asked through it")

    def measure(self, digest: Digest) -> int:
        return len(self.blobs[digest])

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return ()

    def keep(self, content: bytes) -> dict[str, object]:
        self.blobs[Digest.of(content)] = content
        return {"digest": str(Digest.of(content)), "size": len(content)}

    def image(self, platform: str, **changes: object) -> bytes:
        config = json.dumps({**words_of(platform), "for": platform}).encode()
        entry = {"mediaType": OCI_CONFIG, **self.keep(config)}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": []} | changes
        return json.dumps(document).encode()

    def index(self, *entries: tuple[bytes, str | None]) -> bytes:
        """Put manifests and indexes under one index, each with the platform that the index gives it."""
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [self._entry(content, platform) for content, platform in entries],
            }
        ).encode()

    def _entry(self, content: bytes, platform: str | None) -> dict[str, object]:
        entry = {"mediaType": json.loads(content)["mediaType"], **self.keep(content)}
        if platform is None:
            return entry
        return {**entry, "platform": words_of(platform)}


def words_of(platform: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def resolve(shelf: Shelf, root: bytes, *wishes: str, explicit: bool = True, everything: bool = False) -> Image:
    shelf.root = root
    wish = Wish(tuple(map(Platform.parse, wishes)), explicit, everything)
    found = Resolver(shelf, "here", RetryPolicy(tries=1, base=0)).resolve(REFERENCE, wish)
    assert isinstance(found, Image)
    return found


def plain_index(shelf: Shelf, platforms: Sequence[str]) -> bytes:
    return shelf.index(*((shelf.image(platform), platform) for platform in platforms))


@pytest.mark.parametrize(
    ("offered", "wish", "taken"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/arm64/v8"], "linux/arm64", "linux/arm64/v8"),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm", "linux/arm/v7"),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v6"),
        (["linux/amd64", "linux/amd64/v3"], "linux/amd64/v4", "linux/amd64/v3"),
        (["windows/amd64", "linux/amd64"], "linux/amd64", "linux/amd64"),
    ],
)
def test_the_best_platform_is_taken_from_an_index(shelf: Shelf, offered: list[str], wish: str, taken: str) -> None:
    assert str(resolve(shelf, plain_index(shelf, offered), wish).platform) == taken


@pytest.mark.parametrize(
    ("offered", "wish"),
    [(["linux/amd64"], "linux/arm64"), (["linux/arm/v7"], "linux/arm/v6"), (["linux/amd64/v3"], "linux/amd64")],
)
def test_what_does_not_run_is_not_taken_and_the_error_lists_what_there_is(
    shelf: Shelf, offered: list[str], wish: str
) -> None:
    with pytest.raises(NotFoundError, match=f"no image for {wish}; it has {offered[0]}$") as caught:
        resolve(shelf, plain_index(shelf, offered), wish)
    assert "--platform" in caught.value.hint


def test_the_first_of_equal_images_is_taken(shelf: Shelf) -> None:
    first, second = shelf.image("linux/amd64"), shelf.image("linux/amd64", annotations={"second": "yes"})
    image = resolve(shelf, shelf.index((first, "linux/amd64"), (second, "linux/amd64")), "linux/amd64")
    assert image.tree.root.raw == first


def test_attestations_are_no_images(shelf: Shelf) -> None:
    root = plain_index(shelf, ["linux/amd64", "unknown/unknown"])
    with pytest.raises(NotFoundError, match=r"it has linux/amd64$"):
        resolve(shelf, root, "linux/arm64")


def test_an_index_in_an_index_is_searched(shelf: Shelf) -> None:
    inner = plain_index(shelf, ["linux/arm64", "linux/amd64"])
    root = shelf.index((inner, None), (shelf.image("windows/amd64"), "windows/amd64"))
    assert str(resolve(shelf, root, "linux/amd64").platform) == "linux/amd64"


def test_indexes_may_not_lie_in_each_other_without_end(shelf: Shelf) -> None:
    deep = plain_index(shelf, ["linux/amd64"])
    for _ in range(MAX_DEPTH - 1):
        deep = shelf.index((deep, None))
    assert resolve(shelf, deep, "linux/amd64")
    with pytest.raises(UnsupportedError, match="deep"):
        resolve(shelf, shelf.index((deep, None)), "linux/amd64")


def test_a_document_that_is_named_a_thousand_times_is_fetched_once(shelf: Shelf) -> None:
    deep = plain_index(shelf, ["linux/amd64"])
    for _ in range(MAX_DEPTH - 1):
        deep = shelf.index(*[(deep, None)] * 1000)
    assert resolve(shelf, deep, "linux/amd64")
    assert len(shelf.asked) == MAX_DEPTH + 1


def test_an_index_that_leads_to_too_many_documents_is_refused(shelf: Shelf) -> None:
    inner = [shelf.index((shelf.image(f"linux/cpu{number}"), "linux/any")) for number in range(MAX_DOCUMENTS + 1)]
    with pytest.raises(UnsupportedError, match=f"more than {MAX_DOCUMENTS} documents"):
        resolve(shelf, shelf.index(*((each, None) for each in inner)), "linux/amd64")
    assert len(shelf.asked) <= MAX_DOCUMENTS + 2


def test_an_image_without_a_platform_in_the_index_is_known_by_its_config(shelf: Shelf) -> None:
    root = shelf.index((shelf.image("linux/arm64"), None), (shelf.image("linux/amd64"), None))
    assert str(resolve(shelf, root, "linux/amd64").platform) == "linux/amd64"


def test_an_index_of_nothing_has_no_image(shelf: Shelf) -> None:
    with pytest.raises(NotFoundError, match="it has no image at all"):
        resolve(shelf, shelf.index(), "linux/amd64")


def test_an_entry_that_is_called_an_image_and_is_an_index_is_refused(shelf: Shelf) -> None:
    document = json.loads(shelf.index((plain_index(shelf, ["linux/amd64"]), "linux/amd64")))
    document["manifests"][0]["mediaType"] = OCI_MANIFEST
    with pytest.raises(UnsupportedError, match="is an index where an index promised an image"):
        resolve(shelf, json.dumps(document).encode(), "linux/amd64")


def test_an_entry_that_is_called_an_index_and_is_an_image_is_refused(shelf: Shelf) -> None:
    document = json.loads(shelf.index((shelf.image("linux/amd64"), None)))
    document["manifests"][0]["mediaType"] = OCI_INDEX
    with pytest.raises(UnsupportedError, match="is an image where an index promised an index"):
        resolve(shelf, json.dumps(document).encode(), "linux/amd64")


def test_a_single_image_must_meet_an_explicit_wish_only(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    root = shelf.image("linux/arm64")
    with pytest.raises(NotFoundError, match="is an image for linux/arm64, not for linux/amd64"):
        resolve(shelf, root, "linux/amd64")
    image = resolve(shelf, root, "linux/amd64", explicit=False)
    assert image.manifest is not None
    assert image.manifest.raw == root
    assert "is an image for linux/arm64, this machine is linux/amd64" in caplog.text


def test_a_config_with_other_bytes_than_its_digest_is_refused(shelf: Shelf) -> None:
    root = shelf.image("linux/amd64")
    manifest = parse(root)
    assert isinstance(manifest, Manifest)
    shelf.blobs[manifest.config.digest] = shelf.blobs[manifest.config.digest].replace(b"linux", b"Linux")
    with pytest.raises(IntegrityError):
        resolve(shelf, root, "linux/amd64")


def config_of(media_type: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(b"")), "size": size}


def test_a_config_that_is_too_large_is_refused_before_a_blob_is_read(shelf: Shelf) -> None:
    root = shelf.image("linux/amd64", config=config_of(OCI_CONFIG, MAX_CONFIG_SIZE + 1))
    with pytest.raises(UnsupportedError, match="is over the limit"):
        resolve(shelf, root, "linux/amd64")


HELM = config_of("application/vnd.cncf.helm.config.v1+json", 9)


def test_an_artifact_is_taken_unless_a_platform_is_asked_for(shelf: Shelf) -> None:
    root = shelf.image("linux/amd64", config=HELM)
    image = resolve(shelf, root, "linux/amd64", explicit=False)
    assert (image.manifest, image.platform, image.tree.root.raw) == (None, None, root)
    with pytest.raises(NotFoundError, match="is no image for linux/amd64"):
        resolve(shelf, root, "linux/amd64")


def part_of(image: Image) -> list[bytes]:
    return [document.raw for document in image.tree.documents]


def attested_index(shelf: Shelf, platforms: Sequence[str]) -> tuple[bytes, dict[str, bytes]]:
    """Make an index as BuildKit does: an attestation beside each image."""
    images = {platform: shelf.image(platform) for platform in platforms}
    proofs = {platform: shelf.image("unknown/unknown", about=platform) for platform in platforms}
    document = json.loads(shelf.index(*((each, platform) for platform, each in images.items())))
    for platform, proof in proofs.items():
        entry = json.loads(shelf.index((proof, "unknown/unknown")))["manifests"][0]
        document["manifests"].append({**entry, "annotations": {ATTESTED: str(Digest.of(images[platform]))}})
    return json.dumps(document).encode(), {**images, **{f"proof of {each}": proof for each, proof in proofs.items()}}


def test_several_platforms_keep_the_index_and_the_attestations_of_the_chosen(shelf: Shelf) -> None:
    root, parts = attested_index(shelf, ["linux/amd64", "linux/arm64", "linux/s390x"])
    image = resolve(shelf, root, "linux/s390x", "linux/amd64")
    names = {raw: name for name, raw in {**parts, "root": root}.items()}
    assert [names[raw] for raw in part_of(image)] == [
        "linux/amd64", "linux/s390x", "proof of linux/amd64", "proof of linux/s390x", "root",
    ]  # fmt: skip
    assert image.manifest is not None
    assert image.manifest.raw == parts["linux/s390x"]
    assert str(image.platform) == "linux/s390x"


def test_one_platform_alone_is_taken_out_of_its_index(shelf: Shelf) -> None:
    root, parts = attested_index(shelf, ["linux/amd64", "linux/arm64"])
    image = resolve(shelf, root, "linux/arm64")
    assert (part_of(image), image.root.raw) == ([parts["linux/arm64"]], root)


def test_each_of_several_platforms_must_be_there(shelf: Shelf) -> None:
    root, _ = attested_index(shelf, ["linux/amd64", "linux/arm64"])
    with pytest.raises(NotFoundError, match="no image for linux/s390x; it has linux/amd64, linux/arm64"):
        resolve(shelf, root, "linux/amd64", "linux/s390x")
    with pytest.raises(NotFoundError, match="is an image for linux/amd64, not for linux/arm64"):
        resolve(shelf, shelf.image("linux/amd64"), "linux/amd64", "linux/arm64")


def test_inner_indexes_stay_only_where_they_lead_to_what_was_chosen(shelf: Shelf) -> None:
    left = plain_index(shelf, ["linux/amd64", "linux/riscv64"])
    right = plain_index(shelf, ["linux/arm64"])
    empty = plain_index(shelf, ["linux/s390x"])
    root = shelf.index((left, None), (empty, None), (right, None))
    image = resolve(shelf, root, "linux/arm64", "linux/amd64")
    assert part_of(image) == [shelf.image("linux/amd64"), left, shelf.image("linux/arm64"), right, root]


def test_everything_is_everything_and_docker_gets_what_this_machine_runs(shelf: Shelf) -> None:
    root, parts = attested_index(shelf, ["linux/amd64", "linux/arm64"])
    image = resolve(shelf, root, "linux/arm64", explicit=False, everything=True)
    assert part_of(image) == [*parts.values(), root]
    assert image.manifest is not None
    assert image.manifest.raw == parts["linux/arm64"]


def test_where_everything_has_nothing_for_this_machine_docker_gets_the_first(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    root, parts = attested_index(shelf, ["linux/amd64", "linux/arm64"])
    image = resolve(shelf, root, "linux/s390x", explicit=False, everything=True)
    assert image.manifest is not None
    assert image.manifest.raw == parts["linux/amd64"]
    assert "docker load would get that for linux/amd64" in caplog.text
    with pytest.raises(NotFoundError, match="no image for linux/s390x"):
        resolve(shelf, root, "linux/s390x", everything=True)


def test_everything_of_an_index_of_artifacts_has_nothing_for_docker(shelf: Shelf) -> None:
    chart = shelf.image("linux/amd64", config=HELM)
    root = shelf.index((chart, None))
    image = resolve(shelf, root, "linux/amd64", explicit=False, everything=True)
    assert (part_of(image), image.manifest) == ([chart, root], None)
    with pytest.raises(NotFoundError, match="it has no image at all"):
        resolve(shelf, root, "linux/amd64", explicit=False)


def test_what_has_another_size_than_its_index_says_is_refused(shelf: Shelf) -> None:
    document = json.loads(plain_index(shelf, ["linux/amd64"]))
    document["manifests"][0]["size"] += 1
    for everything in (False, True):
        with pytest.raises(IntegrityError, match="its index says"):
            resolve(shelf, json.dumps(document).encode(), "linux/amd64", everything=everything)


def test_without_a_wish_all_comes_and_no_config_is_read(shelf: Shelf) -> None:
    root, parts = attested_index(shelf, ["linux/amd64", "linux/arm64"])
    shelf.root = root
    found = Resolver(shelf, "here", RetryPolicy(tries=1, base=0)).resolve(REFERENCE, None)
    assert isinstance(found, Image)
    assert (part_of(found), found.manifest, dict(found.configs)) == ([*parts.values(), root], None, {})


@pytest.mark.parametrize("config", [b"[]", b"{", b"\xff"])
def test_a_config_that_is_no_json_object_is_refused(shelf: Shelf, config: bytes) -> None:
    entry = {"mediaType": OCI_CONFIG, **shelf.keep(config)}
    with pytest.raises(UnsupportedError, match="image config"):
        resolve(shelf, shelf.image("linux/amd64", config=entry), "linux/amd64")


def test_a_registry_that_is_busy_is_asked_for_the_manifest_again() -> None:
    class Busy(Shelf):
        def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Manifest | Index:
            found = super().manifest(tag=tag, digest=digest)
            if len(self.asked) < 3:
                raise BusyError("Rate exceeded")
            return found

    busy = Busy()
    busy.root = busy.image("linux/amd64")
    reference = ImageReference.parse("123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app:1")
    Resolver(busy, "here", RetryPolicy(base=0.0)).resolve(reference, Wish((Platform.parse("linux/amd64"),)))
    assert len(busy.asked) == 3
