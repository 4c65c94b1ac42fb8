"""The serve command in a process of its own: what it prints, how it ends, what it keeps when it is killed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from time import monotonic
from urllib.request import urlopen

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from ecrdrag.errors import ArchiveError
from ecrdrag.localecr.storage.store import Store
from tests.localecr import (
    ROOT,
    Served,
    clean_environment,
    client_for,
    digest_of,
    push_image,
    served,
)
from tests.putting import put_part

MEBIBYTE = 1024 * 1024


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    """Run a serve that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "ecrdrag", "serve", *options],
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def end(server: Served, number: int) -> tuple[int, str]:
    """Send a signal; return the exit code and what was said on stderr."""
    server.process.send_signal(number)
    _, said = server.process.communicate(timeout=20)
    return server.process.returncode, said


def test_its_environment_is_all_that_a_client_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path / "data", "--region", "eu-west-1", "--account", "210987654321") as server:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        session = boto3.session.Session()
        with (
            closing(session.client("ecr")) as api,
            closing(session.client("ecr-public", "us-east-1")) as public,
            closing(session.client("secretsmanager")) as secrets,
        ):
            secret = secrets.create_secret(Name="mine", SecretString="x")
            created = api.create_repository(repositoryName="app")["repository"]
            in_public = public.create_repository(repositoryName="app")["repository"]
    assert in_public["repositoryArn"] == "arn:aws:ecr-public::210987654321:repository/app"
    assert created["repositoryArn"] == "arn:aws:ecr:eu-west-1:210987654321:repository/app"
    assert secret["ARN"].startswith("arn:aws:secretsmanager:eu-west-1:210987654321:secret:mine-")
    assert server.environment["AWS_REGION"] == server.environment["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_the_env_file_says_the_same_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "ecr.env"
    file.write_text("old")
    file.chmod(0o644)
    with served(tmp_path / "data", "--env-file", str(file)) as server:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        lines = [shlex.split(line) for line in file.read_text().splitlines()]
        assert lines == [["export", f"{name}={value}"] for name, value in server.environment.items()]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_each_further_account_has_a_file_beside_the_env_file(tmp_path: Path) -> None:
    others = ["210987654321", "000000000001"]
    options = [text for account in ["123456789012", *others, *others] for text in ("--account", account)]
    file = tmp_path / "ecr.env"
    with served(tmp_path / "data", *options, "--env-file", str(file)) as server:
        for account in others:
            further = tmp_path / f"ecr.env.{account}"
            assert stat.S_IMODE(further.stat().st_mode) == 0o600
            exports = dict(line.removeprefix("export ").split("=", 1) for line in further.read_text().splitlines())
            assert {name for name in exports if exports[name] != server.environment[name]} == {
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
            }
            keys = exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"]
            with client_for(server.endpoint, keys) as api:
                assert api.create_repository(repositoryName="app")["repository"]["registryId"] == account
        with client_for(server.endpoint, server.credentials) as api:
            assert api.create_repository(repositoryName="app")["repository"]["registryId"] == "123456789012"
        code, said = end(server, signal.SIGTERM)
    assert code == 0
    assert [line for line in said.splitlines() if line.startswith("account ")] == [
        f"account {account}: {file}.{account}" for account in others
    ]
    assert len(list(tmp_path.glob("ecr.env*"))) == 3


def test_without_an_env_file_the_further_accounts_say_how_to_get_one(tmp_path: Path) -> None:
    with served(tmp_path / "data", "--account", "123456789012", "--account", "210987654321") as server:
        _, said = end(server, signal.SIGTERM)
    assert "account 210987654321: its key pair is given with --env-file FILE, in FILE.210987654321\n" in said
    keys = json.loads((tmp_path / "data" / "keys.json").read_text())["accounts"]
    assert set(keys) == {"123456789012", "210987654321"}
    assert not [pair for pair in keys.values() if pair["secret"] in said]


def test_key_pairs_are_random_and_stay_with_the_data(tmp_path: Path) -> None:
    with served(tmp_path / "one") as server:
        first = server.credentials
    with served(tmp_path / "one") as server, served(tmp_path / "two") as other:
        assert server.credentials == first
        assert other.credentials != first
    assert stat.S_IMODE((tmp_path / "one" / "keys.json").stat().st_mode) == 0o600


def test_sigterm_ends_it_well_with_a_client_connected(tmp_path: Path) -> None:
    with served(tmp_path / "data") as server, client_for(server.endpoint, server.credentials) as api:
        api.create_repository(repositoryName="app")
        code, said = end(server, signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in said
    assert server.endpoint in said


def test_ctrl_c_ends_it_with_130_and_no_traceback(tmp_path: Path) -> None:
    with served(tmp_path / "data") as server:
        code, said = end(server, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in said


def test_verbose_logs_requests_without_secrets(tmp_path: Path) -> None:
    with served(tmp_path / "data", "-v") as server, client_for(server.endpoint, server.credentials) as api:
        api.create_repository(repositoryName="app")
        _, said = end(server, signal.SIGTERM)
    assert "POST / 200 CreateRepository, " in said
    assert server.credentials[1] not in said


def test_quiet_says_nothing(tmp_path: Path) -> None:
    with served(tmp_path / "data", "-q") as server:
        assert end(server, signal.SIGTERM) == (0, "")


def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve("--data", str(tmp_path / "data"), "--listen", f"127.0.0.1:{port}")
    assert ended.returncode == 5
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in ended.stderr
    assert ended.stdout == ""


def test_a_folder_that_is_served_is_refused(tmp_path: Path) -> None:
    with served(tmp_path / "data"):
        ended = serve("--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert ended.returncode == 7
    assert "another local ECR serves the data folder" in ended.stderr


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    ended = serve("--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert ended.returncode == 7
    assert "can't be used" in ended.stderr


def test_damaged_keys_are_said_to_be(tmp_path: Path) -> None:
    for text in ("{", "{}", '"x"'):
        (tmp_path / "keys.json").write_text(text)
        with pytest.raises(ArchiveError, match=r"keys\.json"):
            Store(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "nonsense"], "--listen takes HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "--listen takes HOST:PORT"),
        (["--account", "12"], "--account takes 12 digits"),
        (["--account", "123456789012", "--account", "x"], "--account takes 12 digits"),
        (["--region", "Nowhere"], "--region takes a region"),
        (["--url-expiry", "0"], "--url-expiry takes a number"),
        (["--limit-rate", "0"], "'0' is no number of bytes per second"),
        (["--limit-rate", "5x"], "'5x' is no number of bytes per second"),
        (["--latency", "-1"], "'-1' is no number of milliseconds"),
        (["--latency", "1s"], "'1s' is no number of milliseconds"),
        (["--faults", "nowhere"], "can't read the faults in nowhere"),
    ],
)
def test_bad_options_are_usage_errors(tmp_path: Path, options: list[str], said: str) -> None:
    ended = serve("--data", str(tmp_path / "data"), *options)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_fault_that_there_is_not_is_named_with_its_line(tmp_path: Path) -> None:
    script = tmp_path / "bad.faults"
    script.write_text("# what goes wrong\nblob explode\n")
    ended = serve("--data", str(tmp_path / "data"), "--faults", str(script))
    assert ended.returncode == 2
    assert f"{script}, line 2: blob has no fault 'explode'; it has honest, drop, " in ended.stderr


def test_a_bad_line_is_late_slow_and_faulty(tmp_path: Path) -> None:
    script = tmp_path / "line.faults"
    script.write_text("ListImages throttle\n")
    bad_line = ("--limit-rate", "100k", "--latency", "10ms", "--faults", str(script))
    with served(tmp_path / "data", *bad_line) as server, client_for(server.endpoint, server.credentials) as api:
        began = monotonic()
        api.create_repository(repositoryName="app")
        assert monotonic() - began >= 0.01
        layer = push_image(api, "app", layers=[bytes(1024)]).layers[0]
        url = api.get_download_url_for_layer(repositoryName="app", layerDigest=layer)["downloadUrl"]
        began = monotonic()
        with urlopen(url) as answer:
            assert answer.read() == bytes(1024)
        assert monotonic() - began >= 0.02
        with pytest.raises(ClientError, match="Rate exceeded"):
            api.list_images(repositoryName="app")


def test_without_werkzeug_it_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['werkzeug'] = None; sys.argv[1:] = ['serve', '--data', 'x'];"
        "from ecrdrag.__main__ import main; sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "pip install werkzeug" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_was_killed_goes_on_where_it_was_acknowledged(tmp_path: Path) -> None:
    parts = [os.urandom(5 * MEBIBYTE) for _ in range(3)]
    whole = b"".join(parts)
    with served(tmp_path) as server, client_for(server.endpoint, server.credentials) as api:
        api.create_repository(repositoryName="app")
        upload = api.initiate_layer_upload(repositoryName="app")["uploadId"]
        put_part(api, "app", upload, 0, parts[0])
        put_part(api, "app", upload, 5 * MEBIBYTE, parts[1])
        server.kill()
    # What a kill in the middle of a part leaves: bytes on disk that nobody was promised.
    with (tmp_path / "uploads" / upload).open("ab") as file:
        file.write(b"unacknowledged")
    (tmp_path / "uploads" / "left-by-a-kill").write_bytes(b"x")
    with served(tmp_path) as server, client_for(server.endpoint, server.credentials) as api:
        with pytest.raises(api.exceptions.InvalidLayerPartException) as caught:
            put_part(api, "app", upload, 0, parts[0])
        assert ("lastValidByteReceived", 10 * MEBIBYTE - 1) in caught.value.response.items()
        put_part(api, "app", upload, 10 * MEBIBYTE, parts[2])
        done = api.complete_layer_upload(repositoryName="app", uploadId=upload, layerDigests=[digest_of(whole)])
    assert done["layerDigest"] == digest_of(whole)
    assert list((tmp_path / "uploads").iterdir()) == []
    assert (tmp_path / "blobs" / "sha256" / digest_of(whole).removeprefix("sha256:")).read_bytes() == whole


def test_a_kill_at_any_moment_keeps_what_was_acknowledged_and_nothing_broken(tmp_path: Path) -> None:
    """Push images without a pause, kill, start again, and compare with what the client was told."""
    acknowledged: list[str] = []
    for turn in range(3):
        with served(tmp_path) as server:
            pusher = threading.Thread(target=push_until_killed, args=(server, acknowledged, turn))
            pusher.start()
            enough = len(acknowledged) + 5
            while len(acknowledged) < enough and pusher.is_alive():
                pusher.join(0.01)
            server.kill()
            pusher.join()
    with served(tmp_path) as server, client_for(server.endpoint, server.credentials) as api:
        kept = {name["imageTag"] for name in api.list_images(repositoryName="app", maxResults=1000)["imageIds"]}
    assert len(acknowledged) >= 15
    assert set(acknowledged) <= kept
    blobs = list((tmp_path / "blobs" / "sha256").iterdir())
    assert len(blobs) >= len(acknowledged)
    for blob in blobs:
        assert digest_of(blob.read_bytes()) == f"sha256:{blob.name}"


def push_until_killed(server: Served, acknowledged: list[str], turn: int) -> None:
    with client_for(server.endpoint, server.credentials) as api:
        try:
            if turn == 0:
                api.create_repository(repositoryName="app")
            for number in range(10_000):
                tag = f"{turn}-{number}"
                push_image(api, "app", tag=tag, layers=[os.urandom(20_000)])
                acknowledged.append(tag)
        except (BotoCoreError, ClientError):
            return
