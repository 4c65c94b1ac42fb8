"""The lists of /v2/ from the local ECR, in its three dialects: tags, repositories and referrers by the hundred."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError, RepositoryNotFoundError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import Dialect
from ecrdrag.manifest import OCI_MANIFEST
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_lists import catalog, referrers, tags
from tests.localecr import REGION, Recorder, client, descriptor_of, manifest_of, public_client, push_image, running
from tests.registry import password_of, visiting
from tests.scripted_registry import Keys

CONFIG, LAYER = b'{"architecture":"amd64","os":"linux"}', b"a layer"
RAW = manifest_of(CONFIG, [LAYER])
SUBJECT = Digest.of(RAW.encode())
TAGS = [f"v{number}" for number in range(1200)]
REPOSITORIES = sorted(["app", *(f"team/app-{number}" for number in range(1010))])
SBOM, SIGNATURE = "application/sbom", "application/signature"


@contextmanager
def asking(ecr: LocalEcr, *, login: bool = True) -> Iterator[RegistryClient]:
    keys = Keys(Login("AWS", password_of(ecr))) if login else None
    with RegistryClient(ecr.endpoint, keyring=keys) as asker:
        yield asker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with 1,200 tags in one repository, over a thousand repositories, and referrers of two types."""
    folder = tmp_path_factory.mktemp("store")
    with running(folder) as ecr, client(ecr) as api, visiting(ecr) as visitor:
        for name in REPOSITORIES:
            api.create_repository(repositoryName=name)
        for blob in (CONFIG, LAYER):
            visitor.push_blob(blob, "app")
        for tag in TAGS:
            visitor.push(RAW, "app", tag)
        subject = descriptor_of(OCI_MANIFEST, RAW.encode())
        for number, kind in enumerate([SBOM, SIGNATURE, SIGNATURE]):
            more = {"is": str(number)}
            visitor.push(manifest_of(CONFIG, [LAYER], subject=subject, artifactType=kind, annotations=more), "app")
    return folder


@pytest.fixture(params=[Dialect.ECR, Dialect.OCI])
def served(folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[LocalEcr, Recorder]]:
    recorder = Recorder()
    settings = Settings(region=REGION, dialect=request.param, read_only=True)
    with running(folder, settings, recorder=recorder) as ecr:
        yield ecr, recorder


def test_all_of_1200_tags_are_listed_in_two_pages(served: tuple[LocalEcr, Recorder]) -> None:
    ecr, recorder = served
    with asking(ecr) as asker:
        found = list(tags(asker, "app"))
    assert sorted(found) == sorted(TAGS)
    assert recorder.count("GET /v2/app/tags/list") == 3  # the first one without a login


def test_all_repositories_are_listed(served: tuple[LocalEcr, Recorder]) -> None:
    ecr, recorder = served
    with asking(ecr) as asker:
        assert sorted(catalog(asker)) == REPOSITORIES
        assert list(tags(asker, "team/app-7")) == []
    assert recorder.count("GET /v2/_catalog") == 3


def test_referrers_are_listed_by_type_without_the_fallback_tag(served: tuple[LocalEcr, Recorder]) -> None:
    ecr, recorder = served
    with asking(ecr) as asker:
        everything = referrers(asker, "app", SUBJECT)
        assert {(one.artifact_type, one.annotations["is"]) for one in everything} == {
            (SBOM, "0"),
            (SIGNATURE, "1"),
            (SIGNATURE, "2"),
        }
        assert {one.annotations["is"] for one in referrers(asker, "app", SUBJECT, SIGNATURE)} == {"1", "2"}
        assert referrers(asker, "app", SUBJECT, "application/none") == ()
        assert referrers(asker, "app", Digest.of(b"nobody's subject")) == ()
    assert recorder.count("GET /v2/app/manifests") == 0


def test_a_repository_that_is_not_there_has_no_list(served: tuple[LocalEcr, Recorder]) -> None:
    ecr, _ = served
    with asking(ecr) as asker:
        with pytest.raises(RepositoryNotFoundError, match="the tags of no/where"):
            list(tags(asker, "no/where"))
        if ecr.settings.dialect is Dialect.ECR:
            with pytest.raises(RepositoryNotFoundError):
                referrers(asker, "no/where", SUBJECT)
        else:  # the specification knows no repository that isn't there
            assert referrers(asker, "no/where", SUBJECT) == ()


def test_nobody_in_particular_is_told_to_log_in(served: tuple[LocalEcr, Recorder]) -> None:
    ecr, _ = served
    with asking(ecr, login=False) as asker, pytest.raises(AuthError) as caught:
        list(catalog(asker))
    assert f"ecrdrag login {asker.host}" in caught.value.hint
    assert "Not Authorized" in str(caught.value)


def test_a_page_of_more_than_the_api_gives_is_asked_for_again_in_smaller_ones(tmp_path: Path) -> None:
    """ECR's own refusal of n=1001 has the form that other registries' limits have."""
    with running(tmp_path) as ecr, client(ecr) as api, asking(ecr) as asker:
        api.create_repository(repositoryName="app")
        push_image(api, "app", tag="1")
        with asker.ask("GET", "app/tags/list?n=1001", scope="", what="too many", good=(405,)) as refused:
            assert b"UNSUPPORTED" in asker.read(refused, 10_000)
        assert list(tags(asker, "app")) == ["1"]


@pytest.mark.parametrize("login", [False, True], ids=["anybody", "somebody"])
def test_a_public_repository_shows_its_tags_to_everybody(tmp_path: Path, login: bool) -> None:
    names = [f"v{number}" for number in range(150)]
    with running(tmp_path, Settings(region=REGION, dialect=Dialect.PUBLIC)) as ecr:
        with public_client(ecr) as api:
            uri = api.create_repository(repositoryName="app")["repository"]["repositoryUri"]
            raw = push_image(api, "app", tag="v0").raw
            for name in names[1:]:
                api.put_image(repositoryName="app", imageManifest=raw, imageTag=name)
            token = api.get_authorization_token()["authorizationData"]["authorizationToken"]
        password = base64.b64decode(token).decode().partition(":")[2]
        repository = uri.removeprefix("public.ecr.aws/")
        keys = Keys(Login("AWS", password)) if login else None
        with RegistryClient(ecr.endpoint, keyring=keys) as asker:
            assert sorted(tags(asker, repository)) == sorted(names)
            assert referrers(asker, repository, SUBJECT) == ()
