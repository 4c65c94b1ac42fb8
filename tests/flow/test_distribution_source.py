"""Pulls over /v2/ from the local ECR, in each of its dialects: whole, by few requests, and beyond what expires."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ecrdrag.content import Digest, Platform
from ecrdrag.credentials.keyrings import AwsKeyring
from ecrdrag.errors import AuthError, NotFoundError, TransferError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.names import PUBLIC, RegistryKey
from ecrdrag.localecr.settings import Dialect
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.pull import PullOptions, pull
from ecrdrag.reference import ImageReference
from ecrdrag.registry.auth import Keyring, Login, Nobody
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import SMALL_BLOB, DistributionSource
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_token import fetch_public_token, fetch_token
from ecrdrag.registry.ends import Source
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.resolve import Wish
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import BOTH, HELLO, HOST
from tests.images import Image, noise_image
from tests.later import Clock
from tests.localecr import ACCOUNT, REGION, Recorder, client, public_client, running
from tests.putting import put_image, put_index
from tests.unseen import unseen

AMD64 = Wish((Platform("linux", "amd64"),))
NOISE = noise_image([400_000, 70_000, 0, 300_000])
CHUNK = 64 * 1024
LIFETIME = 60
FAST = RetryPolicy(tries=4, base=0.0)
NAMES = {
    Dialect.ECR: f"{HOST}/my/app",
    Dialect.OCI: f"{HOST}/my/app",
    Dialect.PUBLIC: f"public.ecr.aws/{RegistryKey(ACCOUNT, PUBLIC).alias}/my/app",
}


@dataclass
class Door:
    """A local ECR with images in it, and how it is entered."""

    ecr: LocalEcr
    dialect: Dialect
    recorder: Recorder
    clock: Clock

    @contextmanager
    def source(self, tag: str = "noise", *, keys: Keyring | None = None) -> Iterator[DistributionSource]:
        reference = self.reference(tag)
        with (
            self.keyring() as own,
            RegistryClient(self.ecr.endpoint, registry=reference.registry, keyring=keys or own) as registry,
            BlobTransport(connections=4) as transport,
        ):
            yield DistributionSource(registry, transport, reference)

    @contextmanager
    def keyring(self) -> Iterator[AwsKeyring]:
        if self.dialect is Dialect.PUBLIC:
            with public_client(self.ecr) as public:
                yield AwsKeyring(lambda: fetch_public_token(public, "public.ecr.aws"))
        else:
            with client(self.ecr) as api:
                yield AwsKeyring(lambda: fetch_token(api, ACCOUNT, HOST))

    def reference(self, tag: str = "noise") -> ImageReference:
        return ImageReference.parse(f"{NAMES[self.dialect]}:{tag}")

    def pull(self, folder: Path, *, keys: Keyring | None = None) -> dict[str, bytes]:
        """Pull the noise and return what is in the archive."""
        with self.source(keys=keys) as source:
            return contents_of(pulled(source, self.reference(), folder / "app.tar"))


def pulled(source: Source, reference: ImageReference, path: Path) -> Path:
    options = PullOptions(AMD64, path, jobs=4, chunk_size=CHUNK, retry=FAST)
    return pull([reference], lambda _: source, options, unseen).path


def contents_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


def expected(image: Image) -> dict[str, bytes]:
    blobs = [image.manifest, image.config, *image.layers]
    return {f"blobs/sha256/{blob.digest.hex}": blob.content for blob in blobs}


@contextmanager
def opened(folder: Path, dialect: Dialect, settings: Settings | None = None) -> Iterator[Door]:
    """Run a local ECR of a dialect with three images, and whose clock can be moved."""
    recorder, clock = Recorder(), Clock()
    made = replace(settings or Settings(), region=REGION, dialect=dialect, clock_skew=10**9)
    with running(folder / "data", made, recorder=recorder, clock=clock) as ecr:
        with public_client(ecr) if dialect is Dialect.PUBLIC else client(ecr) as api:
            api.create_repository(repositoryName="my/app")
            put_image(api, "my/app", NOISE, "noise")
            if dialect is not Dialect.PUBLIC:
                put_index(api, "my/app", BOTH, "multi")  # type: ignore[arg-type]
        recorder.requests.clear()
        yield Door(ecr, dialect, recorder, clock)


@pytest.fixture(params=list(Dialect), ids=lambda each: each.value)
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    with opened(tmp_path, request.param) as door:
        yield door


def test_an_image_comes_whole(door: Door, tmp_path: Path) -> None:
    assert expected(NOISE).items() <= door.pull(tmp_path).items()


def test_a_blob_is_asked_for_once_and_its_chunks_elsewhere(door: Door, tmp_path: Path) -> None:
    door.pull(tmp_path)
    asked = Counter(one for one in door.recorder.requests if one.startswith("GET /v2/"))
    path = "/".join(door.reference().name.split("/")[1:])
    for digest, blob in NOISE.blobs.items():
        chunks = door.recorder.count(f"GET /v2/{path}/blobs/{digest}")
        assert chunks == 1, (blob.media_type, asked)
    assert asked[f"GET /v2/{path}/manifests/noise"] == 2  # once as nobody, to be asked who it is
    elsewhere = [one for one in door.recorder.requests if one.startswith("GET /prod-")]
    assert len(elsewhere) >= sum(-(-len(blob.content) // CHUNK) for blob in NOISE.blobs.values())
    assert SMALL_BLOB < 70_000


def test_the_archive_is_that_of_the_other_door_byte_for_byte(tmp_path: Path) -> None:
    with opened(tmp_path, Dialect.ECR) as door, client(door.ecr) as api, BlobTransport(connections=4) as transport:
        by_api = pulled(EcrSource(api, transport, door.reference()), door.reference(), tmp_path / "api.tar")
        with door.source() as source:
            by_name = pulled(source, door.reference(), tmp_path / "v2.tar")
        assert by_name.read_bytes() == by_api.read_bytes()


@pytest.mark.parametrize("dialect", [Dialect.ECR, Dialect.OCI])
def test_one_image_of_an_index_comes(tmp_path: Path, dialect: Dialect) -> None:
    with opened(tmp_path, dialect) as door, door.source("multi") as source:
        path = pulled(source, door.reference("multi"), tmp_path / "app.tar")
    assert expected(HELLO).items() <= contents_of(path).items()


@pytest.mark.parametrize("dialect", [Dialect.ECR, Dialect.OCI])
def test_a_tag_and_its_digest_must_agree(tmp_path: Path, dialect: Dialect) -> None:
    with opened(tmp_path, dialect) as door, door.source() as source:
        digest = NOISE.manifest.digest
        assert source.manifest(tag="noise", digest=digest).digest == digest
        assert source.manifest(digest=digest).raw == NOISE.manifest.content
        with pytest.raises(NotFoundError, match=f"noise stands for {digest} now, not for {BOTH.manifest.digest}"):
            source.manifest(tag="noise", digest=BOTH.manifest.digest)
        with pytest.raises(NotFoundError, match="app:gone"):
            source.manifest(tag="gone")
        with pytest.raises(NotFoundError):
            source.manifest(digest=Digest.of(b"gone"))


@pytest.mark.parametrize("dialect", list(Dialect), ids=lambda each: each.value)
def test_anybody_may_pull_where_that_is_allowed(tmp_path: Path, dialect: Dialect) -> None:
    with opened(tmp_path, dialect, Settings(anonymous_pull=True)) as door:
        assert expected(NOISE).items() <= door.pull(tmp_path, keys=Nobody()).items()
        assert door.recorder.count("GetAuthorizationToken") == 0


@pytest.mark.parametrize("dialect", [Dialect.ECR, Dialect.OCI])
@pytest.mark.parametrize("keys", [Nobody(), "wrong"], ids=["nobody", "somebody else"])
def test_who_may_not_is_told_so(tmp_path: Path, dialect: Dialect, keys: Keyring | str) -> None:
    class Wrong:
        def find(self, registry: str, *, renew: bool = False) -> Login:
            return Login("AWS", "s3cret")

    with opened(tmp_path, dialect) as door, pytest.raises(AuthError) as caught:
        door.pull(tmp_path, keys=Wrong() if isinstance(keys, str) else keys)
    assert "s3cret" not in str(caught.value)
    assert "login" in caught.value.hint


class Expiring:
    """Let all that was given out so far expire when as many chunks have been asked for."""

    def __init__(self, door: Door, *at: int) -> None:
        self.door, self.at, self.chunks = door, at, 0
        door.recorder.intercept = self

    def __call__(self, request: Request, handler: Handler) -> Answer:
        if request.path.startswith("/prod-"):
            self.chunks += 1
            if self.chunks in self.at:
                self.door.clock.ahead += LIFETIME + 1
        return handler(request)


@pytest.mark.parametrize(
    ("dialect", "at"),
    [(Dialect.ECR, (5,)), (Dialect.OCI, (5,)), (Dialect.PUBLIC, (3, 11))],
    ids=["ecr", "oci", "public"],
)
def test_a_pull_goes_on_beyond_what_expires_on_the_way(tmp_path: Path, dialect: Dialect, at: tuple[int, ...]) -> None:
    with opened(tmp_path, dialect, Settings(token_lifetime=LIFETIME, url_expiry=LIFETIME)) as door:
        expiring = Expiring(door, *at)
        assert expected(NOISE).items() <= door.pull(tmp_path).items()
        assert expiring.chunks > at[-1]
        renewals = door.recorder.count("GetAuthorizationToken") + door.recorder.count("GET /token")
        assert renewals > 1


def test_links_that_expire_alone_are_asked_for_again_with_the_same_password(tmp_path: Path) -> None:
    with opened(tmp_path, Dialect.ECR, Settings(url_expiry=LIFETIME)) as door:
        Expiring(door, 5)
        assert expected(NOISE).items() <= door.pull(tmp_path).items()
        assert door.recorder.count("GetAuthorizationToken") == 1


def test_anybodys_token_is_renewed_as_well(tmp_path: Path) -> None:
    with opened(tmp_path, Dialect.PUBLIC, Settings(token_lifetime=LIFETIME, url_expiry=LIFETIME)) as door:
        Expiring(door, 5)
        assert expected(NOISE).items() <= door.pull(tmp_path, keys=Nobody()).items()
        assert door.recorder.count("GET /token") > 1


def test_a_password_that_cannot_be_renewed_ends_the_pull_with_that(tmp_path: Path) -> None:
    with opened(tmp_path, Dialect.ECR, Settings(token_lifetime=LIFETIME, url_expiry=LIFETIME)) as door:
        with door.keyring() as keyring:
            login = keyring.token().login

        class Old:
            def find(self, registry: str, *, renew: bool = False) -> Login:
                return login

        Expiring(door, 3)
        with pytest.raises(AuthError, match="token has expired"):
            door.pull(tmp_path, keys=Old())
    assert not (tmp_path / "app.tar").exists()


def test_a_layer_that_is_gone_meanwhile_ends_the_pull_with_that(tmp_path: Path) -> None:
    with opened(tmp_path, Dialect.ECR, Settings(url_expiry=LIFETIME)) as door:
        Expiring(door, 3)

        def gone(request: Request, handler: Handler) -> Answer:
            if request.path.startswith("/v2/") and "/blobs/" in request.path and door.clock.ahead:
                with client(door.ecr) as api:
                    api.batch_delete_image(repositoryName="my/app", imageIds=[{"imageTag": "noise"}])
            return expire(request, handler)

        expire, door.recorder.intercept = door.recorder.intercept, gone
        with pytest.raises((NotFoundError, TransferError)) as caught:
            door.pull(tmp_path)
    assert caught.value.exit_code == 4
