"""References: the facts that their tests share, strategies for the parts, and what holds for any text."""

from __future__ import annotations

import re

from botocore.loaders import Loader
from hypothesis import strategies as st

from ecrdrag import naming
from ecrdrag.content import Digest
from ecrdrag.errors import UsageError
from ecrdrag.reference import EcrHost, ImageReference

PARTITIONS = {entry["id"]: entry for entry in Loader().load_data("partitions")["partitions"]}
ACCOUNT = "123456789012"
DIGEST = "sha256:f228d0106b0551d3dafd30376fb3ef3bac9eb8601134b500bf7d5cf2d0fa4a78"
SHA512 = "sha512:" + "0f" * 64
HOST = f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com"
ARN = f"arn:aws:ecr:us-west-2:{ACCOUNT}:repository/"
DUAL_STACK_PARTITIONS = ("aws", "aws-cn", "aws-us-gov")
REGIONS = [
    (name, region)
    for name, entry in PARTITIONS.items()
    for region in entry["regions"]
    if not region.endswith("-global")  # stands for services without regions; ECR has regions
]

# text, character, what is said, hint (None: the text and a pointer under that character)
Refusal = tuple[str, int, str, str | None]


def ecr_hosts() -> st.SearchStrategy[EcrHost]:
    def place(chosen: tuple[str, str], account: str, fips: bool, dual_stack: bool) -> EcrHost:
        partition, region = chosen
        return EcrHost(account, region, partition, fips, dual_stack and partition in DUAL_STACK_PARTITIONS)

    account = st.text("0123456789", min_size=12, max_size=12)
    return st.builds(place, st.sampled_from(REGIONS), account, st.booleans(), st.booleans())


def repositories(least: int, most: int) -> st.SearchStrategy[str]:
    names = st.from_regex(naming.REPOSITORY, fullmatch=True)
    return names.filter(lambda name: least <= len(name) <= most)


def tags() -> st.SearchStrategy[str]:
    pattern = re.compile(naming.TAG.pattern, re.ASCII)
    return st.from_regex(pattern, fullmatch=True).filter(lambda tag: len(tag) <= 128)


def digests() -> st.SearchStrategy[Digest]:
    return st.builds(Digest.of, st.binary(max_size=8), st.sampled_from(["sha256", "sha512"]))


def check_refusal(error: UsageError, refusal: Refusal, kind: str = "reference") -> None:
    text, character, problem, hint = refusal
    assert str(error) == f"bad {kind} at character {character}: {problem}"
    if hint is None:
        _check_pointer(error.hint, text, character)
    else:
        assert error.hint == hint


def _check_pointer(hint: str, text: str, character: int) -> None:
    line, pointer = hint.split("\n")
    assert pointer == " " * (len(pointer) - 1) + "^"
    left, right = line[: len(pointer) - 1], line[len(pointer) - 1 :]
    assert text[: character - 1].endswith(left.removeprefix("..."))
    assert text[character - 1 :].startswith(right.removesuffix("..."))
    assert len(line) <= 80


def parses_or_says_where(text: str) -> None:
    try:
        found = ImageReference.parse(text)
    except UsageError as error:
        refusal = error
    else:
        assert ImageReference.parse(str(found)) == found
        assert found.text == text
        return
    place = re.fullmatch(r"bad reference at character ([0-9]+): [ -~]+", str(refusal))
    assert place, str(refusal)
    assert 1 <= int(place[1]) <= len(text) + 1
    assert re.fullmatch(r"[ -~\n]+", refusal.hint)
