"""Schema 1 out of the local ECR by both doors, whichever digest it tells: by tag it comes, by digest it must be it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import IntegrityError, NotFoundError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import SignedDigest
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import DOCKER_MANIFEST
from ecrdrag.reference import ImageReference
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ends import Source
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.schema1 import Schema1
from tests.flow.conftest import HOST
from tests.images import hello_image
from tests.localecr import REGION, Recorder, client, running
from tests.putting import put_image
from tests.registry import password_of
from tests.schema1_images import hello_schema1, put_old_image
from tests.scripted_registry import Keys

OLD = hello_schema1()
PAYLOAD, RAW, OTHER = Digest.of(OLD.payload), Digest.of(OLD.raw), Digest.of(b"other")
MODERN = hello_image(oci=False)
REFERENCE = ImageReference.parse(f"{HOST}/my/app:old")
DOORS = pytest.mark.parametrize("door", ["api", "v2"])


@pytest.fixture(params=list(SignedDigest), ids=lambda each: each.value)
def ecr(request: pytest.FixtureRequest, tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    settings = Settings(region=REGION, signed_digest=request.param)
    with running(tmp_path / "data", settings, recorder=recorder) as server, client(server) as api:
        api.create_repository(repositoryName="my/app")
        put_old_image(api, "my/app", OLD, "old")
        put_image(api, "my/app", MODERN, "modern")
        recorder.requests.clear()
        yield server


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@contextmanager
def source_by(door: str, ecr: LocalEcr) -> Iterator[Source]:
    keys = Keys(Login("AWS", password_of(ecr)))
    with (
        BlobTransport(connections=2) as transport,
        client(ecr) as api,
        RegistryClient(ecr.endpoint, registry=REFERENCE.registry, keyring=keys) as v2,
    ):
        yield EcrSource(api, transport, REFERENCE) if door == "api" else DistributionSource(v2, transport, REFERENCE)


def told(ecr: LocalEcr) -> Digest:
    """Give the digest that the API tells."""
    with client(ecr) as api:
        (found,) = api.batch_get_image(repositoryName="my/app", imageIds=[{"imageTag": "old"}])["images"]
        return Digest.parse(found["imageId"]["imageDigest"])


def lying(request: Request, handler: Handler) -> Answer:
    """Tell another digest than any, as long as nobody asks by digest."""
    answer = handler(request)
    if not isinstance(answer.body, bytes) or b"imageManifest" not in answer.body:
        return answer
    document = json.loads(answer.body)
    document["images"][0]["imageId"]["imageDigest"] = str(OTHER)
    return Answer(answer.status, answer.headers, json.dumps(document).encode())


@DOORS
def test_by_tag_it_comes_whole_by_one_request(ecr: LocalEcr, recorder: Recorder, door: str) -> None:
    with source_by(door, ecr) as source:
        recorder.requests.clear()
        found = source.manifest(tag="old")
    assert isinstance(found, Schema1)
    assert (found.raw, found.media_type, found.digest) == (OLD.raw, OLD.media_type, PAYLOAD)
    assert recorder.count("BatchGetImage") + recorder.count("GET /v2/my/app/manifests/") <= (1 if door == "api" else 2)


@DOORS
def test_by_the_digest_that_is_told_it_comes_too(ecr: LocalEcr, door: str) -> None:
    digest = told(ecr)
    assert digest in (PAYLOAD, RAW)
    with source_by(door, ecr) as source:
        assert source.manifest(digest=digest).raw == OLD.raw
        assert source.manifest(tag="old", digest=digest).digest == PAYLOAD
        with pytest.raises(NotFoundError):
            source.manifest(digest=OTHER)


def test_what_the_api_tells_of_it_is_not_believed(ecr: LocalEcr, recorder: Recorder) -> None:
    with source_by("api", ecr) as source:
        recorder.intercept = lying
        assert source.manifest(tag="old").digest == PAYLOAD
        assert recorder.count("BatchGetImage") == 1
        with pytest.raises(NotFoundError):  # of a modern one it is, and that one is asked for
            source.manifest(tag="modern")


def test_by_digest_it_must_be_that_whatever_the_api_tells(ecr: LocalEcr, recorder: Recorder) -> None:
    def another(request: Request, handler: Handler) -> Answer:
        image = {
            "imageManifest": OLD.raw.decode(),
            "imageManifestMediaType": OLD.media_type,
            "imageId": {"imageDigest": str(OTHER)},
        }
        body = json.dumps({"images": [image], "failures": []}).encode()
        return Answer(200, {"Content-Type": "application/x-amz-json-1.1"}, body)

    with source_by("api", ecr) as source:
        recorder.intercept = another
        with pytest.raises(IntegrityError, match=f"{OTHER} arrived with digest") as caught:
            source.manifest(digest=OTHER)
        assert "by its tag" in caught.value.hint
        assert [source.manifest(digest=digest).digest for digest in (PAYLOAD, RAW)] == [PAYLOAD] * 2


@DOORS
def test_a_schema_2_image_comes_as_schema_2(ecr: LocalEcr, door: str) -> None:
    with source_by(door, ecr) as source:
        found = source.manifest(tag="modern")
    assert (found.raw, found.media_type) == (MODERN.manifest.content, DOCKER_MANIFEST)


@DOORS
def test_its_layers_are_measured_and_read(ecr: LocalEcr, door: str) -> None:
    with source_by(door, ecr) as source:
        for digest, content in OLD.blobs.items():
            blob = Descriptor("", digest, source.measure(digest))
            assert b"".join(bytes(view) for view in source.read(blob, 0, blob.size)) == content
