"""Own `make demo`: the main job from beginning to end, on a machine without AWS.

Starts a local ECR, puts an image into it as any AWS client would, pulls it by ARN with
docker_pull.py, reads the tar back, pushes it to a repository in another region with
docker_push.py, and says what to type next.
"""

from __future__ import annotations

import hashlib
import os
import platform
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3

from ecrdrag.content import Platform
from tests.images import hello_program, image_of, index_of, tar_of
from tests.putting import put_index

HOME = Path(__file__).parents[1]
FOLDER = HOME / ".demo"
REGION = "us-west-2"
REPOSITORY = "demo/hello"
REFERENCE = f"ecr.aws/arn:aws:ecr:{REGION}:123456789012:repository/{REPOSITORY}:1.0"
FAR_REFERENCE = "210987654321.dkr.ecr.eu-central-1.amazonaws.com/carried/hello:1.0"
ARCHITECTURES = ("amd64", "arm64")
EXTRA_LAYER = 48 * 1024 * 1024  # bytes, so that there is something to see


def main() -> int:
    """Play the demo and return the exit code."""
    os.environ.pop("AWS_PROFILE", None)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # the local ECR is not behind a proxy
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with local_ecr() as environment:
        say(f"put an image for {' and '.join(ARCHITECTURES)} into {REPOSITORY}, over the ECR API")
        put_demo_image(environment)
        archive = FOLDER / "hello-1.0.tar"
        place = str(archive.relative_to(HOME))
        pulled = run(environment, "docker_pull.py", REFERENCE, "-o", place, *platform_option())
        say("every blob in the tar against its name")
        for name, size in verified_blobs(archive):
            print(f"  {name[:32]}...  {size:>12,} bytes  ok")
        pushed = run(environment, "docker_push.py", place, FAR_REFERENCE, "--create-repository")
    say("one digest on both sides")
    digests = {pulled.split()[-1], pushed.strip().rpartition("@")[2]}
    if len(digests) != 1:
        raise SystemExit(f"the digests differ: {', '.join(digests)}")
    print(f"  {digests.pop()}")
    say_what_next(archive.relative_to(HOME))
    return 0


@contextmanager
def local_ecr() -> Iterator[Mapping[str, str]]:
    """Run `ecrdrag serve` and give the environment that makes every AWS client use it."""
    env_file = FOLDER / "env"
    options = ["--data", ".demo/data", "--listen", "127.0.0.1:0", "--env-file", ".demo/env"]
    say(shlex.join(["python3", "-m", "ecrdrag", "serve", *options]))
    command = [sys.executable, "-m", "ecrdrag", "serve", *options]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None or not server.stdout.readline():
                raise SystemExit("the local ECR did not start")
            lines = env_file.read_text(encoding="utf-8").splitlines()
            exports = dict(line.removeprefix("export ").split("=", 1) for line in lines)
            yield {**os.environ, **{name: shlex.split(value)[0] for name, value in exports.items()}}
        finally:
            server.send_signal(signal.SIGTERM)


def run(environment: Mapping[str, str], *command: str) -> str:
    """Say a command, run it as a user would, and give what it printed."""
    say(shlex.join(["python3", *command]))
    done = subprocess.run(
        [sys.executable, *command], cwd=HOME, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    print(done.stdout, end="")
    return done.stdout


def put_demo_image(environment: Mapping[str, str]) -> None:
    """Put an index of two images that run, each with a small program and a layer of noise."""
    ecr = boto3.client(
        "ecr",
        region_name=REGION,
        endpoint_url=environment["AWS_ENDPOINT_URL_ECR"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    ecr.create_repository(repositoryName=REPOSITORY)
    noise = tar_of({"noise": random.Random(1).randbytes(EXTRA_LAYER)})
    images = [
        image_of([tar_of({"hello": hello_program(architecture)}), noise], architecture=architecture)
        for architecture in ARCHITECTURES
    ]
    put_index(ecr, REPOSITORY, index_of(images), "1.0")


def platform_option() -> list[str]:
    """Name a platform where this machine's is not in the demo's image."""
    here = Platform.of_machine(platform.machine())
    return [] if here.architecture in ARCHITECTURES else ["--platform", f"linux/{ARCHITECTURES[0]}"]


def verified_blobs(path: Path) -> Iterator[tuple[str, int]]:
    """Read the tar with Python's own reader and hold each blob against the hash in its name."""
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None or not member.name.startswith("blobs/"):
                continue
            found = hashlib.sha256()
            while piece := content.read(1024 * 1024):
                found.update(piece)
            if found.hexdigest() != Path(member.name).name:
                raise SystemExit(f"{member.name} is damaged")
            yield member.name, member.size


def say_what_next(archive: Path) -> None:
    """Print the commands that use the archive."""
    image = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}:1.0"
    say("next, where there is an engine")
    for line in (
        f"docker load < {archive} && docker run --rm {image}",
        f"podman load < {archive}",
        f"ctr images import {archive}",
        f"skopeo inspect oci-archive:{archive}",
    ):
        print(f"  {line}")


def say(text: str) -> None:
    """Head a step."""
    print(f"\n==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
