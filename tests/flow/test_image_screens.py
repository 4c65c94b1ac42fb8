"""What the commands `image` show on terminals of 80 and of 200 columns, with long names and of every age."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from tests import kinds
from tests.flow.scripts import environment_of
from tests.localecr import REGION, client, running
from tests.screens import check_golden, screen

LONG = "/".join(["team"] * 51) + "/a"  # 256 characters
LONG_TAG = "2026.11.21-" + "0123456789" * 11 + "-final."
HOUR = 3600
DAY = 24 * HOUR
INDEX = kinds.buildx_index()
APP = kinds.greeter("amd64", "hello\n")


class Clock:
    """The time so many days ago, and some hours."""

    def __init__(self) -> None:
        self.days = 0.0

    def __call__(self) -> float:
        return time.time() - self.days * DAY - 5.5 * HOUR


@pytest.fixture(scope="module")
def ecr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    clock = Clock()
    settings = Settings(region=REGION, clock_skew=10**10)
    with running(tmp_path_factory.mktemp("ecr"), settings, clock=clock) as made, client(made) as api:
        for repository in ("my/app", LONG):
            clock.days = 2000
            api.create_repository(repositoryName=repository)
            for days, parcel, tags in (
                (1500, kinds.helm_chart(), ["chart"]),
                (400, APP, [f"1.{number}" for number in range(40)]),
                (90, INDEX, ["multi", LONG_TAG]),
                (20, kinds.cosign_signature(APP), []),
                (3, kinds.signature(APP), []),
                (0, kinds.bare_artifact(), ["a"]),
            ):
                clock.days = days
                kinds.put(api, repository, parcel, *tags)
            api.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "1.7"}, {"imageTag": "multi"}])
        yield made


@pytest.mark.parametrize("columns", [80, 200])
def test_a_list_of_images(ecr: LocalEcr, columns: int) -> None:
    shown = screen(["image", "ls", LONG], environment_of(ecr), columns)
    assert max(map(len, shown.splitlines())) <= columns + len("\x1b[1m\x1b[0m")
    check_golden(f"image-ls-{columns}", shown)


@pytest.mark.parametrize("columns", [80, 200])
def test_an_image_and_an_index(ecr: LocalEcr, columns: int) -> None:
    check_golden(f"image-show-{columns}", screen(["image", "show", "my/app:1.7"], environment_of(ecr), columns))
    index = screen(["image", "show", f"{LONG}:{LONG_TAG}"], environment_of(ecr), columns)
    check_golden(f"image-show-index-{columns}", index)


def test_tags_are_whole_on_any_terminal(ecr: LocalEcr) -> None:
    tags = screen(["tags", LONG], environment_of(ecr), 20).splitlines()
    assert LONG_TAG in tags
    assert tags[0] == "a"
