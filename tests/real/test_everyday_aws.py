"""What the everyday commands read is what the aws CLI reads of the same ECR, member by member."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest
from mypy_boto3_ecr import ECRClient

from tests.crowded import crowd
from tests.kinds import bare_artifact, buildx_index, greeter, helm_chart, put, signature
from tests.localecr import ACCOUNT, REGION, client_for
from tests.real.everyday import Both, both, differences, take_out

pytestmark = pytest.mark.real

APP, SETTINGS, ABROAD = "team/app", "team/settings", "team/abroad"
ELSEWHERE, CROWDED = "eu-west-1", "eu-north-1"
CROWD = 120  # repositories: more than a page of those that the aws CLI asks for
LARGE_CROWD = 1020  # more than the largest page, which is what we ask for
SIGNED = greeter("amd64", "hello\n")
CHILD = str(greeter("arm64", "hello from buildx\n").digest)
ARN = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{SETTINGS}"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage"]}],
}
EXPIRING = {
    "rulePriority": 1,
    "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1},
    "action": {"type": "expire"},
}
IMAGES = f"ecr describe-images --repository-name {APP}"
TAGS = f"ecr list-images --repository-name {APP} --filter tagStatus=TAGGED"
READING = {
    "the registry": ("ecr describe-registry", "registry show --json"),
    "its scanning": (
        "ecr get-registry-scanning-configuration --query scanningConfiguration",
        "registry show --query scanningConfiguration",
    ),
    "an account setting": (
        "ecr get-account-setting --name BASIC_SCAN_TYPE_VERSION --query value",
        "registry show --query accountSettings.BASIC_SCAN_TYPE_VERSION",
    ),
    "repositories": ("ecr describe-repositories", "repo ls --json"),
    "repositories by small pages": ("ecr describe-repositories --page-size 50", "repo ls --json -j 1"),
    "more repositories than any page has": (
        f"ecr describe-repositories --region {CROWDED}",
        f"repo ls --region {CROWDED} --json",
    ),
    "repositories of a region": (
        f"ecr describe-repositories --region {ELSEWHERE}",
        f"repo ls --region {ELSEWHERE} --json",
    ),
    "repositories of an account": (
        f"ecr describe-repositories --registry-id {ACCOUNT}",
        f"repo ls --registry-id {ACCOUNT} --json",
    ),
    "repositories by a part of their names": (
        "ecr describe-repositories --query \"{repositories: repositories[?contains(repositoryName, '7')]}\"",
        "repo ls 7 --json",
    ),
    "repositories, and what is in them": ("ecr describe-repositories", "repo ls --count --json"),
    "one repository": (
        f"ecr describe-repositories --repository-names {SETTINGS} --query '{{repository: repositories[0]}}'",
        f"repo show {SETTINGS} --json",
    ),
    "its tags": (
        f"ecr list-tags-for-resource --resource-arn {ARN} --query tags",
        f"repo show {SETTINGS} --query repository.tags",
    ),
    "its policy, by its ARN": (
        f"ecr get-repository-policy --repository-name {SETTINGS}",
        f"repo policy {ARN} --json",
    ),
    "its lifecycle policy": (
        f"ecr get-lifecycle-policy --repository-name {SETTINGS}",
        f"repo lifecycle {SETTINGS} --json",
    ),
    "images": (IMAGES, f"image ls {APP} --sort none --json"),
    "images of a region": (
        f"ecr describe-images --repository-name {ABROAD} --region {ELSEWHERE}",
        f"image ls {ABROAD} --region {ELSEWHERE} --json",
    ),
    "images with a tag": (f"{IMAGES} --filter tagStatus=TAGGED", f"image ls {APP} --sort none --tagged --json"),
    "images without": (f"{IMAGES} --filter tagStatus=UNTAGGED", f"image ls {APP} --sort none --untagged --json"),
    "images in the archive": (
        f"{IMAGES} --filter imageStatus=ARCHIVED",
        f"image ls {APP} --sort none --status archived --json",
    ),
    "all images": (f"{IMAGES} --filter imageStatus=ANY", f"image ls {APP} --sort none --status any --json"),
    "images, the newest first": (
        f"{IMAGES} --query '{{imageDetails: reverse(sort_by(imageDetails, &imagePushedAt))}}'",
        f"image ls {APP} --json",
    ),
    "images, the largest first": (
        f"{IMAGES} --query 'reverse(sort_by(imageDetails, &imageSizeInBytes))[].imageSizeInBytes'",
        f"image ls {APP} --sort size --query imageDetails[].imageSizeInBytes",
    ),
    "an image by its tag": (f"{IMAGES} --image-ids imageTag=latest", f"image show {APP}:latest --json"),
    "an image by its digest": (
        f"{IMAGES} --image-ids imageDigest={CHILD}",
        f"image show {APP}@{CHILD} --json",
    ),
    "an index": (f"{IMAGES} --image-ids imageTag=multi", f"image show {APP}:multi --json"),
    "what refers to an image": (
        f"ecr list-image-referrers --repository-name {APP} --subject-id imageDigest={SIGNED.digest} --query referrers",
        f"image show {APP}:1 --query imageDetails[0].referrers",
    ),
    "tags": (
        f"{TAGS} --query 'sort(imageIds[].imageTag)'",
        f"tags {APP} --query 'sort(tags[].tag)'",
    ),
    "tags and what they stand for": (
        f"{TAGS} --query 'sort_by(imageIds, &imageTag)[].[imageTag, imageDigest]'",
        f"tags {APP} --query 'sort_by(tags, &tag)[].[tag, digest]'",
    ),
    "rules": ("ecr describe-pull-through-cache-rules", "cache-rule ls --json"),
    "a rule": (
        "ecr describe-pull-through-cache-rules --ecr-repository-prefixes quay",
        "cache-rule show quay --json",
    ),
}
AS_LINES = (
    "sort_by(imageDetails, &imagePushedAt)[-1].imageTags[0]",
    "imageDetails[?imageTags == null].imageDigest",
    "imageDetails[?contains(imageTags || `[]`, 'latest')].[imageDigest, imagePushedAt, imageSizeInBytes]",
    "imageDetails[*].{digest: imageDigest, tags: imageTags, type: artifactMediaType}",
    "nothing.of.the.kind",
)
QUERIES = (
    *AS_LINES,
    "length(imageDetails)",
    "imageDetails[?imageSizeInBytes > `300`] | sum([].imageSizeInBytes)",
    "join(',', imageDetails[].imageTags[])",
)
AS_LISTED = ("--sort", "none")
MEMBERS = ("createdAt", "encryptionConfiguration", "imageScanningConfiguration", "repositoryName", "repositoryUri")
OF_REPOSITORIES = (
    "repositories[].repositoryName",
    "repositories[?imageTagMutability != 'MUTABLE'].{name: repositoryName, scan: imageScanningConfiguration}",
    "repositories[0].[repositoryUri, createdAt]",
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("everyday")
    crowd(folder / "data", repositories=CROWD, images=3, tagged=2)
    crowd(folder / "data", repositories=LARGE_CROWD, images=0, region=CROWDED)
    with both(folder) as pair:
        stock_images(pair.local.ecr)
        stock_settings(pair.local.ecr)
        there = pair.local.environment
        keys = there["AWS_ACCESS_KEY_ID"], there["AWS_SECRET_ACCESS_KEY"]
        with client_for(there["AWS_ENDPOINT_URL_ECR"], keys, region=ELSEWHERE) as ecr:
            ecr.create_repository(repositoryName=ABROAD)
            put(ecr, ABROAD, SIGNED, "1")
        yield pair


def stock_images(ecr: ECRClient) -> None:
    """Put some of every kind into a repository, with tags and without, and one of them into the archive.

    What is shown by itself is pulled, as showing it does, and ECR notes that once a day.
    """
    ecr.create_repository(repositoryName=APP)
    old = greeter("arm64", "old\n", oci=False)
    put(ecr, APP, SIGNED, "1", "latest")
    put(ecr, APP, buildx_index(), "multi")
    for kept in (signature(SIGNED), old, greeter("arm64", "unnamed\n")):
        put(ecr, APP, kept)
    put(ecr, APP, helm_chart(), "1.2.3")
    put(ecr, APP, bare_artifact(), "file")
    ecr.update_image_storage_class(
        repositoryName=APP, imageId={"imageDigest": str(old.digest)}, targetStorageClass="ARCHIVE"
    )
    pulled = ecr.batch_get_image(
        repositoryName=APP, imageIds=[{"imageTag": "1"}, {"imageTag": "multi"}, {"imageDigest": CHILD}]
    )
    assert not pulled["failures"]


def stock_settings(ecr: ECRClient) -> None:
    """Make a repository with all that one can have, rules, and settings of the registry."""
    ecr.create_repository(
        repositoryName=SETTINGS,
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "KMS", "kmsKey": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/of-ours"},
        tags=[{"Key": "team", "Value": "a"}, {"Key": "stage", "Value": ""}],
    )
    ecr.set_repository_policy(repositoryName=SETTINGS, policyText=json.dumps(POLICY))
    ecr.put_lifecycle_policy(repositoryName=SETTINGS, lifecyclePolicyText=json.dumps({"rules": [EXPIRING]}))
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
    ecr.create_pull_through_cache_rule(
        ecrRepositoryPrefix="k8s", upstreamRegistryUrl="registry.k8s.io", upstreamRepositoryPrefix="kube"
    )
    own = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": ["ecr:CreateRepository"]}
    statement = {"Sid": "own", **own, "Resource": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/*"}
    ecr.put_registry_policy(policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    ecr.put_replication_configuration(
        replicationConfiguration={"rules": [{"destinations": [{"region": "eu-west-3", "registryId": ACCOUNT}]}]}
    )


@pytest.mark.parametrize("what", READING)
def test_both_read_the_same(pair: Both, what: str) -> None:
    theirs, ours = READING[what]
    assert pair.same(shlex.split(theirs), shlex.split(ours))


def test_queries_over_images_give_the_same(pair: Both) -> None:
    query = f"[{', '.join(QUERIES)}]"
    found = pair.same((*shlex.split(IMAGES), "--query", query), ("image", "ls", APP, *AS_LISTED, "--query", query))
    assert [query for query, one in zip(QUERIES, found, strict=True) if not one] == ["nothing.of.the.kind"]


@pytest.mark.parametrize("query", AS_LINES)
def test_a_query_over_images_gives_the_same_lines(pair: Both, query: str) -> None:
    theirs = (*shlex.split(IMAGES), "--query", query, "--output", "text")
    expected, found = pair.printed(theirs, ("image", "ls", APP, *AS_LISTED, "--query", query, "--tsv"))
    assert found == expected


@pytest.mark.parametrize("query", OF_REPOSITORIES)
def test_a_query_over_repositories_gives_the_same(pair: Both, query: str) -> None:
    pair.same(("ecr", "describe-repositories", "--query", query), ("repo", "ls", "--query", query))


def test_a_query_over_one_page_of_repositories_gives_the_same_lines(pair: Both) -> None:
    query = ("--region", ELSEWHERE, "--query", f"repositories[].{{{', '.join(f'{one}: {one}' for one in MEMBERS)}}}")
    theirs = ("ecr", "describe-repositories", *query, "--output", "text")
    expected, found = pair.printed(theirs, ("repo", "ls", *query, "--tsv"))
    assert found == expected


def test_what_an_image_is_made_of_is_what_its_manifest_says(pair: Both) -> None:
    get = ("ecr", "batch-get-image", "--repository-name", APP, "--query", "images[0].imageManifest")
    for tag, member, query in (
        ("latest", "layers", "imageDetails[0].layers[].[digest, mediaType, size]"),
        ("multi", "manifests", "imageDetails[0].platforms[].[digest, mediaType, size]"),
    ):
        manifest = json.loads(pair.asked((*get, "--image-ids", f"imageTag={tag}")))
        shown = pair.told(("image", "show", f"{APP}:{tag}", "--query", query))
        assert shown == [[one["digest"], one["mediaType"], one["size"]] for one in manifest[member]]


def test_a_policy_is_the_document_that_the_aws_cli_has_as_text(pair: Both) -> None:
    text = pair.asked(("ecr", "get-repository-policy", "--repository-name", SETTINGS, "--query", "policyText"))
    assert json.loads(pair.ours("repo", "policy", SETTINGS)) == json.loads(text)
    assert pair.told(("repo", "show", SETTINGS, "--query", "repository.policy")) == json.loads(text)
    text = pair.asked(("ecr", "get-registry-policy", "--query", "policyText"))
    assert pair.told(("registry", "show", "--query", "policy")) == json.loads(text)


def test_what_is_counted_is_what_the_aws_cli_counts(pair: Both) -> None:
    query = (
        "{imageCount: length(imageDetails), taggedImageCount: length(imageDetails[?imageTags]),"
        " tagCount: length(imageDetails[].imageTags[]), sizeInBytes: sum(imageDetails[].imageSizeInBytes),"
        " lastPushedAt: max(imageDetails[].imagePushedAt)}"
    )
    listed = {one["repositoryName"]: one for one in pair.told(("repo", "ls", "--count", "--json"))["repositories"]}
    shown = pair.told(("repo", "show", APP, "--json"))["repository"]
    for name, found in ((APP, shown), (APP, listed[APP]), (SETTINGS, listed[SETTINGS])):
        counted = pair.asked(("ecr", "describe-images", "--repository-name", name, "--query", query))
        assert not list(differences(counted, {member: found[member] for member in counted}))


def test_a_difference_is_found_wherever_it_is() -> None:
    document = {"list": [{"text": "a", "count": 1}], "at": "2026-11-21T15:27:53.057000+00:00"}
    alike = {"list": [{"text": "a", "count": 1}], "at": "2026-11-21T16:27:53.057000+01:00"}
    assert not list(differences(document, alike))
    for different in (
        {**document, "more": None},
        {"list": document["list"]},
        {**document, "list": []},
        {**document, "list": [{"text": "b", "count": 1}]},
        {**document, "list": [{"text": "a", "count": True}]},
        {**document, "at": "2026-11-21T15:27:53.058000+00:00"},
        {**document, "at": None},
    ):
        assert len(list(differences(document, different))) == 1
        assert len(list(differences(different, document))) == 1


def test_what_is_ours_has_to_be_everywhere() -> None:
    document = {"images": [{"region": 1, "layers": 2, "digest": 3}, {"region": 4, "platforms": 5, "digest": 6}]}
    take_out(document, "images[].region")
    take_out(document, "images[].layers|platforms")
    assert document == {"images": [{"digest": 3}, {"digest": 6}]}
    with pytest.raises(ValueError, match="not enough values"):
        take_out({"images": [{"region": 1}, {}]}, "images[].region")
