"""Docker pushes to a local ECR and pulls from it through /v2/; docker_push.py and docker_pull.py do by the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images import index_of
from tests.real.conftest import Tool
from tests.real.local import REGISTRY, Local
from tests.real.shelf import ACCOUNT, KINDS, NAME, REGION, Archive, Shelf, busybox_image, small_image
from tests.vaults import keep_login, secrets_client_for

pytestmark = pytest.mark.real

PROMPT = ("login", "--username", "AWS", "--password-stdin")
GREETING = "hello schema2\n"


@pytest.fixture(scope="module")
def engine(docker: Tool, local: Local) -> Iterator[Tool]:
    """Docker, which has logged in."""
    assert docker(*PROMPT, local.host, stdin=local.login) == "Login Succeeded\n"
    yield docker
    docker("logout", local.host)


@pytest.fixture
def loaded(engine: Tool, shelf: Shelf) -> Iterator[Archive]:
    """An image that docker has from an archive: it knows no registry that has its layers."""
    archive = shelf.busybox("schema2", "tag")
    engine("load", stdin=archive.path)
    yield archive
    engine("image", "rm", archive.name)


def _push(docker: Tool, image: str, name: str) -> str:
    """Push an image under a name, forget that name, and give the digest that docker printed."""
    docker("tag", image, name)
    *_, last = docker("push", name).splitlines()
    docker("image", "rm", "--no-prune", name)
    tag, _, digest, *_ = last.split()
    assert name.endswith(f":{tag.removesuffix(':')}")
    return digest


def _pull(docker: Tool, name: str) -> tuple[str, str]:
    """Pull an image, run it and forget it; give the digest that docker printed, and what the image did."""
    lines = docker("pull", name).splitlines()
    assert lines[-2:] == [f"Status: Downloaded newer image for {name}", name]
    printed = docker("run", "--rm", "--network", "none", "--pull", "never", name)
    docker("image", "rm", name)
    return lines[-3].removeprefix("Digest: "), printed


def test_a_wrong_password_is_refused(docker: Tool, local: Local, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text(local.login.read_text().swapcase())
    said = docker.refusal("--config", tmp_path, *PROMPT, local.host, stdin=tmp_path / "wrong")
    assert f"login attempt to http://{local.host}/v2/ failed with status: 400 Bad Request" in said


def test_without_a_login_nothing_is_pulled_or_pushed(engine: Tool, local: Local, tmp_path: Path) -> None:
    name = local.stock("docker-nobody", small_image(), "1")
    said = engine.refusal("--config", tmp_path, "pull", f"{name}:1")
    assert "no basic auth credentials" in said
    assert _pull(engine, f"{name}:1")[0] == str(small_image().manifest.digest)


def test_what_docker_pushes_is_pulled_by_docker_and_by_us_with_the_same_digest(
    engine: Tool, loaded: Archive, local: Local
) -> None:
    name = local.create("docker-push")
    digest = _push(engine, loaded.name, f"{name}:1.2")
    assert local.tags("docker-push") == {"1.2": digest}
    engine("image", "rm", loaded.name)
    assert _pull(engine, f"{name}:1.2") == (digest, GREETING)
    assert _pull(engine, f"{name}@{digest}") == (digest, GREETING)
    path, ours = local.shelf.pull(f"{NAME}/docker-push:1.2")
    assert ours == digest
    assert engine("load", stdin=path) == f"Loaded image: {NAME}/docker-push:1.2\n"
    assert engine("run", "--rm", "--network", "none", f"{NAME}/docker-push:1.2") == GREETING
    engine("image", "rm", f"{NAME}/docker-push:1.2")
    engine("load", stdin=loaded.path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_push_is_pulled_by_docker_with_the_same_digest(
    engine: Tool, shelf: Shelf, local: Local, kind: str
) -> None:
    archive = shelf.busybox(kind, "tag")
    (sent,) = local.shelf.push(archive.path, f"{NAME}/ours-{kind}:1")
    assert sent.fates == {"uploaded"}
    assert _pull(engine, f"{local.name(f'ours-{kind}')}:1") == (archive.digest, f"hello {kind}\n")


def test_of_an_index_docker_pulls_what_this_machine_runs(engine: Tool, local: Local) -> None:
    index = index_of((small_image(oci=False, foreign=True), busybox_image("schema2")), oci=False)
    name = local.stock("docker-index", index, "1")
    assert _pull(engine, f"{name}:1") == (str(index.manifest.digest), GREETING)


def test_a_push_to_a_repository_that_is_not_there_fails_with_the_words_of_ecr(
    engine: Tool, loaded: Archive, local: Local
) -> None:
    name = f"{local.host}/nowhere:1"
    engine("tag", loaded.name, name)
    said = engine.refusal("push", name)
    engine("image", "rm", name)
    assert (
        f"name unknown: The repository with name 'nowhere' does not exist in the registry with id '{ACCOUNT}'" in said
    )


def test_a_tag_that_is_not_there_is_a_manifest_unknown(engine: Tool, local: Local) -> None:
    said = engine.refusal("pull", f"{local.create('docker-empty')}:1")
    assert "manifest unknown: Requested image not found" in said


def test_an_immutable_tag_stays_what_it_is(engine: Tool, loaded: Archive, local: Local) -> None:
    name = local.stock("docker-immutable", small_image(), "1")
    local.ecr.put_image_tag_mutability(repositoryName="my/app/docker-immutable", imageTagMutability="IMMUTABLE")
    engine("tag", loaded.name, f"{name}:1")
    said = engine.refusal("push", f"{name}:1")
    engine("image", "rm", f"{name}:1")
    assert (
        "tag invalid: The image tag '1' already exists in the 'my/app/docker-immutable' repository "
        "and cannot be overwritten because the repository is immutable."
    ) in said
    digest = _push(engine, loaded.name, f"{name}:2")
    assert local.tags("docker-immutable") == {"1": str(small_image().manifest.digest), "2": digest}


def test_layers_of_another_repository_are_mounted_when_the_account_has_that(
    engine: Tool, loaded: Archive, local: Local
) -> None:
    source, there, here = (local.create(f"docker-{each}") for each in ("source", "copied", "mounted"))
    names = [f"{each}:1" for each in (source, there, here)]
    for name in names:
        engine("tag", loaded.name, name)
    assert engine("push", names[0]).count(": Pushed\n") == 2
    assert engine("push", names[1]).count(": Pushed\n") == 2
    local.ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    said = engine("push", names[2])
    local.ecr.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")
    assert said.count(": Mounted from my/app/docker-") == 2
    assert engine("push", names[2]).count(": Layer already exists\n") == 2
    assert local.tags("docker-mounted") == local.tags("docker-source")
    engine("image", "rm", *names)


def test_docker_pulls_through_a_rule_what_another_registry_has(
    engine: Tool, local: Local, carried: Local, shelf: Shelf
) -> None:
    keys = (local.environment["AWS_ACCESS_KEY_ID"], local.environment["AWS_SECRET_ACCESS_KEY"])
    with secrets_client_for(local.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"], keys, region=REGION) as secrets:
        arn = keep_login(secrets, "test", "AWS", carried.login.read_text().strip())
    local.ecr.create_pull_through_cache_rule(
        ecrRepositoryPrefix="docker.io", upstreamRegistryUrl="registry-1.docker.io", credentialArn=arn
    )
    digest = shelf.busybox("oci", "tag").digest
    assert _pull(engine, f"{local.host}/docker.io/my/app/oci:1.2") == (digest, "hello oci\n")
    (kept,) = local.ecr.list_images(repositoryName="docker.io/my/app/oci")["imageIds"]
    assert kept == {"imageTag": "1.2", "imageDigest": digest}
    local.shelf.pull(f"{REGISTRY}/docker.io/my/app/oci:1.2")


def test_what_docker_shows_of_a_pulled_image_names_the_digest_of_the_registry(engine: Tool, local: Local) -> None:
    name = local.stock("docker-inspect", small_image(), "1")
    engine("pull", "--quiet", f"{name}:1")
    shown = json.loads(engine("image", "inspect", "--format", "{{json .RepoDigests}}", f"{name}:1"))
    engine("image", "rm", f"{name}:1")
    assert shown == [f"{name}@{small_image().manifest.digest}"]
