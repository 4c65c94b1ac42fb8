"""Manifests put to any registry, against scripted ones: byte for byte, once, and under a tag that may not move."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from ecrdrag import manifest
from ecrdrag.content import Digest
from ecrdrag.errors import (
    AuthError,
    BusyError,
    ConflictError,
    EcrdragError,
    IntegrityError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.registry.distribution_destination import DistributionDestination
from tests.destinations import ECR, OTHER, PUBLIC, by_method, destination_at, methods
from tests.images import Blob, hello_image
from tests.scripted_registry import Asked, Registry, Reply, failing, scripted

HELLO = manifest.parse(hello_image("amd64").manifest.content, manifest.OCI_MANIFEST)
TAG = "/v2/team/app/manifests/1"
UNTAGGED = f"/v2/team/app/manifests/{HELLO.digest}"
HERE, NOT_HERE = Reply(), failing(404)


def tagged(digest: Digest = HELLO.digest, status: int = 200) -> Reply:
    return Reply(status=status, headers={"Docker-Content-Digest": str(digest)})


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        yield registry


@pytest.fixture
def destination(registry: Registry) -> Iterator[DistributionDestination]:
    with destination_at(registry) as made:
        yield made


@pytest.mark.parametrize(("tag", "path"), [("1", TAG), (None, UNTAGGED)])
def test_a_manifest_is_put_byte_for_byte(
    registry: Registry, destination: DistributionDestination, tag: str | None, path: str
) -> None:
    registry.replies[path] = by_method(HEAD=NOT_HERE, PUT=tagged(status=201))
    assert destination.put_manifest(HELLO, tag) is True
    asked = registry.asked[-1]
    assert (asked.method, asked.target, asked.body) == ("PUT", path, HELLO.raw)
    assert asked.headers["content-type"] == manifest.OCI_MANIFEST


def test_a_tag_that_an_index_holds_is_moved_to_an_image_inside_it(
    registry: Registry, destination: DistributionDestination
) -> None:
    def held(asked: Asked) -> Reply:
        """Answer as distribution 2 does: who takes no docker list gets one image out of it instead."""
        return tagged(OTHER if manifest.DOCKER_LIST in asked.headers["accept"] else HELLO.digest)

    registry.replies[TAG] = by_method(HEAD=held, PUT=tagged(status=201))
    assert destination.put_manifest(HELLO, "1") is True
    assert methods(registry) == ["HEAD", "PUT"]


@pytest.mark.parametrize(
    ("tag", "there"), [("1", tagged()), (None, tagged()), (None, HERE)], ids=["tagged", "untagged", "untold"]
)
def test_a_manifest_that_is_there_is_not_put(
    registry: Registry, destination: DistributionDestination, tag: str | None, there: Reply
) -> None:
    registry.replies[TAG if tag else UNTAGGED] = there
    assert destination.put_manifest(HELLO, tag) is False
    assert methods(registry) == ["HEAD"]


@pytest.mark.parametrize("there", [HERE, tagged(OTHER), failing(403), failing(401), failing(405), failing(400)])
def test_a_manifest_is_put_where_nobody_says_that_it_is_there(
    registry: Registry, destination: DistributionDestination, there: Reply
) -> None:
    registry.replies[TAG] = by_method(HEAD=there, PUT=Reply(status=201))
    assert destination.put_manifest(HELLO, "1") is True


def test_a_manifest_that_is_kept_as_another_is_an_integrity_error(
    registry: Registry, destination: DistributionDestination
) -> None:
    registry.replies[TAG] = by_method(HEAD=NOT_HERE, PUT=tagged(OTHER, 201))
    with pytest.raises(IntegrityError, match=f"{HELLO.digest} was kept as {OTHER}"):
        destination.put_manifest(HELLO, "1")
    registry.replies[TAG] = by_method(HEAD=NOT_HERE, PUT=tagged(Digest.of(HELLO.raw, "sha512"), 201))
    assert destination.put_manifest(HELLO, "1") is True


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (failing(404, "MANIFEST_BLOB_UNKNOWN"), TransientError),
        (failing(404, "BLOB_UPLOAD_UNKNOWN"), TransientError),  # ECR: mapbox/ecs-conex#50
        (failing(404, "BLOB_UNKNOWN"), TransientError),
        (failing(400, "MANIFEST_INVALID"), UnsupportedError),
        (failing(403, "DENIED"), AuthError),
        (failing(429, "TOOMANYREQUESTS"), BusyError),
        (failing(503), BusyError),
        (failing(500), TransientError),
        (failing(418), TransferError),
        (Reply(status=302, headers={"Location": "/elsewhere"}), TransferError),
    ],
)
def test_a_manifest_that_is_refused_is_an_error_that_names_it(
    registry: Registry, destination: DistributionDestination, refusal: Reply, kind: type[EcrdragError]
) -> None:
    registry.replies[TAG] = by_method(HEAD=NOT_HERE, PUT=refusal)
    with pytest.raises(kind) as caught:
        destination.put_manifest(HELLO, "1")
    assert type(caught.value) is kind
    assert f"the manifest {HELLO.digest} in {registry.host}/team/app:1" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "code", "kind"),
    [
        ("", "MANIFEST_BLOB_UNKNOWN", TransientError),
        (ECR, "BLOB_UPLOAD_UNKNOWN", UnsupportedError),
        (PUBLIC, "BLOB_UNKNOWN", UnsupportedError),
        (ECR, "UNAVAILABLE", BusyError),
    ],
)
def test_a_manifest_that_lacks_its_blob_without_bytes_is_hopeless_at_ecr_alone(
    registry: Registry, name: str, code: str, kind: type[EcrdragError]
) -> None:
    hollow = {**json.loads(HELLO.raw), "layers": [Blob(b"", "application/x").json]}
    registry.replies[TAG] = by_method(HEAD=NOT_HERE, PUT=failing(404, code))
    with destination_at(registry, name) as destination, pytest.raises(kind) as caught:
        destination.put_manifest(manifest.parse(json.dumps(hollow).encode(), manifest.OCI_MANIFEST), "1")
    assert type(caught.value) is kind
    assert ("names a blob without bytes, which ECR takes no upload of" in str(caught.value)) == (
        kind is UnsupportedError
    )


@pytest.mark.parametrize("status", [408, 425, 429, 500])
def test_a_question_that_may_be_answered_later_is_asked_again_before_anything_is_put(
    registry: Registry, destination: DistributionDestination, status: int
) -> None:
    registry.replies[TAG] = by_method(HEAD=failing(status))
    with pytest.raises(TransientError):
        destination.put_manifest(HELLO, "1")
    assert methods(registry) == ["HEAD"]


IMMUTABLE = failing(400, "TAG_INVALID", "The image tag '1' cannot be overwritten because the repository is immutable.")


def moved(*holders: Reply, refusal: Reply = IMMUTABLE) -> Callable[[Asked], Reply]:
    """Answer each question for a tag's holder in its own way, and refuse a manifest."""
    heads = iter(holders)
    return by_method(HEAD=lambda _: next(heads), PUT=refusal)


