"""The lists of /v2/ against a scripted registry: what is asked for, where pages lead, what is believed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.errors import (
    AuthError,
    EcrdragError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.registry import distribution_lists
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_lists import catalog, tags
from tests.scripted_registry import Asked, Keys, Registry, Reply, failing, guarded, scripted

TAGS = "/v2/team/app/tags/list"
CATALOG = "/v2/_catalog"
BASIC = "Basic bWU6c2VjcmV0"
EVERYTHING = [f"v{number}" for number in range(25)]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        yield registry


@pytest.fixture
def other() -> Iterator[Registry]:
    with scripted() as other:
        yield other


@pytest.fixture
def client(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.host, keyring=Keys(Login("me", "secret")), plain_http=True) as client:
        yield client


def page(names: object, link: str = "", member: str = "tags") -> Reply:
    """Answer with a list, and with where the next page is."""
    body = json.dumps({"name": "team/app", member: names}).encode()
    return Reply(body, headers={"Link": link} if link else {})


def query(asked: Asked) -> Mapping[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(asked.target).query).items()}


def by_ten(link: Callable[[Asked, int], str]) -> Callable[[Asked], Reply]:
    """List everything in pages of ten; link writes where the page from a number on is."""

    def reply(asked: Asked) -> Reply:
        start = int(query(asked).get("start", 0))
        more = start + 10 < len(EVERYTHING)
        return page(EVERYTHING[start : start + 10], link(asked, start + 10) if more else "")

    return reply


LINKS: Mapping[str, Callable[[str, int], str]] = {
    "absolute": lambda url, start: f'<{url}{TAGS}?start={start}>; rel="next"',
    "relative to the host": lambda url, start: f'<{TAGS}?n=10&start={start}>; rel="next"',
    "relative to the page": lambda url, start: f'<list?start={start}>; rel="next"',
    "a query alone": lambda url, start: f'<?start={start}>; rel="next"',
    "without quotes": lambda url, start: f"<{TAGS}?start={start}>;rel=next",
    "among others": lambda url, start: (
        f'<{TAGS}?start=0>; rel="first", <{TAGS}?start={start}>; title="a, b"; REL="Next x"'
    ),
    "without a relation": lambda url, start: f"<{TAGS}?start={start}>",
    "on a host that the registry takes for its own": lambda url, start: (
        f'<http://inside.test{TAGS}?start={start}>; rel="next"'
    ),
    "with commas in it": lambda url, start: f'<{TAGS}?x=a,b;c&start={start}>; rel="next"',
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_tags_are_read_from_page_to_page(
    registry: Registry, client: RegistryClient, link: Callable[[str, int], str]
) -> None:
    registry.replies[TAGS] = by_ten(lambda asked, start: link(registry.url, start))
    assert list(tags(client, "team/app")) == EVERYTHING
    assert [query(asked).get("start") for asked in registry.asked] == [None, "10", "20"]


@pytest.mark.parametrize("name", ["prev", "nextish", "", "last first"])
def test_a_link_to_another_page_than_the_next_is_not_followed(
    registry: Registry, client: RegistryClient, name: str
) -> None:
    registry.replies[TAGS] = page(["a"], f'<{TAGS}?start=1>; rel="{name}"')
    assert list(tags(client, "team/app")) == ["a"]


@pytest.mark.parametrize("header", ["nonsense", "<", "<unfinished", '<>; rel="next"', "; rel=next", ","])
def test_a_link_that_is_none_ends_the_list(registry: Registry, client: RegistryClient, header: str) -> None:
    registry.replies[TAGS] = page(["a"], header)
    assert list(tags(client, "team/app")) == ["a"]


@given(st.text(max_size=200) | st.text('<>; rel="next,\\', max_size=200))
def test_any_link_header_is_read_or_left(header: str) -> None:
    assert isinstance(distribution_lists._next_in(header), str)


def test_no_other_host_is_asked_for_a_page_or_sees_the_login(
    registry: Registry, other: Registry, client: RegistryClient
) -> None:
    first = page(["a"], f'<{other.url}{TAGS}?start=10>; rel="next"')
    registry.replies[TAGS] = guarded(lambda asked: page(["b"]) if "start" in query(asked) else first, BASIC, "Basic")
    other.replies[TAGS] = page(["stranger"])
    assert list(tags(client, "team/app")) == ["a", "b"]
    assert other.asked == []
    assert [asked.headers.get("authorization") for asked in registry.asked] == [None, BASIC, BASIC]


def test_a_page_is_asked_for_when_it_is_needed(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TAGS] = by_ten(lambda asked, start: f'<{TAGS}?start={start}>; rel="next"')
    found = tags(client, "team/app")
    assert registry.asked == []
    assert list(islice(found, 10)) == EVERYTHING[:10]
    assert len(registry.asked) == 1


@pytest.mark.parametrize("status", [400, 405, 422])
@pytest.mark.parametrize(("most", "counts"), [(1000, ["1000"]), (100, ["1000", "100"]), (0, ["1000", "100", None])])
def test_as_many_at_once_are_asked_for_as_the_registry_allows(
    registry: Registry, client: RegistryClient, most: int, counts: list[str | None], status: int
) -> None:
    def reply(asked: Asked) -> Reply:
        wanted = int(query(asked).get("n", 0))
        return failing(status, "PAGINATION_NUMBER_INVALID") if wanted > most else page(["a"])

    registry.replies[TAGS] = reply
    assert list(tags(client, "team/app")) == ["a"]
    assert [query(asked).get("n") for asked in registry.asked if "authorization" not in asked.headers] == counts


def test_what_is_refused_at_any_number_is_refused(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TAGS] = failing(405, "UNSUPPORTED", "no lists here")
    with pytest.raises(UnsupportedError, match="no lists here"):
        list(tags(client, "team/app"))
    registry.replies[TAGS] = failing(404, "NAME_UNKNOWN", "nothing there")
    with pytest.raises(RepositoryNotFoundError, match="the tags of team/app"):
        list(tags(client, "team/app"))
    registry.replies[TAGS] = failing(503)
    with pytest.raises(TransientError):
        list(tags(client, "team/app"))
    assert len(registry.asked) == 3 + 1 + 1


@pytest.mark.parametrize(
    ("steps", "asked"),
    [([TAGS], 2), ([f"{TAGS}?n=1000"], 1), ([f"{TAGS}?x=1", f"{TAGS}?x=2", f"{TAGS}?x=1"], 3)],
    ids=["its first page without a number", "itself", "a page before"],
)
def test_pages_that_lead_in_a_circle_are_an_error(
    registry: Registry, client: RegistryClient, steps: list[str], asked: int
) -> None:
    ways = iter([*steps, *steps])
    registry.replies[TAGS] = lambda _: page(["a"], f'<{next(ways)}>; rel="next"')
    with pytest.raises(TransferError, match=r"in a circle .* the tags of team/app"):
        list(tags(client, "team/app"))
    assert len(registry.asked) == asked


def test_pages_without_end_end(registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution_lists, "_MAX_PAGES", 20)
    numbers = count()
    registry.replies[TAGS] = lambda _: page([], f'<{TAGS}?start={next(numbers)}>; rel="next"')
    with pytest.raises(TransferError, match="more than 20 pages"):
        list(tags(client, "team/app"))
    assert len(registry.asked) == 20


@pytest.mark.parametrize("body", [b'{"tags":null}', b'{"tags":[]}', b'{"name":"x","tags":[],"more":{}}'])
def test_a_repository_without_tags_has_none(registry: Registry, client: RegistryClient, body: bytes) -> None:
    registry.replies[TAGS] = Reply(body)
    assert list(tags(client, "team/app")) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b"{}",
        b'{"repositories":["a"]}',
        b'{"tags":"a"}',
        b'{"tags":{"a":1}}',
        b"[" * 99999,
    ],
)
def test_what_is_no_list_is_an_error_and_not_an_empty_one(
    registry: Registry, client: RegistryClient, body: bytes
) -> None:
    registry.replies[TAGS] = Reply(body)
    with pytest.raises(TransferError, match="sent no list when asked for the tags of team/app"):
        list(tags(client, "team/app"))


def test_a_list_of_any_content_type_is_one(registry: Registry, client: RegistryClient) -> None:
    for kind in ("text/plain; charset=utf-8", "application/json", "text/html"):
        registry.replies[TAGS] = Reply(b'{"tags":["a"]}', headers={"Content-Type": kind})
        assert list(tags(client, "team/app")) == ["a"]


def test_a_list_without_end_is_refused(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TAGS] = Reply(b" " * (16 * 1024 * 1024 + 1))
    with pytest.raises(UnsupportedError):
        list(tags(client, "team/app"))


def test_a_page_that_breaks_off_is_noticed(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TAGS] = Reply(b'{"tags":["a"]}', length=50)
    with pytest.raises(TransientError):
        list(tags(client, "team/app"))


def test_what_can_be_no_tag_is_left_out_and_said(
    registry: Registry, client: RegistryClient, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ["", "-a", "a b", "a/b", "\x1b[31m", "a" * 129, 7, None, ["a"], {"a": "b"}, "a\n", "é"]
    registry.replies[TAGS] = page(["v1", *bad, "_", "A.b-c_d", "a" * 128, "sha256-0123"])
    with caplog.at_level(logging.WARNING):
        assert list(tags(client, "team/app")) == ["v1", "_", "A.b-c_d", "a" * 128, "sha256-0123"]
    (record,) = caplog.records
    assert f"{len(bad)} of the tags of team/app" in record.getMessage()
    assert record.getMessage().isprintable()
    registry.replies[TAGS] = page(["\x1b[31m"])
    list(tags(client, "team/app"))
    assert caplog.records[-1].getMessage().isprintable()


def test_a_full_page_that_names_no_other_is_noted(
    registry: Registry, client: RegistryClient, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"v{number}" for number in range(1000)]
    registry.replies[TAGS] = lambda asked: (
        page(names) if "last" in query(asked) else page(names, f'<{TAGS}?n=1000&last=x>; rel="next"')
    )
    with caplog.at_level(logging.INFO):
        assert len(list(tags(client, "team/app"))) == 2000
    assert caplog.records == []
    registry.replies[TAGS] = page(names)
    with caplog.at_level(logging.INFO):
        assert len(list(tags(client, "team/app"))) == 1000
    assert ["full" in record.getMessage() for record in caplog.records] == [True]


def test_the_catalog_is_read_in_pages_too(registry: Registry, client: RegistryClient) -> None:
    names = ["library/alpine", "a", "team/app__x", "Not/one", "x" * 256, "-", "x" * 255]
    registry.replies[CATALOG] = lambda asked: (
        page(["z"], member="repositories")
        if "last" in query(asked)
        else page(names, f'<{CATALOG}?last=y>; rel="next"', member="repositories")
    )
    assert list(catalog(client)) == ["library/alpine", "a", "team/app__x", "x" * 255, "z"]
    assert query(registry.asked[0]) == {"n": "1000"}


def test_a_catalog_that_nobody_may_see_is_an_error_of_credentials(registry: Registry, client: RegistryClient) -> None:
    registry.replies[CATALOG] = failing(401, "UNAUTHORIZED")
    with pytest.raises(AuthError, match="the list of repositories"):
        list(catalog(client))


@pytest.mark.parametrize(
    ("path", "scope", "ask"),
    [
        (TAGS, "repository:team/app:pull", lambda client: tags(client, "team/app")),
        (CATALOG, "registry:catalog:*", catalog),
    ],
    ids=["tags", "catalog"],
)
def test_a_token_is_asked_for_with_the_scope_of_the_list(
    registry: Registry, client: RegistryClient, path: str, scope: str, ask: Callable[[RegistryClient], Iterator[str]]
) -> None:
    reply = page(["a"], member=path.rpartition("/")[2].replace("list", "tags").replace("_catalog", "repositories"))
    registry.replies[path] = guarded(reply, "Bearer t0ken", f'Bearer realm="{registry.url}/token",service="s"')
    registry.replies["/token"] = Reply(b'{"token":"t0ken"}')
    assert list(ask(client)) == ["a"]
    (asked,) = [one for one in registry.asked if one.target.startswith("/token")]
    assert query(asked)["scope"] == scope


def test_an_error_in_the_middle_comes_after_what_was_there(registry: Registry, client: RegistryClient) -> None:
    registry.replies[TAGS] = lambda asked: (
        failing(500) if "start" in query(asked) else page(["a", "b"], f'<{TAGS}?start=2>; rel="next"')
    )
    found: list[str] = []
    with pytest.raises(EcrdragError):
        found.extend(name for name in tags(client, "team/app"))
    assert found == ["a", "b"]
