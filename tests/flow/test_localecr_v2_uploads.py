"""Blobs go up over /v2/ in one piece, in chunks and in streams, and come down by a redirect, as at ECR."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr, Settings
from tests.localecr import REGION, digest_of, manifest_of, push_image, running
from tests.registry import Client, visiting

CONFIG = b'{"architecture":"amd64","os":"linux"}'
FIRST, SECOND = b"first half, ", b"second half"
WHOLE = FIRST + SECOND
UPLOADS = "/v2/app/blobs/uploads/"


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", Settings(region=REGION, min_part_size=len(FIRST))) as server:
        yield server


@pytest.fixture
def v2(ecr: LocalEcr, api: ECRClient) -> Iterator[Client]:
    with visiting(ecr) as visitor:
        yield visitor


def pulled(v2: Client, data: bytes) -> bytes:
    """Put an image around a blob, so that it may be pulled, and pull it."""
    raw = manifest_of(v2_config(v2), [data])
    assert v2.push(raw, "app").status == 201
    return v2.follow(v2.get(f"/v2/app/blobs/{digest_of(data)}")).body


def v2_config(v2: Client) -> bytes:
    v2.push_blob(CONFIG, "app")
    return CONFIG


def test_an_upload_begins_at_an_absolute_location_that_names_its_id(v2: Client, ecr: LocalEcr) -> None:
    reply = v2.ask("POST", UPLOADS)
    upload = reply.headers["Docker-Upload-UUID"]
    assert (reply.status, reply.body) == (202, b"")
    assert reply.headers["Location"] == f"{ecr.endpoint}/v2/app/blobs/uploads/{upload}"
    assert reply.headers["Range"] == "0-0"


def test_a_blob_in_one_put_has_an_absolute_location_and_its_digest(v2: Client, ecr: LocalEcr) -> None:
    reply = v2.ask("PUT", f"{v2.begin('app')}?digest={digest_of(WHOLE)}", WHOLE)
    assert reply.status == 201
    assert reply.headers["Location"] == f"{ecr.endpoint}/v2/app/blobs/{digest_of(WHOLE)}"
    assert reply.headers["Docker-Content-Digest"] == digest_of(WHOLE)
    assert pulled(v2, WHOLE) == WHOLE


def test_a_blob_in_one_post_is_there_too(v2: Client) -> None:
    reply = v2.ask("POST", f"{UPLOADS}?digest={digest_of(WHOLE)}", WHOLE)
    assert (reply.status, reply.headers["Docker-Content-Digest"]) == (201, digest_of(WHOLE))
    assert pulled(v2, WHOLE) == WHOLE


def test_a_post_with_a_wrong_digest_leaves_no_upload_behind(v2: Client, ecr: LocalEcr) -> None:
    reply = v2.ask("POST", f"{UPLOADS}?digest={digest_of(b'other')}", WHOLE)
    assert (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")
    assert list((ecr.data / "uploads").iterdir()) == []


def test_chunks_are_answered_with_201_and_a_range_that_stays_with_the_first(v2: Client) -> None:
    place = v2.begin("app")
    first = v2.ask("PATCH", place, FIRST, Content_Range=f"0-{len(FIRST) - 1}")
    second = v2.ask("PATCH", place, SECOND, Content_Range=f"{len(FIRST)}-{len(WHOLE) - 1}")
    assert (first.status, first.headers["Range"]) == (201, f"0-{len(FIRST) - 1}")
    assert (second.status, second.headers["Range"]) == (201, f"0-{len(FIRST) - 1}")
    assert second.place == place
    assert v2.ask("PUT", f"{place}?digest={digest_of(WHOLE)}").status == 201
    assert pulled(v2, WHOLE) == WHOLE


def test_the_last_chunk_may_come_with_the_put(v2: Client) -> None:
    place = v2.begin("app")
    v2.ask("PATCH", place, FIRST, Content_Range=f"0-{len(FIRST) - 1}")
    span = f"{len(FIRST)}-{len(WHOLE) - 1}"
    assert v2.ask("PUT", f"{place}?digest={digest_of(WHOLE)}", SECOND, Content_Range=span).status == 201
    assert pulled(v2, WHOLE) == WHOLE


def test_a_stream_of_unknown_length_is_one_part_of_any_size(v2: Client) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    blocks = [chance.randbytes(chance.randrange(1, 200_000)) for _ in range(30)]
    place = v2.begin("app")
    assert v2.ask("PATCH", place, iter(blocks)).status == 201
    whole = b"".join(blocks)
    assert v2.ask("PUT", f"{place}?digest={digest_of(whole)}").status == 201
    assert pulled(v2, whole) == whole


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_at_a_wrong_offset_is_416_in_ecrs_words_and_changes_nothing(v2: Client, method: str) -> None:
    place = v2.begin("app")
    v2.ask("PATCH", place, FIRST)
    query = f"?digest={digest_of(WHOLE)}" if method == "PUT" else ""
    reply = v2.ask(method, place + query, FIRST, Content_Range=f"0-{len(FIRST) - 1}")
    assert (reply.status, reply.code) == (416, "BLOB_UPLOAD_INVALID")
    assert reply.message == f"First byte of the layer part is 0 instead of {len(FIRST)}"
    assert (reply.place, reply.headers["Range"]) == (place, f"0-{len(FIRST) - 1}")
    assert v2.ask("PATCH", place, SECOND, Content_Range=f"{len(FIRST)}-{len(WHOLE) - 1}").status == 201
    assert v2.ask("PUT", f"{place}?digest={digest_of(WHOLE)}").status == 201


@pytest.mark.parametrize(
    ("span", "status", "code"),
    [
        ("bytes 0-11/12", 416, "BLOB_UPLOAD_INVALID"),
        ("0-", 416, "BLOB_UPLOAD_INVALID"),
        ("0-99", 400, "SIZE_INVALID"),
        ("11-0", 400, "SIZE_INVALID"),
        (f"0-{'9' * 19}", 416, "BLOB_UPLOAD_INVALID"),
    ],
)
def test_a_content_range_that_is_none_is_refused(v2: Client, span: str, status: int, code: str) -> None:
    place = v2.begin("app")
    reply = v2.ask("PATCH", place, FIRST, Content_Range=span)
    assert (reply.status, reply.code) == (status, code)
    assert v2.ask("PUT", f"{place}?digest={digest_of(FIRST)}", FIRST).status == 201


def test_a_wrong_digest_is_refused_in_ecrs_words(v2: Client) -> None:
    reply = v2.ask("PUT", f"{v2.begin('app')}?digest={digest_of(b'other')}", WHOLE)
    assert (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")
    assert reply.message == "None of the provided layer digests match the calculated layer digest"
    assert reply.body.endswith(b'"}]}\n')


def test_a_put_without_a_digest_is_refused(v2: Client) -> None:
    reply = v2.ask("PUT", v2.begin("app"), WHOLE)
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


def test_an_empty_blob_is_refused_as_ecr_does(v2: Client) -> None:
    reply = v2.ask("PUT", f"{v2.begin('app')}?digest={digest_of(b'')}")
    assert (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")


def test_small_parts_before_the_last_are_refused_at_the_end(v2: Client) -> None:
    place = v2.begin("app")
    for part in (b"1", b"2"):
        assert v2.ask("PATCH", place, part).status == 201
    reply = v2.ask("PUT", f"{place}?digest={digest_of(b'12')}")
    assert (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")
    assert reply.message == "All layer parts except the last part should be at least 5MB"


def test_an_upload_tells_how_far_it_is_and_can_be_cancelled(v2: Client, ecr: LocalEcr) -> None:
    place = v2.begin("app")
    v2.ask("PATCH", place, FIRST)
    status = v2.get(place)
    assert (status.status, status.place, status.headers["Range"]) == (204, place, f"0-{len(FIRST) - 1}")
    assert v2.ask("DELETE", place).status == 204
    assert list((ecr.data / "uploads").iterdir()) == []
    for method in ("GET", "PATCH", "DELETE"):
        reply = v2.ask(method, place, b"more" if method == "PATCH" else b"")
        assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(v2: Client, api: ECRClient) -> None:
    api.create_repository(repositoryName="other")
    reply = v2.ask("PATCH", v2.begin("app").replace("/app/", "/other/"), WHOLE)
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_that_is_there_already_is_answered_like_a_new_one(v2: Client) -> None:
    v2.push_blob(WHOLE, "app")
    v2.push_blob(WHOLE, "app")


def test_head_tells_a_blobs_size_before_any_image_refers_to_it_and_get_gives_none(v2: Client) -> None:
    path = f"/v2/app/blobs/{v2.push_blob(WHOLE, 'app')}"
    head = v2.ask("HEAD", path)
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(WHOLE)), b"")
    assert head.headers["Docker-Content-Digest"] == digest_of(WHOLE)
    reply = v2.get(path)
    assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN")
    assert reply.message.startswith("The specified layer is not available because it is not associated with an image.")


def test_a_blob_is_got_in_ranges_behind_its_redirect(v2: Client, api: ECRClient) -> None:
    pushed = push_image(api, "app", layers=[WHOLE])
    place = v2.get(f"/v2/app/blobs/{pushed.layers[0]}").place
    part = v2.get(place, Range="bytes=2-5")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, WHOLE[2:6], f"bytes 2-5/{len(WHOLE)}")
    assert v2.get(place, Range="bytes=500-").status == 416


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_blobs_that_are_not_there_are_404(v2: Client, method: str) -> None:
    missing = v2.ask(method, f"/v2/app/blobs/{digest_of(b'nothing')}")
    nowhere = v2.ask(method, f"/v2/nowhere/blobs/{digest_of(b'nothing')}")
    assert (missing.status, nowhere.status) == (404, 404)
    if method == "GET":
        assert (missing.code, nowhere.code) == ("BLOB_UNKNOWN", "NAME_UNKNOWN")


def test_ecr_deletes_no_blobs(v2: Client) -> None:
    digest = v2.push_blob(WHOLE, "app")
    reply = v2.ask("DELETE", f"/v2/app/blobs/{digest}")
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert v2.ask("HEAD", f"/v2/app/blobs/{digest}").status == 200


def test_a_push_to_a_repository_that_is_not_there_is_refused(v2: Client) -> None:
    reply = v2.ask("POST", "/v2/nowhere/blobs/uploads/")
    assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")
    assert reply.message == "The repository with name 'nowhere' does not exist in the registry with id '123456789012'"


def test_a_blob_is_mounted_when_the_account_wants_it_and_an_image_refers_to_it(v2: Client, api: ECRClient) -> None:
    api.create_repository(repositoryName="other")
    layer = push_image(api, "app", layers=[WHOLE]).layers[0]
    query = f"/v2/other/blobs/uploads/?mount={layer}&from=app"
    assert v2.ask("POST", query).status == 202
    api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    mounted = v2.ask("POST", query)
    assert (mounted.status, mounted.place) == (201, f"/v2/other/blobs/{layer}")
    assert v2.ask("HEAD", f"/v2/other/blobs/{layer}").status == 200
    loose = v2.push_blob(b"nobody refers to me", "app")
    for query in (f"?mount={loose}&from=app", f"?mount={layer}&from=nowhere", f"?mount={layer}"):
        assert v2.ask("POST", f"/v2/other/blobs/uploads/{query}").status == 202


def test_a_blob_is_not_mounted_between_repositories_that_are_encrypted_otherwise(v2: Client, api: ECRClient) -> None:
    api.create_repository(repositoryName="other", encryptionConfiguration={"encryptionType": "KMS"})
    layer = push_image(api, "app", layers=[WHOLE]).layers[0]
    api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    assert v2.ask("POST", f"/v2/other/blobs/uploads/?mount={layer}&from=app").status == 202


def test_a_blob_of_a_pull_through_cache_is_not_mounted(v2: Client, api: ECRClient) -> None:
    api.create_repository(repositoryName="cache/app")
    layer = push_image(api, "cache/app", layers=[WHOLE]).layers[0]
    api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="public.ecr.aws")
    assert v2.ask("POST", f"{UPLOADS}?mount={layer}&from=cache/app").status == 202
    api.delete_pull_through_cache_rule(ecrRepositoryPrefix="cache")
    assert v2.ask("POST", f"{UPLOADS}?mount={layer}&from=cache/app").status == 201


def test_a_password_may_go_along_to_a_link_of_v2_and_to_no_other(v2: Client, api: ECRClient, ecr: LocalEcr) -> None:
    layer = push_image(api, "app", layers=[WHOLE]).layers[0]
    ours = v2.get(f"/v2/app/blobs/{layer}").place
    url = api.get_download_url_for_layer(repositoryName="app", layerDigest=layer)["downloadUrl"]
    theirs = url.removeprefix(ecr.endpoint)
    assert [v2.get(target).status for target in (ours, theirs, f"{theirs}&via=registry")] == [200, 400, 403]


@pytest.mark.parametrize("text", ["0-0", "0-99", "9-0"])
def test_a_stream_of_another_size_than_its_range_leaves_the_upload_as_it_was(v2: Client, text: str) -> None:
    place = v2.begin("app")
    reply = v2.ask("PATCH", place, iter([FIRST]), Content_Range=text)
    assert reply.status in (400, 416)
    assert v2.ask("PATCH", place, iter([FIRST]), Content_Range=f"0-{len(FIRST) - 1}").status == 201
    assert v2.ask("PUT", f"{place}?digest={digest_of(WHOLE)}", SECOND).status == 201
