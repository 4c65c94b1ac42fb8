"""Own a local ECR with a rule in front of a fake registry upstream, and the questions that tests put to it.

The flow tests of the pull through enter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr, Settings
from tests.fake_upstream import FakeUpstream
from tests.images import hello_image
from tests.localecr import REGION, Recorder, client

HELLO = hello_image("amd64")
NAME = "cache/library/hello"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Cache:
    """A registry whose repositories below cache/ come from upstream, where library/hello:1 is."""

    ecr: LocalEcr
    api: ECRClient
    upstream: FakeUpstream
    clock: Clock
    recorder: Recorder

    def rule(self, prefix: str, url: str = "quay.io", **more: Any) -> None:
        self.api.create_pull_through_cache_rule(ecrRepositoryPrefix=prefix, upstreamRegistryUrl=url, **more)

    def get(self, *, repository: str = NAME, **image: Any) -> dict[str, Any]:
        """Get one image, by imageTag or imageDigest, and give the whole answer."""
        wanted: Any = image
        return dict(self.api.batch_get_image(repositoryName=repository, imageIds=[wanted]))

    def manifest(self, *, repository: str = NAME, **image: Any) -> bytes:
        (found,) = self.get(repository=repository, **image)["images"]
        return str(found["imageManifest"]).encode()

    def failure(self, *, repository: str = NAME, **image: Any) -> str:
        answer = self.get(repository=repository, **image)
        assert answer["images"] == []
        return str(answer["failures"][0]["failureCode"])

    def layer(self, digest: str, *, repository: str = NAME) -> bytes:
        url = self.api.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)["downloadUrl"]
        return requests.get(url, timeout=20).content

    def repositories(self) -> list[str]:
        return [one["repositoryName"] for one in self.api.describe_repositories()["repositories"]]

    def files(self) -> set[str]:
        """Name every file of uploads and blobs."""
        return {path.name for place in ("uploads", "blobs/sha256") for path in (self.ecr.data / place).iterdir()}


@contextmanager
def caching(folder: Path, settings: Settings | None = None) -> Iterator[Cache]:
    """Run a cache; its clock stands in the future, where a client's signature is too old for nobody."""
    upstream, clock, recorder = FakeUpstream(), Clock(), Recorder()
    upstream.put_image("library/hello", HELLO, "1")
    settings = settings or Settings(region=REGION, clock_skew=10**10)
    registries = {"quay.io": upstream}
    with (
        LocalEcr(folder, settings=settings, wrap=recorder.wrap, clock=clock, upstreams=registries) as ecr,
        client(ecr) as api,
    ):
        cache = Cache(ecr, api, upstream, clock, recorder)
        cache.rule("cache")
        yield cache
