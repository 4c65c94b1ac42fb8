"""The map from registries to profiles and roles, and what tells one caller of AWS from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecrdrag.credentials.identities import Identity, fingerprint, identity_for
from ecrdrag.errors import UsageError

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
CHINA = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"
ROLE = "arn:aws:iam::210987654321:role/pull"
MAP = f"""
[registries."*.dkr.ecr.cn-north-1.amazonaws.com.cn"]
profile = "china"
[registries."123456789012.*"]
role_arn = "{ROLE}"
[registries."*.us-east-1.*"]
profile = "east"
role_arn = "{ROLE}"
[registries."{HOST.upper()}"]
profile = "prod"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "ecrdrag" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("registry", "identity"),
    [
        (HOST, Identity("prod")),  # by its name, though a pattern stands before it
        (HOST.upper(), Identity("prod")),
        (CHINA, Identity("china")),  # two patterns fit: the first one counts
        (HOST.replace("us-east-1", "eu-west-1"), Identity(None, ROLE)),
        (HOST.replace("123456789012", "210987654321"), Identity("east", ROLE)),
        ("210987654321.dkr.ecr.eu-west-1.amazonaws.com", Identity()),
        ("ghcr.io", Identity()),
    ],
)
def test_a_registry_is_found_by_name_then_by_pattern(tmp_path: Path, registry: str, identity: Identity) -> None:
    written(tmp_path, MAP)
    assert identity_for(registry, {"XDG_CONFIG_HOME": str(tmp_path)}) == identity


def test_the_map_is_in_the_home_unless_said_otherwise(tmp_path: Path) -> None:
    written(tmp_path / ".config", '[registries."*"]\nprofile = "home"\n')
    written(tmp_path / "xdg", '[registries."*"]\nprofile = "xdg"\n')
    home = {"HOME": str(tmp_path)}
    assert identity_for(HOST, home).profile == "home"
    assert identity_for(HOST, {**home, "XDG_CONFIG_HOME": "relative"}).profile == "home"
    assert identity_for(HOST, {**home, "XDG_CONFIG_HOME": str(tmp_path / "xdg")}).profile == "xdg"
    assert identity_for(HOST, {"HOME": str(tmp_path / "nowhere")}) == Identity()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("registry = 1", "registry is not known"),
        ("registries = []", "registries must be a table"),
        ("[registries]\na = 'prod'", 'registries."a" must be a table'),
        ("[registries.a]", 'registries."a" needs a profile or a role_arn'),
        ("[registries.a]\nProfile = 'prod'", 'registries."a".Profile is not known'),
        ("[registries.a]\nprofile = 7", 'registries."a".profile must be text in quotes'),
        ("[registries.a]\nprofile = ''", 'registries."a".profile must be text in quotes'),
        ("[registries.a]\nrole_arn = ['x']", 'registries."a".role_arn must be text in quotes'),
        ("[registries.a]\nrole_arn = 'pull'", 'registries."a".role_arn must be the ARN of a role'),
        (f"[registries.a]\nrole_arn = '{ROLE} '", 'registries."a".role_arn must be the ARN of a role'),
        ("[registries.a]\nprofile = 'x'\nexternal_id = 'y'", 'registries."a".external_id is not known'),
        ("[registries", "is not TOML"),
    ],
)
def test_what_can_t_be_understood_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        identity_for(HOST, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert str(caught.value).startswith(str(file))
    assert said in str(caught.value)


def test_a_map_that_can_t_be_read_is_named(tmp_path: Path) -> None:
    written(tmp_path, "").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"config.toml can't be read: it is not UTF-8"):
        identity_for(HOST, {"XDG_CONFIG_HOME": str(tmp_path)})
    (tmp_path / "b" / "ecrdrag" / "config.toml").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"config.toml can't be read: Is a directory"):
        identity_for(HOST, {"XDG_CONFIG_HOME": str(tmp_path / "b")})


CONFIG = """
[default]
region = eu-west-1
[profile plain]
region = eu-west-1
[profile "far away"]
role_arn = arn:aws:iam::210987654321:role/far
source_profile = middle
[profile middle]
role_arn = arn:aws:iam::210987654321:role/middle
source_profile = plain
[profile inside]
role_arn = arn:aws:iam::210987654321:role/inside
credential_source = Environment
[profile loop]
role_arn = arn:aws:iam::210987654321:role/loop
source_profile = loop
[profile sso]
sso_session = corp
sso_account_id = 210987654321
sso_role_name = ReadOnly
services = local
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
[services local]
ecr =
  endpoint_url = http://127.0.0.1:5000
"""
CREDENTIALS = """
[default]
aws_access_key_id = AKIDDEFAULT
aws_secret_access_key = s3cret
[plain]
aws_access_key_id = AKIDPLAIN
aws_secret_access_key = s3cret
aws_session_token = t0ken
[far away]
region = us-east-1
"""
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s3cret"}
PROFILES = ["plain", "far away", "middle", "inside", "loop", "sso", "unknown"]


def caller(
    folder: Path,
    identity: Identity | None = None,
    /,
    *,
    config: str = CONFIG,
    credentials: str = CREDENTIALS,
    **environ: str,
) -> str:
    """Write AWS's two files and take the fingerprint."""
    (folder / ".aws").mkdir(exist_ok=True)
    (folder / ".aws" / "config").write_text(config)
    (folder / ".aws" / "credentials").write_text(credentials)
    return fingerprint(identity or Identity(), {"HOME": str(folder), **environ})


