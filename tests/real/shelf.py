"""Own the images that real tools get to read: put over the API, pulled by docker_pull.py as a user runs it.

conftest.py and the tests of this folder enter.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any

import boto3
import pytest
from botocore.config import Config
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.manifest import OCI_MANIFEST
from tests.images import Image, hello_program, image_of, index_of, tar_of
from tests.putting import put_image, put_index
from tests.real.tools import missing, need

PROJECT = Path(__file__).parents[2]
ACCOUNT, REGION, REPOSITORY = "123456789012", "us-west-2", "my/app"
NAME = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}"
ARN = f"ecr.aws/arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{REPOSITORY}"
WAYS = ("tag", "digest", "tag-and-digest")
KINDS = ("schema2", "oci")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_PATIENCE = 60.0  # seconds for one pull or push


@dataclass(frozen=True)
class Archive:
    """A pulled file, and what it has to hold: this image under this tag."""

    path: Path
    repository: str
    tag: str
    image: Image

    @property
    def kind(self) -> str:
        return "oci" if self.image.manifest.media_type == OCI_MANIFEST else "schema2"

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def digest(self) -> str:
        return str(self.image.manifest.digest)

    @property
    def diff_ids(self) -> list[str]:
        """Digests of the layers as tars, as the config has them."""
        return [digest_of(gzip.decompress(layer.content)) for layer in self.image.layers]


@dataclass(frozen=True)
class Sent:
    """What docker_push.py says of an image; documents end with the root, fates are of configs and layers."""

    references: list[str]
    digest: str
    documents: list[str]
    configs: list[str]
    fates: set[str]


class Shelf:
    """Put images into a local ECR and pull them out again, each once; push archives of others into it."""

    def __init__(self, folder: Path, ecr: ECRClient, environment: dict[str, str]) -> None:
        self._folder = folder
        self._ecr = ecr
        self._environment = {**environment, "PATH": os.environ["PATH"], "HOME": str(folder)}
        self._archives: dict[str, Archive] = {}
        self._repositories: set[str] = set()
        self._pulls = 0

    def busybox(self, kind: str, way: str) -> Archive:
        """Pull the image with busybox in it, named this way."""
        image = busybox_image(kind)
        digest = image.manifest.digest
        text, tag = {
            "tag": (f"{ARN}/{kind}:1.2", "1.2"),
            "digest": (f"{NAME}/{kind}@{digest}", digest.hex),
            "tag-and-digest": (f"{ARN}/{kind}:1.2@{digest}", "1.2"),
        }[way]
        self._stock(kind, lambda repository: put_image(self._ecr, repository, image, "1.2"))
        return self._archive(f"{kind}-by-{way}", text, Archive(Path(), f"{NAME}/{kind}", tag, image))

    def image(self, name: str, image: Image) -> Archive:
        """Put any image into a repository of this name and pull it, as :latest, by naming no tag."""
        self._stock(name, lambda repository: put_image(self._ecr, repository, image, "latest"))
        return self._archive(name, f"{NAME}/{name}", Archive(Path(), f"{NAME}/{name}", "latest", image))

    def index(self, kind: str, architecture: str | None = None) -> Archive:
        """Put busybox for this machine and the small image for another under one index, and pull one of them."""
        name = f"index-of-{kind}"
        foreign, native = small_image(oci=kind == "oci", foreign=True), busybox_image(kind)
        index = index_of((foreign, native), oci=kind == "oci")
        self._stock(name, lambda repository: put_index(self._ecr, repository, index, "2"))
        wanted = foreign if architecture == foreign.platform.architecture else native
        options = ("--platform", f"linux/{architecture}") if architecture else ()
        expected = Archive(Path(), f"{NAME}/{name}", "2", wanted)
        return self._archive(f"{name}-{architecture or 'default'}", f"{ARN}/{name}:2", expected, *options)

    def push(self, archive: Path | str, *arguments: str, stdin: IO[bytes] | None = None) -> list[Sent]:
        """Run docker_push.py, which creates what repositories it needs, and give the images that it tells of."""
        done = self.run("docker_push.py", str(archive), *arguments, "--create-repository", "--json", stdin=stdin)
        assert done.returncode == 0, f"docker_push.py {archive} ended with {done.returncode}: {done.stderr}"
        assert "Traceback" not in done.stderr
        return [_sent(image) for image in json.loads(done.stdout)["images"]]

    def pull(self, reference: str, *options: str) -> tuple[Path, str]:
        """Run docker_pull.py into a new file, and give it with the digest that it printed."""
        self._pulls += 1
        path = self._folder / f"pull-{self._pulls}.tar"
        done = self.run("docker_pull.py", reference, "-o", str(path), *options)
        assert done.returncode == 0, f"docker_pull.py {reference} ended with {done.returncode}: {done.stderr}"
        printed, digest = done.stdout.split()
        assert printed == str(path)
        return path, digest

    def run(self, script: str, *arguments: str, stdin: IO[bytes] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a script as a user does, to its end, whatever that is."""
        return subprocess.run(
            [sys.executable, str(PROJECT / script), *arguments],
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self._folder,
            env=self._environment,
            timeout=_PATIENCE,
            check=False,
        )

    def _stock(self, name: str, put: Callable[[str], None]) -> None:
        repository = f"{REPOSITORY}/{name}"
        if repository not in self._repositories:
            self._ecr.create_repository(repositoryName=repository)
            put(repository)
            self._repositories.add(repository)

    def _archive(self, file: str, text: str, expected: Archive, *options: str) -> Archive:
        """Run docker_pull.py, unless it did that before, and hold it to what it promises to print."""
        if file not in self._archives:
            path = self._folder / f"{file}.tar"
            done = self.run("docker_pull.py", text, "-o", str(path), *options)
            assert done.returncode == 0, f"docker_pull.py {text} ended with {done.returncode}: {done.stderr}"
            assert done.stdout == f"{path} {expected.digest}\n"
            self._archives[file] = replace(expected, path=path)
        return self._archives[file]


