"""Blobs in parts to any registry, against scripted ones: what is believed, sent again, found out, begun again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecrdrag.content import BlobUpload
from ecrdrag.errors import (
    AuthError,
    BusyError,
    EcrdragError,
    IntegrityError,
    PartOffsetError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UploadLostError,
)
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.distribution_upload import FlowingUpload, PartedUpload
from tests.destinations import (
    BLOB,
    ECR,
    OTHER,
    Desk,
    Scripted,
    accepted,
    created,
    hanging_up,
    part_of,
    parted,
    send_all,
    wrong_offset,
)
from tests.scripted_registry import Reply, failing, scripted

LATER = failing(500), hanging_up


@pytest.fixture
def desk() -> Iterator[Desk]:
    with scripted() as registry:
        yield Desk(registry)


def ways(desk: Desk) -> list[str]:
    return [one.method for one in desk.asked]


# What is believed


@pytest.mark.parametrize(
    ("reply", "offset"),
    [
        (accepted(1000), 1000),
        (accepted(500), 500),
        (accepted(Range="bytes=0-499"), 500),
        (accepted(1001), 1000),
        (accepted(0), 1),  # 0-0 is a byte; the rest is refused, and found out
        (accepted(Range="nonsense"), 1000),
        (accepted(Range="5-499"), 1000),
        (accepted(Range="0-" + "9" * 30), 1000),
        (Reply(status=202), 1000),
        (Reply(status=204), 1000),
        (accepted(500, 201), 1000),  # ECR's 201
    ],
)
def test_how_far_a_registry_has_come_is_believed_where_it_can_be(desk: Desk, reply: Reply, offset: int) -> None:
    with parted(desk, reply) as upload:
        assert upload.send(part_of(upload, 0, 1000)) == offset


def test_a_registry_that_has_come_no_further_is_not_believed(desk: Desk) -> None:
    with parted(desk, accepted(1000), accepted(1000)) as upload:
        upload.send(part_of(upload, 0, 1000))
        assert upload.send(part_of(upload, 1000, 2000)) == 2000


def test_how_far_ecr_has_come_is_never_believed(desk: Desk) -> None:
    with parted(desk, accepted(1000, 202), accepted(1500, 202), name=ECR) as upload:
        assert upload.send(part_of(upload, 0, 1000)) == 1000
        assert upload.send(part_of(upload, 1000, 2000)) == 2000


def test_who_answers_as_ecr_does_is_not_believed_either(desk: Desk) -> None:
    with parted(desk, accepted(1000, 201), accepted(1500, 202)) as upload:
        upload.send(part_of(upload, 0, 1000))
        assert upload.send(part_of(upload, 1000, 2000)) == 2000


# Out of place


@pytest.mark.parametrize("name", ["", ECR])
def test_a_part_out_of_place_goes_where_ecrs_words_say(desk: Desk, name: str) -> None:
    with parted(desk, wrong_offset(700), name=name) as upload, pytest.raises(PartOffsetError, match="700") as caught:
        upload.send(part_of(upload, 0, 1000))
    assert caught.value.offset == 700


def test_a_part_that_ecr_wants_and_refuses_may_be_taken_later(desk: Desk) -> None:
    with parted(desk, wrong_offset(0), name=ECR) as upload, pytest.raises(TransientError) as caught:
        upload.send(part_of(upload, 0, 1000))
    assert type(caught.value) is TransientError


def test_a_part_out_of_place_goes_where_the_upload_stands(desk: Desk) -> None:
    status = accepted(1700, 204, Location="/upload/1?now")
    with parted(desk, failing(416), status, accepted(2500)) as upload:
        with pytest.raises(PartOffsetError) as caught:
            upload.send(part_of(upload, 1000, 2000))
        assert caught.value.offset == 1700
        upload.send(part_of(upload, 1700, 2500))
    assert ways(desk) == ["PATCH", "GET", "PATCH"]
    assert desk.asked[-1].target == "/upload/1?now"


@pytest.mark.parametrize(
    "status",
    [accepted(1000, 204), Reply(status=204), failing(404, "BLOB_UPLOAD_UNKNOWN"), failing(416), failing(405)],
    ids=["where it was refused", "untold", "unknown", "out of place", "not offered"],
)
def test_an_upload_that_does_not_say_where_it_goes_on_is_lost(desk: Desk, status: Reply) -> None:
    with parted(desk, failing(416), status) as upload, pytest.raises(UploadLostError):
        upload.send(part_of(upload, 1000, 2000))


def test_ecr_is_not_asked_where_an_upload_stands(desk: Desk) -> None:
    with parted(desk, failing(416, "BLOB_UPLOAD_INVALID", "?"), name=ECR) as upload, pytest.raises(UploadLostError):
        upload.send(part_of(upload, 0, 1000))
    assert ways(desk) == ["PATCH"]


# Lost answers


@pytest.mark.parametrize("lost", LATER)
@pytest.mark.parametrize(("stop", "offset"), [(0, 0), (400, 400), (1000, 1000)])
def test_after_a_lost_answer_nothing_is_sent_before_it_is_known_what_arrived(
    desk: Desk, lost: Scripted, stop: int, offset: int
) -> None:
    with parted(desk, lost, accepted(stop, 204), accepted(1000)) as upload:
        part = part_of(upload, 0, 1000)
        with pytest.raises(TransientError) as caught:
            upload.send(part)
        assert not isinstance(caught.value, PartOffsetError | UploadLostError)
        if offset:
            with pytest.raises(PartOffsetError) as found:
                upload.send(part)
            assert found.value.offset == offset
        if offset < 1000:
            assert upload.send(part_of(upload, offset, 1000)) == 1000
    assert ways(desk) == ["PATCH", "GET", "PATCH"][: 2 if offset == 1000 else 3]


@pytest.mark.parametrize("lost", LATER)
def test_at_ecr_a_part_is_sent_again_and_refused_with_the_right_place(desk: Desk, lost: Scripted) -> None:
    with parted(desk, lost, wrong_offset(1000), accepted(2000, 201), name=ECR) as upload:
        part = part_of(upload, 0, 1000)
        with pytest.raises(TransientError):
            upload.send(part)
        with pytest.raises(PartOffsetError) as caught:
            upload.send(part)
        assert caught.value.offset == 1000
        assert upload.send(part_of(upload, 1000, 2000)) == 2000
    assert ways(desk) == ["PATCH", "PATCH", "PATCH"]


def test_what_arrived_is_asked_once(desk: Desk) -> None:
    with parted(desk, failing(500), accepted(0, 204), accepted(1000), accepted(2000)) as upload:
        with pytest.raises(TransientError):
            upload.send(part_of(upload, 0, 1000))
        upload.send(part_of(upload, 0, 1000))
        upload.send(part_of(upload, 1000, 2000))
    assert ways(desk) == ["PATCH", "GET", "PATCH", "PATCH"]


def test_at_ecr_a_lost_answer_is_forgotten_once_another_came(desk: Desk) -> None:
    with parted(desk, failing(500), accepted(1000, 201), accepted(2000, 202), name=ECR) as upload:
        with pytest.raises(TransientError):
            upload.send(part_of(upload, 0, 1000))
        assert upload.send(part_of(upload, 0, 1000)) == 1000
        assert upload.send(part_of(upload, 1000, 2000)) == 2000


def test_what_arrived_is_asked_again_while_that_answer_is_lost_too(desk: Desk) -> None:
    with parted(desk, failing(500), failing(500), accepted(400, 204)) as upload:
        part = part_of(upload, 0, 1000)
        for _ in range(2):
            with pytest.raises(TransientError):
                upload.send(part)
        with pytest.raises(PartOffsetError):
            upload.send(part)
    assert ways(desk) == ["PATCH", "GET", "GET"]


def test_an_upload_that_is_in_another_state_than_its_place_says_is_lost(desk: Desk) -> None:
    """That is all of distribution 2.8 after a part that was cut: registry/handlers/blobupload.go, ResumeBlobUpload."""
    with parted(desk, hanging_up, failing(404, "BLOB_UPLOAD_INVALID")) as upload:
        with pytest.raises(TransientError):
            upload.send(part_of(upload, 0, 1000))
        with pytest.raises(UploadLostError):
            upload.send(part_of(upload, 0, 1000))


# Refusals


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failing(404, "BLOB_UPLOAD_UNKNOWN"), UploadLostError),
        (failing(404), UploadLostError),
        (failing(404, "NAME_UNKNOWN"), RepositoryNotFoundError),
        (failing(400, "SIZE_INVALID"), IntegrityError),
        (failing(403), AuthError),
        (failing(429), BusyError),
        (failing(418), TransferError),
    ],
)
@pytest.mark.parametrize("name", ["", ECR])
def test_a_part_that_is_refused_is_an_error_that_names_its_blob(
    desk: Desk, reply: Reply, kind: type[EcrdragError], name: str
) -> None:
    with parted(desk, reply, name=name) as upload, pytest.raises(kind) as caught:
        upload.send(part_of(upload, 0, 1000))
    assert type(caught.value) is kind
    assert str(BLOB.digest) in str(caught.value)


# The completion


@pytest.mark.parametrize("lost", LATER)
def test_a_completion_without_an_answer_is_asked_for_again(desk: Desk, lost: Scripted) -> None:
    with parted(desk, accepted(1000), accepted(2000), accepted(2500), lost, created(BLOB.digest)) as upload:
        send_all(upload)
        with pytest.raises(TransientError) as caught:
            upload.complete()
        assert not isinstance(caught.value, UploadLostError)
        upload.complete()
    assert [one.body for one in desk.asked[-2:]] == [b"", b""]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failing(404, "BLOB_UPLOAD_UNKNOWN"), UploadLostError),
        (Reply(status=202), UploadLostError),
        (failing(416), TransferError),
        (failing(400, "BLOB_UPLOAD_INVALID", "None of the provided layer digests match"), IntegrityError),
        (failing(400, "BLOB_UPLOAD_INVALID", "All layer parts except the last part"), TransferError),
        (created(OTHER), IntegrityError),
    ],
)
def test_a_completion_that_is_refused_is_an_error(desk: Desk, reply: Reply, kind: type[EcrdragError]) -> None:
    with parted(desk, accepted(1000), accepted(2000), accepted(2500), reply) as upload:
        send_all(upload)
        with pytest.raises(kind) as caught:
            upload.complete()
    assert type(caught.value) is kind


# Tried out


def bring(upload: BlobUpload) -> None:
    send_all(upload)
    upload.complete()


def cut(destination: DistributionDestination, desk: Desk) -> None:
    """Let an upload in one request break off."""
    desk.replies.append(hanging_up)
    upload = destination.begin(BLOB)
    assert isinstance(upload, FlowingUpload)
    send_all(upload)
    with pytest.raises(UploadLostError):
        upload.complete()


def test_a_blob_whose_request_broke_off_is_tried_in_parts(desk: Desk) -> None:
    with desk.opened() as destination:
        cut(destination, desk)
        desk.replies.extend([accepted(1000), hanging_up, accepted(1000, 204), accepted(2000), accepted(), created()])
        upload = destination.begin(BLOB)
        assert isinstance(upload, PartedUpload)
        upload.send(part_of(upload, 0, 1000))
        with pytest.raises(TransientError):
            upload.send(part_of(upload, 1000, 2000))
        upload.send(part_of(upload, 1000, 2000))
        upload.send(part_of(upload, 2000, 2500))
        upload.complete()
        assert isinstance(destination.begin(BLOB), PartedUpload)


@pytest.mark.parametrize(
    "refusals",
    [
        [failing(416, "", "the request body is too large"), failing(404)],  # ghcr.io: ocx-sh/ocx#237
        [failing(405, "UNSUPPORTED")],
        [failing(400)],
        [failing(404, "BLOB_UPLOAD_INVALID")],
        [accepted(1000), accepted(2000), accepted(2500), failing(400, "DIGEST_INVALID")],
        [accepted(1000), accepted(2000), accepted(2500), failing(404)],
    ],
)
def test_a_registry_that_takes_no_parts_gets_the_blob_in_one_request_again(
    desk: Desk, refusals: list[Scripted]
) -> None:
    with desk.opened() as destination:
        cut(destination, desk)
        desk.replies.extend(refusals)
        upload = destination.begin(BLOB)
        assert isinstance(upload, PartedUpload)
        with pytest.raises(UploadLostError):
            bring(upload)
        cut(destination, desk)
        assert isinstance(destination.begin(BLOB), FlowingUpload)


@pytest.mark.parametrize("refusal", [failing(403), failing(404, "NAME_UNKNOWN"), failing(429), failing(500)])
def test_what_has_nothing_to_do_with_parts_says_nothing_about_them(desk: Desk, refusal: Reply) -> None:
    with desk.opened() as destination:
        cut(destination, desk)
        desk.replies.append(refusal)
        upload = destination.begin(BLOB)
        with pytest.raises(EcrdragError) as caught:
            upload.send(part_of(upload, 0, 1000))
        assert not isinstance(caught.value, UploadLostError)
        assert isinstance(destination.begin(BLOB), PartedUpload)
