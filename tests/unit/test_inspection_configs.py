"""A config is read as far as it is what it should be; whatever else stands in it is no error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.content import Digest, Platform
from ecrdrag.errors import UnsupportedError
from ecrdrag.inspection.anatomy import Facts
from ecrdrag.inspection.configs import facts_of, facts_of_schema1
from ecrdrag.schema1 import Schema1
from tests.inspected import RICH
from tests.schema1_images import EMPTY_GZIP, Step, hello_schema1, hello_steps, old_image

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
MEMBERS = ("created", "os", "architecture", "variant", "os.version", "config", "rootfs", "history")
PARTS = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "Labels", "StopSignal")


def read(config: object, layers: int = 0) -> Facts:
    return facts_of(json.dumps(config).encode(), layers)


def test_all_that_a_config_says_is_read() -> None:
    facts = read(RICH, 2)
    assert (facts.platform, facts.os_version) == (Platform("windows", "amd64"), "10.0.20348.2762")
    assert (facts.created, facts.user, facts.working_dir) == ("2024-05-06T07:08:09Z", "ContainerUser", "C:\\app")
    assert (facts.entrypoint, facts.cmd) == (("cmd", "/S", "/C"), ("app.exe",))
    assert facts.env == tuple(RICH["config"]["Env"])
    assert (facts.exposed_ports, facts.volumes) == (("80/tcp", "443/tcp"), ("c:/data",))
    assert (facts.labels, facts.stop_signal) == (RICH["config"]["Labels"], "SIGTERM")
    assert facts.healthcheck == {
        "test": ["CMD-SHELL", "app.exe /health"],
        "interval": 30_000_000_000,
        "retries": 3,
    }
    assert facts.diff_ids == tuple(RICH["rootfs"]["diff_ids"])
    assert facts.odd == ()


def test_what_a_config_does_not_say_is_nothing() -> None:
    assert read({"config": None, "history": None}) == Facts(Platform("", "", ""))
    assert read({"config": {"Env": [], "Cmd": None, "User": ""}}) == Facts(Platform("", "", ""), env=())
    assert read({"variant": "v7"}).platform == Platform("", "", "v7")


def test_a_command_of_one_string_is_a_command() -> None:
    facts = read({"config": {"Cmd": "run", "Entrypoint": "sh", "Env": "no"}})
    assert (facts.cmd, facts.entrypoint, facts.env, facts.odd) == (("run",), ("sh",), None, ("Env",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"os": 7},
        {"config": []},
        {"config": {"Env": {"A": "b"}}},
        {"config": {"Env": ["A=b", 7]}},
        {"config": {"Labels": {"a": 1}}},
        {"config": {"Labels": ["a"]}},
        {"config": {"Volumes": ["/data"]}},
        {"config": {"Healthcheck": "curl"}},
        {"config": {"Healthcheck": {"Retries": True}}},
        {"rootfs": "layers"},
        {"history": [1]},
        {"history": {}},
        {"history": [{"empty_layer": 1}]},
    ],
)
def test_a_member_of_another_type_is_named_and_left_out(wrong: dict[str, object]) -> None:
    facts = read(wrong)
    (name,) = facts.odd
    assert f'"{name}"' in json.dumps(wrong)


def test_a_member_that_is_odd_many_times_is_named_once() -> None:
    assert read({"history": [{"created": 1}] * 50}).odd == ("created",)


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b"null", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_unsupported(content: bytes) -> None:
    with pytest.raises(UnsupportedError, match="config is"):
        facts_of(content, 0)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, JSON)), st.dictionaries(st.sampled_from(PARTS), JSON))
def test_any_json_is_read(config: dict[str, object], part: dict[str, object]) -> None:
    facts = read({**config, "config": config.get("config") or part}, 2)
    json.dumps([facts.env, facts.labels, facts.healthcheck, facts.diff_ids])


def test_steps_know_their_layers_where_the_history_adds_up() -> None:
    steps = read(RICH, 2).steps or ()
    assert [(step.layer, step.is_empty) for step in steps] == [(0, False), (None, True), (1, False)]
    assert (steps[0].created, steps[1].author, steps[2].comment) == ("2024-05-01T00:00:00Z", "somebody", "buildkit")


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_steps_know_no_layers_where_it_does_not(layers: int) -> None:
    steps = read(RICH, layers).steps or ()
    assert [step.layer for step in steps] == [None, None, None]


def test_an_image_before_2016_says_the_same_by_its_history() -> None:
    image = hello_schema1()
    facts = facts_of_schema1(Schema1.parse(image.raw, image.media_type))
    assert (facts.platform, facts.cmd, facts.env) == (Platform("linux", "amd64"), ("/hello",), ("A=b",))
    assert (facts.created, facts.diff_ids, facts.odd) == ("2015-06-01T12:00:07.123456789Z", None, ())
    steps = facts.steps or ()
    assert [step.created_by for step in steps] == [step.command for step in hello_steps()]
    assert [step.layer for step in steps] == list(range(8))
    assert (steps[3].author, steps[4].comment) == ("somebody", "nothing in it")


def test_a_platform_before_2016_is_what_docker_took_it_for() -> None:
    top = {"os": "", "architecture": "", "rootfs": {"diff_ids": ["sha256:1"]}}
    facts = facts_of_schema1(Schema1.parse(old_image([Step("a")], top=top).raw))
    assert (facts.platform, facts.diff_ids) == (Platform("linux", "amd64"), None)


def test_an_empty_layer_before_2016_is_known_by_its_digest_or_by_what_is_said() -> None:
    image = old_image([Step("a", b"one"), Step("b", b"two", {"throwaway": True}), Step("c", EMPTY_GZIP)])
    steps = facts_of_schema1(Schema1.parse(image.raw)).steps or ()
    assert [step.is_empty for step in steps] == [False, True, True]


def test_odd_members_before_2016_are_named_too() -> None:
    image = old_image([Step("a", more={"throwaway": "yes"}), Step("b")], top={"config": {"Env": 7}, "created": 1})
    assert set(facts_of_schema1(Schema1.parse(image.raw)).odd) == {"throwaway", "Env", "created"}
    assert Digest.of(image.payload) == Schema1.parse(image.raw).digest
