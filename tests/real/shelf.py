"""Own the images that real tools get to read: put over the API, pulled by docker_pull.py as a user runs it.

conftest.py and the tests of this folder enter.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
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
_PATIENCE = 60.0  # seconds for one pull


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
        return [digest_of(content) for content in self.layer_tars]

    @property
    def layer_tars(self) -> list[bytes]:
        return [gzip.decompress(layer.content) for layer in self.image.layers]


class Shelf:
    """Put images into a local ECR and pull them out again, each once."""

    def __init__(self, folder: Path, ecr: ECRClient, environment: dict[str, str]) -> None:
        self._folder = folder
        self._ecr = ecr
        self._environment = {**environment, "PATH": os.environ["PATH"], "HOME": str(folder)}
        self._put_indexes: set[str] = set()
        self._images: dict[str, Image] = {}
        self._archives: dict[tuple[str, str], Archive] = {}

    def busybox(self, kind: str, way: str) -> Archive:
        """Pull the image with busybox in it, named this way."""
        if kind not in self._images:
            self._put(kind, busybox_image(kind))
        image = self._images[kind]
        digest = image.manifest.digest
        if (kind, way) not in self._archives:
            text, tag = {
                "tag": (f"{ARN}:{kind}", kind),
                "digest": (f"{NAME}@{digest}", digest.hex),
                "tag-and-digest": (f"{ARN}:{kind}@{digest}", kind),
            }[way]
            self._archives[kind, way] = Archive(self.pull(text, f"{kind}-by-{way}", image), NAME, tag, image)
        return self._archives[kind, way]

    def image(self, tag: str, image: Image) -> Archive:
        """Put any image and pull it by its tag."""
        if tag not in self._images:
            self._put(tag, image)
            self._archives[tag, "tag"] = Archive(self.pull(f"{NAME}:{tag}", tag, image), NAME, tag, image)
        return self._archives[tag, "tag"]

    def index(self, kind: str, architecture: str | None = None) -> Archive:
        """Put busybox for this machine and the small image for another under one index, and pull one of them."""
        images = (small_image(oci=kind == "oci", foreign=True), busybox_image(kind))
        text, tag = f"{ARN}/{kind}:index", "index"
        if text not in self._put_indexes:
            self._ecr.create_repository(repositoryName=f"{REPOSITORY}/{kind}")
            put_index(self._ecr, f"{REPOSITORY}/{kind}", index_of(images, oci=kind == "oci"), tag)
            self._put_indexes.add(text)
        options = ("--platform", f"linux/{architecture}") if architecture else ()
        image = images[0] if architecture == images[0].platform.architecture else images[1]
        path = self.pull(text, f"{kind}-index-{architecture}", image, *options)
        return Archive(path, f"{NAME}/{kind}", tag, image)

    def pull(self, text: str, file: str, image: Image, *options: str) -> Path:
        """Run docker_pull.py and hold it to what it promises to print."""
        path = self._folder / f"{file}.tar"
        path.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, str(PROJECT / "docker_pull.py"), text, "-o", str(path), *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self._folder,
            env=self._environment,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"docker_pull.py {text} ended with {done.returncode}: {done.stderr}"
        assert done.stdout == f"{path} {image.manifest.digest}\n"
        return path

    def _put(self, tag: str, image: Image) -> None:
        put_image(self._ecr, REPOSITORY, image, tag)
        self._images[tag] = image


@contextmanager
def open_shelf(folder: Path) -> Iterator[Shelf]:
    """Run a local ECR with an empty repository, deaf to this machine's own AWS settings."""
    (folder / "pulled").mkdir()
    with LocalEcr(folder / "ecr") as local, closing(_client(local)) as ecr:
        ecr.create_repository(repositoryName=REPOSITORY)
        yield Shelf(folder / "pulled", ecr, local.environment)


def architecture() -> str:
    """Name this machine's architecture as images do; there are programs for two."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine) or missing(f"no test image for {machine}")


def foreign_architecture() -> str:
    """Name an architecture that this machine doesn't have."""
    return "amd64" if architecture() == "arm64" else "arm64"


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
