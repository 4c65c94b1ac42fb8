"""Listings of many images: each with its own tags, from one page to the next; and the folders that tests fill so."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr.storage.scrub import scrub
from tests.crowded import LAYER, crowd
from tests.localecr import client, digest_of, push_image, running


def details(api: ECRClient, name: str, page: int) -> list[dict[str, object]]:
    pages = api.get_paginator("describe_images").paginate(repositoryName=name, PaginationConfig={"PageSize": page})
    return [dict(one) for found in pages for one in found["imageDetails"]]


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_images_are_listed_with_all_of_their_tags_and_none_of_others(api: ECRClient, page: int) -> None:
    for name in ("my/app", "my/other"):
        api.create_repository(repositoryName=name)
        assert details(api, name, page) == []
    given = {}
    for number in range(5):
        tags = [f"{number}-{tag}" for tag in range(number)]
        for tag in tags or [""]:
            pushed = push_image(api, "my/app", tag=tag, config=b"{}" + b" " * number)
        push_image(api, "my/other", tag=f"elsewhere-{number}", config=b"{}" + b" " * number)
        given[pushed.digest] = tags
    assert {str(one["imageDigest"]): one.get("imageTags", []) for one in details(api, "my/app", page)} == given


def test_a_crowd_is_described_downloaded_and_whole(tmp_path: Path) -> None:
    names = crowd(tmp_path / "ecr", repositories=3, images=5, tagged=4)
    with running(tmp_path / "ecr") as ecr, client(ecr) as api:
        assert [one["repositoryName"] for one in api.describe_repositories()["repositories"]] == names
        digests = set()
        for name in names:
            found = details(api, name, 2)
            assert sorted(str(one.get("imageTags", [])) for one in found) == ["['0']", "['1']", "['2']", "['3']", "[]"]
            digests |= {one["imageDigest"] for one in found}
        assert len(digests) == 15
        (got,) = api.batch_get_image(repositoryName=names[2], imageIds=[{"imageTag": "3"}])["images"]
        assert digest_of(got["imageManifest"].encode()) == got["imageId"]["imageDigest"]
        url = api.get_download_url_for_layer(repositoryName=names[0], layerDigest=digest_of(LAYER))["downloadUrl"]
        assert requests.get(url, timeout=20).content == LAYER
    complaints: list[str] = []
    assert scrub(tmp_path / "ecr", complaints.append).images == 15
    assert complaints == []
