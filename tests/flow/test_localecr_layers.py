"""The local ECR's layer uploads, through a real client."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.storage.blobs import Blobs
from ecrdrag.localecr.storage.growing import Growing
from tests.localecr import ACCOUNT, DOCKER_LAYER, client, digest_of, push_blob, push_image, running
from tests.putting import put_part

MEBIBYTE = 1024 * 1024
NO_UPLOAD = "00000000-0000-0000-0000-000000000000"


def begin(api: ECRClient) -> str:
    return api.initiate_layer_upload(repositoryName="app")["uploadId"]


def complete(api: ECRClient, upload: str, *digests: str) -> str:
    answer = api.complete_layer_upload(repositoryName="app", uploadId=upload, layerDigests=list(digests))
    return answer["layerDigest"]


def availability(api: ECRClient, digest: str, repository: str = "app") -> str:
    found = api.batch_check_layer_availability(repositoryName=repository, layerDigests=[digest])
    return found["layers"][0]["layerAvailability"]


def test_an_upload_is_told_ecrs_part_size(api: ECRClient) -> None:
    assert api.initiate_layer_upload(repositoryName="app")["partSize"] == 10 * MEBIBYTE


def test_parts_in_order_become_a_layer(api: ECRClient, ecr: LocalEcr) -> None:
    parts = [os.urandom(5 * MEBIBYTE), os.urandom(6 * MEBIBYTE), b"the end"]
    whole = b"".join(parts)
    upload = begin(api)
    assert put_part(api, "app", upload, 0, parts[0]) == 5 * MEBIBYTE - 1
    assert put_part(api, "app", upload, 5 * MEBIBYTE, parts[1]) == 11 * MEBIBYTE - 1
    assert put_part(api, "app", upload, 11 * MEBIBYTE, parts[2]) == len(whole) - 1
    assert availability(api, digest_of(whole)) == "UNAVAILABLE"
    assert complete(api, upload, digest_of(b"other"), digest_of(whole)) == digest_of(whole)
    (layer,) = api.batch_check_layer_availability(repositoryName="app", layerDigests=[digest_of(whole)])["layers"]
    assert layer == {"layerDigest": digest_of(whole), "layerAvailability": "AVAILABLE", "layerSize": len(whole)}
    assert (ecr.data / "blobs" / "sha256" / digest_of(whole).removeprefix("sha256:")).read_bytes() == whole
    assert list((ecr.data / "uploads").iterdir()) == []


def test_a_layer_is_called_what_an_image_calls_it(api: ECRClient) -> None:
    pushed = push_image(api, "app", docker=True)
    (layer,) = api.batch_check_layer_availability(repositoryName="app", layerDigests=[pushed.layers[0]])["layers"]
    assert layer["mediaType"] == DOCKER_LAYER


@pytest.mark.parametrize("first", [0, 3, 6])
def test_a_part_that_does_not_follow_names_the_last_good_byte(api: ECRClient, first: int) -> None:
    upload = begin(api)
    put_part(api, "app", upload, 0, b"12345")
    with pytest.raises(api.exceptions.InvalidLayerPartException) as caught:
        put_part(api, "app", upload, first, b"678")
    assert caught.value.response["Error"]["Message"] == f"First byte of the layer part is {first} instead of 5"
    members = {"lastValidByteReceived": 4, "registryId": ACCOUNT, "repositoryName": "app", "uploadId": upload}
    assert members.items() <= caught.value.response.items()
    assert put_part(api, "app", upload, 5, b"678") == 7


def test_a_refused_part_leaves_no_byte_behind(api: ECRClient) -> None:
    upload = begin(api)
    put_part(api, "app", upload, 0, b"good")
    with pytest.raises(api.exceptions.InvalidLayerPartException):
        put_part(api, "app", upload, 9, b"bad")
    assert complete(api, upload, digest_of(b"good")) == digest_of(b"good")


def test_a_part_of_another_length_than_its_range_is_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="layerPartBlob"):
        api.upload_layer_part(
            repositoryName="app", uploadId=begin(api), partFirstByte=0, partLastByte=9, layerPartBlob=b"123"
        )


def test_a_part_without_bytes_is_refused(api: ECRClient) -> None:
    upload = begin(api)
    put_part(api, "app", upload, 0, b"1")
    with pytest.raises(api.exceptions.InvalidParameterException, match="layerPartBlob"):
        put_part(api, "app", upload, 1, b"")


def test_a_part_over_twenty_mebibytes_is_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="less than or equal to 20971520"):
        put_part(api, "app", begin(api), 0, bytes(20 * MEBIBYTE + 1))


def test_a_part_of_twenty_mebibytes_is_taken(api: ECRClient) -> None:
    assert put_part(api, "app", begin(api), 0, bytes(20 * MEBIBYTE)) == 20 * MEBIBYTE - 1


def test_a_short_part_in_the_middle_is_refused_at_the_end(api: ECRClient) -> None:
    upload = begin(api)
    put_part(api, "app", upload, 0, b"short")
    put_part(api, "app", upload, 5, b"last")
    with pytest.raises(api.exceptions.LayerPartTooSmallException) as caught:
        complete(api, upload, digest_of(b"shortlast"))
    assert caught.value.response["Error"]["Message"] == ("All layer parts except the last part should be at least 5MB")
    assert availability(api, digest_of(b"shortlast")) == "UNAVAILABLE"


def test_a_digest_that_is_not_the_uploads_is_refused(api: ECRClient) -> None:
    upload = begin(api)
    put_part(api, "app", upload, 0, b"bytes")
    with pytest.raises(api.exceptions.InvalidLayerException) as caught:
        complete(api, upload, digest_of(b"other bytes"))
    assert caught.value.response["Error"]["Message"] == (
        "None of the provided layer digests match the calculated layer digest"
    )
    assert availability(api, digest_of(b"bytes")) == "UNAVAILABLE"


def test_an_upload_without_parts_is_empty(api: ECRClient) -> None:
    upload = begin(api)
    with pytest.raises(api.exceptions.EmptyUploadException, match="because it does not have any parts"):
        complete(api, upload, digest_of(b""))


def test_a_layer_that_is_there_already_exists(api: ECRClient) -> None:
    push_blob(api, "app", b"bytes")
    upload = begin(api)
    put_part(api, "app", upload, 0, b"bytes")
    with pytest.raises(api.exceptions.LayerAlreadyExistsException, match=digest_of(b"bytes")):
        complete(api, upload, digest_of(b"bytes"))
    assert availability(api, digest_of(b"bytes")) == "AVAILABLE"


def test_a_layer_of_one_repository_is_unknown_to_another(api: ECRClient) -> None:
    push_blob(api, "app", b"bytes")
    api.create_repository(repositoryName="other")
    assert availability(api, digest_of(b"bytes"), "other") == "UNAVAILABLE"
    push_blob(api, "other", b"bytes")
    assert availability(api, digest_of(b"bytes"), "other") == "AVAILABLE"


def test_malformed_digests_are_failures_beside_the_layers(api: ECRClient) -> None:
    push_blob(api, "app", b"bytes")
    answer = api.batch_check_layer_availability(
        repositoryName="app", layerDigests=["nonsense", digest_of(b"bytes"), ""]
    )
    assert [layer["layerAvailability"] for layer in answer["layers"]] == ["AVAILABLE"]
    codes = [(failure["layerDigest"], failure["failureCode"]) for failure in answer["failures"]]
    assert codes == [("nonsense", "InvalidLayerDigest"), ("", "MissingLayerDigest")]


def test_more_than_a_hundred_digests_are_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="layerDigests"):
        api.batch_check_layer_availability(repositoryName="app", layerDigests=[digest_of(b"")] * 101)


def test_a_finished_and_an_unknown_upload_are_not_found(api: ECRClient) -> None:
    upload = begin(api)
    put_part(api, "app", upload, 0, b"bytes")
    complete(api, upload, digest_of(b"bytes"))
    for name in (upload, NO_UPLOAD):
        with pytest.raises(api.exceptions.UploadNotFoundException, match=name):
            put_part(api, "app", name, 0, b"bytes")
        with pytest.raises(api.exceptions.UploadNotFoundException):
            complete(api, name, digest_of(b"bytes"))


def test_an_upload_belongs_to_its_repository(api: ECRClient) -> None:
    api.create_repository(repositoryName="other")
    with pytest.raises(api.exceptions.UploadNotFoundException):
        put_part(api, "other", begin(api), 0, b"bytes")


def test_every_layer_operation_refuses_a_missing_repository(api: ECRClient) -> None:
    digest = digest_of(b"")
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.initiate_layer_upload(repositoryName="gone")
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        put_part(api, "gone", NO_UPLOAD, 0, b"bytes")
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.complete_layer_upload(repositoryName="gone", uploadId=NO_UPLOAD, layerDigests=[digest])
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.batch_check_layer_availability(repositoryName="gone", layerDigests=[digest])
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.get_download_url_for_layer(repositoryName="gone", layerDigest=digest)


def test_one_part_too_many_is_over_the_limit(tmp_path: Path) -> None:
    with running(tmp_path / "data", Settings(max_parts=2)) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        upload = begin(api)
        put_part(api, "app", upload, 0, b"1")
        put_part(api, "app", upload, 1, b"2")
        with pytest.raises(api.exceptions.LimitExceededException):
            put_part(api, "app", upload, 2, b"3")


def test_a_layer_over_the_largest_size_is_over_the_limit_and_keeps_what_it_had(tmp_path: Path) -> None:
    with running(tmp_path / "data", Settings(max_layer=3, min_part_size=1)) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        upload = begin(api)
        put_part(api, "app", upload, 0, b"12")
        with pytest.raises(api.exceptions.LimitExceededException, match="3 bytes"):
            put_part(api, "app", upload, 2, b"34")
        put_part(api, "app", upload, 2, b"3")
        assert complete(api, upload, digest_of(b"123")) == digest_of(b"123")


def test_of_many_writers_of_one_offset_one_wins(api: ECRClient, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = begin(api)
    parts = [bytes([letter]) * 1000 for letter in range(8)]
    all_at_once = threading.Barrier(len(parts))
    real = Blobs.growing

    def growing(blobs: Blobs, upload: str) -> AbstractContextManager[Growing]:
        all_at_once.wait(20)
        return real(blobs, upload)

    def send(part: bytes) -> bool:
        try:
            put_part(api, "app", upload, 0, part)
        except api.exceptions.InvalidLayerPartException:
            return False
        return True

    monkeypatch.setattr(Blobs, "growing", growing)
    with ThreadPoolExecutor(len(parts)) as pool:
        won = list(pool.map(send, parts))
    monkeypatch.undo()
    assert won.count(True) == 1
    winner = digest_of(parts[won.index(True)])
    assert complete(api, upload, winner) == winner


def test_a_call_that_does_not_own_an_upload_cannot_split_its_lock(
    api: ECRClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Growing] = []
    real = Growing.append

    def append(growing: Growing, blocks: Iterable[bytes], offset: int) -> int:
        held.append(growing)
        return real(growing, blocks, offset)

    monkeypatch.setattr(Growing, "append", append)
    api.create_repository(repositoryName="other")
    upload = begin(api)
    put_part(api, "app", upload, 0, b"1")
    with pytest.raises(api.exceptions.UploadNotFoundException):
        put_part(api, "other", upload, 1, b"2")
    put_part(api, "app", upload, 1, b"2")
    assert held[0] is held[1], "two writers of one offset could both win"


def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    first, second = os.urandom(5 * MEBIBYTE), b"the end"
    with running(tmp_path / "data") as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        upload = begin(api)
        put_part(api, "app", upload, 0, first)
    with running(tmp_path / "data") as ecr, client(ecr) as api:
        put_part(api, "app", upload, len(first), second)
        assert complete(api, upload, digest_of(first + second)) == digest_of(first + second)


def test_a_failure_of_the_disk_is_a_server_exception_and_nothing_is_promised(
    api: ECRClient, ecr: LocalEcr, caplog: pytest.LogCaptureFixture
) -> None:
    upload = begin(api)
    (ecr.data / "uploads").rename(ecr.data / "gone")
    with pytest.raises(ClientError) as caught:
        put_part(api, "app", upload, 0, b"bytes")
    assert caught.value.response["Error"]["Code"] == "ServerException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "UploadLayerPart failed" in caplog.text
    (ecr.data / "gone").rename(ecr.data / "uploads")
    put_part(api, "app", upload, 0, b"bytes")
    assert complete(api, upload, digest_of(b"bytes")) == digest_of(b"bytes")