def test_every_way_to_say_who_we_are_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    containers = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
    found = [
        caller(tmp_path),
        caller(tmp_path, **KEYS),
        caller(tmp_path, AWS_ACCESS_KEY_ID="AKIDOTHER"),
        caller(tmp_path, Identity(None, ROLE)),
        caller(tmp_path, Identity(None, f"{ROLE}2")),
        caller(tmp_path, Identity(None, ROLE), **KEYS),
        caller(tmp_path, Identity("plain", ROLE)),
        caller(tmp_path, AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE="/token"),
        caller(tmp_path, **{containers: "/v2/credentials/1"}),
        caller(tmp_path, **{containers: "/v2/credentials/2"}),
        *(caller(tmp_path, Identity(name)) for name in PROFILES),
        caller(tmp_path, AWS_ENDPOINT_URL_ECR="http://127.0.0.1:1"),
        caller(tmp_path, AWS_ENDPOINT_URL_ECR="http://127.0.0.1:2"),
        caller(tmp_path, AWS_ENDPOINT_URL="http://127.0.0.1:1"),
        caller(tmp_path, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true"),
    ]
    assert len(set(found)) == len(found)
    nothing = {"config": "", "credentials": ""}
    assert caller(tmp_path, AWS_PROFILE="nobody", **nothing) != caller(tmp_path, **nothing)
    assert all(len(each) == 64 for each in found)


def test_keys_in_the_environment_come_before_a_profile_there_but_not_before_one_asked_for(tmp_path: Path) -> None:
    assert caller(tmp_path, **KEYS, AWS_PROFILE="plain") == caller(tmp_path, **KEYS)
    assert caller(tmp_path, Identity("plain"), **KEYS) == caller(tmp_path, Identity("plain"))
    web = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}
    assert caller(tmp_path, Identity("plain"), **web) == caller(tmp_path, Identity("plain"))
    assert caller(tmp_path, AWS_ACCESS_KEY_ID="", AWS_PROFILE="plain") == caller(tmp_path, AWS_PROFILE="plain")


def test_the_variables_for_a_profile_are_read_in_botocore_s_order(tmp_path: Path) -> None:
    assert caller(tmp_path, AWS_PROFILE="sso") == caller(tmp_path, AWS_DEFAULT_PROFILE="sso")
    assert caller(tmp_path, AWS_PROFILE="plain", AWS_DEFAULT_PROFILE="sso") == caller(tmp_path, AWS_PROFILE="sso")
    assert caller(tmp_path, AWS_PROFILE="default") == caller(tmp_path)


def test_keys_in_the_environment_count_where_a_profile_takes_them_as_its_source(tmp_path: Path) -> None:
    inside = Identity("inside")
    assert caller(tmp_path, inside, **KEYS) != caller(tmp_path, inside, AWS_ACCESS_KEY_ID="AKIDOTHER")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("far away", "role/far", "role/near"),
        ("far away", "role/middle", "role/other"),
        ("far away", "[plain]\naws_access_key_id = AKIDPLAIN", "[plain]\naws_access_key_id = AKIDNEW"),
        ("plain", "AKIDPLAIN", "AKIDNEW"),
        ("sso", "ReadOnly", "Admin"),
        ("sso", "corp.awsapps.com", "other.awsapps.com"),
        ("sso", "127.0.0.1:5000", "127.0.0.1:5001"),
    ],
)
def test_a_change_of_what_a_profile_stands_on_is_another_caller(tmp_path: Path, name: str, old: str, new: str) -> None:
    changed = {"config": CONFIG.replace(old, new), "credentials": CREDENTIALS.replace(old, new)}
    assert changed != {"config": CONFIG, "credentials": CREDENTIALS}
    assert caller(tmp_path, Identity(name)) != caller(
        tmp_path, Identity(name), config=changed["config"], credentials=changed["credentials"]
    )


def test_secrets_and_other_profiles_change_nothing(tmp_path: Path) -> None:
    plain = caller(tmp_path, Identity("plain"))
    for old, new in (("s3cret", "changed"), ("t0ken", "changed"), ("AKIDDEFAULT", "AKIDNEW")):
        assert old in CREDENTIALS
        assert caller(tmp_path, Identity("plain"), credentials=CREDENTIALS.replace(old, new)) == plain
    assert caller(tmp_path, Identity("plain"), config=CONFIG.replace("ReadOnly", "Admin")) == plain
    assert caller(tmp_path, **KEYS) == caller(tmp_path, **{**KEYS, "AWS_SECRET_ACCESS_KEY": "changed"})


def test_files_elsewhere_are_read_there_and_broken_ones_are_left_to_botocore(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(CONFIG.replace("ReadOnly", "Admin"))
    there = str(tmp_path / "elsewhere")
    sso = Identity("sso")
    assert caller(tmp_path, sso, AWS_CONFIG_FILE=there) != caller(tmp_path, sso)
    assert caller(tmp_path, Identity("plain"), AWS_SHARED_CREDENTIALS_FILE=there) != caller(tmp_path, Identity("plain"))
    assert caller(tmp_path, sso, config="[profile sso\n") == caller(tmp_path, sso, config="")
