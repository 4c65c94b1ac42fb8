"""The stories of pull-through cache rules, and of their secrets, against a local ECR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.control.cache_rules import (
    ROOT,
    NewRule,
    Rule,
    check_possible,
    create,
    delete,
    example_of,
    prefix_of,
    repositories_below,
    rule,
    rules,
    validate,
)
from ecrdrag.control.rule_secrets import Place, check_secret_arn, keep, place_for, secret_name_of
from ecrdrag.control.upstreams import Upstream
from ecrdrag.errors import AuthError, ConflictError, EcrdragError, NotFoundError, TransferError, UsageError
from ecrdrag.registry.auth import Login
from tests.flow.ruled import HOST, NAME, OTHER, TOKEN, Ruled, ruled
from tests.localecr import ACCOUNT, REGION
from tests.planes import at_once, plane
from tests.refusing import denying, missing, throttling

THEIRS = f"{OTHER}.dkr.ecr.us-west-2.amazonaws.com"
OURS = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service/cache"
HUB = Upstream.parse("docker-hub")
QUAY = Upstream.parse("quay")
LOGIN = Login("me", TOKEN)
ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{NAME}-AbCdEf"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Ruled]:
    with ruled(tmp_path / "ecr") as there:
        yield there


def stored(there: Ruled, name: str = NAME, login: Login = LOGIN) -> str:
    place = place_for(there.plane, there.secrets, name)
    return keep(there.plane, there.secrets, place, login, description="for a test")


def test_a_rule_is_listed_and_shown_as_it_was_created(there: Ruled) -> None:
    arn = stored(there)
    made = create(there.plane, NewRule("hub", HUB, "library", arn))
    assert "ResponseMetadata" not in made.answer
    (listed,) = rules(there.plane)
    assert listed == rule(there.plane, "hub")
    assert (listed.prefix, listed.upstream, listed.upstream_prefix) == ("hub", HUB, "library")
    assert (listed.source, listed.credential) == ("registry-1.docker.io/library", "secret hub")
    assert listed.secret == NAME
    assert listed.updated == made.updated == listed.answer["createdAt"]
    assert listed.document == {**listed.answer, "region": REGION}


def test_a_role_and_no_credential_are_said_in_a_word(there: Ruled) -> None:
    create(there.plane, NewRule("theirs", Upstream.parse(THEIRS), role_arn=ROLE))
    create(there.plane, NewRule("quay", QUAY))
    assert [(one.prefix, one.credential) for one in rules(there.plane)] == [
        ("quay", ""),
        ("theirs", "role service/cache"),
    ]


def test_rules_come_in_as_many_pages_as_there_are(there: Ruled) -> None:
    names = [f"cache-{number}" for number in range(5)]
    for name in names:
        create(there.plane, NewRule(name, QUAY))
    assert [one.prefix for one in rules(there.plane)] == names


def test_a_rule_that_is_not_there_says_where_to_look(there: Ruled) -> None:
    for ask in (rule, validate, delete):
        with pytest.raises(NotFoundError) as caught:
            ask(there.plane, "gone")
        assert "cache-rule ls" in caught.value.hint


def test_a_validation_knows_the_failure(there: Ruled) -> None:
    create(there.plane, NewRule("quay", QUAY))
    assert validate(there.plane, "quay").failure == ""
    there.upstream.failure = TransferError("gone")
    assert validate(there.plane, "quay").failure == "gone"
    assert Rule({"isValid": False}, REGION).failure == "no reason given"


def test_a_deleted_rule_leaves_what_came_of_it(there: Ruled) -> None:
    arn = stored(there)
    create(there.plane, NewRule("hub", HUB, secret_arn=arn))
    for name in ("hub/library/nginx", "hub/me/app", "hubble/app", "other"):
        there.api.create_repository(repositoryName=name)
    assert sorted(repositories_below(there.plane, "hub")) == ["hub/library/nginx", "hub/me/app"]
    assert repositories_below(there.plane, ROOT) == []
    assert delete(there.plane, "hub").prefix == "hub"
    assert there.prefixes() == []
    assert there.login_in(arn) == {"username": "me", "accessToken": TOKEN}


@pytest.mark.parametrize(
    ("new", "here", "upstream"),
    [
        (NewRule("hub", HUB), "hub/library/nginx:TAG", "registry-1.docker.io/library/nginx:TAG"),
        (NewRule("hub", HUB, "library"), "hub/nginx:TAG", "registry-1.docker.io/library/nginx:TAG"),
        (NewRule("hub", HUB, "me"), "hub/NAME:TAG", "registry-1.docker.io/me/NAME:TAG"),
        (NewRule(ROOT, QUAY), "prometheus/prometheus:TAG", "quay.io/prometheus/prometheus:TAG"),
        (NewRule("ours", Upstream.parse(OURS)), "ours/NAME:TAG", f"{OURS}/NAME:TAG"),
    ],
    ids=lambda one: one.prefix if isinstance(one, NewRule) else one,
)
def test_an_example_says_how_names_come_together(there: Ruled, new: NewRule, here: str, upstream: str) -> None:
    arn = stored(there) if new.upstream == HUB else None
    made = create(there.plane, new.with_secret(arn) if arn else new)
    assert example_of(there.plane, made) == (f"{HOST}/{here}", upstream)


@pytest.mark.parametrize(
    ("new", "has_login", "words"),
    [
        (NewRule("hub", HUB), False, "--username"),
        (NewRule("quay", QUAY), True, "without a credential"),
        (NewRule(ROOT, QUAY, "me"), False, "--upstream-prefix"),
        (NewRule("ours", Upstream.parse(OURS)), True, "by a role"),
        (NewRule("ours", Upstream.parse(OURS), secret_arn=ARN), False, "by a role"),
        (NewRule("quay", QUAY, role_arn=ROLE), False, "role"),
        (NewRule("hub", HUB, secret_arn=ARN, role_arn=ROLE), False, "role"),
    ],
)
def test_what_ecr_would_refuse_is_refused_before_a_secret_is_kept(new: NewRule, has_login: bool, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        new.check(has_login=has_login)
    assert words in f"{caught.value} {caught.value.hint}"


def test_what_ecr_may_take_is_left_to_it() -> None:
    NewRule("quay", QUAY, secret_arn=ARN).check(has_login=False)
    NewRule("hub", HUB).check(has_login=True)
    NewRule("theirs", Upstream.parse(THEIRS), role_arn=ROLE).check(has_login=False)
    NewRule("new", Upstream.parse("new.example.com"), secret_arn=ARN, role_arn=ROLE).check(has_login=False)
    NewRule("new", Upstream.parse("new.example.com")).check(has_login=True)


@pytest.mark.parametrize("text", ["", "h", "h" * 31, "Hub", "hub//x", "/hub", "hub:1", "a b", "ROOT/x"])
def test_what_can_be_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="prefix"):
        prefix_of(text)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("docker.io", "docker.io"), ("hub/", "hub"), ("a/b", "a/b"), ("h" * 30, "h" * 30), (ROOT, ROOT), ("root", "root")],
)
def test_a_prefix_is_read_with_its_slash_or_without(text: str, prefix: str) -> None:
    assert prefix_of(text) == prefix


def test_a_rule_that_is_there_is_said_before_anything_is_done(there: Ruled) -> None:
    create(there.plane, NewRule("quay", QUAY))
    with pytest.raises(ConflictError, match=r"quay in us-west-2: .* Quay \(quay.io\)") as caught:
        check_possible(there.plane, NewRule("quay", HUB))
    assert f"`ecrdrag cache-rule delete quay --region {REGION}`" in caught.value.hint
    check_possible(there.plane, NewRule("free", HUB))
    denying(there.recorder, "DescribePullThroughCacheRules")
    check_possible(there.plane, NewRule("quay", HUB))


def test_another_accounts_registry_wants_a_role_as_far_as_accounts_are_known(there: Ruled) -> None:
    with pytest.raises(UsageError, match="role"):
        check_possible(there.plane, NewRule("theirs", Upstream.parse(THEIRS)))
    check_possible(there.plane, NewRule("theirs", Upstream.parse(THEIRS), role_arn=ROLE))
    check_possible(there.plane, NewRule("ours", Upstream.parse(OURS)))
    denying(there.recorder, "DescribeRegistry")
    check_possible(there.plane, NewRule("theirs", Upstream.parse(THEIRS)))


def test_a_login_is_kept_and_replaced_under_one_arn(there: Ruled) -> None:
    arn = stored(there)
    assert arn.startswith(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{NAME}-")
    assert there.login_in(NAME) == {"username": "me", "accessToken": TOKEN}
    assert there.vault.describe_secret(SecretId=NAME)["Description"] == "for a test"
    found = place_for(there.plane, there.secrets, NAME).there
    assert found is not None
    assert (found.arn, found.name) == (arn, NAME)
    assert stored(there, login=Login("you", "another")) == arn
    assert there.login_in(NAME) == {"username": "you", "accessToken": "another"}


def test_who_may_not_look_for_a_secret_may_create_one(there: Ruled) -> None:
    denying(there.recorder, "DescribeSecret")
    assert place_for(there.plane, there.secrets, NAME) == Place(NAME)
    stored(there)
    with pytest.raises(ConflictError) as caught:
        stored(there)
    assert "--secret-arn" in caught.value.hint
    assert there.login_in(NAME) == {"username": "me", "accessToken": TOKEN}


def test_a_missing_permission_names_the_action_and_no_secret(there: Ruled) -> None:
    denying(there.recorder, "CreateSecret")
    with pytest.raises(AuthError) as caught:
        stored(there)
    assert str(caught.value).startswith(f"{NAME} in {REGION}: CreateSecret was refused: ")
    assert "secretsmanager:CreateSecret" in caught.value.hint
    assert TOKEN not in str(caught.value)


def test_a_secret_that_is_to_be_deleted_is_no_place(there: Ruled) -> None:
    stored(there)
    there.vault.delete_secret(SecretId=NAME)
    with pytest.raises(ConflictError, match="to be deleted") as caught:
        place_for(there.plane, there.secrets, NAME)
    assert "restore-secret" in caught.value.hint


def test_a_secret_is_not_kept_for_the_rule_of_another_account(there: Ruled) -> None:
    with plane(there.ecr, account=OTHER) as theirs, pytest.raises(UsageError, match=f"{ACCOUNT}.*{OTHER}"):
        place_for(theirs, there.secrets, NAME)
    with plane(there.ecr, account=ACCOUNT) as ours:
        assert place_for(ours, there.secrets, NAME) == Place(NAME)


def test_throttling_is_waited_out_and_makes_one_secret(there: Ruled) -> None:
    throttling(there.recorder, "DescribeSecret", times=2)
    throttling(there.recorder, "CreateSecret", times=2)
    with plane(there.ecr, retry=at_once(3)) as patient:
        place = place_for(patient, there.secrets, NAME)
        arn = keep(patient, there.secrets, place, LOGIN, description="")
    assert [one["ARN"] for one in there.vault.list_secrets()["SecretList"]] == [arn]


def test_a_new_secret_that_ecr_sees_late_is_waited_for_and_no_other(there: Ruled) -> None:
    new = NewRule("hub", HUB, secret_arn=stored(there))
    missing(there.recorder, "CreatePullThroughCacheRule", "SecretNotFoundException", times=3)
    with plane(there.ecr, retry=at_once(3)) as patient:
        with pytest.raises(NotFoundError, match="SecretNotFoundException"):
            create(patient, new)
        assert create(patient, new, has_new_secret=True).prefix == "hub"


def test_a_secret_whose_answer_was_lost_is_asked_for_once_more_and_made_once(there: Ruled) -> None:
    request = "2" * 32
    made = [there.secrets.create(NAME, LOGIN, description="", request=request) for _ in range(2)]
    assert made[0] == made[1]
    with pytest.raises(ConflictError):
        there.secrets.create(NAME, LOGIN, description="", request="3" * 32)


@pytest.mark.parametrize(
    ("text", "name"), [("hub", NAME), (NAME, NAME), ("a/b+c=d@e.f-g_H", "ecr-pullthroughcache/a/b+c=d@e.f-g_H")]
)
def test_a_secret_has_its_name_where_ecr_may_read_it(text: str, name: str) -> None:
    assert secret_name_of(text) == name


@pytest.mark.parametrize("text", ["", "ecr-pullthroughcache/", "a b", "a:b", "é", "x" * 600])
def test_what_can_be_no_secrets_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="secret"):
        secret_name_of(text)


@pytest.mark.parametrize(
    ("arn", "words"),
    [
        ("hub", "is not the ARN"),
        (ARN.replace("secretsmanager", "ssm"), "is not the ARN"),
        (ARN.replace(ACCOUNT, "12"), "is not the ARN"),
        (ARN.replace("ecr-pullthroughcache/", "mine/"), "begin with ecr-pullthroughcache/"),
        (ARN.replace(REGION, "eu-west-1"), "eu-west-1"),
    ],
)
def test_a_secret_that_a_rule_cannot_have_is_refused(arn: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_secret_arn(arn, REGION)


def test_a_secret_that_a_rule_can_have_is_taken() -> None:
    check_secret_arn(ARN, REGION)
    check_secret_arn(ARN.replace("arn:aws:", "arn:aws-cn:").replace(REGION, "cn-north-1"), "cn-north-1")


def test_errors_of_the_api_are_ours(there: Ruled) -> None:
    with pytest.raises(EcrdragError) as caught:
        create(there.plane, NewRule("gone", HUB, secret_arn=ARN))
    assert (caught.value.exit_code, "region" in caught.value.hint) == (4, True)
