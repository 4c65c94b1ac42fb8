"""Which image of an archive a wish means."""

from __future__ import annotations

import pytest

from ecrdrag.archive.contents import ArchivedImage, choose
from ecrdrag.content import Digest
from ecrdrag.errors import UsageError

APP = ArchivedImage(("docker.io/library/app:latest", "my/app:1"), Digest.parse(f"sha256:{'ab' * 32}"))
OTHER = ArchivedImage(("other:2",), Digest.parse(f"sha256:{'ab' * 10}{'cd' * 22}"))
IMAGES = (APP, OTHER)


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ("my/app:1", APP),
        ("app", APP),  # as docker shows the name
        ("app:latest", APP),
        ("other", None),  # its tag is another
        ("other:2", OTHER),
        (str(OTHER.digest), OTHER),
        (f"{'ab' * 10}cd", OTHER),
        (f"sha256:{'ab' * 11}", APP),
        ("abababababa", None),  # 11 digits are too few
        (f"my/app@{APP.digest}", None),
    ],
)
def test_a_wish_is_a_name_or_at_least_12_digits_of_a_digest(wish: str, found: ArchivedImage | None) -> None:
    assert choose(IMAGES, wish, "a.tar") is found


def test_digits_that_fit_several_images_are_refused_with_what_is_there() -> None:
    with pytest.raises(UsageError, match=r"^a\.tar: --image abababababab fits 2 images$") as caught:
        choose(IMAGES, "ab" * 6, "a.tar")
    assert str(APP) in caught.value.hint
    assert str(OTHER) in caught.value.hint
