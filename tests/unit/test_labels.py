"""By what an image is found that an archive calls somehow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.labels import home_of, labels_of
from ecrdrag.naming import MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH, REPOSITORY, TAG

HEX = "c0ffee00" * 8


def found(name: str) -> list[str]:
    return [str(label) for label in labels_of(name, "home")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app:1.2", ["my/app:1.2"]),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/app:1.2", ["app:1.2"]),
        ("localhost/app:1", ["app:1"]),
        ("localhost:5000/my/app", ["my/app:latest"]),
        ("registry:5000/app:1", ["app:1"]),
        ("[::1]:5000/app:1", ["app:1"]),
        ("Registry/app:1", ["app:1"]),
        ("quay.io/a/b/c:1", ["a/b/c:1"]),
        ("my/app:1", ["my/app:1"]),
        ("docker.io/my/app:1", ["my/app:1"]),
        ("index.docker.io/my/app", ["my/app:latest"]),
        ("alpine:3", ["alpine:3", "library/alpine:3"]),
        ("docker.io/alpine:3", ["alpine:3", "library/alpine:3"]),
        ("docker.io/library/alpine", ["alpine:latest", "library/alpine:latest"]),
        ("library/alpine:3", ["alpine:3", "library/alpine:3"]),
        ("quay.io/library/alpine:3", ["library/alpine:3"]),
        ("x:1", ["library/x:1"]),
        ("1.2", ["home:1.2"]),
        ("latest", ["home:latest"]),
        (f"quay.io/my/app@sha256:{HEX}", ["my/app"]),
        (f"quay.io/my/app:1@sha256:{HEX}", ["my/app:1"]),
        (f"registry:5000/app@sha256:{HEX}", ["app"]),
        (f"tool@sha256:{HEX}", ["tool", "library/tool"]),
    ],
)
def test_the_host_of_a_name_is_left_out(name: str, expected: list[str]) -> None:
    assert found(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("", ":", "/", ":1", "/app:1", "quay.io/", "quay.io/:1", "quay.io/x:1", "My/App:1", "my/app:", "my//app:1"),
        *("../etc:1", "my/../app:1", "my/app:../1", "my/app:a/b:c", "-", ".1", "my/app:1 2", "my/äpp:1", "@", "a b"),
        *(f"my/app:{'1' * (MAX_TAG_LENGTH + 1)}", f"{'a' * (MAX_REPOSITORY_LENGTH + 1)}:1", "1" * 129, "my/app:1\n"),
    ],
)
def test_what_no_registry_can_have_is_no_label(name: str) -> None:
    assert found(name) == []


@given(st.text(st.sampled_from("aZ1.:/@-_ \n\0é"), max_size=12))
def test_every_label_can_be_asked_for(name: str) -> None:
    for label in labels_of(name, "home"):
        assert REPOSITORY.fullmatch(label.repository)
        assert label.tag is None or TAG.fullmatch(label.tag)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("app.tar", "app"),
        ("/carried/in/My App_1.2.tar.gz", "my-app_1.2"),
        ("app-1.2.TAR.ZST", "app-1.2"),
        ("folder/", "folder"),
        ("stdin", "stdin"),
        ("a.tgz", "archive-a"),
        (".tar", "archive"),
        ("日本.tar", "archive"),
        ("..app__x.tar", "app-x"),
        (f"{'a' * 99}-b.tar", "a" * 99),
    ],
)
def test_a_repository_is_called_as_the_file(where: str, expected: str) -> None:
    assert home_of(where) == expected


@given(st.text(min_size=1, max_size=300))
def test_every_file_gives_a_name_that_a_repository_can_have(where: str) -> None:
    name = home_of(where)
    assert REPOSITORY.fullmatch(name)
    assert 2 <= len(name) <= MAX_REPOSITORY_LENGTH
