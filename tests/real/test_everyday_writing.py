"""What the everyday commands change is what the aws CLI changes: on twins, what is said and what is left are equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mypy_boto3_ecr import ECRClient

from tests.kinds import Parcel, buildx_index, greeter, helm_chart, put
from tests.localecr import ACCOUNT, REGION
from tests.real.everyday import Both, both, differences, held, put_file, renamed
from tests.real.local import Local, open_local

pytestmark = pytest.mark.real

ONE_NAME = {
    r"\bof-(aws|ours)\b": "of-both",
    r"(secret:ecr-pullthroughcache/of-both)-\w{6}": r"\1",  # what Secrets Manager adds by chance
}
SECONDS = 60  # between the twins
HUB = "registry-1.docker.io"
FIRST, SECOND = greeter("amd64", "one\n"), greeter("amd64", "two\n")
INDEX = buildx_index()
CHILD = INDEX.documents[0].digest
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage"]}],
}
EXPIRING = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
            "action": {"type": "expire"},
        }
    ]
}
Stock = Sequence[tuple[Parcel, Sequence[str]]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A registry upstream, which lets in who has its password."""
    folder = tmp_path_factory.mktemp("hub")
    with open_local(folder, "--data", str(folder / "data")) as local:
        yield local


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, hub: Local) -> Iterator[Both]:
    with both(tmp_path_factory.mktemp("everyday"), "--upstream", f"{HUB}=http://{hub.host}") as pair:
        yield pair


@pytest.fixture
def ecr(pair: Both) -> ECRClient:
    return pair.local.ecr


class Twins:
    """Two repositories with the same in them, one for the aws CLI, one for ours."""

    def __init__(self, ecr: ECRClient, name: str, stock: Stock | None = ()) -> None:
        """Make both, unless there is no stock."""
        self._ecr = ecr
        self.theirs, self.ours = (f"{name}/of-{one}" for one in ("aws", "ours"))
        for repository in (self.theirs, self.ours) if stock is not None else ():
            ecr.create_repository(repositoryName=repository)
            for parcel, tags in stock or ():
                put(ecr, repository, parcel, *tags)

    def check(self) -> Any:
        """Hold what is left of them to be equal, and give it."""
        theirs, ours = (state_of(self._ecr, repository) for repository in (self.theirs, self.ours))
        wrong = list(differences(renamed(theirs, ONE_NAME), renamed(ours, ONE_NAME), SECONDS))
        assert not wrong, "\n".join(wrong)
        return theirs

    def gone(self) -> bool:
        return not any(state_of(self._ecr, repository) for repository in (self.theirs, self.ours))


