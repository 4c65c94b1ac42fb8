"""docker's protocol, by the table: what the helper reads, prints and ends with, and which hosts are ECR's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecrdrag.credentials.cache import TokenCache
from ecrdrag.credentials.helper import NOT_FOUND, Answer, EcrLogins, Registry, answer, registry_of
from ecrdrag.credentials.identities import Identity
from ecrdrag.errors import AuthError, EcrdragError, UsageError
from ecrdrag.registry.auth import EcrToken, Login

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
NAME = "docker-credential-ecrdrag"
USAGE = f"Usage: {NAME} <store|get|erase|list|version>"
NO_SERVER = "no credentials server URL"
DAY = 24 * 3600.0
LIMIT = 64 * 1024


@dataclass
class Aws:
    """Hand out numbered passwords, or raise."""

    fails: EcrdragError | None = None
    asked: list[tuple[Registry, Identity]] = field(default_factory=list)

    def fetch(self, registry: Registry, identity: Identity) -> EcrToken:
        self.asked.append((registry, identity))
        if self.fails:
            raise self.fails
        return EcrToken(Login("AWS", f"p<{len(self.asked)}>&é"), 1000.0 + DAY)


@pytest.fixture
def aws() -> Aws:
    return Aws()


Ask = Callable[..., Answer]


@pytest.fixture
def ask(aws: Aws, tmp_path: Path) -> Ask:
    """Run the helper with arguments and bytes on stdin."""
    environ: Mapping[str, str] = {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"}
    logins = EcrLogins(TokenCache(tmp_path / "cache", clock=lambda: 1000.0), aws.fetch, environ)

    def run(*arguments: str, stdin: bytes = b"") -> Answer:
        return answer(arguments, io.BytesIO(stdin), logins, version="1.2.3")

    return run


@pytest.mark.parametrize(
    "stdin",
    [HOST, f"{HOST}\n", f"  {HOST}\r\n", f"{HOST[:20]}\r\n{HOST[20:]}\r\n", f"\n\n{HOST}\n\n"],
    ids=["bare", "newline", "blanks", "two lines, which count as one", "empty lines"],
)
def test_get_prints_the_server_as_it_came_with_user_and_password(ask: Ask, stdin: str) -> None:
    given = ask("get", stdin=stdin.encode())
    assert given.code == 0
    assert json.loads(given.text) == {"ServerURL": HOST, "Username": "AWS", "Secret": "p<1>&é"}
    assert "\n" not in given.text


@pytest.mark.parametrize("server", [f"https://{HOST}", f"https://{HOST}/v2/app", f"{HOST}:443", f"{HOST.upper()}/x"])
def test_get_takes_a_url_and_doesn_t_mind_its_path(ask: Ask, aws: Aws, server: str) -> None:
    assert json.loads(ask("get", stdin=server.encode()).text)["ServerURL"] == server
    ((registry, _),) = aws.asked
    assert registry.ecr
    assert str(registry.ecr) == HOST


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        ((), b"", USAGE),
        (("get", "list"), HOST.encode(), USAGE),
        (("forget",), b"", f"{NAME}: unknown action: forget"),
        (("GET",), HOST.encode(), f"{NAME}: unknown action: GET"),
        (("get",), b"", NO_SERVER),
        (("get",), b" \r\n\n", NO_SERVER),
        (("get",), b"x" * (LIMIT + 1), "bufio.Scanner: token too long"),
        (("get",), b"ghcr.io", NOT_FOUND),
        (("get",), b"https://index.docker.io/v1/", NOT_FOUND),
        (("get",), b"\xff\xfe", NOT_FOUND),
        (("get",), b"https://[::1", NOT_FOUND),
        (("erase",), b"", NO_SERVER),
        (("erase",), b"ghcr.io", NOT_FOUND),
        (("store",), b"", "the credentials are not a JSON object"),
        (("store",), b"[" * 60_000, "the credentials are not a JSON object"),
        (("store",), b"[]", "the credentials are not a JSON object"),
        (("store",), b"{}", NO_SERVER),
        (("store",), b'{"ServerURL":7,"Username":"me","Secret":"s3cret"}', NO_SERVER),
        (("store",), f'{{"ServerURL":"{HOST}","Secret":"s3cret"}}'.encode(), "no credentials username"),
        (
            ("store",),
            b'{"ServerURL":"https://me:s3cret@ghcr.io/v1","Username":"me","Secret":"s3cret"}',
            f"{NAME} keeps no passwords, and has only those of ECR, which ghcr.io is not",
        ),
    ],
)
def test_what_goes_wrong_is_said_in_the_protocol_s_words_with_exit_1(
    ask: Ask, aws: Aws, arguments: tuple[str, ...], stdin: bytes, said: str
) -> None:
    assert ask(*arguments, stdin=stdin) == Answer(said, 1)
    assert aws.asked == []


def test_the_not_found_text_is_what_clients_compare() -> None:
    assert NOT_FOUND == "credentials not found in native keychain"


def test_as_much_as_docker_s_own_helpers_read_is_read(ask: Ask) -> None:
    assert ask("get", stdin=b"x" * LIMIT).text == NOT_FOUND


@pytest.mark.parametrize("option", ["version", "--version", "-v"])
def test_the_version_is_printed(ask: Ask, option: str) -> None:
    assert ask(option) == Answer(f"{NAME} (ecrdrag) 1.2.3")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_usage_and_no_failure(ask: Ask, option: str) -> None:
    assert ask(option) == Answer(USAGE)


@pytest.mark.parametrize("host", [HOST, f"https://{HOST}", "public.ecr.aws", "ecr-public.aws.com"])
def test_store_and_erase_of_an_ecr_host_do_nothing_and_succeed(ask: Ask, aws: Aws, tmp_path: Path, host: str) -> None:
    kept = ask("get", stdin=host.encode())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    given = json.dumps({"ServerURL": host, "Username": "AWS", "Secret": "s3cret"}, indent=1)
    assert ask("store", stdin=given.encode()) == Answer("")
    assert ask("store", stdin=given.replace("ServerURL", "serverurl").encode()) == Answer("")  # as in Go
    assert ask("erase", stdin=host.encode()) == Answer("")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before
    assert ask("get", stdin=host.encode()) == kept
    assert len(aws.asked) == 1


def test_list_tells_of_what_is_on_disk_and_asks_nobody(ask: Ask, aws: Aws) -> None:
    assert ask("list", stdin=b"unused") == Answer("{}")
    ask("get", stdin=HOST.encode())
    ask("get", stdin=b"ecr-public.aws.com")
    assert len(aws.asked) == 2
    listed = {f"https://{HOST}": "AWS", "https://public.ecr.aws": "AWS"}
    assert json.loads(ask("list", stdin=b"unused").text) == listed
    assert len(aws.asked) == 2


def test_both_names_of_ecr_public_share_a_password(ask: Ask, aws: Aws) -> None:
    secrets = [json.loads(ask("get", stdin=host).text)["Secret"] for host in (b"public.ecr.aws", b"ecr-public.aws.com")]
    assert secrets[0] == secrets[1]
    assert [(registry.host, registry.ecr) for registry, _ in aws.asked] == [("public.ecr.aws", None)]


@pytest.mark.parametrize("host", ["public.ecr.aws", "https://ecr-public.aws.com/v2"])
def test_where_anybody_may_read_docker_is_told_of_no_password_and_people_why(
    ask: Ask, aws: Aws, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    aws.fails = AuthError("no AWS credentials found", hint="do this\nor that")
    assert ask("get", stdin=host.encode()) == Answer(NOT_FOUND, 1)
    assert caplog.messages == ["no AWS credentials found", "  do this", "  or that"]


def test_where_nobody_gets_in_without_a_password_docker_and_people_are_told_why(
    ask: Ask, aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    aws.fails = AuthError("no AWS credentials\x1b[2Jfound", hint="do this\nor that")
    assert ask("get", stdin=HOST.encode()) == Answer("no AWS credentials [2Jfound; do this; or that", 1)
    assert caplog.messages == ["no AWS credentials\x1b[2Jfound", "  do this", "  or that"]


def test_the_user_s_map_decides_who_asks(ask: Ask, aws: Aws, tmp_path: Path) -> None:
    file = tmp_path / ".config" / "ecrdrag" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[registries."{HOST}"]\nprofile = "prod"\n[registries."ecr-public.*"]\nprofile = "public"\n')
    for host in (HOST, HOST.replace("us-east-1", "us-west-2"), "ecr-public.aws.com", "public.ecr.aws"):
        ask("get", stdin=host.encode())
    assert [identity.profile for _, identity in aws.asked] == ["prod", None, "public", None]


def test_a_map_that_is_wrong_is_said_and_no_matter_to_other_registries(
    ask: Ask, aws: Aws, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / ".config" / "ecrdrag" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("registries = 7\n")
    assert ask("get", stdin=b"ghcr.io") == Answer(NOT_FOUND, 1)
    assert caplog.messages == []
    assert ask("get", stdin=HOST.encode()) == Answer(f"{file}: registries must be a table", 1)
    assert caplog.messages == [f"{file}: registries must be a table"]
    assert aws.asked == []


# The facts of amazon-ecr-credential-helper's ecr-login/api/client_test.go, TestExtractRegistry, in its order:
# account, region and whether FIPS.
THEIRS = {
    "https://123456789012.dkr.ecr.us-east-1.amazonaws.com/v2/blah/blah": ("123456789012", "us-east-1", False),
    "123456789012.dkr.ecr.us-west-2.amazonaws.com": ("123456789012", "us-west-2", False),
    "123456789012.dkr-ecr.us-west-2.on.aws": ("123456789012", "us-west-2", False),
    "123456789012.dkr-ecr-fips.us-west-2.on.aws": ("123456789012", "us-west-2", True),
    "210987654321.dkr.ecr.cn-north-1.amazonaws.com.cn/foo": ("210987654321", "cn-north-1", False),
    "210987654321.dkr.ecr.cn-north-1.on.amazonwebservices.com.cn": ("210987654321", "cn-north-1", False),
    "210987654321.dkr.ecr.us-iso-east-1.c2s.ic.gov": ("210987654321", "us-iso-east-1", False),
    "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov": ("123456789012", "us-isob-east-1", False),
    "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk": ("123456789012", "eu-isoe-west-1", False),
    "123456789012.dkr.ecr.us-isof-east-1.csp.hci.ic.gov": ("123456789012", "us-isof-east-1", False),
    "123456789012.dkr-ecr.us-gov-east-1.on.aws": ("123456789012", "us-gov-east-1", False),
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": ("123456789012", "us-gov-west-1", True),
    "123456789012.dkr-ecr-fips.us-gov-east-1.on.aws": ("123456789012", "us-gov-east-1", True),
    "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu": ("123456789012", "eusc-de-east-1", False),
}
THEIRS_IN_PUBLIC = {
    "https://public.ecr.aws": "public.ecr.aws",
    "https://ecr-public.aws.com": "ecr-public.aws.com",
    "public.ecr.aws": "public.ecr.aws",
    "ecr-public.aws.com": "ecr-public.aws.com",
    "https://public.ecr.aws/amazonlinux": "public.ecr.aws",
    "https://ecr-public.aws.com/amazonlinux": "ecr-public.aws.com",
}
REFUSED_BY_THEM = [
    ".dkr.ecr.not-real.amazonaws.com",
    "not.ecr.io",
    "https://123456789012.dkr.ecr.us-west-2.amazonaws.com.fake.example.com/image:latest",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com.fake.example.com",
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com.fake.example.com",
    "210987654321.dkr.ecr.cn-north-1.amazonaws.com.cn.fake.example.com.cn",
    "210987654321.dkr.ecr.cn-north-1.on.aws.com.cn",
    "https://public.ecr.aws.fake.example.com",
    "public.ecr.aws.fake.example.com",
    "http://123456789012.dkr.ecr.us-west-2.amazonaws.com",  # not in their table, but they refuse it too
]
# What their pattern would take, and no partition of botocore's has.
REFUSED_BY_US = [
    "123456789012.dkr.ecr.not-real.amazonaws.com",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com.cn",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
    "123456789012.dkr-ecr.us-west-2.amazonaws.com",
    "123456789012.dkr-ecr.us-iso-east-1.c2s.ic.gov",
    "123456789012.dkr.ecr.us-iso-east-1.on.aws",
    "123456789012.dkr.ecr.us_west_2.amazonaws.com",
]


@pytest.mark.parametrize("server", THEIRS)
def test_every_private_registry_of_amazon_s_helper_is_ours_too(ask: Ask, aws: Aws, server: str) -> None:
    assert ask("get", stdin=server.encode()).code == 0
    ((registry, _),) = aws.asked
    assert registry.ecr
    assert (registry.ecr.account, registry.ecr.region, registry.ecr.fips) == THEIRS[server]
    assert registry.host == server.removeprefix("https://").partition("/")[0]


@pytest.mark.parametrize("server", THEIRS_IN_PUBLIC)
def test_every_public_registry_of_amazon_s_helper_is_ours_too(ask: Ask, server: str) -> None:
    assert ask("get", stdin=server.encode()).code == 0
    assert Registry.parse(server) == Registry(THEIRS_IN_PUBLIC[server], None)


@pytest.mark.parametrize("server", [*REFUSED_BY_THEM, *REFUSED_BY_US])
def test_a_host_that_isn_t_ecr_s_is_not_found(ask: Ask, aws: Aws, server: str) -> None:
    assert ask("get", stdin=server.encode()) == Answer(NOT_FOUND, 1)
    assert aws.asked == []
    assert registry_of(server) is None
    with pytest.raises(UsageError):
        Registry.parse(server)
