"""Own the tools that bring an image from a registry: docker_pull.py and its peers, how each is called and found.

The benchmarks enter.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measuring import HOME
from tests.bench.servers import clean_environment, reference_to, search_path

OURS = "docker_pull.py"
# What is installed with Go where it isn't there, each of a version that is known to work.
_FROM_GO = {
    "crane": "github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "regctl": "github.com/regclient/regclient/cmd/regctl@v0.11.7",
    "oras": "oras.land/oras/cmd/oras@v1.3.0",
}
_PATIENCE = 600.0  # seconds; building one takes about 60
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+[0-9A-Za-z.+~-]*")
_VERSION_WORDS: Mapping[str, Sequence[str]] = {"nginx": ("-v",), **dict.fromkeys(_FROM_GO, ("version",))}


@dataclass(frozen=True)
class Missing:
    """Why a program isn't to be had."""

    why: str


@dataclass(frozen=True)
class Errand:
    """What a tool is sent for and the empty folder where it puts it; a reference is empty where there is no way."""

    repository: str
    urls: Mapping[str, str]
    image: str
    output: Path


@dataclass(frozen=True)
class Way:
    """One way to bring an image; its command takes the errand."""

    name: str
    program: str
    command: Callable[[Errand], Sequence[str]] = field(repr=False)
    needs_registry: bool = False


def ours(jobs: int) -> Way:
    """Pull over the ECR API with so many connections."""
    fixed = ("--platform", "linux/amd64", "--progress", "none", "--json")

    def command(errand: Errand) -> Sequence[str]:
        output = str(errand.output / "image.tar")
        return (sys.executable, OURS, reference_to(errand.repository), *fixed, "-j", str(jobs), "-o", output)

    return Way(f"{OURS} -j {jobs}", OURS, command)


def ours_by_registry(jobs: int) -> Way:
    """Pull from the registry that the peers pull from, with so many connections."""

    def command(errand: Errand) -> Sequence[str]:
        fixed = ("--platform", "linux/amd64", "--progress", "none", "--json", "-j", str(jobs))
        return (sys.executable, OURS, errand.image, *fixed, "-o", str(errand.output / "image.tar"))

    return Way(f"{OURS} -j {jobs}, over /v2/", OURS, command, needs_registry=True)


def aria2c(connections: int = 16) -> Way:
    """Download the blobs by their URLs, each over so many connections."""

    def command(errand: Errand) -> Sequence[str]:
        wanted = "".join(f"{url}\n out={_file_name(digest)}\n" for digest, url in errand.urls.items())
        listed = errand.output / "urls"
        listed.write_text(wanted)
        split = (f"-x{connections}", f"-s{connections}", "-k1M", "--file-allocation=none")
        return ("aria2c", "--no-conf", "--quiet", *split, f"--dir={errand.output}", f"--input-file={listed}")

    return Way(f"aria2c -x{connections} -s{connections} -k1M", "aria2c", command)


def _curl(errand: Errand) -> Sequence[str]:
    words = ["curl", "--disable", "--silent", "--show-error", "--fail"]
    for digest, url in errand.urls.items():
        words += ["-o", str(errand.output / _file_name(digest)), url]
    return words


def _curl_and_flush(errand: Errand) -> Sequence[str]:
    return ("sh", "-c", '"$@" && sync "$0"/*', str(errand.output), *_curl(errand))


def _skopeo(kind: str, name: str) -> Callable[[Errand], Sequence[str]]:
    fixed = ("--insecure-policy", "copy", "--quiet", "--src-tls-verify=false")

    def command(errand: Errand) -> Sequence[str]:
        return ("skopeo", *fixed, f"docker://{errand.image}", f"{kind}:{errand.output / name}")

    return command


def _crane(form: str) -> Callable[[Errand], Sequence[str]]:
    def command(errand: Errand) -> Sequence[str]:
        return ("crane", "pull", "--insecure", f"--format={form}", errand.image, str(errand.output / "image"))

    return command


def _regctl(errand: Errand) -> Sequence[str]:
    host = f"reg={errand.image.partition('/')[0]},tls=disabled"
    return ("regctl", "--host", host, "image", "export", errand.image, str(errand.output / "image.tar"))


def _oras(errand: Errand) -> Sequence[str]:
    return ("oras", "copy", "--from-plain-http", "--to-oci-layout", errand.image, f"{errand.output / 'image'}:1")


CURL = Way("curl -o, blob by blob", "curl", _curl)
FLUSHED_CURL = Way("curl -o, then sync of its files", "curl", _curl_and_flush)  # as docker_pull.py does
SKOPEO_OCI = Way("skopeo copy to oci-archive", "skopeo", _skopeo("oci-archive", "image.tar"), needs_registry=True)
WITH_REGISTRY = (
    SKOPEO_OCI,
    Way("skopeo copy to docker-archive", "skopeo", _skopeo("docker-archive", "image.tar:bench:1"), needs_registry=True),
    Way("skopeo copy to dir", "skopeo", _skopeo("dir", "image"), needs_registry=True),
    Way("crane pull --format=tarball", "crane", _crane("tarball"), needs_registry=True),
    Way("crane pull --format=oci", "crane", _crane("oci"), needs_registry=True),
    Way("regctl image export", "regctl", _regctl, needs_registry=True),
    Way("oras copy --to-oci-layout", "oras", _oras, needs_registry=True),
)


def transfer_seconds(way: Way, out: str) -> float | None:
    """Read from what our own tool printed how long the layers took alone; None if it doesn't say."""
    if way.program != OURS:
        return None
    seconds = json.loads(out).get("seconds")
    return float(seconds) if seconds else None


def find(program: str, shelf: Path) -> str | Missing:
    """Give the version of a program, built with Go into the shelf if that is how it comes."""
    if program == OURS:
        return _version_of([sys.executable, str(HOME / OURS), "--version"])
    path = f"{shelf}{os.pathsep}{search_path()}"
    found = shutil.which(program, path=path)
    why = "it is not installed"
    if found is None and program in _FROM_GO:
        why = _build(program, shelf)
        found = shutil.which(program, path=path)
    if found is None:
        return Missing(f"{program}: {why}")
    return _version_of([found, *_VERSION_WORDS.get(program, ("--version",))])


def _build(program: str, shelf: Path) -> str:
    """Build a program with Go, and say why if that fails."""
    go = shutil.which("go", path=search_path())
    if go is None:
        return "it is not installed, nor is Go to build it"
    shelf.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"building {_FROM_GO[program]}\n")
    try:
        built = subprocess.run(
            [go, "install", _FROM_GO[program]],
            env={**os.environ, "GOBIN": str(shelf), "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it is not installed, and Go took too long to build it"
    return f"it is not installed, and Go can't build it: {_last_line(built.stderr)}"


def _version_of(command: Sequence[str]) -> str:
    told = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    match = _VERSION.search(told.stdout + told.stderr)
    return match[0] if match else "unknown"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1].strip()


def _file_name(digest: str) -> str:
    return digest.partition(":")[2]
