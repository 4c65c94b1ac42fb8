"""Schema 1 is read in both its forms, strictly; whatever else comes is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag import manifest
from ecrdrag.content import Digest
from ecrdrag.errors import UnsupportedError
from ecrdrag.schema1 import SIGNED, UNSIGNED, Schema1
from tests.es256 import base64url
from tests.schema1_images import KEYS, Step, hello_schema1, hello_steps, old_image, signature, signature_of, signed

PLAIN = hello_schema1(keys=())
ONE = hello_schema1(keys=KEYS[:1])
TWO = hello_schema1(keys=KEYS)
LIMIT = 4 * 1024 * 1024

Document = dict[str, Any]


def encode(document: object) -> bytes:
    return json.dumps(document, indent=3).encode()


def small(**more: object) -> Document:
    document: Document = json.loads(old_image([Step("one"), Step("two", b"two")]).raw)
    return {name: value for name, value in {**document, **more}.items() if value is not MISSING}


MISSING = object()


# What is read


@pytest.mark.parametrize("image", [PLAIN, ONE, TWO], ids=["unsigned", "one", "two"])
@pytest.mark.parametrize("told", [True, False])
def test_an_image_is_read_bottom_first(image: Any, told: bool) -> None:
    found = Schema1.parse(image.raw, image.media_type if told else "")
    assert found.raw == image.raw
    assert found.media_type == image.media_type
    assert found.layers == tuple(Digest.of(blob) for blob in image.steps)
    commands = [entry["container_config"]["Cmd"][-1] for entry in found.entries()]  # type: ignore[index]
    assert commands == [step.command.split(" ", 2)[-1] for step in hello_steps()]
    assert found.history[0] == json.loads(image.payload)["history"][-1]["v1Compatibility"]
    assert found.architecture == "amd64"


@pytest.mark.parametrize("indent", [3, 1, 8, None])
@pytest.mark.parametrize("keys", [(), KEYS[:1], KEYS], ids=["unsigned", "one", "two"])
def test_the_digest_is_that_of_what_was_signed(keys: Any, indent: int | None) -> None:
    image = old_image(hello_steps(), keys=keys, indent=indent)
    found = Schema1.parse(image.raw)
    assert found.payload == image.payload == old_image(hello_steps(), indent=indent).raw
    assert found.digest == Digest.of(image.payload)
    assert (found.digest == Digest.of(image.raw)) == (not keys)


@pytest.mark.parametrize("tail", [b"}", b"\n}", b" \r\n\t} \n\n", b"\n}\n"])
def test_what_followed_on_the_last_member_comes_back_as_it_was(tail: bytes) -> None:
    payload = PLAIN.payload.rstrip().removesuffix(b"}").rstrip() + tail
    assert Schema1.parse(signed(payload, KEYS)).payload == payload


def test_signatures_are_taken_off_whatever_the_media_type_says() -> None:
    found = Schema1.parse(ONE.raw, UNSIGNED)
    assert (found.payload, found.digest, found.media_type) == (ONE.payload, Digest.of(ONE.payload), UNSIGNED)


def test_nobody_has_to_have_signed_rightly() -> None:
    document = json.loads(ONE.raw)
    document["signatures"][0] |= {"header": {"alg": "none"}, "signature": ""}
    raw = ONE.raw[: ONE.raw.rindex(b'"signatures"')] + b'"signatures": ' + encode(document["signatures"]) + b"}"
    assert Schema1.parse(raw).payload == ONE.payload


def test_the_architecture_need_not_be_said() -> None:
    assert Schema1.parse(encode(small(architecture=MISSING))).architecture == ""


def test_the_largest_manifest_is_read_and_a_larger_one_is_not() -> None:
    raw = PLAIN.raw.ljust(LIMIT)
    assert Schema1.parse(raw).raw == raw
    with pytest.raises(UnsupportedError, match="4194305 bytes is over the limit of 4194304"):
        Schema1.parse(raw + b" ")


@pytest.mark.parametrize("image", [PLAIN, ONE], ids=["unsigned", "signed"])
@pytest.mark.parametrize("told", [True, False])
def test_what_registries_give_may_be_schema_1(image: Any, told: bool) -> None:
    found = manifest.parse_any(image.raw, image.media_type if told else "")
    assert found == Schema1.parse(image.raw)
    with pytest.raises(UnsupportedError, match="has no place here"):
        manifest.parse(image.raw, image.media_type if told else "")


# What is refused


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("schemaVersion", 2, "schemaVersion is 2, not 1"),
        ("schemaVersion", True, "schemaVersion is True, not 1"),
        ("schemaVersion", 1.0, r"schemaVersion is 1\.0, not 1"),
        ("schemaVersion", MISSING, "schemaVersion is None, not 1"),
        ("mediaType", manifest.OCI_MANIFEST, "mediaType is another kind's"),
        ("mediaType", ["x"], "mediaType is another kind's"),
        ("layers", [], "layers has no place"),
        ("manifests", None, "manifests has no place"),
        ("config", {}, "config has no place"),
        ("architecture", 386, "architecture is not a string"),
        ("fsLayers", MISSING, "fsLayers is not a list with something in it"),
        ("fsLayers", [], "fsLayers is not a list with something in it"),
        ("fsLayers", {"blobSum": 1}, "fsLayers is not a list with something in it"),
        ("fsLayers", ["sha256:"], "an entry of fsLayers is no object with a blobSum"),
        ("fsLayers", [{}], "an entry of fsLayers is no object with a blobSum"),
        ("fsLayers", [{"blobSum": 1}], "blobSum is not a string"),
        ("fsLayers", [{"blobSum": "tarsum.v1+sha256:00"}], "blobSum: digest algorithm"),
        ("fsLayers", [{"blobSum": "sha512:" + "0" * 128}], "blobSum is a sha512 digest, not sha256"),
        ("fsLayers", [{"blobSum": "sha256:" + "0" * 64}], "1 layers, but a history of 2"),
        ("history", [], "history is not a list with something in it"),
        ("history", [{"v1Compatibility": "{}"}] * 3, "2 layers, but a history of 3"),
        ("history", [{"v1Compatibility": "{}"}], "2 layers, but a history of 1"),
        ("history", [{"v1Compatibility": {}}] * 2, "v1Compatibility is not a string"),
        ("history", [{"v1compatibility": "{}"}] * 2, "an entry of history is no object with a v1Compatibility"),
        ("history", [{"v1Compatibility": ""}] * 2, "v1Compatibility is not JSON"),
        ("history", [{"v1Compatibility": "[]"}] * 2, "v1Compatibility is a JSON list, not an object"),
        ("history", [{"v1Compatibility": '{"Size": NaN}'}] * 2, "NaN is no number"),
        ("history", [{"v1Compatibility": '{"a":' * 100_000}] * 2, "v1Compatibility is not JSON"),
        ("signatures", [], "signatures is not a list with something in it"),
        ("signatures", None, "signatures is not a list with something in it"),
        ("signatures", [{}], "an entry of signature is no object with a protected"),
        ("signatures", [1], "an entry of signature is no object with a protected"),
        ("signatures", [{"protected": 1}], "protected is not a string"),
        ("signatures", [{"protected": "eyI"}], "protected is not JSON"),
        ("signatures", [{"protected": "W10"}], "protected is a JSON list, not an object"),
    ],
)
def test_what_breaks_the_format_is_refused(member: str, value: object, message: str) -> None:
    assert Schema1.parse(encode(small()))
    with pytest.raises(UnsupportedError, match=message):
        Schema1.parse(encode(small(**{member: value})))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the manifest is not JSON"),
        (b"[]", "the manifest is a JSON list"),
        (b"\xef\xbb\xbf{}", "the manifest is not JSON"),
        (PLAIN.raw.decode().encode("utf-16"), "the manifest is not JSON"),
        (PLAIN.raw.replace(b'"1', b'"\xff', 1), "the manifest is not JSON"),
        (b'{"a":' * 100_000, "the manifest is not JSON"),
        (b'{"fsLayers": Infinity}', "Infinity is no number"),
        (b'{"a": ' + b"1" * 5000 + b"}", "the manifest is not JSON"),
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Schema1.parse(raw)


def test_another_kind_s_media_type_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="is another kind's"):
        Schema1.parse(PLAIN.raw, manifest.DOCKER_MANIFEST)


def test_what_is_said_to_be_signed_has_to_be() -> None:
    with pytest.raises(UnsupportedError, match="has no signatures"):
        Schema1.parse(PLAIN.raw, SIGNED)


# What is signed


def forged(*headers: object, body: bytes = b"") -> bytes:
    """Put signatures under these protected headers; what isn't JSON goes in as it is."""
    payload, key = ONE.payload, KEYS[0]
    made = [signature(payload, key, one if isinstance(one, bytes) else json.dumps(one).encode()) for one in headers]
    return payload.rstrip()[:-2] + body + b',"signatures":' + json.dumps(made).encode() + b"}"


