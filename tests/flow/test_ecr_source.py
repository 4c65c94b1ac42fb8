"""The ECR source over HTTP against the local ECR, with boto3's client recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import IntegrityError, NotFoundError, TransferError
from ecrdrag.localecr import LocalEcr
from ecrdrag.manifest import DOCKER_MANIFEST, Document, Index, Manifest
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_api import EcrApi, ImageId, Subject
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError
from ecrdrag.schema1 import SCHEMA1_TYPES, Schema1
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import BOTH, HELLO, HOST, NOISE, stock
from tests.localecr import client, running

FAST = RetryPolicy(tries=3, base=0.0)
REFERENCE = ImageReference.parse(f"{HOST}/my/app:1.2")


class Recorder:
    """Pass calls on to the real client, remember them, and change answers where a test asks for it."""

    def __init__(self, api: EcrApi) -> None:
        self.api = api
        self.images: list[Mapping[str, object]] = []
        self.minted: list[str] = []
        self.accepted: Callable[[Sequence[str]], Sequence[str]] = lambda types: types
        self.answer: Callable[[Mapping[str, object]], Mapping[str, object]] = lambda answer: answer
        self.lock = threading.Lock()

    def batch_get_image(
        self,
        *,
        registryId: str,  # noqa: N803
        repositoryName: str,  # noqa: N803
        imageIds: Sequence[ImageId],  # noqa: N803
        acceptedMediaTypes: Sequence[str],  # noqa: N803
    ) -> Mapping[str, object]:
        self.images.append({"ids": list(imageIds), "accepted": tuple(acceptedMediaTypes)})
        answer = self.api.batch_get_image(
            registryId=registryId,
            repositoryName=repositoryName,
            imageIds=imageIds,
            acceptedMediaTypes=self.accepted(acceptedMediaTypes),
        )
        return self.answer(answer)

    def get_download_url_for_layer(
        self,
        *,
        registryId: str,  # noqa: N803
        repositoryName: str,  # noqa: N803
        layerDigest: str,  # noqa: N803
    ) -> Mapping[str, object]:
        answer = self.api.get_download_url_for_layer(
            registryId=registryId, repositoryName=repositoryName, layerDigest=layerDigest
        )
        with self.lock:
            self.minted.append(layerDigest)
        return answer

    def list_image_referrers(
        self,
        *,
        registryId: str,  # noqa: N803
        repositoryName: str,  # noqa: N803
        subjectId: Subject,  # noqa: N803
        maxResults: int,  # noqa: N803
        nextToken: str = "",  # noqa: N803
    ) -> Mapping[str, object]:
        raise AssertionError("nobody asked what refers to an image")


@contextmanager
def source_of(ecr: LocalEcr) -> Iterator[tuple[EcrSource, Recorder]]:
    with client(ecr) as api, BlobTransport(connections=8) as transport:
        recorder = Recorder(api)
        yield EcrSource(recorder, transport, REFERENCE), recorder


@pytest.fixture
def opened(stocked: LocalEcr) -> Iterator[tuple[EcrSource, Recorder]]:
    with source_of(stocked) as both:
        yield both


def layer_of(image: Document | Schema1) -> Descriptor:
    assert isinstance(image, Manifest)
    return image.layers[0]


def test_a_manifest_keeps_its_bytes_by_tag_by_digest_and_by_both(opened: tuple[EcrSource, Recorder]) -> None:
    source, recorder = opened
    digest = HELLO.manifest.digest
    by_tag, by_digest = source.manifest(tag="1.2"), source.manifest(digest=digest)
    for found in (by_tag, by_digest, source.manifest(tag="1.2", digest=digest)):
        assert found.raw == HELLO.manifest.content
        assert found.digest == digest
    assert [call["ids"] for call in recorder.images] == [
        [{"imageTag": "1.2"}],
        [{"imageDigest": str(digest)}],
        [{"imageTag": "1.2", "imageDigest": str(digest)}],
    ]


def test_all_four_modern_media_types_are_accepted_and_both_old_ones(opened: tuple[EcrSource, Recorder]) -> None:
    source, recorder = opened
    assert isinstance(source.manifest(tag="multi"), Index)
    accepted = recorder.images[0]["accepted"]
    assert isinstance(accepted, tuple)
    assert len(set(accepted)) == 6
    assert set(SCHEMA1_TYPES) < set(accepted)


def test_a_translated_manifest_is_asked_for_again_by_digest(opened: tuple[EcrSource, Recorder]) -> None:
    source, recorder = opened
    recorder.accepted = lambda types: [DOCKER_MANIFEST]
    found = source.manifest(tag="1.2")
    assert found.raw == HELLO.manifest.content
    assert [call["ids"] for call in recorder.images] == [
        [{"imageTag": "1.2"}],
        [{"imageDigest": str(HELLO.manifest.digest)}],
    ]


def test_a_manifest_that_never_hashes_to_its_digest_is_an_integrity_error(opened: tuple[EcrSource, Recorder]) -> None:
    source, recorder = opened

    def changed(answer: Mapping[str, object]) -> Mapping[str, object]:
        images = answer["images"]
        assert isinstance(images, list)
        return {**answer, "images": [{**images[0], "imageManifest": images[0]["imageManifest"] + " "}]}

    recorder.answer = changed
    with pytest.raises(IntegrityError, match=f"{HELLO.manifest.digest} arrived with digest sha256:"):
        source.manifest(tag="1.2")
    with pytest.raises(IntegrityError):
        source.manifest(digest=HELLO.manifest.digest)


def test_a_tag_that_has_moved_away_from_the_digest_is_not_found(opened: tuple[EcrSource, Recorder]) -> None:
    source, _ = opened
    with pytest.raises(NotFoundError, match="ImageTagDoesNotMatchDigest") as caught:
        source.manifest(tag="1.2", digest=NOISE.manifest.digest)
    assert caught.value.hint


def test_an_answer_with_neither_image_nor_failure_is_a_transfer_error(opened: tuple[EcrSource, Recorder]) -> None:
    source, recorder = opened
    recorder.answer = lambda answer: {"images": [], "failures": []}
    with pytest.raises(TransferError, match="neither an image nor a failure"):
        source.manifest(tag="1.2")


def test_blobs_and_configs_are_read_in_ranges(opened: tuple[EcrSource, Recorder]) -> None:
    source, _ = opened
    manifest = source.manifest(tag="noise")
    assert isinstance(manifest, Manifest)
    layer = NOISE.layers[0].content
    assert b"".join(map(bytes, source.read(manifest.layers[0], 1000, 2_000_000))) == layer[1000:2_000_000]
    assert fetch(manifest.config, source, retry=FAST) == NOISE.config.content


def test_one_url_is_minted_for_all_chunks_of_a_blob(opened: tuple[EcrSource, Recorder]) -> None:
    source, recorder = opened
    layer = layer_of(source.manifest(tag="noise"))
    with ThreadPoolExecutor(8) as pool:
        pieces = list(
            pool.map(lambda start: len(b"".join(source.read(layer, start, start + 1000))), range(0, 9000, 1000))
        )
    assert pieces == [1000] * 9
    assert recorder.minted == [str(layer.digest)]


def test_an_expired_url_is_minted_again_and_the_blob_goes_on(tmp_path: Path) -> None:
    ahead = 0.0
    with running(tmp_path / "data", clock=lambda: time.time() + ahead) as ecr:
        stock(ecr)
        with source_of(ecr) as (source, recorder):
            layer = layer_of(source.manifest(tag="noise"))
            first = b"".join(map(bytes, source.read(layer, 0, 1000)))
            ahead = 3601
            with pytest.raises(LinkRefusedError, match="Request has expired"):
                next(source.read(layer, 1000, 2000))
            ahead = 0
            second = b"".join(map(bytes, source.read(layer, 1000, 2000)))
    assert first + second == NOISE.layers[0].content[:2000]
    assert recorder.minted == [str(layer.digest)] * 2


def test_a_layer_that_no_image_references_is_not_found(opened: tuple[EcrSource, Recorder]) -> None:
    source, _ = opened
    nowhere = Descriptor("application/octet-stream", Digest.of(b"nowhere"), 7)
    with pytest.raises(NotFoundError, match="GetDownloadUrlForLayer was refused"):
        next(source.read(nowhere, 0, 7))


def test_children_of_an_index_are_read_by_digest(opened: tuple[EcrSource, Recorder]) -> None:
    source, _ = opened
    index = source.manifest(tag="multi")
    assert isinstance(index, Index)
    assert [source.manifest(digest=entry.digest).raw for entry in index.manifests] == [
        image.manifest.content for image in BOTH.images
    ]
