"""Signatures, attestations and SBOMs in an archive: nobody is disturbed, and they come and go with every digest."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecrdrag.manifest import OCI_INDEX, OCI_MANIFEST
from tests import kinds
from tests.images import Blob
from tests.kinds import Parcel
from tests.real.conftest import Tool
from tests.real.loaders import Pulled, contents_of, copied, ctr_said, docker_said, podman_said, pulled
from tests.real.local import Local
from tests.real.registry_servers import RegistryServer, docker_registry
from tests.real.shelf import NAME, architecture, foreign_architecture

pytestmark = pytest.mark.real

GREETING = "hello from buildx\n"
ALL = ("--platform", "all", "--referrers")


@dataclass(frozen=True)
class Signed:
    """An index, what is about it and about an image in it, and archives of all that and of the index alone."""

    about: tuple[Parcel, ...]
    archive: Pulled
    bare: Pulled

    @property
    def documents(self) -> list[Blob]:
        return [*self.archive.parcel.documents, *(each.root for each in self.about)]


@pytest.fixture(scope="module")
def signed(local: Local) -> Signed:
    index = kinds.buildx_index((foreign_architecture(), architecture()))
    native = index.of(architecture())
    about = (*kinds.all_about(index), kinds.cosign_signature(native), kinds.signature(native))
    archive = pulled(local, "kinds/signed", index, *ALL, about=about)
    path, _ = local.shelf.pull(archive.name, "--platform", "all")
    return Signed(about, archive, Pulled(path, index, archive.name))


def test_what_is_about_an_image_is_beside_what_loaders_read(signed: Signed) -> None:
    with_them, without = signed.archive.contents, signed.bare.contents
    assert {name: data for name, data in with_them.items() if name in without} == without
    more = {name: data for each in signed.about for name, data in each.contents.items()}
    assert with_them.keys() - without.keys() == more.keys() - without.keys() | {"referrers.json"}
    listed = json.loads(with_them["referrers.json"])["manifests"]
    tags = {each["digest"]: each.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for each in listed}
    assert tags == {str(each.digest): each.tag for each in signed.about}


def test_docker_podman_and_ctr_run_a_signed_image(docker: Tool, podman: Tool, ctr: Tool, signed: Signed) -> None:
    assert docker_said(docker, signed.archive) == GREETING
    assert podman_said(podman, signed.archive) == GREETING
    assert ctr_said(ctr, signed.archive, "--all-platforms") == GREETING


def test_skopeo_copies_of_a_signed_image_what_it_copies_without(skopeo: Tool, signed: Signed, tmp_path: Path) -> None:
    options = ("--all", "--preserve-digests")
    found = [
        copied(skopeo, f"oci-archive:{each.path}", tmp_path / name, *options)
        for name, each in (("with", signed.archive), ("without", signed.bare))
    ]
    assert found[0] == found[1]
    assert len(found[0]) > len(signed.archive.parcel.documents)


@pytest.mark.parametrize(("there", "back"), [("ecr", "registry"), ("registry", "ecr")])
def test_what_is_about_an_image_comes_back_from_a_local_ecr_byte_for_byte(
    local: Local, signed: Signed, there: str, back: str
) -> None:
    name = f"{NAME}/kinds/{there[0]}{back[0]}gned:1"
    assert len(name) == len(signed.archive.name)  # so that whole tars can be compared
    sent = local.shelf.push(signed.archive.path, name, "--api", there)
    assert sent[0].digest == str(signed.archive.parcel.digest)
    path, _ = local.shelf.pull(name, *ALL, "--api", back)
    assert path.read_bytes() == signed.archive.path.read_bytes().replace(signed.archive.name.encode(), name.encode())


def test_an_archive_is_the_same_through_the_api_and_through_v2(local: Local, signed: Signed) -> None:
    path, _ = local.shelf.pull(signed.archive.name, *ALL, "--api", "registry")
    assert path.read_bytes() == signed.archive.path.read_bytes()


def test_a_type_of_artifact_comes_alone(local: Local, signed: Signed) -> None:
    path, _ = local.shelf.pull(signed.archive.name, "--platform=all", f"--referrers={kinds.SPDX}")
    listed = json.loads(contents_of(path)["referrers.json"])["manifests"]
    assert {each["artifactType"] for each in listed} == {kinds.SPDX}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with docker_registry(tmp_path_factory.mktemp("registry") / "registry") as server:
        yield server


def test_docker_registry_which_knows_no_referrers_holds_them_by_fallback_tags(
    local: Local, signed: Signed, registry: RegistryServer
) -> None:
    name = f"{registry.host}/team/app:1"
    done = local.shelf.run("docker_push.py", str(signed.archive.path), name)
    assert done.returncode == 0, done.stderr
    for document in signed.documents:
        assert _ask(registry, str(document.digest)) == document.content
    for tag in {each.tag for each in signed.about if each.tag}:
        assert _ask(registry, tag) in [each.root.content for each in signed.about]
    assert _by_fallback(registry, signed.archive.parcel) == {str(each.digest) for each in signed.about[1:4]}

    path, _ = local.shelf.pull(name, *ALL)
    ours, theirs = signed.archive.contents, contents_of(path)
    named = {"index.json", "manifest.json"}
    assert {key: ours[key] for key in ours.keys() - named} == {key: theirs[key] for key in theirs.keys() - named}


def _by_fallback(registry: RegistryServer, subject: Parcel) -> set[str]:
    """List what a tag says is about a document: OCI distribution spec, "Referrers Tag Schema"."""
    index = json.loads(_ask(registry, f"sha256-{subject.digest.hex}"))
    return {each["digest"] for each in index["manifests"]}


def _ask(registry: RegistryServer, reference: str) -> bytes:
    headers: Mapping[str, str] = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}
    with closing(http.client.HTTPConnection(registry.host, timeout=10)) as connection:
        connection.request("GET", f"/v2/team/app/manifests/{reference}", headers=dict(headers))
        reply = connection.getresponse()
        body = reply.read()
        assert reply.status == 200, body
        return body
