"""The way in: what a challenge makes of credentials, how long that is kept, and what replaces what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from urllib.parse import parse_qsl, urlsplit

import pytest

from ecrdrag.errors import AuthError, EcrdragError
from ecrdrag.registry.auth import Credential, IdentityToken, Keyring, Login, Nobody
from ecrdrag.registry.authority import Authority
from ecrdrag.registry.challenge import Challenge
from tests.scripted_registry import Keys

OLD, NEW = Login("me", "0ld:word"), Login("me", "n3w")
PULL = "repository:team/app:pull"
BASIC = (Challenge("basic", {"realm": "x"}),)
REALM = "https://auth.test/token"


def bearer(scope: str = PULL, realm: str = REALM) -> tuple[Challenge, ...]:
    return (Challenge("bearer", {"realm": realm, "service": "registry.test", "scope": scope}),)


def basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


class Tokens:
    """A token server: it numbers what it gives, and refuses whom a test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str], bytes | None]] = []
        self.refused: list[str] = []
        self.lifetime: object = 300

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        self.asked.append((method, url, headers, body))
        if headers.get("Authorization", "") in self.refused:
            raise AuthError("refused")
        return json.dumps({"token": f"t{len(self.asked)}", "expires_in": self.lifetime}).encode()

    def scopes(self) -> list[list[str]]:
        """Give the scopes of each request."""
        found = [parse_qsl(urlsplit(url).query) for _, url, _, _ in self.asked]
        return [[value for name, value in pairs if name == "scope"] for pairs in found]


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def authority(
    *credentials: Credential, keys: Keyring | None = None, tokens: Tokens | None = None, clock: Clock | None = None
) -> Authority:
    return Authority("registry.test", keys or Keys(*credentials), tokens or Tokens(), clock or Clock())


def test_nothing_is_said_before_anybody_asks() -> None:
    keys = Keys(OLD)
    assert authority(keys=keys).header(PULL) == ""
    assert keys.asked == []


def test_a_password_is_said_from_the_first_challenge_on_for_every_scope() -> None:
    found = authority(OLD)
    assert found.answer(BASIC, PULL, "") == basic(OLD)
    assert found.header(PULL) == found.header("repository:other:push") == basic(OLD)


def test_nobody_says_nothing_to_who_wants_a_password() -> None:
    assert authority(keys=Nobody()).answer(BASIC, PULL, "") == ""


def test_an_identity_token_is_no_password() -> None:
    assert authority(IdentityToken("r3fresh")).answer(BASIC, PULL, "") == ""


def test_a_newer_password_on_the_keyring_is_said_at_once() -> None:
    keys = Keys(OLD)
    found = authority(keys=keys)
    found.answer(BASIC, PULL, "")
    keys.credentials = [NEW]
    assert found.header(PULL) == basic(NEW)


def test_a_refused_password_is_renewed_and_a_renewed_one_not_before_a_minute_has_passed() -> None:
    keys, clock = Keys(OLD, NEW, Login("me", "newest")), Clock()
    found = authority(keys=keys, clock=clock)
    assert found.answer(BASIC, PULL, basic(OLD)) == basic(NEW)
    assert found.answer((), PULL, basic(NEW)) == ""
    assert [renew for _, renew in keys.asked] == [False, True, False]
    clock.now += 61
    assert found.answer((), PULL, basic(NEW)) == basic(Login("me", "newest"))


def test_a_password_that_another_thread_renewed_is_not_renewed_again() -> None:
    keys = Keys(OLD, NEW)
    found = authority(keys=keys)
    assert [found.answer(BASIC, PULL, basic(OLD)) for _ in range(3)] == [basic(NEW)] * 3
    assert sum(renew for _, renew in keys.asked) == 1


def test_a_password_that_stays_the_same_is_no_answer_to_its_refusal() -> None:
    assert authority(OLD).answer(BASIC, PULL, basic(OLD)) == ""


