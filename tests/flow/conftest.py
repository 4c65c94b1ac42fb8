"""One local ECR for the flow tests, and images in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from tests.images import hello_image, index_of, noise_image
from tests.localecr import REGION, client, running
from tests.putting import put_image, put_index

MIB = 1024 * 1024
HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
HELLO = hello_image("amd64")
NOISE = noise_image([3 * MIB, 700_000, 0, 3 * MIB])
BOTH = index_of([hello_image("arm64"), HELLO])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hide the user's AWS settings, proxies and home from every test, and what one logs from the next."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name.endswith("_CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield
    logging.getLogger("ecrdrag").handlers.clear()


@pytest.fixture(autouse=True)
def only_modelled_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which an operation of the local ECR raised an error that the model doesn't let it."""
    log = logging.getLogger("ecrdrag.localecr.api.registry")
    log.addHandler(caplog.handler)  # by itself: a command may have ended that records go up
    yield
    log.removeHandler(caplog.handler)
    said = [one.getMessage() for one in caplog.get_records("call")]
    assert [one for one in said if "raised an error that it can't have" in one] == []


def stock(ecr: LocalEcr, repository: str = "my/app") -> None:
    """Put three images: hello by :1.2, noise by :noise, an index of two platforms by :multi."""
    with client(ecr) as api:
        api.create_repository(repositoryName=repository)
        put_image(api, repository, HELLO, "1.2")
        put_image(api, repository, NOISE, "noise")
        put_index(api, repository, BOTH, "multi")


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    """Run a local ECR with images in it, for tests that only read."""
    with LocalEcr(tmp_path_factory.mktemp("ecr")) as ecr:
        stock(ecr)
        yield ecr


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    """Run an empty local ECR of the test's own."""
    with running(tmp_path / "data") as server:
        yield server


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    """Give a boto3 client of that ECR, and a repository app in it."""
    with client(ecr) as made:
        made.create_repository(repositoryName="app")
        yield made
