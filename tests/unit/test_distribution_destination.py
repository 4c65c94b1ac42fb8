"""Any registry as a Destination, against scripted ones: what is missing, repositories, mounts, turns and logins."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ecrdrag.content import Descriptor, Turn
from ecrdrag.errors import AuthError, BusyError, RepositoryNotFoundError, TransferError, TransientError
from ecrdrag.registry.auth import Login
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.ends import Destination, RepositorySettings, Unlimited
from tests.destinations import ECR, PUBLIC, UPLOADS, blob_of, by_method, destination_at, methods
from tests.scripted_registry import Asked, Keys, Registry, Reply, failing, guarded, scripted

LOGIN = Login("me", "s3cret:word")
HERE, NOT_HERE = Reply(), failing(404)


BLOB, EMPTY = blob_of(b"blob"), blob_of(b"")


def path_of(blob: Descriptor) -> str:
    return f"/v2/team/app/blobs/{blob.digest}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        yield registry


@pytest.fixture
def destination(registry: Registry) -> Iterator[DistributionDestination]:
    with destination_at(registry) as made:
        yield made


# What is there


def test_the_destination_is_one(destination: DistributionDestination) -> None:
    def accept(destination: Destination) -> None: ...

    accept(destination)


def test_what_is_not_there_is_missing_and_what_is_there_is_not(
    registry: Registry, destination: DistributionDestination
) -> None:
    blobs = [blob_of(bytes([number])) for number in range(20)]
    for blob in blobs[::2]:
        registry.replies[path_of(blob)] = Reply(b"x")
    assert destination.missing([*blobs, *blobs, EMPTY]) == {blob.digest for blob in (*blobs[1::2], EMPTY)}
    assert sorted(registry.targets()) == sorted(map(path_of, (*blobs, EMPTY)))
    assert set(methods(registry)) == {"HEAD"}
    assert destination.missing([]) == set()


def test_blobs_are_asked_for_side_by_side(registry: Registry, destination: DistributionDestination) -> None:
    together = threading.Barrier(8)

    def wait(_: Asked) -> Reply:
        together.wait(20)
        return HERE

    blobs = [blob_of(bytes([number])) for number in range(8)]
    registry.replies.update({path_of(blob): wait for blob in blobs})
    assert destination.missing(blobs) == set()


def test_what_was_answered_is_not_asked_again_with_what_was_not(
    registry: Registry, destination: DistributionDestination
) -> None:
    blobs = [blob_of(bytes([number])) for number in range(20)]
    registry.replies.update({path_of(blob): HERE for blob in blobs[1:]})
    registry.replies[path_of(blobs[5])] = failing(500)
    with pytest.raises(TransientError):
        destination.missing(blobs)
    first, registry.replies[path_of(blobs[5])] = registry.targets(), HERE
    assert destination.missing(blobs) == {blobs[0].digest}
    again = registry.targets()[len(first) :]
    assert len(set(first)) == len(first)
    assert set(first) & set(again) == {path_of(blobs[5])}
    assert destination.missing(blobs) == {blobs[0].digest}
    assert len(registry.asked) == len(first) + len(again) + 20


@pytest.mark.parametrize("refusal", [failing(500), failing(418)])
def test_no_more_is_asked_of_a_registry_that_fails(
    registry: Registry, destination: DistributionDestination, refusal: Reply
) -> None:
    blobs = [blob_of(bytes([number])) for number in range(200)]
    registry.replies[path_of(blobs[0])] = refusal
    with pytest.raises(TransferError):
        destination.missing(blobs)
    assert len(registry.asked) < 100


@pytest.mark.parametrize(("length", "lacks"), [("4", False), ("5", True), ("0", False), ("four", False)])
def test_a_blob_of_another_size_is_brought_so_that_it_is_found_out(
    registry: Registry, destination: DistributionDestination, length: str, lacks: bool
) -> None:
    registry.replies[path_of(BLOB)] = Reply(length=length)
    assert destination.missing([BLOB]) == ({BLOB.digest} if lacks else set())


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_registry_that_hides_blobs_from_heads_shows_them_to_gets(registry: Registry, status: int) -> None:
    other = blob_of(b"other")
    elsewhere = Reply(status=307, headers={"Location": f"{registry.url}/elsewhere"})
    registry.replies[path_of(BLOB)] = by_method(HEAD=Reply(status=status), GET=elsewhere)
    registry.replies[path_of(other)] = failing(404, "BLOB_UNKNOWN")
    with destination_at(registry, PUBLIC) as destination:
        assert destination.missing([BLOB]) == set()
        assert destination.missing([other]) == {other.digest}
    assert methods(registry) == ["HEAD", "GET", "GET"]
    assert {one.headers["range"] for one in registry.asked[1:]} == {"bytes=0-0"}


@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_to_say_whether_a_blob_is_there_is_an_error(
    registry: Registry, destination: DistributionDestination, status: int
) -> None:
    registry.replies[path_of(BLOB)] = failing(status, "DENIED", "not you")
    with pytest.raises(AuthError, match="DENIED: not you"):
        destination.missing([BLOB])
    assert methods(registry) == ["HEAD", "GET"]


def test_at_ecr_a_blob_without_bytes_never_is_missing_nor_asked_for(registry: Registry) -> None:
    with destination_at(registry, ECR) as destination:
        assert destination.missing([EMPTY]) == set()
    assert registry.asked == []


# The repository


CREATE = "ecrdrag repo create 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app"
CREATE_PUBLIC = "aws ecr-public create-repository --region us-east-1 --repository-name app"


@pytest.mark.parametrize(("name", "command"), [(ECR, CREATE), (PUBLIC, CREATE_PUBLIC)])
@pytest.mark.parametrize("creates", [False, True])
def test_at_ecr_a_missing_repository_is_found_by_asking_for_any_blob(
    registry: Registry, name: str, command: str, creates: bool
) -> None:
    registry.replies[path_of(BLOB)] = by_method(HEAD=NOT_HERE, GET=failing(404, "NAME_UNKNOWN", "no such name"))
    create = (lambda _: True) if creates else None
    with (
        destination_at(registry, name, create=create) as destination,
        pytest.raises(RepositoryNotFoundError, match="no such name") as caught,
    ):
        destination.missing([BLOB])
    assert f"`{command}`" in caught.value.hint
    assert ("--create-repository" in caught.value.hint) == creates


@pytest.mark.parametrize("told", [failing(404, "BLOB_UNKNOWN"), failing(403, "DENIED")], ids=["told", "not told"])
def test_whether_there_is_a_repository_is_asked_once(registry: Registry, told: Reply) -> None:
    registry.replies[path_of(BLOB)] = by_method(HEAD=NOT_HERE, GET=told)
    with destination_at(registry, ECR) as destination:
        assert destination.missing([BLOB]) == destination.missing([BLOB]) == {BLOB.digest}
    assert methods(registry) == ["HEAD", "GET", "HEAD"]


def test_elsewhere_a_missing_repository_comes_into_being_by_the_push(
    registry: Registry, destination: DistributionDestination
) -> None:
    assert destination.missing([BLOB]) == {BLOB.digest}
    assert methods(registry) == ["HEAD"]
    assert destination.create_repository(RepositorySettings()) is False


def test_a_repository_that_an_upload_needs_is_said_to_be_missing(
    registry: Registry, destination: DistributionDestination
) -> None:
    registry.replies[UPLOADS] = failing(404, "NAME_UNKNOWN", "no project of this name")
    with pytest.raises(RepositoryNotFoundError, match="no project of this name") as caught:
        destination.begin(BLOB)
    assert "create it in the registry" in caught.value.hint


@pytest.mark.parametrize("is_new", [True, False])
def test_a_repository_is_created_by_who_can(registry: Registry, is_new: bool) -> None:
    wanted: list[RepositorySettings] = []

    def create(settings: RepositorySettings) -> bool:
        wanted.append(settings)
        return is_new

    with destination_at(registry, ECR, create=create) as destination:
        assert destination.create_repository(RepositorySettings(immutable=True)) is is_new
    assert wanted == [RepositorySettings(immutable=True)]


# Mounts


def test_a_blob_is_mounted_from_another_repository(registry: Registry, destination: DistributionDestination) -> None:
    registry.replies[UPLOADS] = Reply(status=201)
    assert destination.mount(BLOB, "base/image") is True
    (asked,) = registry.asked
    assert asked.method == "POST"
    assert asked.target == f"{UPLOADS}?mount=sha256%3A{BLOB.digest.hex}&from=base%2Fimage"


def test_a_blob_that_does_not_come_has_its_upload_begun_already(
    registry: Registry, destination: DistributionDestination
) -> None:
    begun = iter(range(9))
    registry.replies[UPLOADS] = lambda _: Reply(status=202, headers={"Location": f"/upload/{next(begun)}"})
    registry.replies["/upload/0"] = registry.replies["/upload/1"] = registry.replies["/upload/2"] = Reply(status=201)
    assert destination.mount(BLOB, "base/image") is False
    for blob in (blob_of(b"other"), BLOB, BLOB):
        destination.begin(blob).complete()
    assert [one.target.partition("?")[0] for one in registry.asked if one.method == "PUT"] == [
        "/upload/1",
        "/upload/0",
        "/upload/2",
    ]


def test_an_upload_that_was_begun_nowhere_is_begun_anew(
    registry: Registry, destination: DistributionDestination
) -> None:
    registry.replies[UPLOADS] = Reply(status=202)
    assert destination.mount(BLOB, "base/image") is False
    registry.replies[UPLOADS] = Reply(status=202, headers={"Location": "/upload"})
    destination.begin(BLOB)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429, 500, 503])
def test_a_mount_that_is_refused_is_no_failure(
    registry: Registry, destination: DistributionDestination, status: int
) -> None:
    registry.replies[UPLOADS] = failing(status, "DENIED")
    assert destination.mount(BLOB, "base/image") is False


def bearer(registry: Registry) -> str:
    return f'Bearer realm="{registry.url}/token",service="registry.test",scope="repository:team/app:pull,push"'


def test_a_token_that_is_not_given_for_the_other_repository_is_not_missed(registry: Registry) -> None:
    """One scope more is refused by some token servers; what was refused must not be asked for again."""

    def token(asked: Asked) -> Reply:
        return failing(403) if "base" in asked.target else Reply(b'{"token": "t0ken", "expires_in": 1}')

    place = Reply(status=202, headers={"Location": "/upload"})
    registry.replies["/token"] = token
    registry.replies[UPLOADS] = guarded(place, "Bearer t0ken", bearer(registry))
    with destination_at(registry, keys=Keys(LOGIN)) as destination:
        assert destination.mount(BLOB, "base/image") is False
        destination.begin(BLOB)
    asked = [one.target for one in registry.asked if one.target.startswith("/token")]
    assert "scope=repository%3Abase%2Fimage%3Apull" in asked[0]


# Turns and logins


class Counting(Unlimited):
    """Note whose turn it was, what it moved, and what ended it."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.moves: list[int] = []
        self.busy = 0

    @contextmanager
    def turn(self, end: str) -> Iterator[Turn]:
        self.ends.append(end)
        try:
            yield self
        except BusyError:
            self.busy += 1
            raise

    def moved(self, count: int) -> None:
        self.moves.append(count)


