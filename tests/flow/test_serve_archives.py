"""``serve`` with archives as a user runs it, and what becomes of archives that change while they are served."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.flow.conftest import HELLO, NOISE
from tests.flow.offered import ask, blob, check_image, link, offering
from tests.flow.test_localecr_serve import end
from tests.images import noise_image
from tests.localecr import ROOT, clean_environment, client_for, serving
from tests.saved import NAME, docker_save_old, folder_with, oci_layout, tar_with

LAYER = NOISE.layers[0]
MIB = 1024 * 1024


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "app.tar"
    path.write_bytes(tar_with(oci_layout({NAME: NOISE})))
    return path


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Give a folder for temporary files."""
    made = tmp_path / "tmp"
    made.mkdir()
    return made


def ended(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a serve that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "ecrdrag", "serve", "--listen", "127.0.0.1:0", *arguments],
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_what_there_is_and_leaves_nothing_behind(
    archive: Path, temporary: Path, number: int, code: int
) -> None:
    other = archive.with_name("other.tar.gz")
    other.write_bytes(gzip.compress(tar_with(oci_layout([HELLO]))))
    with serving(str(archive), str(other), TMPDIR=str(temporary)) as server:
        assert [path.is_dir() for path in temporary.iterdir()] == [True]
        with client_for(server.endpoint, server.credentials) as api:
            assert len(api.describe_repositories()["repositories"]) == 2
            with pytest.raises(ClientError, match="read-only"):
                api.create_repository(repositoryName="new")
        status, said = end(server, number)
    host = urlsplit(server.endpoint).netloc
    assert status == code
    assert said.splitlines()[:3] == [
        f"{host}/my/app:1.2  {NOISE.manifest.digest}",
        f"{host}/other@{HELLO.manifest.digest}  {HELLO.manifest.digest}",
        f"local ECR on {server.endpoint}, read-only; Ctrl-C stops it",
    ]
    assert list(temporary.iterdir()) == []


def test_quiet_says_nothing_of_archives(archive: Path) -> None:
    with serving(str(archive), "-q") as server:
        assert end(server, signal.SIGTERM) == (0, "")


def test_an_archive_comes_through_a_pipe(archive: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with (
        subprocess.Popen(["/bin/sh", "-c", f"cat {archive} > {fifo}"]) as cat,
        serving(str(fifo)) as server,
    ):
        found = ask(f"{server.endpoint}/v2/my/app/manifests/1.2")
        assert found.status == 200
        assert cat.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "none is named"),
        (["app.tar", "--data", "data"], "not both"),
        (["app.tar", "--verify"], "--verify goes with --data"),
        (["app.tar", "--upstream", "quay.io=http://127.0.0.1:1"], "--upstream goes with --data"),
        ([""], "ARCHIVE is empty"),
        (["-", "-"], "only once"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: list[str], said: str) -> None:
    found = ended(*arguments)
    assert found.returncode == 2
    assert said in found.stderr.decode()


def test_two_images_of_one_name_end_it_before_it_serves(tmp_path: Path) -> None:
    for name, image in (("one", HELLO), ("two", NOISE)):
        (tmp_path / f"{name}.tar").write_bytes(tar_with(oci_layout({f"{name}.io/app:1": image})))
    found = ended(str(tmp_path / "one.tar"), str(tmp_path / "two.tar"))
    assert (found.returncode, found.stdout) == (2, b"")
    assert b"app:1 would be two images" in found.stderr


@pytest.mark.parametrize(("given", "said"), [(b"", "is empty"), (b"no tar" * 200, "is not a tar archive")])
def test_stdin_that_is_no_archive_is_refused(given: bytes, said: str) -> None:
    found = ended("-", given=given)
    assert found.returncode == 7
    assert f"stdin: {said}" in found.stderr.decode()


def test_an_archive_that_is_replaced_is_served_to_the_end(archive: Path, tmp_path: Path) -> None:
    with offering(tmp_path / "data", archive) as ecr:
        new = tmp_path / "new.tar"
        new.write_bytes(tar_with(oci_layout({NAME: HELLO})))
        new.replace(archive)
        check_image(ecr, "my/app", "1.2", NOISE)
        archive.unlink()
        check_image(ecr, "my/app", "1.2", NOISE)


@pytest.mark.parametrize("change", ["cut", "other bytes", "longer"])
def test_an_archive_that_is_changed_gives_no_blob_any_more(
    archive: Path, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    with offering(tmp_path / "data", archive) as ecr:
        url = link(ecr, "my/app", LAYER.digest)
        if change == "cut":
            os.truncate(archive, 100_000)
        else:
            with archive.open("ab" if change == "longer" else "r+b") as file:
                file.write(b"other bytes")
        found = ask(url)
        assert (found.status, b"<Code>NoSuchKey</Code>" in found.body) == (404, True)
    assert f"{archive} was changed while it is served" in caplog.text


def test_a_body_is_never_made_whole_that_is_cut_while_it_is_sent(tmp_path: Path) -> None:
    big = noise_image([24 * MIB])  # more than the sockets between hold
    archive = tmp_path / "big.tar"
    archive.write_bytes(tar_with(oci_layout({NAME: big})))
    with offering(tmp_path / "data", archive) as ecr:
        parts = urlsplit(link(ecr, "my/app", big.layers[0].digest))
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
            connection.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            received = len(connection.recv(100, socket.MSG_WAITALL))
            os.truncate(archive, MIB)
            while data := connection.recv(MIB):
                received += len(data)
    assert 100 < received < len(big.layers[0].content)


@pytest.mark.parametrize("change", ["cut", "same size", "link", "gone"])
def test_a_file_of_a_folder_that_is_changed_is_not_served(tmp_path: Path, change: str) -> None:
    folder = folder_with(tmp_path / "app", oci_layout({NAME: NOISE}))
    file = folder / "blobs" / "sha256" / LAYER.digest.hex
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(file.stat().st_size))
    with offering(tmp_path / "data", folder) as ecr:
        assert blob(ecr, "my/app", LAYER.digest).body == LAYER.content
        if change == "cut":
            os.truncate(file, 10)
        else:
            file.unlink()
            if change == "link":
                file.symlink_to(secret)
            elif change == "same size":
                file.write_bytes(secret.read_bytes())
        assert blob(ecr, "my/app", LAYER.digest).status == 404
        assert blob(ecr, "my/app", NOISE.layers[1].digest).body == NOISE.layers[1].content


def test_dockers_layers_are_read_once_before_it_serves(tmp_path: Path) -> None:
    files = dict(docker_save_old())
    (name,) = [one for one in files if one.startswith("0" * 64) and one.endswith("layer.tar")]
    content = files[name]
    assert isinstance(content, bytes)
    files[name] = content[:600] + b"X" + content[601:]
    damaged = tmp_path / "app.tar"
    damaged.write_bytes(tar_with(files))
    found = ended(str(damaged))
    assert (found.returncode, found.stdout) == (6, b"")
    assert b"is damaged" in found.stderr
