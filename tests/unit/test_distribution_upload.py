"""Blobs on their way into any registry, against scripted ones: in one request, in parts, and what is begun again."""

from __future__ import annotations

import ssl
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ecrdrag.content import BlobUpload, Descriptor, Digest
from ecrdrag.errors import (
    AuthError,
    EcrdragError,
    IntegrityError,
    PartOffsetError,
    RepositoryNotFoundError,
    TransferError,
    UploadLostError,
)
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_destination import MAX_PART, DistributionDestination
from ecrdrag.registry.distribution_upload import FlowingUpload, PartedUpload
from ecrdrag.registry.http import Trust
from tests.certificate import write_certificate
from tests.destinations import (
    BLOB,
    DATA,
    ECR,
    OTHER,
    PART,
    SMALL,
    UPLOAD,
    Desk,
    Scripted,
    accepted,
    blob_of,
    created,
    flowing,
    hanging_up,
    methods,
    part_of,
    parted,
    send_all,
    wait_for,
)
from tests.scripted_registry import Reply, failing, scripted

MIB = 1024 * 1024


@pytest.fixture
def desk() -> Iterator[Desk]:
    with scripted() as registry:
        yield Desk(registry)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    wait_for(lambda: threading.active_count() <= before)


# Which way


@pytest.mark.parametrize("upload", [FlowingUpload, PartedUpload])
def test_an_upload_is_one(upload: type[FlowingUpload] | type[PartedUpload]) -> None:
    def accept(upload: type[BlobUpload]) -> None: ...

    accept(upload)


def test_a_part_has_the_bytes_that_it_should(desk: Desk) -> None:
    with flowing(desk) as upload:
        assert part_of(upload, 5, 905).body == DATA[5:905]
        for count, came in ((8, "8 bytes"), (11, "more")):
            with pytest.raises(IntegrityError, match=f"should have 10 bytes, and its source gave {came}"):
                upload.encode(0, 10, [memoryview(DATA)[:count]])


@pytest.mark.parametrize("name", ["", ECR])
def test_a_blob_of_one_part_takes_two_requests(desk: Desk, name: str) -> None:
    desk.replies.append(created(SMALL.digest))
    with desk.opened(name) as destination:
        upload = destination.begin(SMALL)
        send_all(upload, PART)
        assert desk.asked == []  # the last part waits for the completion, which comes once all is verified
        upload.complete()
    assert methods(desk.registry) == ["POST", "PUT"]
    (put,) = desk.asked
    assert put.target == f"{UPLOAD}&digest=sha256%3A{SMALL.digest.hex}"
    assert (put.body, put.headers["content-type"]) == (DATA[:PART], "application/octet-stream")
    assert "content-range" not in put.headers  # which some take for parts: openai/tart#179


def test_a_connection_serves_again_whatever_came_with_an_answer(desk: Desk) -> None:
    begun = Reply(b"begun", 202, desk.headers)
    desk.registry.replies["/v2/team/app/blobs/uploads/"] = begun
    desk.replies.append(created())
    with desk.opened() as destination:
        upload = destination.begin(SMALL)
        send_all(upload, PART)
        upload.complete()
    assert len({one.port for one in desk.registry.asked}) == 1


def test_a_blob_without_bytes_takes_two_requests(desk: Desk) -> None:
    desk.replies.append(created())
    with desk.opened() as destination:
        destination.begin(blob_of(b"")).complete()
    assert desk.asked[0].headers["content-length"] == "0"


def test_a_larger_blob_flows_in_one_request(desk: Desk) -> None:
    with flowing(desk, created(BLOB.digest)) as upload:
        assert upload.send(part_of(upload, 0, 1000)) == 1000
        assert upload.send(part_of(upload, 1000, 2000)) == 2000
        with pytest.raises(PartOffsetError) as caught:
            upload.send(part_of(upload, 0, 1000))
        assert caught.value.offset == 2000
        assert upload.send(part_of(upload, 2000, 2500)) == 2500
        assert desk.asked == []  # its last part is missing yet
        upload.complete()
    (put,) = desk.asked
    assert (put.method, put.body, put.headers["content-length"]) == ("PUT", DATA, "2500")