LENGTH = len(ONE.payload) - 2
TAIL = base64url(b"\n}")
GOOD = {"formatLength": LENGTH, "formatTail": TAIL}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([GOOD | {"formatLength": LENGTH - 1}], "what is signed is not JSON"),
        ([GOOD | {"formatLength": 0}], "formatLength is no length"),
        ([GOOD | {"formatLength": -1}], "formatLength is no length"),
        ([GOOD | {"formatLength": True}], "formatLength is no length"),
        ([GOOD | {"formatLength": float(LENGTH)}], "formatLength is no length"),
        ([GOOD | {"formatLength": 10**9}], "formatLength is no length"),
        ([{"formatTail": TAIL}], "formatLength is no length"),
        ([{"formatLength": LENGTH}], "what is signed is not JSON"),
        ([GOOD | {"formatTail": None}], "formatTail is not a string"),
        ([GOOD | {"formatTail": TAIL + "="}], "formatTail is not base64url"),
        ([GOOD | {"formatTail": TAIL + "\n"}], "formatTail is not base64url"),
        ([GOOD | {"formatTail": "Cn1"}], "formatTail is not base64url"),  # two bits that mean nothing
        ([GOOD | {"formatTail": "CnxxA"}], "formatTail is not base64url"),
        ([GOOD | {"formatTail": ""}], "what is signed is not JSON"),
        ([GOOD | {"formatTail": base64url(b',"more": 1}')}], "sign something else than the manifest"),
        ([GOOD | {"formatTail": base64url(b',"name": "else"}')}], "sign something else than the manifest"),
        ([GOOD | {"formatTail": base64url(b',"signatures": 1}')}], "sign something else than the manifest"),
        ([GOOD, GOOD | {"formatLength": LENGTH - 1}], "don't agree"),
        ([GOOD, GOOD | {"formatTail": base64url(b"}")}], "don't agree"),
        ([GOOD, b"{}"], "formatLength is no length"),
        ([b"\xff"], "protected is not JSON"),
        ([b"1"], "protected is a JSON int, not an object"),
    ],
)
def test_a_signature_that_signs_nothing_of_this_manifest_is_refused(headers: list[object], message: str) -> None:
    assert Schema1.parse(forged(GOOD)).payload == ONE.payload
    assert Schema1.parse(forged(GOOD, GOOD | {"time": "later"})).payload == ONE.payload
    with pytest.raises(UnsupportedError, match=message):
        Schema1.parse(forged(*headers))


