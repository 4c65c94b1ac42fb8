"""Schema 1 becomes docker's schema 2: layers in order, empty ones dropped, a config made of the history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.content import Digest
from ecrdrag.conversion.schema1 import EMPTY_LAYER, LayerFacts, modernised, needed
from ecrdrag.errors import UnsupportedError
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, Manifest, parse
from ecrdrag.schema1 import Schema1
from tests.images import tar_of
from tests.schema1_images import (
    EMPTY_GZIP,
    EMPTY_TAR,
    KEYS,
    Step,
    facts_of,
    hello_schema1,
    hello_steps,
    old_image,
    packed,
    plain,
)

GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
TAR = "application/vnd.docker.image.rootfs.diff.tar"
ONE, TWO = packed({"one": b"1"}), packed({"two": b"2"})


def modern(
    steps: Sequence[Step], top: Mapping[str, object] | None = None, changed: Mapping[str, object] | None = None
) -> tuple[Manifest, Any]:
    """Convert an image of these steps; top goes into its top entry, changed into the document beside its history."""
    image = old_image(steps, top=top)
    raw = json.dumps({**json.loads(image.raw), **(changed or {})}).encode()
    manifest, config = modernised(Schema1.parse(raw), facts_of(image))
    assert Digest.of(config) == manifest.config.digest
    return manifest, json.loads(config)


# Layers


def test_the_layers_that_hold_something_are_kept_in_order_with_what_they_are() -> None:
    image = hello_schema1()
    manifest, config = modernised(Schema1.parse(image.raw), facts_of(image))
    hello, _, motd, _, _, again, tar, _ = image.steps
    assert motd == again
    assert [(layer.digest, layer.size, layer.media_type) for layer in manifest.layers] == [
        (Digest.of(hello), len(hello), GZIP),
        (Digest.of(motd), len(motd), GZIP),
        (Digest.of(motd), len(motd), GZIP),
        (Digest.of(tar), len(tar), TAR),
    ]
    tars = [plain(blob) for blob in (hello, motd, motd, tar)]
    assert json.loads(config)["rootfs"] == {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in tars]}


def test_the_manifest_is_docker_s_schema_2_and_reads_back() -> None:
    image = hello_schema1()
    manifest, config = modernised(Schema1.parse(image.raw), facts_of(image))
    assert manifest == parse(manifest.raw)
    assert (manifest.media_type, manifest.config.media_type) == (DOCKER_MANIFEST, DOCKER_CONFIG)
    assert (manifest.config.digest, manifest.config.size) == (Digest.of(config), len(config))
    assert manifest.is_image


def test_each_layer_is_needed_once_bottom_first_unless_it_is_known_to_be_empty() -> None:
    image = hello_schema1()
    hello, _, motd, _, nothing, _, tar, _ = image.steps
    assert needed(Schema1.parse(image.raw)) == tuple(Digest.of(blob) for blob in (hello, motd, nothing, tar))
    assert Digest.of(EMPTY_GZIP) == EMPTY_LAYER
    assert plain(EMPTY_GZIP) == EMPTY_TAR


def test_the_facts_of_what_is_needed_are_all_that_is_looked_at() -> None:
    image = hello_schema1()
    schema1, facts = Schema1.parse(image.raw), facts_of(image)
    enough = {digest: facts[digest] for digest in needed(schema1)}
    assert modernised(schema1, enough) == modernised(schema1, facts)


def test_a_layer_that_is_thrown_away_is_not_read_whatever_it_holds() -> None:
    steps = [Step("one", ONE), Step("two", TWO, {"throwaway": True}), Step("three", ONE, {"throwaway": False})]
    image = old_image(steps)
    assert needed(Schema1.parse(image.raw)) == (Digest.of(ONE),)
    manifest, config = modern(steps)
    assert [layer.digest for layer in manifest.layers] == [Digest.of(ONE)] * 2
    assert [entry.get("empty_layer") for entry in config["history"]] == [None, True, None]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_layer_that_is_thrown_away_in_one_place_stays_in_another(kept: int) -> None:
    steps = [Step("one", ONE), Step("again", ONE)]
    steps[1 - kept] = Step("again", ONE, {"throwaway": True})
    manifest, config = modern(steps)
    assert [layer.digest for layer in manifest.layers] == [Digest.of(ONE)]
    assert [entry.get("empty_layer", False) for entry in config["history"]] == [kept == 1, kept == 0]


@pytest.mark.parametrize("blob", [EMPTY_TAR, bytes(512), b"", packed({})])
def test_a_tar_of_nothing_but_zeros_is_left_out(blob: bytes) -> None:
    manifest, config = modern([Step("one", ONE), Step("nothing", blob), Step("two", TWO)])
    assert [layer.digest for layer in manifest.layers] == [Digest.of(ONE), Digest.of(TWO)]
    assert len(config["rootfs"]["diff_ids"]) == 2
    assert [entry.get("empty_layer") for entry in config["history"]] == [None, True, None]


def test_a_size_of_zero_is_no_reason_to_leave_a_layer_out() -> None:
    manifest, config = modern([Step("one", ONE, {"Size": 0}), Step("two", TWO, {"Size": 0})])
    assert [layer.digest for layer in manifest.layers] == [Digest.of(ONE), Digest.of(TWO)]
    assert "Size" not in config


def test_an_image_without_any_file_has_no_layers() -> None:
    manifest, config = modern([Step("ENV A=b", more={"throwaway": True}), Step("CMD x")])
    assert manifest.layers == ()
    assert config["rootfs"] == {"type": "layers", "diff_ids": []}
    assert [entry["empty_layer"] for entry in config["history"]] == [True, True]


def test_two_blobs_of_the_same_tar_stay_two() -> None:
    tar = tar_of({"one": b"1"})
    manifest, config = modern([Step("one", tar), Step("again", ONE)])
    assert [(layer.digest, layer.media_type) for layer in manifest.layers] == [
        (Digest.of(tar), TAR),
        (Digest.of(ONE), GZIP),
    ]
    assert config["rootfs"]["diff_ids"] == [str(Digest.of(tar))] * 2


@pytest.mark.parametrize("kind", ["zstd", "xz", "bzip2"])
def test_a_layer_under_a_compression_that_docker_has_no_type_for_is_refused(kind: str) -> None:
    image = old_image([Step("one", ONE)])
    facts = {digest: replace(fact, compression=kind) for digest, fact in facts_of(image).items()}
    with pytest.raises(UnsupportedError, match=f"{Digest.of(ONE)} is compressed with {kind}"):
        modernised(Schema1.parse(image.raw), facts)


# The config


def test_the_config_is_the_top_entry_without_what_belongs_to_version_1() -> None:
    old = {"parent_id": "x", "layer_id": "x", "Size": 5, "throwaway": None, "rootfs": 1, "History": 2, "RootFS": 3}
    kept = {
        "architecture": "arm64",
        "variant": "v8",
        "os": "windows",
        "os.version": "10.0.1",
        "config": {
            "Cmd": ["a", "b"],
            "Env": ["A=b"],
            "Healthcheck": {"Interval": 5},
            "Labels": {"a": "b"},
            "OnBuild": None,
        },
        "container": "c",
        "docker_version": "1.9.1",
        "author": "ümlaut",
        "comment": "<&>",
        "what we don't know": [1, 2.5, None],
    }
    _, config = modern([Step("one", ONE), Step("two", TWO)], {**old, **kept})
    made = {"created": "2015-06-01T12:00:01.123456789Z", "container_config": {"Cmd": ["two"]}}
    assert {name: value for name, value in config.items() if name not in ("rootfs", "history")} == {**kept, **made}
    assert config["rootfs"]["diff_ids"] == [str(Digest.of(plain(ONE))), str(Digest.of(plain(TWO)))]
    assert len(config["history"]) == 2


def test_the_history_says_who_did_what_when() -> None:
    more: dict[str, object] = {"author": "a", "comment": "c", "created": "2014-02-03T04:05:06+07:00"}
    steps = [
        Step("/bin/sh -c echo 1  2", ONE, more),
        Step("x", TWO, {"created": None, "author": None, "container_config": None}),
        Step("x", TWO, {"container_config": {"Cmd": "one string"}, "created": ""}),
        Step("x", ONE, {"container_config": {"Cmd": None}, "author": ""}),
        Step("x", ONE, {"container_config": {}}),
    ]
    _, config = modern(steps)
    at = [f"2015-06-01T12:00:{place:02}.123456789Z" for place in range(5)]
    assert config["history"] == [
        {"created": "2014-02-03T04:05:06+07:00", "author": "a", "created_by": "/bin/sh -c echo 1  2", "comment": "c"},
        {},
        {"created_by": "one string"},
        {"created": at[3]},
        {"created": at[4]},
    ]


def test_the_bytes_are_those_that_docker_writes() -> None:
    image = old_image(
        [Step("a <b> && c", ONE, {"author": "ü"}), Step("x", more={"throwaway": True})],
        top={"config": {"b": 1, "a": 2}},
    )
    _, config = modernised(Schema1.parse(image.raw), facts_of(image))
    when = "2015-06-01T12:00:0"
    assert config.decode() == (
        '{"architecture":"amd64","config":{"b":1,"a":2},"container_config":{"Cmd":["x"]},'
        f'"created":"{when}1.123456789Z","history":[{{"created":"{when}0.123456789Z","author":"ü",'
        r'"created_by":"a \u003cb\u003e \u0026\u0026 c"},'
        f'{{"created":"{when}1.123456789Z","created_by":"x","empty_layer":true}}],"os":"linux",'
        f'"rootfs":{{"type":"layers","diff_ids":["{Digest.of(plain(ONE))}"]}}}}'
    )


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_is_not_said_of_the_platform_is_linux_on_what_the_document_says_or_amd64(nothing: object) -> None:
    _, config = modern(
        [Step("one", ONE)], {"os": nothing, "architecture": nothing}, changed={"architecture": "ppc64le"}
    )
    assert (config["os"], config["architecture"]) == ("linux", "ppc64le")
    _, config = modern([Step("one", ONE)], {"os": nothing, "architecture": nothing}, changed={"architecture": ""})
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    _, config = modern([Step("one", ONE)], {"os": "plan9", "architecture": "mips"}, changed={"architecture": "arm"})
    assert (config["os"], config["architecture"]) == ("plan9", "mips")


def test_the_smallest_entries_will_do() -> None:
    raw = json.dumps(
        {
            "schemaVersion": 1,
            "fsLayers": [{"blobSum": str(Digest.of(ONE))}],
            "history": [{"v1Compatibility": "{}"}],
        }
    ).encode()
    diff_id = Digest.of(plain(ONE))
    manifest, config = modernised(
        Schema1.parse(raw), {Digest.of(ONE): LayerFacts(diff_id, len(ONE), "gzip", empty=False)}
    )
    assert json.loads(config) == {
        "architecture": "amd64",
        "os": "linux",
        "history": [{}],
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
    }
    assert len(manifest.layers) == 1


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"os": 1}, "os is not a string"),
        ({"os": "linux/amd64"}, "os is 'linux/amd64', which is no word of a platform"),
        ({"architecture": ["amd64"]}, "architecture is not a string"),
        ({"architecture": "\ud800"}, "which is no word of a platform"),
        ({"variant": 8}, "variant is not a string"),
        ({"created": 1433160000}, "created is not a string"),
        ({"created": "yesterday"}, "created is no time: 'yesterday'"),
        ({"created": "2015-06-01T12:00:00Z\n"}, "created is no time"),
        ({"author": {}}, "author is not a string"),
        ({"comment": 1}, "comment is not a string"),
        ({"docker_version": 1.9}, "docker_version is not a string"),
        ({"container": []}, "container is not a string"),
        ({"throwaway": 1}, "throwaway is not true or false"),
        ({"throwaway": "true"}, "throwaway is not true or false"),
        ({"config": []}, "config is not an object"),
        ({"container_config": "x"}, "container_config is not an object"),
        ({"container_config": {"Cmd": [1]}}, "Cmd is not a list of strings"),
        ({"container_config": {"Env": "A=b"}}, "Env is not a list of strings"),
        ({"config": {"Cmd": {}}}, "Cmd is not a list of strings"),
        ({"config": {"Entrypoint": [None]}}, "Entrypoint is not a list of strings"),
        ({"config": {"Env": "A=b"}}, "Env is not a list of strings"),
        ({"config": {"OnBuild": [[]]}}, "OnBuild is not a list of strings"),
        ({"config": {"User": 0}}, "User is not a string"),
        ({"config": {"Volumes": ["/data"]}}, "Volumes is not an object"),
        ({"config": {"ExposedPorts": [80]}}, "ExposedPorts is not an object"),
        ({"config": {"Labels": {"a": 1}}}, "Labels is not an object of strings"),
        ({"comment": "\ud800"}, "can't be written as a config"),
    ],
)
def test_what_docker_could_not_read_is_refused(top: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        modern([Step("one", ONE)], top)


@pytest.mark.parametrize("member", ["created", "author", "comment", "container_config", "throwaway"])
def test_an_entry_below_the_top_is_held_to_the_same(member: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{member} is not"):
        modern([Step("one", ONE, {member: 5}), Step("two", TWO)])


def test_a_number_that_json_does_not_have_is_refused() -> None:
    image = old_image([Step("one", ONE)], top={"Memory": 123456})
    raw = image.raw.replace(b"123456}", b"1e999}")
    assert raw != image.raw
    with pytest.raises(UnsupportedError, match="can't be written as a config"):
        modernised(Schema1.parse(raw), facts_of(image))


def test_an_entry_that_is_too_deep_to_be_written_is_refused() -> None:
    image = old_image([Step("one", ONE)], top={"x": 123456})
    facts = facts_of(image)
    for depth in range(900, 1000):  # where Python up to 3.11 stops, depending on who asks
        raw = image.raw.replace(b"123456", b"[" * depth + b"]" * depth)
        with suppress(UnsupportedError):
            modernised(Schema1.parse(raw), facts)


def test_a_config_that_nobody_would_read_is_refused() -> None:
    top = {"comment": "<" * 350_000}  # six times as much, escaped, and once more in the history
    with pytest.raises(UnsupportedError, match=r"the config would have 420\d{4} bytes, over the limit of 4194304"):
        modern([Step("one", ONE, {"comment": None})], top)


# Whatever comes


@given(
    st.lists(st.tuples(st.sampled_from([ONE, TWO, EMPTY_GZIP, EMPTY_TAR, b""]), st.sampled_from([None, True, False])))
)
def test_every_layer_that_is_kept_has_its_entry_and_its_diff_id(made: list[tuple[bytes, bool | None]]) -> None:
    steps = [Step(str(place), blob, {"throwaway": gone}) for place, (blob, gone) in enumerate(made)] or hello_steps()
    manifest, config = modern(steps)
    kept = [step.blob for step in steps if not step.more.get("throwaway") and any(plain(step.blob))]
    assert [layer.digest for layer in manifest.layers] == [Digest.of(blob) for blob in kept]
    assert config["rootfs"]["diff_ids"] == [str(Digest.of(plain(blob))) for blob in kept]
    assert len(config["history"]) == len(steps)
    assert sum("empty_layer" not in entry for entry in config["history"]) == len(kept)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ["architecture", "os", "config", "created", "author", "container_config", "throwaway", "comment", "id", "x"]


@given(
    st.dictionaries(st.sampled_from(MEMBERS), JSON), st.dictionaries(st.sampled_from(["Cmd", "Env", "Labels"]), JSON)
)
def test_any_entries_become_an_image_or_are_refused(top: dict[str, Any], config: dict[str, Any]) -> None:
    image = old_image([Step("one", ONE, top), Step("two", TWO, {"config": config})], top=top, keys=KEYS[:1])
    facts = facts_of(image)
    try:
        found = Schema1.parse(image.raw)
        manifest, made = modernised(found, facts)
    except UnsupportedError:
        return
    assert set(needed(found)) <= set(facts)
    assert modernised(Schema1.parse(image.raw), facts) == (manifest, made)
    assert json.loads(made)["rootfs"]["type"] == "layers"
