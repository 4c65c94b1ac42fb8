"""docker-credential-ecrdrag as docker runs it: a process, against the local ECR over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request as WebRequest
from urllib.request import urlopen

import pytest

from ecrdrag.cli.aws import settings_for
from ecrdrag.errors import AuthError, UsageError
from ecrdrag.localecr.web.exchange import Answer
from ecrdrag.reference import EcrHost
from ecrdrag.registry.ecr_token import fetch_token
from tests.flow.desk import HELPER, HOST, SECRET, Desk, Sts, open_desk, open_sts
from tests.flow.scripts import Run
from tests.localecr import ACCOUNT

NAME = "docker-credential-ecrdrag"
NOT_FOUND = "credentials not found in native keychain\n"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/pull"
TOKEN = "GetAuthorizationToken"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path) as desk:
        yield desk


@pytest.fixture
def sts(desk: Desk) -> Iterator[Sts]:
    with open_sts(desk.ecr.credentials) as sts:
        yield sts


def test_the_password_opens_the_registry_and_is_fetched_once(desk: Desk) -> None:
    password = desk.get()
    login = b64encode(f"AWS:{password}".encode()).decode()
    request = WebRequest(f"{desk.ecr.endpoint}/v2/", headers={"Authorization": f"Basic {login}"})
    with urlopen(request, timeout=20) as reply:
        assert reply.status == 200
    assert desk.get() == password
    assert desk.recorder.count(TOKEN) == 1
    assert json.loads(desk.run("list", stdin="unused").out) == {f"https://{HOST}": "AWS"}


def test_fifty_at_once_make_one_call(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "server").write_text(HOST)  # nobody waits for stdin

    def start() -> subprocess.Popen[str]:
        with (tmp_path / "server").open() as stdin:
            return subprocess.Popen(
                [*HELPER, "get"],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=desk.environment,
                text=True,
            )

    helpers = [start() for _ in range(50)]
    said = {helper.communicate(timeout=60) for helper in helpers}
    assert [helper.returncode for helper in helpers] == [0] * 50
    ((output, error),) = said
    assert (json.loads(output)["Secret"], error) == (desk.passwords()[0], "")
    assert desk.recorder.count(TOKEN) == 1


def test_what_is_kept_is_found_without_boto3_and_without_a_list_of_partitions(desk: Desk) -> None:
    desk.get()
    code = (
        "import sys; from ecrdrag.cli import credential_helper as helper; code = helper.main();"
        "print([name for name in sys.modules if name.startswith(('boto', 'requests', 'urllib3'))]); sys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "get"],
        input=HOST,
        env=desk.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[1] == "[]"


def test_public_passwords_come_from_the_public_api_s_endpoint(desk: Desk) -> None:
    run = desk.run("get", stdin="ecr-public.aws.com", AWS_ENDPOINT_URL_ECR=NOWHERE)
    assert run.code == 0, run.err
    assert json.loads(run.out)["ServerURL"] == "ecr-public.aws.com"
    assert json.loads(desk.run("list").out) == {"https://public.ecr.aws": "AWS"}


@pytest.mark.parametrize("host", [HOST, "public.ecr.aws"])
def test_without_credentials_people_are_told_why_and_docker_too_where_it_can_not_go_on(desk: Desk, host: str) -> None:
    run = desk.run("get", stdin=host, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    reason = f"{host}: no AWS credentials found"
    assert run.code == 1
    assert run.out.startswith(f"{reason}; set AWS_PROFILE" if host == HOST else NOT_FOUND)
    assert run.out.count("\n") == 1
    assert run.err.startswith(f"{NAME}: {reason}\n")


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "ThrottlingException"), (429, "Unheard"), (500, "ServerException"), (503, "Unheard")],
)
def test_an_api_out_of_order_is_aws_out_of_reach_and_the_old_password_does(desk: Desk, status: int, code: str) -> None:
    password = desk.get()
    desk.age()
    body = json.dumps({"__type": code, "message": "because"}).encode()
    refusal = Answer(status, {"Content-Type": "application/x-amz-json-1.1"}, body)
    desk.recorder.intercept = lambda request, handler: refusal
    run = desk.run("get", stdin=HOST)
    assert (run.code, json.loads(run.out)["Secret"]) == (0, password)
    assert run.err.startswith(f"{NAME}: AWS is out of reach, so the old password does, for ")
    assert run.err.endswith(f"because ({code})\n")
    assert run.err.count("\n") == 1


def test_without_a_server_the_old_password_does_and_none_is_none(tmp_path: Path) -> None:
    with open_desk(tmp_path) as desk:
        password = desk.get()
        desk.age()
    assert desk.get() == password
    for file in desk.kept():
        file.unlink()
    run = desk.run("get", stdin=HOST)
    assert (run.code, run.out[:24]) == (1, "no connection to the ECR")
    assert f"{NAME}: no connection to the ECR API at http://127.0.0.1:" in run.err


def test_refused_credentials_get_no_old_password(desk: Desk) -> None:
    desk.get()
    desk.age()
    run = desk.run("get", stdin=HOST, AWS_SECRET_ACCESS_KEY=SECRET)
    assert run.code == 1
    assert "GetAuthorizationToken was refused" in run.out
    assert SECRET not in run.out
    assert "check the secret access key" in run.err
    assert desk.recorder.count(TOKEN) == 2


def test_an_old_password_is_renewed(desk: Desk) -> None:
    desk.get()
    desk.age()
    desk.get()
    desk.get()
    assert desk.recorder.count(TOKEN) == 2


def test_a_role_of_the_map_is_assumed_with_the_default_credentials(desk: Desk, sts: Sts) -> None:
    desk.map(f'[registries."{ACCOUNT}.*"]\nrole_arn = "{ROLE}"\n')
    keys = {"AWS_ACCESS_KEY_ID": "AKIDBASE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_STS": sts.url}
    desk.get(**keys)
    (asked,) = sts.asked
    assert (asked["Action"], asked["RoleArn"], asked["RoleSessionName"]) == ("AssumeRole", ROLE, "ecrdrag")
    assert sts.callers == ["AKIDBASE"]
    desk.get(**keys)
    assert (len(sts.asked), desk.recorder.count(TOKEN)) == (1, 1)


def test_a_profile_of_the_map_beats_keys_in_the_environment_and_assumes_the_role(desk: Desk, sts: Sts) -> None:
    key_id, secret = desk.ecr.credentials
    file = desk.home / "aws"
    file.write_text(f"[profile prod]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")
    wrong = {"AWS_ACCESS_KEY_ID": "AKIDBASE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_CONFIG_FILE": str(file)}
    assert desk.run("get", stdin=HOST, **wrong).code == 1
    desk.map(f'[registries."{HOST}"]\nprofile = "prod"\n')
    desk.get(**wrong)
    assert sts.asked == []
    desk.map(f'[registries."{HOST}"]\nprofile = "prod"\nrole_arn = "{ROLE}"\n')
    desk.get(**wrong, AWS_ENDPOINT_URL_STS=sts.url)
    assert sts.callers == [key_id]
    assert len(desk.kept()) == 2


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ((403, "AccessDenied", "not authorized to perform: sts:AssumeRole"), 1),
        ((400, "ValidationError", "no such role"), 1),
        ((403, "ExpiredToken", "expired"), 1),
        ((400, "Throttling", "Rate exceeded"), 0),
        ((500, "InternalFailure", "out of order"), 0),
        ((503, "Unheard", "out of order"), 0),
    ],
    ids=lambda each: each[1] if isinstance(each, tuple) else "",
)
def test_sts_out_of_order_is_aws_out_of_reach_but_a_refused_role_is_not(
    desk: Desk, sts: Sts, refusal: tuple[int, str, str], code: int
) -> None:
    desk.map(f'[registries."{ACCOUNT}.*"]\nrole_arn = "{ROLE}"\n')
    desk.get(AWS_ENDPOINT_URL_STS=sts.url)
    desk.age()
    sts.refusal = refusal
    run = desk.run("get", stdin=HOST, AWS_ENDPOINT_URL_STS=sts.url)
    assert run.code == code
    assert f"the AWS credentials can't be had: AssumeRole was refused: {refusal[2]} ({refusal[1]})" in run.err
    assert ("AWS is out of reach" in run.err) == (code == 0)


@pytest.mark.parametrize(
    ("role", "region", "scope"),
    [
        (ROLE, "eu-west-1", "eu-west-1"),
        (ROLE, "cn-north-1", "us-east-1"),
        (ROLE, "", "us-east-1"),
        (ROLE.replace(":aws:", ":aws-cn:"), "eu-west-1", "cn-northwest-1"),
    ],
)
def test_a_role_is_assumed_in_its_own_partition(
    desk: Desk, sts: Sts, role: str, region: str, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**desk.environment, "AWS_ENDPOINT_URL_STS": sts.url, "AWS_DEFAULT_REGION": region}.items():
        monkeypatch.setenv(name, value)
    scopes: list[str] = []
    answer = sts.answer
    sts.answer = lambda authorization, body: scopes.append(authorization) or answer(authorization, body)  # type: ignore[func-returns-value,method-assign]
    desk.map(f'[registries."*"]\nrole_arn = "{role}"\n')
    settings_for(HOST, None, None, desk.environment).tokens(EcrHost.parse(HOST))
    (authorization,) = scopes
    assert f"/{scope}/sts/aws4_request" in authorization


def test_a_role_in_no_partition_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in desk.environment.items():
        monkeypatch.setenv(name, value)
    desk.map(f'[registries."*"]\nrole_arn = "{ROLE.replace(":aws:", ":mars:")}"\n')
    with pytest.raises(UsageError, match="is in no partition of AWS: aws, aws-cn"):
        settings_for(HOST, None, None, desk.environment).tokens(EcrHost.parse(HOST))


def test_a_profile_on_the_command_line_beats_the_map(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    key_id, secret = desk.ecr.credentials
    text = f"[profile wrong]\naws_access_key_id = {key_id}\naws_secret_access_key = {SECRET}\n"
    (desk.home / "aws").write_text(
        f"{text}[profile right]\naws_access_key_id={key_id}\naws_secret_access_key={secret}\n"
    )
    for name, value in {**desk.environment, "AWS_CONFIG_FILE": str(desk.home / "aws")}.items():
        monkeypatch.setenv(name, value)
    host = EcrHost.parse(HOST)
    desk.map(f'[registries."{HOST}"]\nprofile = "wrong"\n')
    with pytest.raises(AuthError):
        fetch_token(settings_for(HOST, None, None, desk.environment).tokens(host), ACCOUNT, HOST)
    given = fetch_token(settings_for(HOST, "right", None, desk.environment).tokens(host), ACCOUNT, HOST)
    assert given.login.username == "AWS"
    desk.map(f'[registries."{HOST}"]\nprofile = "right"\nrole_arn = "{ROLE}"\n')
    with pytest.raises(AuthError):
        fetch_token(settings_for(HOST, "wrong", None, desk.environment).tokens(host), ACCOUNT, HOST)


def test_the_endpoint_of_the_command_line_is_of_the_private_api_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**desk.environment, "AWS_ENDPOINT_URL_ECR": NOWHERE}.items():
        monkeypatch.setenv(name, value)
    settings = settings_for(HOST, None, desk.ecr.endpoint, desk.environment)
    assert fetch_token(settings.tokens(EcrHost.parse(HOST)), ACCOUNT, HOST).endpoint
    settings_for("public.ecr.aws", None, NOWHERE, desk.environment).public().get_authorization_token()


def test_install_puts_the_helper_in_charge_and_keeps_all_else(desk: Desk) -> None:
    file = desk.home / ".docker" / "config.json"
    file.parent.mkdir()
    file.write_text('{"credHelpers":{"gcr.io":"gcloud"},"psFormat":"x"}')
    run = desk.run("--install", f"https://{HOST}/", "ecr-public.aws.com")
    assert run.code == 0
    assert run.out == f"{file}: docker asks {NAME} for {HOST}, ecr-public.aws.com\n"
    helpers = {"gcr.io": "gcloud", HOST: "ecrdrag", "ecr-public.aws.com": "ecrdrag"}
    assert json.loads(file.read_text()) == {"credHelpers": helpers, "psFormat": "x"}
    assert desk.recorder.requests == []


def test_install_warns_where_docker_won_t_find_the_helper(desk: Desk) -> None:
    (desk.home / "bin").mkdir()
    assert f"docker won't find {NAME}" in desk.run("--install", HOST, PATH=str(desk.home / "bin")).err
    (desk.home / "bin" / NAME).touch(0o755)
    assert desk.run("--install", HOST, PATH=str(desk.home / "bin")).err == ""


@pytest.mark.parametrize("hosts", [("ghcr.io",), (HOST, "ghcr.io"), ("123456789012.dkr.ecr.mars-1.amazonaws.com",), ()])
def test_install_takes_hosts_of_ecr_and_at_least_one(desk: Desk, hosts: tuple[str, ...]) -> None:
    run = desk.run("--install", *hosts)
    assert run.code == 1
    assert f"Usage: {NAME} --install" in run.out if not hosts else "bad registry" in run.err
    assert not (desk.home / ".docker").exists()


def test_what_docker_asks_for_is_printed_as_one_line(desk: Desk) -> None:
    assert desk.run("version").out.startswith(f"{NAME} (ecrdrag) ")
    assert desk.run("list").out == "{}\n"
    assert desk.run("erase", stdin=HOST) == Run(0, "", "")
    usage = f"Usage: {NAME} <store|get|erase|list|version>\n       {NAME} --install HOST...\n"
    assert desk.run() == Run(1, usage, "")
    assert desk.run("--help") == Run(0, usage, "")
    assert desk.run("get", "twice") == Run(1, usage, "")
    assert desk.run("forget").out == f"{NAME}: unknown action: forget\n"


def test_a_closed_stdout_is_a_failure_without_a_traceback(desk: Desk) -> None:
    desk.get()
    command = f"exec {' '.join(HELPER)} get >/dev/full"
    ended = subprocess.run(
        ["sh", "-c", command], input=HOST, env=desk.environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "can't print the result: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
