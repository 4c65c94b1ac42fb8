"""The lists of /v2/ from Debian's docker-registry, which has no referrers API and lists all tags at once."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError, RepositoryNotFoundError
from ecrdrag.manifest import OCI_INDEX, OCI_MANIFEST
from ecrdrag.reference import fallback_tag
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_lists import catalog, referrers, tags
from ecrdrag.registry.http import Trust
from tests.localecr import descriptor_of, digest_of, manifest_of
from tests.real.registry_servers import RegistryServer, docker_registry
from tests.scripted_registry import Keys

pytestmark = pytest.mark.real

CONFIG, LAYER = b'{"architecture":"amd64","os":"linux"}', b"a layer"
RAW = manifest_of(CONFIG, [LAYER])
SUBJECT = Digest.of(RAW.encode())
SBOM, SIGNATURE = "application/sbom", "application/signature"
_WRITTEN = (201, 202)


@pytest.fixture(scope="module", params=[False, True], ids=["open", "htpasswd over TLS"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    guarded: bool = request.param
    with docker_registry(tmp_path_factory.mktemp("registry"), htpasswd=guarded, tls=guarded) as server:
        yield server


@pytest.fixture
def client(server: RegistryServer) -> Iterator[RegistryClient]:
    with RegistryClient(server.host, keyring=server, trust=Trust(more=server.ca_file)) as client:
        yield client


def write(client: RegistryClient, method: str, target: str, body: bytes = b"", kind: str = "") -> str:
    """Send something and give where it leads."""
    headers = {"Content-Type": kind or "application/octet-stream"}
    with client.ask(method, target, scope="", what=target, headers=headers, body=body, good=_WRITTEN) as reply:
        return client.place(reply)


def push_blob(client: RegistryClient, repository: str, data: bytes) -> None:
    place = write(client, "POST", f"{repository}/blobs/uploads/")
    write(client, "PUT", f"{place}&digest={digest_of(data)}", data)


def push(client: RegistryClient, repository: str, raw: str, name: str, kind: str = OCI_MANIFEST) -> None:
    write(client, "PUT", f"{repository}/manifests/{name}", raw.encode(), kind)


def push_image(client: RegistryClient, repository: str, *names: str) -> None:
    for blob in (CONFIG, LAYER):
        push_blob(client, repository, blob)
    for name in names:
        push(client, repository, RAW, name)


def test_more_tags_than_were_asked_for_come_at_once(client: RegistryClient) -> None:
    names = [f"v{number}" for number in range(150)]
    push_image(client, "many/tags", *names)
    assert sorted(tags(client, "many/tags")) == sorted(names)


def test_a_catalog_of_more_than_a_page_is_read_to_its_end_by_relative_links(tmp_path: Path) -> None:
    names = [f"team/app-{number}" for number in range(2005)]
    for name in names:  # what is in a folder of its own is a repository to it
        (tmp_path / "storage/docker/registry/v2/repositories" / name / "_layers").mkdir(parents=True)
    with docker_registry(tmp_path) as server, RegistryClient(server.host) as client:
        with client.ask("GET", "_catalog?n=1000", scope="", what="a page") as first:
            assert first.headers["Link"].startswith("</v2/_catalog?")
        assert sorted(catalog(client)) == sorted(names)


def test_a_repository_that_is_not_there_is_said(client: RegistryClient) -> None:
    with pytest.raises(RepositoryNotFoundError, match="NAME_UNKNOWN"):
        list(tags(client, "no/where"))


def test_referrers_are_read_from_the_index_under_the_fallback_tag(client: RegistryClient) -> None:
    push_image(client, "referred", "1")
    assert referrers(client, "referred", SUBJECT) == ()
    entries = []
    for kind in (SBOM, SIGNATURE):
        raw = manifest_of(CONFIG, [LAYER], subject=descriptor_of(OCI_MANIFEST, RAW.encode()), artifactType=kind)
        push(client, "referred", raw, digest_of(raw.encode()))
        entries.append({**descriptor_of(OCI_MANIFEST, raw.encode()), "artifactType": kind, "annotations": {"is": kind}})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    push(client, "referred", index, fallback_tag(SUBJECT), OCI_INDEX)
    assert [one.artifact_type for one in referrers(client, "referred", SUBJECT)] == [SBOM, SIGNATURE]
    (signature,) = referrers(client, "referred", SUBJECT, SIGNATURE)
    assert (str(signature.digest), signature.annotations) == (entries[1]["digest"], {"is": SIGNATURE})


def test_an_image_under_the_fallback_tag_refers_to_nothing(client: RegistryClient) -> None:
    push_image(client, "misled", fallback_tag(SUBJECT))
    assert referrers(client, "misled", SUBJECT) == ()


def test_without_a_login_the_registry_says_so(tmp_path: Path) -> None:
    with (
        docker_registry(tmp_path, htpasswd=True) as server,
        RegistryClient(server.host) as nobody,
        pytest.raises(AuthError) as caught,
    ):
        list(catalog(nobody))
    assert "UNAUTHORIZED: authentication required" in str(caught.value)
    assert f"ecrdrag login {server.host}" in caught.value.hint


def test_a_wrong_password_is_refused_without_a_word_of_it(tmp_path: Path) -> None:
    with docker_registry(tmp_path, htpasswd=True) as server:
        wrong = Keys(Login("me", "wr0ng-password"))
        with RegistryClient(server.host, keyring=wrong) as client, pytest.raises(AuthError) as caught:
            list(catalog(client))
    assert "check the user name and the password" in caught.value.hint
    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))
