"""ImageReference in any other registry: hosts as docker takes them, Docker Hub, ECR Public, local ECRs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag import reference
from ecrdrag.content import Digest
from ecrdrag.errors import UsageError
from ecrdrag.reference import ImageReference
from tests.references import ACCOUNT, DIGEST, Refusal, check_refusal, digests, parses_or_says_where, repositories, tags

HEX = "1a2b3c4d" * 8
LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
LOCALSTACK = "000000000000.dkr.ecr.us-east-1.localhost.localstack.cloud:4566"

# text, registry, repository, tag
GOOD: list[tuple[str, str, str, str | None]] = [
    # hosts
    ("quay.io/a/b/c:1", "quay.io", "a/b/c", "1"),
    ("registry:5000/app", "registry:5000", "app", None),
    ("localhost/app:1", "localhost", "app", "1"),
    ("localhost:5000/app:1", "localhost:5000", "app", "1"),
    ("localhost:1/a", "localhost:1", "a", None),
    ("localhost:65535/a", "localhost:65535", "a", None),
    ("127.0.0.1:5000/x/y", "127.0.0.1:5000", "x/y", None),
    ("10.1/app", "10.1", "app", None),
    ("[::1]:5000/app:1", "[::1]:5000", "app", "1"),
    ("[FD00:1::2]/app", "[fd00:1::2]", "app", None),
    ("xn--n3h.com/a--b/c__d:xn--n3h.com", "xn--n3h.com", "a--b/c__d", "xn--n3h.com"),
    ("a-b--c.d-e/f", "a-b--c.d-e", "f", None),
    (f"{LONG}/a", LONG, "a", None),
    ("Quay.IO/a:B", "quay.io", "a", "B"),
    ("LOCALHOST/a", "localhost", "a", None),
    ("Registry:5000/a", "registry:5000", "a", None),
    ("r.test/localhost:5000", "r.test", "localhost", "5000"),
    # https://
    ("https://quay.io/a/b", "quay.io", "a/b", None),
    ("HTTPS://r.test:5000/a", "r.test:5000", "a", None),
    ("https://localhost/a", "localhost", "a", None),
    ("https://registry/a", "registry:443", "a", None),
    ("https://docker.io/a", "docker.io", "library/a", None),
    ("https://public.ecr.aws/a/b", "public.ecr.aws", "a/b", None),
    # ECR Public and local ECRs
    ("public.ecr.aws/docker/library/alpine:3.20", "public.ecr.aws", "docker/library/alpine", "3.20"),
    ("ecr-public.aws.com/a/b", "ecr-public.aws.com", "a/b", None),
    (
        f"{ACCOUNT}.dkr.ecr.us-west-2.localhost:5080/app:1",
        f"{ACCOUNT}.dkr.ecr.us-west-2.localhost:5080",
        "app",
        "1",
    ),
    (f"{ACCOUNT}.dkr.ecr.us-west-2.localhost/app", f"{ACCOUNT}.dkr.ecr.us-west-2.localhost", "app", None),
    (f"https://{ACCOUNT}.dkr.ecr.us-west-2.LOCALHOST/a", f"{ACCOUNT}.dkr.ecr.us-west-2.localhost", "a", None),
    (f"{LOCALSTACK}/a", LOCALSTACK, "a", None),
    (f"{ACCOUNT}.example.com/app", f"{ACCOUNT}.example.com", "app", None),
    ("ec2-1-2-3-4.compute-1.amazonaws.com:5000/a", "ec2-1-2-3-4.compute-1.amazonaws.com:5000", "a", None),
    ("ecr.example.com/dkr.ecr/a", "ecr.example.com", "dkr.ecr/a", None),
    # Docker Hub
    ("alpine", "docker.io", "library/alpine", None),
    ("alpine:3.20", "docker.io", "library/alpine", "3.20"),
    ("a", "docker.io", "library/a", None),
    ("me/app:1", "docker.io", "me/app", "1"),
    ("library/alpine", "docker.io", "library/alpine", None),
    ("library/a/b", "docker.io", "library/a/b", None),
    ("docker.io/alpine", "docker.io", "library/alpine", None),
    ("docker.io/library/alpine", "docker.io", "library/alpine", None),
    ("docker.io/me/app:1", "docker.io", "me/app", "1"),
    ("index.docker.io/alpine:3", "docker.io", "library/alpine", "3"),
    ("registry-1.docker.io/alpine:3", "docker.io", "library/alpine", "3"),
    ("Docker.IO/me/app", "docker.io", "me/app", None),
    ("docker.io:443/alpine", "docker.io:443", "alpine", None),
    ("localhost", "docker.io", "library/localhost", None),
    ("localhost:5000", "docker.io", "library/localhost", "5000"),
    ("r.test:5000", "docker.io", "library/r.test", "5000"),
    ("a_b.c:8080", "docker.io", "library/a_b.c", "8080"),
    ("a__b/c", "docker.io", "a__b/c", None),
    (f"docker.io/{HEX}", "docker.io", f"library/{HEX}", None),
    (f"{HEX}:1", "docker.io", f"library/{HEX}", "1"),
    (f"{HEX[:-1]}", "docker.io", f"library/{HEX[:-1]}", None),
    (f"{HEX}/a", "docker.io", f"{HEX}/a", None),
    ("a" * 247, "docker.io", "library/" + "a" * 247, None),
    (f"r.test/{'a' * 255}", "r.test", "a" * 255, None),
    (f"{'a/' * 127}a:long-enough", "docker.io", "a/" * 127 + "a", "long-enough"),
]
BARE = "expected the name of an image, found a digest or an ID alone"
ID_HINT = f"name the repository that it is in, as NAME@sha256:{HEX}"
PORT = "expected a port (:1 to :65535) after the host name, found"

BAD: list[Refusal] = [
    # hosts
    ("foo_bar:5000/app", 4, "a host name can't have '_' here", None),
    ("a__b.c/app", 2, "a host name can't have '_' here", None),
    ("r.test./app", 7, "a host name can't have '.' here", None),
    ("r..test/app", 2, "a host name can't have '.' here", None),
    ("-r.test/app", 1, "a host name can't have '-' here", None),
    ("r.test-/app", 7, "a host name can't have '-' here", None),
    ("r.-test/app", 2, "a host name can't have '.' here", None),
    ("./app.tar", 1, "a host name can't have '.' here", None),
    ("<host>.test/app", 1, "a host name can't have '<' here", None),
    (f"alpine@{DIGEST}/x", 7, "a host name can't have '@' here", None),
    (":5000/app", 1, "expected the host name of a registry, found ':5000'", None),
    ("https://", 9, "expected the host name of a registry, found nothing", None),
    ("https:///app", 9, "expected the host name of a registry, found nothing", None),
    (f"{'a' * 64}.b/c", 64, "a part of a host name has at most 63 characters", f"...{'a' * 51}.b/c\n{' ' * 53}^"),
    (f"b.{'a' * 64}/c", 66, "a part of a host name has at most 63 characters", f"...{'a' * 51}/c\n{' ' * 53}^"),
    (f"{LONG}d/a", 254, "a host name has at most 253 characters", f"...{LONG[-50:]}d/a\n{' ' * 53}^"),
    # ports and addresses
    ("host:/app", 5, f"{PORT} ':'", None),
    ("host:0/app", 5, f"{PORT} ':0'", None),
    ("host:080/app", 5, f"{PORT} ':080'", None),
    ("host:65536/app", 5, f"{PORT} ':65536'", None),
    ("host:500000/app", 5, f"{PORT} ':500000'", None),
    ("alpine:feature/x", 7, f"{PORT} ':feature'", None),
    ("fd00::1:5000/app", 5, f"{PORT} '::1:5000'", None),
    ("[::1]5000/app", 6, f"{PORT} '5000'", None),
    ("[::1]::5000/app", 6, f"{PORT} '::5000'", None),
    ("[::1/app", 1, "expected an IPv6 address in brackets, found '[::1'", None),
    ("[]:5000/app", 1, "expected an IPv6 address in brackets, found '[]:5000'", None),
    ("[1:2]/app", 1, "expected an IPv6 address in brackets, found '[1:2]'", None),
    ("[fe80::1%eth0]/app", 1, "expected an IPv6 address in brackets, found '[fe80::1%eth0]'", None),
    ("[::ffff:1.2.3.4]/app", 1, "expected an IPv6 address in brackets, found '[::ffff:1.2.3.4]'", None),
    ("[::1]", 1, "a repository name can't have '[' here", None),
    # schemes
    (
        "http://localhost:5000/app",
        1,
        "expected https:// or no scheme, found 'http://'",
        "did you mean localhost:5000/app (and --plain-http, if it speaks no TLS)",
    ),
    (
        "HTTP:/r.test/app",
        1,
        "expected https:// or no scheme, found 'HTTP:/'",
        "did you mean r.test/app (and --plain-http, if it speaks no TLS)",
    ),
    ("docker://alpine", 1, "expected https:// or no scheme, found 'docker://'", "did you mean alpine"),
    ("https:/r.test/a", 1, "expected https:// or no scheme, found 'https:/'", "did you mean r.test/a"),
    ("https://me@r.test/a", 9, "a reference holds no user name or password", "did you mean https://r.test/a"),
    ("me@r.test/a", 1, "a reference holds no user name or password", "did you mean r.test/a"),
    # repositories
    ("r.test/", 8, "expected the name of a repository, found nothing", None),
    ("https://registry", 17, "expected the name of a repository, found nothing", None),
    ("r.test/:1", 8, "expected the name of a repository, found nothing", None),
    (":1", 1, "expected the name of a repository, found nothing", None),
    (f"@{DIGEST}", 1, "expected the name of a repository, found nothing", None),
    ("/app", 1, "a repository name can't have '/' here", None),
    ("me//app", 3, "a repository name can't have '//' here", None),
    ("me/app/", 7, "a repository name can't have '/' here", None),
    ("Registry/app", 1, "a repository name can't have 'R' here", "did you mean registry/app"),
    ("quay.io/Me/app", 9, "a repository name can't have 'M' here", "did you mean quay.io/me/app"),
    ("Alpine:3", 1, "a repository name can't have 'A' here", "did you mean alpine:3"),
    ("a" * 248, 248, "a repository name has at most 247 characters", f"...{'a' * 51}\n{' ' * 53}^"),
    (f"r.test/{'a' * 256}", 263, "a repository name has at most 255 characters", f"...{'a' * 51}\n{' ' * 53}^"),
    (HEX, 1, BARE, ID_HINT),
    (f"sha256:{HEX}", 1, BARE, ID_HINT),
    # tags and digests
    ("alpine:", 8, "expected a tag after the colon, found nothing", None),
    ("r.test:5000/app:.1", 17, "a tag can't have '.' here", None),
    ("alpine@sha256:abc", 8, "a sha256 digest has 64 hex digits, not 3", None),
]


@pytest.mark.parametrize(("text", "registry", "repository", "tag"), GOOD)
@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_registry_and_a_repository_are_told_apart_as_docker_does(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    written = f"@{digest}" if digest else ""
    found = ImageReference.parse(text + written)
    known = Digest.parse(digest) if digest else None
    assert found == ImageReference(registry, repository, tag, known, None, "")
    assert str(found) == f"{registry}/{repository}" + (f":{tag}" if tag else "") + written
    assert ImageReference.parse(str(found)) == found


@pytest.mark.parametrize("refusal", BAD, ids=[ascii(case[0])[:60] for case in BAD])
def test_a_bad_reference_is_refused_with_the_place_and_the_reason(refusal: Refusal) -> None:
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(refusal[0])
    check_refusal(caught.value, refusal)


@pytest.mark.parametrize("hint", [hint for *_, hint in BAD if hint and hint.startswith("did you mean ")])
def test_what_is_suggested_is_a_good_reference(hint: str) -> None:
    ImageReference.parse(hint.removeprefix("did you mean ").partition(" ")[0])


@pytest.mark.parametrize("name", ["alpine", "docker.io/me/app", "index.docker.io/a", "registry-1.docker.io/a/b"])
def test_docker_hub_answers_under_another_name(name: str) -> None:
    assert ImageReference.parse(name).server == "registry-1.docker.io"


@pytest.mark.parametrize("host", ["quay.io", "localhost:5000", "[::1]:5000", "public.ecr.aws", "docker.io:443"])
def test_every_other_registry_answers_under_its_own_name(host: str) -> None:
    assert ImageReference.parse(f"{host}/a/b").server == host


@pytest.mark.parametrize("text", ["alpine", "public.ecr.aws/a/b", f"{ACCOUNT}.dkr.ecr.us-west-2.localhost:5080/app"])
def test_what_is_not_private_ecr_has_neither_account_nor_arn(text: str) -> None:
    found = ImageReference.parse(text)
    for ask in (lambda: found.private, lambda: found.arn):
        with pytest.raises(UsageError, match=f"^{found.registry} is not a private ECR registry$"):
            ask()


def test_botocore_is_not_loaded_for_what_is_not_private_ecr() -> None:
    code = (
        "import sys; from ecrdrag.reference import ImageReference as R; R.parse('public.ecr.aws/a/b:1'); R.parse('a');"
    )
    root = Path(reference.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", f"{code} sys.exit('botocore' in sys.modules)"], cwd=root, check=False)
    assert ended.returncode == 0


# Properties


def registries() -> st.SearchStrategy[str]:
    label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
    names = st.lists(label, min_size=2, max_size=5).map(".".join)
    addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(lambda address: f"[{address}]")
    port = st.integers(1, 65535).map(lambda number: f":{number}")
    bare = names | addresses | st.just("localhost")
    return bare | st.builds(str.__add__, bare | label, port)


def references() -> st.SearchStrategy[ImageReference]:
    def place(registry: str, repository: str, tag: str | None, digest: Digest | None) -> ImageReference:
        return ImageReference(registry, repository, tag, digest, None, "as written")

    other = st.builds(place, registries(), repositories(1, 255), st.none() | tags(), st.none() | digests())
    paths = repositories(1, 255).filter(lambda name: "/" in name) | repositories(1, 247).map(
        lambda name: f"library/{name}"
    )
    hub = st.builds(place, st.just("docker.io"), paths, st.none() | tags(), st.none() | digests())
    return other | hub


@settings(deadline=None)
@given(references(), st.sampled_from(["", "https://", "HTTPS://"]))
def test_what_is_printed_is_read_back(image: ImageReference, scheme: str) -> None:
    assert ImageReference.parse(scheme + str(image)) == image


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9]{1,9}([._-][a-z0-9]{1,9}){0,3}", fullmatch=True), tags())
def test_a_word_alone_is_one_of_docker_hub_s_own_images(name: str, tag: str) -> None:
    assert ImageReference.parse(f"{name}:{tag}") == ImageReference.parse(f"docker.io/library/{name}:{tag}")


@settings(deadline=None)
@given(references(), st.data())
def test_one_changed_character_is_read_or_refused_in_plain_words(image: ImageReference, data: st.DataObject) -> None:
    text = str(image)
    place = data.draw(st.integers(0, len(text)))
    parses_or_says_where(text[:place] + data.draw(st.characters() | st.just("")) + text[place + 1 :])