def test_at_ecr_a_larger_blob_goes_in_parts_that_name_their_place(desk: Desk) -> None:
    replies = [accepted(1000, 201, Location=f"/upload/1?at={place}") for place in "abc"]
    with parted(desk, *replies, created(BLOB.digest), name=ECR) as upload:
        send_all(upload)
        upload.complete()
    assert [one.method for one in desk.asked] == ["PATCH", "PATCH", "PATCH", "PUT"]
    assert [one.headers.get("content-range") for one in desk.asked] == ["0-999", "1000-1999", "2000-2499", None]
    assert [one.target for one in desk.asked[:3]] == [UPLOAD, "/upload/1?at=a", "/upload/1?at=b"]
    assert desk.asked[3].target == f"/upload/1?at=c&digest=sha256%3A{BLOB.digest.hex}"
    assert b"".join(one.body for one in desk.asked) == DATA
    assert desk.asked[0].headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(("least", "size"), [("1500", 1500), ("999", PART)])
def test_parts_are_as_large_as_the_registry_wants(desk: Desk, least: str, size: int) -> None:
    desk.headers["OCI-Chunk-Min-Length"] = least
    with desk.opened() as destination:
        upload = destination.begin(BLOB)
        assert isinstance(upload, PartedUpload)
        assert upload.part_size == size


@pytest.mark.parametrize("least", ["0", "nonsense", str(MAX_PART + 1), "9" * 5000])
def test_parts_that_memory_should_not_hold_are_not_asked_for(desk: Desk, least: str) -> None:
    desk.headers["OCI-Chunk-Min-Length"] = least
    with desk.opened() as destination:
        upload = destination.begin(BLOB)
        assert isinstance(upload, FlowingUpload)
        assert upload.part_size == PART


# Where it goes on


@pytest.mark.parametrize("absolute", [False, True])
def test_an_upload_goes_on_where_the_registry_says(desk: Desk, absolute: bool) -> None:
    desk.headers["Location"] = f"{desk.registry.url if absolute else ''}{UPLOAD}"
    with flowing(desk, created()) as upload:
        send_all(upload)
        upload.complete()
    assert desk.asked[0].target.startswith(UPLOAD)


def test_an_upload_without_a_place_is_no_use(desk: Desk) -> None:
    del desk.headers["Location"]
    with desk.opened() as destination, pytest.raises(TransferError, match="without a Location"):
        destination.begin(BLOB)


def test_an_upload_stays_under_tls_whatever_the_registry_takes_itself_for(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with scripted("localhost", tls) as registry:
        desk = Desk(registry, deque([created(SMALL.digest)]))
        reference = ImageReference.parse(f"{registry.host}/team/app")
        with RegistryClient(registry.url, trust=Trust(more=certificate)) as client:
            destination = DistributionDestination(client, reference, part_size=PART)
            desk.headers["Location"] = f"http://localhost{UPLOAD}"
            upload = destination.begin(SMALL)
            send_all(upload, PART)
            upload.complete()
            desk.headers["Location"] = f"http://elsewhere.example{UPLOAD}"
            with pytest.raises(TransferError, match="not https"):
                destination.begin(BLOB)
    assert desk.asked[0].target.startswith(UPLOAD)


# One request


LATER = failing(500), failing(429), hanging_up


@pytest.mark.parametrize("blob", [SMALL, BLOB], ids=["one part", "parts"])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        *((reply, UploadLostError) for reply in LATER),
        (failing(404, "BLOB_UPLOAD_INVALID"), UploadLostError),  # distribution, of one that is in another state
        (failing(404), UploadLostError),
        (Reply(status=202), UploadLostError),
        (Reply(status=204), UploadLostError),
        (failing(404, "NAME_UNKNOWN"), RepositoryNotFoundError),
        (failing(400, "DIGEST_INVALID"), IntegrityError),
        (failing(400, "BLOB_UPLOAD_INVALID", "None of the provided layer digests match"), IntegrityError),
        (failing(400, "BLOB_UPLOAD_INVALID", "All layer parts except the last part"), TransferError),
        (created(OTHER), IntegrityError),
        (failing(403, "DENIED", "quota"), AuthError),
        (failing(413), TransferError),
    ],
)
def test_what_a_registry_makes_of_a_blob_is_an_error_that_names_it(
    desk: Desk, blob: Descriptor, reply: Scripted, kind: type[EcrdragError]
) -> None:
    desk.replies.append(reply)
    with desk.opened() as destination:
        upload = destination.begin(blob)
        send_all(upload, blob.size)
        with pytest.raises(kind) as caught:
            upload.complete()
    assert type(caught.value) is kind
    assert str(blob.digest) in str(caught.value) or reply is hanging_up