@pytest.mark.parametrize("credential", [None, OLD], ids=["anybody", "somebody"])
def test_a_token_is_fetched_where_the_challenge_says_and_kept_for_its_scope(credential: Login | None) -> None:
    tokens = Tokens()
    found = authority(*[credential] if credential else [], tokens=tokens)
    assert found.answer(bearer(), PULL, "") == found.header(PULL) == "Bearer t1"
    ((method, url, headers, body),) = tokens.asked
    assert (method, body) == ("GET", None)
    assert url == f"{REALM}?service=registry.test&scope=repository%3Ateam%2Fapp%3Apull"
    assert headers.get("Authorization") == (basic(credential) if credential else None)


def test_a_realm_may_have_a_query() -> None:
    tokens = Tokens()
    authority(tokens=tokens).answer(bearer(realm=f"{REALM}?a=b"), PULL, "")
    assert tokens.asked[0][1].startswith(f"{REALM}?a=b&service=")


@pytest.mark.parametrize(("lifetime", "passed", "kept"), [(300, 294, 1), (300, 296, 2), (4, 1.9, 1), (4, 2.1, 2)])
def test_a_token_is_fetched_again_shortly_before_it_expires(lifetime: float, passed: float, kept: int) -> None:
    tokens, clock = Tokens(), Clock()
    tokens.lifetime = lifetime
    found = authority(tokens=tokens, clock=clock)
    found.answer(bearer(), PULL, "")
    clock.now += passed
    assert found.header(PULL) == f"Bearer t{kept}"


def test_a_token_lives_a_minute_where_nothing_is_said_of_it() -> None:
    tokens, clock = Tokens(), Clock()
    tokens.lifetime = None
    found = authority(tokens=tokens, clock=clock)
    found.answer(bearer(), PULL, "")
    clock.now += 54
    assert found.header(PULL) == "Bearer t1"
    clock.now += 2
    assert found.header(PULL) == "Bearer t2"


def test_a_refused_token_is_fetched_again_also_where_no_challenge_comes_with_the_refusal() -> None:
    found = authority()
    found.answer(bearer(), PULL, "")
    assert found.answer((), PULL, "Bearer t1") == found.header(PULL) == "Bearer t2"


def test_a_refused_token_is_not_said_again_where_no_other_can_be_had() -> None:
    tokens = Tokens()
    found = authority(tokens=tokens)
    found.answer(bearer(), PULL, "")
    tokens.refused = [""]
    with pytest.raises(AuthError):
        found.answer((), PULL, "Bearer t1")
    tokens.refused = []
    assert found.header(PULL) == "Bearer t3"


def test_threads_that_are_refused_together_fetch_one_token() -> None:
    tokens, together = Tokens(), Barrier(8, timeout=20)
    found = authority(tokens=tokens)
    found.answer(bearer(), PULL, "")

    def refused(_: int) -> str:
        together.wait()
        return found.answer(bearer(), PULL, "Bearer t1")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(refused, range(8))) == {"Bearer t2"}
    assert len(tokens.asked) == 2


def test_another_repository_has_a_token_of_its_own_and_the_challenge_of_the_first_is_not_asked_for() -> None:
    tokens = Tokens()
    found = authority(tokens=tokens)
    found.answer(bearer(), PULL, "")
    assert found.header("repository:other:pull,push") == "Bearer t2"
    assert tokens.scopes() == [[PULL], ["repository:other:pull,push"]]


def test_what_a_challenge_names_and_what_the_work_needs_are_asked_for_together() -> None:
    tokens = Tokens()
    wanted = "repository:team/app:pull,push repository:team/lib:pull"
    authority(tokens=tokens).answer(bearer(f"{PULL},delete"), wanted, "")
    assert tokens.scopes() == [["repository:team/app:pull,delete,push", "repository:team/lib:pull"]]


