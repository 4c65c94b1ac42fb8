"""What is about images in the local ECR, through the ECR API and through /v2/: the same is found, and kept, by both."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError, EcrdragError, IntegrityError, NotFoundError, TransferError, TransientError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import Dialect
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import OCI_INDEX, Document, parse
from ecrdrag.reference import ImageReference
from ecrdrag.referrers import referrers_of
from ecrdrag.registry import ecr as ecr_room
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_destination import EcrDestination
from ecrdrag.registry.ends import Destination, Source
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import Referrer
from tests.flow.conftest import HOST
from tests.kinds import SIGNATURE, SPDX, Parcel, all_about, artifact, buildx_index, document_of, in_toto, put, sbom
from tests.localecr import REGION, Recorder, client, push_blob, running
from tests.registry import password_of, visiting
from tests.scripted_registry import Keys

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

BOTH = buildx_index()
IMAGE = BOTH.of("amd64")
EVERYTHING = (*all_about(BOTH), *all_about(IMAGE))
REFERENCE = ImageReference.parse(f"{HOST}/my/app:1")
FAST = RetryPolicy(tries=3, base=0.0)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", recorder=recorder) as server, client(server) as api:
        api.create_repository(repositoryName="my/app")
        put(api, "my/app", BOTH, "1")
        yield server


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as made:
        yield made


@pytest.fixture
def source(ecr: LocalEcr, api: ECRClient) -> Iterator[EcrSource]:
    with BlobTransport(connections=2) as transport:
        yield EcrSource(api, transport, REFERENCE)


@contextmanager
def over_v2(ecr: LocalEcr) -> Iterator[RegistryClient]:
    keys = Keys(Login("AWS", password_of(ecr)))
    with RegistryClient(ecr.endpoint, registry=REFERENCE.registry, keyring=keys) as made:
        yield made


@contextmanager
def source_by(door: str, ecr: LocalEcr) -> Iterator[Source]:
    with BlobTransport(connections=2) as transport, client(ecr) as api, over_v2(ecr) as v2:
        yield EcrSource(api, transport, REFERENCE) if door == "api" else DistributionSource(v2, transport, REFERENCE)


@contextmanager
def destination_by(door: str, ecr: LocalEcr) -> Iterator[Destination]:
    with client(ecr) as api, over_v2(ecr) as v2:
        yield EcrDestination(api, REFERENCE) if door == "api" else DistributionDestination(v2, REFERENCE)


def documents_of(parcel: Parcel) -> list[Document]:
    return [parse(blob.content, blob.media_type) for blob in parcel.documents]


def found(source: Source, about: Parcel = BOTH, *types: str) -> tuple[Referrer, ...]:
    return referrers_of(documents_of(about), source, REFERENCE.name, types, FAST)


def attach(api: ECRClient, *parcels: Parcel) -> None:
    for parcel in parcels:
        put(api, "my/app", parcel)


def answering(operation: str, status: int, body: Mapping[str, object]) -> Callable[[Request, Handler], Answer]:
    """Answer one operation so, and leave the others to the server."""

    def intercept(request: Request, handler: Handler) -> Answer:
        if not request.headers.get("X-Amz-Target", "").endswith(f".{operation}"):
            return handler(request)
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        return Answer(status, headers, json.dumps(body).encode(), "intercepted")

    return intercept


@pytest.mark.parametrize("settings", [None, Settings(region=REGION, dialect=Dialect.OCI)], ids=["ecr", "oci"])
def test_both_doors_find_the_same_in_the_same_order(tmp_path: Path, settings: Settings | None) -> None:
    with running(tmp_path / "data", settings) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="my/app")
        put(api, "my/app", BOTH, "1")
        attach(api, *EVERYTHING)
        with source_by("api", ecr) as one, source_by("v2", ecr) as other:
            by_api, by_v2 = found(one), found(other)
    assert by_api == by_v2
    assert {(each.tree.root.digest, each.tag or "") for each in by_api} == {
        (each.digest, each.tag) for each in EVERYTHING
    }
    assert {each.tree.root.raw for each in by_api} == {each.root.content for each in EVERYTHING}


@pytest.mark.parametrize("door", ["api", "v2"])
def test_one_image_and_one_type_are_found_alone(ecr: LocalEcr, api: ECRClient, door: str) -> None:
    attach(api, *EVERYTHING)
    with source_by(door, ecr) as source:
        assert [one.tree.root.digest for one in found(source, IMAGE, SPDX)] == [sbom(IMAGE).digest]
        assert len(found(source, IMAGE, SIGNATURE)) == 2


@pytest.mark.parametrize("pushing", ["api", "v2"])
@pytest.mark.parametrize("dialect", list(Dialect)[:2], ids=lambda each: each.value)
def test_what_either_door_puts_is_listed_and_no_tag_is_made_for_it(
    tmp_path: Path, dialect: Dialect, pushing: str
) -> None:
    with running(tmp_path / "data", Settings(region=REGION, dialect=dialect)) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="my/app")
        put(api, "my/app", BOTH, "1")
        about = in_toto(BOTH)
        for blob in about.blobs.values():
            push_blob(api, "my/app", blob.content)
        (document,) = documents_of(about)
        with destination_by(pushing, ecr) as destination:
            assert destination.put_manifest(document) is True
            assert destination.put_manifest(document) is False
        tags = [one["imageTag"] for one in api.list_images(repositoryName="my/app")["imageIds"] if "imageTag" in one]
        assert tags == ["1"]
        for door in ("api", "v2"):
            with source_by(door, ecr) as source:
                (one,) = source.referrers(BOTH.digest)
                assert (one.digest, one.artifact_type, one.size) == (
                    about.digest,
                    document.artifact_type,
                    len(document.raw),
                )


def test_all_pages_are_read_and_each_referrer_has_type_and_annotations(
    api: ECRClient, source: EcrSource, recorder: Recorder
) -> None:
    made = [artifact([], artifact_type=f"application/{n}", subject=BOTH, annotations={"n": str(n)}) for n in range(101)]
    attach(api, *made)
    listed = {one.digest: one for one in source.referrers(BOTH.digest)}
    assert recorder.count("ListImageReferrers") == 3
    assert listed.keys() == {each.digest for each in made}
    for n, each in enumerate(made):
        one = listed[each.digest]
        assert (one.artifact_type, one.annotations, one.size) == (
            f"application/{n}", {"n": str(n)}, len(each.root.content)
        )  # fmt: skip


def test_what_is_archived_is_not_listed(api: ECRClient, source: EcrSource) -> None:
    active, archived = sbom(BOTH), in_toto(BOTH)
    attach(api, active, archived)
    api.update_image_storage_class(
        repositoryName="my/app", imageId={"imageDigest": str(archived.digest)}, targetStorageClass="ARCHIVE"
    )
    assert [one.digest for one in source.referrers(BOTH.digest)] == [active.digest]


@pytest.mark.parametrize("door", ["api", "v2"])
def test_an_index_that_old_clients_keep_under_a_tag_lists_too(ecr: LocalEcr, api: ECRClient, door: str) -> None:
    untold, told = sbom(BOTH), in_toto(BOTH)
    attach(api, untold, told)
    index = document_of(OCI_INDEX, manifests=[untold.root.json, told.root.json])
    put(api, "my/app", Parcel((index,)), f"sha256-{BOTH.digest.hex}")
    with source_by(door, ecr) as source:
        assert {one.tree.root.digest for one in found(source)} == {untold.digest, told.digest}


def test_an_endpoint_without_lists_is_asked_once_and_its_tags_are_read(
    api: ECRClient, source: EcrSource, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    attach(api, *EVERYTHING)
    refusal = {"__type": "UnknownOperationException", "message": "no such operation"}
    recorder.intercept = answering("ListImageReferrers", 400, refusal)
    with caplog.at_level(logging.WARNING):
        assert source.referrers(BOTH.digest) == ()
        assert source.referrers(IMAGE.digest) == ()
    assert recorder.count("ListImageReferrers") == 1
    (said,) = (record.getMessage() for record in caplog.records)
    assert "UnknownOperationException" in said
    assert {one.tag for one in found(source)} == {each.tag for each in EVERYTHING if each.tag}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            400,
            {"__type": "AccessDeniedException", "message": "not authorized to perform: ecr:BatchGetImage"},
            AuthError,
        ),
        (400, {"__type": "RepositoryNotFoundException", "message": "no"}, NotFoundError),
        (400, {"__type": "UnableToListUpstreamImageReferrersException", "message": "no"}, TransferError),
        (500, {"__type": "ServerException", "message": "no"}, TransientError),
        (200, {}, TransientError),
        (200, {"referrers": [{"digest": "sha256:7", "mediaType": "x", "size": 1}]}, IntegrityError),
        (200, {"referrers": [], "nextToken": "again"}, TransferError),
    ],
)
def test_what_is_refused_or_makes_no_sense_is_an_error(
    source: EcrSource, recorder: Recorder, status: int, body: Mapping[str, object], kind: type[EcrdragError]
) -> None:
    recorder.intercept = answering("ListImageReferrers", status, body)
    with pytest.raises(kind) as caught:
        source.referrers(BOTH.digest)
    assert REFERENCE.name in str(caught.value)


def test_pages_without_end_are_an_error(source: EcrSource, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecr_room, "_MAX_PAGES", 20)

    def endless(request: Request, handler: Handler) -> Answer:
        body = {"referrers": [], "nextToken": str(len(recorder.requests))}
        return answering("ListImageReferrers", 200, body)(request, handler)

    recorder.intercept = endless
    with pytest.raises(TransferError, match="have no end"):
        source.referrers(BOTH.digest)
    assert recorder.count("ListImageReferrers") == 20


@pytest.mark.parametrize("door", ["api", "v2"])
def test_blobs_are_measured(ecr: LocalEcr, api: ECRClient, door: str) -> None:
    with source_by(door, ecr) as source:
        for blob in BOTH.blobs.values():
            assert source.measure(blob.digest) == len(blob.content)


@pytest.mark.parametrize("door", ["api", "v2"])
def test_a_blob_that_is_not_there_or_that_no_image_has_is_not_found(ecr: LocalEcr, api: ECRClient, door: str) -> None:
    push_blob(api, "my/app", b"nobody's")
    with source_by(door, ecr) as source:
        for digest in (Digest.of(b"gone"), Digest.of(b"nobody's")):
            with pytest.raises(NotFoundError):
                source.measure(digest)


def test_a_header_says_that_a_subject_was_noted(ecr: LocalEcr) -> None:
    about = artifact([], artifact_type="application/x", subject=IMAGE)
    with visiting(ecr) as v2:
        v2.push_blob(b"{}", "my/app")
        reply = v2.push(about.root.content.decode(), "my/app")
    assert reply.headers["OCI-Subject"] == str(IMAGE.digest)
