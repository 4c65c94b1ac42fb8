"""ImageReference in private ECR: every form in every partition."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.loaders import Loader
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag import naming, reference
from ecrdrag.content import Digest
from ecrdrag.reference import EcrHost, ImageReference
from tests.references import (
    ACCOUNT,
    ARN,
    DIGEST,
    DUAL_STACK_PARTITIONS,
    HOST,
    PARTITIONS,
    REGIONS,
    SHA512,
    digests,
    ecr_hosts,
    parses_or_says_where,
    repositories,
    tags,
)

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
    return ImageReference(str(ecr), repository, tag, Digest.parse(digest) if digest else None, ecr, "")


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


def references() -> st.SearchStrategy[ImageReference]:
    def place(ecr: EcrHost, repository: str, tag: str | None, digest: Digest | None) -> ImageReference:
        return ImageReference(str(ecr), repository, tag, digest, ecr, "as written")

    return st.builds(place, ecr_hosts(), repositories(2, 256), st.none() | tags(), st.none() | digests())


@settings(deadline=None)
@given(references())
def test_what_is_printed_is_read_back(image: ImageReference) -> None:
    assert ImageReference.parse(str(image)) == image


@settings(deadline=None)
@given(references())
def test_the_arn_is_read_back_but_for_fips_and_dual_stack(image: ImageReference) -> None:
    found = ImageReference.parse(image.arn)
    plain = replace(image.private, fips=False, dual_stack=False)
    assert found == replace(image, registry=str(plain), ecr=plain)


@settings(deadline=None)
@given(references(), st.data())
def test_one_changed_character_is_read_or_refused_in_plain_words(image: ImageReference, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([str(image), image.arn]))
    place = data.draw(st.integers(0, len(text)))
    parses_or_says_where(text[:place] + data.draw(st.characters() | st.just("")) + text[place + 1 :])


# Contracts with botocore


def test_the_partitions_are_the_ones_we_test() -> None:
    assert sorted(PARTITIONS) == sorted(place[0] for place in PLACES)
    assert sorted(DUAL_STACK_PARTITIONS) == sorted(place[0] for place in DUAL_STACK_PLACES)


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
    ours = naming.REPOSITORY.pattern.replace("(?:", "(")
    assert ours == model["pattern"].replace(r"\/", "/")
    assert model["min"] == naming.MIN_REPOSITORY_LENGTH
    assert model["max"] == naming.MAX_REPOSITORY_LENGTH
    assert reference.ACCOUNT.pattern == shapes["RegistryId"]["pattern"]


def test_botocore_is_loaded_when_a_reference_is_read_and_not_before() -> None:
    code = "import sys, ecrdrag.reference; sys.exit('botocore' in sys.modules)"
    root = Path(reference.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
