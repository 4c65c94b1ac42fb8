"""What is said to who asks by digest for what a pull-through cache may not have."""

from __future__ import annotations

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import EcrdragError, NotFoundError, RepositoryNotFoundError, TransferError
from ecrdrag.registry.cache_hint import CACHE_HINT, cache_told

DIGEST = Digest.of(b"any")


def hint_of(error: EcrdragError, digest: Digest | None = DIGEST) -> str:
    with pytest.raises(type(error)) as caught, cache_told(digest):
        raise error
    assert caught.value is error
    return error.hint


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("my/app: Requested image not found (ImageNotFound)", hint="look"),
        RepositoryNotFoundError("my/app: BatchGetImage was refused: no (RepositoryNotFoundException)", hint="look"),
        NotFoundError("host answered 404 (MANIFEST_UNKNOWN: no) when asked for it", hint="look"),
        RepositoryNotFoundError("host answered 404 (NAME_UNKNOWN: no) when asked for it", hint="look"),
    ],
    ids=str,
)
def test_who_asks_by_digest_for_what_is_missing_is_told_to_pull_by_tag_once(error: EcrdragError) -> None:
    assert hint_of(error) == f"look\n{CACHE_HINT}"
    assert CACHE_HINT.startswith("if a pull-through cache rule covers it, pull it by its tag")


def test_a_hint_stands_alone_where_there_is_no_other() -> None:
    assert hint_of(NotFoundError("no (ImageNotFound)")) == CACHE_HINT


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("it is in the archive (ImageInaccessible)", hint="look"),
        NotFoundError("my/app: it moved (ImageTagDoesNotMatchDigest)", hint="look"),
        TransferError("no answer (ImageNotFound)", hint="look"),
    ],
    ids=str,
)
def test_all_else_is_left_as_it_is(error: EcrdragError) -> None:
    assert hint_of(error) == "look"


def test_by_tag_nothing_is_told() -> None:
    assert hint_of(NotFoundError("no (ImageNotFound)", hint="look"), None) == "look"
