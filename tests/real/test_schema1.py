"""Genuine schema 1: Debian's docker-registry takes what we sign, gives it back signed anew, and makes its own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from ecrdrag.content import Digest
from ecrdrag.conversion.schema1 import EMPTY_LAYER, LayerFacts, modernised, needed
from ecrdrag.manifest import DOCKER_MANIFEST
from ecrdrag.schema1 import SIGNED, Schema1
from tests.images import GREETING, hello_program, tar_of
from tests.localecr import manifest_of
from tests.real.conftest import Tool
from tests.real.registry_servers import docker_registry
from tests.real.shelf import architecture
from tests.schema1_images import KEYS, OldImage, facts_of, hello_schema1, hello_steps, old_image, plain

pytestmark = pytest.mark.real

TARS = [tar_of({"hello": hello_program("amd64")}), tar_of({"motd": b"good day\n"})]
LAYERS = [gzip.compress(tar, 6, mtime=0) for tar in TARS]
NOON = "2015-06-01T12:00:00Z"
HISTORY: list[dict[str, object]] = [
    {"created": NOON, "created_by": "ADD hello"},
    {"created": NOON, "created_by": "ENV A=b", "comment": "nothing", "empty_layer": True},
    {"created": NOON, "created_by": "ADD motd", "author": "another"},
    {"created": NOON, "created_by": "CMD /hello", "author": "somebody", "empty_layer": True},
]
CONFIG = {
    "architecture": "arm64",
    "os": "linux",
    "created": NOON,
    "author": "somebody",
    "config": {"Cmd": ["/hello"], "Env": ["A=b"]},
    "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in TARS]},
    "history": HISTORY,
}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a repository in a registry that speaks schema 1."""
    with docker_registry(tmp_path_factory.mktemp("registry"), schema1=True) as server:
        yield f"{server.url}/v2/team/app/"


def push_blob(team: str, blob: bytes) -> None:
    begun = requests.post(f"{team}blobs/uploads/", timeout=30)
    place = urljoin(team, begun.headers["Location"])
    put = requests.put(place, params={"digest": str(Digest.of(blob))}, data=blob, timeout=30)
    assert put.status_code == 201, put.text


def push(team: str, image: OldImage, tag: str) -> requests.Response:
    for blob in image.blobs.values():
        push_blob(team, blob)
    return requests.put(f"{team}manifests/{tag}", data=image.raw, headers={"Content-Type": SIGNED}, timeout=30)


def get(team: str, tag: str) -> tuple[Schema1, str]:
    """Ask as a client does that accepts schema 1 alone; give what came, and the digest that the registry says."""
    got = requests.get(f"{team}manifests/{tag}", headers={"Accept": SIGNED}, timeout=30)
    assert got.status_code == 200, got.text
    return Schema1.parse(got.content, got.headers["Content-Type"]), got.headers["Docker-Content-Digest"]


@pytest.mark.parametrize("signers", [1, 2])
@pytest.mark.parametrize("indent", [3, 1, None])
def test_what_we_sign_is_taken_and_comes_back_with_the_same_payload(team: str, signers: int, indent: int) -> None:
    image = old_image(hello_steps(), keys=KEYS[:signers], name="team/app", tag="ours", indent=indent)
    put = push(team, image, "ours")
    assert put.status_code == 201, put.text
    ours = Schema1.parse(image.raw, SIGNED)
    assert put.headers["Docker-Content-Digest"] == str(ours.digest)
    theirs, digest = get(team, "ours")
    assert theirs.raw != image.raw  # signed anew, by a key of the registry's
    assert (theirs.payload, theirs.layers, theirs.history) == (ours.payload, ours.layers, ours.history)
    assert str(theirs.digest) == digest == str(Digest.of(image.payload))


def test_what_we_sign_is_looked_at(team: str) -> None:
    image = hello_schema1(name="team/app", tag="forged")
    document = json.loads(image.raw)
    document["signatures"][0]["signature"] = "A" * 86
    forged = image.payload.rstrip()[:-2] + b',"signatures":' + json.dumps(document["signatures"]).encode() + b"}"
    assert Schema1.parse(forged).payload == image.payload
    put = push(team, replace(image, raw=forged), "forged")
    assert (put.status_code, put.json()["errors"][0]["code"]) == (400, "MANIFEST_UNVERIFIED")


def test_what_the_registry_makes_of_a_modern_image_becomes_that_image_again(team: str) -> None:
    config = json.dumps(CONFIG).encode()
    for blob in (config, *LAYERS):
        push_blob(team, blob)
    kind, raw = {"Content-Type": DOCKER_MANIFEST}, manifest_of(config, LAYERS, docker=True)
    put = requests.put(f"{team}manifests/modern", data=raw, headers=kind, timeout=30)
    assert put.status_code == 201, put.text
    made, digest = get(team, "modern")
    assert (made.media_type, str(made.digest), made.architecture) == (SIGNED, digest, "arm64")
    bottom, top = (Digest.of(layer) for layer in LAYERS)
    assert made.layers == (bottom, EMPTY_LAYER, top, EMPTY_LAYER)
    assert needed(made) == (bottom, top)
    facts = {
        Digest.of(layer): LayerFacts(Digest.of(tar), len(layer), "gzip", empty=False)
        for layer, tar in zip(LAYERS, TARS, strict=True)
    }
    manifest, config = modernised(made, facts)
    assert [layer.digest for layer in manifest.layers] == [bottom, top]
    top_entry = {name: value for name, value in HISTORY[-1].items() if name != "created_by"}  # the registry drops it
    assert json.loads(config) == {**CONFIG, "history": [*HISTORY[:-1], top_entry]}


def test_docker_makes_the_same_image_of_it(docker: Tool, team: str) -> None:
    """Docker up to 25 converts schema 1 itself; empty layers that nobody calls so it keeps, so there are none here."""
    machine = architecture()
    steps = [step for step in hello_steps(machine) if "throwaway" in step.more or any(plain(step.blob))]
    top = {"architecture": machine, "docker_version": "1.9.1", "comment": "a <b> & ümlaut", "Size": 5, "parent_id": "x"}
    image = old_image(steps, keys=KEYS[:1], name="team/app", tag="run", top=top)
    assert push(team, image, "run").status_code == 201
    manifest, config = modernised(Schema1.parse(image.raw), facts_of(image))
    name = f"{urlsplit(team).netloc}/team/app:run"
    docker("pull", "--quiet", name)
    found = json.loads(docker("image", "inspect", name))[0]
    assert found["Id"] == str(manifest.config.digest) == str(Digest.of(config))
    assert docker("run", "--rm", "--network", "none", name) == GREETING
    docker("image", "rm", name)
