"""Which registry a command speaks to: by name, options and AWS settings; what contradicts itself is refused."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ecrdrag import errors
from ecrdrag.cli.main import Parser
from ecrdrag.cli.planes import Planes, add_plane_arguments
from ecrdrag.control.plane import SILENT_TRIES, Plane
from ecrdrag.ecr_name import EcrName
from tests.connect_proxy import proxying
from tests.dockerhome import configure

ACCOUNT = "123456789012"
OTHER = "210987654321"
ARN = f"arn:aws:ecr:us-west-2:{ACCOUNT}:repository/app"
HOST = f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the AWS settings be keys and a region in the environment alone."""
    for name, value in {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)


def parsed(given: Sequence[str], *, several: bool = False) -> argparse.Namespace:
    parser = Parser(prog="ecrdrag any")
    add_plane_arguments(parser, several=several)
    return parser.parse_args(given)


def plane_of(*given: str, name: str = "app", several: bool = False) -> Plane:
    return Planes(parsed(given, several=several)).of(EcrName.parse(name))


def regions_of(*given: str) -> list[str]:
    return [plane.region for plane in Planes(parsed(given, several=True)).all()]


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize(
    ("given", "name", "region", "account", "where"),
    [
        ([], "app", "eu-west-1", None, "app in eu-west-1"),
        (["--region", "us-east-1"], "app", "us-east-1", None, "app in us-east-1"),
        (["--registry-id", OTHER], "app", "eu-west-1", OTHER, f"app in {OTHER} in eu-west-1"),
        ([], ARN, "us-west-2", ACCOUNT, f"{HOST}/app"),
        ([], f"{HOST}/app", "us-west-2", ACCOUNT, f"{HOST}/app"),
        (["--region", "us-west-2", "--registry-id", ACCOUNT], ARN, "us-west-2", ACCOUNT, f"{HOST}/app"),
    ],
)
def test_region_and_account_are_the_name_s_else_the_options_else_the_settings(
    given: list[str], name: str, region: str, account: str | None, where: str, several: bool
) -> None:
    plane = plane_of(*given, name=name, several=several)
    assert (plane.region, plane.account, plane.where("app")) == (region, account, where)


