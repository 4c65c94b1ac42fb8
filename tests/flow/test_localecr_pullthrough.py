"""Pull through: images that come from upstream when they are asked for, and stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import pytest

from ecrdrag.errors import (
    AuthError,
    BusyError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    TransferError,
    TransientError,
)
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.manifest import OCI_INDEX, OCI_MANIFEST
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.upstream import UpstreamRegistry
from tests.fake_upstream import FakeUpstream
from tests.flow.cached import HELLO, NAME, Cache, caching
from tests.images import Blob, hello_image, index_of
from tests.localecr import REGION, client
from tests.putting import put_image, put_index

BOTH = index_of([hello_image("arm64"), HELLO])
MOVED = hello_image("amd64", oci=False)
DIGEST = str(HELLO.manifest.digest)
DAY = 24 * 3600


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with caching(tmp_path / "ecr") as cache:
        yield cache


@pytest.fixture
def digesting(tmp_path: Path) -> Iterator[Cache]:
    """A cache whose rules bring images by digest too, which AWS's don't."""
    with caching(tmp_path / "ecr", Settings(region=REGION, clock_skew=10**10, digest_pulls=True)) as cache:
        yield cache


def test_images_come_from_another_local_ecr_byte_for_byte(tmp_path: Path) -> None:
    settings = Settings(anonymous_pull=True)
    with LocalEcr(tmp_path / "far", settings=settings) as far, client(far, region=settings.region) as there:
        there.create_repository(repositoryName="team/app")
        put_index(there, "team/app", BOTH, "multi")
        with (
            RegistryClient(far.endpoint) as registry,
            LocalEcr(tmp_path / "near", upstreams={"quay.io": UpstreamRegistry(registry)}) as near,
            client(near, region="us-east-1") as here,
        ):
            here.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")
            name = "cache/team/app"
            (found,) = here.batch_get_image(repositoryName=name, imageIds=[{"imageTag": "multi"}])["images"]
            assert found["imageManifest"].encode() == BOTH.manifest.content
            listed = here.list_images(repositoryName=name)["imageIds"]
            digests = {str(BOTH.manifest.digest), *(str(one.manifest.digest) for one in BOTH.images)}
            assert {one["imageDigest"] for one in listed} == digests


def test_a_pull_by_tag_makes_the_repository_with_ecrs_defaults(cache: Cache) -> None:
    assert cache.manifest(imageTag="1") == HELLO.manifest.content
    (made,) = cache.api.describe_repositories()["repositories"]
    assert (made["repositoryName"], made["imageTagMutability"]) == (NAME, "MUTABLE")
    (image,) = cache.api.describe_images(repositoryName=NAME)["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (DIGEST, ["1"])
    assert image["imageSizeInBytes"] == sum(len(blob.content) for blob in HELLO.blobs.values())


@pytest.mark.parametrize("image", [{"imageDigest": DIGEST}, {"imageDigest": DIGEST, "imageTag": "1"}], ids=len)
def test_a_digest_brings_nothing_before_a_tag_has_brought_it(cache: Cache, image: dict[str, str]) -> None:
    with pytest.raises(cache.api.exceptions.RepositoryNotFoundException, match=NAME):
        cache.get(**image)
    cache.upstream.put_image("library/hello", MOVED, "2")
    cache.manifest(imageTag="2")
    assert cache.failure(**image) == "ImageNotFound"
    assert cache.upstream.asked == ["manifest library/hello:2"]
    cache.manifest(imageTag="1")
    assert cache.manifest(**image) == HELLO.manifest.content


def test_where_it_is_set_so_a_pull_by_digest_brings_an_image_without_a_tag(digesting: Cache) -> None:
    assert digesting.manifest(imageDigest=DIGEST) == HELLO.manifest.content
    assert digesting.api.list_images(repositoryName=NAME)["imageIds"] == [{"imageDigest": DIGEST}]
    assert digesting.upstream.asked == [f"manifest library/hello:{DIGEST}"]


def test_an_index_brings_all_its_images_at_once(cache: Cache) -> None:
    cache.upstream.put_index("library/both", BOTH, "multi")
    assert cache.manifest(repository="cache/library/both", imageTag="multi") == BOTH.manifest.content
    cache.upstream.failure = TransferError("gone")
    for image in BOTH.images:
        found = cache.manifest(repository="cache/library/both", imageDigest=str(image.manifest.digest))
        assert found == image.manifest.content


def test_an_index_may_point_at_what_is_not_upstream_and_at_what_is_no_image(cache: Cache) -> None:
    missing = {"mediaType": OCI_MANIFEST, "digest": "sha256:" + "0" * 64, "size": 7}
    other = {"mediaType": "application/vnd.example", "digest": "sha256:" + "1" * 64, "size": 7}
    there = HELLO.manifest.json
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [missing, other, there]}).encode()
    cache.upstream.manifests["library/hello:sparse"] = raw, OCI_INDEX
    assert cache.manifest(imageTag="sparse") == raw
    assert f"manifest library/hello:{other['digest']}" not in cache.upstream.asked
    assert len(cache.api.list_images(repositoryName=NAME)["imageIds"]) == 2


@pytest.mark.parametrize("is_there", [True, False], ids=["that are there", "that are not there"])
def test_an_index_of_too_many_images_is_given_up_before_all_are_asked_for(cache: Cache, is_there: bool) -> None:
    contents = [HELLO.manifest.content + b" " * number for number in range(1100)]
    images = [Blob(content, OCI_MANIFEST) for content in contents]
    for image in images if is_there else ():
        cache.upstream.manifests[f"library/hello:{image.digest}"] = image.content, image.media_type
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one.json for one in images]}).encode()
    cache.upstream.manifests["library/hello:many"] = raw, OCI_INDEX
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamImageException, match="more than 1000"):
        cache.get(imageTag="many")
    assert len(cache.upstream.asked) < 1010


def test_an_image_that_an_index_names_twice_is_asked_for_once(cache: Cache) -> None:
    twice = [HELLO.manifest.json] * 2
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": twice}).encode()
    cache.upstream.manifests["library/hello:twice"] = raw, OCI_INDEX
    assert cache.manifest(imageTag="twice") == raw
    assert cache.upstream.asked == ["manifest library/hello:twice", f"manifest library/hello:{DIGEST}"]


def test_upstream_is_asked_again_after_a_day_and_only_whether_the_tag_moved(cache: Cache) -> None:
    cache.manifest(imageTag="1")
    cache.upstream.asked.clear()
    cache.clock.now += DAY - 1
    cache.manifest(imageTag="1")
    assert cache.upstream.asked == []
    for _ in range(2):
        cache.clock.now += DAY
        assert cache.manifest(imageTag="1") == HELLO.manifest.content
        cache.manifest(imageTag="1")
    assert cache.upstream.asked == ["digest library/hello:1"] * 2


def test_a_tag_that_moved_upstream_moves_here_and_the_old_image_stays(cache: Cache) -> None:
    cache.manifest(imageTag="1")
    cache.upstream.put_image("library/hello", MOVED, "1")
    assert cache.manifest(imageTag="1") == HELLO.manifest.content
    cache.clock.now += DAY
    assert cache.manifest(imageTag="1") == MOVED.manifest.content
    assert cache.manifest(imageDigest=DIGEST) == HELLO.manifest.content


def test_an_immutable_tag_stays_where_it_is(cache: Cache) -> None:
    cache.manifest(imageTag="1")
    cache.api.put_image_tag_mutability(repositoryName=NAME, imageTagMutability="IMMUTABLE")
    cache.upstream.put_image("library/hello", MOVED, "1")
    cache.clock.now += DAY
    assert cache.manifest(imageTag="1") == HELLO.manifest.content


@pytest.mark.parametrize(
    "failure", [TransferError("gone"), AuthError("no"), NotFoundError("no"), IntegrityError("bad")]
)
def test_what_is_here_is_given_whatever_upstream_says(cache: Cache, failure: EcrdragError) -> None:
    cache.manifest(imageTag="1")
    cache.upstream.failure = failure
    cache.clock.now += DAY
    assert cache.manifest(imageTag="1") == HELLO.manifest.content
    assert cache.manifest(imageDigest=DIGEST) == HELLO.manifest.content


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthError("401"), "UpstreamAccessDenied"),
        (NotFoundError("404"), "ImageNotFound"),
        (BusyError("429"), "UpstreamTooManyRequests"),
        (TransientError("503"), "UpstreamUnavailable"),
        (TransferError("no connection"), "UpstreamUnavailable"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, EcrdragError) else one,
)
def test_an_image_that_cannot_be_had_has_the_models_code(digesting: Cache, error: EcrdragError, code: str) -> None:
    digesting.upstream.failure = error
    assert digesting.failure(imageTag="1") == code
    assert digesting.failure(imageDigest=DIGEST) == code
    assert digesting.repositories() == []


@pytest.mark.parametrize(("error", "level"), [(NotFoundError("no"), "INFO"), (TransferError("no"), "WARNING")])
def test_what_upstream_said_is_logged_and_loudly_if_it_may_be_mended(
    cache: Cache, caplog: pytest.LogCaptureFixture, error: EcrdragError, level: str
) -> None:
    cache.upstream.failure = error
    with caplog.at_level("INFO", "ecrdrag"):
        cache.failure(imageTag="1")
    assert [one.levelname for one in caplog.records if "can't be pulled through" in one.message] == [level]


def test_what_has_no_code_is_an_exception(digesting: Cache) -> None:
    wrong = {
        "old": (b'{"schemaVersion": 1, "fsLayers": []}', "application/vnd.docker.distribution.manifest.v1+json"),
        "two-types": (HELLO.manifest.content, OCI_INDEX),
        "no-json": (b"<html>", "text/html"),
        "no-text": ('{"schemaVersion": 2}'.encode("utf-16"), OCI_MANIFEST),
        DIGEST: (MOVED.manifest.content, MOVED.manifest.media_type),
    }
    digesting.upstream.manifests.update({f"library/hello:{name}": manifest for name, manifest in wrong.items()})
    for name in wrong:
        with pytest.raises(digesting.api.exceptions.UnableToGetUpstreamImageException):
            digesting.get(**{"imageDigest" if ":" in name else "imageTag": name})
    assert digesting.repositories() == []


def test_a_rule_without_a_registry_that_the_server_knows_says_what_to_do(cache: Cache) -> None:
    cache.rule("elsewhere", "registry.k8s.io")
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamImageException, match="start it with --upstream"):
        cache.get(repository="elsewhere/pause", imageTag="3")


def test_names_that_no_other_registry_has_are_not_asked_for(digesting: Cache) -> None:
    digesting.manifest(imageTag="1")
    digesting.upstream.asked.clear()
    for image, code in (
        ({"imageTag": ".."}, "ImageNotFound"),
        ({"imageTag": "a" * 129}, "ImageNotFound"),
        ({"imageTag": "a b"}, "InvalidImageTag"),
        ({"imageDigest": "sha512:" + "0" * 128}, "ImageNotFound"),
        ({"imageDigest": "nonsense"}, "InvalidImageDigest"),
    ):
        assert digesting.failure(**image) == code
    assert digesting.upstream.asked == []


def test_a_repository_outside_every_rule_is_missing_as_ever(cache: Cache) -> None:
    for name in ("library/hello", "cached/library/hello", "cache"):
        with pytest.raises(cache.api.exceptions.RepositoryNotFoundException):
            cache.get(repository=name, imageTag="1")
    assert cache.upstream.asked == []


def test_prefixes_name_repositories_here_and_upstream(cache: Cache) -> None:
    cache.rule("mine", upstreamRepositoryPrefix="library")
    cache.rule("cache/deep", upstreamRepositoryPrefix="library/")
    assert cache.manifest(repository="mine/hello", imageTag="1") == HELLO.manifest.content
    assert cache.manifest(repository="cache/deep/hello", imageTag="1") == HELLO.manifest.content
    cache.rule("ROOT")
    assert cache.manifest(repository="library/hello", imageTag="1") == HELLO.manifest.content
    assert set(cache.upstream.asked) == {"manifest library/hello:1"}


def test_a_template_for_pull_throughs_says_how_the_repository_is(cache: Cache) -> None:
    cache.api.create_repository_creation_template(
        prefix="cache", appliedFor=["PULL_THROUGH_CACHE"], imageTagMutability="IMMUTABLE"
    )
    cache.api.create_repository_creation_template(prefix="cache/library", appliedFor=["CREATE_ON_PUSH"])
    cache.manifest(imageTag="1")
    (made,) = cache.api.describe_repositories()["repositories"]
    assert made["imageTagMutability"] == "IMMUTABLE"


def test_a_pushed_image_is_not_replaced_on_the_same_day(cache: Cache) -> None:
    cache.api.create_repository(repositoryName=NAME)
    put_image(cache.api, NAME, MOVED, "1")
    assert cache.manifest(imageTag="1") == MOVED.manifest.content
    cache.clock.now += DAY
    assert cache.manifest(imageTag="1") == HELLO.manifest.content


def test_a_read_only_server_asks_nobody(tmp_path: Path) -> None:
    with caching(tmp_path / "ecr") as cache:
        cache.manifest(imageTag="1")
    upstream = FakeUpstream()
    settings = Settings(region=REGION, read_only=True)
    with (
        LocalEcr(tmp_path / "ecr", settings=settings, upstreams={"quay.io": upstream}) as ecr,
        client(ecr) as api,
    ):
        found = api.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": "1"}, {"imageTag": "2"}])
        assert ([len(found["images"]), len(found["failures"])], upstream.asked) == ([1, 1], [])


def test_many_pulls_at_once_ask_once(cache: Cache) -> None:
    def wait_for_the_others(_question: str) -> None:
        deadline = monotonic() + 20
        while cache.recorder.count("BatchGetImage") < 8 and monotonic() < deadline:
            sleep(0.005)

    cache.upstream.before_each = wait_for_the_others
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: cache.manifest(imageTag="1"), range(8))) == {HELLO.manifest.content}
    assert cache.upstream.asked == ["manifest library/hello:1"]


def test_many_pulls_at_once_fail_together_and_the_next_one_asks_again(cache: Cache) -> None:
    cache.upstream.failure = BusyError("429")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: cache.failure(imageTag="1"), range(8))) == {"UpstreamTooManyRequests"}
    cache.upstream.failure = None
    assert cache.manifest(imageTag="1") == HELLO.manifest.content
