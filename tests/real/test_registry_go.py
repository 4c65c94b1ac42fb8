"""crane, oras and regctl push to a local ECR, pull, copy, list and delete, and change no byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images import index_of
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.local import Local, open_local
from tests.real.shelf import ACCOUNT, NAME, busybox_image, digest_of, repeating_image, small_image
from tests.real.tools import want

pytestmark = pytest.mark.real

IMAGE = small_image()
DIGEST = str(IMAGE.manifest.digest)
BOTH = index_of((IMAGE, small_image(foreign=True)))
NOTE = "application/vnd.example.note"
MISSING = f"The repository with name 'nowhere' does not exist in the registry with id '{ACCOUNT}'"


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """Where the tools keep what they are told."""
    with Cell(tmp_path_factory.mktemp("go"), walls=False) as cell:
        yield cell


@pytest.fixture(scope="module")
def crane(cell: Cell, local: Local) -> Tool:
    crane = Tool(cell, (want("crane"),))
    crane("auth", "login", local.host, "--username", "AWS", "--password-stdin", stdin=local.login)
    return crane


@pytest.fixture(scope="module")
def oras(cell: Cell, local: Local) -> Callable[..., str]:
    """oras, for commands about one registry, which has no TLS."""
    tool = Tool(cell, (want("oras"),))
    login = ("login", "--plain-http", "--username", "AWS", "--password-stdin", local.host)
    assert tool(*login, stdin=local.login) == "Login Succeeded\n"
    return lambda *words: tool(*words, "--plain-http")


@pytest.fixture(scope="module")
def regctl(cell: Cell, local: Local) -> Tool:
    return _regctl(cell, local)


def _regctl(cell: Cell, local: Local, *options: str) -> Tool:
    regctl = Tool(cell, (want("regctl"),))
    regctl("registry", "set", local.host, "--skip-check", "--tls", "disabled", *options)
    regctl("registry", "login", local.host, "--user", "AWS", "--pass-stdin", stdin=local.login)
    return regctl


def test_crane_pulls_and_pushes(crane: Tool, local: Local, tmp_path: Path) -> None:
    image = busybox_image("oci")
    source, there = local.stock("crane-source", image, "1"), local.create("crane")
    digest = str(image.manifest.digest)
    assert crane("digest", f"{source}:1") == f"{digest}\n"
    assert f"PASS: {source}:1" in crane("validate", "--remote", f"{source}:1")
    crane("pull", "--format", "oci", f"{source}:1", tmp_path / "layout")
    assert crane("push", tmp_path / "layout", f"{there}:1") == f"{there}@{digest}\n"
    crane("pull", f"{source}:1", tmp_path / "image.tar")
    made = crane("push", tmp_path / "image.tar", f"{there}:2").strip().partition("@")[2]
    assert local.tags("crane") == {"1": digest, "2": made}
    assert local.shelf.pull(f"{NAME}/crane:2")[1] == made


def test_crane_copies_tags_lists_and_deletes(crane: Tool, local: Local) -> None:
    source, there = local.stock("crane-index", BOTH, "1"), local.create("crane-copy")
    digest = str(BOTH.manifest.digest)
    crane("copy", f"{source}:1", f"{there}:1")
    crane("tag", f"{there}:1", "2")
    assert crane("ls", there).split() == ["1", "2"]
    assert local.tags("crane-copy") == {"1": digest, "2": digest}
    assert {"my/app/crane-index", "my/app/crane-copy"} <= set(crane("catalog", local.host).split())
    crane("delete", f"{there}@{digest}")
    assert local.tags("crane-copy") == {}


def test_crane_is_told_that_a_repository_is_not_there(crane: Tool, local: Local) -> None:
    source = local.stock("crane-nowhere", IMAGE, "1")
    assert f"NAME_UNKNOWN: {MISSING}" in crane.refusal("copy", f"{source}:1", f"{local.host}/nowhere:1")


def test_oras_pushes_and_pulls_a_file(oras: Callable[..., str], local: Local, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note\n")
    name = f"{local.create('oras')}:1"
    file = f"{tmp_path}/note.txt:text/plain"
    oras("push", name, "--artifact-type", NOTE, "--disable-path-validation", file)
    digest = oras("resolve", name).strip()
    assert local.tags("oras") == {"1": digest}
    (tmp_path / "note.txt").unlink()
    oras("pull", name, "--output", "/", "--allow-path-traversal")
    assert (tmp_path / "note.txt").read_text() == "a note\n"
    assert oras("repo", "tags", local.name("oras")) == "1\n"
    assert "my/app/oras" in oras("repo", "ls", local.host).split()
    oras("manifest", "delete", "--force", name)
    assert local.tags("oras") == {}


def test_oras_attaches_to_an_image_and_copies_both(
    oras: Callable[..., str], cell: Cell, local: Local, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("a note\n")
    source, there = local.stock("oras-subject", IMAGE, "1"), local.create("oras-copy")
    file = f"{tmp_path}/note.txt:text/plain"
    oras("attach", f"{source}:1", "--artifact-type", NOTE, "--disable-path-validation", file)
    cell.run(want("oras"), "copy", "-r", "--from-plain-http", "--to-plain-http", f"{source}:1", f"{there}:1")
    for name in source, there:
        (found,) = json.loads(oras("discover", f"{name}:1", "--format", "json"))["referrers"]
        assert found["artifactType"] == NOTE
    assert local.tags("oras-copy") == {"1": DIGEST}  # no fallback tag: the referrers are the registry's own list
    listed = local.ecr.list_image_referrers(repositoryName="my/app/oras-copy", subjectId={"imageDigest": DIGEST})
    assert [each["digest"] for each in listed["referrers"]] == [found["digest"]]


def test_regctl_copies_exports_imports_and_deletes(regctl: Tool, local: Local, tmp_path: Path) -> None:
    source, there = local.stock("regctl-source", repeating_image(), "1"), local.create("regctl")
    digest = str(repeating_image().manifest.digest)
    assert regctl("image", "digest", f"{source}:1").strip() == digest
    regctl("image", "copy", f"{source}:1", f"{there}:1")
    regctl("image", "export", f"{source}:1", tmp_path / "image.tar")
    regctl("image", "import", f"{there}:2", tmp_path / "image.tar")
    assert local.tags("regctl") == {"1": digest, "2": digest}
    assert regctl("tag", "ls", there).split() == ["1", "2"]
    assert "my/app/regctl" in regctl("repo", "ls", local.host).split()
    regctl("tag", "delete", f"{there}:2")
    assert local.tags("regctl") == {"1": digest}
    regctl("manifest", "delete", f"{there}@{digest}")
    assert local.tags("regctl") == {}


@pytest.mark.parametrize("dialect", ["oci", "ecr"])
def test_regctl_pushes_in_chunks_where_the_dialect_tells_how_far_it_came(
    cell: Cell, tmp_path: Path, dialect: str
) -> None:
    content = bytes(range(256)) * (14 << 12)
    (tmp_path / "blob").write_bytes(content)
    with open_local(tmp_path, "--data", str(tmp_path / "data"), "--dialect", dialect) as local:
        name = local.create("chunks")
        regctl = _regctl(cell, local, "--blob-chunk", str(6 << 20), "--blob-max", str(1 << 20))
        if dialect == "ecr":  # its Range stays with the first chunk: aws/containers-roadmap#2831
            assert "[http 416]" in regctl.refusal("blob", "put", name, stdin=tmp_path / "blob")
        else:
            regctl("blob", "put", name, stdin=tmp_path / "blob")
            assert regctl("blob", "head", name, digest_of(content)) != ""
