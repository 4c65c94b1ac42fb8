"""The lists of /v2/: tags, repositories and referrers, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag import manifest
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import Dialect
from tests.localecr import REGION, digest_of, manifest_of, push_image, running
from tests.registry import Client, Reply, visiting

CONFIG = b'{"architecture":"amd64","os":"linux"}'
LAYER = b"a layer"


@pytest.fixture
def v2(ecr: LocalEcr, api: ECRClient) -> Iterator[Client]:
    with visiting(ecr) as visitor:
        yield visitor


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Client]:
    """A visitor who is spoken to as the specification has it."""
    with running(tmp_path / "oci", Settings(region=REGION, dialect=Dialect.OCI)) as ecr, visiting(ecr) as visitor:
        visitor.push_blob(CONFIG, "app")
        visitor.push_blob(LAYER, "app")
        yield visitor


def next_page(v2: Client, reply: Reply) -> Reply:
    """Go where Link leads, which is absolute."""
    match = re.fullmatch(r'<http://[^/]+(?P<target>/.+)>; rel="next"', reply.headers["Link"])
    assert match, reply.headers["Link"]
    return v2.get(match["target"])


def pages(v2: Client, target: str, member: str) -> list[list[str]]:
    """Read all pages of a list."""
    reply = v2.get(target)
    found = [reply.document[member]]
    while "Link" in reply.headers:
        reply = next_page(v2, reply)
        found.append(reply.document[member])
    return found  # type: ignore[return-value]


def test_tags_come_as_plain_text_in_pages_of_a_hundred(v2: Client, api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="0")
    for number in range(1, 130):
        api.put_image(repositoryName="app", imageManifest=pushed.raw, imageTag=str(number))
    first = v2.get("/v2/app/tags/list")
    assert first.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert first.document["name"] == "app"
    assert re.search(r"/v2/app/tags/list\?last=[^&>]+>", first.headers["Link"])
    found = pages(v2, "/v2/app/tags/list", "tags")
    assert [len(page) for page in found] == [100, 30]
    assert sorted(tag for page in found for tag in page) == sorted(map(str, range(130)))


def test_tags_come_as_many_at_a_time_as_asked_for_up_to_a_thousand(v2: Client, api: ECRClient) -> None:
    for tag in ("a", "b", "c"):
        push_image(api, "app", tag=tag, layers=[tag.encode()])
    push_image(api, "app", layers=[b"without a tag"])
    found = pages(v2, "/v2/app/tags/list?n=2", "tags")
    assert ([len(page) for page in found], sorted(tag for page in found for tag in page)) == ([2, 1], ["a", "b", "c"])
    reply = v2.get("/v2/app/tags/list?n=1001")
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert reply.message == (
        "Invalid parameter at 'maxResults' failed to satisfy constraint: "
        "'Member must have value less than or equal to 1000'"
    )
    assert v2.get("/v2/app/tags/list?n=many").status == 400
    assert v2.get("/v2/app/tags/list?last=a").code == "UNSUPPORTED"


def test_the_tags_of_a_repository_that_is_not_there(v2: Client) -> None:
    assert v2.get("/v2/app/tags/list").document == {"name": "app", "tags": []}
    reply = v2.get("/v2/nowhere/tags/list")
    assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")


def test_the_catalog_has_the_registrys_repositories_in_pages(v2: Client, api: ECRClient) -> None:
    for name in ("b/c", "a", "aa", "z"):
        if len(name) > 1:
            api.create_repository(repositoryName=name)
    assert pages(v2, "/v2/_catalog?n=2", "repositories") == [["aa", "app"], ["b/c"]]
    assert v2.get("/v2/_catalog").document == {"repositories": ["aa", "app", "b/c"]}
    assert v2.get("/v2/_catalog?n=1001").code == "UNSUPPORTED"


@pytest.mark.parametrize("dialect", ["v2", "plain"])
def test_referrers_are_an_index_with_types_and_annotations(dialect: str, request: pytest.FixtureRequest) -> None:
    visitor: Client = request.getfixturevalue(dialect)
    visitor.push_blob(CONFIG, "app")
    visitor.push_blob(LAYER, "app")
    subject = {"mediaType": manifest.OCI_MANIFEST, "digest": digest_of(b"the subject"), "size": 11}
    raws = [
        manifest_of(CONFIG, [LAYER], subject=subject, artifactType=f"application/{kind}", annotations={"is": kind})
        for kind in ("signature", "bill", "bill2")
    ]
    for raw in raws:
        assert visitor.push(raw, "app").status == 201
    path = f"/v2/app/referrers/{subject['digest']}"
    reply = visitor.get(path)
    assert (reply.status, reply.headers["Content-Type"]) == (200, manifest.OCI_INDEX)
    assert "OCI-Filters-Applied" not in reply.headers
    assert (reply.document["schemaVersion"], reply.document["mediaType"]) == (2, manifest.OCI_INDEX)
    found = {one["digest"]: one for one in reply.document["manifests"]}  # type: ignore[attr-defined]
    assert found.keys() == {digest_of(raw.encode()) for raw in raws}
    assert found[digest_of(raws[1].encode())] == {
        "mediaType": manifest.OCI_MANIFEST,
        "digest": digest_of(raws[1].encode()),
        "size": len(raws[1].encode()),
        "artifactType": "application/bill",
        "annotations": {"is": "bill"},
    }
    filtered = visitor.get(f"{path}?artifactType=application/bill")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert len(filtered.document["manifests"]) == 1  # type: ignore[arg-type]
    assert visitor.get(f"/v2/app/referrers/{digest_of(b'nothing')}").document["manifests"] == []


def test_more_referrers_than_a_page_of_the_api_has_come_in_one_index(plain: Client) -> None:
    subject = {"mediaType": manifest.OCI_MANIFEST, "digest": digest_of(b"the subject"), "size": 11}
    for number in range(70):
        plain.push(manifest_of(CONFIG, [LAYER], subject=subject, annotations={"is": str(number)}), "app")
    reply = plain.get(f"/v2/app/referrers/{subject['digest']}")
    assert len(reply.document["manifests"]) == 70  # type: ignore[arg-type]
    assert "Link" not in reply.headers


def test_the_specification_has_lists_sorted_by_name(plain: Client) -> None:
    raw = manifest_of(CONFIG, [LAYER])
    for tag in ("b", "a", "B", "10", "9"):
        plain.push(raw, "app", tag)
    reply = plain.get("/v2/app/tags/list")
    assert reply.document == {"name": "app", "tags": ["10", "9", "B", "a", "b"]}
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert pages(plain, "/v2/app/tags/list?n=2", "tags") == [["10", "9"], ["B", "a"], ["b"]]
    assert plain.get("/v2/app/tags/list?n=2&last=9").document["tags"] == ["B", "a"]
    assert plain.get("/v2/app/tags/list?last=C").document["tags"] == ["a", "b"]
    assert plain.get("/v2/app/tags/list?n=0").document["tags"] == []
    assert "Link" not in plain.get("/v2/app/tags/list?n=5").headers
    assert plain.get("/v2/app/tags/list?n=5000").status == 200
    assert plain.get("/v2/app/tags/list?n=-1").status == 400
    plain.push_blob(LAYER, "aa/x")
    assert pages(plain, "/v2/_catalog?n=1", "repositories") == [["aa/x"], ["app"]]