@pytest.mark.parametrize("body", [b',"more": 1', b',"name": "else"', b',"fsLayers": []'])
def test_a_member_that_nobody_signed_is_refused(body: bytes) -> None:
    with pytest.raises(UnsupportedError, match="sign something else than the manifest"):
        Schema1.parse(forged(GOOD, body=body))


def test_deep_members_are_refused_or_compared() -> None:
    for depth in range(100, 20_000, 300):
        deep = '{"a":' * depth + "{}" + "}" * depth
        payload = ONE.payload.replace(b'"name": "app"', b'"name": ' + deep.encode())
        reads_or_refuses(signed(payload, KEYS[:1]), SIGNED)


def test_a_protected_header_has_one_spelling() -> None:
    text = json.loads(ONE.raw)["signatures"][0]["protected"]
    assert len(text) % 4 == 2  # so that the last of its characters has four bits that mean nothing
    for spelled in (
        text + "==",
        text + "\n",
        text[:-1] + chr(ord(text[-1]) + 1),
        text + "AAA",
        text.replace("f", "+", 1),
    ):
        raw = ONE.raw.replace(text.encode(), json.dumps(spelled)[1:-1].encode())
        with pytest.raises(UnsupportedError, match="is not base64url"):
            Schema1.parse(raw)


# Whatever comes


