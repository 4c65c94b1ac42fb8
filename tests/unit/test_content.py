"""Digest, Platform, Descriptor and Verifier."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.content import Descriptor, Digest, Platform, Verifier
from ecrdrag.errors import IntegrityError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# Digest


def test_a_digest_is_read_and_printed_back() -> None:
    digest = Digest.parse(f"sha256:{EMPTY}")
    assert (digest.algorithm, digest.hex) == ("sha256", EMPTY)
    assert str(digest) == f"sha256:{EMPTY}"
    assert digest == Digest.of(b"")


def test_a_sha512_digest_is_read() -> None:
    assert Digest.parse(str(Digest.of(b"x", "sha512"))) == Digest("sha512", hashlib.sha512(b"x").hexdigest())


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_every_digest_is_read_back(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a digest is sha256: and 64 lower-case hex digits, not ''"),
        (EMPTY, f"a digest is sha256: and 64 lower-case hex digits, not '{EMPTY}'"),
        (f"sha256:{EMPTY.upper()}", f"a digest is sha256: and 64 lower-case hex digits, not 'sha256:{EMPTY.upper()}'"),
        ("sha256:", "a digest is sha256: and 64 lower-case hex digits, not 'sha256:'"),
        (f"sha256:{EMPTY}\n", f"a digest is sha256: and 64 lower-case hex digits, not 'sha256:{EMPTY}\\n'"),
        ("sha256:abc", "a sha256 digest has 64 hex digits, not 3"),
        (f"sha256:{EMPTY}0", "a sha256 digest has 64 hex digits, not 65"),
        (f"sha512:{EMPTY}", "a sha512 digest has 128 hex digits, not 64"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "digest algorithm 'md5' is not one of sha256, sha512"),
    ],
)
def test_a_bad_digest_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="digest") as caught:
        Digest.parse(text)
    assert str(caught.value) == message


@given(st.text() | st.from_regex(r"[a-z0-9]+:[0-9a-f]+"))
def test_any_text_is_a_digest_or_a_value_error(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except ValueError:
        return
    assert str(digest) == text


def test_a_long_bad_digest_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError, match="lower-case hex") as caught:
        Digest.parse("x" * 10_000)
    assert len(str(caught.value)) < 200


# Platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("windows/amd64", Platform("windows", "amd64")),
        ("Linux/X86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("linux/armel", Platform("linux", "arm", "v6")),
        ("linux/armv7l/V6", Platform("linux", "arm", "v6")),
        ("linux/i686", Platform("linux", "386")),
        ("linux/riscv64", Platform("linux", "riscv64")),
    ],
)
def test_a_platform_is_read_in_the_words_of_go(text: str, platform: Platform) -> None:
    assert Platform.parse(text) == platform


@pytest.mark.parametrize(
    "text", ["", "linux", "amd64", "linux/", "/amd64", "linux//v7", "a/b/c/d", "linux/am d64", "l/é"]
)
def test_a_bad_platform_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="os/arch") as caught:
        Platform.parse(text)
    assert str(caught.value).endswith(repr(text))


WORDS = st.sampled_from(["linux", "windows", "darwin"])
ARCHITECTURES = st.sampled_from(["amd64", "arm64", "arm", "386", "s390x", "ppc64le", "riscv64"])
VARIANTS = st.sampled_from(["", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"])
PLATFORMS = st.builds(Platform, WORDS, ARCHITECTURES, VARIANTS)


@given(PLATFORMS)
def test_every_platform_is_read_back(platform: Platform) -> None:
    assert Platform.parse(str(platform)) == platform


@given(st.text())
def test_any_text_is_a_platform_or_a_value_error(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except ValueError:
        return
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", Platform("linux", "amd64")),
        ("AMD64", Platform("linux", "amd64")),
        ("aarch64", Platform("linux", "arm64")),
        ("arm64", Platform("linux", "arm64")),
        ("armv7l", Platform("linux", "arm", "v7")),
        ("armv6l", Platform("linux", "arm", "v6")),
        ("i686", Platform("linux", "386")),
        ("ppc64le", Platform("linux", "ppc64le")),
        ("s390x", Platform("linux", "s390x")),
    ],
)
def test_what_machines_call_themselves_is_translated(machine: str, platform: Platform) -> None:
    assert Platform.of_machine(machine) == platform


@pytest.mark.parametrize(
    ("wanted", "offered", "rank"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64", "linux/arm64", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/arm64", "linux/arm64/v8", 0),
        ("linux/arm64/v8", "linux/arm64", 0),
        ("linux/arm64", "linux/arm64/v9", None),
        ("linux/amd64", "linux/amd64/v1", 0),
        ("linux/amd64", "linux/amd64/v3", None),
        ("linux/amd64/v3", "linux/amd64", 2),
        ("linux/amd64/v3", "linux/amd64/v2", 1),
        ("linux/arm", "linux/arm/v7", 0),
        ("linux/arm/v7", "linux/arm/v6", 1),
        ("linux/arm/v7", "linux/arm/v5", 2),
        ("linux/arm/v6", "linux/arm/v7", None),
        ("linux/arm/v7", "linux/arm/odd", None),
        ("linux/386", "linux/386", 0),
        ("linux/arm64", "linux/arm/v7", None),
    ],
)
def test_the_nearest_older_variant_is_preferred(wanted: str, offered: str, rank: int | None) -> None:
    assert Platform.parse(wanted).preference(Platform.parse(offered)) == rank


@given(PLATFORMS)
def test_a_platform_is_its_own_best_offer(platform: Platform) -> None:
    assert platform.preference(platform) == 0


@given(PLATFORMS, PLATFORMS)
def test_of_two_different_platforms_at_most_one_runs_the_other(one: Platform, other: Platform) -> None:
    ranks = (one.preference(other), other.preference(one))
    assert ranks == (0, 0) or None in ranks


def test_the_unknown_platform_of_an_attestation_is_never_taken_for_a_real_one() -> None:
    assert Platform("linux", "amd64").preference(Platform("unknown", "unknown")) is None


# Descriptor


def test_a_descriptor_can_be_a_key_whatever_its_annotations() -> None:
    one = Descriptor("text/plain", Digest.of(b""), 0, annotations={"a": "b"})
    assert {one: 1}[Descriptor("text/plain", Digest.of(b""), 0, annotations={"a": "b"})] == 1
    assert dict(Descriptor("text/plain", Digest.of(b""), 0).annotations) == {}


# Verifier


def descriptor(data: bytes, algorithm: str = "sha256") -> Descriptor:
    return Descriptor("application/octet-stream", Digest.of(data, algorithm), len(data))


@given(st.lists(st.binary()), st.sampled_from(["sha256", "sha512"]))
def test_the_right_bytes_pass_in_any_pieces(pieces: list[bytes], algorithm: str) -> None:
    data = b"".join(pieces)
    verifier = Verifier(descriptor(data, algorithm))
    for place, piece in enumerate(pieces):
        verifier.update(piece if place % 2 else memoryview(piece))
    assert verifier.size == len(data)
    verifier.finish()


@given(st.binary(min_size=1), st.data())
def test_one_wrong_bit_is_found(data: bytes, choose: st.DataObject) -> None:
    place = choose.draw(st.integers(0, len(data) - 1))
    wrong = bytearray(data)
    wrong[place] ^= 1 << choose.draw(st.integers(0, 7))
    verifier = Verifier(descriptor(data))
    verifier.update(bytes(wrong))
    with pytest.raises(IntegrityError, match="arrived with digest") as caught:
        verifier.finish()
    assert str(Digest.of(data)) in str(caught.value)
    assert str(Digest.of(bytes(wrong))) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("data", [b"", b"12", b"1234"])
def test_a_wrong_size_is_told_from_a_wrong_digest(data: bytes) -> None:
    verifier = Verifier(descriptor(b"123"))
    verifier.update(data)
    with pytest.raises(IntegrityError, match=f"has {len(data)} bytes, its descriptor says 3"):
        verifier.finish()
