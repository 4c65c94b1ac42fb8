"""What a secret is to the local ECR: labels that move between versions, and which versions are forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.localecr.api.vault import CURRENT, PREVIOUS, Secret, Version, is_arn, new_arn
from ecrdrag.localecr.names import RegistryKey

HERE = RegistryKey("1" * 12, "us-west-2")
EMPTY = Secret("arn", "name", created=1.0, changed=1.0)


def version(number: int, *stages: str) -> Version:
    return Version(str(number), float(number), stages or (CURRENT,), text=f"value {number}")


def labelled(secret: Secret) -> dict[str, set[str]]:
    return {one: set(stages) for one, stages in secret.stages.items()}


def test_the_first_version_is_current_whatever_its_labels() -> None:
    assert labelled(EMPTY.with_version(version(1, "MINE"))) == {"1": {CURRENT, "MINE"}}


def test_the_current_version_becomes_the_previous_one_and_the_one_before_has_no_label() -> None:
    secret = EMPTY.with_version(version(1)).with_version(version(2)).with_version(version(3))
    assert labelled(secret) == {"2": {PREVIOUS}, "3": {CURRENT}}
    assert secret.by_id("1") == version(1).without({CURRENT})


def test_a_version_without_the_label_of_the_current_one_leaves_that_where_it_is() -> None:
    secret = EMPTY.with_version(version(1)).with_version(version(2, "A")).with_version(version(3, "A", "B"))
    assert labelled(secret) == {"1": {CURRENT}, "3": {"A", "B"}}
    assert secret.at("A") == secret.by_id("3")


def test_labels_of_ones_own_stay_on_a_version_that_is_no_longer_current() -> None:
    secret = EMPTY.with_version(version(1, CURRENT, "MINE")).with_version(version(2))
    assert labelled(secret) == {"1": {PREVIOUS, "MINE"}, "2": {CURRENT}}


@given(st.lists(st.sets(st.sampled_from([CURRENT, PREVIOUS, "A", "B"]), min_size=1), min_size=1, max_size=12))
def test_a_label_is_on_one_version_and_one_version_is_current(history: list[set[str]]) -> None:
    secret = EMPTY
    for number, stages in enumerate(history):
        secret = secret.with_version(version(number, *sorted(stages)))
    every = [stage for stages in secret.stages.values() for stage in stages]
    assert len(every) == len(set(every))
    assert CURRENT in every


def test_of_many_versions_the_oldest_without_a_label_are_forgotten() -> None:
    secret = EMPTY.with_version(version(0, CURRENT, "KEPT"))
    for number in range(1, 150):
        secret = secret.with_version(version(number))
    assert len(secret.versions) == 100
    assert [one.id for one in secret.versions] == ["0", *(str(number) for number in range(51, 150))]


def test_values_are_in_no_repr() -> None:
    secret = EMPTY.with_version(Version("1", 1.0, (CURRENT,), text="s3cret"))
    secret = secret.with_version(Version("2", 1.0, (CURRENT,), binary="s3cret"))
    assert "s3cret" not in repr(secret)


def test_an_arn_has_the_name_six_letters_and_the_partition_of_its_region() -> None:
    arns = {new_arn(HERE, "a/b") for _ in range(20)}
    assert len(arns) == 20
    for arn in arns:
        assert arn[:-6] == f"arn:aws:secretsmanager:us-west-2:{HERE.account}:secret:a/b-"
        assert is_arn(arn)
    assert new_arn(RegistryKey("1" * 12, "cn-north-1"), "a").startswith("arn:aws-cn:secretsmanager:cn-north-1:")
    assert not is_arn("a/b-abcdef")
