"""WWW-Authenticate: read as HTTP writes it, and never a reason to fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.registry.challenge import Challenge, parse_challenges


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
