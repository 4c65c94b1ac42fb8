"""ImageReference: every form in every partition, and what is said of everything else."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.loaders import Loader
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag import reference
from ecrdrag.content import Digest
from ecrdrag.errors import UsageError
from ecrdrag.reference import EcrHost, ImageReference

PARTITIONS = {entry["id"]: entry for entry in Loader().load_data("partitions")["partitions"]}
ACCOUNT = "123456789012"
DIGEST = "sha256:f228d0106b0551d3dafd30376fb3ef3bac9eb8601134b500bf7d5cf2d0fa4a78"
SHA512 = "sha512:" + "0f" * 64
HOST = f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com"
ARN = f"arn:aws:ecr:us-west-2:{ACCOUNT}:repository/"

# partition, a region of it, the end of its hosts, the end of its dual-stack hosts
PLACES = [
    ("aws", "us-west-2", "amazonaws.com", "on.aws"),
    ("aws-cn", "cn-northwest-1", "amazonaws.com.cn", "on.amazonwebservices.com.cn"),
    ("aws-us-gov", "us-gov-west-1", "amazonaws.com", "on.aws"),
    ("aws-iso", "us-iso-east-1", "c2s.ic.gov", ""),
    ("aws-iso-b", "us-isob-east-1", "sc2s.sgov.gov", ""),
    ("aws-iso-e", "eu-isoe-west-1", "cloud.adc-e.uk", ""),
    ("aws-iso-f", "us-isof-south-1", "csp.hci.ic.gov", ""),
    ("aws-eusc", "eusc-de-east-1", "amazonaws.eu", ""),
]
DUAL_STACK_PLACES = [place for place in PLACES if place[3]]
VERSIONS = [
    ("", None, None),
    (":1.2", "1.2", None),
    (f"@{DIGEST}", None, DIGEST),
    (f":1.2@{DIGEST}", "1.2", DIGEST),
    (f"@{SHA512}", None, SHA512),
]

each_place = pytest.mark.parametrize(("partition", "region", "suffix", "dual_suffix"), PLACES)
each_dual_stack_place = pytest.mark.parametrize(("partition", "region", "suffix", "dual_suffix"), DUAL_STACK_PLACES)
each_version = pytest.mark.parametrize(("written", "tag", "digest"), VERSIONS)


def expected(ecr: EcrHost, tag: str | None, digest: str | None, repository: str = "team/my_app.v2") -> ImageReference:
    return ImageReference(ecr, repository, tag, Digest.parse(digest) if digest else None, "")


@each_version
@each_place
@pytest.mark.parametrize("prefix", ["", "ecr.aws/", "ECR.AWS/"])
def test_an_arn_names_an_image_in_every_partition(
    prefix: str,
    partition: str,
    region: str,
    suffix: str,
    dual_suffix: str,
    written: str,
    tag: str | None,
    digest: str | None,
) -> None:
    text = f"{prefix}arn:{partition}:ecr:{region}:{ACCOUNT}:repository/team/my_app.v2{written}"
    found = ImageReference.parse(text)
    assert found == expected(EcrHost(ACCOUNT, region, partition), tag, digest)
    assert found.text == text
    assert found.registry == f"{ACCOUNT}.dkr.ecr.{region}.{suffix}"
    assert found.name == f"{found.registry}/team/my_app.v2"
    assert str(found) == found.name + written
    assert found.arn == f"ecr.aws/arn:{partition}:ecr:{region}:{ACCOUNT}:repository/team/my_app.v2{written}"


@each_version
@each_place
@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("scheme", ["", "https://", "HTTPS://"])
def test_a_host_names_an_image_in_every_partition(
    scheme: str,
    fips: bool,
    partition: str,
    region: str,
    suffix: str,
    dual_suffix: str,
    written: str,
    tag: str | None,
    digest: str | None,
) -> None:
    host = f"{ACCOUNT}.dkr.ecr{'-fips' if fips else ''}.{region}.{suffix}"
    found = ImageReference.parse(f"{scheme}{host}/team/my_app.v2{written}")
    assert found == expected(EcrHost(ACCOUNT, region, partition, fips), tag, digest)
    assert str(found) == f"{host}/team/my_app.v2{written}"


@each_version
@each_dual_stack_place
@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("scheme", ["", "https://"])
def test_a_dual_stack_host_names_an_image_where_there_are_such_hosts(
    scheme: str,
    fips: bool,
    partition: str,
    region: str,
    suffix: str,
    dual_suffix: str,
    written: str,
    tag: str | None,
    digest: str | None,
) -> None:
    host = f"{ACCOUNT}.dkr-ecr{'-fips' if fips else ''}.{region}.{dual_suffix}"
    found = ImageReference.parse(f"{scheme}{host}/team/my_app.v2{written}")
    assert found == expected(EcrHost(ACCOUNT, region, partition, fips, dual_stack=True), tag, digest)
    assert str(found) == f"{host}/team/my_app.v2{written}"


@pytest.mark.parametrize(
    ("text", "ecr", "repository", "tag", "digest"),
    [
        (
            "ecr.aws/arn:aws:ecr:us-west-2:123456789012:repository/myrepository:mytag",
            EcrHost("123456789012", "us-west-2", "aws"),
            "myrepository",
            "mytag",
            None,
        ),
        (
            "123456789123.dkr.ecr.us-east-1.amazonaws.com/my-test-image:1",
            EcrHost("123456789123", "us-east-1", "aws"),
            "my-test-image",
            "1",
            None,
        ),
        (
            f"123456789123.dkr.ecr.us-east-1.amazonaws.com/my-test-image@{DIGEST}",
            EcrHost("123456789123", "us-east-1", "aws"),
            "my-test-image",
            None,
            DIGEST,
        ),
        (
            f"123456789123.dkr.ecr.us-east-1.amazonaws.com/my-test-image:{DIGEST[7:]}",
            EcrHost("123456789123", "us-east-1", "aws"),
            "my-test-image",
            DIGEST[7:],
            None,
        ),
        (
            "000000000000.dkr.ecr.us-east-1.amazonaws.com/docker.io/library/redis",
            EcrHost("000000000000", "us-east-1", "aws"),
            "docker.io/library/redis",
            None,
            None,
        ),
        (
            "000000000000.dkr.ecr.us-east-1.amazonaws.com/docker.io/library/nginx:1.25.1",
            EcrHost("000000000000", "us-east-1", "aws"),
            "docker.io/library/nginx",
            "1.25.1",
            None,
        ),
        (
            "000000000000.dkr.ecr.eu-west-1.amazonaws.com/apprunner-test:nginx-1-20-1",
            EcrHost("000000000000", "eu-west-1", "aws"),
            "apprunner-test",
            "nginx-1-20-1",
            None,
        ),
    ],
)
def test_the_references_in_the_documents_we_started_from_are_read(
    text: str, ecr: EcrHost, repository: str, tag: str | None, digest: str | None
) -> None:
    assert ImageReference.parse(text) == expected(ecr, tag, digest, repository)


ELSEWHERE = "name an image in ECR, as ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME or by its ARN"

# text, character, what is said, hint (None: the text and a pointer under that character)
BAD: list[tuple[str, int, str, str | None]] = [
    ("", 1, "the reference is empty", "name an image in ECR by its host or ARN"),
    (" ", 1, "' ' can't stand in a reference", None),
    (f"{HOST}/my app", 48, "' ' can't stand in a reference", None),
    (f"{HOST}/app:1\n", 51, r"'\n' can't stand in a reference", f"{HOST}/app:1\\n\n{' ' * 50}^"),
    (f"{HOST}/caf\u00e9", 49, r"'\xe9' can't stand in a reference", f"{HOST}/caf\\xe9\n{' ' * 48}^"),
    (f"{HOST}/\x1b[31m", 46, r"'\x1b' can't stand in a reference", f"{HOST}/\\x1b[31m\n{' ' * 45}^"),
    (f"{HOST}/\udcff", 46, r"'\udcff' can't stand in a reference", f"{HOST}/\\udcff\n{' ' * 45}^"),
    ("\u0661\u0662", 1, r"'\u0661' can't stand in a reference", "\\u0661\\u0662\n^"),
    # schemes
    (f"http://{HOST}/app", 1, "expected https:// or no scheme, found 'http://'", f"did you mean {HOST}/app"),
    (f"docker://{HOST}/app", 1, "expected https:// or no scheme, found 'docker://'", f"did you mean {HOST}/app"),
    (f"https:/{HOST}/app", 1, "expected a private ECR registry, found 'https'", ELSEWHERE),
    (
        f"https://AWS:p@ss@{HOST}/app",
        9,
        "a reference holds no user name or password",
        f"did you mean https://{HOST}/app",
    ),
    (f"http://AWS:pass@{HOST}/app", 8, "a reference holds no user name or password", f"did you mean http://{HOST}/app"),
    # other registries
    ("busybox", 1, "expected a private ECR registry, found 'busybox'", ELSEWHERE),
    ("docker.io/library/busybox:latest", 1, "expected a private ECR registry, found 'docker.io'", ELSEWHERE),
    ("localhost:5000/app", 1, "expected a private ECR registry, found 'localhost'", ELSEWHERE),
    ("public.ecr.aws/nginx/nginx", 1, "expected a private ECR registry, found 'public.ecr.aws'", ELSEWHERE),
    ("https://public.ecr.aws/nginx/nginx", 9, "expected a private ECR registry, found 'public.ecr.aws'", ELSEWHERE),
    ("https://" + ARN + "app", 9, "expected a private ECR registry, found 'arn'", ELSEWHERE),
    ("ARN:aws:ecr:us-west-2", 1, "expected a private ECR registry, found 'ARN'", ELSEWHERE),
    ("ecr.aws", 1, "expected a private ECR registry, found 'ecr.aws'", ELSEWHERE),
    (
        "busybox." + "x" * 50 + "/app",
        1,
        "expected a private ECR registry, found 'busybox.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'...",
        ELSEWHERE,
    ),
    # ARNs
    ("ecr.aws/", 9, "expected an ARN (arn:aws:ecr:...) after ecr.aws/, found nothing", None),
    ("ecr.aws/my/app", 9, "expected an ARN (arn:aws:ecr:...) after ecr.aws/, found 'my/app'", None),
    (
        "arn:amazon:ecr:us-west-2",
        5,
        f"expected a partition ({', '.join(PARTITIONS)}), found 'amazon'",
        None,
    ),
    ("arn:aws:s3:::bucket", 9, "expected an ARN of ecr, found 's3'", None),
    (f"arn:aws:ecr-public::{ACCOUNT}:repository/app", 9, "expected an ARN of ecr, found 'ecr-public'", None),
    ("ecr.aws/arn:aws", 16, "expected an ARN of ecr, found nothing", None),
    (f"arn:aws:ecr::{ACCOUNT}:repository/app", 13, "expected a region such as us-west-2, found nothing", None),
    ("arn:aws:ecr:us-west:1", 13, "expected a region such as us-west-2, found 'us-west'", None),
    ("arn:aws:ecr:US-WEST-2:1", 13, "expected a region such as us-west-2, found 'US-WEST-2'", None),
    ("arn:aws:ecr:us-we_st-2:1", 13, "expected a region such as us-west-2, found 'us-we_st-2'", None),
    ("arn:aws:ecr:aws-global:1", 13, "expected a region such as us-west-2, found 'aws-global'", None),
    (
        f"arn:aws:ecr:cn-north-1:{ACCOUNT}:repository/app",
        5,
        "expected partition aws-cn, where cn-north-1 is, found 'aws'",
        f"did you mean arn:aws-cn:ecr:cn-north-1:{ACCOUNT}:repository/app",
    ),
    (
        f"ecr.aws/arn:aws:ecr:us-gov-west-1:{ACCOUNT}:repository/app",
        13,
        "expected partition aws-us-gov, where us-gov-west-1 is, found 'aws'",
        f"did you mean ecr.aws/arn:aws-us-gov:ecr:us-gov-west-1:{ACCOUNT}:repository/app",
    ),
    (
        "arn:aws:ecr:us-west-2:12345678901:repository/app",
        23,
        "expected an account of 12 digits, found '12345678901'",
        None,
    ),
    ("arn:aws:ecr:us-west-2::repository/app", 23, "expected an account of 12 digits, found nothing", None),
    (
        f"arn:aws:ecr:us-west-2:{ACCOUNT}",
        35,
        "expected repository/ and its name after the account, found nothing",
        None,
    ),
    (
        f"arn:aws:ecr:us-west-2:{ACCOUNT}:app:1",
        36,
        "expected repository/ and its name after the account, found 'app:1'",
        None,
    ),
    (f"{ARN}:1", 47, "expected a name of 2 or more characters, found nothing", None),
    # hosts
    (
        "<aws-account-id>.dkr.ecr.<repository-region>.amazonaws.com/<image-name>:<image-tag>",
        1,
        "expected an account of 12 digits, found '<aws-account-id>'",
        "<aws-account-id>.dkr.ecr.<repository-region>.amazonaws.com/<image-name>:<ima...\n^",
    ),
    (
        "xxxxxxxxxxxx.dkr.ecr.eu-west-1.amazonaws.com/apprunner-test:nginx-1-20-1",
        1,
        "expected an account of 12 digits, found 'xxxxxxxxxxxx'",
        None,
    ),
    (
        "https://12345678901.dkr.ecr.us-west-2.amazonaws.com/app",
        9,
        "expected an account of 12 digits, found '12345678901'",
        None,
    ),
    (
        f"{ACCOUNT}.ecr.us-west-2.amazonaws.com/app",
        14,
        "expected dkr.ecr. or dkr-ecr. after the account, found 'ecr.us-west-2.amazonaws.com'",
        None,
    ),
    (f"{ACCOUNT}.dkr.ecr", 14, "expected dkr.ecr. or dkr-ecr. after the account, found 'dkr.ecr'", None),
    (
        f"{ACCOUNT}.dkr.ecr.<repository-region>.amazonaws.com/app",
        22,
        "expected a region such as us-west-2, found '<repository-region>'",
        None,
    ),
    (f"{ACCOUNT}.dkr.ecr.amazonaws.com/app", 22, "expected a region such as us-west-2, found 'amazonaws'", None),
    (
        f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com/app:1",
        33,
        "expected amazonaws.com.cn as the end of a registry in cn-north-1, found 'amazonaws.com'",
        f"did you mean {ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn/app:1",
    ),
    (
        f"{ACCOUNT}.dkr.ecr.us-west-2.on.aws/app",
        32,
        "expected amazonaws.com as the end of a registry in us-west-2, found 'on.aws'",
        f"did you mean {ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com/app",
    ),
    (
        f"{ACCOUNT}.dkr-ecr.us-west-2.amazonaws.com/app",
        32,
        "expected on.aws as the end of a registry in us-west-2, found 'amazonaws.com'",
        f"did you mean {ACCOUNT}.dkr-ecr.us-west-2.on.aws/app",
    ),
    (
        f"{ACCOUNT}.dkr.ecr.us-west-2",
        31,
        "expected amazonaws.com as the end of a registry in us-west-2, found nothing",
        None,
    ),
    (
        f"{ACCOUNT}.dkr-ecr.us-iso-east-1.c2s.ic.gov/app",
        14,
        "partition aws-iso has no dual-stack registries (dkr-ecr)",
        None,
    ),
    (f"{HOST}:443/app", 45, "expected / and a repository after the registry, found ':443/app'", None),
    (HOST, 45, "expected / and a repository after the registry, found nothing", None),
    # repositories
    (f"{HOST}/", 46, "expected a name of 2 or more characters, found nothing", None),
    (f"{HOST}/a:1", 46, "expected a name of 2 or more characters, found 'a'", None),
    (f"{HOST}/My/App:V1", 46, "a repository name can't have 'M' here", f"did you mean {HOST}/my/app:V1"),
    (f"{HOST}/my-App", 49, "a repository name can't have 'A' here", f"did you mean {HOST}/my-app"),
    (f"{HOST}/My//App", 46, "a repository name can't have 'M' here", None),
    (f"{HOST}/app?x=1", 49, "a repository name can't have '?' here", None),
    (f"{HOST}/{{UpstreamRepositoryName}}:1", 46, "a repository name can't have '{' here", None),
    (f"{HOST}/team//app", 50, "a repository name can't have '//' here", None),
    (f"{HOST}/team/app/", 54, "a repository name can't have '/' here", None),
    (f"{HOST}//app", 46, "a repository name can't have '/' here", None),
    (f"{HOST}/a..b", 47, "a repository name can't have '..' here", None),
    (f"{HOST}/a___b", 47, "a repository name can't have '___' here", None),
    (f"{HOST}/team-/app", 50, "a repository name can't have '-/' here", None),
    (f"{HOST}/.app", 46, "a repository name can't have '.' here", None),
    (f"{HOST}/{'a' * 257}", 302, "a repository name has at most 256 characters", f"...{'a' * 50}a\n{' ' * 53}^"),
    # tags
    (f"{HOST}/app:", 50, "expected a tag after the colon, found nothing", None),
    (
        f"{HOST}/app:@{DIGEST}",
        50,
        "expected a tag after the colon, found '@sha256:f228d0106b0551d3dafd30376fb3ef3b'...",
        None,
    ),
    (f"{HOST}/app:.1", 50, "a tag can't have '.' here", None),
    (f"{HOST}/app:1+2", 51, "a tag can't have '+' here", None),
    (f"{HOST}/app:1:2", 51, "a tag can't have ':' here", None),
    (f"{HOST}/app:5000/x", 54, "a tag can't have '/' here", None),
    (f"{HOST}/app:{'t' * 129}", 178, "a tag has at most 128 characters", f"...{'t' * 50}t\n{' ' * 53}^"),
    # digests
    (f"{HOST}/app@", 50, "a digest is sha256: and 64 lower-case hex digits, not ''", None),
    (f"{HOST}/app:1@", 52, "a digest is sha256: and 64 lower-case hex digits, not ''", None),
    (f"{HOST}/app@latest", 50, "a digest is sha256: and 64 lower-case hex digits, not 'latest'", None),
    (f"{HOST}/app@sha256:abc", 50, "a sha256 digest has 64 hex digits, not 3", None),
    (f"{HOST}/app@md5:abc", 50, "digest algorithm 'md5' is not one of sha256, sha512", None),
    (
        f"{HOST}/app@{DIGEST}@{DIGEST}",
        121,
        "nothing can stand after a digest, found '@sha256:f228d0106b0551d3dafd30376fb3ef3b'...",
        None,
    ),
    (f"{HOST}/app@{DIGEST}:1", 121, "nothing can stand after a digest, found ':1'", None),
]


@pytest.mark.parametrize(("text", "character", "problem", "hint"), BAD, ids=[ascii(case[0])[:60] for case in BAD])
def test_a_bad_reference_is_refused_with_the_place_and_the_reason(
    text: str, character: int, problem: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(text)
    assert str(caught.value) == f"bad reference at character {character}: {problem}"
    if hint is None:
        check_pointer(caught.value.hint, text, character)
    else:
        assert caught.value.hint == hint


def check_pointer(hint: str, text: str, character: int) -> None:
    line, pointer = hint.split("\n")
    assert pointer == " " * (len(pointer) - 1) + "^"
    left, right = line[: len(pointer) - 1], line[len(pointer) - 1 :]
    assert text[: character - 1].endswith(left.removeprefix("..."))
    assert text[character - 1 :].startswith(right.removesuffix("..."))
    assert len(line) <= 80


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(f"oci://AWS:hunter2@{HOST}/app")
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("text", [case[0] for case in BAD if case[3] and case[3].startswith("did you mean http://")])
def test_a_suggestion_can_need_a_second_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(text)
    with pytest.raises(UsageError, match="expected https://"):
        ImageReference.parse(caught.value.hint.removeprefix("did you mean "))


@pytest.mark.parametrize(
    "suggestion",
    [case[3][13:] for case in BAD if case[3] and case[3].startswith("did you mean ") and "http:" not in case[3]],
)
def test_what_is_suggested_is_a_good_reference(suggestion: str) -> None:
    ImageReference.parse(suggestion)


def test_the_longest_and_the_shortest_names_are_read() -> None:
    found = ImageReference.parse(f"{HOST}/{'a' * 256}:{'T' * 128}")
    assert found.tag == "T" * 128
    assert ImageReference.parse(f"{HOST}/ab:_").tag == "_"


@pytest.mark.parametrize(
    "repository", ["a/b", "a.b", "a_b", "a__b", "a---b", "0/1.2_3__4-5", "docker.io/library/redis"]
)
def test_a_repository_may_use_every_separator_that_ecr_allows(repository: str) -> None:
    assert ImageReference.parse(f"{HOST}/{repository}").repository == repository
    assert ImageReference.parse(f"{ARN}{repository}").repository == repository


def test_a_host_name_knows_no_case_and_a_tag_does() -> None:
    found = ImageReference.parse(f"HTTPS://{HOST.upper()}/app:Tag")
    assert str(found) == f"{HOST}/app:Tag"


def test_every_name_of_an_image_is_equal_and_hashes_alike() -> None:
    names = [f"{HOST}/app:1", f"https://{HOST}/app:1", f"{ARN}app:1", f"ecr.aws/{ARN}app:1"]
    assert len({ImageReference.parse(name) for name in names}) == 1


def test_the_default_tag_is_latest_and_only_where_nothing_is_given() -> None:
    bare = ImageReference.parse(f"{HOST}/app")
    assert (bare.tag, bare.digest) == (None, None)
    assert str(bare.with_default_tag()) == f"{HOST}/app:latest"
    assert bare.with_default_tag().text == f"{HOST}/app"
    for text in (f"{HOST}/app:1", f"{HOST}/app@{DIGEST}"):
        assert ImageReference.parse(text).with_default_tag() == ImageReference.parse(text)


def test_an_arn_says_nothing_of_fips_and_dual_stack() -> None:
    found = ImageReference.parse(f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws/app:1")
    assert found.arn == f"ecr.aws/{ARN}app:1"
    assert ImageReference.parse(found.arn).ecr == EcrHost(ACCOUNT, "us-west-2", "aws")


# Properties

REGIONS = [
    (name, region)
    for name, entry in PARTITIONS.items()
    for region in entry["regions"]
    if not region.endswith("-global")  # stands for services without regions; ECR has regions
]


def hosts() -> st.SearchStrategy[EcrHost]:
    def place(chosen: tuple[str, str], account: str, fips: bool, dual_stack: bool) -> EcrHost:
        partition, region = chosen
        possible = partition in {dual[0] for dual in DUAL_STACK_PLACES}
        return EcrHost(account, region, partition, fips, dual_stack and possible)

    account = st.text("0123456789", min_size=12, max_size=12)
    return st.builds(place, st.sampled_from(REGIONS), account, st.booleans(), st.booleans())


def digests() -> st.SearchStrategy[Digest]:
    return st.builds(Digest.of, st.binary(max_size=8), st.sampled_from(["sha256", "sha512"]))


def references() -> st.SearchStrategy[ImageReference]:
    repositories = st.from_regex(reference.REPOSITORY, fullmatch=True).filter(lambda name: 2 <= len(name) <= 256)
    tags = st.from_regex(re.compile(reference.TAG.pattern, re.ASCII), fullmatch=True).filter(
        lambda tag: len(tag) <= 128
    )
    return st.builds(
        ImageReference, hosts(), repositories, st.none() | tags, st.none() | digests(), st.just("as written")
    )


@settings(deadline=None)
@given(references())
def test_what_is_printed_is_read_back(image: ImageReference) -> None:
    assert ImageReference.parse(str(image)) == image


@settings(deadline=None)
@given(references())
def test_the_arn_is_read_back_but_for_fips_and_dual_stack(image: ImageReference) -> None:
    found = ImageReference.parse(image.arn)
    plain = EcrHost(image.ecr.account, image.ecr.region, image.ecr.partition)
    assert found == ImageReference(plain, image.repository, image.tag, image.digest, "")
    if not (image.ecr.fips or image.ecr.dual_stack):
        assert found == image


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


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused_in_plain_words(text: str) -> None:
    parses_or_says_where(text)


PIECES = ["arn:", "aws", "aws-cn", ":ecr:", "ecr.aws/", "https://", ACCOUNT, ".dkr.ecr.", ".dkr-ecr-fips.", "us-west-2"]
PIECES += ["cn-north-1", ".amazonaws.com", ".cn", ".on.aws", "repository/", "/app", "App", "//", ":1", ":", "@", DIGEST]
PIECES += [f"@{DIGEST}", HOST, ARN, "-", "é", " "]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_muddle_of_good_pieces_is_read_or_refused_in_plain_words(text: str) -> None:
    parses_or_says_where(text)


@settings(deadline=None)
@given(references(), st.data())
def test_one_changed_character_is_read_or_refused_in_plain_words(image: ImageReference, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([str(image), image.arn]))
    place = data.draw(st.integers(0, len(text)))
    parses_or_says_where(text[:place] + data.draw(st.characters() | st.just("")) + text[place + 1 :])


@pytest.mark.parametrize(
    "text", ["@" * 50_000, "a@" * 25_000, f"{HOST}/" + "a-" * 25_000, f"{HOST}/" + "a/" * 25_000 + "A"]
)
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    parses_or_says_where(text)
    assert time.perf_counter() - start < 2


# Contracts with botocore


def test_the_partitions_are_the_ones_we_test() -> None:
    assert sorted(PARTITIONS) == sorted(place[0] for place in PLACES)


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_every_region_that_botocore_knows_is_read_in_both_forms(partition: str, region: str) -> None:
    by_arn = ImageReference.parse(f"ecr.aws/arn:{partition}:ecr:{region}:{ACCOUNT}:repository/app")
    suffix = PARTITIONS[partition]["outputs"]["dnsSuffix"]
    by_host = ImageReference.parse(f"{ACCOUNT}.dkr.ecr.{region}.{suffix}/app")
    assert by_arn == by_host
    assert by_arn.ecr == EcrHost(ACCOUNT, region, partition)


def test_the_limits_are_those_of_the_ecr_model() -> None:
    shapes = Loader().load_service_model("ecr", "service-2")["shapes"]
    model = shapes["RepositoryName"]
    ours = reference.REPOSITORY.pattern.replace("(?:", "(")
    assert ours == model["pattern"].replace(r"\/", "/")
    assert model["min"] == reference.MIN_REPOSITORY_LENGTH
    assert model["max"] == reference.MAX_REPOSITORY_LENGTH
    assert reference.ACCOUNT.pattern == shapes["RegistryId"]["pattern"]


def test_botocore_is_loaded_when_a_reference_is_read_and_not_before() -> None:
    code = "import sys, ecrdrag.reference; sys.exit('botocore' in sys.modules)"
    root = Path(reference.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
