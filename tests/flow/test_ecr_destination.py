"""The ECR destination over HTTP against the local ECR, with real boto3 and scripted faults."""

from __future__ import annotations

import gzip
import json
import random
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.session import Session
from mypy_boto3_ecr import ECRClient

from ecrdrag import manifest
from ecrdrag.cli.aws import AwsSettings
from ecrdrag.content import Descriptor, Digest, EncodedPart
from ecrdrag.errors import (
    AuthError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    PartOffsetError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
    UploadLostError,
    UsageError,
)
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import Manifest
from ecrdrag.reference import ImageReference
from ecrdrag.registry import ecr_parts
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_destination import EcrDestination, EcrUpload, _Repository
from ecrdrag.registry.ends import Destination, RepositorySettings, Unlimited
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import HELLO, stock
from tests.images import Blob, index_of
from tests.localecr import ACCOUNT, REGION, Recorder, client, client_for, running

MIB = 1024 * 1024
NAME = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/app"
REFERENCE = ImageReference.parse(NAME)
PART = 1000
DATA = random.Random(1).randbytes(2500)
BLOB = Descriptor("application/octet-stream", Digest.of(DATA), len(DATA))
OTHER = Digest.of(b"other")
FAST = RetryPolicy(tries=3, base=0.0)


class Faults:
    """Answer calls of one operation out of a script; what the script doesn't have goes to the real one."""

    def __init__(self, recorder: Recorder) -> None:
        self.scripts: dict[str, list[Callable[[Answer], Answer]]] = {}
        recorder.intercept = self._answer

    def add(self, operation: str, change: Callable[[Answer], Answer]) -> None:
        """Let the real ECR do what the next such call asks, then change its answer."""
        self.scripts.setdefault(operation, []).append(change)

    def _answer(self, request: Request, handler: Handler) -> Answer:
        script = self.scripts.get(request.headers.get("X-Amz-Target", "").rpartition(".")[2])
        if script:
            return script.pop(0)(handler(request))
        return handler(request)


def with_body(body: bytes) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(200, answer.headers, body)


def with_members(**members: object) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(200, answer.headers, json.dumps({**json.loads(_bytes(answer)), **members}).encode())


def refusing(code: str, status: int = 400, **members: object) -> Callable[[Answer], Answer]:
    body = json.dumps({"__type": code, "message": "it can't be", **members}).encode()
    return lambda answer: Answer(status, answer.headers, body)


def hanging_up(answer: Answer) -> Answer:
    raise ConnectionResetError


def _bytes(answer: Answer) -> bytes:
    assert isinstance(answer.body, bytes)
    return answer.body


CUT = with_body(b"")
HALF = with_body(b'{"lastByteReceived": 9')


def body_of(request: AWSPreparedRequest) -> bytes:
    """Give what is sent, bytes or a file, which then stands where it stood."""
    body: Any = request.body
    if isinstance(body, bytes):
        return body
    place = body.tell()
    body.seek(0)
    content = bytes(body.read())
    body.seek(place)
    return content


