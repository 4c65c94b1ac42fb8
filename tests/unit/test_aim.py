"""Where the images of an archive go by themselves: to the registries in their names, to Docker Hub never."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ecrdrag.aim import aims_of, archived_referrers
from ecrdrag.archive.contents import ArchivedReferrer
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.archive.tar import TarMembers
from ecrdrag.content import Digest
from ecrdrag.errors import UsageError
from ecrdrag.manifest import parse
from ecrdrag.reference import ImageReference
from ecrdrag.tree import Tree
from tests import kinds
from tests.images import hello_image
from tests.saved import Files, docker_save_old, oci_layout, tar_with

HELLO = hello_image()
ARM = hello_image("arm64")
HEX = "c0ffee00" * 8
ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
LOCAL = "123456789012.dkr.ecr.us-west-2.localhost:5080"
NOWHERE = "ARCHIVE REGISTRY/NAME:TAG; by itself nothing goes to Docker Hub or to localhost"


@contextmanager
def reading(files: Files) -> Iterator[ArchiveReader]:
    with tempfile.TemporaryFile() as file:
        file.write(tar_with(files))
        file.flush()
        with ArchiveReader(TarMembers(os.dup(file.fileno()), "app.tar")) as reader:
            yield reader


def aimed(files: Files, reference: ImageReference | None = None) -> list[list[str]]:
    with reading(files) as archive:
        return [[str(one) for one in aim.references] for aim in aims_of(archive, reference, None)]


@pytest.mark.parametrize(
    ("name", "goes_to"),
    [
        (f"{ECR}/app:1", f"{ECR}/app:1"),
        ("public.ecr.aws/me/app:1", "public.ecr.aws/me/app:1"),
        ("ecr-public.aws.com/me/app", "ecr-public.aws.com/me/app:latest"),
        ("quay.io/me/app:1", "quay.io/me/app:1"),
        ("registry:5000/app", "registry:5000/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        (f"{LOCAL}/app:1", f"{LOCAL}/app:1"),
    ],
)
def test_an_image_goes_to_the_registry_in_its_name(name: str, goes_to: str) -> None:
    assert aimed(oci_layout({name: HELLO})) == [[goes_to]]


HUB = ["app", "app:1", "me/app:1", "docker.io/library/app:1", "index.docker.io/me/app:1", "registry-1.docker.io/a/b:1"]


@pytest.mark.parametrize("name", [*HUB, "localhost/app:1", "1.2", "latest", "Registry/app:1", "my app:1", HEX])
def test_an_image_goes_nowhere_by_itself_where_its_names_say_no_registry(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        aimed(oci_layout({name: HELLO}))
    said = f"app.tar: image {HELLO.manifest.digest} is called {name}, which says no registry to push to"
    assert (str(caught.value), caught.value.hint) == (said, f"say where it goes: {NOWHERE}")


@pytest.mark.parametrize("place", ["docker.io/me/app:2", "app:2", "localhost/app:2", "quay.io/me/app:2"])
def test_an_image_goes_wherever_it_is_told_to(place: str) -> None:
    reference = ImageReference.parse(place)
    assert aimed(oci_layout({"app:1": HELLO}), reference) == [[str(reference)]]


def test_names_that_say_no_registry_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    names = ("app:1", "quay.io/me/app:1", "docker.io/me/app:1", "localhost:5000/app:1", "localhost/app:1")
    assert aimed(docker_save_old(names)) == [["quay.io/me/app:1", "localhost:5000/app:1"]]
    left = "app:1, docker.io/me/app:1, localhost/app:1"
    assert caplog.messages == [f"app.tar: not pushed, as nothing says a registry to push to: {left}"]


def test_nothing_is_said_where_every_name_says_a_registry(caplog: pytest.LogCaptureFixture) -> None:
    assert aimed(docker_save_old(("quay.io/me/app:1", "https://quay.io/me/app:1"))) == [["quay.io/me/app:1"]]
    assert caplog.messages == []


def test_one_image_without_a_registry_stops_all() -> None:
    with pytest.raises(UsageError, match=r"is called app:2, which says no registry"):
        aimed(oci_layout({"quay.io/me/app:1": HELLO, "app:2": ARM}))


def test_what_was_pulled_by_its_digest_goes_up_by_its_digest() -> None:
    name = f"quay.io/me/app:{HEX}"
    assert aimed(oci_layout({name: HELLO})) == [[f"quay.io/me/app@{HELLO.manifest.digest}"]]
    assert aimed(docker_save_old([name])) == [[name]]


def test_two_images_of_one_name_are_refused_however_it_is_written() -> None:
    with pytest.raises(UsageError, match=r"two images are called quay\.io/me/app:1: choose"):
        aimed(oci_layout({"quay.io/me/app:1": HELLO, "https://QUAY.io/me/app:1": ARM}))


def tree_in(parcel: kinds.Parcel) -> Tree:
    return Tree(tuple(parse(document.content, document.media_type) for document in parcel.documents))


def taken_from(image: kinds.Parcel, *pairs: tuple[kinds.Parcel, Digest]) -> tuple[list[Digest], list[Digest]]:
    """Give what is taken of an archive that has these, each with its subject, and what is read."""
    there = [ArchivedReferrer(one.digest, about, one.tag or None) for one, about in pairs]
    known, asked = {one.digest: one for one, _ in pairs}, []

    def read(one: ArchivedReferrer) -> Tree:
        asked.append(one.digest)
        return tree_in(known[one.digest])

    found = archived_referrers(tree_in(image), there, read)
    assert {(one.tree.root.digest, one.subject, one.tag) for one in found} <= {
        (one.digest, one.subject, one.tag) for one in there
    }
    return [one.tree.root.digest for one in found], asked


def test_what_is_about_an_image_or_a_part_of_it_is_taken_and_what_is_about_that() -> None:
    image = kinds.buildx_index()
    child = kinds.Parcel((image.documents[0],))
    sbom, by_tag = kinds.sbom(child), kinds.cosign_signature(image)
    signed = kinds.signature(sbom)
    again, other = kinds.signature(signed), kinds.sbom(kinds.parcel_of(HELLO))
    pairs = [
        (again, signed.digest),
        (signed, sbom.digest),
        (other, HELLO.manifest.digest),
        (sbom, child.digest),
        (by_tag, image.digest),
    ]
    taken = [one.digest for one in (sbom, by_tag, signed, again)]
    assert taken_from(image, *pairs) == (taken, taken)


def test_what_is_about_a_part_of_something_about_an_image_is_taken() -> None:
    image, inner = kinds.parcel_of(HELLO), kinds.sbom(kinds.parcel_of(HELLO))
    bundle = kinds.index([inner], subject=image.root.json)
    signed = kinds.signature(inner)
    assert taken_from(image, (signed, inner.digest), (bundle, image.digest))[0] == [bundle.digest, signed.digest]


def test_tags_that_lead_in_a_circle_lead_nowhere() -> None:
    one, two = kinds.sbom(kinds.parcel_of(HELLO)), kinds.sbom(kinds.parcel_of(ARM))
    assert taken_from(kinds.helm_chart(), (one, two.digest), (two, one.digest)) == ([], [])


def test_what_is_about_an_image_twice_comes_twice_and_what_is_about_that_once() -> None:
    image = kinds.parcel_of(HELLO)
    sbom = kinds.sbom(image)
    signed = kinds.signature(sbom)
    pairs = [(sbom, image.digest), (sbom, image.digest), (signed, sbom.digest)]
    assert taken_from(image, *pairs)[0] == [sbom.digest, sbom.digest, signed.digest]
