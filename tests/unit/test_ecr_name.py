"""EcrName: a repository of ECR by its name alone, its ARN or a host form, and an image in it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.content import Digest
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import UsageError
from ecrdrag.reference import EcrHost
from tests.references import ACCOUNT, ARN, DIGEST, HOST, Refusal, check_refusal, digests, ecr_hosts, repositories, tags

WEST = EcrHost(ACCOUNT, "us-west-2", "aws")
FIPS = EcrHost(ACCOUNT, "us-west-2", "aws", fips=True)
DUAL = EcrHost(ACCOUNT, "us-west-2", "aws", dual_stack=True)
PLACES = [
    ("", None),
    (ARN, WEST),
    (f"ecr.aws/{ARN}", WEST),
    (f"{HOST}/", WEST),
    (f"https://{HOST}/", WEST),
    (f"{HOST.upper()}/", WEST),
    (f"{ACCOUNT}.dkr.ecr-fips.us-west-2.amazonaws.com/", FIPS),
    (f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws/", DUAL),
]
VERSIONS = [
    ("", None, None),
    (":1.2", "1.2", None),
    (f"@{DIGEST}", None, Digest.parse(DIGEST)),
    (f":1.2@{DIGEST}", "1.2", Digest.parse(DIGEST)),
]


@pytest.mark.parametrize(("place", "host"), PLACES)
@pytest.mark.parametrize(("version", "tag", "digest"), VERSIONS)
def test_every_form_names_the_same_repository_and_image(
    place: str, host: EcrHost | None, version: str, tag: str | None, digest: Digest | None
) -> None:
    found = EcrName.parse(f"{place}team/my_app.v2{version}")
    assert found == EcrName("team/my_app.v2", tag, digest, host)
    assert found.is_repository == (version == "")


@pytest.mark.parametrize(
    "name",
    [
        "app",
        "docker.io/library/nginx",  # of a pull-through cache
        "ghcr.io/owner/app",
        "localhost/app",
        "ecr.aws",
        "123456789012",
        "a" * 256,
    ],
)
def test_what_looks_like_another_host_is_the_beginning_of_a_name(name: str) -> None:
    assert EcrName.parse(f"{name}:1") == EcrName(name, "1")


names = st.builds(
    EcrName,
    repositories(2, 256),
    st.none() | tags(),
    st.none() | digests(),
    st.none() | ecr_hosts(),
)


@given(names)
def test_what_is_printed_is_what_was_parsed(name: EcrName) -> None:
    assert EcrName.parse(str(name)) == name


@given(st.text(max_size=30) | st.text("arn:ecdk.@/1A_-", max_size=30))
def test_any_text_is_a_name_or_refused_in_plain_characters(text: str) -> None:
    try:
        name = EcrName.parse(text)
    except UsageError as refused:
        error = refused
    else:
        assert EcrName.parse(str(name)) == name
        return
    forms = r"bad (reference|repository) at character [0-9]+: [ -~]+|[ -~]+ is not a private ECR registry"
    assert re.fullmatch(forms, str(error))
    assert re.fullmatch(r"[ -~\n]+", error.hint)


BAD: list[Refusal] = [
    ("", 1, "the repository is empty", "name a repository, or give its ARN"),
    ("a", 1, "expected a name of 2 or more characters, found 'a'", None),
    (":1", 1, "expected a name of 2 or more characters, found nothing", None),
    ("my app", 3, "' ' can't stand in a repository", None),
    ("My/App", 1, "a repository name can't have 'M' here", "did you mean my/app"),
    ("app/", 4, "a repository name can't have '/' here", None),
    ("a" * 257, 257, "a repository name has at most 256 characters", None),
    ("app:", 5, "expected a tag after the colon, found nothing", None),
    ("app:1:2", 6, "a tag can't have ':' here", None),
    (f"app:{'1' * 129}", 133, "a tag has at most 128 characters", None),
    ("app@me:x/", 1, "a repository holds no user name or password", "did you mean me:x/"),
]


@pytest.mark.parametrize("refusal", BAD, ids=lambda refusal: ascii(refusal[0][:20]))
def test_a_muddle_is_refused_in_plain_words(refusal: Refusal) -> None:
    with pytest.raises(UsageError) as caught:
        EcrName.parse(refusal[0])
    check_refusal(caught.value, refusal, "repository")


@pytest.mark.parametrize(
    "text", [f"{ARN}App", f"{HOST}/App", f"{HOST}", "arn:aws:s3:::bucket", f"http://{HOST}/app", f"{ACCOUNT}.dkr.ecr"]
)
def test_a_muddle_with_a_registry_is_refused_as_a_reference_is(text: str) -> None:
    with pytest.raises(UsageError, match=r"^bad reference at character "):
        EcrName.parse(text)


@pytest.mark.parametrize("digest", ["sha256:0", f"{DIGEST}:1", "md5:" + "0" * 32])
def test_half_a_digest_is_refused(digest: str) -> None:
    with pytest.raises(UsageError, match=r"^bad repository at character "):
        EcrName.parse(f"app@{digest}")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost:5000/app", "localhost:5000"),
        ("public.ecr.aws/alias/app", "public.ecr.aws"),
        ("Public.ECR.aws/alias/app:1", "Public.ECR.aws"),
        ("https://docker.io/library/nginx", "docker.io"),
        ("https://registry.example.com/app", "registry.example.com"),
    ],
)
def test_another_registry_is_no_place_for_these_commands(text: str, host: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(host)} is not a private ECR registry$") as caught:
        EcrName.parse(text)
    assert "--endpoint-url" in caught.value.hint


@pytest.mark.parametrize("text", ["AWS:hunter2@app/x", f"https://AWS:hunter2@{HOST}/app", f"me:hunter2@{HOST}/app:1"])
def test_a_password_in_a_name_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        EcrName.parse(text)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(("version", "tag", "digest"), VERSIONS)
def test_an_image_is_named_to_the_api_by_what_is_known(version: str, tag: str | None, digest: Digest | None) -> None:
    expected = {"imageTag": tag, "imageDigest": digest and str(digest)}
    assert EcrName.parse(f"app{version}").image_id == {key: value for key, value in expected.items() if value}


def test_a_name_alone_is_read_without_botocore() -> None:
    code = "import sys; from ecrdrag.ecr_name import EcrName; EcrName.parse('app:1'); print('botocore' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
