"""Who we are at which registry, and by which door: the commands as a user runs them, and what the registries saw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecrdrag.cli.ends import Ends
from ecrdrag.cli.way import Way
from ecrdrag.errors import AuthError
from ecrdrag.localecr.names import RegistryKey
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import parse
from ecrdrag.reference import ImageReference
from tests.amazon import Amazon, amazon
from tests.dockerhome import configure
from tests.flow.conftest import HELLO, HOST
from tests.flow.users import Plain, User, stock
from tests.localecr import ACCOUNT, client, running

APP = f"{HOST}/my/app:1"
PUBLIC = f"{RegistryKey(ACCOUNT, 'public').host}/my/app:1"
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
NO_ENDPOINTS = {"AWS_ENDPOINT_URL_ECR": ""}
WRONG = {"AWS_SECRET_ACCESS_KEY": "wr0ngs3cret"}
TOKEN = "GetAuthorizationToken"
PULLED = str(HELLO.manifest.digest)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    with amazon(tmp_path_factory.mktemp("amazon"), stock) as found:
        yield found


@pytest.fixture
def user(tmp_path: Path, there: Amazon) -> User:
    home = tmp_path / "home"
    home.mkdir()
    return User(home, there)


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Plain]:
    """Run another one, as any registry without TLS."""
    with running(tmp_path / "plain") as ecr:
        yield Plain(ecr, stock(ecr))


def test_a_plain_registry_needs_neither_boto3_nor_good_aws_settings(user: User, plain: Plain) -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['boto3', 'botocore', 's3transfer']))"
    spoilt = {"AWS_PROFILE": "nobody", "AWS_MAX_ATTEMPTS": "many", "code": hidden}
    user.map("registries = 7")
    given = ("-u", "AWS", "--password-stdin")
    run = user.run("login", plain.host, *given, stdin=plain.password, **spoilt)
    assert run.code == 0, run.err
    run = user.pull(f"{plain.host}/my/app:1", **spoilt)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    run = user.run("push", "image.tar", f"{plain.host}/my/app:2", **spoilt)
    assert run.code == 0, run.err
    run = user.run("copy", f"{plain.host}/my/app:2", f"{plain.host}/my/app:3", **spoilt)
    assert run.code == 0, run.err
    assert "botocore" in user.pull(APP, code=hidden).err  # so it is looked for where it is needed


@pytest.mark.parametrize(("options", "by_api"), [((), True), (("--api", "ecr"), True), (("--api", "registry"), False)])
def test_a_private_ecr_is_pulled_from_by_its_api_or_over_v2(user: User, options: tuple[str, ...], by_api: bool) -> None:
    run = user.pull(APP, *options)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    assert (user.asked("BatchGetImage"), user.asked(TOKEN), user.asked("GET /v2/") > 0) == (
        by_api,
        not by_api,
        not by_api,
    )


@pytest.mark.parametrize("options", [(), ("--api", "registry")])
def test_without_aws_credentials_docker_s_login_does(user: User, options: tuple[str, ...]) -> None:
    user.docker(HOST, user.there.password)
    run = user.pull(APP, *options, **NO_KEYS)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    assert run.err.count("no AWS credentials found; going on with docker's login") == 1
    assert user.there.password not in run.err


def test_where_aws_refuses_a_password_docker_s_login_does(user: User) -> None:
    user.docker(HOST, user.there.password)
    run = user.pull(APP, "--api", "registry", **WRONG)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    assert f"{HOST}: GetAuthorizationToken was refused: " in run.err
    assert "; going on with docker's login" in run.err


@pytest.mark.parametrize("options", [(), ("--api", "registry")])
@pytest.mark.parametrize("config", ["{s3cret", '{"credsStore": "missing"}', "{}"])
def test_where_docker_knows_no_better_it_is_aws_s_reason_that_is_told(
    user: User, config: str, options: tuple[str, ...]
) -> None:
    configure(user.home, config)
    run = user.pull(APP, *options, **NO_KEYS)
    assert (run.code, run.out) == (3, "")
    assert f"ecrdrag pull: {HOST}: no AWS credentials found\n  set AWS_PROFILE" in run.err


def test_a_profile_that_is_not_there_is_told_whatever_docker_has(user: User) -> None:
    user.docker(HOST, user.there.password)
    user.docker("public.ecr.aws", user.there.password)
    for reference in (APP, PUBLIC):
        run = user.pull(reference, "--api", "registry", "--profile", "nobody")
        assert (run.code, run.out) == (2, "")
        assert f"{reference.partition('/')[0]}: The config profile (nobody) could not be found" in run.err


def test_ecr_public_is_read_with_a_password_from_aws(user: User) -> None:
    run = user.pull(PUBLIC)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    assert user.asked(TOKEN) == 1
    assert user.asked("GET /token/") == 1


@pytest.mark.parametrize("changes", [NO_KEYS, WRONG, {"AWS_PROFILE": "nobody"}], ids=str)
@pytest.mark.parametrize("config", ["{}", "{s3cret", '{"credsStore": "missing"}'])
def test_ecr_public_is_read_by_anybody_whatever_is_wrong_with_logins(
    user: User, changes: dict[str, str], config: str
) -> None:
    configure(user.home, config)
    run = user.pull(PUBLIC, **changes)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    assert run.err.count("; going on without a login") >= 1


def test_ecr_public_is_read_by_anybody_where_docker_s_login_is_too_old(user: User) -> None:
    user.docker("public.ecr.aws", "s3cret")
    run = user.pull(PUBLIC, **NO_KEYS)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    assert run.err.count("public.ecr.aws refuses the login that was found; going on without one\n") == 1
    assert user.asked("GET /token/") == 2
    run = user.run("push", "image.tar", PUBLIC, **NO_KEYS)
    assert (run.code, run.out) == (3, "")
    assert "going on without" not in run.err


def test_who_reads_as_anybody_does_not_write_so(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.docker("public.ecr.aws", "s3cret")
    for name, value in {**user.environment, **NO_KEYS}.items():
        monkeypatch.setenv(name, value)
    reference = ImageReference.parse(PUBLIC)
    with Ends(Way()) as ends:
        assert str(ends.source(reference).manifest(tag="1").digest) == PULLED
        with pytest.raises(AuthError):
            ends.destination(reference).put_manifest(parse(HELLO.manifest.content), "2")


def test_a_login_that_is_typed_needs_no_aws_settings_and_is_the_only_one(user: User) -> None:
    user.docker(HOST, user.there.password)
    given = ("--username", "AWS", "--password-stdin")
    run = user.pull(APP, *given, stdin=f"{user.there.password}\n", AWS_PROFILE="nobody")
    assert (run.code, PULLED in run.out) == (0, True), run.err
    run = user.pull(APP, *given, stdin="s3cret")
    assert (run.code, run.out) == (3, "")
    assert user.asked(TOKEN) == user.asked("BatchGetImage") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--username", "me"), "cannot perform an interactive login from a non-TTY device\n  give the password on"),
        (("--password-stdin",), "the --password-stdin option requires --username to be set"),
        (("--username", "", "--password-stdin"), "username is empty"),
        (("--username", "me", "--password-stdin"), "password is empty"),
        (("--username", "me", "--password-stdin", "--api", "ecr"), "the ECR API takes no --username"),
    ],
)
def test_half_a_login_is_a_usage_error_as_with_docker_login(user: User, options: tuple[str, ...], said: str) -> None:
    run = user.pull(APP, *options, stdin="\n")
    assert (run.code, run.out) == (2, "")
    assert f"ecrdrag pull: {said}" in run.err


@pytest.mark.parametrize("reference", [f"{HOST}/my/app:1", "registry.example.com/my/app:1"])
def test_a_password_that_is_no_text_is_a_usage_error(user: User, reference: str) -> None:
    run = user.pull(reference, "--username", "me", "--password-stdin", stdin=b"s3cret\xff")
    assert run.code == 2
    assert "ecrdrag pull: the password is not UTF-8\n" in run.err


@pytest.mark.parametrize("registry", ["public.ecr.aws", "registry.example.com"])
def test_the_ecr_api_is_no_door_elsewhere(user: User, registry: str) -> None:
    run = user.pull(f"{registry}/my/app:1", "--api", "ecr")
    assert run.code == 2
    assert f"ecrdrag pull: {registry} is reached over /v2/ alone\n  leave --api out\n" in run.err


@pytest.mark.parametrize("command", ["pull", "copy"])
def test_without_tls_a_private_ecr_is_not_spoken_to_unless_that_is_wished(user: User, command: str) -> None:
    def moved(request: Request, handler: Handler) -> Answer:
        answer = handler(request)
        body = answer.body if isinstance(answer.body, bytes) else b""
        return replace(answer, body=body.replace(user.there.ecr.endpoint.encode(), b"http://ecr.test:5080"))

    user.there.recorder.intercept = moved
    to = f"{HOST}/my/other:1" if command == "copy" else "--api=registry"
    run = user.run(command, APP, to, "--api", "registry")
    assert (run.code, run.out) == (2, "")
    assert f"{HOST} is at http://ecr.test:5080, without TLS\n  allow it with --plain-http\n" in run.err
    assert user.asked("GET /v2/") == 0


@pytest.mark.parametrize("api", ["auto", "ecr", "registry"])
@pytest.mark.parametrize("how", ["options", "map"])
def test_a_copy_has_an_identity_at_each_end(user: User, plain: Plain, how: str, api: str) -> None:
    to = f"{HOST.replace('west-2', 'east-1')}/my/copied:1"
    user.profiles(here=user.there.ecr, there=plain.ecr)
    options = ["--src-profile", "here", "--dst-profile", "there"] if how == "options" else []
    if how == "map":
        user.map(f'[registries."{HOST}"]\nprofile = "here"\n[registries."*.us-east-1.*"]\nprofile = "there"\n')
    run = user.run("copy", APP, to, "--api", api, "--create-repository", *options, **NO_KEYS, **NO_ENDPOINTS)
    assert (run.code, run.out) == (0, f"{to}@{PULLED}\n"), run.err
    with client(plain.ecr, region="us-east-1") as there:
        assert there.describe_images(repositoryName="my/copied")["imageDetails"][0]["imageDigest"] == PULLED
    run = user.run("copy", APP, to, "--src-profile", "here", "--dst-profile", "nobody", **NO_KEYS)
    assert run.code == 2
    assert f"{to.partition('/')[0]}: The config profile (nobody) could not be found" in run.err


def test_a_map_with_a_profile_that_is_not_there_names_the_registry(user: User) -> None:
    user.map('[registries."123456789012.*"]\nprofile = "nobody"\n')
    run = user.pull(APP)
    assert run.code == 2
    assert f"ecrdrag pull: {HOST}: The config profile (nobody) could not be found" in run.err


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('credential_process = sh -c "echo s3cret"', "the AWS credentials can't be had: Expecting value"),
        ('credential_process = sh -c "echo it is locked >&2; exit 1"', "it is locked"),
        ("aws_access_key_id = AKIDHALF", "the AWS credentials can't be read: Partial credentials found"),
        (
            "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = gone",
            'refers to "gone"|source_profile "gone"',
        ),
    ],
)
def test_credentials_that_can_not_be_had_are_told_with_the_registry(user: User, config: str, said: str) -> None:
    configure(user.home, f"[profile broken]\n{config}\n", ".aws/config")
    run = user.pull(APP, "--profile", "broken", PATH="/bin:/usr/bin")
    assert run.code in (2, 3)
    assert f"ecrdrag pull: {HOST}: " in run.err
    assert re.search(said, run.err), run.err


@pytest.mark.parametrize("url", ["http://u:s3cret@[bad", "http://u:s3cret@127.0.0.1:1/?x=s3cret"])
@pytest.mark.parametrize(
    ("variable", "keys"),
    [("AWS_ENDPOINT_URL_STS", {}), ("AWS_ENDPOINT_URL_ECR", {}), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", NO_KEYS)],
)
def test_a_secret_in_a_url_of_the_settings_is_not_shown(
    user: User, variable: str, keys: dict[str, str], url: str
) -> None:
    user.map(f'[registries."*"]\nrole_arn = "arn:aws:iam::{ACCOUNT}:role/x"\n' if "STS" in variable else "")
    few = {"AWS_MAX_ATTEMPTS": "1", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1"}
    run = user.pull(APP, "--api", "registry", **{variable: url}, **keys, **few)
    assert run.code in (2, 3, 5), run.err
    assert "ECR API" not in run.err or "ECR" in variable


def test_where_aws_is_out_of_reach_docker_s_login_does_over_v2(user: User) -> None:
    user.docker(HOST, user.there.password)
    nowhere = {"AWS_ENDPOINT_URL_ECR": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
    run = user.pull(APP, "--api", "registry", **nowhere)
    assert (run.code, PULLED in run.out) == (0, True), run.err
    assert "no connection to the ECR API at http://127.0.0.1:1; going on with docker's login" in run.err
