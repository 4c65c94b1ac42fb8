"""What is put with a subject, at scripted registries: who lists it, and the index that we keep where nobody does."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError, ConflictError, EcrdragError, IntegrityError, TransientError, UnsupportedError
from ecrdrag.manifest import DOCKER_LIST, MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST, Document, parse
from ecrdrag.registry.distribution_destination import DistributionDestination
from tests.destinations import destination_at, methods
from tests.images import hello_image
from tests.kinds import EMPTY, Parcel, artifact, greeter, index, sbom, signature
from tests.scripted_registry import Asked, Registry, Reply, failing, scripted

APP = greeter("amd64", "hello\n")
MANIFESTS = "/v2/team/app/manifests/"
LISTS = f"/v2/team/app/referrers/{APP.digest}"
TAG = f"sha256-{APP.digest.hex}"
SIGNED, MATERIALS = signature(APP), sbom(APP)
NO_LISTS = failing(404)


def document_of(parcel: Parcel) -> Document:
    return parse(parcel.root.content, parcel.root.media_type)


@dataclass
class Kept:
    """Manifests by tag and digest, as distribution keeps them: an index goes in when all that it names is there."""

    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    lists: Reply = NO_LISTS
    strict: bool = True
    refusals: dict[str, Reply] = field(default_factory=dict)
    immutable: Collection[str] = ()
    before_put: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, asked: Asked) -> Reply:
        if asked.target.startswith("/v2/team/app/referrers/"):
            return self.lists
        name = asked.target.removeprefix(MANIFESTS)
        with self.lock:
            if refusal := self.refusals.get(f"{asked.method} {name}"):
                return refusal
            return self._put(name, asked) if asked.method == "PUT" else self._get(name)

    def _get(self, name: str) -> Reply:
        if name not in self.manifests:
            return failing(404, "MANIFEST_UNKNOWN")
        raw, kind = self.manifests[name]
        return Reply(raw, headers={"Content-Type": kind, "Docker-Content-Digest": str(Digest.of(raw))})

    def _put(self, name: str, asked: Asked) -> Reply:
        self.before_put()
        if name in self.immutable and name in self.manifests:
            return failing(400, "TAG_INVALID", "the tag is immutable")
        children = json.loads(asked.body).get("manifests", [])
        if self.strict and any(child["digest"] not in self.manifests for child in children):
            return failing(404, "MANIFEST_BLOB_UNKNOWN")
        kept = asked.body, asked.headers["content-type"]
        self.manifests[name] = self.manifests[str(Digest.of(asked.body))] = kept
        return Reply(status=201, headers=self.headers)

    def keep(self, name: str, raw: bytes, kind: str = OCI_INDEX) -> None:
        self.manifests[name] = raw, kind

    @property
    def entries(self) -> list[dict[str, object]]:
        """What the index under the tag lists."""
        raw, kind = self.manifests[TAG]
        assert kind == OCI_INDEX
        entries = json.loads(raw)["manifests"]
        assert isinstance(entries, list)
        return entries


class _Anywhere(dict[str, Reply | Callable[[Asked], Reply]]):
    """Lead every path to one function."""

    def __init__(self, reply: Callable[[Asked], Reply]) -> None:
        self._reply = reply

    def get(self, key: str, default: object = None) -> Callable[[Asked], Reply]:
        return self._reply


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def registry(kept: Kept) -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies = _Anywhere(kept.reply)
        yield registry


@pytest.fixture
def destination(registry: Registry) -> Iterator[DistributionDestination]:
    with destination_at(registry) as made:
        yield made


def entry_of(parcel: Parcel, kind: str, **more: object) -> dict[str, object]:
    return {**parcel.root.json, "artifactType": kind, **more}


def digests(entries: list[dict[str, object]]) -> list[object]:
    return [entry["digest"] for entry in entries]


def asked_after_the_put(registry: Registry, parcel: Parcel) -> list[str]:
    """Give what was asked when the manifest was there."""
    targets = [f"{one.method} {one.target}" for one in registry.asked]
    return targets[targets.index(f"PUT {MANIFESTS}{parcel.digest}") + 1 :]


def test_without_lists_what_has_a_subject_is_noted_under_the_tag(
    registry: Registry, kept: Kept, destination: DistributionDestination
) -> None:
    assert destination.put_manifest(document_of(SIGNED)) is True
    assert asked_after_the_put(registry, SIGNED) == [f"GET {LISTS}", f"GET {MANIFESTS}{TAG}", f"PUT {MANIFESTS}{TAG}"]
    assert json.loads(kept.manifests[TAG][0]) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [entry_of(SIGNED, "application/vnd.dev.cosign.artifact.sig.v1+json")],
    }


def test_what_has_no_subject_is_not(registry: Registry, kept: Kept, destination: DistributionDestination) -> None:
    assert destination.put_manifest(document_of(APP), "1") is True
    assert destination.put_manifest(document_of(APP), "1") is False
    assert methods(registry) == ["HEAD", "PUT", "HEAD"]


def test_all_annotations_are_copied_and_without_an_artifact_type_that_of_the_config(
    kept: Kept, destination: DistributionDestination
) -> None:
    said = {"a": "b", "org.opencontainers.image.created": "2024-05-06T07:08:09Z"}
    plain = artifact([], subject=APP, annotations=said)
    image = hello_image()
    members = {**json.loads(image.manifest.content), "subject": APP.root.json}
    as_image = parse(json.dumps(members).encode(), OCI_MANIFEST)
    for document in (document_of(plain), as_image):
        destination.put_manifest(document)
    first, second = kept.entries
    assert first == entry_of(plain, EMPTY.media_type, annotations=said)
    assert second["artifactType"] == image.config.media_type
    assert "annotations" not in second


def test_an_index_may_refer_and_has_no_type_unless_it_says_one(
    kept: Kept, destination: DistributionDestination
) -> None:
    plain, typed = index([], subject=APP.root.json), index([], subject=APP.root.json, artifactType="application/x")
    for each in (plain, typed):
        destination.put_manifest(document_of(each))
    assert kept.entries == [plain.root.json, entry_of(typed, "application/x")]


def test_what_is_noted_stays_as_it_is_and_in_its_order(kept: Kept, destination: DistributionDestination) -> None:
    old = [
        {"urls": ["https://x.example/"], "x-more": {"b": 1, "a": 2}, **entry_of(MATERIALS, "application/b")},
        {**entry_of(APP, "application/a"), "annotations": {"ü": "\ud800"}},
    ]
    kept.strict = False
    kept.keep(TAG, json.dumps({"annotations": {"by": "us"}, "schemaVersion": 2, "manifests": old}).encode())
    destination.put_manifest(document_of(SIGNED))
    assert kept.entries[:2] == old
    assert [list(entry) for entry in kept.entries[:2]] == [list(entry) for entry in old]
    assert digests(kept.entries)[2:] == [str(SIGNED.digest)]
    assert json.loads(kept.manifests[TAG][0])["annotations"] == {"by": "us"}


def test_what_is_noted_already_is_not_noted_twice(
    registry: Registry, kept: Kept, destination: DistributionDestination
) -> None:
    assert destination.put_manifest(document_of(SIGNED)) is True
    before = kept.manifests[TAG]
    assert destination.put_manifest(document_of(SIGNED)) is False
    assert kept.manifests[TAG] == before
    assert [one.method for one in registry.asked].count("PUT") == 2


def test_a_push_that_ended_before_the_note_is_mended_by_the_next(
    kept: Kept, destination: DistributionDestination
) -> None:
    kept.keep(str(SIGNED.digest), SIGNED.root.content, OCI_MANIFEST)
    assert destination.put_manifest(document_of(SIGNED)) is True
    assert digests(kept.entries) == [str(SIGNED.digest)]


def test_what_somebody_else_put_meanwhile_is_noted(kept: Kept, destination: DistributionDestination) -> None:
    document = document_of(SIGNED)
    kept.immutable = {"1"}

    def put_by_somebody_else() -> None:
        for name in ("1", str(document.digest)):
            kept.keep(name, document.raw, document.media_type)

    kept.before_put = put_by_somebody_else
    assert destination.put_manifest(document, "1") is True
    assert digests(kept.entries) == [str(SIGNED.digest)]


def test_a_registry_that_says_that_it_noted_the_subject_is_asked_nothing_more(
    registry: Registry, kept: Kept, destination: DistributionDestination
) -> None:
    kept.headers = {"OCI-Subject": str(APP.digest)}
    for each in (SIGNED, MATERIALS):
        assert destination.put_manifest(document_of(each)) is True
    assert destination.put_manifest(document_of(SIGNED)) is False
    assert methods(registry) == ["HEAD", "PUT", "HEAD", "PUT", "HEAD"]
    assert TAG not in kept.manifests


def test_a_registry_that_has_lists_and_doesnt_say_so_is_asked_for_them_once(
    registry: Registry, kept: Kept, destination: DistributionDestination
) -> None:
    kept.lists = Reply(b'{"schemaVersion":2,"manifests":[]}', headers={"Content-Type": f"{OCI_INDEX}; charset=utf-8"})
    for each in (SIGNED, MATERIALS):
        assert destination.put_manifest(document_of(each)) is True
    assert methods(registry) == ["HEAD", "PUT", "GET", "HEAD", "PUT"]
    assert TAG not in kept.manifests


@pytest.mark.parametrize(
    "lists",
    [failing(400), failing(403), failing(405), failing(406), Reply(b"<html>", headers={"Content-Type": "text/html"})],
)
def test_who_answers_otherwise_has_no_lists(kept: Kept, destination: DistributionDestination, lists: Reply) -> None:
    kept.lists = lists
    destination.put_manifest(document_of(SIGNED))
    assert digests(kept.entries) == [str(SIGNED.digest)]


def test_many_at_once_lose_nothing(kept: Kept, destination: DistributionDestination) -> None:
    marks = [artifact([], artifact_type=f"application/{n}", subject=APP) for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(destination.put_manifest, map(document_of, marks)))
    assert sorted(map(str, digests(kept.entries))) == sorted(str(mark.digest) for mark in marks)


def test_what_breaks_the_format_is_taken_out(kept: Kept, destination: DistributionDestination) -> None:
    kept.strict = False
    good = entry_of(MATERIALS, "application/b")
    bad = [{}, None, 7, {**good, "size": -1}, {**good, "digest": "sha256:x"}]
    kept.keep(TAG, json.dumps({"schemaVersion": 1, "manifests": [*bad, good]}).encode())
    destination.put_manifest(document_of(SIGNED))
    assert digests(kept.entries) == [str(MATERIALS.digest), str(SIGNED.digest)]
    assert json.loads(kept.manifests[TAG][0])["schemaVersion"] == 2


def test_what_is_gone_is_taken_out_where_the_registry_refuses_it(
    kept: Kept, destination: DistributionDestination
) -> None:
    gone, there = artifact([], artifact_type="application/gone", subject=APP), MATERIALS
    kept.keep(str(there.digest), there.root.content, OCI_MANIFEST)
    entries = [entry_of(gone, "application/gone"), entry_of(there, "application/b")]
    kept.keep(TAG, json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert destination.put_manifest(document_of(SIGNED)) is True
    assert digests(kept.entries) == [str(there.digest), str(SIGNED.digest)]


def test_what_the_registry_doesnt_know_yet_is_worth_another_try(
    kept: Kept, destination: DistributionDestination
) -> None:
    kept.refusals = {f"HEAD {SIGNED.digest}": failing(404), f"PUT {TAG}": failing(404, "MANIFEST_UNKNOWN")}
    with pytest.raises(TransientError, match=f"doesn't know the manifest {SIGNED.digest} yet"):
        destination.put_manifest(document_of(SIGNED))
    kept.refusals = {}
    assert destination.put_manifest(document_of(SIGNED)) is True
    assert digests(kept.entries) == [str(SIGNED.digest)]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (APP.root.content, OCI_MANIFEST),
        (b'{"schemaVersion":2,"manifests":[]}', DOCKER_LIST),
        (b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % DOCKER_LIST.encode(), "application/json"),
        (b"[]", OCI_INDEX),
        (b"nonsense", OCI_INDEX),
        (b'{"manifests":' + b"[" * 100_000, OCI_INDEX),
    ],
    ids=["an image", "a list of docker's", "another one", "an array", "nonsense", "depth"],
)
def test_what_else_has_the_tag_is_left_alone_and_said(
    kept: Kept, destination: DistributionDestination, caplog: pytest.LogCaptureFixture, raw: bytes, kind: str
) -> None:
    kept.keep(TAG, raw, kind)
    with caplog.at_level(logging.WARNING):
        assert destination.put_manifest(document_of(SIGNED)) is True
    assert kept.manifests[TAG] == (raw, kind)
    (said,) = (record.getMessage() for record in caplog.records)
    assert f"team/app:{TAG} should be an index of referrers" in said
    assert str(SIGNED.digest) in said


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (failing(400, "TAG_INVALID", "the tag is immutable"), ConflictError),
        (failing(403, "DENIED"), AuthError),
        (failing(500), TransientError),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_refused_note_is_an_error(
    kept: Kept, destination: DistributionDestination, refusal: Reply, kind: type[EcrdragError], method: str
) -> None:
    kept.refusals = {f"{method} {TAG}": refusal}
    with pytest.raises(EcrdragError, match=TAG) as caught:
        destination.put_manifest(document_of(SIGNED))
    if method == "PUT":
        assert type(caught.value) is kind


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_list_that_may_come_later_is_not_taken_for_none(
    kept: Kept, destination: DistributionDestination, status: int
) -> None:
    kept.lists = failing(status)
    with pytest.raises(TransientError):
        destination.put_manifest(document_of(SIGNED))
    assert TAG not in kept.manifests
    kept.lists = Reply(b'{"schemaVersion":2,"manifests":[]}', headers={"Content-Type": OCI_INDEX})
    assert destination.put_manifest(document_of(SIGNED)) is False
    assert TAG not in kept.manifests


def test_an_index_is_held_against_the_digest_that_is_told(kept: Kept, destination: DistributionDestination) -> None:
    headers = {"Content-Type": OCI_INDEX, "Docker-Content-Digest": str(APP.digest)}
    kept.refusals = {f"GET {TAG}": Reply(b'{"schemaVersion":2,"manifests":[]}', headers=headers)}
    with pytest.raises(IntegrityError):
        destination.put_manifest(document_of(SIGNED))


def test_an_index_that_nobody_could_read_is_not_put(kept: Kept, destination: DistributionDestination) -> None:
    kept.strict = False
    entry = {**entry_of(MATERIALS, "application/b"), "annotations": {"a": "x" * (MAX_MANIFEST_SIZE - 500)}}
    kept.keep(TAG, json.dumps({"schemaVersion": 2, "manifests": [entry]}, separators=(",", ":")).encode())
    before = kept.manifests[TAG]
    with pytest.raises(UnsupportedError, match="nobody reads"):
        destination.put_manifest(document_of(SIGNED))
    assert kept.manifests[TAG] == before