def test_the_digest_of_another_algorithm_says_nothing(desk: Desk) -> None:
    with flowing(desk, created(Digest.of(b"other", "sha512"))) as upload:
        send_all(upload)
        upload.complete()


def test_a_login_that_ends_when_the_body_has_gone_is_begun_again(desk: Desk) -> None:
    with flowing(desk, failing(401)) as upload:
        send_all(upload)
        with pytest.raises(UploadLostError):
            upload.complete()


def test_a_body_that_has_gone_follows_no_redirect(desk: Desk) -> None:
    desk.registry.replies["/elsewhere"] = created()
    with flowing(desk, Reply(status=307, headers={"Location": "/elsewhere"})) as upload:
        send_all(upload)
        with pytest.raises(TransferError, match="answered 307"):
            upload.complete()
    assert len(desk.asked) == 1


def test_an_upload_that_is_forgotten_ends_its_request(desk: Desk) -> None:
    with desk.opened() as destination:
        upload = destination.begin(BLOB)
        upload.send(part_of(upload, 0, 1000))
        assert "upload" in {thread.name for thread in threading.enumerate()}
        del upload
        wait_for(lambda: "upload" not in {thread.name for thread in threading.enumerate()})
    assert all(len(one.body) < len(DATA) for one in desk.asked)


class Hasty(BaseHTTPRequestHandler):
    """Begin uploads, and refuse them before their bytes have come."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.answer(202)

    def do_PUT(self) -> None:
        self.answer(413)
        self.close_connection = True

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Location", UPLOAD)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def bring(upload: BlobUpload, data: bytes) -> None:
    for start in range(0, len(data), MIB):
        upload.send(upload.encode(start, start + MIB, [memoryview(data)[start : start + MIB]]))
    pytest.fail("it was sent to its end")


def test_a_request_that_is_refused_in_its_middle_ends_there() -> None:
    data = bytes(64 * MIB)  # more than all buffers on the way hold
    blob = blob_of(data)
    with HTTPServer(("127.0.0.1", 0), Hasty) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with RegistryClient(url) as client:
            reference = ImageReference.parse(f"127.0.0.1:{server.server_port}/team/app")
            upload = DistributionDestination(client, reference, part_size=MIB).begin(blob)
            with pytest.raises(TransferError):
                bring(upload, data)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("reply", [failing(500), failing(404), failing(400, "DIGEST_INVALID"), hanging_up])
def test_the_place_of_an_upload_is_kept_out_of_errors(desk: Desk, reply: Scripted) -> None:
    with flowing(desk, reply) as upload:
        send_all(upload)
        with pytest.raises(EcrdragError) as caught:
            upload.complete()
    assert "a%2Bb" not in "".join(traceback.format_exception(caught.value))
    assert "a%2Bb" not in repr(upload)
