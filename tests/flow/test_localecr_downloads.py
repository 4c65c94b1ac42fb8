"""The local ECR's blob URLs: links, ranges, conditions and refusals as S3 has them."""

from __future__ import annotations

import http.client
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr, Settings
from tests.localecr import REGION, client, digest_of, push_blob, push_image, running

BLOB = os.urandom(300_000)


class Clock:
    """The time of day, moved ahead at will."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>(\w+)</Code>", self.body)
        return found[1].decode() if found else ""


def get(url: str, method: str = "GET", **headers: str) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=sent)
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ecr(tmp_path: Path, clock: Clock) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", clock=clock) as server:
        yield server


def link(api: ECRClient, digest: str) -> str:
    return api.get_download_url_for_layer(repositoryName="app", layerDigest=digest)["downloadUrl"]


@pytest.fixture
def url(api: ECRClient) -> str:
    return link(api, push_image(api, "app", layers=[BLOB]).layers[0])


def test_a_link_gives_the_blob_to_anyone_for_an_hour(url: str, ecr: LocalEcr) -> None:
    assert url.startswith(f"{ecr.endpoint}/prod-{REGION}-starport-layer-bucket/")
    assert "&X-Amz-Expires=3600&" in url
    assert "X-Amz-SignedHeaders=host" in url
    reply = get(url)
    assert (reply.status, reply.body) == (200, BLOB)
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert reply.headers["Content-Type"] == "application/octet-stream"


def test_a_link_names_the_host_that_the_client_asked(api: ECRClient, ecr: LocalEcr) -> None:
    digest = push_image(api, "app", layers=[BLOB]).layers[0]
    named = ecr.endpoint.replace("127.0.0.1", "localhost")
    with client(ecr) as other:
        other.meta.events.register(
            "before-sign.ecr", lambda request, **_: request.headers.add_header("Host", urlsplit(named).netloc)
        )
        assert link(other, digest).startswith(f"{named}/")


def test_config_blobs_have_links_too(api: ECRClient) -> None:
    pushed = push_image(api, "app", config=b"{}")
    assert get(link(api, pushed.config)).body == b"{}"


def test_a_layer_that_no_image_refers_to_is_inaccessible(api: ECRClient) -> None:
    digest = push_blob(api, "app", b"alone")
    with pytest.raises(api.exceptions.LayerInaccessibleException, match="not associated with an image"):
        link(api, digest)


def test_a_layer_goes_out_of_reach_with_its_last_image(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="1")
    api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "1"}])
    with pytest.raises(api.exceptions.LayerInaccessibleException):
        link(api, pushed.layers[0])


def test_unknown_layers_and_manifests_have_no_link(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="1")
    for digest in (digest_of(b"unknown"), pushed.digest):
        with pytest.raises(api.exceptions.LayersNotFoundException, match=f"The layer with digest '{digest}' does not"):
            link(api, digest)


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-299999", 0, 300_000),
        ("bytes=100-199", 100, 200),
        ("bytes=299999-", 299_999, 300_000),
        ("bytes=299000-999999", 299_000, 300_000),
        ("bytes=-1", 299_999, 300_000),
        ("bytes=-999999", 0, 300_000),
    ],
)
def test_one_range_gives_exactly_its_bytes(url: str, header: str, start: int, stop: int) -> None:
    reply = get(url, Range=header)
    assert reply.status == 206
    assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/300000"
    assert reply.headers["Content-Length"] == str(stop - start)
    assert reply.body == BLOB[start:stop]


@pytest.mark.parametrize("header", ["bytes=300000-", "bytes=300000-300001", "bytes=999999-"])
def test_a_range_past_the_end_is_not_satisfiable(url: str, header: str) -> None:
    reply = get(url, Range=header)
    assert (reply.status, reply.code) == (416, "InvalidRange")
    assert reply.headers["Content-Range"] == "bytes */300000"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=5-2", "bytes=abc", "lines=1-2", "bytes", "bytes=--5"])
def test_malformed_and_multiple_ranges_get_the_whole_blob(url: str, header: str) -> None:
    reply = get(url, Range=header)
    assert (reply.status, reply.body) == (200, BLOB)


def test_an_etag_makes_ranges_and_whole_reads_conditional(url: str) -> None:
    etag = get(url, Range="bytes=0-0").headers["ETag"]
    assert get(url, Range="bytes=0-1", If_Range=etag).status == 206
    assert get(url, Range="bytes=0-1", If_Range='"other"').status == 200
    assert get(url, Range="bytes=0-1", If_Match=etag).status == 206
    assert get(url, If_Match='"other"').code == "PreconditionFailed"
    known = get(url, If_None_Match=etag)
    assert (known.status, known.body) == (304, b"")


def test_an_expired_link_is_denied_as_s3_does(url: str, clock: Clock) -> None:
    clock.ahead = 3590
    assert get(url).status == 200
    clock.ahead = 3601
    reply = get(url)
    assert (reply.status, reply.code) == (403, "AccessDenied")
    assert b"<Message>Request has expired</Message><X-Amz-Expires>3600</X-Amz-Expires><Expires>" in reply.body
    assert reply.headers["Content-Type"] == "application/xml"


def test_links_live_as_long_as_is_set(tmp_path: Path, clock: Clock) -> None:
    with running(tmp_path / "other", Settings(url_expiry=5), clock=clock) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        short = link(api, push_image(api, "app").layers[0])
        assert get(short).status == 200
        clock.ahead = 6
        assert get(short).status == 403


def test_head_is_refused_because_the_method_is_signed(url: str) -> None:
    reply = get(url, "HEAD")
    assert (reply.status, reply.body) == (403, b"")


@pytest.mark.parametrize(
    ("pattern", "replacement", "code"),
    [
        (r"X-Amz-Signature=\w{4}", "X-Amz-Signature=0000", "SignatureDoesNotMatch"),
        (r"X-Amz-Expires=3600", "X-Amz-Expires=9999999", "SignatureDoesNotMatch"),
        (r"X-Amz-Date=\d{8}", "X-Amz-Date=20990101", "SignatureDoesNotMatch"),
        (r"/[0-9a-f]{64}\?", f"/{'0' * 64}?", "SignatureDoesNotMatch"),
        (r"$", "&response-content-type=text/html", "SignatureDoesNotMatch"),
        (r"X-Amz-Credential=\w+", "X-Amz-Credential=AKIAOTHER", "InvalidAccessKeyId"),
        (r"&X-Amz-Date=\w+", "", "AuthorizationQueryParametersError"),
        (r"X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=none", "AuthorizationQueryParametersError"),
        (r"\?.*", "", "AccessDenied"),
        (r"starport-layer-bucket", "other-bucket", "AccessDenied"),
    ],
)
def test_a_link_that_was_changed_is_refused(url: str, pattern: str, replacement: str, code: str) -> None:
    changed = re.sub(pattern, replacement, url, count=1)
    assert changed != url
    reply = get(changed)
    assert reply.status == (400 if code.startswith("Authorization") else 403)
    assert reply.code == code


@pytest.mark.parametrize("added", ["X-Amz-Expires=999999999", "X-Amz-Date=20990101T000000Z", "via=registry", "x"])
def test_a_link_with_a_fragment_is_refused_since_no_signature_covers_what_follows(url: str, added: str) -> None:
    parts = urlsplit(url)
    pairs = sorted(parts.query.split("&"), key=lambda pair: pair.startswith("X-Amz-Algorithm"))
    (signature,) = [pair for pair in pairs if pair.startswith("X-Amz-Signature")]
    query = "&".join(pair for pair in pairs if pair != signature)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        connection.request("GET", f"{parts.path}?{query}#&{added}&{signature}", headers={"Authorization": "Basic eA=="})
        assert connection.getresponse().status == 400


def test_an_authorization_header_beside_a_signed_link_is_refused_as_s3_does(url: str) -> None:
    reply = get(url, Authorization="Bearer token")
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert b"Only one auth mechanism allowed" in reply.body


def test_a_blob_that_is_gone_from_disk_is_no_such_key(url: str, ecr: LocalEcr) -> None:
    (ecr.data / "blobs" / "sha256" / digest_of(BLOB).removeprefix("sha256:")).unlink()
    reply = get(url)
    assert (reply.status, reply.code) == (404, "NoSuchKey")


def test_many_connections_read_one_blob_side_by_side(url: str) -> None:
    size = 10_000

    def chunk(start: int) -> bytes:
        return get(url, Range=f"bytes={start}-{start + size - 1}").body

    with ThreadPoolExecutor(16) as pool:
        assert b"".join(pool.map(chunk, range(0, len(BLOB), size))) == BLOB


def test_a_link_outlives_a_restart(tmp_path: Path, clock: Clock) -> None:
    with running(tmp_path / "kept") as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        old = link(api, push_image(api, "app", layers=[BLOB]).layers[0])
    parts = urlsplit(old)
    with running(tmp_path / "kept") as ecr:
        moved = old.replace(parts.netloc, urlsplit(ecr.endpoint).netloc)
        connection = http.client.HTTPConnection(urlsplit(moved).netloc)
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
        assert connection.getresponse().read() == BLOB
        connection.close()