def test_without_a_name_the_registry_of_the_settings_is_meant() -> None:
    plane = Planes(parsed([])).of()
    assert (plane.region, plane.account, plane.where()) == ("eu-west-1", None, "ECR in eu-west-1")


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        (["--region", "us-east-1"], f"{HOST} is in us-west-2, and --region says us-east-1", "leave --region out"),
        (
            ["--region", "us-west-2", "--region", "us-east-1"],
            f"{HOST} is in us-west-2, and --region says us-east-1",
            "",
        ),
        (["--registry-id", OTHER], f"{HOST} is of account {ACCOUNT}, and --registry-id says {OTHER}", ""),
    ],
)
def test_options_that_contradict_the_name_are_refused(given: list[str], said: str, hint: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        plane_of(*given, name=ARN, several=True)
    assert str(caught.value) == said
    assert hint in caught.value.hint


@pytest.mark.parametrize("given", [["--region", "us-west-2", "--region", "us-east-1"], ["--region", "all"]])
def test_what_speaks_to_one_region_refuses_several(given: list[str]) -> None:
    with pytest.raises(errors.UsageError, match="this command speaks to one region"):
        plane_of(*given, several=True)


def test_a_name_with_a_region_does_with_all_too() -> None:
    assert plane_of("--region", "all", name=ARN, several=True).region == "us-west-2"


@pytest.mark.parametrize("region", ["us-west2", "US-WEST-2", "", "us west-2", "-1", "all", "eu", "us-west-2a"])
def test_what_is_no_region_is_refused_before_anything_is_asked(region: str) -> None:
    with pytest.raises(errors.UsageError, match="is no region such as us-west-2"):
        parsed([f"--region={region}"])


@pytest.mark.parametrize("account", ["1234", "12345678901a", "1234567890123", "", "１２３４５６７８９０１２"])
def test_what_is_no_account_is_refused(account: str) -> None:
    with pytest.raises(errors.UsageError, match="is no account of 12 digits"):
        parsed(["--registry-id", account])


@pytest.mark.parametrize("name", ["app", None])
def test_without_any_region_it_is_said_where_one_could_come_from(
    monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(errors.UsageError, match=r"^no region: neither the name nor the AWS settings") as caught:
        Planes(parsed([])).of(EcrName.parse(name) if name else None)
    assert all(one in caught.value.hint for one in ("--region", "AWS_REGION", "ARN"))


def test_aws_region_counts_as_with_the_aws_cli(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    assert plane_of().region == "ap-south-1"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert plane_of().region == "ap-south-1"


def test_regions_are_taken_in_their_order_and_each_once() -> None:
    assert regions_of() == ["eu-west-1"]
    assert regions_of("--region", "us-east-1", "--region", "eu-west-1", "--region", "us-east-1") == [
        "us-east-1",
        "eu-west-1",
    ]


@pytest.mark.parametrize(
    ("own", "given", "within", "without"),
    [
        ("eu-west-1", [], "us-west-2", "cn-north-1"),
        ("", [], "us-west-2", "cn-north-1"),
        ("cn-north-1", [], "cn-northwest-1", "us-west-2"),
        ("us-gov-west-1", [], "us-gov-east-1", "us-west-2"),
        ("eu-west-1", ["--region", "cn-north-1"], "cn-northwest-1", "us-west-2"),
    ],
)
def test_all_are_the_regions_of_the_partition_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, own: str, given: list[str], within: str, without: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", own)
    found = regions_of("--region", "all", *given)
    assert within in found
    assert without not in found
    assert len(found) == len(set(found))


def test_a_region_that_is_named_beside_all_is_read_too() -> None:
    assert regions_of("--region", "all", "--region", "us-west-99")[-1] == "us-west-99"


def test_a_region_of_no_partition_in_the_settings_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "moon-1")
    with pytest.raises(errors.UsageError, match="Unknown region: 'moon-1'"):
        regions_of("--region", "all")


@pytest.mark.parametrize("url", ["nonsense", "http://me:hunter2@127.0.0.1:99999", "http://[bad"])
@pytest.mark.parametrize("by_option", [True, False])
def test_an_endpoint_that_is_none_is_a_usage_error_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, url: str, by_option: bool
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "" if by_option else url)
    with pytest.raises(errors.UsageError) as caught:
        plane_of(*(["--endpoint-url", url] if by_option else []))
    assert "check --endpoint-url" in caught.value.hint
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_a_number_of_attempts_in_the_settings_is_all_that_a_silent_end_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plane_of().silent_tries == SILENT_TRIES
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert plane_of().silent_tries == 1
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(errors.UsageError, match="the AWS settings can't be used"):
        plane_of()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: plane_of(), False),
        (lambda: plane_of(name=ARN), True),
        (lambda: plane_of("--registry-id", ACCOUNT, "--region", "us-west-2"), True),
        (lambda: plane_of("--registry-id", OTHER, "--region", "us-west-2"), False),
        (lambda: plane_of("--profile", "mine", name=ARN), False),
    ],
)
def test_a_registry_in_the_user_s_map_is_spoken_to_by_its_profile(
    tmp_path: Path, make: Callable[[], Plane], named: bool
) -> None:
    configure(tmp_path, f'[registries."{HOST}"]\nprofile = "nobody"\n', "config/ecrdrag/config.toml")
    configure(tmp_path, "[profile mine]\naws_access_key_id = AKID\naws_secret_access_key = s\n", ".aws/config")
    if named:
        with pytest.raises(errors.UsageError, match=rf"^{HOST}: The config profile \(nobody\) could not be found"):
            make()
    else:
        make()


def test_secrets_are_asked_for_as_who_speaks_to_the_registry(tmp_path: Path) -> None:
    planes = Planes(parsed([]))
    plane = planes.of(EcrName.parse(ARN))
    assert planes.secrets(plane).accepts("CreateSecret", "SecretString")
    configure(tmp_path, f'[registries."{HOST}"]\nprofile = "nobody"\n', "config/ecrdrag/config.toml")
    with pytest.raises(errors.UsageError, match="nobody"):
        Planes(parsed([])).secrets(plane)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("app", "api.ecr.eu-west-1.amazonaws.com"),
        (ARN, "api.ecr.us-west-2.amazonaws.com"),
        (ARN.replace("aws:", "aws-cn:").replace("us-west-2", "cn-north-1"), "api.ecr.cn-north-1.amazonaws.com.cn"),
        (f"{ACCOUNT}.dkr.ecr-fips.us-west-2.amazonaws.com/app", "api.ecr-fips.us-west-2.amazonaws.com"),
        (f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws/app", "ecr.us-west-2.api.aws"),
        (f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws/app", "ecr-fips.us-west-2.api.aws"),
    ],
)
def test_a_host_form_leads_to_its_own_kind_of_endpoint(monkeypatch: pytest.MonkeyPatch, name: str, asked: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody, proxying(nobody.getsockname()[1]) as proxy:
        nobody.close()
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(errors.TransferError):
            plane_of(name=name).call("DescribeRepositories")
    assert proxy.asked == [f"{asked}:443"]


def test_clients_for_all_regions_are_made_from_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.session

    made: list[object] = []
    honest = botocore.session.Session.__init__

    def counted(session: botocore.session.Session, *given: object, **more: object) -> None:
        made.append(session)
        honest(session, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(botocore.session.Session, "__init__", counted)
    assert len(regions_of("--region", "all")) > 20
    assert len(made) == 1
