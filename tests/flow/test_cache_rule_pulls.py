"""docker_pull.py through a pull-through cache rule: a first pull by tag works, one by digest says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.flow.conftest import BOTH, HELLO
from tests.flow.ruled import HOST, Ruled, ruled
from tests.flow.scripts import Run, environment_of, run
from tests.registry import password_of

NAME = f"{HOST}/docker-hub/library/nginx"
DIGEST = str(HELLO.manifest.digest)
WAYS = (("--api", "ecr"), ("--api", "registry"))
ADVICE = "if a pull-through cache rule covers it, pull it by its tag alone once"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Ruled]:
    with ruled(tmp_path / "ecr") as there:
        there.upstream.put_image("library/nginx", HELLO, "1.27")
        there.upstream.put_index("library/nginx", BOTH, "multi")
        arn = there.vault.create_secret(
            Name="ecr-pullthroughcache/hub", SecretString='{"username": "me", "accessToken": "x"}'
        )["ARN"]
        there.api.create_pull_through_cache_rule(
            ecrRepositoryPrefix="docker-hub", upstreamRegistryUrl="registry-1.docker.io", credentialArn=arn
        )
        yield there


def pull(there: Ruled, tmp_path: Path, *arguments: str, stdin: str = "") -> Run:
    """Run the script for one platform."""
    environment = environment_of(there.ecr)
    return run("docker_pull.py", *arguments, "--platform", "linux/amd64", cwd=tmp_path, env=environment, stdin=stdin)


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_first_pull_by_tag_brings_the_image_and_the_next_one_may_be_by_digest(
    there: Ruled, tmp_path: Path, way: tuple[str, str]
) -> None:
    done = pull(there, tmp_path, f"{NAME}:1.27", *way)
    assert done.code == 0, done.err
    assert DIGEST in done.out
    again = pull(there, tmp_path, f"{NAME}@{DIGEST}", *way, "-o", "again.tar")
    assert again.code == 0, again.err
    assert (tmp_path / "again.tar").read_bytes()


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@pytest.mark.parametrize("has_repository", [False, True], ids=["no repository", "an empty repository"])
def test_a_first_pull_by_digest_says_to_pull_by_tag_once(
    there: Ruled, tmp_path: Path, way: tuple[str, str], has_repository: bool
) -> None:
    if has_repository:
        there.api.create_repository(repositoryName="docker-hub/library/nginx")
    done = pull(there, tmp_path, f"{NAME}@{DIGEST}", *way)
    assert (done.code, done.out) == (4, "")
    assert ADVICE in done.err
    assert not any(question.startswith("blob") for question in there.upstream.asked)
    assert pull(there, tmp_path, f"{NAME}:1.27", *way).code == 0
    assert pull(there, tmp_path, f"{NAME}@{DIGEST}", *way, "-o", "by-digest.tar").code == 0


def test_by_tag_and_digest_the_tag_brings_it_at_v2_and_the_api_says_what_to_do(there: Ruled, tmp_path: Path) -> None:
    done = pull(there, tmp_path, f"{NAME}:1.27@{DIGEST}", "--api", "ecr")
    assert done.code == 4
    assert ADVICE in done.err
    assert pull(there, tmp_path, f"{NAME}:1.27@{DIGEST}", "--api", "registry").code == 0


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_tag_that_is_nowhere_has_no_such_advice(there: Ruled, tmp_path: Path, way: tuple[str, str]) -> None:
    done = pull(there, tmp_path, f"{NAME}:gone", *way)
    assert done.code == 4
    assert ADVICE not in done.err


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_an_index_comes_by_its_tag_and_with_it_the_image_for_one_platform(
    there: Ruled, tmp_path: Path, way: tuple[str, str]
) -> None:
    done = pull(there, tmp_path, f"{NAME}:multi", *way)
    assert done.code == 0, done.err


def test_another_registry_gives_no_advice_about_ecr(there: Ruled, tmp_path: Path) -> None:
    host = urlsplit(there.ecr.endpoint).netloc
    password = password_of(there.ecr)
    login = ("--username", "AWS", "--password-stdin")
    done = pull(there, tmp_path, f"{host}/docker-hub/library/nginx@{DIGEST}", *login, stdin=password)
    assert done.code == 4, done.err
    assert ADVICE not in done.err