def test_a_scope_of_no_repository_stands_for_all_work() -> None:
    tokens = Tokens()
    found = authority(tokens=tokens)
    found.answer(bearer("aws"), PULL, "")
    found.header("repository:other:pull")
    assert tokens.scopes() == [["aws"], ["aws"]]


def test_an_identity_token_is_sent_as_a_form_for_an_access_token() -> None:
    tokens = Tokens()
    wanted = "repository:team/app:pull,push repository:team/lib:pull"
    assert authority(IdentityToken("r3fresh"), tokens=tokens).answer(bearer(), wanted, "") == "Bearer t1"
    ((method, url, headers, body),) = tokens.asked
    assert (method, url) == ("POST", REALM)
    assert headers == {"Content-Type": "application/x-www-form-urlencoded"}
    assert dict(parse_qsl((body or b"").decode())) == {
        "grant_type": "refresh_token",
        "service": "registry.test",
        "client_id": "ecrdrag",
        "refresh_token": "r3fresh",
        "scope": wanted,
    }


def test_a_token_server_that_refuses_an_old_password_gets_the_new_one() -> None:
    tokens = Tokens()
    tokens.refused = [basic(OLD)]
    assert authority(OLD, NEW, tokens=tokens).answer(bearer(), PULL, "") == "Bearer t2"
    assert [headers["Authorization"] for _, _, headers, _ in tokens.asked] == [basic(OLD), basic(NEW)]


@pytest.mark.parametrize("credentials", [[], [OLD]], ids=["anybody", "somebody"])
def test_a_token_server_that_refuses_what_there_is_has_the_last_word(credentials: list[Credential]) -> None:
    tokens = Tokens()
    tokens.refused = ["", basic(OLD)]
    with pytest.raises(AuthError, match="refused"):
        authority(*credentials, tokens=tokens).answer(bearer(), PULL, "")
    assert len(tokens.asked) == 1


def test_the_first_challenge_that_can_be_met_counts() -> None:
    unknown = Challenge("negotiate")
    assert authority(OLD).answer((unknown, *BASIC, *bearer()), PULL, "") == basic(OLD)
    assert authority(OLD).answer((unknown, *bearer(), *BASIC), PULL, "") == "Bearer t1"
    assert authority().answer((*BASIC, *bearer()), PULL, "") == "Bearer t1"
    assert authority(OLD).answer((unknown,), PULL, "") == ""


@pytest.mark.parametrize("lifetime", ["1" + "0" * 400, "-1" + "0" * 400, "1e999", "NaN", "null", "true", '"an hour"'])
def test_a_token_is_used_whatever_its_lifetime_is_said_to_be(lifetime: str) -> None:
    raw = f'{{"access_token": "t0ken", "expires_in": {lifetime}}}'.encode()
    found = Authority("registry.test", Nobody(), lambda *_: raw)
    assert found.answer(bearer(), PULL, "") == found.header(PULL) == "Bearer t0ken"


@pytest.mark.parametrize(
    "raw",
    [b"{}", b"[]", b"nonsense", b'{"token": "a\\nb"}', b'{"token": ""}', b'{"token": 5}', b"[" * 99999],
    ids=["empty", "a list", "no json", "two lines", "an empty one", "a number", "too deep"],
)
def test_a_token_server_that_gives_none_is_an_error_of_credentials(raw: bytes) -> None:
    with pytest.raises(AuthError, match="no token"):
        Authority("registry.test", Nobody(), lambda *_: raw).answer(bearer(), PULL, "")


def test_a_keyring_that_fails_is_heard() -> None:
    class Broken:
        def find(self, registry: str, *, renew: bool = False) -> Credential | None:
            raise AuthError(f"no login for {registry}")

    for challenges in (BASIC, bearer()):
        with pytest.raises(EcrdragError, match="no login for registry"):
            authority(keys=Broken()).answer(challenges, PULL, "")


def test_no_secret_is_in_a_repr() -> None:
    assert "0ld" not in repr(OLD)
    assert "r3fresh" not in repr(IdentityToken("r3fresh"))
