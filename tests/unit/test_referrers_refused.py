"""Referrers that are left out, and those that end the search: too many, too deep, not what they should be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from ecrdrag import referrers
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import AuthError, IntegrityError, NotFoundError, TransferError, UnsupportedError
from ecrdrag.manifest import OCI_INDEX
from ecrdrag.tree import MAX_DEPTH
from tests.about import APP, WHERE, found, offer, roots
from tests.fake_ends import MemorySource
from tests.images import Blob
from tests.kinds import (
    Parcel,
    artifact,
    document_of,
    greeter,
    index,
    sbom,
    signature,
)
from tests.schema1_images import Step, old_image


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def chain(length: int) -> list[Parcel]:
    made = [signature(APP)]
    while len(made) < length:
        made.append(signature(made[-1]))
    return made


def test_referrers_about_referrers_are_followed_so_deep_and_no_deeper(source: MemorySource) -> None:
    longest = chain(MAX_DEPTH)
    offer(source, APP, *longest)
    assert roots(found(source)) == [one.digest for one in longest]
    offer(source, signature(longest[-1]))
    with pytest.raises(UnsupportedError, match=f"{WHERE} has referrers about referrers, more than {MAX_DEPTH} deep"):
        found(source)


MARKS = [artifact([], artifact_type=f"application/{n}", subject=APP) for n in range(4)]


@pytest.mark.parametrize(
    ("limit", "value"),
    [("MAX_REFERRERS", 3), ("_MAX_LISTED", 3), ("MAX_SIZE", 3 * len(MARKS[0].root.content))],
)
def test_more_than_can_be_is_refused(
    source: MemorySource, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(referrers, limit, value)
    offer(source, APP, *MARKS[:3])
    assert len(found(source)) == 3
    offer(source, MARKS[3])
    with pytest.raises(UnsupportedError, match=WHERE):
        found(source)


def test_what_is_not_wanted_does_not_count(source: MemorySource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referrers, "MAX_REFERRERS", 3)
    offer(source, APP, *MARKS)
    assert len(found(source, types=["application/2", "application/3"])) == 2


def listing(source: MemorySource, blob: Blob) -> None:
    """Let the source list something about the image, whatever it is about."""
    document = Descriptor(blob.media_type, blob.digest, len(blob.content))
    source.listed[APP.digest] = (*source.listed.get(APP.digest, ()), document)


def about_another(source: MemorySource) -> Digest:
    other = signature(greeter("amd64", "another\n"))
    offer(source, other)
    listing(source, other.root)
    return other.digest


def about_nothing(source: MemorySource) -> Digest:
    image = greeter("amd64", "another\n")
    offer(source, image)
    listing(source, image.root)
    return image.digest


def gone(source: MemorySource) -> Digest:
    listing(source, signature(APP).root)
    return signature(APP).digest


def schema1(source: MemorySource) -> Digest:
    old = old_image([Step("RUN it")])
    blob = Blob(old.raw, old.media_type)
    source.put_document(blob)
    listing(source, blob)
    return blob.digest


def with_a_child_that_is_gone(source: MemorySource) -> Digest:
    parcel = index([greeter("amd64", "never pushed\n")], subject=APP.root.json)
    source.put_document(parcel.root)
    return parcel.digest


def too_deep(source: MemorySource) -> Digest:
    parcel = greeter("amd64", "deep down\n")
    for _ in range(MAX_DEPTH):
        parcel = index([parcel])
    parcel = index([parcel], subject=APP.root.json)
    offer(source, parcel)
    return parcel.digest


@pytest.mark.parametrize("bad", [about_another, about_nothing, gone, schema1, with_a_child_that_is_gone, too_deep])
def test_what_is_listed_and_is_not_what_it_should_be_is_left_out_with_a_warning(
    source: MemorySource, caplog: pytest.LogCaptureFixture, bad: Callable[[MemorySource], Digest]
) -> None:
    good = sbom(APP)
    offer(source, APP, good)
    digest = bad(source)
    assert roots(found(source)) == [good.digest]
    (said,) = warnings(caplog)
    assert said.startswith(f"{WHERE}: left out the referrer {digest} of {APP.digest}: ")


def test_an_old_image_under_a_tag_of_cosigns_is_left_out(
    source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    offer(source, APP)
    old = old_image([Step("RUN it")])
    source.put_document(Blob(old.raw, old.media_type), f"sha256-{APP.digest.hex}.sig")
    assert found(source) == ()
    (said,) = warnings(caplog)
    assert said == f"{WHERE}: left out what is tagged sha256-{APP.digest.hex}.sig: it is a schema 1 manifest"


def test_a_size_that_is_told_wrong_does_no_harm(source: MemorySource) -> None:
    good = sbom(APP)
    offer(source, APP, good)
    source.listed[APP.digest] = tuple(replace(one, size=1 << 40) for one in source.listed[APP.digest])
    assert roots(found(source)) == [good.digest]


def test_an_index_that_refers_and_contradicts_itself_is_an_error(source: MemorySource) -> None:
    inside = sbom(greeter("amd64", "another\n"))
    entry = {**inside.root.json, "size": 7}
    parcel = document_of(OCI_INDEX, manifests=[entry], subject=APP.root.json)
    offer(source, APP, inside)
    source.put_document(parcel)
    with pytest.raises(IntegrityError, match="its index says 7"):
        found(source)


@pytest.mark.parametrize("error", [AuthError("no"), TransferError("no"), IntegrityError("no")])
@pytest.mark.parametrize("question", ["referrers", "manifest sha256-", "manifest sha256:"])
def test_what_else_goes_wrong_is_an_error(source: MemorySource, error: Exception, question: str) -> None:
    def fail(asked: str) -> None:
        if asked.startswith(question):
            raise error

    offer(source, APP, signature(APP))
    source.before_each = fail
    with pytest.raises(type(error), match="no"):
        found(source)


def test_a_repository_that_lists_nothing_at_all_is_an_error(source: MemorySource) -> None:
    def fail(question: str) -> None:
        if question.startswith("referrers"):
            raise NotFoundError("no such repository")

    source.before_each = fail
    with pytest.raises(NotFoundError):
        found(source)
