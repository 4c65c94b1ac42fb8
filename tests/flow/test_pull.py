"""docker_pull.py as a user runs it, against the local ECR."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.archive.plan import ImageName
from ecrdrag.cli.main import main_of
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import Manifest, parse
from ecrdrag.reference import ImageReference
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import BOTH, HELLO, HOST, NOISE, stock
from tests.flow.scripts import Run, command_of, environment_of, run
from tests.images import Image, hello_image
from tests.localecr import REGION, Recorder, client, running
from tests.planned import plan_image
from tests.putting import put_image

ARN = f"ecr.aws/arn:aws:ecr:{REGION}:123456789012:repository/my/app"
APP = f"{HOST}/my/app"
AMD64 = ("--platform", "linux/amd64")
PARTIAL = ["app-noise.tar.partial", "app-noise.tar.partial.journal"]


def pull(ecr: LocalEcr | None, folder: Path, *arguments: str, **changes: str) -> Run:
    return run("docker_pull.py", *arguments, cwd=folder, env=environment_of(ecr, **changes))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


def expected_contents(image: Image) -> dict[str, bytes]:
    blobs = [image.manifest, image.config, *image.layers]
    return {f"blobs/sha256/{blob.digest.hex}": blob.content for blob in blobs}


@pytest.mark.parametrize(
    ("reference", "file", "tag"),
    [
        (f"{ARN}:1.2", "app-1.2.tar", "1.2"),
        (f"{ARN.removeprefix('ecr.aws/')}:1.2", "app-1.2.tar", "1.2"),
        (f"{APP}:1.2", "app-1.2.tar", "1.2"),
        (f"https://{APP}:1.2", "app-1.2.tar", "1.2"),
        (f"{APP}@{HELLO.manifest.digest}", f"app-{HELLO.manifest.digest.hex[:12]}.tar", HELLO.manifest.digest.hex),
        (f"{ARN}:1.2@{HELLO.manifest.digest}", "app-1.2.tar", "1.2"),
    ],
)
def test_an_image_comes_whole_under_every_name(
    stocked: LocalEcr, tmp_path: Path, reference: str, file: str, tag: str
) -> None:
    ended = pull(stocked, tmp_path, reference, *AMD64)
    assert (ended.code, ended.out) == (0, f"{file} {HELLO.manifest.digest}\n"), ended.err
    assert [path.name for path in tmp_path.iterdir()] == [file]
    contents = contents_of(tmp_path / file)
    assert expected_contents(HELLO).items() <= contents.items()
    assert json.loads(contents["manifest.json"])[0]["RepoTags"] == [f"{APP}:{tag}"]


def test_the_region_comes_out_of_the_reference_alone(stocked: LocalEcr, tmp_path: Path) -> None:
    elsewhere = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}
    assert pull(stocked, tmp_path, f"{APP}:1.2", *AMD64, **elsewhere).code == 0
    missing = pull(stocked, tmp_path, f"{APP.replace(REGION, 'eu-west-1')}:1.2", **elsewhere)
    assert missing.code == 4


def test_no_tag_and_no_digest_means_latest_and_is_said(stocked: LocalEcr, tmp_path: Path) -> None:
    ended = pull(stocked, tmp_path, APP)
    assert ended.code == 4
    assert "no tag and no digest given: taking :latest" in ended.err
    assert f"{APP}:latest" in ended.err


def test_an_archive_is_the_same_at_any_parallelism_and_chunk_size(stocked: LocalEcr, tmp_path: Path) -> None:
    for file, options in (
        ("one.tar", ("-j", "1")),
        ("many.tar", ("-j", "16")),
        ("small.tar", ("-j", "3", "--chunk-size", "1MiB")),
    ):
        assert pull(stocked, tmp_path, f"{APP}:noise", "-o", file, *options, *AMD64).code == 0
    bytes_of = [(tmp_path / file).read_bytes() for file in ("one.tar", "many.tar", "small.tar")]
    assert bytes_of[0] == bytes_of[1] == bytes_of[2]
    manifest = parse(NOISE.manifest.content)
    assert isinstance(manifest, Manifest)
    name = ImageName.of(ImageReference.parse(f"{APP}:noise"))
    assert len(bytes_of[0]) == plan_image(manifest, NOISE.config.content, name).total_size


def test_an_image_is_chosen_from_an_index(stocked: LocalEcr, tmp_path: Path) -> None:
    for platform, image in zip(("linux/arm64/v8", "linux/amd64"), BOTH.images, strict=True):
        ended = pull(stocked, tmp_path, f"{APP}:multi", "--platform", platform, "-o", "one.tar", "--force")
        assert ended.out == f"one.tar {image.manifest.digest}\n", ended.err


def test_a_single_image_for_another_machine_comes_with_a_warning(stocked: LocalEcr, tmp_path: Path) -> None:
    with client(stocked) as api:
        put_image(api, "my/app", hello_image("arm64"), "arm")
    other = pull(stocked, tmp_path, f"{APP}:arm", "--platform", "linux/s390x")
    assert (other.code, "is an image for linux/arm64, not for linux/s390x" in other.err) == (4, True)
    assert pull(stocked, tmp_path, f"{APP}:arm").code == 0


def test_json_tells_all_about_the_archive(stocked: LocalEcr, tmp_path: Path) -> None:
    ended = pull(stocked, tmp_path, f"{APP}:noise", "--json", *AMD64)
    report = json.loads(ended.out)
    assert ended.out.count("\n") == 1
    assert report["digest"] == str(NOISE.manifest.digest)
    assert [layer["digest"] for layer in report["layers"]] == [str(layer.digest) for layer in NOISE.layers]
    assert (report["existed"], report["platform"]) == (False, "linux/amd64")
    assert Path(tmp_path, report["path"]).stat().st_size == report["size"]


class Gate:
    """Hold blobs back from the n-th on until it is opened."""

    def __init__(self, recorder: Recorder, first_held: int) -> None:
        self._recorder = recorder
        self._first_held = first_held
        self.reached, self._opened = threading.Event(), threading.Event()
        recorder.intercept = self._hold

    def open(self) -> None:
        self._opened.set()

    def _hold(self, request: Request, handler: Handler) -> Answer:
        if request.method == "GET" and self._recorder.count("GET") >= self._first_held:
            self.reached.set()
            self._opened.wait(30)
        return handler(request)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def own(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    """Run a local ECR that a test may break."""
    with running(tmp_path / "data", recorder=recorder) as ecr:
        stock(ecr)
        yield ecr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_second_pull_says_that_the_image_is_there_and_downloads_no_layer(
    own: LocalEcr, recorder: Recorder, folder: Path
) -> None:
    assert pull(own, folder, f"{APP}:noise", *AMD64).code == 0
    downloads, file = recorder.count("GET"), (folder / "app-noise.tar").stat()
    ended = pull(own, folder, f"{APP}:noise", *AMD64)
    assert ended.code == 0
    assert "app-noise.tar holds this image already, verified: nothing was downloaded" in ended.err
    assert ended.out == f"app-noise.tar {NOISE.manifest.digest}\n"
    assert recorder.count("GET") == downloads + 1  # the config
    assert (folder / "app-noise.tar").stat().st_mtime_ns == file.st_mtime_ns


def test_another_file_at_the_output_is_kept_unless_forced(stocked: LocalEcr, tmp_path: Path) -> None:
    (tmp_path / "app.tar").write_text("precious", encoding="utf-8")
    ended = pull(stocked, tmp_path, f"{APP}:1.2", "-o", "app.tar", *AMD64)
    assert (ended.code, (tmp_path / "app.tar").read_text(encoding="utf-8")) == (7, "precious")
    assert "app.tar exists and holds another image or no image\n  replace it with --force" in ended.err
    assert pull(stocked, tmp_path, f"{APP}:1.2", "-o", "app.tar", "--force", *AMD64).code == 0
    assert expected_contents(HELLO).items() <= contents_of(tmp_path / "app.tar").items()


def test_an_archive_that_was_damaged_is_not_called_the_same(stocked: LocalEcr, tmp_path: Path) -> None:
    assert pull(stocked, tmp_path, f"{APP}:noise", *AMD64).code == 0
    with (tmp_path / "app-noise.tar").open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"damage")
    ended = pull(stocked, tmp_path, f"{APP}:noise", *AMD64)
    assert ended.code == 7
    assert f"holds this image with a damaged blob {NOISE.layers[0].digest}" in ended.err


def test_a_wrong_byte_from_the_server_is_asked_for_twice_and_leaves_no_archive(
    own: LocalEcr, tmp_path: Path, folder: Path
) -> None:
    blob = tmp_path / "data" / "blobs" / "sha256" / NOISE.layers[3].digest.hex
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(1_234_567)
        byte = file.read(1)
        file.seek(1_234_567)
        file.write(bytes([byte[0] ^ 1]))
    ended = pull(own, folder, f"{APP}:noise", *AMD64)
    assert ended.code == 6
    assert ended.err.count(f"blob {NOISE.layers[3].digest} arrived with digest sha256:") == 2
    assert "fetching this blob again" in ended.err
    assert left_in(folder) == PARTIAL


def test_ctrl_c_in_the_middle_says_what_is_kept(own: LocalEcr, recorder: Recorder, folder: Path) -> None:
    gate = Gate(recorder, first_held=4)
    command = command_of("docker_pull.py", f"{APP}:noise", "-j", "1", *AMD64)
    with subprocess.Popen(command, cwd=folder, env=environment_of(own), stderr=subprocess.PIPE, text=True) as process:
        assert gate.reached.wait(30)
        process.send_signal(signal.SIGINT)
        gate.open()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "app-noise.tar.partial keeps" in err
    assert err.endswith("docker_pull.py: interrupted\n")
    assert left_in(folder) == PARTIAL
    assert pull(own, folder, f"{APP}:noise", *AMD64).code == 0
    assert left_in(folder) == ["app-noise.tar"]


def test_without_resume_nothing_is_taken_up_and_nothing_is_left(
    own: LocalEcr, recorder: Recorder, folder: Path
) -> None:
    gate = Gate(recorder, first_held=4)
    for options in ((), ("--no-resume",)):
        recorder.requests.clear()
        command = command_of("docker_pull.py", f"{APP}:noise", "-j", "1", *AMD64, *options)
        with subprocess.Popen(command, cwd=folder, env=environment_of(own), stderr=subprocess.PIPE) as process:
            assert gate.reached.wait(30)
            process.send_signal(signal.SIGINT)
            gate.open()
            process.communicate(timeout=30)
        assert (process.returncode, left_in(folder)) == (130, [] if options else PARTIAL)
        gate = Gate(recorder, first_held=4)


def test_a_file_that_comes_to_the_output_path_during_the_pull_is_kept(
    own: LocalEcr, recorder: Recorder, folder: Path
) -> None:
    gate = Gate(recorder, first_held=4)
    command = command_of("docker_pull.py", f"{APP}:noise", *AMD64)
    with subprocess.Popen(command, cwd=folder, env=environment_of(own), stderr=subprocess.PIPE, text=True) as process:
        assert gate.reached.wait(30)
        (folder / "app-noise.tar").write_text("precious", encoding="utf-8")
        gate.open()
        _, err = process.communicate(timeout=30)
    assert (process.returncode, (folder / "app-noise.tar").read_text(encoding="utf-8")) == (7, "precious")
    assert "app-noise.tar was created by somebody else meanwhile" in err
    recorder.requests.clear()
    assert pull(own, folder, f"{APP}:noise", "--force", *AMD64).code == 0
    assert recorder.count("GET") == 1  # the config: all else was kept
    assert left_in(folder) == ["app-noise.tar"]


def test_a_kill_leaves_a_partial_file_that_the_next_pull_takes_over(
    own: LocalEcr, recorder: Recorder, folder: Path
) -> None:
    gate = Gate(recorder, first_held=4)
    command = command_of("docker_pull.py", f"{APP}:noise", *AMD64)
    with subprocess.Popen(command, cwd=folder, env=environment_of(own)) as process:
        assert gate.reached.wait(30)
        process.kill()
    assert left_in(folder) == PARTIAL
    gate.open()
    assert pull(own, folder, f"{APP}:noise", *AMD64).code == 0
    assert left_in(folder) == ["app-noise.tar"]


def test_a_closed_pipe_is_no_reason_for_a_traceback(stocked: LocalEcr, tmp_path: Path) -> None:
    command = command_of("docker_pull.py", f"{APP}:1.2", *AMD64)
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment_of(stocked), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(30)) == ("", 141)


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="counts what pwrite writes")
def test_every_byte_of_the_archive_is_written_once(
    stocked: LocalEcr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, written = os.pwrite, list[int]()

    def counting_pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        written.append(pwrite(descriptor, data, offset))
        return written[-1]

    monkeypatch.setattr(os, "pwrite", counting_pwrite)
    monkeypatch.chdir(tmp_path)
    for name, value in stocked.environment.items():
        monkeypatch.setenv(name, value)
    assert main_of("pull", [f"{APP}:noise", *AMD64], program="docker_pull.py") == 0
    assert sum(written) == (tmp_path / "app-noise.tar").stat().st_size


def no_blobs(request: Request, handler: Handler) -> Answer:
    return Answer(503, {}, b"no") if request.method == "GET" else handler(request)


def test_a_server_that_refuses_every_blob_is_given_up_on_without_a_secret(
    own: LocalEcr,
    recorder: Recorder,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(RetryPolicy, "delay", lambda policy, failures: 0.0)
    monkeypatch.chdir(folder)
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    recorder.intercept = no_blobs
    assert main_of("pull", [f"{APP}:noise", "-vv", *AMD64], program="docker_pull.py") == 5
    out, err = capsys.readouterr()
    assert "after 10 tries without progress: 127.0.0.1 answered 503" in err
    assert err.count("trying again") == 9
    key_id, secret = own.credentials
    for hidden in ("X-Amz", "Signature=", secret, key_id):
        assert hidden not in out + err
    assert list(folder.iterdir()) == []
