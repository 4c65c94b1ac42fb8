"""docker_push.py with hostile archives: exit 0, 6, 7 or 8, soon, in little memory, and no trace on disk or in ECR.

    FUZZ_EXAMPLES=5000 python -m pytest tests/flow/test_push_fuzz.py -k only_ever

tries as many mutants of each level, other ones each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings

from ecrdrag.manifest import OCI_INDEX
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import HOST
from tests.flow.found import (
    FOUND,
    LAYOUT,
    docker_files,
    index_over,
    layers_with,
    layout_of,
    manifest_with,
)
from tests.flow.honest import BASES, HELLO, PACKERS
from tests.flow.hostile import Mutant
from tests.flow.mutants import mutants
from tests.flow.scripts import HOME, environment_of
from tests.flow.traps import DEEDS
from tests.flow.watched import TAG, Ending, Ground, Watch
from tests.images import tar_of
from tests.localecr import REGION, Served, client_for, served
from tests.putting import put_image
from tests.saved import docker_save_old, tar_with

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, links, and pipes that have names")

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))
# Where mutants are changed, how some of them end there at least, and how many there are.
LEVELS: Final = (
    ("contents", {0, 6, 7, 8}, 120),
    ("members", {0, 7}, 45),
    ("bytes", {0, 7}, 45),
    ("folder", {0, 7}, 45),
    ("all", {0, 7}, 45),
)
# How what is in a folder may end, if not with exit 7.
ENDINGS: Final = {
    "odd names beside": {0},
    "a link to what was there": {0},
    "a link back in": {0},
    "a link of 4000 characters": {0},
    "10 links": {0},
    "a file": {6, 7, 8},
}
MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
MEMORY: Final = 128 * MIB  # of a push, with the 55 to 60 MiB of Python and boto3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("ecr"), "--region", REGION) as process:
        yield process


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture
def ground(server: Served, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(RetryPolicy, "delay", lambda policy, failures: 0.0)
    with client_for(server.endpoint, server.credentials) as api:
        ground = Ground(api, tmp_path / "ground", watch)
        monkeypatch.setattr(tempfile, "tempdir", str(ground.temporary))
        yield ground


def is_choice(mutant: Mutant, ended: Ending) -> bool:
    """Say whether an archive came to hold several images, or none by the name that is asked for."""
    if "--image" in mutant.options and ended.code == 4:
        return "holds no image" in ended.err
    return ended.code == 2 and re.search(r"choose one for|--image \S+ fits", ended.err) is not None


@pytest.mark.parametrize(("level", "usual", "examples"), LEVELS)
def test_a_mutant_only_ever_ends_in_exit_0_6_7_or_8(ground: Ground, level: str, usual: set[int], examples: int) -> None:
    codes: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,  # a busy machine would break it; Ground.push counts CPU time
        suppress_health_check=list(HealthCheck),
    )
    @given(mutants(level))
    def push_one(mutant: Mutant) -> None:
        ended = ground.push(mutant)
        assert ended.code in (0, 6, 7, 8) or is_choice(mutant, ended), str(ended)
        codes[ended.code] += 1

    push_one()
    assert all(codes[code] > 2 for code in usual), codes  # else mutants are too tame, or too wild


@pytest.mark.parametrize("deed", [deed for deed in DEEDS if deed != "1500 links"])
@pytest.mark.parametrize("name", ["oci-layout", "index.json", "blobs", *list(BASES["a layout"])[1:2]])
def test_a_folder_is_never_left(ground: Ground, name: str, deed: str) -> None:
    ended = ground.push(Mutant((name, deed), files=BASES["a layout"], deeds=((name, DEEDS[deed]),)))
    assert ended.code in ENDINGS.get(deed, {7}), ended


@pytest.mark.parametrize(("name", "packer"), [*((name, "") for name in BASES), *(("skopeo", each) for each in PACKERS)])
def test_what_mutants_are_made_from_is_pushed(ground: Ground, name: str, packer: str) -> None:
    tar = tar_with(BASES[name])
    assert ground.push(Mutant((name, packer), content=PACKERS[packer](tar) if packer else tar)).code == 0


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_ends_well(ground: Ground, name: str) -> None:
    build, codes = FOUND[name]
    ended = ground.push(Mutant((name,), content=tar_with(build())))
    assert ended.code in codes, ended


def test_a_layer_that_the_registry_has_is_held_against_its_size_too(ground: Ground) -> None:
    repository = ground.new_repository()
    put_image(ground.api, repository, HELLO)
    wrong = layers_with(lambda layers: layers[0].update(size=5))
    assert ground.push(Mutant(("size",), content=tar_with(wrong)), repository).code == 6


def test_a_name_that_no_disk_can_have_is_not_looked_for_on_one(ground: Ground) -> None:
    entry = {"Config": "\ud800", "Layers": ["a"], "LayerSources": {"b": {}}}
    assert ground.push(Mutant(("surrogate",), files={"oci-layout": LAYOUT, **docker_files([entry])})).code == 7


def test_links_without_end_are_not_followed(ground: Ground) -> None:
    deeds = (("index.json", DEEDS["1500 links"]),)
    assert ground.push(Mutant(("links",), files=layout_of(HELLO.manifest.content), deeds=deeds)).code == 7


def test_there_may_be_more_layers_than_files_that_a_process_may_open(ground: Ground) -> None:
    tars = [tar_of({f"file-{place}": b"%d" % place}) for place in range(300)]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most[1]))
    try:
        ended = ground.push(Mutant(("layers",), ("--dry-run",), tar_with(docker_save_old(tars=tars))))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert ended.code == 0, ended


# Memory. The kernel's own mark of a process of its own: what it took at most, which Python can't know.

RUN: Final = """
import sys
from pathlib import Path
from ecrdrag.cli.main import main_of
code = main_of("push", sys.argv[1:], program="docker_push.py")
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
sys.exit(code)
"""


def measured(ground: Ground, server: Served, archive: bytes, *options: str) -> tuple[int, int]:
    """Push in a process of its own; give the exit code and the most memory that it took, in bytes."""
    path = ground.folder / "archive"
    path.write_bytes(archive)
    command = [sys.executable, "-c", RUN, str(path), f"{HOST}/{ground.new_repository()}:{TAG}", *options]
    environment = environment_of(None, **server.environment, TMPDIR=str(ground.temporary), PYTHONPATH=str(HOME))
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    assert list(ground.temporary.iterdir()) == []
    return ended.returncode, int(ended.stdout.split()[-1]) * 1024


def zeros(packer: str, size: int) -> bytes:
    """Compress zeros fast: as streams, one behind the other, of 16 MiB each."""
    return PACKERS[packer](bytes(16 * MIB)) * (size // (16 * MIB))


def docker_archive_of(layer: bytes, tar_digest: str) -> bytes:
    config = json.dumps({"os": "linux", "rootfs": {"diff_ids": [f"sha256:{tar_digest}"]}}).encode()
    return tar_with(docker_files([{"Config": "c", "Layers": ["l"]}], c=config, l=layer))


# bzip2 and xz take their time, and those layers are compressed again: less of them shows the same.
@pytest.mark.parametrize(("packer", "size"), [("gzip", GIB), ("zstd", GIB), ("bzip2", GIB // 4), ("xz", GIB // 4)])
def test_a_layer_that_unpacks_to_a_gigabyte_takes_no_memory(
    ground: Ground, server: Served, packer: str, size: int
) -> None:
    plain = hashlib.sha256()
    for _ in range(size // (16 * MIB)):
        plain.update(bytes(16 * MIB))
    archive = docker_archive_of(zeros(packer, size), plain.hexdigest())
    code, memory = measured(ground, server, archive)
    assert (code, memory < MEMORY) == (0, True), (code, memory)


@pytest.mark.parametrize("packer", ["gzip", "xz", "zstd"])
def test_an_archive_that_unpacks_to_more_than_a_gigabyte_takes_no_memory(
    ground: Ground, server: Served, packer: str
) -> None:
    code, memory = measured(ground, server, zeros(packer, GIB + 16 * MIB))
    assert (code, memory < MEMORY) == (7, True), (code, memory)


def many_configs() -> bytes:
    configs = {f"c{place}": b'{"x":%d,"rootfs":{"diff_ids":[]}}' % place + b" " * MIB for place in range(200)}
    return tar_with(docker_files([{"Config": name, "RepoTags": [name]} for name in configs], **configs))


def many_manifests() -> bytes:
    index, blobs = index_over(*(manifest_with(id, x=place) + b" " * MIB for place in range(200)))
    return tar_with(layout_of(index, blobs=blobs, mediaType=OCI_INDEX))


@pytest.mark.parametrize(("build", "options"), [(many_configs, ["--image", "c7"]), (many_manifests, ["--dry-run"])])
def test_many_large_documents_take_no_memory(
    ground: Ground, server: Served, build: Callable[[], bytes], options: list[str]
) -> None:
    code, memory = measured(ground, server, build(), *options)
    assert code in (0, 7, 8)
    assert memory < MEMORY, memory
