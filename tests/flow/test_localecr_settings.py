"""What the local ECR stores for a repository or for policies: policies, resource tags, tag mutability, encryption."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from tests.localecr import ACCOUNT, REGION, client, push_image

ARN = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/app"
OTHER = "999999999999"
STATEMENT: dict[str, object] = {
    "Sid": "allow public pull",
    "Effect": "Allow",
    "Principal": "*",
    "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
}
POLICY: dict[str, object] = {"Version": "2008-10-17", "Statement": [STATEMENT]}
# What set-repository-policy answers to that in the AWS CLI's examples.
PRINTED = (
    '{\n  "Version" : "2008-10-17",\n  "Statement" : [ {\n    "Sid" : "allow public pull",\n    "Effect" : "Allow",\n'
    '    "Principal" : "*",\n    "Action" : [ "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", '
    '"ecr:GetDownloadUrlForLayer" ]\n  } ]\n}'
)


def error_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Message"]


def test_a_repositorys_policy_is_given_back_as_aws_prints_it_until_it_is_deleted(api: ECRClient) -> None:
    expected = {"registryId": ACCOUNT, "repositoryName": "app", "policyText": PRINTED}
    stored = api.set_repository_policy(repositoryName="app", policyText=json.dumps(POLICY))
    assert stored.items() >= expected.items()
    assert api.get_repository_policy(repositoryName="app").items() >= expected.items()
    assert api.delete_repository_policy(repositoryName="app").items() >= expected.items()
    for gone in (api.get_repository_policy, api.delete_repository_policy):
        with pytest.raises(api.exceptions.RepositoryPolicyNotFoundException) as caught:
            gone(repositoryName="app")
        assert error_of(caught) == (
            f"Repository policy does not exist for the repository with name 'app' in the registry with id '{ACCOUNT}'"
        )


def test_the_registrys_policy_is_given_back_until_it_is_deleted(ecr: LocalEcr, api: ECRClient) -> None:
    expected = {"registryId": ACCOUNT, "policyText": PRINTED}
    assert api.put_registry_policy(policyText=json.dumps(POLICY)).items() >= expected.items()
    assert api.get_registry_policy().items() >= expected.items()
    with client(ecr, region="eu-west-1") as elsewhere, pytest.raises(api.exceptions.ClientError, match="NotFound"):
        elsewhere.get_registry_policy()
    assert api.delete_registry_policy().items() >= expected.items()
    for gone in (api.get_registry_policy, api.delete_registry_policy):
        with pytest.raises(api.exceptions.RegistryPolicyNotFoundException) as caught:
            gone()
        assert error_of(caught) == f"Registry policy does not exist in the registry with id '{ACCOUNT}'"


def test_a_policy_replaces_the_one_before_and_goes_with_its_repository(api: ECRClient) -> None:
    for effect in ("Allow", "Deny"):
        text = json.dumps({"Statement": {**STATEMENT, "Effect": effect}})
        api.set_repository_policy(repositoryName="app", policyText=text, force=True)
    assert '"Effect" : "Deny"' in api.get_repository_policy(repositoryName="app")["policyText"]
    api.delete_repository(repositoryName="app")
    api.create_repository(repositoryName="app")
    with pytest.raises(api.exceptions.RepositoryPolicyNotFoundException):
        api.get_repository_policy(repositoryName="app")


GOOD_POLICIES = [
    {"Statement": [STATEMENT]},
    {**POLICY, "Version": "2012-10-17", "Id": "mine"},
    {"Statement": STATEMENT},
    {"Statement": [{"Effect": "Deny", "NotPrincipal": {"AWS": ["1", "2"]}, "NotAction": "ecr:*", "Condition": {}}]},
]
NO_POLICIES: list[object] = [
    {"Version": "2008-10-17"},
    {**POLICY, "Version": "2020-01-01"},
    {**POLICY, "Version": [1]},
    {**POLICY, "Extra": 1},
    {"Statement": []},
    {"Statement": ["text"]},
    {"Statement": [{**STATEMENT, "Effect": "Maybe"}]},
    {"Statement": [{**STATEMENT, "Principals": "*"}]},
    {"Statement": [{**STATEMENT, "Principal": "me"}]},
    {"Statement": [{**STATEMENT, "Principal": {}}]},
    {"Statement": [{**STATEMENT, "Principal": {"AWS": 1}}]},
    {"Statement": [{**STATEMENT, "NotPrincipal": "*"}]},
    {"Statement": [{**STATEMENT, "Action": []}]},
    {"Statement": [{**STATEMENT, "Action": [1]}]},
    {"Statement": [{"Effect": "Allow", "Principal": "*"}]},
    {"Statement": [STATEMENT, {}]},
]
BAD_POLICIES = [
    "",
    "no JSON",
    "[]",
    '"text"',
    "{}",
    '{"Statement": NaN}',
    '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*", "Sid": 1e999}}',
    "[" * 5000,
    json.dumps({"Statement": {**STATEMENT, "Condition": {"NumericEquals": {"x": float("nan")}}}}),
    '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*", "Sid": "\\ud800"}]}',
    *map(json.dumps, NO_POLICIES),
]


@pytest.mark.parametrize("policy", GOOD_POLICIES)
def test_what_is_a_policy_is_taken_and_means_the_same_when_it_comes_back(
    api: ECRClient, policy: dict[str, object]
) -> None:
    text = json.dumps(policy)
    assert json.loads(api.set_repository_policy(repositoryName="app", policyText=text)["policyText"]) == policy
    assert json.loads(api.put_registry_policy(policyText=text)["policyText"]) == policy


@pytest.mark.parametrize("text", BAD_POLICIES, ids=lambda text: text[:60])
def test_what_is_no_policy_is_refused_in_ecrs_words(api: ECRClient, text: str) -> None:
    place = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid"
    with pytest.raises(api.exceptions.InvalidParameterException) as caught:
        api.set_repository_policy(repositoryName="app", policyText=text)
    assert error_of(caught) == f"{place} repository policy provided'"
    with pytest.raises(api.exceptions.InvalidParameterException) as caught:
        api.put_registry_policy(policyText=text)
    assert error_of(caught) == f"{place} registry policy provided'"
    with pytest.raises(api.exceptions.RegistryPolicyNotFoundException):
        api.get_registry_policy()


def test_resource_tags_are_added_changed_and_taken_away(api: ECRClient) -> None:
    api.create_repository(repositoryName="tagged", tags=[{"Key": "team", "Value": "red"}, {"Key": "old", "Value": ""}])
    arn = ARN.replace("app", "tagged")
    api.tag_resource(resourceArn=arn, tags=[{"Key": "team", "Value": "blue"}, {"Key": "cost", "Value": "7"}])
    api.untag_resource(resourceArn=arn, tagKeys=["old", "never"])
    tags = api.list_tags_for_resource(resourceArn=arn)["tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "blue", "cost": "7"}
    (described,) = api.describe_repositories(repositoryNames=["tagged"])["repositories"]
    assert described["imageTagMutability"] == "MUTABLE"
    assert api.list_tags_for_resource(resourceArn=ARN)["tags"] == []


def test_a_resource_has_at_most_fifty_tags_old_and_new_together(api: ECRClient) -> None:
    api.tag_resource(resourceArn=ARN, tags=[{"Key": str(number), "Value": ""} for number in range(50)])
    api.tag_resource(resourceArn=ARN, tags=[{"Key": "0", "Value": "changed"}])
    with pytest.raises(api.exceptions.TooManyTagsException):
        api.tag_resource(resourceArn=ARN, tags=[{"Key": "one more", "Value": ""}])
    assert len(api.list_tags_for_resource(resourceArn=ARN)["tags"]) == 50


@pytest.mark.parametrize(
    "pairs",
    [{"": ""}, {"k" * 129: ""}, {"k": "v" * 257}, {"aws:cloud": "x"}, {"AWS:cloud": "x"}, {"k": "aws:x"}],
    ids=lambda pairs: str(pairs)[:20],
)
def test_a_tag_that_a_resource_can_not_have_is_refused(api: ECRClient, pairs: dict[str, str]) -> None:
    tags = [{"Key": key, "Value": value} for key, value in pairs.items()]
    with pytest.raises(api.exceptions.InvalidTagParameterException):
        api.tag_resource(resourceArn=ARN, tags=tags)  # type: ignore[arg-type]
    with pytest.raises(api.exceptions.InvalidTagParameterException):
        api.create_repository(repositoryName="new", tags=tags)  # type: ignore[arg-type]
    longest = [{"Key": "k" * 128, "Value": "v" * 256}]
    api.tag_resource(resourceArn=ARN, tags=longest)  # type: ignore[arg-type]


def test_a_tag_key_comes_once_and_a_reserved_one_can_not_be_taken_away(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidTagParameterException, match="unique"):
        api.tag_resource(resourceArn=ARN, tags=[{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}])
    with pytest.raises(api.exceptions.InvalidTagParameterException, match="reserved"):
        api.untag_resource(resourceArn=ARN, tagKeys=["aws:cloud"])


@pytest.mark.parametrize(
    "arn",
    [
        "app",
        "",
        ARN.replace(":ecr:", ":s3:"),
        ARN.replace(":aws:", ":aws-cn:"),
        ARN.replace(REGION, "eu-west-1"),
        f"{ARN}\n",
        ARN.replace("repository", "registry"),
    ],
)
def test_what_is_no_arn_of_a_repository_here_is_refused(api: ECRClient, arn: str) -> None:
    with pytest.raises(ClientError) as caught:
        api.list_tags_for_resource(resourceArn=arn)
    assert error_of(caught) == "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'"


def test_tags_of_another_accounts_repository_are_its_own(api: ECRClient) -> None:
    elsewhere = ARN.replace(ACCOUNT, OTHER)
    with pytest.raises(api.exceptions.RepositoryNotFoundException, match=OTHER):
        api.tag_resource(resourceArn=elsewhere, tags=[])
    api.create_repository(repositoryName="app", registryId=OTHER)
    api.tag_resource(resourceArn=elsewhere, tags=[{"Key": "k", "Value": "v"}])
    assert api.list_tags_for_resource(resourceArn=ARN)["tags"] == []
    assert len(api.list_tags_for_resource(resourceArn=elsewhere)["tags"]) == 1


def test_mutability_and_its_filters_replace_what_was_set(api: ECRClient) -> None:
    api.tag_resource(resourceArn=ARN, tags=[{"Key": "k", "Value": "v"}])
    push_image(api, "app", tag="1")
    push_image(api, "app", tag="dev-1")
    changed = api.put_image_tag_mutability(
        repositoryName="app",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
    )
    assert changed["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert changed["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "dev-*"}]
    push_image(api, "app", tag="dev-1", layers=[b"other"])
    with pytest.raises(api.exceptions.ImageTagAlreadyExistsException):
        push_image(api, "app", tag="1", layers=[b"other"])

    api.put_image_tag_mutability(repositoryName="app", imageTagMutability="MUTABLE")
    push_image(api, "app", tag="1", layers=[b"other"])
    (described,) = api.describe_repositories(repositoryNames=["app"])["repositories"]
    assert described["imageTagMutability"] == "MUTABLE"
    assert "imageTagMutabilityExclusionFilters" not in described
    assert len(api.list_tags_for_resource(resourceArn=ARN)["tags"]) == 1


def test_mutability_with_exclusions_needs_filters_and_the_other_needs_none(api: ECRClient) -> None:
    place = "Invalid parameter at 'imageTagMutabilityExclusionFilters' failed to satisfy constraint: "
    with pytest.raises(ClientError) as caught:
        api.put_image_tag_mutability(repositoryName="app", imageTagMutability="MUTABLE_WITH_EXCLUSION")
    assert error_of(caught) == (
        f"{place}'ImageTagMutabilityExclusionFilters can't be null "
        "when imageTagMutability is set as MUTABLE_WITH_EXCLUSION'"
    )
    with pytest.raises(ClientError, match="ExclusionFilters must be null"):
        api.put_image_tag_mutability(
            repositoryName="app",
            imageTagMutability="IMMUTABLE",
            imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
        )
    with pytest.raises(api.exceptions.InvalidParameterException, match="regular expression"):
        api.put_image_tag_mutability(
            repositoryName="app",
            imageTagMutability="MUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev/*"}],
        )


def test_a_repository_under_kms_names_the_key_that_is_given_or_the_one_aws_manages(api: ECRClient) -> None:
    created = api.create_repository(repositoryName="own", encryptionConfiguration={"encryptionType": "KMS_DSSE"})
    assert created["repository"]["encryptionConfiguration"] == {
        "encryptionType": "KMS_DSSE",
        "kmsKey": f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/aws/ecr",
    }
    key = f"arn:aws:kms:{REGION}:{OTHER}:key/1234"
    created = api.create_repository(
        repositoryName="given", encryptionConfiguration={"encryptionType": "KMS", "kmsKey": key}
    )
    assert created["repository"]["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": key}


def test_a_key_that_can_not_be_used_is_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="kmsKey must be null"):
        api.create_repository(
            repositoryName="new", encryptionConfiguration={"encryptionType": "AES256", "kmsKey": "alias/ours"}
        )
    for key, kms_error in (
        (f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234", "NotFoundException"),
        (f"arn:aws:s3:::{ACCOUNT}", "InvalidArnException"),
    ):
        with pytest.raises(api.exceptions.KmsException) as caught:
            api.create_repository(
                repositoryName="new", encryptionConfiguration={"encryptionType": "KMS", "kmsKey": key}
            )
        assert caught.value.response.get("kmsError") == kms_error
    assert [one["repositoryName"] for one in api.describe_repositories()["repositories"]] == ["app"]


def test_a_repository_that_is_missing_has_no_settings(api: ECRClient) -> None:
    for call in (
        lambda: api.set_repository_policy(repositoryName="gone", policyText=json.dumps(POLICY)),
        lambda: api.get_repository_policy(repositoryName="gone"),
        lambda: api.delete_repository_policy(repositoryName="gone"),
        lambda: api.put_image_tag_mutability(repositoryName="gone", imageTagMutability="MUTABLE"),
        lambda: api.list_tags_for_resource(resourceArn=ARN.replace("app", "gone")),
    ):
        with pytest.raises(api.exceptions.RepositoryNotFoundException):
            call()
