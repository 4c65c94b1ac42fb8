"""/v2/ against a scripted registry: what is asked, who we say we are and to whom, what is believed, what is said."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.content import Digest
from ecrdrag.errors import (
    AuthError,
    BusyError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.manifest import DOCKER_LIST, DOCKER_MANIFEST, MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST
from ecrdrag.registry.challenge import Challenge, parse_challenges
from ecrdrag.registry.distribution import Distribution, netrc_login
from tests.scripted_registry import Asked, Registry, Reply, failing, scripted

RAW = b'{"schemaVersion": 2}'
DIGEST = Digest.of(RAW)
BLOB = bytes(range(256)) * 5000
MANIFEST = "/v2/team/app/manifests/1"
BLOB_PATH = f"/v2/team/app/blobs/{Digest.of(BLOB)}"
LOGIN = ("me", "s3cret:word")
BASIC = "Basic " + base64.b64encode(b"me:s3cret:word").decode()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies[MANIFEST] = Reply(RAW, headers={"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"})
        registry.replies[BLOB_PATH] = Reply(BLOB)
        yield registry


@pytest.fixture
def other() -> Iterator[Registry]:
    with scripted() as other:
        yield other


@pytest.fixture
def client(registry: Registry) -> Iterator[Distribution]:
    with Distribution(registry.url, login=lambda _: LOGIN) as client:
        yield client


def nobody(registry: Registry) -> Distribution:
    return Distribution(registry.url, login=lambda _: None)


def fetch(client: Distribution) -> bytes:
    with client.blob("team/app", Digest.of(BLOB)) as views:
        return b"".join(bytes(view) for view in views)


def guarded(reply: Reply, header: str, challenge: str) -> Callable[[Asked], Reply]:
    """Give a reply to who has the header, and a challenge to all others."""
    refusal = Reply(b"{}", 401, {"WWW-Authenticate": challenge})
    return lambda asked: reply if asked.headers.get("authorization") == header else refusal


def bearer(url: str, service: str = "registry.test") -> str:
    return f'Bearer realm="{url}/token",service="{service}",scope="repository:team/app:pull"'


def test_a_manifest_is_asked_for_in_all_four_kinds(registry: Registry, client: Distribution) -> None:
    assert client.manifest("team/app", "1") == (RAW, OCI_MANIFEST)
    (asked,) = registry.asked
    assert set(asked.headers["accept"].split(", ")) == {OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST}
    assert asked.headers["accept-encoding"] == "identity"
    assert "authorization" not in asked.headers


def test_a_tag_is_looked_up_without_its_manifest(registry: Registry, client: Distribution) -> None:
    assert client.digest("team/app", "1") is None
    registry.replies[MANIFEST] = Reply(RAW, headers={"Docker-Content-Digest": str(DIGEST)})
    assert client.digest("team/app", "1") == DIGEST
    assert [one.method for one in registry.asked] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_blob_comes_in_pieces_whole(registry: Registry, client: Distribution, chunked: bool) -> None:
    registry.replies[BLOB_PATH] = Reply(BLOB, chunked=chunked)
    assert fetch(client) == BLOB
    registry.replies[BLOB_PATH] = Reply(b"", chunked=chunked)
    assert fetch(client) == b""


def test_a_blob_that_breaks_off_is_noticed(registry: Registry, client: Distribution) -> None:
    for missing in (1, 100_000):
        registry.replies[BLOB_PATH] = Reply(BLOB[:-missing], length=len(BLOB))
        with pytest.raises(TransientError):
            fetch(client)


def test_what_goes_wrong_with_the_bytes_at_home_is_not_the_registrys_fault(client: Distribution) -> None:
    def fill_the_disk(_views: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), client.blob("team/app", Digest.of(BLOB)) as views:
        fill_the_disk(views)


@pytest.mark.parametrize("reference", ["1", DIGEST], ids=["by tag", "by digest"])
def test_a_manifest_that_is_not_what_its_digest_says_is_refused(
    registry: Registry, client: Distribution, reference: str | Digest
) -> None:
    path = f"/v2/team/app/manifests/{reference}"
    registry.replies[path] = Reply(RAW + b" ", headers={"Docker-Content-Digest": str(DIGEST)})
    with pytest.raises(IntegrityError):
        client.manifest("team/app", reference)


def test_a_length_that_is_no_number_of_pythons_is_an_error_of_the_registry(
    registry: Registry, client: Distribution
) -> None:
    registry.replies[BLOB_PATH] = Reply(BLOB, length="9" * 5000)
    with pytest.raises(TransferError):
        fetch(client)


def test_a_manifest_without_end_is_refused(registry: Registry, client: Distribution) -> None:
    registry.replies[MANIFEST] = Reply(b" " * (MAX_MANIFEST_SIZE + 1), chunked=True)
    with pytest.raises(UnsupportedError):
        client.manifest("team/app", "1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthError),
        (403, AuthError),
        (404, NotFoundError),
        (408, TransientError),
        (429, BusyError),
        (400, TransferError),
        (206, TransferError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_a_refusal_is_the_houses_and_says_what_the_registry_says(
    registry: Registry, client: Distribution, status: int, kind: type[EcrdragError]
) -> None:
    registry.replies[MANIFEST] = failing(status, "SOME_CODE", "the\x1b[31m reason")
    with pytest.raises(kind) as caught:
        client.manifest("team/app", "1")
    assert type(caught.value) is kind
    assert str(status) in str(caught.value)
    assert "team/app 1" in str(caught.value)
    assert status == 401 or "SOME_CODE: the?[31m reason" in str(caught.value)


def test_a_registry_that_is_not_there_is_an_error_without_its_url() -> None:
    with Distribution("http://127.0.0.1:1/SECRET") as client, pytest.raises(TransientError) as caught:
        client.check()
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_check_asks_for_the_api_and_nothing_else(registry: Registry, client: Distribution) -> None:
    registry.replies["/v2/"] = Reply(b"{}")
    client.check()
    assert registry.targets() == ["/v2/"]


def test_a_registry_that_wants_a_login_gets_it_once_it_asks(registry: Registry, client: Distribution) -> None:
    registry.replies[MANIFEST] = guarded(Reply(RAW), BASIC, 'Basic realm="x"')
    client.manifest("team/app", "1")
    client.manifest("team/app", "1")
    assert [one.headers.get("authorization") for one in registry.asked] == [None, BASIC, BASIC]
    with nobody(registry) as anybody, pytest.raises(AuthError) as caught:
        anybody.manifest("team/app", "1")
    assert "netrc" in caught.value.hint


@pytest.mark.parametrize("login", [None, LOGIN], ids=["anybody", "somebody"])
def test_a_token_is_fetched_where_the_challenge_says_and_used_until_it_expires(
    registry: Registry, other: Registry, login: tuple[str, str] | None
) -> None:
    registry.replies[MANIFEST] = guarded(Reply(RAW), "Bearer t0ken", bearer(other.url))
    registry.replies[BLOB_PATH] = guarded(Reply(BLOB), "Bearer t0ken", bearer(other.url))
    other.replies["/token"] = Reply(json.dumps({"token": "t0ken", "expires_in": 300}).encode())
    with Distribution(registry.url, login=lambda _: login) as client:
        client.manifest("team/app", "1")
        assert fetch(client) == BLOB
    (asked,) = other.asked
    assert asked.target == "/token?service=registry.test&scope=repository%3Ateam%2Fapp%3Apull"
    assert asked.headers.get("authorization") == (BASIC if login else None)
    assert [one.headers.get("authorization") for one in registry.asked] == [None, "Bearer t0ken", "Bearer t0ken"]


def test_a_token_that_has_expired_is_fetched_again(registry: Registry, client: Distribution) -> None:
    registry.replies[MANIFEST] = guarded(Reply(RAW), "Bearer t0ken", bearer(registry.url))
    registry.replies["/token"] = Reply(json.dumps({"access_token": "t0ken", "expires_in": 1}).encode())
    client.manifest("team/app", "1")
    client.manifest("team/app", "1")
    assert sum(target.startswith("/token") for target in registry.targets()) == 2


@pytest.mark.parametrize("lifetime", ["1" + "0" * 400, "-1" + "0" * 400, "1e999", "NaN", "null", "true", '"an hour"'])
def test_a_token_is_used_whatever_its_lifetime_is_said_to_be(
    registry: Registry, client: Distribution, lifetime: str
) -> None:
    registry.replies[MANIFEST] = guarded(Reply(RAW), "Bearer t0ken", bearer(registry.url))
    registry.replies["/token"] = Reply(f'{{"token": "t0ken", "expires_in": {lifetime}}}'.encode())
    assert client.manifest("team/app", "1")[0] == RAW


@pytest.mark.parametrize(
    "reply",
    [Reply(b"{}"), Reply(b"[]"), Reply(b"nonsense"), Reply(b'{"token": "a\\nb"}'), Reply(b"[" * 99999), failing(403)],
    ids=["empty", "a list", "no json", "two lines", "too deep", "refused"],
)
def test_a_token_server_that_gives_none_is_an_error_of_credentials(
    registry: Registry, client: Distribution, reply: Reply
) -> None:
    registry.replies[MANIFEST] = guarded(Reply(RAW), "Bearer t0ken", bearer(registry.url))
    registry.replies["/token"] = reply
    with pytest.raises(AuthError) as caught:
        client.manifest("team/app", "1")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_authorization_stays_with_its_host_on_a_redirect(registry: Registry, other: Registry) -> None:
    target = f"{other.url}/data?signature=SECRET"
    registry.replies[BLOB_PATH] = guarded(Reply(b"", 307, {"Location": target}), BASIC, "Basic")
    other.replies["/data"] = Reply(BLOB)
    with Distribution(registry.url, login=lambda _: LOGIN) as client:
        assert fetch(client) == BLOB
        other.replies["/data"] = failing(403)
        with pytest.raises(AuthError) as caught:
            fetch(client)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    assert all("authorization" not in one.headers for one in other.asked)


def test_a_host_behind_a_redirect_gets_no_login_however_it_asks(registry: Registry, other: Registry) -> None:
    registry.replies[BLOB_PATH] = Reply(b"", 307, {"Location": f"{other.url}/data"})
    other.replies["/data"] = Reply(b"{}", 401, {"WWW-Authenticate": bearer(other.url)})
    with Distribution(registry.url, login=lambda _: LOGIN) as client, pytest.raises(AuthError):
        fetch(client)
    assert [one.target for one in other.asked] == ["/data"]


def test_redirects_without_end_are_given_up(registry: Registry, client: Distribution) -> None:
    registry.replies[BLOB_PATH] = Reply(b"", 307, {"Location": BLOB_PATH})
    with pytest.raises(TransferError, match="redirects more than"):
        fetch(client)


def test_an_abort_wakes_who_waits_and_stops_who_comes(registry: Registry, client: Distribution) -> None:
    held = threading.Event()
    registry.replies[BLOB_PATH] = Reply(BLOB[:1000], length=len(BLOB), hold=held)
    with ThreadPoolExecutor(1) as pool, client.blob("team/app", Digest.of(BLOB)) as views:
        waiting = pool.submit(list, views)
        client.abort()
        with pytest.raises(TransferError):
            waiting.result(10)
    held.set()
    with pytest.raises(TransferError, match="stopped"):
        client.manifest("team/app", "1")


def test_an_abort_wakes_who_waits_for_an_answer_to_begin(registry: Registry, client: Distribution) -> None:
    asked, held = threading.Event(), threading.Event()

    def say_nothing(_asked: Asked) -> Reply:
        asked.set()
        held.wait(20)
        return Reply(RAW)

    registry.replies[MANIFEST] = say_nothing
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.manifest, "team/app", "1")
        assert asked.wait(20)
        client.abort()
        with pytest.raises(TransferError, match="stopped"):
            waiting.result(10)
    held.set()


def test_a_login_is_read_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine registry.test login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert netrc_login("http://registry.test:5000") == ("me", "s3cret")
    assert netrc_login("http://other.test:5000") is None


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            'Bearer realm="https://a.test/token",service="s",scope="repository:x:pull,push"',
            [("bearer", {"realm": "https://a.test/token", "service": "s", "scope": "repository:x:pull,push"})],
        ),
        ('Basic realm="a \\"b\\"", charset=UTF-8', [("basic", {"realm": 'a "b"', "charset": "UTF-8"})]),
        ('Negotiate, Basic Realm = "x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        ("", []),
        ('realm="x"', []),
        ('Basic realm="unfinished', [("basic", {})]),
    ],
)
def test_challenges_are_read_as_http_writes_them(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == tuple(Challenge(scheme, parameters) for scheme, parameters in found)


@given(st.text(max_size=200) | st.text('Basic ream="\\,', max_size=200))
def test_any_header_is_read_or_left(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower() != ""
