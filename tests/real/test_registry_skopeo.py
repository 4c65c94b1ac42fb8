"""skopeo copies to a local ECR and from it through /v2/, looks, lists and deletes, and changes no byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images import index_of
from tests.real.conftest import Tool
from tests.real.local import Local
from tests.real.shelf import ACCOUNT, KINDS, NAME, busybox_image, digest_of, repeating_image, small_image

pytestmark = pytest.mark.real

PLAIN, FROM, TO = "--tls-verify=false", "--src-tls-verify=false", "--dest-tls-verify=false"
BOTH = index_of((small_image(), small_image(foreign=True)))


@pytest.fixture(scope="module")
def login(skopeo: Tool, local: Local, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log in, and give the file that says so."""
    file = tmp_path_factory.mktemp("skopeo-login") / "auth.json"
    command = ("login", PLAIN, "--authfile", file, "--username", "AWS", "--password-stdin", local.host)
    assert skopeo(*command, stdin=local.login) == "Login Succeeded!\n"
    return file


@pytest.fixture
def copy(skopeo: Tool, login: Path) -> Callable[..., str]:
    return lambda *arguments: skopeo("copy", "--quiet", "--authfile", login, *arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_comes_and_goes_with_its_digest(
    copy: Callable[..., str], local: Local, tmp_path: Path, kind: str
) -> None:
    image = busybox_image(kind)
    source = local.stock(f"skopeo-{kind}", image, "1.2")
    copy(FROM, f"docker://{source}:1.2", f"dir:{tmp_path}/copy")
    copied = {digest_of(file.read_bytes()) for file in (tmp_path / "copy").iterdir()}
    assert {str(each.digest) for each in (image.manifest, image.config, *image.layers)} <= copied

    copy(TO, f"dir:{tmp_path}/copy", f"docker://{local.create(f'skopeo-{kind}-back')}:1")
    assert local.tags(f"skopeo-{kind}-back") == {"1": str(image.manifest.digest)}
    assert local.shelf.pull(f"{NAME}/skopeo-{kind}-back:1")[1] == str(image.manifest.digest)


def test_an_image_that_skopeo_makes_is_stored_as_it_made_it(
    copy: Callable[..., str], skopeo: Tool, login: Path, local: Local, tmp_path: Path
) -> None:
    source = local.stock("skopeo-repeating", repeating_image(), "1")
    copy(FROM, "--format", "v2s2", f"docker://{source}:1", f"dir:{tmp_path}/schema2")
    name = local.create("skopeo-made")
    copy(TO, f"dir:{tmp_path}/schema2", f"docker://{name}:1")
    raw = (tmp_path / "schema2" / "manifest.json").read_bytes()
    assert local.tags("skopeo-made") == {"1": digest_of(raw)}
    assert skopeo("inspect", "--raw", PLAIN, "--authfile", login, f"docker://{name}:1").encode() == raw


def test_an_index_is_copied_whole_from_one_repository_to_another(copy: Callable[..., str], local: Local) -> None:
    source, there = local.stock("skopeo-index", BOTH, "1"), local.create("skopeo-index-copy")
    copy("--multi-arch", "all", "--preserve-digests", FROM, TO, f"docker://{source}:1", f"docker://{there}:1")
    assert local.tags("skopeo-index-copy") == {"1": str(BOTH.manifest.digest)}
    listed = local.ecr.list_images(repositoryName="my/app/skopeo-index-copy")["imageIds"]
    digests = {str(BOTH.manifest.digest), *(str(image.manifest.digest) for image in BOTH.images)}
    assert {each["imageDigest"] for each in listed} == digests


def test_inspect_needs_the_password_and_tells_the_digest(skopeo: Tool, local: Local) -> None:
    image = small_image()
    name = local.stock("skopeo-inspect", image, "1")
    seen = json.loads(
        skopeo("inspect", PLAIN, "--creds", f"AWS:{local.login.read_text().strip()}", f"docker://{name}:1")
    )
    assert (seen["Digest"], seen["RepoTags"]) == (str(image.manifest.digest), ["1"])
    assert seen["Layers"] == [str(layer.digest) for layer in image.layers]
    said = skopeo.refusal("inspect", PLAIN, "--creds", "AWS:wrong", f"docker://{name}:1")
    assert "denied: Your Authorization Token is invalid." in said


def test_tags_are_listed_and_images_deleted(skopeo: Tool, login: Path, local: Local) -> None:
    name = local.stock("skopeo-tags", small_image(), "1")
    for tag, source in ("2", "skopeo-tags:1"), ("3", "skopeo-other:1"):
        if tag == "3":
            local.stock("skopeo-other", repeating_image(), "1")
        skopeo("copy", "--authfile", login, FROM, TO, f"docker://{local.name(source)}", f"docker://{name}:{tag}")

    def listed() -> list[str]:
        tags = json.loads(skopeo("list-tags", PLAIN, "--authfile", login, f"docker://{name}"))["Tags"]
        assert isinstance(tags, list)
        return sorted(tags)

    assert listed() == ["1", "2", "3"]
    skopeo("delete", PLAIN, "--authfile", login, f"docker://{name}:1")  # by its digest: the API's other tag goes too
    assert listed() == ["3"]
    assert set(local.tags("skopeo-tags")) == {"3"}


def test_a_copy_to_a_repository_that_is_not_there_fails_with_the_words_of_ecr(
    skopeo: Tool, login: Path, local: Local
) -> None:
    source = local.stock("skopeo-source", small_image(), "1")
    names = (f"docker://{source}:1", f"docker://{local.host}/nowhere:1")
    said = skopeo.refusal("copy", "--authfile", login, FROM, TO, *names)
    assert (
        f"name unknown: The repository with name 'nowhere' does not exist in the registry with id '{ACCOUNT}'" in said
    )
