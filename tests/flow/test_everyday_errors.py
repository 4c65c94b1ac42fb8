"""What the everyday commands say where they can't do their work: who may not, who is not known, who asks too often."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.cli.main import main
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.registry.ecr_errors import IAM_ACTIONS
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import HOST, stock
from tests.flow.scripts import HOME, environment_of, run
from tests.localecr import ACCOUNT, REGION, Recorder, running
from tests.refusing import allowing, denying, throttling

OTHER = "210987654321"
NO_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
NO_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
ALONE = ("tags", "inspect")  # commands of no group
# Everyday commands, with what they need to begin: all but inspect find their region in the settings.
COMMANDS = [
    "repo ls",
    "repo ls --count",
    "repo show my/app",
    "repo create new/app --yes",
    "repo delete my/app --force --yes",
    "repo policy my/app",
    "repo policy my/app --remove --yes",
    "repo lifecycle my/app",
    "repo lifecycle my/app --remove --yes",
    "image ls my/app",
    "image show my/app:1.2",
    "image tag my/app:1.2 2 --yes",
    "image rm my/app:1.2 --yes",
    "registry show",
    "cache-rule ls",
    "cache-rule show hub",
    "cache-rule create quay --upstream quay --yes",
    "cache-rule validate hub",
    "cache-rule delete hub --yes",
    "tags my/app",
    f"inspect {HOST}/my/app:1.2",
]
REGIONAL = [command for command in COMMANDS if not command.startswith("inspect")]
SOME = ["repo ls", "repo delete my/app --force --yes", "image ls my/app", "registry show", "tags my/app"]
each_command = pytest.mark.parametrize("command", COMMANDS)
each_regional = pytest.mark.parametrize("command", REGIONAL)
some_commands = pytest.mark.parametrize("command", SOME)  # where what is said comes from one place for all of them


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalEcr, Recorder]]:
    recorder = Recorder()
    with running(tmp_path_factory.mktemp("ecr"), recorder=recorder) as ecr:
        stock(ecr)
        yield ecr, recorder


@pytest.fixture
def recorder(served: tuple[LocalEcr, Recorder], monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Let the AWS settings lead to a local ECR whose answers a test may change; nobody there may change anything."""
    ecr, found = served
    for name, value in ecr.environment.items():
        monkeypatch.setenv(name, value)
    found.requests.clear()
    yield found
    allowing(found)


