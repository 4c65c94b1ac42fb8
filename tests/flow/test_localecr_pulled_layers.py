"""Pull through: layers that are fetched when somebody wants them, whole and right or not at all."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep

import pytest
import requests

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError, EcrdragError, NotFoundError, TransientError
from tests.fake_upstream import FakeUpstream
from tests.flow.cached import HELLO, NAME, Cache, caching
from tests.images import noise_image
from tests.localecr import client_for, served

LAYER = HELLO.layers[0]
DIGEST = str(LAYER.digest)
MEBIBYTE = 1024 * 1024


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with caching(tmp_path / "ecr") as cache:
        cache.manifest(imageTag="1")
        cache.upstream.asked.clear()
        yield cache


def test_a_layer_is_fetched_once_and_then_it_is_here(cache: Cache) -> None:
    before = cache.api.batch_check_layer_availability(repositoryName=NAME, layerDigests=[DIGEST])["layers"]
    assert before == [{"layerDigest": DIGEST, "layerAvailability": "UNAVAILABLE"}]
    assert cache.layer(DIGEST) == LAYER.content
    cache.upstream.failure = TransientError("gone")
    assert cache.layer(DIGEST) == LAYER.content
    (after,) = cache.api.batch_check_layer_availability(repositoryName=NAME, layerDigests=[DIGEST])["layers"]
    assert (after["layerAvailability"], after["layerSize"]) == ("AVAILABLE", len(LAYER.content))
    assert cache.upstream.asked == [f"blob {DIGEST}"]
    assert cache.files() == {LAYER.digest.hex}


def test_the_config_of_an_image_is_a_layer_too(cache: Cache) -> None:
    assert cache.layer(str(HELLO.config.digest)) == HELLO.config.content


def test_what_no_image_here_refers_to_is_not_fetched(cache: Cache) -> None:
    other = str(Digest.of(b"secret"))
    cache.upstream.blobs[other] = b"secret"
    with pytest.raises(cache.api.exceptions.LayersNotFoundException):
        cache.layer(other)
    with pytest.raises(cache.api.exceptions.LayersNotFoundException):
        cache.layer(str(HELLO.manifest.digest))
    assert cache.upstream.asked == []


def test_a_layer_of_one_repository_is_no_layer_of_another(cache: Cache) -> None:
    cache.layer(DIGEST)
    cache.upstream.put_image("library/twin", HELLO, "1")
    cache.manifest(repository="cache/library/twin", imageTag="1")
    del cache.upstream.blobs[DIGEST]
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamLayerException):
        cache.layer(DIGEST, repository="cache/library/twin")


@pytest.mark.parametrize("failure", [AuthError("401"), NotFoundError("404"), TransientError("no connection")])
def test_a_layer_that_cannot_be_had_is_an_exception_that_says_why(cache: Cache, failure: EcrdragError) -> None:
    cache.upstream.failure = failure
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamLayerException, match=str(failure)):
        cache.layer(DIGEST)
    cache.upstream.failure = None
    assert cache.layer(DIGEST) == LAYER.content


def test_without_its_rule_a_layer_stays_away(cache: Cache) -> None:
    cache.api.delete_pull_through_cache_rule(ecrRepositoryPrefix="cache")
    with pytest.raises(cache.api.exceptions.LayersNotFoundException):
        cache.layer(DIGEST)


@pytest.mark.parametrize(
    "wrong",
    [LAYER.content[:-1], LAYER.content + b"x", LAYER.content[:-1] + b"x", b""],
    ids=["short", "long", "other bytes", "empty"],
)
def test_wrong_bytes_are_never_kept(cache: Cache, wrong: bytes) -> None:
    cache.upstream.blobs[DIGEST] = wrong
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamLayerException):
        cache.layer(DIGEST)
    assert cache.files() == set()
    cache.upstream.blobs[DIGEST] = LAYER.content
    assert cache.layer(DIGEST) == LAYER.content


def test_a_layer_without_end_is_given_up_where_it_should_have_ended(cache: Cache) -> None:
    cache.upstream.blobs[DIGEST] = LAYER.content + bytes(8 * MEBIBYTE)
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamLayerException, match="has more than"):
        cache.layer(DIGEST)
    assert cache.upstream.given < MEBIBYTE


def test_many_who_want_a_layer_at_once_share_one_fetch(cache: Cache) -> None:
    def wait_for_the_others(_question: str) -> None:
        deadline = monotonic() + 20
        while cache.recorder.count("GetDownloadUrlForLayer") < 8 and monotonic() < deadline:
            sleep(0.005)

    cache.upstream.before_each = wait_for_the_others
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: cache.layer(DIGEST), range(8))) == {LAYER.content}
    assert cache.upstream.asked == [f"blob {DIGEST}"]


def test_two_repositories_may_fetch_the_same_layer_at_once(cache: Cache) -> None:
    cache.upstream.put_image("library/twin", HELLO, "1")
    cache.manifest(repository="cache/library/twin", imageTag="1")
    both = threading.Barrier(2)
    cache.upstream.before_each = lambda _: (both.wait(20), None)[1]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: cache.layer(DIGEST, repository=name), [NAME, "cache/library/twin"])
        assert set(found) == {LAYER.content}
    assert cache.files() == {LAYER.digest.hex}


def test_a_large_layer_takes_little_memory(cache: Cache) -> None:
    image = noise_image([24 * MEBIBYTE])
    cache.upstream.put_image("library/large", image, "1")
    cache.manifest(repository="cache/library/large", imageTag="1")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        cache.api.get_download_url_for_layer(
            repositoryName="cache/library/large", layerDigest=str(image.layers[0].digest)
        )
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 4 * MEBIBYTE


def test_registry_clients_pull_through_as_the_api_does(cache: Cache) -> None:
    (granted,) = cache.api.get_authorization_token()["authorizationData"]
    headers = {"Authorization": f"Basic {granted['authorizationToken']}"}
    manifest = requests.get(f"{cache.ecr.endpoint}/v2/{NAME}/manifests/1", headers=headers, timeout=20)
    assert manifest.content == HELLO.manifest.content
    layer = requests.get(f"{cache.ecr.endpoint}/v2/{NAME}/blobs/{DIGEST}", headers=headers, timeout=20)
    assert layer.content == LAYER.content
    cache.upstream.failure = AuthError("401")
    refused = requests.get(f"{cache.ecr.endpoint}/v2/{NAME}/manifests/2", headers=headers, timeout=20)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")


def test_a_stop_does_not_wait_for_a_registry_that_hangs(tmp_path: Path) -> None:
    asked = threading.Event()

    def hang(question: str) -> None:
        asked.set()
        upstream.wait_for_abort(question)

    with ThreadPoolExecutor(1) as pool:
        with caching(tmp_path / "ecr") as cache:
            upstream: FakeUpstream = cache.upstream
            upstream.before_each = hang
            waiting = pool.submit(cache.failure, imageTag="2")
            assert asked.wait(20)
            begun = monotonic()
        assert monotonic() - begun < 5
        assert waiting.result() == "UpstreamUnavailable"


@pytest.fixture
def half_a_registry() -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """Serve the image with half of its layer, then nothing; the first event says so, the second ends it."""
    sent, goon = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            is_layer = self.path.endswith(DIGEST)
            body = LAYER.content if is_layer else HELLO.manifest.content
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/octet-stream" if is_layer else HELLO.manifest.media_type)
            self.end_headers()
            if is_layer and not goon.is_set():
                self.wfile.write(body[: len(body) // 2])
                sent.set()
                goon.wait(20)
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent, goon
    finally:
        goon.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_kill_in_the_middle_leaves_nothing_half_written(
    tmp_path: Path, half_a_registry: tuple[str, threading.Event, threading.Event]
) -> None:
    url, sent, goon = half_a_registry
    data, option = tmp_path / "data", f"quay.io={url}"
    with served(data, "--upstream", option) as server, client_for(server.endpoint, server.credentials) as api:
        api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")
        assert api.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": "1"}])["images"]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(api.get_download_url_for_layer, repositoryName=NAME, layerDigest=DIGEST)
            assert sent.wait(20)
            server.kill()
            with pytest.raises(Exception, match="onnection"):
                waiting.result()
    goon.set()
    with served(data, "--upstream", option) as server, client_for(server.endpoint, server.credentials) as api:
        assert list((data / "uploads").iterdir()) == []
        assert list((data / "blobs/sha256").iterdir()) == []
        assert api.get_download_url_for_layer(repositoryName=NAME, layerDigest=DIGEST)["downloadUrl"]
        assert (data / "blobs/sha256" / LAYER.digest.hex).read_bytes() == LAYER.content
