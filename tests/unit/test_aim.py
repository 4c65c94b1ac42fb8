"""Where the images of an archive go by themselves: to the registries in their names, to Docker Hub never."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ecrdrag.aim import aims_of
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.archive.tar import TarMembers
from ecrdrag.errors import UsageError
from ecrdrag.reference import ImageReference
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
