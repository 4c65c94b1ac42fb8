"""The talk with one registry against scripted ones: who is let in how, what is followed, what is said of refusals."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ecrdrag.errors import (
    AuthError,
    BusyError,
    EcrdragError,
    NotFoundError,
    StalledError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.registry.auth import IdentityToken, Login
from ecrdrag.registry.client import RegistryClient
from tests.scripted_registry import Asked, Keys, Registry, Reply, failing, guarded, scripted

LOGIN = Login("me", "s3cret:word")
BASIC = "Basic " + base64.b64encode(b"me:s3cret:word").decode()
SCOPE = "repository:team/app:pull"
PATH = "team/app/manifests/1"
TARGET = f"/v2/{PATH}"
BODY = b"what was asked for"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies[TARGET] = Reply(BODY)
        yield registry


@pytest.fixture
def other() -> Iterator[Registry]:
    with scripted() as other:
        yield other


@pytest.fixture
def client(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.url, keyring=Keys(LOGIN)) as client:
        yield client


def get(client: RegistryClient, target: str = PATH, method: str = "GET", body: bytes | None = None) -> bytes:
    with client.ask(method, target, scope=SCOPE, what="team/app:1", body=body) as response:
        return client.read(response, 1_000_000)


def bearer(url: str, service: str = "registry.test") -> str:
    return f'Bearer realm="{url}/token",service="{service}",scope="repository:team/app:pull"'


def logins(registry: Registry) -> list[str | None]:
    return [one.headers.get("authorization") for one in registry.asked]


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
        (503, BusyError),
    ],
)
def test_a_refusal_is_the_houses_and_says_what_the_registry_says(
    registry: Registry, client: RegistryClient, status: int, kind: type[EcrdragError]
) -> None:
    registry.replies[TARGET] = failing(status, "SOME_CODE", "the\x1b[31m reason")
    with pytest.raises(kind) as caught:
        get(client)
    assert type(caught.value) is kind
    assert "team/app:1" in str(caught.value)
    assert "SOME_CODE" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_check_asks_for_the_api_and_nothing_else(registry: Registry, client: RegistryClient) -> None:
    registry.replies["/v2/"] = Reply(b"{}")
    client.check()
    assert registry.targets() == ["/v2/"]


def test_statuses_that_are_good_are_given_with_their_redirect_unfollowed(
    registry: Registry, client: RegistryClient
) -> None:
    registry.replies[TARGET] = Reply(b"", 307, {"Location": "../there?x=1"})
    with client.ask("GET", PATH, scope=SCOPE, what="it", good=(200, 307), follow=False) as response:
        assert client.place(response) == f"{registry.url}/v2/team/app/there?x=1"
    assert len(registry.asked) == 1


def test_a_reply_without_the_place_that_it_should_have_is_an_error(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TARGET] = Reply(b"", 202)
    asking = client.ask("POST", PATH, scope=SCOPE, what="it", good=(202,))
    with asking as response, pytest.raises(TransferError, match="without a Location"):
        client.place(response)


def test_more_than_may_come_is_refused(client: RegistryClient) -> None:
    with client.ask("GET", PATH, scope=SCOPE, what="it") as response, pytest.raises(UnsupportedError, match="3 bytes"):
        client.read(response, 3)


@pytest.mark.parametrize("body", [BODY, memoryview(BODY), bytearray(BODY), b""], ids=lambda body: type(body).__name__)
def test_a_body_arrives_with_its_length(registry: Registry, client: RegistryClient, body: bytes) -> None:
    get(client, method="PUT", body=body)
    (asked,) = registry.asked
    assert (asked.method, asked.body, asked.headers["content-length"]) == ("PUT", bytes(body), str(len(body)))


def test_a_body_is_sent_again_whole_to_who_asks_for_a_login(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TARGET] = guarded(Reply(b""), BASIC, "Basic")
    get(client, method="PATCH", body=BODY)
    assert [one.body for one in registry.asked] == [BODY, BODY]


def test_who_wants_a_login_gets_it_once_it_asks_and_at_once_from_then_on(
    registry: Registry, client: RegistryClient
) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), BASIC, 'Basic realm="x"')
    assert (get(client), get(client)) == (BODY, BODY)
    assert logins(registry) == [None, BASIC, BASIC]
    assert client.authorization(SCOPE) == BASIC


def test_who_has_no_login_is_told_to_log_in(registry: Registry) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), BASIC, 'Basic realm="x"')
    with RegistryClient(registry.url) as anybody, pytest.raises(AuthError) as caught:
        get(anybody)
    assert "login" in caught.value.hint
    assert anybody.authorization(SCOPE) == ""


@pytest.mark.parametrize("name", ["", "docker.io"])
def test_the_keyring_is_asked_by_the_registrys_name(registry: Registry, name: str) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), BASIC, "Basic")
    keys = Keys(LOGIN)
    with RegistryClient(registry.url, registry=name, keyring=keys) as client:
        get(client)
    assert {asked for asked, _ in keys.asked} == {name or registry.host}


@pytest.mark.parametrize("status", [401, 403])
def test_an_old_password_is_renewed_at_the_first_contact(registry: Registry, status: int) -> None:
    fresh = guarded(Reply(BODY), BASIC, "Basic")

    def expiring(asked: Asked) -> Reply:  # as ECR does it
        return fresh(asked) if asked.headers.get("authorization") in (None, BASIC) else failing(status, "DENIED")

    registry.replies[TARGET] = expiring
    with RegistryClient(registry.url, keyring=Keys(Login("me", "old"), LOGIN)) as client:
        assert get(client) == BODY
    assert len(registry.asked) == 3


def test_who_may_not_is_renewed_once_and_then_believed(registry: Registry) -> None:
    keys = Keys(*(Login("me", str(number)) for number in range(9)))
    known = guarded(failing(403, "DENIED", "no"), "nobody", "Basic")
    registry.replies[TARGET] = lambda asked: (
        failing(403, "DENIED") if "authorization" in asked.headers else known(asked)
    )
    with RegistryClient(registry.url, keyring=keys) as client:
        for _ in range(4):
            with pytest.raises(AuthError):
                get(client)
    assert sum(renew for _, renew in keys.asked) == 1


def test_a_token_comes_from_where_the_challenge_says(registry: Registry, other: Registry) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), "Bearer t0ken", bearer(other.url))
    other.replies["/token"] = Reply(json.dumps({"token": "t0ken", "expires_in": 300}).encode())
    with RegistryClient(registry.url, keyring=Keys(LOGIN)) as client:
        assert (get(client), get(client)) == (BODY, BODY)
    (asked,) = other.asked
    assert asked.target == "/token?service=registry.test&scope=repository%3Ateam%2Fapp%3Apull"
    assert asked.headers["authorization"] == BASIC
    assert logins(registry) == [None, "Bearer t0ken", "Bearer t0ken"]


@pytest.mark.parametrize("refusal", [failing(400), failing(401), failing(403)], ids=["400", "401", "403"])
def test_a_token_that_has_expired_is_fetched_again(registry: Registry, client: RegistryClient, refusal: Reply) -> None:
    number = 0

    def token(_: Asked) -> Reply:
        nonlocal number
        number += 1
        return Reply(json.dumps({"token": f"t{number}"}).encode())

    good = "Bearer t1"
    challenge = guarded(Reply(BODY), "", bearer(registry.url))

    def expiring(asked: Asked) -> Reply:  # with 400 and no challenge as ECR Public does it
        header = asked.headers.get("authorization")
        return challenge(asked) if header is None else Reply(BODY) if header == good else refusal

    registry.replies["/token"], registry.replies[TARGET] = token, expiring
    assert get(client) == BODY
    good = "Bearer t2"
    assert get(client) == BODY
    assert logins(registry)[-2:] == [BASIC, "Bearer t2"]
    good = "none"
    with pytest.raises(EcrdragError):
        get(client)
    assert number == 3


def test_bad_requests_that_change_something_are_not_taken_for_old_logins(registry: Registry) -> None:
    registry.replies[TARGET] = guarded(failing(400, "MANIFEST_INVALID"), BASIC, "Basic")
    keys = Keys(LOGIN, Login("me", "newer"))
    with RegistryClient(registry.url, keyring=keys) as client, pytest.raises(EcrdragError):
        get(client, method="PUT", body=BODY)
    assert logins(registry) == [None, BASIC]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(Reply(b"{}"), AuthError), (failing(403), AuthError), (failing(503), TransientError)],
    ids=["no token", "refused", "out of order"],
)
def test_a_token_server_that_gives_none_is_said_without_the_secret(
    registry: Registry, client: RegistryClient, reply: Reply, kind: type[EcrdragError]
) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), "Bearer t0ken", bearer(registry.url))
    registry.replies["/token"] = reply
    with pytest.raises(kind) as caught:
        get(client)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [400, 401])
def test_a_refresh_token_that_is_refused_is_an_error_of_credentials(registry: Registry, status: int) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), "Bearer t0ken", bearer(registry.url))
    registry.replies["/token"] = Reply(b'{"error": "invalid_grant"}', status)
    with RegistryClient(registry.url, keyring=Keys(IdentityToken("r3fresh"))) as client, pytest.raises(AuthError):
        get(client)
    asked = registry.asked[-1]
    assert (asked.method, b"r3fresh" in asked.body, "authorization" in asked.headers) == ("POST", True, False)


def test_a_login_is_not_given_to_a_token_server_that_sends_it_elsewhere(registry: Registry, other: Registry) -> None:
    """A refresh token goes in a body, which no rule about headers keeps at home."""
    registry.replies[TARGET] = guarded(Reply(BODY), "Bearer t0ken", bearer(registry.url))
    registry.replies["/token"] = Reply(b"", 307, {"Location": f"{other.url}/token"})
    for credential in (IdentityToken("r3fresh"), LOGIN):
        with RegistryClient(registry.url, keyring=Keys(credential)) as client, pytest.raises(EcrdragError):
            get(client)
    assert all("authorization" not in one.headers and one.body == b"" for one in other.asked)


@pytest.mark.parametrize("realm", ["http://auth.test/token", "ftp://auth.test/token", "", "http://[bad"])
def test_a_token_is_fetched_over_tls_unless_plain_http_is_meant(registry: Registry, realm: str) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), "Bearer t0ken", f'Bearer realm="{realm}"')
    host = registry.host
    with RegistryClient(host, keyring=Keys(LOGIN)) as client, pytest.raises(EcrdragError) as caught:
        get(client)
    assert realm == "http://[bad" or "not https" in str(caught.value)


def test_redirects_without_end_are_given_up(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TARGET] = Reply(b"", 307, {"Location": TARGET})
    with pytest.raises(TransferError, match="redirects more than"):
        get(client)


def test_connections_are_kept_through_challenges_and_refusals(registry: Registry, client: RegistryClient) -> None:
    ports = set()

    def note(asked: Asked) -> Reply:
        ports.add(asked.port)
        refused = asked.headers.get("authorization") is None
        return Reply(b"{}", 401, {"WWW-Authenticate": "Basic"}) if refused else failing(404, "MANIFEST_UNKNOWN")

    registry.replies[TARGET] = note
    for _ in range(5):
        with pytest.raises(NotFoundError):
            get(client)
    assert len(ports) == 1


def test_an_abort_wakes_who_waits_and_stops_who_comes(registry: Registry, client: RegistryClient) -> None:
    held = threading.Event()
    registry.replies[TARGET] = Reply(BODY, length=1000, hold=held)
    with ThreadPoolExecutor(1) as pool, client.ask("GET", PATH, scope=SCOPE, what="it") as response:
        waiting = pool.submit(client.read, response, 1000)
        client.abort()
        with pytest.raises(TransferError):
            waiting.result(10)
    held.set()
    with pytest.raises(TransferError, match="stopped"):
        get(client)


@pytest.mark.parametrize("body", [None, BODY], ids=["asking", "sending"])
def test_an_abort_wakes_who_waits_for_an_answer_to_begin(
    registry: Registry, client: RegistryClient, body: bytes | None
) -> None:
    asked, held = threading.Event(), threading.Event()

    def say_nothing(_asked: Asked) -> Reply:
        asked.set()
        held.wait(20)
        return Reply(BODY)

    registry.replies[TARGET] = say_nothing
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(get, client, PATH, "PUT" if body else "GET", body)
        assert asked.wait(20)
        client.abort()
        with pytest.raises(TransferError, match="stopped"):
            waiting.result(10)
    held.set()


def test_a_registry_that_says_nothing_is_left(registry: Registry) -> None:
    held = threading.Event()
    registry.replies[TARGET] = lambda _: Reply(BODY) if held.wait(20) else failing(500)
    with RegistryClient(registry.url, read_timeout=0.01) as client, pytest.raises(StalledError):
        get(client)
    held.set()
