"""Which registry upstream is meant, in whatever words, and what each wants."""

from __future__ import annotations

import botocore.session
import pytest
from botocore.model import StringShape

from ecrdrag.control.upstreams import WORDS, Needs, Upstream
from ecrdrag.errors import UsageError

OWN = "123456789012.dkr.ecr.us-west-2.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "registry", "url"),
    [
        ("docker-hub", "docker-hub", "registry-1.docker.io"),
        ("dockerhub", "docker-hub", "registry-1.docker.io"),
        ("docker.io", "docker-hub", "registry-1.docker.io"),
        ("https://registry-1.docker.io/", "docker-hub", "registry-1.docker.io"),
        ("hub.docker.com", "docker-hub", "registry-1.docker.io"),
        ("quay", "quay", "quay.io"),
        ("Quay.IO", "quay", "quay.io"),
        ("ghcr", "github-container-registry", "ghcr.io"),
        ("github", "github-container-registry", "ghcr.io"),
        ("github-container-registry", "github-container-registry", "ghcr.io"),
        ("gitlab", "gitlab-container-registry", "registry.gitlab.com"),
        ("k8s", "k8s", "registry.k8s.io"),
        ("kubernetes", "k8s", "registry.k8s.io"),
        ("ecr-public", "ecr-public", "public.ecr.aws"),
        ("public.ecr.aws", "ecr-public", "public.ecr.aws"),
        ("chainguard", "chainguard", "cgr.dev"),
        ("ours.azurecr.io", "azure-container-registry", "ours.azurecr.io"),
        (OWN, "ecr", OWN),
        ("123456789012.dkr-ecr-fips.us-west-2.on.aws", "ecr", OWN),
        (
            "https://123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "ecr",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        ),
        ("registry.test:5000", "", "registry.test:5000"),
        ("harbor.example.com", "", "harbor.example.com"),
    ],
)
def test_a_registry_is_known_by_its_words_and_by_its_host(text: str, registry: str, url: str) -> None:
    found = Upstream.parse(text)
    assert (found.registry, found.url) == (registry, url)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "docker-hub, quay, github, gitlab, k8s, ecr-public, chainguard, or a host name"),
        ("", "or a host name"),
        ("-.io", "or a host name"),
        ("azure", "NAME.azurecr.io"),
        ("ecr", "ACCOUNT.dkr.ecr.REGION"),
        ("ghcr.io/our/team", "--upstream ghcr.io --upstream-prefix our/team"),
        ("12345.dkr.ecr.us-west-2.amazonaws.com", "12 digits"),
    ],
)
def test_what_is_no_registry_is_refused_and_says_what_would_be_one(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Upstream.parse(text)
    assert words in f"{caught.value} {caught.value.hint}"


def test_a_password_before_a_host_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        Upstream.parse("https://me:s3cret@ghcr.io")
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_the_model_has_the_registries_that_are_known_here_and_no_others() -> None:
    shape = botocore.session.Session().get_service_model("ecr").shape_for("UpstreamRegistry")
    assert isinstance(shape, StringShape)
    known = {Upstream.parse(word).registry for word in (*WORDS, "ours.azurecr.io", OWN)}
    assert known == set(shape.enum)


def test_a_credential_is_wanted_as_the_user_guide_has_it() -> None:
    needs = {word: Upstream.parse(word).needs for word in (*WORDS, "ours.azurecr.io", OWN, "registry.test:5000")}
    assert {word for word, need in needs.items() if need is Needs.NOTHING} == {"quay", "k8s", "ecr-public"}
    assert {word for word, need in needs.items() if need is Needs.ROLE} == {OWN}
    assert {word for word, need in needs.items() if need is Needs.UNKNOWN} == {"registry.test:5000"}


def test_a_rule_is_said_in_words_whichever_half_the_api_tells() -> None:
    assert str(Upstream.of_rule("quay", "quay.io")) == "Quay (quay.io)"
    assert str(Upstream.of_rule("", "registry-1.docker.io")) == "Docker Hub (registry-1.docker.io)"
    assert str(Upstream.of_rule("ecr", OWN)) == f"Amazon ECR ({OWN})"
    assert (
        str(Upstream.of_rule("azure-container-registry", "a.azurecr.io")) == "Azure Container Registry (a.azurecr.io)"
    )
    assert str(Upstream.of_rule("", "registry.test:5000")) == "registry.test:5000"
    assert str(Upstream.of_rule("new-one", "new.example.com")) == "new-one (new.example.com)"
