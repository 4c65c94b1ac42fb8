"""Own two ends of a copy that are nothing but dictionaries, note what they are asked, and fail when they are told to.

The tests of the stories enter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ecrdrag.content import Descriptor, Digest, EncodedPart
from ecrdrag.copy import Copied, CopyOptions, copy
from ecrdrag.errors import NotFoundError, RepositoryNotFoundError, UploadLostError
from ecrdrag.manifest import Document, Index, Manifest, parse_any
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.resolve import Wish
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.progress import Progress, Silence
from ecrdrag.transfer.retry import RetryPolicy
from tests.images import Blob, Image, ImageIndex

HERE = ImageReference.parse("one.example:5000/team/app:1")
THERE = ImageReference.parse("two.example/other/app:2")
BESIDE = ImageReference.parse("one.example:5000/team/copy:1")
FAST = RetryPolicy(tries=3, base=0.0)
PIECE = 700


class MemorySource:
    """Give documents and blobs that a test puts in; before_each sees every question first, and may raise."""

    def __init__(self) -> None:
        self.documents: dict[Digest, Document | Schema1] = {}
        self.tags: dict[str, Digest] = {}
        self.blobs: dict[Digest, bytes] = {}
        self.listed: dict[Digest, tuple[Descriptor, ...]] = {}
        self.asked: list[str] = []
        self.before_each: Callable[[str], None] = lambda question: None
        self.aborted = threading.Event()

    def put(self, content: Image | ImageIndex, tag: str = "") -> Digest:
        """Offer an image, or an index and the images in it; return its digest."""
        for image in content.images if isinstance(content, ImageIndex) else ():
            self.put(image)
        if isinstance(content, Image):
            self.blobs.update({digest: blob.content for digest, blob in content.blobs.items()})
        return self.put_document(content.manifest, tag)

    def put_document(self, blob: Blob, tag: str = "") -> Digest:
        """Offer a document by its digest and a tag, and to who asks what refers to its subject."""
        document = parse_any(blob.content, blob.media_type)
        if not isinstance(document, Schema1) and document.subject and document.digest not in self.documents:
            subject = document.subject.digest
            self.listed[subject] = (*self.listed.get(subject, ()), document.descriptor)
        self.documents[document.digest] = document
        self.tags[tag] = document.digest
        return document.digest

    def count(self, start: str) -> int:
        """Count the questions that begin so."""
        return sum(one.startswith(start) for one in self.asked)

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document | Schema1:
        self._note(f"manifest {digest or tag}")
        found = self.documents.get(digest or self.tags.get(tag or "", Digest("", "")))
        if found is None:
            raise NotFoundError(f"there is no {digest or tag}")
        return found

    def measure(self, digest: Digest) -> int:
        self._note(f"measure {digest}")
        if digest not in self.blobs:
            raise NotFoundError(f"there is no blob {digest}")
        return len(self.blobs[digest])

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        self._note(f"referrers {digest}")
        return self.listed.get(digest, ())

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        self._note(f"blob {blob.digest} {start}")
        data = memoryview(self.blobs[blob.digest])[start:stop]
        for place in range(0, len(data), PIECE):
            self.before_each("piece")
            yield data[place : place + PIECE]

    def expect(self, blob: Descriptor) -> None:
        pass

    def abort(self) -> None:
        self.aborted.set()

    def _note(self, question: str) -> None:
        self.asked.append(question)
        self.before_each(question)


class MemoryDestination:
    """Take blobs and documents; what other repositories hold, by name, can be mounted."""

    def __init__(self, *, exists: bool = True, part_size: int = 1000) -> None:
        self.exists, self.part_size = exists, part_size
        self.blobs: dict[Digest, bytes] = {}
        self.documents: dict[Digest, Manifest | Index] = {}
        self.tags: dict[str, Digest] = {}
        self.neighbours: dict[str, dict[Digest, bytes]] = {}
        self.created: list[RepositorySettings] = []
        self.asked: list[str] = []
        self.before_each: Callable[[str], None] = lambda question: None

    def count(self, start: str) -> int:
        """Count the calls that begin so."""
        return sum(one.startswith(start) for one in self.asked)

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        digests = {blob.digest for blob in blobs if blob.size}
        self.note(f"missing {len(digests)}")
        return digests - set(self.blobs)

    def begin(self, blob: Descriptor) -> MemoryUpload:
        self.note(f"begin {blob.digest}")
        return MemoryUpload(self, blob, self.part_size)

    def mount(self, blob: Descriptor, repository: str) -> bool:
        self.note(f"mount {blob.digest} {repository}")
        found = self.neighbours.get(repository, {}).get(blob.digest)
        if found is not None:
            self.blobs[blob.digest] = found
        return found is not None

    def put_manifest(self, document: Manifest | Index, tag: str | None = None) -> bool:
        self.note(f"put {document.digest} {tag}")
        if isinstance(document, Manifest):
            assert {blob.digest for blob in document.blobs if not blob.urls} <= set(self.blobs), "blobs come first"
        else:
            assert {entry.digest for entry in document.manifests} <= set(self.documents), "children come first"
        is_new = document.digest not in self.documents or (tag is not None and self.tags.get(tag) != document.digest)
        self.documents[document.digest] = document
        if tag is not None:
            self.tags[tag] = document.digest
        return is_new

    def holder(self, tag: str) -> Digest | None:
        return self.tags.get(tag)

    def create_repository(self, settings: RepositorySettings) -> bool:
        self.asked.append("create")
        self.before_each("create")
        was_there, self.exists = self.exists, True
        self.created.append(settings)
        return not was_there

    def note(self, question: str) -> None:
        """Note a call; raise when the repository isn't there, or when the test says so."""
        self.asked.append(question)
        self.before_each(question)
        if not self.exists:
            raise RepositoryNotFoundError("there is no such repository")


@dataclass(eq=False)
class MemoryUpload:
    """Take the parts of one blob in order."""

    destination: MemoryDestination
    blob: Descriptor
    part_size: int
    taken: bytearray = field(default_factory=bytearray)

    def encode(self, start: int, stop: int, views: Iterable[memoryview]) -> EncodedPart:
        data = bytearray()
        for view in views:
            data += view
        return EncodedPart(start, stop, data)

    def send(self, part: EncodedPart) -> int:
        self.destination.note(f"send {self.blob.digest} {part.start}")
        assert part.start == len(self.taken)
        self.taken += part.body
        return len(self.taken)

    def complete(self) -> None:
        self.destination.note(f"complete {self.blob.digest}")
        if Digest.of(bytes(self.taken)) != self.blob.digest:
            raise UploadLostError("another digest")
        self.destination.blobs[self.blob.digest] = bytes(self.taken)


class Stages:
    """Keep the names of the stages."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        self.names.append(name)
        yield Silence()


def copied(
    source: MemorySource,
    destination: MemoryDestination,
    to: ImageReference = THERE,
    *,
    tag: str = "1",
    digest: Digest | None = None,
    wish: Wish | None = None,
    create: RepositorySettings | None = None,
    dry_run: bool = False,
    jobs: int = 3,
    stages: Stages | None = None,
) -> Copied:
    """Copy from HERE, by a tag or a digest."""
    here = ImageReference(HERE.registry, HERE.repository, None if digest else tag, digest, None, "")
    options = CopyOptions(wish=wish, create=create, dry_run=dry_run, jobs=jobs, retry=FAST)
    return copy(here, source, to, destination, options, stages or Stages())
