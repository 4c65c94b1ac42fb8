"""What refers to an image, against a scripted registry: by the API in pages, or by the index under a tag."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import (
    AuthError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    RepositoryNotFoundError,
    TransferError,
    UnsupportedError,
)
from ecrdrag.manifest import MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST
from ecrdrag.reference import fallback_tag
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_lists import referrers
from tests.scripted_registry import Asked, Registry, Reply, failing, scripted

SUBJECT = Digest.of(b"the subject")
API = f"/v2/team/app/referrers/{SUBJECT}"
TAG = f"/v2/team/app/manifests/sha256-{SUBJECT.hex}"
SBOM, SIGNATURE = "application/sbom", "application/vnd.signature+json"
INDEX = {"Content-Type": OCI_INDEX}
ONE, TWO, THREE = (Digest.of(name) for name in (b"one", b"two", b"three"))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        yield registry


@pytest.fixture
def client(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.host, plain_http=True) as client:
        yield client


def index(*entries: tuple[Digest, str], **headers: str) -> Reply:
    """Answer with an index of manifests of so many artifact types."""
    manifests = [
        {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": 7, "artifactType": kind, "annotations": {"is": kind}}
        for digest, kind in entries
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return Reply(
        json.dumps(document).encode(), headers={**INDEX, **{n.replace("_", "-"): v for n, v in headers.items()}}
    )


def digests(found: tuple[Descriptor, ...]) -> list[Digest]:
    return [one.digest for one in found]


def test_what_refers_to_an_image_comes_with_type_and_annotations(registry: Registry, client: RegistryClient) -> None:
    registry.replies[API] = index((ONE, SBOM), (TWO, ""))
    one, two = referrers(client, "team/app", SUBJECT)
    assert one == Descriptor(OCI_MANIFEST, ONE, 7, annotations={"is": SBOM}, artifact_type=SBOM)
    assert (two.digest, two.artifact_type) == (TWO, "")
    assert registry.targets() == [API]


def test_nothing_that_refers_is_nothing_and_the_tag_is_not_asked_for(
    registry: Registry, client: RegistryClient
) -> None:
    registry.replies[TAG] = index((THREE, SBOM))
    for body in (index().body, b'{"schemaVersion":2,"manifests":null}'):
        registry.replies[API] = Reply(body, headers=INDEX)
        assert referrers(client, "team/app", SUBJECT) == ()
    assert registry.targets() == [API, API]


@pytest.mark.parametrize("applied", ["", "artifactType", "other, ArtifactType", "other"])
def test_one_type_is_asked_for_and_what_the_registry_leaves_in_is_left_out(
    registry: Registry, client: RegistryClient, applied: str
) -> None:
    headers = {"OCI_Filters_Applied": applied} if applied else {}
    registry.replies[API] = index((ONE, SBOM), (TWO, SIGNATURE), **headers)
    is_trusted = "artifacttype" in applied.lower()
    assert digests(referrers(client, "team/app", SUBJECT, SIGNATURE)) == ([ONE, TWO] if is_trusted else [TWO])
    (asked,) = registry.asked
    assert parse_qs(urlsplit(asked.target).query) == {"artifactType": [SIGNATURE]}


def test_pages_are_read_to_the_last_and_each_referrer_is_told_once(registry: Registry, client: RegistryClient) -> None:
    def reply(asked: Asked) -> Reply:
        if "page=3" in asked.target:
            return index((THREE, SBOM))
        if "page=2" in asked.target:
            return index(
                (TWO, SIGNATURE), (ONE, SBOM), Link=f'<{API}?page=3>; rel="next"', OCI_Filters_Applied="artifactType"
            )
        return index((ONE, SBOM), (TWO, SIGNATURE), Link=f'<{API}?page=2>; rel="next"')

    registry.replies[API] = reply
    assert digests(referrers(client, "team/app", SUBJECT)) == [ONE, TWO, THREE]
    assert digests(referrers(client, "team/app", SUBJECT, SBOM)) == [ONE, TWO, THREE]


def test_pages_in_a_circle_and_a_page_for_people_in_the_middle_are_errors(
    registry: Registry, client: RegistryClient
) -> None:
    registry.replies[API] = index((ONE, SBOM), Link=f'<{API}?page=2>; rel="next"')
    with pytest.raises(TransferError, match="in a circle"):
        referrers(client, "team/app", SUBJECT)
    registry.replies[TAG] = index((THREE, SBOM))
    registry.replies[API] = lambda asked: (
        Reply(b"<html>") if "page=2" in asked.target else index((ONE, SBOM), Link=f'<{API}?page=2>; rel="next"')
    )
    with pytest.raises(UnsupportedError):
        referrers(client, "team/app", SUBJECT)
    assert all(not target.startswith(TAG) for target in registry.targets())


WITHOUT_API = {
    "404": Reply(b"404 page not found\n", 404),
    "404 of its own": failing(404, "NOT_FOUND"),
    "400": failing(400, "UNSUPPORTED"),
    "405": failing(405, "UNSUPPORTED"),
    "406": Reply(b"", 406),
    "a page for people": Reply(b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
    "any JSON": Reply(b'{"status":"ok"}', headers={"Content-Type": "application/json"}),
    "an empty reply": Reply(b""),
}


@pytest.mark.parametrize("reply", WITHOUT_API.values(), ids=WITHOUT_API)
def test_without_the_api_the_index_under_the_fallback_tag_is_read(
    registry: Registry, client: RegistryClient, reply: Reply
) -> None:
    registry.replies[API] = reply
    registry.replies[TAG] = index((ONE, SBOM), (TWO, SIGNATURE))
    assert digests(referrers(client, "team/app", SUBJECT)) == [ONE, TWO]
    assert digests(referrers(client, "team/app", SUBJECT, SBOM)) == [ONE]
    registry.replies[TAG] = failing(404, "MANIFEST_UNKNOWN")
    assert referrers(client, "team/app", SUBJECT) == ()


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_refusal_is_not_taken_for_a_registry_without_the_api(
    registry: Registry, client: RegistryClient, status: int
) -> None:
    registry.replies[API] = failing(status)
    registry.replies[TAG] = index((ONE, SBOM))
    with pytest.raises((AuthError, TransferError)):
        referrers(client, "team/app", SUBJECT)
    assert TAG not in registry.targets()


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (405, UnsupportedError), (400, TransferError)])
def test_a_page_that_is_refused_in_the_middle_is_an_error(
    registry: Registry, client: RegistryClient, status: int, kind: type[EcrdragError]
) -> None:
    registry.replies[API] = lambda asked: (
        Reply(b"", status) if "page=2" in asked.target else index((ONE, SBOM), Link=f'<{API}?page=2>; rel="next"')
    )
    with pytest.raises(kind, match="referrers of team/app@sha256"):
        referrers(client, "team/app", SUBJECT)
    assert TAG not in registry.targets()


def test_a_repository_that_is_not_there_is_an_error(registry: Registry, client: RegistryClient) -> None:
    with pytest.raises(RepositoryNotFoundError):
        referrers(client, "team/app", SUBJECT)


@pytest.mark.parametrize("body", [b"nonsense", b"{}", b'{"schemaVersion":2,"manifests":[{}]}', b'{"manifests":[]}'])
def test_an_index_that_breaks_its_format_is_an_error(registry: Registry, client: RegistryClient, body: bytes) -> None:
    registry.replies[API] = Reply(body, headers=INDEX)
    with pytest.raises(UnsupportedError, match=r"127\.0\.0\.1:[0-9]+ sent no index of referrers of team/app@sha256:"):
        referrers(client, "team/app", SUBJECT)


def test_an_index_without_end_is_refused(registry: Registry, client: RegistryClient) -> None:
    registry.replies[API] = Reply(b" " * (MAX_MANIFEST_SIZE + 1), headers=INDEX)
    with pytest.raises(UnsupportedError):
        referrers(client, "team/app", SUBJECT)


def test_pages_of_any_size_without_end_are_refused(registry: Registry, client: RegistryClient) -> None:
    padding = b" " * (MAX_MANIFEST_SIZE - 200)
    numbers = iter(range(100))
    registry.replies[API] = lambda _: Reply(
        index().body + padding, headers={**INDEX, "Link": f'<{API}?page={next(numbers)}>; rel="next"'}
    )
    with pytest.raises(UnsupportedError, match="more than"):
        referrers(client, "team/app", SUBJECT)
    assert len(registry.asked) == 17


@pytest.mark.parametrize(
    "reply",
    [
        Reply(json.dumps({"schemaVersion": 2, "config": {"digest": str(ONE), "size": 1}, "layers": []}).encode()),
        Reply(b'{"schemaVersion": 1}'),
        Reply(b"nonsense", headers=INDEX),
    ],
    ids=["an image", "an old one", "nonsense"],
)
def test_a_fallback_tag_of_something_else_says_nothing(
    registry: Registry, client: RegistryClient, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    registry.replies[API] = Reply(b"", 404)
    registry.replies[TAG] = reply
    with caplog.at_level(logging.WARNING):
        assert referrers(client, "team/app", SUBJECT) == ()
    assert [fallback_tag(SUBJECT) in record.getMessage() for record in caplog.records] == [True]


def test_an_index_under_the_fallback_tag_is_what_its_digest_says(registry: Registry, client: RegistryClient) -> None:
    registry.replies[API] = Reply(b"", 404)
    registry.replies[TAG] = index((ONE, SBOM), Docker_Content_Digest=str(TWO))
    with pytest.raises(IntegrityError):
        referrers(client, "team/app", SUBJECT)


def test_the_fallback_tag_is_the_specifications() -> None:
    short = "aaa"
    assert fallback_tag(Digest("sha256", "b" * 64)) == f"sha256-{'b' * 64}"
    assert fallback_tag(Digest("sha512", "c" * 128)) == f"sha512-{'c' * 64}"
    assert fallback_tag(Digest("x" * 40, short)) == f"{'x' * 32}-{short}"
