"""Bad input to docker_pull.py: each with its exit code, what failed, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr
from tests.flow.conftest import HELLO, HOST
from tests.flow.scripts import environment_of, run

APP = f"{HOST}/my/app"
NOWHERE = Digest.of(b"nowhere")
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
LOCAL = "The security token included in the request is invalid"


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        ([f"{HOST}/no/such:1"], {}, 4, "The repository with name 'no/such' does not exist"),
        ([f"{APP}:nope"], {}, 4, f"{APP}:nope: Requested image not found (ImageNotFound)"),
        ([f"{APP}@{NOWHERE}"], {}, 4, f"@{NOWHERE}: Requested image not found (ImageNotFound)"),
        ([f"{APP}:noise@{HELLO.manifest.digest}"], {}, 4, "the tag has moved to another image"),
        ([f"{APP}:multi", "--platform", "linux/s390x"], {}, 4, "it has linux/amd64, linux/arm64"),
        ([f"{APP}:1.2", "--platform", "windows/amd64"], {}, 4, "is an image for linux/amd64, not for windows/amd64"),
        ([f"{APP}:multi", "--platform", "linux/amd64", "--platform", "linux/s390x"], {}, 4, "no image for linux/s390x"),
        ([f"{APP}:multi", "--platform", "all", "--platform", "linux/s390x"], {}, 4, "no image for linux/s390x"),
        ([f"{APP}:1.2", "--platform", "arm64"], {}, 2, "a platform is os/arch or os/arch/variant"),
        ([f"{APP}:1.2"], NO_KEYS, 3, "no AWS credentials found\n  set AWS_PROFILE"),
        ([f"{APP}:1.2"], {"AWS_SECRET_ACCESS_KEY": "wrong"}, 3, "check the secret access key and this machine's clock"),
        ([f"{APP}:1.2"], {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}, 3, LOCAL),
        (
            [f"{APP}:1.2"],
            {"AWS_CA_BUNDLE": "/no/such.pem"},
            2,
            "the CA bundle /no/such.pem can't be used: No such",
        ),
        ([f"{APP}:1.2", "--profile", "nobody"], {}, 2, "profile (nobody) could not be found"),
        ([f"{APP}:1.2"], {"AWS_ENDPOINT_URL_ECR": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, 5, "127.0.0.1:1"),
        ([f"{APP}:1.2"], {"REQUESTS_CA_BUNDLE": "/etc/hostname"}, 2, "the CA bundle /etc/hostname can't be used"),
        ([f"{APP}:1.2", "--endpoint-url", "nonsense"], {}, 2, "check --endpoint-url"),
        ([f"{APP}:1.2", "--endpoint-url", "http://me:hunter2@127.0.0.1:99999"], {}, 2, "check --endpoint-url"),
        (
            [f"{APP}:1.2", "--endpoint-url", "http://me:hunter2@127.0.0.1:1/"],
            {"AWS_MAX_ATTEMPTS": "1"},
            5,
            "127.0.0.1:1",
        ),
        ([f"{APP}:1.2"], {"AWS_MAX_ATTEMPTS": "many"}, 2, "the AWS settings can't be used"),
        ([f"{APP}:1.2"], {"AWS_RETRY_MODE": "never"}, 2, "the AWS settings can't be used"),
        (
            [f"{APP}:1.2"],
            {**NO_KEYS, "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such"},
            3,
            "the AWS credentials can't be had",
        ),
        ([f"{APP}:1.2", "-o", "missing/app.tar"], {}, 7, "the folder does not exist"),
        ([f"{APP}:1.2", "-o", "x" * 300], {}, 7, "File name too long"),
        ([f"{APP}:1.2", "-o", "."], {}, 7, "is not a regular file"),
        ([f"{APP}:1.2", "-o", "-"], {}, 2, "-o takes the name of a file"),
        (["docker.io/library/Busybox:latest"], {}, 2, "bad reference at character 19"),
        ([f"{APP}:1.2:3"], {}, 2, "bad reference at character 56"),
        ([], {}, 2, "no image is named\n  give a REF, or a list of them with --from FILE"),
        ([f"{APP}:1.2", f"{APP}:arm"], {}, 2, "say where they go with -o FILE"),
        ([f"{APP}:1.2", "--from", "missing.txt"], {}, 7, "can't read missing.txt: No such file"),
        (["--from", "/dev/null"], {}, 2, "/dev/null names no image"),
        (["--from", "-", "-u", "me", "--password-stdin"], {}, 2, "can't be both the list and the password"),
        (["--referrers", APP], {}, 2, "--referrers takes an artifact type"),
        ([APP, "-j", "0"], {}, 2, "'0' is not a number from 1 to 256"),
        ([APP, "--chunk-size", "64KiB"], {}, 2, "'64KiB' is not a size from 1MiB to 20MiB"),
        ([APP, "--progress", "loud"], {}, 2, "invalid choice: 'loud'"),
        ([APP, "--plat", "linux/amd64"], {}, 2, "unrecognized arguments: --plat"),
    ],
)
def test_bad_input_ends_with_its_exit_code_and_a_message(
    stocked: LocalEcr, tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    ended = run("docker_pull.py", *arguments, cwd=tmp_path, env=environment_of(stocked, **environment))
    assert ended.code == code, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert "hunter2" not in ended.err
    assert ended.err.startswith("docker_pull.py: ")
    assert (ended.out, list(tmp_path.iterdir())) == ("", [])


def test_a_profile_a_region_and_an_endpoint_come_from_the_user_s_settings(stocked: LocalEcr, tmp_path: Path) -> None:
    key_id, secret = stocked.credentials
    (tmp_path / "config").write_text(
        f"[profile carrier]\nregion = eu-west-1\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"
        f"services = local\n[services local]\necr =\n  endpoint_url = {stocked.endpoint}\n",
        encoding="utf-8",
    )
    settings = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "carrier"}
    ended = run("docker_pull.py", f"{APP}:1.2", "-o", "one.tar", cwd=tmp_path, env=environment_of(None, **settings))
    assert ended.code == 0, ended.err
    del settings["AWS_PROFILE"]
    options = ("-o", "two.tar", "--profile", "carrier", "--endpoint-url", stocked.endpoint)
    ended = run("docker_pull.py", f"{APP}:1.2", *options, cwd=tmp_path, env=environment_of(None, **settings))
    assert ended.code == 0, ended.err
