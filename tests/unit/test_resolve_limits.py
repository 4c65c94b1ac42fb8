"""What a hostile index may make a pull keep in memory, and whether images before 2016 meet a wish."""

from __future__ import annotations

import json

import pytest

from ecrdrag import resolve
from ecrdrag.content import Digest, Platform
from ecrdrag.errors import NotFoundError, UnsupportedError
from ecrdrag.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from ecrdrag.resolve import Image, Resolver, Wish
from ecrdrag.schema1 import Schema1
from tests.fake_ends import FAST, HERE, MemorySource
from tests.images import Blob, hello_image
from tests.schema1_images import hello_schema1

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PADDING = "x" * 1000


def index_without_platforms(source: MemorySource, count: int, *, in_configs: bool) -> None:
    """Offer an index of images of which only their configs say what they run on; padding makes all of a part large."""
    entries = []
    for place in range(count):
        config = Blob(json.dumps({"place": place, "x": PADDING * in_configs}).encode(), OCI_CONFIG)
        source.blobs[config.digest] = config.content
        document = {"config": config.json, "layers": [], "x": PADDING * (not in_configs)}
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **document}).encode()
        source.put_document(Blob(raw, OCI_MANIFEST))
        entries.append({"mediaType": OCI_MANIFEST, "digest": str(Digest.of(raw)), "size": len(raw)})
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    source.put_document(Blob(raw, OCI_INDEX), "1")


@pytest.mark.parametrize(("in_configs", "what"), [(True, "configs"), (False, "manifests")])
def test_not_more_is_kept_than_may_be(monkeypatch: pytest.MonkeyPatch, in_configs: bool, what: str) -> None:
    monkeypatch.setattr(resolve, "MAX_SIZE", 5000)
    source = MemorySource()
    index_without_platforms(source, 50, in_configs=in_configs)
    with pytest.raises(UnsupportedError, match=f"the {what} of the image have more than 5000 bytes"):
        Resolver(source, "here", FAST).resolve(HERE, Wish((AMD64,)))
    assert source.count("blob") <= 5


def test_what_an_index_names_that_is_no_manifest_is_not_asked_for() -> None:
    source = MemorySource()
    image = hello_image("amd64")
    source.put(image)
    other = {"mediaType": "application/x-other", "digest": f"sha256:{'1' * 64}", "size": 3}
    entry = {**image.manifest.json, "platform": {"os": "linux", "architecture": "amd64"}}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [other, entry]}).encode()
    source.put_document(Blob(raw, OCI_INDEX), "1")
    found = Resolver(source, "here", FAST).resolve(HERE, Wish((AMD64,)))
    assert isinstance(found, Image)
    assert found.tree.root.digest == image.manifest.digest


@pytest.mark.parametrize("says", [{"architecture": "arm64"}, {"os": "windows"}])
def test_an_image_before_2016_has_to_be_what_is_wished_for(says: dict[str, str]) -> None:
    source = MemorySource()
    old = hello_schema1()
    top = json.dumps({**json.loads(json.loads(old.payload)["history"][0]["v1Compatibility"]), **says})
    document = json.loads(old.payload)
    document["history"][0]["v1Compatibility"] = top
    source.put_document(Blob(json.dumps(document).encode(), ""), "1")
    with pytest.raises(NotFoundError, match=r"is an image for .*, not for linux/amd64"):
        Resolver(source, "here", FAST).resolve(HERE, Wish((AMD64,)))


def test_an_image_before_2016_that_runs_elsewhere_comes_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    source, old = MemorySource(), hello_schema1()
    source.put_document(Blob(old.raw, old.media_type), "1")
    assert isinstance(Resolver(source, "here", FAST).resolve(HERE, Wish((AMD64,))), Schema1)
    assert caplog.text == ""
    assert isinstance(Resolver(source, "here", FAST).resolve(HERE, Wish((ARM64,), explicit=False)), Schema1)
    assert "is an image for linux/amd64, this machine is linux/arm64" in caplog.text
