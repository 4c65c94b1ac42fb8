"""References that are none, to private ECR above all: what is said of them, and at which character."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag.errors import UsageError
from ecrdrag.reference import ImageReference
from tests.references import ACCOUNT, ARN, DIGEST, HOST, PARTITIONS, Refusal, check_refusal, parses_or_says_where

BAD: list[Refusal] = [
    ("", 1, "the reference is empty", "name an image, as REGISTRY/NAME:TAG, or in ECR by its ARN"),
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
    (f"https:/{HOST}/app", 1, "expected https:// or no scheme, found 'https:/'", f"did you mean {HOST}/app"),
    (f"https://{ARN}app", 1, "an ARN has no scheme", f"did you mean {ARN}app"),
    (f"https://ecr.aws/{ARN}app", 1, "an ARN has no scheme", f"did you mean ecr.aws/{ARN}app"),
    (
        f"https://AWS:p@ss@{HOST}/app",
        9,
        "a reference holds no user name or password",
        f"did you mean https://{HOST}/app",
    ),
    (f"http://AWS:pass@{HOST}/app", 8, "a reference holds no user name or password", f"did you mean http://{HOST}/app"),
    # ARNs
    ("ecr.aws/", 9, "expected an ARN (arn:aws:ecr:...) after ecr.aws/, found nothing", None),
    ("ecr.aws/my/app", 9, "expected an ARN (arn:aws:ecr:...) after ecr.aws/, found 'my/app'", None),
    (
        "arn:amazon:ecr:us-west-2",
        5,
        f"expected a partition ({', '.join(PARTITIONS)}), found 'amazon'",
        None,
    ),
    (
        f"ARN{ARN[3:]}app",
        4,
        "expected a port (:1 to :65535) after the host name, found ':aws:ecr:us-west-2:123456789012:reposito'...",
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
        f"{ACCOUNT}9.ecr.us-west-2.amazonaws.com/app",
        1,
        "expected an account of 12 digits, found '1234567890129'",
        None,
    ),
    ("1234-5678-9012.dkr.ecr.us-west-2/a", 1, "expected an account of 12 digits, found '1234-5678-9012'", None),
    ("1234-5678-9012.ecr.amazonaws.com/a", 1, "expected an account of 12 digits, found '1234-5678-9012'", None),
    (f"{ACCOUNT}dkr.ecr.us-west-2.on.aws/a", 1, f"expected an account of 12 digits, found '{ACCOUNT}dkr'", None),
    ("dkr.ecr.us-west-2.amazonaws.com/app", 1, "expected an account of 12 digits, found 'dkr'", None),
    (
        f"{ACCOUNT}.drk.erc.us-west-2.on.aws/app",
        14,
        "expected dkr.ecr. or dkr-ecr. after the account, found 'drk.erc.us-west-2.on.aws'",
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
        f"{ACCOUNT}.DKR.ECR.us-west-2.amazonaws.co/app",
        32,
        "expected amazonaws.com as the end of a registry in us-west-2, found 'amazonaws.co'",
        f"did you mean {ACCOUNT}.DKR.ECR.us-west-2.amazonaws.com/app",
    ),
    (
        f"{ACCOUNT}.dkr.ecr.us-west-2.localhosts/app",
        32,
        "expected amazonaws.com as the end of a registry in us-west-2, found 'localhosts'",
        f"did you mean {ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com/app",
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


@pytest.mark.parametrize("refusal", BAD, ids=[ascii(case[0])[:60] for case in BAD])
def test_a_bad_reference_is_refused_with_the_place_and_the_reason(refusal: Refusal) -> None:
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(refusal[0])
    check_refusal(caught.value, refusal)


def suggestions() -> list[str]:
    return [hint.removeprefix("did you mean ") for *_, hint in BAD if hint and hint.startswith("did you mean ")]


@pytest.mark.parametrize("suggestion", [one for one in suggestions() if not one.startswith("http://")])
def test_what_is_suggested_is_a_good_reference(suggestion: str) -> None:
    ImageReference.parse(suggestion)


@pytest.mark.parametrize("suggestion", [one for one in suggestions() if one.startswith("http://")])
def test_a_suggestion_can_need_a_second_one(suggestion: str) -> None:
    with pytest.raises(UsageError, match="expected https://"):
        ImageReference.parse(suggestion)


# Passwords

PASSWORDS = ["hunter2", "hun/ter2", "hun/t.er2@", "hunter2:", "hunter2=="]
PLACES = [f"{HOST}/app:1", f"{HOST}/app@{DIGEST}", HOST, f"{HOST}/", "localhost:5000", "registry.test/app"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["", "https://", "http://", "oci://"])
@pytest.mark.parametrize("place", PLACES)
def test_a_password_is_not_repeated(scheme: str, password: str, place: str) -> None:
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(f"{scheme}AWS:{password}@{place}")
    assert str(caught.value).endswith("a reference holds no user name or password")
    assert caught.value.hint == f"did you mean {scheme}{place}"


@pytest.mark.parametrize(
    "place", [f"AWS:hunter2é@{HOST}/app:1", f"AWS:hunter2 \n@{HOST}/app", f"https://hunter2@{HOST}"]
)
def test_a_password_is_not_repeated_whatever_else_is_wrong(place: str) -> None:
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(place)
    assert str(caught.value).endswith("a reference holds no user name or password")
    assert "hunter2" not in caught.value.hint


NO_DIGESTS = ["app@latest", "app@1.2", "app:1@latest", f"app:1@sha384:{'0f' * 48}", "localhost:5000/app@1.2"]


@pytest.mark.parametrize("text", NO_DIGESTS)
def test_a_digest_that_is_none_is_not_taken_for_a_host_after_a_password(text: str) -> None:
    with pytest.raises(UsageError, match="digest"):
        ImageReference.parse(text)


# Properties


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused_in_plain_words(text: str) -> None:
    parses_or_says_where(text)


PIECES = ["arn:", "aws", "aws-cn", ":ecr:", "ecr.aws/", "https://", ACCOUNT, ".dkr.ecr.", ".dkr-ecr-fips.", "us-west-2"]
PIECES += ["cn-north-1", ".amazonaws.com", ".cn", ".on.aws", "repository/", "/app", "App", "//", ":1", ":", "@", DIGEST]
PIECES += [f"@{DIGEST}", HOST, ARN, "-", "é", " ", "http://", "docker.io", "localhost", ":5000", "[::1]", ".", "_"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_muddle_of_good_pieces_is_read_or_refused_in_plain_words(text: str) -> None:
    parses_or_says_where(text)


HOSTILE = ["@" * 50_000, "a@" * 25_000, f"{HOST}/" + "a-" * 25_000, f"{HOST}/" + "a/" * 25_000 + "A"]
HOSTILE += [
    f"{'a.' * 25_000}/a",
    f"a:@{'.' * 50_000}@",
    f"{'a-' * 25_000}.b/c",
    f"{'9' * 50_000}/a",
    f"{'9-' * 25_000}.a/b",
]
HOSTILE += [f"[{':' * 50_000}]/a", f"a:{'5' * 50_000}/b", f"{'.dkr' * 12_500}/a", f"{'a' * 50_000}.b/c", "://" * 20_000]


@pytest.mark.parametrize("text", HOSTILE, ids=[f"{text[:10]} {text[-5:]}" for text in HOSTILE])
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    parses_or_says_where(text)
    assert time.perf_counter() - start < 0.5
