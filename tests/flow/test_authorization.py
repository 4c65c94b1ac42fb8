"""No credential goes to another host: two servers, all that leads from one to the other, and all that they received."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import EcrdragError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.auth import Credential, IdentityToken, Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.registry.upstream import UpstreamRegistry
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.retry import RetryPolicy
from tests.images import hello_image
from tests.scripted_registry import Asked, Keys, Registry, Reply, failing, guarded, ranged, scripted

HELLO = hello_image("amd64")
BLOB = random.Random(7).randbytes(200_000)
LARGE = Descriptor("application/octet-stream", Digest.of(BLOB), len(BLOB))
SMALL = Descriptor("application/octet-stream", Digest.of(BLOB[:1000]), 1000)
MANIFEST = "/v2/team/app/manifests/1"
LOGIN, BASIC = Login("me", "s3cret"), "Basic bWU6czNjcmV0"
# In every form in which they travel.
SECRETS = ("s3cret", BASIC.split()[1], "t0ken", "r3fresh")
CREDENTIALS: list[Credential] = [LOGIN, IdentityToken("r3fresh")]
FAST = RetryPolicy(tries=3, base=0.0)


@pytest.fixture
def far() -> Iterator[Registry]:
    """Another host, which would like to know a password; it must never hear of one."""
    with scripted() as far:
        far.replies["/manifest"] = Reply(HELLO.manifest.content, headers={"Content-Type": HELLO.manifest.media_type})
        far.replies["/large"], far.replies["/small"] = ranged(BLOB), ranged(BLOB[:1000])
        far.replies["/greedy"] = Reply(b"{}", 401, {"WWW-Authenticate": f'Basic, Bearer realm="{far.url}/token"'})
        yield far
        assert far.asked
        for asked in far.asked:
            assert "authorization" not in asked.headers
            received = f"{asked.target} {dict(asked.headers)} {asked.body!r}"
            assert not [secret for secret in SECRETS if secret in received], received


@pytest.fixture(params=["password", "token"])
def header(request: pytest.FixtureRequest) -> str:
    """What the registry wants to see."""
    return BASIC if request.param == "password" else "Bearer t0ken"


@pytest.fixture
def registry(header: str) -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies["/token"] = Reply(b'{"token": "t0ken", "expires_in": 300}')
        yield registry
        seen = {asked.headers.get("authorization") for asked in registry.asked if not asked.target.startswith("/token")}
        assert seen == {None, header}  # once as nobody, then as somebody: the far host had something to miss


class Road:
    """Lead from the registry to elsewhere."""

    def __init__(self, registry: Registry, header: str) -> None:
        self.registry, self.header = registry, header
        self.challenge = "Basic" if header == BASIC else f'Bearer realm="{registry.url}/token",service="x"'

    def lead(self, path: str, to: str, status: int = 307) -> None:
        self.registry.replies[path] = self.guard(Reply(b"", status, {"Location": to}))

    def guard(self, reply: Reply) -> Reply:
        return guarded(reply, self.header, self.challenge)  # type: ignore[return-value]


@pytest.fixture
def road(registry: Registry, header: str) -> Road:
    return Road(registry, header)


@pytest.fixture
def client(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.url, keyring=Keys(LOGIN)) as client:
        yield client


@pytest.fixture
def source(client: RegistryClient, registry: Registry) -> Iterator[DistributionSource]:
    with BlobTransport(connections=4) as transport:
        yield DistributionSource(client, transport, ImageReference.parse(f"{registry.host}/team/app:1"))


def send(client: RegistryClient, method: str, target: str, body: bytes | None = None, good: int = 200) -> None:
    with client.ask(method, target, scope="repository:team/app:pull,push", what="it", body=body, good=(good,)):
        pass


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_with_a_manifest(road: Road, far: Registry, source: DistributionSource, status: int) -> None:
    road.lead(MANIFEST, f"{far.url}/manifest", status)
    assert source.manifest(tag="1").raw == HELLO.manifest.content


@pytest.mark.parametrize(("blob", "path"), [(LARGE, "/large"), (SMALL, "/small")], ids=["large", "small"])
def test_with_a_blob(road: Road, far: Registry, source: DistributionSource, blob: Descriptor, path: str) -> None:
    road.lead(f"/v2/team/app/blobs/{blob.digest}", far.url + path)
    assert fetch(blob, source, retry=FAST) == BLOB[: blob.size]


@pytest.mark.parametrize("blob", [LARGE, SMALL], ids=["large", "small"])
def test_with_a_blob_where_the_far_host_wants_a_login(
    road: Road, far: Registry, source: DistributionSource, blob: Descriptor
) -> None:
    road.lead(f"/v2/team/app/blobs/{blob.digest}", f"{far.url}/greedy")
    with pytest.raises(EcrdragError):
        fetch(blob, source, retry=FAST)


def test_with_what_is_followed_to_a_far_host_that_wants_a_login(
    road: Road, far: Registry, client: RegistryClient, source: DistributionSource
) -> None:
    road.lead(MANIFEST, f"{far.url}/greedy")
    road.lead("/v2/team/app/there", f"{far.url}/greedy")
    with pytest.raises(EcrdragError):
        source.manifest(tag="1")
    with pytest.raises(EcrdragError):
        send(client, "PUT", "team/app/there", b"layer")
    assert {one.target for one in far.asked} == {"/greedy"}


def test_with_a_stream_of_a_blob(road: Road, far: Registry, client: RegistryClient) -> None:
    road.lead(f"/v2/team/app/blobs/{LARGE.digest}", f"{far.url}/large")
    with UpstreamRegistry(client).blob("team/app", LARGE.digest) as views:
        assert b"".join(bytes(view) for view in views) == BLOB


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
@pytest.mark.parametrize("status", [307, 308])
def test_with_what_is_sent_on_elsewhere(
    road: Road, far: Registry, client: RegistryClient, method: str, status: int
) -> None:
    far.replies["/upload"] = Reply(b"", 201)
    road.lead("/v2/team/app/blobs/uploads/1", f"{far.url}/upload", status)
    send(client, method, "team/app/blobs/uploads/1", b"layer", good=201)
    assert [(one.method, one.body) for one in far.asked] == [(method, b"layer")]


def test_with_an_upload_that_goes_on_elsewhere(
    road: Road, registry: Registry, far: Registry, client: RegistryClient
) -> None:
    far.replies["/upload"] = Reply(b"", 202, {"Location": "/upload"})
    registry.replies["/v2/team/app/blobs/uploads/"] = road.guard(Reply(b"", 202, {"Location": f"{far.url}/upload"}))
    asking = client.ask(
        "POST", "team/app/blobs/uploads/", scope="repository:team/app:pull,push", what="it", good=(202,)
    )
    with asking as response:
        place = client.place(response)
    send(client, "PATCH", place, b"layer", good=202)
    with pytest.raises(EcrdragError):
        send(client, "PUT", f"{far.url}/greedy", b"layer")
    assert [one.method for one in far.asked] == ["PATCH", "PUT"]


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_with_a_far_host_that_leads_back_to_where_a_login_is_wanted(
    road: Road, registry: Registry, far: Registry, client: RegistryClient, method: str
) -> None:
    registry.replies["/v2/team/app/own"] = road.guard(Reply(b"own"))
    send(client, "GET", "team/app/own")
    far.replies["/back"] = Reply(b"", 307, {"Location": f"{registry.url}/v2/team/app/own"})
    with pytest.raises(EcrdragError):
        send(client, method, f"{far.url}/back", b"layer" if method == "PATCH" else None)
    road.lead("/v2/team/app/there", f"{far.url}/back")
    with pytest.raises(EcrdragError):
        send(client, method, "team/app/there", b"layer" if method == "PATCH" else None)


@pytest.mark.parametrize("credential", CREDENTIALS, ids=["password", "refresh token"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_with_a_token_server_that_sends_it_elsewhere(far: Registry, credential: Credential, status: int) -> None:
    far.replies["/token"] = Reply(b'{"token": "far"}')

    def moved(asked: Asked) -> Reply:
        return Reply(b"", status, {"Location": f"{far.url}/token"})

    with scripted() as registry, RegistryClient(registry.url, keyring=Keys(credential)) as client:
        registry.replies["/token"] = moved
        registry.replies[MANIFEST] = guarded(failing(404), "Bearer t0ken", f'Bearer realm="{registry.url}/token"')
        with pytest.raises(EcrdragError):
            send(client, "GET", "team/app/manifests/1")
        asked = registry.asked[1]
        assert BASIC in asked.headers.values() if credential is LOGIN else b"r3fresh" in asked.body
    if credential is not LOGIN:
        send_to_be_heard(far)


def send_to_be_heard(far: Registry) -> None:
    """Ask as anybody, so that the far host has heard something: a form is not sent on at all."""
    assert far.asked == []
    with RegistryClient(far.url) as anybody:
        send(anybody, "GET", f"{far.url}/manifest")
