"""What is about images in Debian's docker-registry, which has no lists of it: put by us, found by oras, regctl, us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from ecrdrag.delivery import Delivery, blobs_of
from ecrdrag.manifest import Document, parse
from ecrdrag.reference import ImageReference, fallback_tag
from ecrdrag.referrers import referrers_of
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.distribution_lists import referrers, tags
from ecrdrag.registry.http import Trust
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.transfer.progress import Silence
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import Referrer, Tree
from tests.fake_ends import MemorySource
from tests.kinds import SIGNATURE, Parcel, all_about, artifact, buildx_index, in_toto, sbom, signature
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.registry_servers import RegistryServer, docker_registry
from tests.real.tools import want

pytestmark = pytest.mark.real

BOTH = buildx_index()
IMAGE = BOTH.of("arm64")
EVERYTHING = (*all_about(BOTH), *all_about(IMAGE))
RETRY = RetryPolicy(tries=3, base=0.01)


@pytest.fixture(scope="module", params=[False, True], ids=["open", "htpasswd over TLS"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    guarded: bool = request.param
    with docker_registry(tmp_path_factory.mktemp("registry"), htpasswd=guarded, tls=guarded) as server:
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with docker_registry(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    (tmp_path / "cell").mkdir()
    with Cell(tmp_path / "cell", walls=False) as cell:
        yield cell


def documents_of(parcel: Parcel) -> tuple[Document, ...]:
    return tuple(parse(blob.content, blob.media_type) for blob in parcel.documents)


def memory_of(*parcels: Parcel) -> MemorySource:
    source = MemorySource()
    for parcel in parcels:
        for document in parcel.documents:
            source.put_document(document, parcel.tag if document is parcel.root else "")
        source.blobs.update({digest: blob.content for digest, blob in parcel.blobs.items()})
    return source


@contextmanager
def client_of(server: RegistryServer) -> Iterator[RegistryClient]:
    with RegistryClient(server.host, keyring=server, trust=Trust(more=server.ca_file)) as client:
        yield client


def pushed(server: RegistryServer, repository: str, *about: Parcel) -> tuple[Referrer, ...]:
    """Push an index with what is about it, as a push does it, and give the referrers."""
    reference = ImageReference.parse(f"{server.host}/{repository}:1")
    source, tree = memory_of(BOTH, *about), Tree(documents_of(BOTH))
    found = referrers_of(tree.documents, source, "memory", (), RETRY)
    with client_of(server) as client:
        delivery = Delivery(reference.name, DistributionDestination(client, reference), RETRY)
        delivery.upload(blobs_of(tree, found), source, lambda _: nullcontext(Silence()), 3)
        delivery.put(tree, ["1"], found)
    return found


def found_in(server: RegistryServer, repository: str) -> tuple[Referrer, ...]:
    reference = ImageReference.parse(f"{server.host}/{repository}:1")
    with client_of(server) as client, BlobTransport(connections=2, trust=Trust(more=server.ca_file)) as transport:
        source = DistributionSource(client, transport, reference)
        return referrers_of(documents_of(BOTH), source, reference.name, (), RETRY)


def test_what_is_about_an_image_survives_with_every_digest(server: RegistryServer) -> None:
    there = pushed(server, "whole", *EVERYTHING)
    assert {one.tree.root.digest for one in there} == {each.digest for each in EVERYTHING}
    assert found_in(server, "whole") == there


def test_the_index_lists_each_once_however_often_it_is_pushed(server: RegistryServer) -> None:
    for about in (EVERYTHING[:3], EVERYTHING, EVERYTHING):
        pushed(server, "again", *about)
    with client_of(server) as client:
        listed = referrers(client, "again", BOTH.digest)
        assert [one.digest for one in listed].count(sbom(BOTH).digest) == 1
        assert {one.digest for one in listed} == {each(BOTH).digest for each in (signature, in_toto, sbom)}
        expected = {"1", *(each.tag for each in EVERYTHING if each.tag)}
        subjects = [BOTH, IMAGE, sbom(BOTH), sbom(IMAGE)]
        assert set(tags(client, "again")) == expected | {fallback_tag(each.digest) for each in subjects}


def test_what_was_deleted_there_goes_out_of_the_index(plain: RegistryServer) -> None:
    gone = sbom(BOTH)
    pushed(plain, "gone", gone)
    with client_of(plain) as client:
        target = f"gone/manifests/{gone.digest}"
        with client.ask("DELETE", target, scope="", what="a referrer", good=(202,)):
            pass
        pushed(plain, "gone", in_toto(BOTH))
        assert [one.digest for one in referrers(client, "gone", BOTH.digest)] == [in_toto(BOTH).digest]


def test_oras_discovers_it(plain: RegistryServer, cell: Cell) -> None:
    oras = Tool(cell, (want("oras"),))
    pushed(plain, "oras", *EVERYTHING)
    told = json.loads(oras("discover", "--plain-http", "--format", "json", f"{plain.host}/oras@{BOTH.digest}"))
    by_digest = {one["digest"]: one for one in told["referrers"]}
    assert set(by_digest) == {str(each(BOTH).digest) for each in (signature, in_toto, sbom)}
    assert by_digest[str(signature(BOTH).digest)]["artifactType"] == SIGNATURE
    assert by_digest[str(sbom(BOTH).digest)]["annotations"] == {
        "org.opencontainers.image.created": "2024-05-06T07:08:09Z"
    }
    (about_sbom,) = by_digest[str(sbom(BOTH).digest)]["referrers"]
    assert about_sbom["digest"] == str(signature(sbom(BOTH)).digest)


def test_regctl_draws_the_tree_of_it(plain: RegistryServer, cell: Cell) -> None:
    regctl = Tool(cell, (want("regctl"),))
    pushed(plain, "regctl", *EVERYTHING)
    regctl("registry", "set", plain.host, "--skip-check", "--tls", "disabled")
    drawn = regctl("artifact", "tree", "--digest-tags", f"{plain.host}/regctl:1")
    for each in EVERYTHING:
        assert str(each.digest) in drawn


@pytest.mark.parametrize("tool", ["oras", "regctl"])
def test_what_another_client_notes_stays_beside_ours(
    plain: RegistryServer, cell: Cell, tool: str, tmp_path: Path
) -> None:
    run, name = Tool(cell, (want(tool),)), f"{plain.host}/beside-{tool}"
    pushed(plain, f"beside-{tool}", sbom(BOTH))
    (tmp_path / "note.txt").write_text("a note\n")
    if tool == "oras":
        file = f"{tmp_path}/note.txt:text/plain"
        run(
            "attach",
            "--plain-http",
            f"{name}:1",
            "--artifact-type",
            "application/note",
            "--disable-path-validation",
            file,
        )
    else:
        run("registry", "set", plain.host, "--skip-check", "--tls", "disabled")
        put = ("artifact", "put", "--subject", f"{name}:1", "--artifact-type", "application/note")
        run(*put, "--file", f"{tmp_path}/note.txt", "--file-media-type", "text/plain")
    pushed(plain, f"beside-{tool}", in_toto(BOTH))
    with client_of(plain) as client:
        kinds = [one.artifact_type for one in referrers(client, f"beside-{tool}", BOTH.digest)]
    assert len(kinds) == 3
    assert kinds[1] == "application/note"
    assert {one.tree.root.digest for one in found_in(plain, f"beside-{tool}")} > {
        sbom(BOTH).digest,
        in_toto(BOTH).digest,
    }


def test_a_bare_artifact_is_measured_and_an_empty_one_listed(plain: RegistryServer) -> None:
    about = artifact([], artifact_type="application/nothing", subject=BOTH)
    pushed(plain, "bare", about)
    reference = ImageReference.parse(f"{plain.host}/bare:1")
    with client_of(plain) as client, BlobTransport(connections=1) as transport:
        source = DistributionSource(client, transport, reference)
        assert [one.digest for one in source.referrers(BOTH.digest)] == [about.digest]
        for blob in (*BOTH.blobs.values(), *about.blobs.values()):
            assert source.measure(blob.digest) == len(blob.content)
