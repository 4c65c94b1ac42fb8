"""`ecrdrag cache-rule` as a user runs it: what it asks, prints and ends with, and that no token is ever seen."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.cli.main import main
from ecrdrag.errors import AuthError, TransferError
from tests.flow.ruled import HOST, NAME, TOKEN, Ruled, ruled
from tests.flow.scripts import HOME, Run, environment_of, run
from tests.localecr import ACCOUNT, REGION
from tests.refusing import denying
from tests.screens import check_golden, screen

DOCKER_HUB = ("--upstream", "docker-hub")
LOGIN = ("-u", "me", "--password-stdin")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Ruled]:
    with ruled(tmp_path / "ecr") as there:
        yield there


@pytest.fixture
def here(there: Ruled, monkeypatch: pytest.MonkeyPatch) -> Ruled:
    """Let commands of this process speak to it."""
    for name, value in there.ecr.environment.items():
        monkeypatch.setenv(name, value)
    return there


def cache_rule(capsys: pytest.CaptureFixture[str], *arguments: str) -> Run:
    """Run a command in this process, which is a tenth of the time."""
    code = main(["cache-rule", *arguments])
    said = capsys.readouterr()
    return Run(code, said.out, said.err)


def command(there: Ruled, *arguments: str, stdin: str = f"{TOKEN}\n") -> Run:
    """Run a command as a process, as loudly as it gets, and look for the token in all that it says."""
    environment = environment_of(there.ecr, PYTHONPATH=str(HOME), PYTHONIOENCODING="utf-8")
    done = run("ecrdrag", "cache-rule", *arguments, "-vv", cwd=there.ecr.data, env=environment, stdin=stdin)
    for form in (TOKEN, json.dumps(TOKEN)[1:-1], TOKEN.encode("unicode_escape").decode(), "t0ken"):
        assert form not in done.out + done.err
    return done


def test_a_rule_with_a_secret_is_made_by_one_command(there: Ruled) -> None:
    done = command(there, "create", "hub", *DOCKER_HUB, *LOGIN, "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    (listed,) = there.api.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert made.keys() == listed.keys() - {"updatedAt"}
    assert made["credentialArn"] == listed["credentialArn"]
    assert there.login_in(made["credentialArn"]) == {"username": "me", "accessToken": TOKEN}
    assert done.err.splitlines() == [
        f"will keep the token of me as the secret {NAME} in {REGION}",
        f"will create the pull-through cache rule hub in {REGION}, from Docker Hub (registry-1.docker.io)",
    ]


def test_a_secret_that_is_there_is_replaced_only_by_who_says_yes(there: Ruled) -> None:
    there.vault.create_secret(Name=NAME, SecretString='{"username": "old", "accessToken": "older"}')
    refused = command(there, "create", "hub", *DOCKER_HUB, *LOGIN)
    assert (refused.code, refused.out) == (2, "")
    assert f"replace what the secret {NAME} in {REGION} holds" in refused.err
    assert "--yes" in refused.err
    assert there.login_in(NAME) == {"username": "old", "accessToken": "older"}
    assert there.prefixes() == []
    agreed = command(there, "create", "hub", *DOCKER_HUB, *LOGIN, "--yes")
    assert agreed.code == 0, agreed.err
    assert there.login_in(NAME) == {"username": "me", "accessToken": TOKEN}


def test_a_rule_that_is_there_already_costs_no_secret(there: Ruled) -> None:
    there.api.create_pull_through_cache_rule(ecrRepositoryPrefix="hub", upstreamRegistryUrl="quay.io")
    done = command(there, "create", "hub", *DOCKER_HUB, *LOGIN, "--yes")
    assert (done.code, done.out) == (9, "")
    assert f"hub in {REGION}: there is a rule already, for Quay (quay.io)" in done.err
    assert there.vault.list_secrets()["SecretList"] == []


def test_a_secret_stays_and_is_said_where_the_rule_cannot_be_made(there: Ruled) -> None:
    denying(there.recorder, "CreatePullThroughCacheRule")
    done = command(there, "create", "hub", *DOCKER_HUB, *LOGIN, "--secret-name", "other", "--upstream-prefix", "me")
    assert (done.code, done.out) == (3, "")
    (secret,) = there.vault.list_secrets()["SecretList"]
    assert secret["Name"] == "ecr-pullthroughcache/other"
    assert "ecr:CreatePullThroughCacheRule" in done.err
    go_on = "cache-rule create hub --upstream registry-1.docker.io --upstream-prefix me --region us-west-2 --secret-arn"
    assert f"{go_on} {secret['ARN']}" in done.err
    there.recorder.intercept = lambda request, handler: handler(request)
    words = done.err.partition("go on with it: ecrdrag cache-rule ")[2].split()
    assert command(there, *words).code == 0
    assert there.prefixes() == ["hub"]


def test_a_token_is_typed_on_a_terminal_or_read_and_never_taken_from_elsewhere(there: Ruled) -> None:
    done = command(there, "create", "hub", *DOCKER_HUB, "-u", "me")
    assert (done.code, done.out) == (2, "")
    assert "--password-stdin" in done.err
    assert there.vault.list_secrets()["SecretList"] == []


def test_on_a_terminal_the_token_is_asked_for_after_the_yes_and_not_shown(there: Ruled) -> None:
    done, shown = typed(there, {b"go ahead? [y/N] ": b"y\n", b"Password: ": f"{TOKEN}\n".encode()})
    assert done.code == 0, shown
    assert b"will keep the token of me as the secret" in shown.partition(b"go ahead?")[0]
    assert b"t0ken" not in shown + done.out.encode()
    assert there.login_in(NAME) == {"username": "me", "accessToken": TOKEN}


def test_on_a_terminal_a_no_asks_for_no_token(there: Ruled) -> None:
    done, shown = typed(there, {b"go ahead? [y/N] ": b"\n"})
    assert (done.code, b"Password" in shown) == (2, False)
    assert there.prefixes() == []
    assert there.vault.list_secrets()["SecretList"] == []


def typed(there: Ruled, answers: dict[bytes, bytes]) -> tuple[Run, bytes]:
    """Create a rule on a terminal, type when something is asked, and give what the terminal showed too."""
    ours, theirs = pty.openpty()
    # Whoever leads a session and opens a terminal has it for its own: tty_ioctl(4).
    lead = (
        "import os, sys; os.setsid(); terminal = os.open(sys.argv[1], os.O_RDWR); "
        "os.dup2(terminal, 0); os.dup2(terminal, 2); os.execv(sys.argv[2], sys.argv[2:])"
    )
    command = [sys.executable, "-c", lead, os.ttyname(theirs), sys.executable, "-m", "ecrdrag", "cache-rule", "create"]
    environment = environment_of(there.ecr, PYTHONPATH=str(HOME), PYTHONIOENCODING="utf-8")
    with subprocess.Popen(
        [*command, "hub", *DOCKER_HUB, "-u", "me"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        shown = b""
        try:
            for question, answer in answers.items():
                while not shown.endswith(question):
                    assert select.select([ours], [], [], 20)[0], shown
                    shown += os.read(ours, 1000)
                os.write(ours, answer)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()  # nobody answers it any more
    os.write(theirs, b"the end")  # a read of no bytes would wait
    shown += os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)
    return Run(process.returncode, out, ""), shown


@pytest.mark.parametrize("stdin", ["", "\n", "  \n"])
def test_an_empty_token_is_none(there: Ruled, stdin: str) -> None:
    done = command(there, "create", "hub", *DOCKER_HUB, *LOGIN, stdin=stdin)
    assert (done.code, "password is empty" in done.err) == (2, True)
    assert there.vault.list_secrets()["SecretList"] == []


def test_a_dry_run_reads_no_token_and_changes_nothing(there: Ruled) -> None:
    there.vault.create_secret(Name=NAME, SecretString="{}")
    done = command(there, "create", "hub", *DOCKER_HUB, "-u", "me", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert "would replace" in done.err
    assert "would create the pull-through cache rule hub" in done.err
    assert there.prefixes() == []
    assert there.login_in(NAME) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "hub"], "--upstream"),
        (["create", "hub", *DOCKER_HUB], "--username"),
        (["create", "hub", *DOCKER_HUB, "--password-stdin"], "--username"),
        (["create", "hub", *DOCKER_HUB, "-u", "me", "--secret-arn", "arn"], "give one of them"),
        (["create", "hub", *DOCKER_HUB, "--secret-arn", "arn"], "not the ARN"),
        (["create", "hub", "--upstream", "quay", "--secret-name", "x"], "--username"),
        (["create", "hub", *DOCKER_HUB, "-u", "me", "--secret-name", "a b"], "name of a secret"),
        (["create", "Hub", *DOCKER_HUB], "PREFIX of a pull-through"),
        (["create", "hub", "--upstream", "nowhere"], "is no registry"),
        (["show", "a//b"], "prefix"),
        (["show"], "PREFIX"),
        (["delete", "quay"], "--yes"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_a_command_that_cannot_be_is_a_usage_error_and_asks_for_nothing(
    here: Ruled, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    here.api.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
    done = cache_rule(capsys, *arguments)
    assert (done.code, done.out) == (2, "")
    assert words.lower() in done.err.lower()
    assert here.prefixes() == ["quay"]


def test_rules_of_several_regions_say_where_they_are(here: Ruled, capsys: pytest.CaptureFixture[str]) -> None:
    for region in ("eu-west-1", REGION):
        made = cache_rule(capsys, "create", "quay", "--upstream", "quay", "--region", region)
        assert made.code == 0
    listed = cache_rule(capsys, "ls", "--region", REGION, "--region", "eu-west-1", "--json")
    rules = json.loads(listed.out)["pullThroughCacheRules"]
    assert [(one["ecrRepositoryPrefix"], one["region"]) for one in rules] == [("quay", REGION), ("quay", "eu-west-1")]
    told = cache_rule(capsys, "ls", "--region", "all", "--tsv").out.splitlines()
    assert [line.split("\t")[:5] for line in told] == [
        [region, "quay", "Quay", "quay.io", "none"] for region in ("eu-west-1", REGION)
    ]


def test_a_query_picks_of_a_rule_what_it_picks_of_the_aws_clis(here: Ruled, capsys: pytest.CaptureFixture[str]) -> None:
    cache_rule(capsys, "create", "quay", "--upstream", "quay", "--upstream-prefix", "team")
    for arguments in (["ls"], ["show", "quay"]):
        found = cache_rule(capsys, *arguments, "--query", "pullThroughCacheRules[0].upstreamRepositoryPrefix")
        assert (found.code, json.loads(found.out)) == (0, "team")


@pytest.mark.parametrize(("failure", "code"), [(None, 0), (TransferError("gone"), 3), (AuthError("no"), 3)])
def test_a_rule_with_a_secret_is_valid_or_its_credential_is_in_doubt(
    there: Ruled, failure: TransferError | None, code: int
) -> None:
    command(there, "create", "hub", *DOCKER_HUB, *LOGIN)
    there.upstream.failure = failure
    done = command(there, "validate", "hub", "--json")
    assert done.code == code
    assert json.loads(done.out)["isValid"] is (code == 0)
    assert (f"hub in {REGION}: the rule is not valid: " in done.err) is (code != 0)


def test_a_rule_without_a_secret_is_valid_or_its_registry_is_in_doubt(
    here: Ruled, capsys: pytest.CaptureFixture[str]
) -> None:
    cache_rule(capsys, "create", "quay", "--upstream", "quay")
    assert cache_rule(capsys, "validate", "quay", "--query", "isValid").out == "true\n"
    here.upstream.failure = TransferError("gone")
    done = cache_rule(capsys, "validate", "quay")
    assert done.code == 5
    assert "Failure:" in done.out
    assert "not valid: gone" in done.err


def test_who_deletes_is_told_what_stays(there: Ruled) -> None:
    command(there, "create", "hub", *DOCKER_HUB, *LOGIN)
    for number in range(7):
        there.api.create_repository(repositoryName=f"hub/app-{number}")
    refused = command(there, "delete", "hub")
    assert refused.code == 2
    names = ", ".join(f"hub/app-{number}" for number in range(5))
    assert f"will leave its repositories as they are: {names} and 2 more\n" in refused.err
    assert f"will leave the secret {NAME} as it is\n" in refused.err
    assert there.prefixes() == ["hub"]
    done = command(there, "delete", "hub", "--yes", "--json")
    assert (done.code, json.loads(done.out)["ecrRepositoryPrefix"]) == (0, "hub")
    assert there.prefixes() == []
    assert len(there.api.describe_repositories()["repositories"]) == 7
    assert there.login_in(NAME)


def test_who_may_not_list_repositories_may_delete_a_rule(here: Ruled, capsys: pytest.CaptureFixture[str]) -> None:
    cache_rule(capsys, "create", "quay", "--upstream", "quay")
    denying(here.recorder, "DescribeRepositories")
    done = cache_rule(capsys, "delete", "quay", "-y")
    assert done.code == 0
    assert "leave the repositories that came of it" in done.err


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("DescribePullThroughCacheRules", ["ls"]),
        ("DescribePullThroughCacheRules", ["show", "quay"]),
        ("CreatePullThroughCacheRule", ["create", "new", "--upstream", "quay"]),
        ("ValidatePullThroughCacheRule", ["validate", "quay"]),
        ("DeletePullThroughCacheRule", ["delete", "quay", "--yes"]),
    ],
)
def test_a_missing_permission_is_named(
    here: Ruled, capsys: pytest.CaptureFixture[str], operation: str, arguments: list[str]
) -> None:
    cache_rule(capsys, "create", "quay", "--upstream", "quay")
    denying(here.recorder, operation)
    done = cache_rule(capsys, *arguments)
    assert (done.code, done.out) == (3, "")
    assert f"ecr:{operation}" in done.err.splitlines()[-1]


def test_a_rule_tells_how_to_pull_through_it(here: Ruled, capsys: pytest.CaptureFixture[str]) -> None:
    arn = here.vault.create_secret(Name=NAME, SecretString='{"username": "me", "accessToken": "x"}')["ARN"]
    made = cache_rule(capsys, "create", "docker-hub", *DOCKER_HUB, "--secret-arn", arn)
    for told in (made, cache_rule(capsys, "show", "docker-hub")):
        assert f"ecrdrag pull {HOST}/docker-hub/library/nginx:TAG\n" in told.out
        assert "official images of Docker Hub are in library/" in told.out


@pytest.mark.parametrize("columns", [80, 200])
def test_screens(tmp_path: Path, columns: int) -> None:
    with ruled(tmp_path / "ecr", age=3 * 24 * 3600) as there:
        arn = there.vault.create_secret(Name=f"{NAME}-{'x' * 200}", SecretString='{"username":"a","accessToken":"b"}')
        there.api.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
        there.api.create_pull_through_cache_rule(
            ecrRepositoryPrefix="team/cache-of-docker-hub-30ch",
            upstreamRegistryUrl="registry-1.docker.io",
            credentialArn=arn["ARN"],
        )
        there.api.create_pull_through_cache_rule(
            ecrRepositoryPrefix="theirs",
            upstreamRegistryUrl="999999999999.dkr.ecr.eu-central-1.amazonaws.com",
            customRoleArn=f"arn:aws:iam::{ACCOUNT}:role/ecr-cache",
            upstreamRepositoryPrefix="base/images",
        )
        environment = environment_of(there.ecr)
        suffix = arn["ARN"][-6:]
        listed = screen(["cache-rule", "ls"], environment, columns)
        assert max(map(len, listed.splitlines())) <= columns + len("\x1b[1m\x1b[0m")
        check_golden(f"cache-rule-ls-{columns}", listed)
        shown = screen(["cache-rule", "show", "team/cache-of-docker-hub-30ch"], environment, columns)
        check_golden(f"cache-rule-show-{columns}", shown.replace(suffix, "AbCdEf"))
        there.upstream.failure = AuthError("the login was refused")
        tried = screen(["cache-rule", "validate", "team/cache-of-docker-hub-30ch"], environment, columns, code=3)
        check_golden(f"cache-rule-validate-{columns}", tried.replace(suffix, "AbCdEf"))
