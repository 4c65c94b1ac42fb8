"""What the local ECR's pull-through asks of a registry: manifests and blobs of any repository."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError, IntegrityError, TransferError, TransientError, UnsupportedError
from ecrdrag.manifest import DOCKER_LIST, DOCKER_MANIFEST, MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.upstream import UpstreamRegistry
from tests.scripted_registry import Keys, Registry, Reply, guarded, scripted

RAW = b'{"schemaVersion": 2}'
DIGEST = Digest.of(RAW)
BLOB = bytes(range(256)) * 5000
MANIFEST = "/v2/team/app/manifests/1"
BLOB_PATH = f"/v2/team/app/blobs/{Digest.of(BLOB)}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies[MANIFEST] = Reply(RAW, headers={"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"})
        registry.replies[BLOB_PATH] = Reply(BLOB)
        yield registry


@pytest.fixture
def upstream(registry: Registry) -> Iterator[UpstreamRegistry]:
    with RegistryClient(registry.url) as client:
        yield UpstreamRegistry(client)


def fetch(upstream: UpstreamRegistry) -> bytes:
    with upstream.blob("team/app", Digest.of(BLOB)) as views:
        return b"".join(bytes(view) for view in views)


def test_a_manifest_is_asked_for_in_all_four_kinds(registry: Registry, upstream: UpstreamRegistry) -> None:
    assert upstream.manifest("team/app", "1") == (RAW, OCI_MANIFEST)
    (asked,) = registry.asked
    assert set(asked.headers["accept"].split(", ")) == {OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST}
    assert asked.headers["accept-encoding"] == "identity"
    assert "authorization" not in asked.headers


def test_a_tag_is_looked_up_without_its_manifest(registry: Registry, upstream: UpstreamRegistry) -> None:
    assert upstream.digest("team/app", "1") is None
    registry.replies[MANIFEST] = Reply(RAW, headers={"Docker-Content-Digest": str(DIGEST)})
    assert upstream.digest("team/app", "1") == DIGEST
    assert [one.method for one in registry.asked] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_blob_comes_in_pieces_whole(registry: Registry, upstream: UpstreamRegistry, chunked: bool) -> None:
    registry.replies[BLOB_PATH] = Reply(BLOB, chunked=chunked)
    assert fetch(upstream) == BLOB
    registry.replies[BLOB_PATH] = Reply(b"", chunked=chunked)
    assert fetch(upstream) == b""


def test_a_blob_that_breaks_off_is_noticed(registry: Registry, upstream: UpstreamRegistry) -> None:
    for missing in (1, 100_000):
        registry.replies[BLOB_PATH] = Reply(BLOB[:-missing], length=len(BLOB))
        with pytest.raises(TransientError):
            fetch(upstream)


def test_what_goes_wrong_with_the_bytes_at_home_is_not_the_registrys_fault(upstream: UpstreamRegistry) -> None:
    def fill_the_disk(_views: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), upstream.blob("team/app", Digest.of(BLOB)) as views:
        fill_the_disk(views)


@pytest.mark.parametrize("reference", ["1", DIGEST], ids=["by tag", "by digest"])
def test_a_manifest_that_is_not_what_its_digest_says_is_refused(
    registry: Registry, upstream: UpstreamRegistry, reference: str | Digest
) -> None:
    path = f"/v2/team/app/manifests/{reference}"
    registry.replies[path] = Reply(RAW + b" ", headers={"Docker-Content-Digest": str(DIGEST)})
    with pytest.raises(IntegrityError):
        upstream.manifest("team/app", reference)


def test_a_length_that_is_no_number_of_pythons_is_an_error_of_the_registry(
    registry: Registry, upstream: UpstreamRegistry
) -> None:
    registry.replies[BLOB_PATH] = Reply(BLOB, length="9" * 5000)
    with pytest.raises(TransferError):
        fetch(upstream)


def test_a_manifest_without_end_is_refused(registry: Registry, upstream: UpstreamRegistry) -> None:
    registry.replies[MANIFEST] = Reply(b" " * (MAX_MANIFEST_SIZE + 1), chunked=True)
    with pytest.raises(UnsupportedError):
        upstream.manifest("team/app", "1")


def test_somebody_else_is_asked_for_with_a_client_of_ones_own_and_once(registry: Registry) -> None:
    registry.replies[MANIFEST] = guarded(Reply(RAW), "Basic bWU6d29yZA==", "Basic")
    with ExitStack() as stack:
        upstream = UpstreamRegistry(
            stack.enter_context(RegistryClient(registry.url)),
            lambda login: stack.enter_context(RegistryClient(registry.url, keyring=Keys(login))),
        )
        mine = upstream.logged_in("me", "word")
        assert mine.manifest("team/app", "1")[0] == RAW
        for other in (upstream, upstream.logged_in("me", "other")):
            with pytest.raises(AuthError):
                other.manifest("team/app", "1")
        assert upstream.logged_in("me", "word") is mine


def test_a_registry_that_knows_no_way_to_ask_as_somebody_else_says_so(upstream: UpstreamRegistry) -> None:
    with pytest.raises(UnsupportedError, match="another login"):
        upstream.logged_in("me", "word")


def test_an_abort_ends_what_everybody_does_from_then_on(registry: Registry) -> None:
    with ExitStack() as stack:
        upstream = UpstreamRegistry(
            stack.enter_context(RegistryClient(registry.url)),
            lambda login: stack.enter_context(RegistryClient(registry.url, keyring=Keys(login))),
        )
        before = upstream.logged_in("me", "word")
        upstream.abort()
        for one in (upstream, before, upstream.logged_in("you", "word")):
            with pytest.raises(TransferError, match="stopped"):
                one.check()


def test_an_abort_ends_what_the_client_does(upstream: UpstreamRegistry) -> None:
    upstream.abort()
    with pytest.raises(TransferError, match="stopped"):
        upstream.check()