@pytest.mark.parametrize("refusal", [IMMUTABLE, failing(412, "PRECONDITION"), failing(409)])
def test_an_immutable_tag_of_another_image_is_a_conflict_that_names_both(
    registry: Registry, destination: DistributionDestination, refusal: Reply
) -> None:
    registry.replies[TAG] = moved(tagged(OTHER), tagged(OTHER), refusal=refusal)
    with pytest.raises(ConflictError) as caught:
        destination.put_manifest(HELLO, "1")
    assert str(caught.value) == f"{registry.host}/team/app:1 is immutable and holds {OTHER}, not {HELLO.digest}"


def test_an_immutable_tag_that_somebody_else_gave_the_same_image_is_success(
    registry: Registry, destination: DistributionDestination
) -> None:
    registry.replies[TAG] = moved(NOT_HERE, tagged())
    assert destination.put_manifest(HELLO, "1") is False


def test_a_conflict_is_one_without_knowing_who_holds_the_tag(
    registry: Registry, destination: DistributionDestination
) -> None:
    registry.replies[TAG] = moved(NOT_HERE, failing(403))
    with pytest.raises(ConflictError, match="cannot be overwritten"):
        destination.put_manifest(HELLO, "1")


def test_the_holder_of_a_tag_counts_in_a_conflict_alone(
    registry: Registry, destination: DistributionDestination
) -> None:
    registry.replies[TAG] = moved(NOT_HERE, tagged(), refusal=failing(400, "MANIFEST_INVALID"))
    with pytest.raises(UnsupportedError):
        destination.put_manifest(HELLO, "1")