@contextmanager
def open_shelf(folder: Path, settings: Settings | None = None) -> Iterator[Shelf]:
    """Run a local ECR that is empty, deaf to this machine's own AWS settings."""
    (folder / "pulled").mkdir()
    with LocalEcr(folder / "ecr", settings=settings) as local, closing(_client(local)) as ecr:
        yield Shelf(folder / "pulled", ecr, local.environment)


def architecture() -> str:
    """Name this machine's architecture as images do; there are programs for two."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine) or missing(f"no test image for {machine}")


def foreign_architecture() -> str:
    """Name an architecture that this machine doesn't have."""
    return "amd64" if architecture() == "arm64" else "arm64"


@cache
def busybox_image(kind: str) -> Image:
    """Build an image of two layers, a real shell and a small file, that says hello; each kind has its own digests."""
    program = Path(need("busybox")).read_bytes()
    if b"/ld-linux" in program or b"/ld-musl" in program:
        missing("busybox is not linked statically (Debian: busybox-static)")
    layers = [tar_of({"bin/busybox": program, "bin/sh": program}), tar_of({"etc/greeting": f"hello {kind}\n".encode()})]
    command = ("/bin/sh", "-c", "/bin/busybox cat /etc/greeting")
    return image_of(layers, command=command, architecture=architecture(), oci=kind == "oci")


def repeating_image() -> Image:
    """Build an image whose first layer comes again as its third."""
    one = tar_of({"hello": hello_program(architecture())})
    return image_of([one, tar_of({"other": b"between\n"}), one], architecture=architecture())


def small_image(*, oci: bool = True, foreign: bool = False, compressed: bool = True) -> Image:
    """Build the image of a hundred bytes, for this machine or another."""
    machine = foreign_architecture() if foreign else architecture()
    layer = tar_of({"hello": hello_program(machine)})
    return image_of([layer], architecture=machine, oci=oci, compressed=compressed)


def digest_of(content: bytes) -> str:
    """Hash without the product's help."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _sent(image: dict[str, Any]) -> Sent:
    return Sent(
        references=image["references"],
        digest=image["digest"],
        documents=image["manifests"],
        configs=[config["digest"] for config in image["configs"]],
        fates={blob["status"] for blob in (*image["configs"], *image["layers"])},
    )


def _client(local: LocalEcr) -> ECRClient:
    key_id, secret = local.credentials
    with pytest.MonkeyPatch.context() as patch:
        for variable in [each for each in os.environ if each.startswith("AWS_")]:
            patch.delenv(variable)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        return boto3.client(
            "ecr",
            region_name=REGION,
            endpoint_url=local.endpoint,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=Config(proxies={}),
        )