def read(request: AWSPreparedRequest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(body_of(request))
    return document


@dataclass
class Opened:
    """A destination of a local ECR, and what is behind it."""

    ecr: LocalEcr
    api: ECRClient
    recorder: Recorder
    faults: Faults
    destination: EcrDestination
    sent: list[AWSPreparedRequest] = field(default_factory=list)

    def note(self, request: AWSPreparedRequest, **_: object) -> None:
        self.sent.append(request)

    @property
    def last(self) -> dict[str, Any]:
        """The last request's document."""
        return read(self.sent[-1])


@contextmanager
def opened_on(folder: Path, settings: Settings) -> Iterator[Opened]:
    recorder = Recorder()
    with running(folder / "data", settings, recorder=recorder) as ecr, client(ecr) as api:
        ecr_parts.install(api.meta.events)
        api.create_repository(repositoryName="app")
        found = Opened(ecr, api, recorder, Faults(recorder), EcrDestination(api, REFERENCE))
        api.meta.events.register("before-send.ecr.*", found.note)
        yield found


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    with opened_on(tmp_path, Settings(region=REGION, part_size=PART, min_part_size=PART)) as found:
        yield found


def part_of(upload: EcrUpload, data: bytes, start: int, stop: int) -> EncodedPart:
    return upload.encode(start, stop, [memoryview(data)[start:stop]])


def send_all(upload: EcrUpload, data: bytes, start: int = 0) -> None:
    while start < len(data):
        start = upload.send(part_of(upload, data, start, min(start + upload.part_size, len(data))))


def bring(destination: EcrDestination, data: bytes) -> Descriptor:
    blob = Descriptor("application/octet-stream", Digest.of(data), len(data))
    upload = destination.begin(blob)
    send_all(upload, data)
    upload.complete()
    return blob


def bring_blobs(destination: EcrDestination, *blobs: Blob) -> None:
    for blob in blobs:
        if blob.content and destination.missing([Descriptor(blob.media_type, blob.digest, len(blob.content))]):
            bring(destination, blob.content)


def document_of(blob: Blob) -> Manifest:
    document = manifest.parse(blob.content, blob.media_type)
    assert isinstance(document, Manifest)
    return document


def hello_in(destination: EcrDestination) -> Manifest:
    """Bring hello's blobs and give its manifest."""
    bring_blobs(destination, *HELLO.blobs.values())
    return document_of(HELLO.manifest)


def other_manifest() -> Manifest:
    """Give a manifest of hello's blobs that is another document."""
    return document_of(Blob(HELLO.manifest.content + b"\n", HELLO.manifest.media_type))


# What is there


def test_the_destination_is_one() -> None:
    def accept(destination: Destination) -> None: ...

    accept(EcrDestination(boto3.client("ecr", region_name=REGION), REFERENCE))


def test_what_is_not_there_is_missing_and_what_is_there_is_not(opened: Opened) -> None:
    there = bring(opened.destination, b"there")
    assert opened.destination.missing([there, BLOB]) == {BLOB.digest}
    assert opened.last == {
        "registryId": ACCOUNT,
        "repositoryName": "app",
        "layerDigests": [str(there.digest), str(BLOB.digest)],
    }


def test_a_blob_without_bytes_is_never_missing_nor_asked_for(opened: Opened) -> None:
    empty = Descriptor("application/octet-stream", Digest.of(b""), 0)
    assert opened.destination.missing([empty]) == set()
    assert opened.destination.missing([]) == set()
    assert opened.recorder.count("BatchCheckLayerAvailability") == 0


def test_blobs_are_asked_for_by_the_hundred_and_each_once(opened: Opened) -> None:
    blobs = [Descriptor("x", Digest.of(str(number).encode()), 1) for number in range(250)]
    assert opened.destination.missing([*blobs, *blobs]) == {blob.digest for blob in blobs}
    asked = [read(request)["layerDigests"] for request in opened.sent]
    assert [len(digests) for digests in asked] == [100, 100, 50]
    assert len({digest for digests in asked for digest in digests}) == 250


def test_an_archived_blob_is_brought_again(opened: Opened) -> None:
    archived = [{"layerDigest": str(BLOB.digest), "layerAvailability": "ARCHIVED"}]
    opened.faults.add("BatchCheckLayerAvailability", with_members(layers=archived))
    assert opened.destination.missing([BLOB]) == {BLOB.digest}


@pytest.mark.parametrize("code", ["InvalidLayerDigest", "MissingLayerDigest"])
def test_a_failure_inside_the_answer_is_an_error(opened: Opened, code: str) -> None:
    failed = {"layerDigest": str(BLOB.digest), "failureCode": code, "failureReason": "it can't be"}
    opened.faults.add("BatchCheckLayerAvailability", with_members(layers=[], failures=[failed]))
    with pytest.raises(TransferError) as caught:
        opened.destination.missing([BLOB])
    assert str(caught.value) == f"{NAME}: blob {BLOB.digest}: it can't be ({code})"
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(
    "change",
    [
        CUT,
        HALF,
        with_members(layers=[]),
        with_members(layers=[{"layerDigest": str(BLOB.digest)}]),
        with_members(layers=[{"layerDigest": str(OTHER), "layerAvailability": "AVAILABLE"}]),
    ],
)
def test_an_answer_without_a_blob_that_was_asked_for_is_an_error(
    opened: Opened, change: Callable[[Answer], Answer]
) -> None:
    opened.faults.add("BatchCheckLayerAvailability", change)
    with pytest.raises(TransferError, match="BatchCheckLayerAvailability can't be used"):
        opened.destination.missing([BLOB])


# Uploads


def test_an_upload_asks_for_the_parts_that_the_server_wants(opened: Opened) -> None:
    assert opened.destination.begin(BLOB).part_size == PART


@pytest.mark.parametrize(("wanted", "taken"), [(1, 1), (20 * MIB, 20 * MIB), (20 * MIB + 1, 20 * MIB)])
def test_no_part_is_larger_than_the_api_takes(opened: Opened, wanted: int, taken: int) -> None:
    opened.faults.add("InitiateLayerUpload", with_members(partSize=wanted))
    assert opened.destination.begin(BLOB).part_size == taken


@pytest.mark.parametrize("wanted", [0, -1])
def test_a_server_that_wants_parts_of_nothing_is_no_use(opened: Opened, wanted: int) -> None:
    opened.faults.add("InitiateLayerUpload", with_members(partSize=wanted))
    with pytest.raises(TransferError, match=f"asks for parts of {wanted} bytes") as caught:
        opened.destination.begin(BLOB)
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(
    "change",
    [CUT, with_body(b'{"partSize": 1000}'), with_members(partSize=None), with_members(partSize=1.5)],
)
def test_an_upload_without_id_or_part_size_is_a_transfer_error(
    opened: Opened, change: Callable[[Answer], Answer]
) -> None:
    opened.faults.add("InitiateLayerUpload", change)
    with pytest.raises(TransferError, match="InitiateLayerUpload can't be used"):
        opened.destination.begin(BLOB)


def test_a_blob_goes_up_in_parts_and_is_there(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    assert upload.send(part_of(upload, DATA, 0, 1000)) == 1000
    assert upload.send(part_of(upload, DATA, 1000, 2000)) == 2000
    assert upload.send(part_of(upload, DATA, 2000, 2500)) == 2500
    upload.complete()
    assert opened.destination.missing([BLOB]) == set()


def test_a_part_out_of_order_says_which_byte_comes_next(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    with pytest.raises(PartOffsetError) as caught:
        upload.send(part_of(upload, DATA, 1000, 2000))
    assert caught.value.offset == 0
    upload.send(part_of(upload, DATA, 0, 1000))
    with pytest.raises(PartOffsetError, match=f"{NAME}: blob {BLOB.digest}: UploadLayerPart was refused") as caught:
        upload.send(part_of(upload, DATA, 2000, 2500))
    assert caught.value.offset == 1000


@pytest.mark.parametrize(
    "change",
    [
        CUT,
        HALF,
        with_members(lastByteReceived=None),
        with_members(lastByteReceived="999"),
        with_members(lastByteReceived=True),
        with_members(lastByteReceived=999.0),
        with_members(lastByteReceived=1000),
        with_members(lastByteReceived=-2),
    ],
)
def test_a_part_whose_answer_is_lost_is_sent_again_and_the_upload_goes_on(
    opened: Opened, change: Callable[[Answer], Answer]
) -> None:
    upload = opened.destination.begin(BLOB)
    part = part_of(upload, DATA, 0, 1000)
    opened.faults.add("UploadLayerPart", change)
    with pytest.raises(TransientError, match="UploadLayerPart can't be used") as caught:
        upload.send(part)
    assert not isinstance(caught.value, PartOffsetError | UploadLostError)
    with pytest.raises(PartOffsetError) as again:
        upload.send(part)
    assert again.value.offset == 1000
    send_all(upload, DATA, again.value.offset)
    upload.complete()
    assert opened.destination.missing([BLOB]) == set()


@pytest.mark.parametrize("silence", [hanging_up, refusing("ServerException", 500)])
def test_silence_is_worth_another_try_once_the_repository_has_answered(
    opened: Opened, silence: Callable[[Answer], Answer]
) -> None:
    opened.faults.add("BatchCheckLayerAvailability", silence)
    with pytest.raises(TransferError) as caught:
        opened.destination.missing([BLOB])
    assert not isinstance(caught.value, TransientError)
    assert opened.destination.missing([BLOB])
    up = opened.destination.begin(BLOB)
    for operation, call in (
        ("BatchCheckLayerAvailability", lambda: opened.destination.missing([BLOB])),
        ("InitiateLayerUpload", lambda: opened.destination.begin(BLOB)),
        ("UploadLayerPart", lambda: up.send(part_of(up, DATA, 0, 1000))),
        ("CompleteLayerUpload", up.complete),
    ):
        opened.faults.add(operation, silence)
        with pytest.raises(TransientError):
            call()


def test_a_registry_that_took_less_says_so(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    opened.faults.add("UploadLayerPart", with_members(lastByteReceived=499))
    assert upload.send(part_of(upload, DATA, 0, 1000)) == 500


def test_an_upload_that_is_not_known_any_more_is_lost(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    send_all(upload, DATA)
    upload.complete()
    with pytest.raises(UploadLostError, match="UploadNotFoundException"):
        upload.send(part_of(upload, DATA, 0, 1000))
    with pytest.raises(UploadLostError, match="UploadNotFoundException"):
        upload.complete()


@pytest.mark.parametrize(
    "refusal",
    [
        refusing("InvalidLayerPartException"),
        refusing("InvalidLayerPartException", lastValidByteReceived="499"),
    ],
)
def test_a_part_that_is_refused_for_itself_is_not_sent_again(
    opened: Opened, refusal: Callable[[Answer], Answer]
) -> None:
    upload = opened.destination.begin(BLOB)
    send_all(upload, DATA[:1000])
    opened.faults.add("UploadLayerPart", refusal)
    with pytest.raises(TransferError, match="InvalidLayerPartException") as caught:
        upload.send(part_of(upload, DATA, 1000, 2000))
    assert not isinstance(caught.value, TransientError)


def test_a_part_that_is_refused_where_it_should_be_is_sent_again(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    send_all(upload, DATA[:1000])
    opened.faults.add("UploadLayerPart", refusing("InvalidLayerPartException", lastValidByteReceived=999))
    with pytest.raises(TransientError) as caught:
        upload.send(part_of(upload, DATA, 1000, 2000))
    assert not isinstance(caught.value, PartOffsetError)
    with pytest.raises(PartOffsetError) as again:  # the script lets the real ECR take it before it refuses
        upload.send(part_of(upload, DATA, 1000, 2000))
    assert again.value.offset == 2000


def test_more_or_fewer_bytes_than_the_part_has_are_never_sent(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    with pytest.raises(IntegrityError):
        upload.encode(0, 1000, [memoryview(DATA)[:999]])
    with pytest.raises(IntegrityError):
        upload.encode(0, 1000, [memoryview(DATA)[:1001]])


def test_a_blob_that_is_there_already_is_success(opened: Opened) -> None:
    bring(opened.destination, DATA)
    upload = opened.destination.begin(BLOB)
    send_all(upload, DATA)
    upload.complete()


def test_other_bytes_than_the_digest_says_are_an_integrity_error(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    send_all(upload, DATA[::-1])
    with pytest.raises(IntegrityError, match="InvalidLayerException") as caught:
        upload.complete()
    assert "while it was read" in caught.value.hint


def test_a_blob_kept_under_another_digest_is_an_integrity_error(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    send_all(upload, DATA)
    opened.faults.add("CompleteLayerUpload", with_members(layerDigest=str(OTHER)))
    with pytest.raises(IntegrityError, match=f"blob {BLOB.digest} was kept as {OTHER}"):
        upload.complete()


@pytest.mark.parametrize("change", [CUT, with_members(layerDigest=None), with_members(layerDigest=1)])
def test_a_completion_whose_answer_is_lost_is_to_be_looked_up(
    opened: Opened, change: Callable[[Answer], Answer]
) -> None:
    upload = opened.destination.begin(BLOB)
    send_all(upload, DATA)
    opened.faults.add("CompleteLayerUpload", change)
    with pytest.raises(UploadLostError, match="CompleteLayerUpload can't be used"):
        upload.complete()
    assert opened.destination.missing([BLOB]) == set()


def test_an_upload_without_a_part_and_one_of_small_parts_are_transfer_errors(opened: Opened) -> None:
    with pytest.raises(TransferError, match="EmptyUploadException") as caught:
        opened.destination.begin(BLOB).complete()
    assert not isinstance(caught.value, TransientError)
    upload = opened.destination.begin(BLOB)
    for start, stop in ((0, 10), (10, 2500)):
        upload.send(part_of(upload, DATA, start, stop))
    with pytest.raises(TransferError, match="LayerPartTooSmallException") as caught:
        upload.complete()
    assert not isinstance(caught.value, TransientError)


# Manifests


def test_a_manifest_keeps_its_bytes_and_is_there_the_second_time(opened: Opened) -> None:
    document = hello_in(opened.destination)
    assert opened.destination.put_manifest(document, "1") is True
    assert opened.last["imageDigest"] == str(document.digest)
    assert opened.last["imageManifestMediaType"] == document.media_type
    assert opened.destination.put_manifest(document, "1") is False
    assert opened.destination.put_manifest(document, "2") is True
    with BlobTransport(connections=1) as transport:
        source = EcrSource(opened.api, transport, REFERENCE)
        assert source.manifest(tag="1").raw == source.manifest(tag="2").raw == document.raw
        assert fetch(document.layers[0], source, retry=FAST) == HELLO.layers[0].content


def test_a_manifest_without_a_tag_has_its_digest_alone(opened: Opened) -> None:
    document = hello_in(opened.destination)
    assert opened.destination.put_manifest(document) is True
    assert "imageTag" not in opened.last
    assert opened.destination.put_manifest(document) is False
    (image,) = opened.api.describe_images(repositoryName="app")["imageDetails"]
    assert (image["imageDigest"], image.get("imageTags")) == (str(document.digest), None)


def test_an_index_is_put_after_its_images(opened: Opened) -> None:
    document = hello_in(opened.destination)
    blob = index_of([HELLO]).manifest
    index = manifest.parse(blob.content, blob.media_type)
    with pytest.raises(TransientError, match="ReferencedImagesNotFoundException"):
        opened.destination.put_manifest(index, "all")
    opened.destination.put_manifest(document)
    assert opened.destination.put_manifest(index, "all") is True


def test_layers_that_the_registry_does_not_see_yet_are_worth_another_try(opened: Opened) -> None:
    with pytest.raises(TransientError, match=f"{NAME}:1: PutImage was refused.*LayersNotFoundException") as caught:
        opened.destination.put_manifest(document_of(HELLO.manifest), "1")
    assert caught.value.hint


def test_layers_without_bytes_are_no_use_but_not_to_blame_for_an_api_out_of_order(opened: Opened) -> None:
    hollow = {**json.loads(HELLO.manifest.content), "layers": [Blob(b"", "application/x").json]}
    document = manifest.parse(json.dumps(hollow).encode(), manifest.OCI_MANIFEST)
    opened.faults.add("PutImage", refusing("ServerException", 500))
    with pytest.raises(TransferError):
        opened.destination.put_manifest(document, "1")
    with pytest.raises(UnsupportedError, match=r"without bytes, which ECR takes no upload of: .*LayersNotFound"):
        opened.destination.put_manifest(document, "1")


def test_a_manifest_kept_under_another_digest_is_an_integrity_error(opened: Opened) -> None:
    document = hello_in(opened.destination)
    opened.faults.add("PutImage", with_members(image={"imageId": {"imageDigest": str(OTHER)}}))
    with pytest.raises(IntegrityError, match=f"{document.digest} was kept as {OTHER}"):
        opened.destination.put_manifest(document, "1")


@pytest.mark.parametrize("change", [CUT, with_members(image={}), with_members(image={"imageId": {}})])
def test_a_manifest_whose_answer_is_lost_is_put_again(opened: Opened, change: Callable[[Answer], Answer]) -> None:
    document = hello_in(opened.destination)
    opened.faults.add("PutImage", change)
    with pytest.raises(TransientError, match="PutImage can't be used"):
        opened.destination.put_manifest(document, "1")
    assert opened.destination.put_manifest(document, "1") is False


def test_a_manifest_that_is_no_utf_8_is_unsupported(opened: Opened) -> None:
    raw = HELLO.manifest.content.decode().encode("utf-16")
    document = document_of(Blob(raw, HELLO.manifest.media_type))
    with pytest.raises(UnsupportedError, match=f"the manifest {document.digest} is not UTF-8"):
        opened.destination.put_manifest(document, "1")


# Immutable tags


@pytest.fixture
def immutable(opened: Opened) -> Opened:
    """Give an immutable repository whose tag 1 is hello."""
    opened.api.delete_repository(repositoryName="app")
    opened.destination.create_repository(RepositorySettings(immutable=True))
    opened.destination.put_manifest(hello_in(opened.destination), "1")
    return opened


def test_an_immutable_tag_of_another_image_is_a_conflict_that_names_both(immutable: Opened) -> None:
    other = other_manifest()
    with pytest.raises(ConflictError) as caught:
        immutable.destination.put_manifest(other, "1")
    assert str(caught.value) == f"{NAME}:1 is immutable and holds {HELLO.manifest.digest}, not {other.digest}"
    assert "choose another tag" in caught.value.hint
    assert immutable.destination.put_manifest(other, "2") is True


def test_an_immutable_tag_of_the_same_image_is_success(immutable: Opened) -> None:
    document = document_of(HELLO.manifest)
    assert immutable.destination.put_manifest(document, "1") is False
    immutable.faults.add("PutImage", refusing("ImageTagAlreadyExistsException"))
    assert immutable.destination.put_manifest(document, "1") is False


@pytest.mark.parametrize("change", [CUT, refusing("AccessDeniedException"), with_members(images=[])])
def test_a_conflict_is_one_without_knowing_who_holds_the_tag(
    immutable: Opened, change: Callable[[Answer], Answer]
) -> None:
    immutable.faults.add("BatchGetImage", change)
    other = other_manifest()
    with pytest.raises(ConflictError, match=f":1 is immutable and holds another image, not {other.digest}"):
        immutable.destination.put_manifest(other, "1")


# The repository


@pytest.mark.parametrize(
    "use",
    [
        lambda destination: destination.missing([BLOB]),
        lambda destination: destination.begin(BLOB),
        lambda destination: destination.put_manifest(document_of(HELLO.manifest)),
    ],
)
def test_a_missing_repository_comes_with_the_command_that_creates_it(
    opened: Opened, use: Callable[[EcrDestination], object]
) -> None:
    reference = ImageReference.parse(f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/not/there")
    with pytest.raises(RepositoryNotFoundError, match="RepositoryNotFoundException") as caught:
        use(EcrDestination(opened.api, reference))
    assert caught.value.exit_code == NotFoundError.exit_code
    assert f"`ecrdrag repo create {reference.name}`" in caught.value.hint
    assert "--create-repository" in caught.value.hint


def test_a_repository_that_goes_away_during_an_upload_is_missing(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    opened.api.delete_repository(repositoryName="app")
    with pytest.raises(RepositoryNotFoundError):
        upload.send(part_of(upload, DATA, 0, 1000))
    with pytest.raises(RepositoryNotFoundError):
        upload.complete()


KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        (RepositorySettings(), {}),
        (RepositorySettings(immutable=True), {"imageTagMutability": "IMMUTABLE"}),
        (RepositorySettings(scan_on_push=True), {"imageScanningConfiguration": {"scanOnPush": True}}),
        (
            RepositorySettings(kms_key=KEY),
            {"encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": KEY}},
        ),
        (
            RepositorySettings(tags={"team": "a", "empty": ""}),
            {"tags": [{"Key": "team", "Value": "a"}, {"Key": "empty", "Value": ""}]},
        ),
    ],
)
def test_a_new_repository_is_as_it_was_asked_for(
    opened: Opened, settings: RepositorySettings, asked: Mapping[str, object]
) -> None:
    destination = EcrDestination(opened.api, ImageReference.parse(f"{NAME}/new"))
    assert destination.create_repository(settings) is True
    assert opened.last == {"registryId": ACCOUNT, "repositoryName": "app/new", **asked}
    (found,) = opened.api.describe_repositories(repositoryNames=["app/new"])["repositories"]
    for name, value in asked.items():
        assert name == "tags" or found.get(name) == value
    assert destination.create_repository(settings) is False


def test_a_creation_without_an_answer_is_a_transfer_error(opened: Opened) -> None:
    destination = EcrDestination(opened.api, ImageReference.parse(f"{NAME}/new"))
    opened.faults.add("CreateRepository", CUT)
    with pytest.raises(TransferError, match="CreateRepository can't be used"):
        destination.create_repository(RepositorySettings())
    assert destination.create_repository(RepositorySettings()) is False


# Throttling


@pytest.mark.parametrize("status", [400, 429])
@pytest.mark.parametrize("code", ["ThrottleException", "ThrottlingException", "TooManyRequestsException"])
def test_too_many_requests_are_worth_another_try(opened: Opened, code: str, status: int) -> None:
    document = hello_in(opened.destination)
    upload = opened.destination.begin(BLOB)
    uses: dict[str, Callable[[], object]] = {
        "BatchCheckLayerAvailability": lambda: opened.destination.missing([BLOB]),
        "InitiateLayerUpload": lambda: opened.destination.begin(BLOB),
        "UploadLayerPart": lambda: upload.send(part_of(upload, DATA, 0, 1000)),
        "CompleteLayerUpload": upload.complete,
        "PutImage": lambda: opened.destination.put_manifest(document, "1"),
    }
    for operation, use in uses.items():
        opened.faults.add(operation, refusing(code, status))
        with pytest.raises(TransientError, match=f"{operation} was refused") as caught:
            use()
        assert caught.value.exit_code == 5


def test_a_pull_that_is_throttled_goes_on(tmp_path: Path) -> None:
    with opened_on(tmp_path, Settings(region=REGION)) as opened, BlobTransport(connections=1) as transport:
        stock(opened.ecr)
        source = EcrSource(opened.api, transport, ImageReference.parse(f"{NAME[:-3]}my/app"))
        layer = document_of(HELLO.manifest).layers[0]
        for _ in range(FAST.tries - 1):
            opened.faults.add("GetDownloadUrlForLayer", refusing("ThrottleException"))
        assert fetch(layer, source, retry=FAST) == HELLO.layers[0].content
        assert opened.recorder.count("GetDownloadUrlForLayer") == FAST.tries


def test_a_quota_that_is_used_up_is_not_tried_again(opened: Opened) -> None:
    opened.faults.add("InitiateLayerUpload", refusing("LimitExceededException"))
    with pytest.raises(TransferError) as caught:
        opened.destination.begin(BLOB)
    assert not isinstance(caught.value, TransientError)


# What travels


def retry_at_once(attempts: int, response: tuple[AWSResponse, object] | None, **_: object) -> int | None:
    """Let botocore try once more, without its pause, when there is no answer or the server failed."""
    failed = response is None or response[0].status_code >= 500
    return 0 if failed and attempts == 1 else None


def test_a_part_travels_as_botocore_itself_would_send_it(opened: Opened) -> None:
    upload = opened.destination.begin(BLOB)
    upload.send(part_of(upload, DATA, 0, 1000))
    ours = opened.sent[-1]
    with pytest.raises(ClientError, match="InvalidLayerPart"):
        opened.api.upload_layer_part(
            registryId=ACCOUNT,
            repositoryName="app",
            uploadId=read(ours)["uploadId"],
            partFirstByte=0,
            partLastByte=999,
            layerPartBlob=DATA[:1000],
        )
    theirs = opened.sent[-1]
    assert body_of(ours) == body_of(theirs)
    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    changing = {"Authorization", "X-Amz-Date", "amz-sdk-invocation-id"}
    assert ours.headers.keys() == theirs.headers.keys()
    for name in set(ours.headers.keys()) - changing:
        assert ours.headers[name] == theirs.headers[name], name


def test_the_signature_is_over_the_bytes_that_travel(opened: Opened) -> None:
    def change(request: AWSPreparedRequest, **_: object) -> None:
        request.body = body_of(request).replace(b"0", b"1")

    upload = opened.destination.begin(BLOB)
    opened.api.meta.events.register("before-send.ecr.UploadLayerPart", change)
    with pytest.raises(AuthError, match="InvalidSignatureException"):
        upload.send(part_of(upload, DATA, 0, 1000))


@contextmanager
def users_client(ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch) -> Iterator[ECRClient]:
    """Give the client that the command line would build."""
    for name, value in ecr.environment.items():
        monkeypatch.setenv(name, value)
    api: ECRClient = AwsSettings(None, None).ecr(REFERENCE.private, connections=1)  # type: ignore[assignment]
    try:
        yield api
    finally:
        api.close()


@pytest.mark.parametrize("fault", [refusing("ServerException", 500), hanging_up])
def test_botocore_sends_the_same_bytes_again_and_the_offset_tells_that_they_had_arrived(
    opened: Opened, fault: Callable[[Answer], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # its own tries come after pauses
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    with users_client(opened.ecr, monkeypatch) as api:
        api.meta.events.register("before-send.ecr.*", opened.note)
        api.meta.events.register("needs-retry.ecr.UploadLayerPart", retry_at_once)  # type: ignore[arg-type]
        upload = EcrDestination(api, REFERENCE).begin(BLOB)
        part = part_of(upload, DATA, 0, 1000)
        opened.faults.add("UploadLayerPart", fault)
        with pytest.raises(PartOffsetError) as caught:
            upload.send(part)
    assert caught.value.offset == 1000
    first, second = opened.sent[-2:]
    assert body_of(first) == body_of(second) == part.body
    assert first.headers["amz-sdk-request"] != second.headers["amz-sdk-request"]


def test_parts_sent_through_botocore_alone_are_untouched(opened: Opened) -> None:
    upload = opened.api.initiate_layer_upload(repositoryName="app")["uploadId"]
    answer = opened.api.upload_layer_part(
        repositoryName="app", uploadId=upload, partFirstByte=0, partLastByte=999, layerPartBlob=DATA[:1000]
    )
    assert answer["lastByteReceived"] == 999


class Swallow(BaseHTTPRequestHandler):
    """Take every body through one small buffer, and answer what all calls of an upload want to hear."""

    protocol_version = "HTTP/1.1"
    rbufsize = 0
    buffer = bytearray(16 * 1024)
    answer = json.dumps({"uploadId": "1", "partSize": 3 * MIB, "lastByteReceived": 3 * MIB - 1}).encode()

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= self.connection.recv_into(self.buffer, min(left, len(self.buffer)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@contextmanager
def swallowing() -> Iterator[str]:
    """Give the URL of a server that keeps nothing."""
    with HTTPServer(("127.0.0.1", 0), Swallow) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_part_is_sent_without_another_copy_of_it() -> None:
    with swallowing() as endpoint, client_for(endpoint, ("AKIAEXAMPLE", "example")) as api:
        ecr_parts.install(api.meta.events)
        upload = EcrDestination(api, REFERENCE).begin(BLOB)
        part = upload.encode(0, 3 * MIB, [memoryview(bytes(3 * MIB))])
        upload.send(part)  # what is loaded once is loaded now
        tracemalloc.start()
        try:
            upload.send(part)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < MIB // 2


class Slowly(BaseHTTPRequestHandler):
    """Take a request at a rate that fills every buffer on the way."""

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, MIB // 16)))
            time.sleep(0.005)
        answer = json.dumps({"lastByteReceived": 10 * MIB - 1}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def test_a_slow_line_may_take_longer_for_a_part_than_a_connection_may_take() -> None:
    with HTTPServer(("127.0.0.1", 0), Slowly, bind_and_activate=False) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB // 16)
        server.server_bind()
        server.server_activate()
        thread = threading.Thread(target=server.handle_request, daemon=True)  # a failure leaves it waiting
        thread.start()
        config = Config(connect_timeout=0.25, retries={"total_max_attempts": 1})
        endpoint = f"http://127.0.0.1:{server.server_port}"
        api = boto3.client(
            "ecr",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="example",
            config=config,
        )
        ecr_parts.install(api.meta.events)
        upload = EcrUpload(_Repository(api, REFERENCE, Unlimited()), BLOB.digest, "1", 10 * MIB)
        assert upload.send(upload.encode(0, 10 * MIB, [memoryview(bytes(10 * MIB))])) == 10 * MIB
        thread.join()
        api.close()


def test_a_client_without_the_hooks_is_refused_rather_than_sending_nonsense(opened: Opened) -> None:
    with client(opened.ecr) as api:
        upload = EcrDestination(api, REFERENCE).begin(BLOB)
        with pytest.raises(UsageError, match="layerPartBlob"):
            upload.send(part_of(upload, DATA, 0, 1000))


def test_the_command_lines_client_has_the_hooks(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with users_client(opened.ecr, monkeypatch) as api:
        bring(EcrDestination(api, REFERENCE), DATA)
    assert opened.destination.missing([BLOB]) == set()


def test_another_protocol_than_json_gets_the_plain_bytes(tmp_path: Path) -> None:
    sent: list[bytes | bytearray] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(body_of(request))
        return AWSResponse(request.url, 500, HTTPHeaders(), Nothing())

    with client_of_another_protocol(tmp_path) as api:
        ecr_parts.install(api.meta.events)
        part = ecr_parts.write_part({}, 0, len(DATA), [memoryview(DATA)])
        api.meta.events.register("before-send.ecr.*", answer)  # type: ignore[arg-type]
        with pytest.raises(ClientError):
            api.upload_layer_part(
                repositoryName="app",
                uploadId="1",
                partFirstByte=0,
                partLastByte=2499,
                layerPartBlob=ecr_parts.WrittenPart(part),
            )
    (body,) = sent
    assert DATA in body  # CBOR holds bytes as they are
    assert b"layerPartBlob" in body


class Nothing:
    """A body without bytes."""

    def stream(self) -> Iterator[bytes]:
        return iter([b""])


@contextmanager
def client_of_another_protocol(folder: Path) -> Iterator[ECRClient]:
    """Give a client whose model of ECR has CBOR for its only protocol."""
    model = Loader().load_service_model("ecr", "service-2")
    model["metadata"] = {**model["metadata"], "protocol": "smithy-rpc-v2-cbor", "protocols": ["smithy-rpc-v2-cbor"]}
    place = folder / "ecr" / model["metadata"]["apiVersion"] / "service-2.json.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(gzip.compress(json.dumps(model).encode()))
    session = Session()
    loader = Loader(extra_search_paths=[str(folder)])
    session.register_component("data_loader", loader)
    api = boto3.Session(botocore_session=session).client(
        "ecr",
        region_name=REGION,
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="example",
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield api
    finally:
        api.close()