def test_every_request_waits_for_its_turn_and_one_too_many_is_told(registry: Registry) -> None:
    turns = Counting()
    registry.replies[UPLOADS] = Reply(status=202, headers={"Location": "/upload"})
    registry.replies["/upload"] = Reply(status=201)
    with destination_at(registry, turns=turns) as destination:
        upload = destination.begin(BLOB)
        upload.send(upload.encode(0, 4, [memoryview(b"blob")]))
        upload.complete()
        registry.replies[UPLOADS] = failing(429)
        with pytest.raises(BusyError):
            destination.begin(BLOB)
    assert turns.ends == [registry.host] * 3
    assert turns.moves == [1, 4]
    assert turns.busy == 1


def test_a_token_that_has_expired_is_renewed_where_only_reads_are_told(registry: Registry) -> None:
    """ECR Public answers 400 without a challenge: aws/containers-roadmap#2835."""
    tokens = iter(("old", "new"))
    registry.replies["/token"] = lambda _: Reply(json.dumps({"token": next(tokens), "expires_in": 9999}).encode())

    def guard(reply: Reply) -> Callable[[Asked], Reply]:
        def answer(asked: Asked) -> Reply:
            given = asked.headers.get("authorization", "")
            if not given:
                return Reply(status=401, headers={"WWW-Authenticate": bearer(registry)})
            return reply if given == "Bearer new" else failing(400, "DENIED", "Your Authorization Token is invalid.")

        return answer

    registry.replies[UPLOADS] = guard(Reply(status=202, headers={"Location": "/upload"}))
    registry.replies["/v2/team/app/tags/list"] = guard(Reply(b"{}"))
    with destination_at(registry, keys=Keys(LOGIN)) as destination:
        destination.begin(BLOB)
    assert next(tokens, None) is None
