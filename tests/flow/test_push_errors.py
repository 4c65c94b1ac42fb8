"""Bad input to docker_push.py: each with its exit code, what failed, and what to do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr
from tests.flow.conftest import BOTH, HELLO, HOST
from tests.flow.scripts import command_of, environment_of, run
from tests.images import hello_image, tar_of
from tests.localecr import client
from tests.saved import LAYER_TARS, docker_save_old, folder_with, oci_layout, tar_with

APP = f"{HOST}/my/app"
TO = f"{APP}:bad"
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
GOOD = oci_layout({f"{APP}:good": HELLO})
TWO = oci_layout({f"{APP}:a": HELLO, f"{APP}:b": hello_image("arm64")})
MANIFEST = f"blobs/sha256/{HELLO.manifest.digest.hex}"
LAYER = f"blobs/sha256/{HELLO.layers[0].digest.hex}"


def without(name: str) -> dict[str, bytes]:
    return {key: content for key, content in GOOD.items() if key != name}  # type: ignore[misc]


def self_containing() -> dict[str, bytes]:
    """Build an index that names itself, which no digest allows."""
    digest = Digest.of(b"me")
    entry = {"mediaType": BOTH.manifest.media_type, "digest": str(digest), "size": 2}
    index = json.dumps({"schemaVersion": 2, "mediaType": BOTH.manifest.media_type, "manifests": [entry]}).encode()
    files = dict(GOOD)
    files[f"blobs/sha256/{digest.hex}"] = index
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [{**entry, "size": len(index)}]}).encode()
    return files  # type: ignore[return-value]


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "good": lambda: tar_with(GOOD),
    "two": lambda: tar_with(TWO),
    "unnamed": lambda: tar_with(oci_layout([HELLO])),
    "short-name": lambda: tar_with(docker_save_old(["app:1"])),
    "hub-names": lambda: tar_with(docker_save_old(["docker.io/library/app:1", "me/app:2", "localhost/app:3"])),
    "hub-and-ours": lambda: tar_with(oci_layout({"app:1": HELLO, f"{APP}:ours": hello_image("arm64")})),
    "empty": lambda: b"",
    "text": lambda: b"hello " * 200,
    "other-tar": lambda: tar_of({"hello": b"hello"}),
    "truncated": lambda: tar_with(GOOD)[:2000],
    "no-blob": lambda: tar_with(without(LAYER)),
    "no-manifest": lambda: tar_with(without(MANIFEST)),
    "no-child": lambda: tar_with(
        {key: content for key, content in oci_layout([BOTH]).items() if BOTH.images[0].manifest.digest.hex not in key}
    ),
    "part": lambda: tar_with(
        {key: content for key, content in oci_layout([BOTH]).items() if HELLO.layers[0].digest.hex not in key}
    ),
    "short-blob": lambda: tar_with({**GOOD, LAYER: HELLO.layers[0].content[:-1]}),
    "wrong-blob": lambda: tar_with({**GOOD, LAYER: HELLO.layers[0].content[:-1] + b"x"}),
    "wrong-manifest": lambda: tar_with({**GOOD, MANIFEST: HELLO.manifest.content + b" "}),
    "wrong-layer": lambda: tar_with(
        {name: LAYER_TARS[0] if content == LAYER_TARS[1] else content for name, content in docker_save_old().items()}
    ),
    "cycle": lambda: tar_with(self_containing()),
    "absolute": lambda: tar_with({**GOOD, "/etc/passwd": b"root"}),
    "dots": lambda: tar_with({**GOOD, "blobs/../../x": b"x"}),
    "large-json": lambda: tar_with({**GOOD, "index.json": b" " * (4 * 1024 * 1024 + 1)}),
    "deep-json": lambda: tar_with({**GOOD, "index.json": b"[" * 100_000}),
    "broken-gzip": lambda: b"\x1f\x8b\x08" + bytes(40),
    "old-layout": lambda: tar_with({**GOOD, "oci-layout": b'{"imageLayoutVersion":"0.9"}'}),
    "before-1.10": lambda: tar_with({"repositories": b"{}"}),
}

TABLE: list[tuple[str, list[str], dict[str, str], int, str]] = [
    ("good", [f"{HOST}/no/such:1"], {}, 4, f"create it with `ecrdrag repo create {HOST}/no/such`"),
    ("good", [f"{HOST}/no/such:1"], {}, 4, f"repo create {HOST}/no/such`, or run the same command again with"),
    (
        "good",
        [TO, "--image", "nope"],
        {},
        4,
        f"good.tar holds no image nope\n  the archive holds:\n  {APP}:good sha256:",
    ),
    ("two", [TO, "--image", str(Digest.of(b""))], {}, 4, "holds no image sha256:e3b0c442"),
    ("two", [TO], {}, 2, f"two.tar holds 2 images: choose one for {TO} with --image\n  the archive holds:\n  {APP}:a"),
    ("unnamed", [], {}, 2, "has no name\n  say where it goes"),
    ("short-name", [], {}, 2, "is called app:1, which says no registry to push to\n  say where it goes: ARCHIVE "),
    ("short-name", [], {}, 2, "REGISTRY/NAME:TAG; by itself nothing goes to Docker Hub or to localhost"),
    ("hub-names", [], {}, 2, "is called docker.io/library/app:1, me/app:2, localhost/app:3, which says no registry"),
    ("hub-and-ours", [], {}, 2, f"image {HELLO.manifest.digest} is called app:1, which says no registry to push to"),
    ("good", ["docker.io/library/Busybox"], {}, 2, "bad reference at character 19"),
    ("good", [TO, "--immutable"], {}, 2, "need --create-repository"),
    ("good", [TO, "--tag", "a=b"], {}, 2, "need --create-repository"),
    ("good", [TO, "--create-repository", "--tag", "ab"], {}, 2, "'ab' is not KEY=VALUE"),
    ("good", [TO, "--compression", "brotli"], {}, 2, "a compression is gzip"),
    ("good", [TO, "--format", "v1"], {}, 2, "invalid choice: 'v1'"),
    ("good", [TO, "-j", "0"], {}, 2, "'0' is not a number from 1 to 256"),
    ("good", [TO, "more"], {}, 2, "unrecognized arguments: more"),
    ("good", [TO], NO_KEYS, 3, "no AWS credentials found"),
    ("good", [TO], {"AWS_SECRET_ACCESS_KEY": "wrong"}, 3, "check the secret access key and this machine's clock"),
    ("good", [TO], {"AWS_ENDPOINT_URL_ECR": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, 5, "127.0.0.1:1"),
    ("good", [TO, "--endpoint-url", "http://me:hunter2@127.0.0.1:1/"], {"AWS_MAX_ATTEMPTS": "1"}, 5, "127.0.0.1:1"),
    ("good", [TO, "--profile", "nobody"], {}, 2, "profile (nobody) could not be found"),
    ("missing", [TO], {}, 7, "missing.tar"),
    ("empty", [TO], {}, 7, "empty.tar: is empty"),
    ("text", [TO], {}, 7, "text.tar: is not a tar archive"),
    ("other-tar", [TO], {}, 7, "nor manifest.json, but 'hello'\n  an archive is a tar as docker_pull.py"),
    ("truncated", [TO], {}, 7, "cut short"),
    ("no-blob", [f"{HOST}/my/empty:1"], {}, 7, f"blob {HELLO.layers[0].digest} is missing, and the registry doesn't"),
    ("no-manifest", [TO], {}, 7, f"{MANIFEST} is missing"),
    ("no-child", [TO], {}, 7, "is missing: the image for linux/arm64 that its index names\n  push one by one what"),
    ("no-child", [TO], {}, 7, f"\n  --image {HELLO.manifest.digest}  linux/amd64\n"),
    ("part", [f"{HOST}/my/empty:1"], {}, 7, f"\n  --image {BOTH.images[0].manifest.digest}  linux/arm64\n"),
    (
        "part",
        [f"{HOST}/made/not:1", "--create-repository"],
        {},
        7,
        "is missing, and the registry doesn't have it either",
    ),
    ("short-blob", [f"{HOST}/my/empty:1"], {}, 6, f"blob {HELLO.layers[0].digest} has "),
    ("wrong-blob", [f"{HOST}/my/empty:1"], {}, 6, str(HELLO.layers[0].digest)),
    ("wrong-manifest", [TO], {}, 6, f"{MANIFEST} is damaged"),
    ("wrong-layer", [TO], {}, 6, "layer.tar is damaged: its tar has digest"),
    ("cycle", [TO], {}, 6, "is damaged"),
    ("absolute", [TO], {}, 7, "the name of member '/etc/passwd' is unsafe"),
    ("dots", [TO], {}, 7, "the name of member 'blobs/../../x' is unsafe"),
    ("large-json", [TO], {}, 7, "index.json has 4194305 bytes, over the limit of 4194304 for JSON"),
    ("deep-json", [TO], {}, 8, "index.json: the manifest is not JSON"),
    ("broken-gzip", [TO], {}, 7, "broken-gzip.tar"),
    ("old-layout", [TO], {}, 8, "an OCI layout of version '0.9', not 1.0.0"),
    ("before-1.10", [TO], {}, 8, "an archive of docker before 1.10"),
]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory, stocked: LocalEcr) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    for name, build in ARCHIVES.items():
        (folder / f"{name}.tar").write_bytes(build())
    (folder / "arm.tar").write_bytes(tar_with(oci_layout([hello_image("arm64")])))
    made = run(
        "docker_push.py",
        "arm.tar",
        f"{HOST}/my/empty:0",
        "--create-repository",
        cwd=folder,
        env=environment_of(stocked),
    )
    assert made.code == 0, made.err
    return folder


@pytest.mark.parametrize(("archive", "arguments", "environment", "code", "said"), TABLE)
def test_bad_input_ends_with_its_exit_code_and_a_message(
    stocked: LocalEcr,
    archives: Path,
    tmp_path: Path,
    archive: str,
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    said: str,
) -> None:
    env = environment_of(stocked, TMPDIR=str(tmp_path), **environment)
    ended = run("docker_push.py", str(archives / f"{archive}.tar"), *arguments, cwd=tmp_path, env=env)
    assert ended.code == code, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert "hunter2" not in ended.err
    assert ended.err.startswith("docker_push.py: ")
    assert (ended.out, list(tmp_path.iterdir())) == ("", [])


def test_no_repository_is_created_for_an_archive_that_is_not_whole(stocked: LocalEcr, archives: Path) -> None:
    env = environment_of(stocked)
    options = (f"{HOST}/made/never:1", "--create-repository")
    assert run("docker_push.py", str(archives / "no-blob.tar"), *options, cwd=archives, env=env).code == 7
    with client(stocked) as api, pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.describe_repositories(repositoryNames=["made/never"])


def test_a_folder_that_is_no_layout_and_a_folder_without_permission_are_refused(
    stocked: LocalEcr, tmp_path: Path
) -> None:
    folder_with(tmp_path / "plain", {"hello": b"hello"})
    ended = run("docker_push.py", "plain", TO, cwd=tmp_path, env=environment_of(stocked))
    assert ended.code == 7
    assert "oci-layout" in ended.err


def test_a_pipe_that_ends_early_and_an_empty_one_are_refused(stocked: LocalEcr, tmp_path: Path) -> None:
    for content in (b"", tar_with(GOOD)[:3000]):
        ended = subprocess.run(
            command_of("docker_push.py", "-", TO),
            cwd=tmp_path,
            env=environment_of(stocked, TMPDIR=str(tmp_path)),
            input=content,
            capture_output=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout, list(tmp_path.iterdir())) == (7, b"", []), ended.stderr


def test_nothing_to_push_is_a_usage_error(stocked: LocalEcr, tmp_path: Path) -> None:
    for arguments, said in (((), "the following arguments are required: ARCHIVE"), (("",), "ARCHIVE is empty")):
        ended = run("docker_push.py", *arguments, cwd=tmp_path, env=environment_of(stocked))
        assert (ended.code, said in ended.err) == (2, True)