def state_of(ecr: ECRClient, name: str) -> Any:
    """Describe all of a repository, nothing if it isn't there."""
    try:
        (repository,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    except ecr.exceptions.RepositoryNotFoundException:
        return {}
    arn = repository["repositoryArn"]
    found: dict[str, Any] = {
        "repository": repository,
        "images": ecr.describe_images(repositoryName=name, filter={"imageStatus": "ANY"})["imageDetails"],
        "tags": ecr.list_tags_for_resource(resourceArn=arn)["tags"],
    }
    with suppress(ecr.exceptions.RepositoryPolicyNotFoundException):
        found["policy"] = ecr.get_repository_policy(repositoryName=name)["policyText"]
    with suppress(ecr.exceptions.LifecyclePolicyNotFoundException):
        found["lifecycle"] = ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"]
    return json.loads(json.dumps(found, default=lambda time: time.isoformat()))


@pytest.fixture
def same(pair: Both) -> Callable[[Sequence[str], Sequence[str]], Any]:
    """Do something to both twins, and hold what is said to be equal."""
    return lambda theirs, ours: pair.same(theirs, ours, names=ONE_NAME, within=SECONDS)


Same = Callable[[Sequence[str], Sequence[str]], Any]


def named(twins: Twins) -> tuple[str, str]:
    return "--repository-name", twins.theirs


def ids(*texts: str) -> list[str]:
    return ["--image-ids", *(f"imageDigest={each}" if ":" in each else f"imageTag={each}" for each in texts)]


def references(repository: str, *texts: str) -> list[str]:
    return [f"{repository}@{each}" if ":" in each else f"{repository}:{each}" for each in texts]


def test_a_repository_is_created(ecr: ECRClient, same: Same) -> None:
    twins = Twins(ecr, "plain", None)
    same(("ecr", "create-repository", *named(twins)), ("repo", "create", twins.ours, "--json"))
    twins.check()


def test_a_repository_is_created_with_settings_and_policies(
    pair: Both, ecr: ECRClient, same: Same, tmp_path: Path
) -> None:
    twins = Twins(ecr, "settings", None)
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/its-key"
    access, expiry = put_file(tmp_path, "access", POLICY), put_file(tmp_path, "expiry", EXPIRING)
    theirs = ("--image-tag-mutability", "IMMUTABLE", "--image-scanning-configuration", "scanOnPush=true")
    more = (
        "--encryption-configuration",
        f"encryptionType=KMS,kmsKey={key}",
        "--tags",
        "Key=team,Value=a",
        "Key=b,Value=",
    )
    ours = ("--immutable", "--scan-on-push", "--kms-key", key, "--tag", "team=a", "--tag", "b=")
    policies = ("--policy", str(access), "--lifecycle", str(expiry))
    same(
        ("ecr", "create-repository", *named(twins), *theirs, *more),
        ("repo", "create", twins.ours, *ours, *policies, "--json"),
    )
    pair.asked(("ecr", "set-repository-policy", *named(twins), "--policy-text", f"file://{access}"))
    pair.asked(("ecr", "put-lifecycle-policy", *named(twins), "--lifecycle-policy-text", f"file://{expiry}"))
    assert {"policy", "lifecycle"} <= twins.check().keys()


def test_a_repository_is_deleted_with_its_images_by_force_alone(pair: Both, ecr: ECRClient, same: Same) -> None:
    twins = Twins(ecr, "full", [(FIRST, ["1"])])
    theirs, ours = ("ecr", "delete-repository", *named(twins)), ("repo", "delete", twins.ours, "--yes", "--json")
    assert "(RepositoryNotEmptyException)" in pair.aws.refusal(*theirs)
    assert "is not empty: 1 image " in pair.ours.refusal(*ours)
    assert twins.check()["images"]
    same((*theirs, "--force"), (*ours, "--force"))
    assert twins.gone()


def test_an_empty_repository_is_deleted(ecr: ECRClient, same: Same) -> None:
    twins = Twins(ecr, "empty")
    same(("ecr", "delete-repository", *named(twins)), ("repo", "delete", twins.ours, "--yes", "--json"))
    assert twins.gone()


@pytest.mark.parametrize(
    ("command", "put_words", "get", "delete", "policy"),
    [
        (
            "policy",
            ("set-repository-policy", "--policy-text"),
            "get-repository-policy",
            "delete-repository-policy",
            POLICY,
        ),
        (
            "lifecycle",
            ("put-lifecycle-policy", "--lifecycle-policy-text"),
            "get-lifecycle-policy",
            "delete-lifecycle-policy",
            EXPIRING,
        ),
    ],
)
def test_a_policy_is_set_read_and_removed(
    ecr: ECRClient,
    same: Same,
    tmp_path: Path,
    command: str,
    put_words: tuple[str, str],
    get: str,
    delete: str,
    policy: object,
) -> None:
    twins, file = Twins(ecr, command), put_file(tmp_path, "policy.json", policy)
    ours = ("repo", command, twins.ours, "--json")
    put_it, text = put_words
    same(("ecr", put_it, *named(twins), text, f"file://{file}"), (*ours, "--set", str(file)))
    assert command in twins.check()
    same(("ecr", get, *named(twins)), ours)
    same(("ecr", delete, *named(twins)), (*ours, "--remove", "--yes"))
    assert command not in twins.check()


def test_a_lifecycle_policy_is_previewed(pair: Both, ecr: ECRClient, tmp_path: Path) -> None:
    twins, file = Twins(ecr, "preview", [(FIRST, ["1", "old"]), (SECOND, ["2"])]), put_file(tmp_path, "life", EXPIRING)
    pair.asked(("ecr", "start-lifecycle-policy-preview", *named(twins), "--lifecycle-policy-text", f"file://{file}"))
    pair.aws("ecr", "wait", "lifecycle-policy-preview-complete", *named(twins))
    expected = pair.asked(("ecr", "get-lifecycle-policy-preview", *named(twins)))
    ours = ("repo", "lifecycle", twins.ours, "--preview", str(file), "--json")
    held(expected, pair.told(ours), ours, names=ONE_NAME, within=SECONDS)
    assert [one["imageTags"] for one in expected["previewResults"]] == [["1", "old"]]
    assert "lifecycle" not in twins.check()


def test_an_image_gets_a_tag(pair: Both, ecr: ECRClient, same: Same) -> None:
    twins = Twins(ecr, "tagged", [(FIRST, ["1"]), (SECOND, ["2", "stable"])])
    get = ("ecr", "batch-get-image", *named(twins), *ids("1"), "--query", "images[0].imageManifest")
    manifest = pair.aws(*get, "--output", "text").removesuffix("\n")
    for tag in ("new", "stable"):
        theirs = ("ecr", "put-image", *named(twins), "--image-tag", tag, "--image-manifest", manifest)
        same(theirs, ("image", "tag", f"{twins.ours}:1", tag, "--yes", "--json"))
    tags = {one["imageDigest"]: one["imageTags"] for one in twins.check()["images"]}
    assert tags == {str(FIRST.digest): ["1", "new", "stable"], str(SECOND.digest): ["2"]}


def test_images_are_deleted_and_what_stays_is_told(pair: Both, ecr: ECRClient) -> None:
    stock = [(FIRST, ["1", "latest"]), (SECOND, ["2", "second"]), (helm_chart(), ["chart"]), (INDEX, ["multi"])]
    twins = Twins(ecr, "deleted", stock)
    wanted = ("1", str(SECOND.digest), "chart", "nothing", str(CHILD), f"sha256:{'0' * 64}")
    expected = pair.asked(("ecr", "batch-delete-image", *named(twins), *ids(*wanted)))
    ours = ("image", "rm", *references(twins.ours, *wanted), "--yes", "--json")
    found = pair.failing(ours)
    held(in_any_order(expected), in_any_order(found), ours, names=ONE_NAME)
    codes = sorted(one["failureCode"] for one in expected["failures"])
    assert codes == ["ImageNotFound", "ImageNotFound", "ImageReferencedByManifestList"]
    tags = [one["imageTags"] for one in twins.check()["images"] if "imageTags" in one]
    assert sorted(tags) == [["latest"], ["multi"]]


def test_an_index_and_its_images_are_deleted(ecr: ECRClient, same: Same) -> None:
    twins = Twins(ecr, "index", [(INDEX, ["multi"])])
    same(
        ("ecr", "batch-delete-image", *named(twins), *ids("multi")),
        ("image", "rm", f"{twins.ours}:multi", "--yes", "--json"),
    )
    digests = [one["imageDigest"] for one in twins.check()["images"]]
    assert len(digests) == len(INDEX.documents) - 1
    same(
        ("ecr", "batch-delete-image", *named(twins), *ids(*digests)),
        ("image", "rm", *references(twins.ours, *digests), "--yes", "--json"),
    )
    assert not twins.check()["images"]


def test_what_has_no_tag_is_deleted(pair: Both, ecr: ECRClient) -> None:
    twins = Twins(ecr, "untagged", [(FIRST, []), (SECOND, []), (helm_chart(), ["chart"])])
    untagged = ("ecr", "list-images", *named(twins), "--filter", "tagStatus=UNTAGGED", "--query", "imageIds[*]")
    theirs = ("ecr", "batch-delete-image", *named(twins), "--image-ids", pair.aws(*untagged, "--output", "json"))
    ours = ("image", "rm", twins.ours, "--untagged", "--yes", "--json")
    expected, found = (in_any_order(json.loads(one)) for one in pair.printed(theirs, ours))
    held(expected, found, ours, names=ONE_NAME)
    assert [one["imageTags"] for one in twins.check()["images"]] == [["chart"]]


def in_any_order(answer: Any) -> Any:
    """Sort the lists of an answer, of which the API promises no order."""
    return {name: sorted(found, key=json.dumps) if name != "kept" else found for name, found in answer.items()}


def test_a_secret_is_stored_and_a_rule_made_with_it(pair: Both, tmp_path: Path) -> None:
    secret = {"username": "me", "accessToken": "t0ken"}
    stored = ("secretsmanager", "create-secret", "--name", "ecr-pullthroughcache/of-aws")
    arn = pair.asked((*stored, "--secret-string", f"file://{put_file(tmp_path, 'secret', secret)}"))["ARN"]
    expected = pair.asked(created("of-aws", arn))
    ours = ("cache-rule", "create", "of-ours", "--upstream", "docker-hub", "-u", "me", "--password-stdin", "--json")
    found = pair.told(ours, stdin=put_file(tmp_path, "token", "t0ken\n"))
    held(expected, found, ours, names=ONE_NAME, within=SECONDS)
    get = ("secretsmanager", "get-secret-value", "--secret-id", "ecr-pullthroughcache/of-ours")
    kept = pair.asked(get)
    assert (json.loads(kept["SecretString"]), kept["VersionStages"]) == (secret, ["AWSCURRENT"])
    assert found["credentialArn"] == kept["ARN"]


def test_a_rule_is_made_with_a_secret_of_the_aws_cli(pair: Both, same: Same, hub: Local, tmp_path: Path) -> None:
    secret = {"username": "AWS", "accessToken": hub.login.read_text().strip()}
    stored = ("secretsmanager", "create-secret", "--name", "ecr-pullthroughcache/given")
    arn = pair.asked((*stored, "--secret-string", f"file://{put_file(tmp_path, 'secret', secret)}"))["ARN"]
    ours = ("cache-rule", "create", "given/of-ours", "--upstream", "docker-hub", "--secret-arn", arn, "--json")
    same(created("given/of-aws", arn), ours)
    valid = same(validated("given/of-aws"), ("cache-rule", "validate", "given/of-ours", "--json"))
    assert valid["isValid"] is True


def test_a_rule_that_is_not_valid_says_the_same_of_itself(pair: Both, tmp_path: Path) -> None:
    secret = {"username": "AWS", "accessToken": "wrong"}
    stored = ("secretsmanager", "create-secret", "--name", "ecr-pullthroughcache/wrong")
    arn = pair.asked((*stored, "--secret-string", f"file://{put_file(tmp_path, 'secret', secret)}"))["ARN"]
    pair.asked(created("wrong", arn))
    expected = pair.asked(validated("wrong"))
    assert expected["isValid"] is False
    ours = ("cache-rule", "validate", "wrong", "--json")
    held(expected, pair.failing(ours), ours)


def test_rules_are_deleted(pair: Both, ecr: ECRClient, same: Same) -> None:
    for name in ("gone/of-aws", "gone/of-ours"):
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix=name, upstreamRegistryUrl="quay.io")
    theirs = ("ecr", "delete-pull-through-cache-rule", "--ecr-repository-prefix", "gone/of-aws")
    same(theirs, ("cache-rule", "delete", "gone/of-ours", "--yes", "--json"))
    left = [rule["ecrRepositoryPrefix"] for rule in ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]]
    assert not [name for name in left if name.startswith("gone/")]
    missing = "(PullThroughCacheRuleNotFoundException)"
    assert missing in pair.aws.refusal(*theirs)
    assert missing in pair.ours.refusal("cache-rule", "delete", "gone/of-ours", "--yes")


def created(prefix: str, arn: str) -> Sequence[str]:
    words = (
        "ecr",
        "create-pull-through-cache-rule",
        "--ecr-repository-prefix",
        prefix,
        "--upstream-registry",
        "docker-hub",
    )
    return (*words, "--upstream-registry-url", HUB, "--credential-arn", arn)


def validated(prefix: str) -> Sequence[str]:
    return ("ecr", "validate-pull-through-cache-rule", "--ecr-repository-prefix", prefix)
