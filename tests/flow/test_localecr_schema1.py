"""The local ECR holds schema 1 as ECR does: as it was pushed, by both doors, its layers there, nothing made of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from mypy_boto3_ecr import ECRClient

from ecrdrag import manifest
from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import Dialect, SignedDigest
from ecrdrag.localecr.storage.scrub import scrub
from ecrdrag.schema1 import SIGNED, UNSIGNED, Schema1
from tests.localecr import ACCOUNT, REGION, client, manifest_of, push_blob, push_image, running
from tests.registry import Client, visiting
from tests.schema1_images import KEYS, OldImage, hello_schema1, put_old_image

PLAIN = hello_schema1(keys=())
ONE = hello_schema1(keys=KEYS[:1])
BOTH = pytest.mark.parametrize("image", [PLAIN, ONE], ids=["unsigned", "signed"])
MODERN_TYPES = [*manifest.MANIFEST_TYPES, *manifest.INDEX_TYPES]


@pytest.fixture
def v2(ecr: LocalEcr, api: ECRClient) -> Iterator[Client]:
    with visiting(ecr) as visitor:
        yield visitor


def raw_digest(image: OldImage) -> str:
    return str(Digest.of(image.raw))


def push_layers(v2: Client, image: OldImage) -> None:
    for blob in image.blobs.values():
        v2.push_blob(blob, "app")


# The API


@BOTH
@pytest.mark.parametrize("accepted", [None, [SIGNED], [UNSIGNED], MODERN_TYPES, [*MODERN_TYPES, SIGNED]])
def test_it_comes_back_byte_for_byte_whatever_is_accepted(
    api: ECRClient, image: OldImage, accepted: list[str] | None
) -> None:
    put_old_image(api, "app", image, "old")
    wish = {"acceptedMediaTypes": accepted} if accepted else {}
    (found,) = api.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "old"}], **wish)["images"]  # type: ignore[arg-type]
    assert found["imageManifest"].encode() == image.raw
    assert found["imageManifestMediaType"] == image.media_type
    assert found["imageId"] == {"imageTag": "old", "imageDigest": raw_digest(image)}


@BOTH
def test_it_is_described_with_the_size_of_its_layers(api: ECRClient, image: OldImage) -> None:
    put_old_image(api, "app", image, "old")
    (found,) = api.describe_images(repositoryName="app")["imageDetails"]
    assert found["imageSizeInBytes"] == sum(len(blob) for blob in image.blobs.values())
    assert (found["imageDigest"], found["imageManifestMediaType"]) == (raw_digest(image), image.media_type)
    assert "artifactMediaType" not in found


def test_each_of_its_layers_can_be_fetched(api: ECRClient) -> None:
    put_old_image(api, "app", ONE)
    for layer in Schema1.parse(ONE.raw).layers:
        url = api.get_download_url_for_layer(repositoryName="app", layerDigest=str(layer))["downloadUrl"]
        assert requests.get(url, timeout=30).content == ONE.blobs[layer]


def test_layers_that_are_missing_are_named_each_once(api: ECRClient) -> None:
    hello, empty, motd, _, nothing, _, plain, _ = ONE.steps
    for blob in (hello, nothing):
        push_blob(api, "app", blob)
    with pytest.raises(api.exceptions.LayersNotFoundException) as caught:
        api.put_image(repositoryName="app", imageManifest=ONE.raw.decode(), imageManifestMediaType=SIGNED)
    missing = ", ".join(str(Digest.of(blob)) for blob in (empty, motd, plain))
    assert caught.value.response["Error"]["Message"] == (
        f"Layers with digests '[{missing}]' required for pushing image into "
        f"repository with name 'app' in the registry with id '{ACCOUNT}' do not exist"
    )


def test_too_many_layers_are_refused(tmp_path: Path) -> None:
    with running(tmp_path, Settings(region=REGION, max_layers=7)) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        with pytest.raises(api.exceptions.InvalidParameterException, match="Limit on number of layers"):
            put_old_image(api, "app", ONE)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (ONE.raw, ""),  # the model: a manifest that doesn't say its type needs one beside it
        (ONE.raw, manifest.DOCKER_MANIFEST),
        (PLAIN.raw, SIGNED),
        (PLAIN.raw.replace(b"fsLayers", b"FSLayers"), UNSIGNED),
        (ONE.raw.replace(b'"name": "app"', b'"name": "else"'), SIGNED),
        (b"{}", SIGNED),
    ],
)
def test_what_is_no_schema_1_or_does_not_say_so_is_refused(api: ECRClient, raw: bytes, kind: str) -> None:
    wish = {"imageManifestMediaType": kind} if kind else {}
    for blob in ONE.blobs.values():
        push_blob(api, "app", blob)
    with pytest.raises(api.exceptions.InvalidParameterException, match="Invalid JSON syntax"):
        api.put_image(repositoryName="app", imageManifest=raw.decode(), **wish)


def test_a_manifest_that_says_its_type_needs_none_beside_it(api: ECRClient) -> None:
    for blob in PLAIN.blobs.values():
        push_blob(api, "app", blob)
    raw = json.dumps({**json.loads(PLAIN.raw), "mediaType": UNSIGNED})
    image = api.put_image(repositoryName="app", imageManifest=raw)["image"]
    assert image["imageManifestMediaType"] == UNSIGNED


def test_nothing_becomes_schema_1(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="1", docker=True)
    answer = api.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "1"}], acceptedMediaTypes=[UNSIGNED])
    assert answer["images"][0]["imageManifest"] == pushed.raw


# /v2/


@BOTH
@pytest.mark.parametrize("accept", ["*/*", SIGNED, manifest.DOCKER_MANIFEST])
def test_v2_takes_it_and_gives_it_back(v2: Client, image: OldImage, accept: str) -> None:
    push_layers(v2, image)
    put = v2.push(image.raw.decode(), "app", "old", kind=image.media_type)
    assert (put.status, put.headers["Docker-Content-Digest"]) == (201, raw_digest(image))
    assert put.place == f"/v2/app/manifests/{raw_digest(image)}"
    for reference in ("old", raw_digest(image)):
        got = v2.get(f"/v2/app/manifests/{reference}", Accept=accept)
        assert (got.status, got.body, got.headers["Content-Type"]) == (200, image.raw, image.media_type)
        head = v2.ask("HEAD", f"/v2/app/manifests/{reference}")
        assert head.headers["Docker-Content-Digest"] == raw_digest(image)
        assert (head.headers["Content-Type"], head.headers["Content-Length"]) == (image.media_type, str(len(image.raw)))
    for blob in image.steps:
        assert v2.follow(v2.get(f"/v2/app/blobs/{Digest.of(blob)}")).body == blob


@BOTH
@pytest.mark.parametrize("kind", [{}, {"Content_Type": "application/json"}, {"Content_Type": "application/json; a=b"}])
def test_v2_takes_it_from_docker_that_names_no_type(v2: Client, image: OldImage, kind: dict[str, str]) -> None:
    push_layers(v2, image)
    assert v2.ask("PUT", "/v2/app/manifests/old", image.raw, **kind).status == 201
    assert v2.get("/v2/app/manifests/old").headers["Content-Type"] == image.media_type


def test_v2_still_wants_to_know_the_type_of_anything_else(v2: Client) -> None:
    config = b'{"architecture":"amd64","os":"linux"}'
    v2.push_blob(config, "app")
    raw = manifest_of(config, []).replace(f'"mediaType": "{manifest.OCI_MANIFEST}",', "", 1).encode()
    assert v2.ask("PUT", "/v2/app/manifests/new", raw).code == "UNSUPPORTED"
    assert v2.ask("PUT", "/v2/app/manifests/new", raw, Content_Type="application/json").code == "UNSUPPORTED"
    assert v2.ask("PUT", "/v2/app/manifests/new", raw, Content_Type=manifest.OCI_MANIFEST).status == 201
    named = manifest_of(config, []).encode()
    assert v2.ask("PUT", "/v2/app/manifests/new", named, Content_Type="application/json").code == "UNSUPPORTED"


def test_the_same_again_is_a_success(v2: Client) -> None:
    push_layers(v2, ONE)
    answers = [v2.push(ONE.raw.decode(), "app", "old", kind=SIGNED) for _ in range(2)]
    assert [(one.status, one.headers["Docker-Content-Digest"]) for one in answers] == [(201, raw_digest(ONE))] * 2


# What its digest is of


@pytest.mark.parametrize("signed_digest", list(SignedDigest))
@pytest.mark.parametrize("dialect", [Dialect.ECR, Dialect.OCI])
@BOTH
def test_what_the_digest_is_of_can_be_set(
    tmp_path: Path, image: OldImage, signed_digest: SignedDigest, dialect: Dialect
) -> None:
    raw, payload = raw_digest(image), str(Digest.of(image.payload))
    expected = {SignedDigest.RAW: raw, SignedDigest.PAYLOAD: payload}[signed_digest]
    settings = Settings(region=REGION, signed_digest=signed_digest, dialect=dialect)
    with running(tmp_path, settings) as ecr, client(ecr) as api, visiting(ecr) as v2:
        api.create_repository(repositoryName="app")
        put_old_image(api, "app", image, "old")
        (found,) = api.list_images(repositoryName="app")["imageIds"]
        assert found == {"imageTag": "old", "imageDigest": expected}
        for digest in {raw, payload}:
            answer = api.batch_get_image(repositoryName="app", imageIds=[{"imageDigest": digest}])
            assert bool(answer["images"]) == (digest == expected)
            put = v2.ask("PUT", f"/v2/app/manifests/{digest}", image.raw, Content_Type=image.media_type)
            assert put.status == (201 if digest == expected else 400)
            assert put.headers.get("Docker-Content-Digest") == (expected if digest == expected else None)
    said: list[str] = []
    assert scrub(tmp_path, said.append).broken == 0, said


@pytest.mark.parametrize("signed_digest", list(SignedDigest))
@pytest.mark.parametrize(
    "change",
    [
        "raw = x'7b7d'",
        "raw = CAST(replace(CAST(raw AS TEXT), 'MAINTAINER', 'MAINTAINED') AS BLOB)",
        f"digest = 'sha256:{'0' * 64}'",
        f"media_type = '{manifest.OCI_MANIFEST}', digest = '{Digest.of(ONE.payload)}'",
    ],
)
def test_a_damaged_image_is_found_by_scrub(tmp_path: Path, signed_digest: SignedDigest, change: str) -> None:
    with running(tmp_path, Settings(region=REGION, signed_digest=signed_digest)) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        put_old_image(api, "app", ONE)
    with closing(sqlite3.connect(tmp_path / "ecr.sqlite")) as metadata, metadata:
        metadata.execute("PRAGMA foreign_keys = OFF")
        metadata.execute(f"UPDATE image SET {change}")
    said: list[str] = []
    scrub(tmp_path, said.append)
    assert any("holds another manifest" in line for line in said), said