def reads_or_refuses(raw: bytes, kind: str) -> None:
    try:
        found = Schema1.parse(raw, kind)
    except UnsupportedError:
        return
    assert (found.raw, found.digest) == (raw, Digest.of(found.payload))
    assert len(found.layers) == len(found.history) == len(found.entries()) > 0


KINDS = st.sampled_from(["", SIGNED, UNSIGNED])
IMAGES = st.sampled_from([PLAIN, ONE, TWO])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["{}", "[]", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["blobSum", "v1Compatibility", "protected", "header", "signatures", "a"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def places(document: Any) -> list[Callable[[object], None]]:
    """Give for every place in a JSON document what puts something else there."""
    steps: list[Any] = list(document.items()) if isinstance(document, dict) else []
    steps = list(enumerate(document)) if isinstance(document, list) else steps
    own: list[Callable[[object], None]] = [partial(document.__setitem__, step) for step, _ in steps]
    return own + [one for _, inner in steps for one in places(inner)]


@given(st.binary(), KINDS)
def test_any_bytes_are_read_or_refused(raw: bytes, kind: str) -> None:
    reads_or_refuses(raw, kind)


@given(IMAGES, KINDS, st.data())
def test_an_image_with_a_member_changed_is_read_or_refused(image: Any, kind: str, data: st.DataObject) -> None:
    document = json.loads(image.raw)
    data.draw(st.sampled_from(places(document)))(data.draw(JSON))
    reads_or_refuses(encode(document), kind)


@given(IMAGES, KINDS, st.data())
def test_an_image_with_bytes_changed_is_read_or_refused(image: Any, kind: str, data: st.DataObject) -> None:
    raw = bytearray(image.raw)
    start = data.draw(st.integers(0, len(raw)))
    raw[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    reads_or_refuses(bytes(raw), kind)


@given(st.integers(-1, LENGTH + 3), st.sampled_from([b"}", b"\n}", b"]}", b'"}]}', b"", b"\xff"]))
def test_a_signature_for_any_part_of_a_manifest_is_read_or_refused(length: int, tail: bytes) -> None:
    made = [signature_of(ONE.payload, KEYS[0], length, tail)]
    reads_or_refuses(ONE.payload.rstrip()[:-2] + b',"signatures":' + json.dumps(made).encode() + b"}", "")


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=6), st.sampled_from([(), KEYS[:1]]))
def test_any_image_that_is_built_is_read_as_it_was_built(blobs: list[bytes], keys: Any) -> None:
    image = old_image([Step(f"RUN {place} ü", blob) for place, blob in enumerate(blobs)], keys=keys)
    found = Schema1.parse(image.raw)
    assert found.layers == tuple(Digest.of(blob) for blob in blobs)
    assert found.payload == image.payload