def ended(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command in this process; give its exit code and what it said, while it has no result."""
    code = main(command.split())
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    words = command.split()
    assert f"ecrdrag {' '.join(words[: 1 if words[0] in ALONE else 2])}: " in err
    return code, err


@each_command
def test_who_may_not_is_told_which_iam_action_is_missing(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    denying(recorder)
    code, err = ended(command, capsys)
    assert code == 3
    asked = {f"ecr:{IAM_ACTIONS.get(one, one)}" for one in recorder.requests}
    assert set(re.findall(r"needs the IAM action (\S+)$", err, re.MULTILINE)) & asked


def _refusal(shape: str, message: str) -> Answer:
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "1"}
    return Answer(400, headers, json.dumps({"__type": shape, "message": message}).encode(), shape)


def refusing(recorder: Recorder, shape: str, message: str = "") -> None:
    def answer(request: Request, handler: Handler) -> Answer:
        request.body.read_all(100_000)
        return _refusal(shape, message)

    recorder.intercept = answer


@some_commands
def test_the_iam_action_is_named_also_where_aws_names_none(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    refusing(recorder, "AccessDeniedException")
    code, err = ended(command, capsys)
    assert code == 3
    assert re.search(r"needs the IAM action ecr:[A-Z][A-Za-z]+$", err, re.MULTILINE)


@each_regional
def test_without_a_region_it_is_said_where_one_could_come_from(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for name in NO_REGION:
        monkeypatch.delenv(name)
    code, err = ended(command, capsys)
    assert code == 2
    assert ": no region: neither the name nor the AWS settings say where the registry is\n" in err
    assert "--region, set AWS_REGION" in err
    assert recorder.requests == []


@each_command
def test_without_credentials_it_is_said_how_to_give_them(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for name in NO_KEYS:
        monkeypatch.delenv(name)
    code, err = ended(command, capsys)
    assert code == 3
    assert "no AWS credentials found\n  set AWS_PROFILE or" in err
    assert recorder.requests == []


@each_command
def test_a_token_that_has_expired_is_told_with_what_to_do(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    refusing(recorder, "ExpiredTokenException", "The security token included in the request is expired")
    code, err = ended(command, capsys)
    assert code == 3
    assert "is expired (ExpiredTokenException)\n  renew the credentials, such as with `aws sso login`\n" in err


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ("UnrecognizedClientException", "run `aws sts get-caller-identity` with the same profile"),
        ("InvalidSignatureException", "check the secret access key and this machine's clock"),
        ("OptInRequired", "the account has not enabled this region"),
    ],
)
def test_credentials_that_do_not_hold_are_told_with_what_to_do(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], shape: str, hint: str
) -> None:
    refusing(recorder, shape, "The security token included in the request is no good")
    code, err = ended("repo ls", capsys)
    assert (code, shape in err, hint in err) == (3, True, True), err


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Let waits between tries take no time, and give what they would have taken in each thread."""
    waits: dict[int, float] = {}
    honest = RetryPolicy.delay

    def delay(policy: RetryPolicy, failures: int) -> float:
        me = threading.get_ident()
        waits[me] = waits.get(me, 0) + honest(policy, failures)
        return 0.0

    monkeypatch.setattr(RetryPolicy, "delay", delay)
    return waits


@each_regional
def test_throttled_throughout_is_given_up_within_a_minute_and_says_so(
    recorder: Recorder, hasty: dict[int, float], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    throttling(recorder)
    code, err = ended(command, capsys)
    assert code == 5
    assert "Rate exceeded (ThrottlingException)" in err
    assert "AWS throttles this account's calls: wait a little, or make fewer at once with a smaller -j" in err
    assert max(hasty.values()) < 60


def test_throttled_now_and_then_is_no_failure(
    recorder: Recorder, hasty: dict[int, float], capsys: pytest.CaptureFixture[str]
) -> None:
    throttling(recorder, times=5)
    assert main(["repo", "ls", "--tsv"]) == 0
    assert capsys.readouterr().out.startswith("my/app\t")


@pytest.mark.parametrize(
    "command",
    [
        f"repo show arn:aws:ecr:{REGION}:{OTHER}:repository/my/app",
        f"image ls {OTHER}.dkr.ecr.{REGION}.amazonaws.com/my/app",
        f"image show arn:aws:ecr:{REGION}:{OTHER}:repository/my/app:1.2",
        f"repo show my/app --registry-id {OTHER}",
        f"tags arn:aws:ecr:{REGION}:{OTHER}:repository/my/app",
        f"repo delete arn:aws:ecr:{REGION}:{OTHER}:repository/my/app --yes",
    ],
)
@pytest.mark.parametrize("is_denied", [True, False])
def test_at_another_account_s_registry_it_is_said_whose_credentials_these_are(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], command: str, is_denied: bool
) -> None:
    if is_denied:
        denying(recorder, "DescribeRepositories", "DescribeImages", "ListImages", "DeleteRepository", "BatchGetImage")
    code, err = ended(command, capsys)
    assert code == (3 if is_denied else 4), err
    assert f"these credentials are of account {ACCOUNT}, and {OTHER} was named\n" in err


@some_commands
def test_an_endpoint_that_nobody_answers_is_named_within_seconds(
    recorder: Recorder,
    hasty: dict[int, float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "http://me:hunter2@127.0.0.1:1")
    code, err = ended(command, capsys)
    assert code == 5, err
    assert "no connection to the ECR API at http://127.0.0.1:1" in err
    assert "hunter2" not in err
    assert max(hasty.values()) < 15


def test_a_proxy_that_does_not_answer_is_named(
    recorder: Recorder, hasty: dict[int, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_ECR")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    code, err = ended("repo ls", capsys)
    assert code == 5
    assert "the proxy http://127.0.0.1:1 for the ECR API does not answer\n  check HTTPS_PROXY" in err


@pytest.mark.parametrize("command", ["repo ls", "repo show my/app", "repo delete my/app --force --yes", "tags my/app"])
@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (200, b"<html>log in first</html>", "HTTP status 200 by something that isn't ECR"),
        (403, b"<html>blocked</html>", "HTTP status 403 by something that isn't ECR"),
        (407, b"who are you", "HTTP status 407 by something that isn't ECR"),
        (502, b"<html>bad gateway</html>", "HTTP status 502 by something that isn't ECR"),
    ],
)
def test_a_proxy_s_page_is_neither_an_empty_registry_nor_shown(
    recorder: Recorder,
    hasty: dict[int, float],
    capsys: pytest.CaptureFixture[str],
    command: str,
    code: int,
    body: bytes,
    said: str,
) -> None:
    def answer(request: Request, handler: Handler) -> Answer:
        request.body.read_all(100_000)
        return Answer(code, {"Content-Type": "text/html"}, body, "page")

    recorder.intercept = answer
    exit_code, err = ended(command, capsys)
    assert (exit_code, said in err) == (5, True), err
    assert "<html>" not in err


@some_commands
def test_a_profile_that_is_not_there_is_a_usage_error(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, err = ended(f"{command} --profile nobody", capsys)
    assert (code, "The config profile (nobody) could not be found" in err) == (2, True)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("repo show no/such", "`ecrdrag repo ls` lists what there is"),
        ("image ls no/such", "`ecrdrag repo ls` lists what there is"),
        ("tags no/such", "`ecrdrag repo ls` lists what there is"),
        ("image show my/app:nope", "`ecrdrag image ls"),
        ("cache-rule show nope", "`ecrdrag cache-rule ls` lists what there is"),
        ("cache-rule delete nope --yes", "`ecrdrag cache-rule ls` lists what there is"),
    ],
)
def test_what_is_not_there_is_said_with_the_command_that_lists_what_is(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], command: str, said: str
) -> None:
    code, err = ended(command, capsys)
    assert (code, said in err) == (4, True), err


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["repo", "ls"], dict.fromkeys(NO_REGION, ""), 2, "ecrdrag repo ls: no region"),
        (["repo", "ls"], dict.fromkeys(NO_KEYS, ""), 3, f"ecrdrag repo ls: {REGION}: no AWS credentials found"),
        (["repo", "ls", "--region", "us-west"], {}, 2, "'us-west' is no region such as us-west-2"),
        (["repo", "ls", "--region"], {}, 2, "ecrdrag repo ls --help lists the options"),
        (["repo"], {}, 2, "the following arguments are required: COMMAND"),
        (["image", "lst"], {}, 2, "invalid choice: 'lst'"),
        (["image", "ls", "My/App"], {}, 2, "did you mean my/app"),
        (["repo", "delete", "my/app", "--force"], {}, 2, "there is no terminal to ask on: nothing was changed"),
        (["repo", "ls"], {"AWS_ENDPOINT_URL_ECR": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, 5, "127.0.0.1:1"),
        (["repo", "ls", "--endpoint-url", "nonsense"], {}, 2, "check --endpoint-url"),
    ],
)
def test_at_the_door_an_error_has_its_exit_code_and_nothing_is_printed(
    served: tuple[LocalEcr, Recorder],
    recorder: Recorder,
    tmp_path: Path,
    arguments: list[str],
    changes: dict[str, str],
    code: int,
    said: str,
) -> None:
    environment = environment_of(served[0], PYTHONPATH=str(HOME), **changes)
    found = run("ecrdrag", *arguments, cwd=tmp_path, env=environment)
    assert (found.code, found.out, said in found.err) == (code, "", True), found.err
