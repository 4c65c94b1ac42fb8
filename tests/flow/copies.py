"""Own two local ECRs and copies between them, through the library, by the door of the ECR API.

The flow tests of copies enter.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config
from mypy_boto3_ecr import ECRClient

from ecrdrag.content import Descriptor
from ecrdrag.copy import Copied, CopyOptions, copy
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.faults import FaultLayer
from ecrdrag.manifest import Manifest
from ecrdrag.reference import ImageReference
from ecrdrag.registry import ecr_parts
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_destination import EcrDestination
from ecrdrag.registry.ends import Destination
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.pace import Paces
from ecrdrag.transfer.progress import Progress
from ecrdrag.tree import Tree
from tests.images import Image, ImageIndex
from tests.localecr import Recorder

JOBS = 5
LEAST = 20_000  # bytes per second of a line, below which it is given up


@dataclass
class Site:
    """A local ECR, what it was asked, and the faults to be played."""

    ecr: LocalEcr
    recorder: Recorder
    faults: FaultLayer

    def asked(self, *starts: str) -> dict[str, int]:
        """Count the requests whose operation, or method and path, begin so."""
        return {start: self.recorder.count(start) for start in starts}


@contextmanager
def site(folder: Path, settings: Settings | None = None) -> Iterator[Site]:
    """Run a local ECR with faults and a recorder in front."""
    recorder, faults = Recorder(), FaultLayer()
    with LocalEcr(folder, settings=settings, wrap=lambda handler: recorder.wrap(faults.wrap(handler))) as ecr:
        yield Site(ecr, recorder, faults)


@contextmanager
def api_of(place: Site, reference: ImageReference, *, patience: float = 20.0) -> Iterator[ECRClient]:
    """Give a client for the account and the region of a reference, which tries once."""
    host = reference.private
    key_id, secret = place.ecr.credentials_of(host.account)
    api = boto3.client(
        "ecr",
        endpoint_url=place.ecr.endpoint,
        region_name=host.region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=patience, max_pool_connections=32),
    )
    ecr_parts.install(api.meta.events)
    try:
        yield api
    finally:
        api.close()


@contextmanager
def source_at(place: Site, reference: ImageReference, *, patience: float = 20.0) -> Iterator[EcrSource]:
    """Open a repository to read from it."""
    turns = Paces(JOBS, first=JOBS)
    with (
        api_of(place, reference, patience=patience) as api,
        BlobTransport(connections=JOBS, turns=turns, read_timeout=patience, min_rate=LEAST) as transport,
    ):
        yield EcrSource(api, transport, reference, turns)


@contextmanager
def destination_at(place: Site, reference: ImageReference, *, patience: float = 20.0) -> Iterator[Destination]:
    """Open a repository to write to it."""
    with api_of(place, reference, patience=patience) as api:
        yield EcrDestination(api, reference, Paces(JOBS, first=JOBS))


class Counter:
    """Progress that adds up."""

    def __init__(self) -> None:
        self.total = self.landed = self.done = 0
        self._lock = threading.Lock()

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        self.total, self.landed = size or 0, landed

    def advance(self, size: int) -> None:
        with self._lock:
            self.landed += size

    def blob_done(self, blob: Descriptor) -> None:
        with self._lock:
            self.done += 1


@dataclass
class Shown:
    """Keep the progress of each stage."""

    counters: dict[str, Counter] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        self.counters[name] = Counter()
        yield self.counters[name]


def copied(
    here: Site,
    reference: str,
    there: Site,
    to: str,
    options: CopyOptions | None = None,
    *,
    shown: Shown | None = None,
    patience: float = 20.0,
) -> Copied:
    """Copy from one site to the other."""
    source, target = ImageReference.parse(reference), ImageReference.parse(to)
    with ExitStack() as stack:
        return copy(
            source,
            stack.enter_context(source_at(here, source, patience=patience)),
            target,
            stack.enter_context(destination_at(there, target, patience=patience)),
            options or CopyOptions(),
            shown or Shown(),
        )


def tags_at(place: Site, reference: str) -> Mapping[str, str]:
    """Give the digests of a repository's tags; what has none is there by its own digest."""
    parsed = ImageReference.parse(reference)
    with api_of(place, parsed) as api:
        found = api.list_images(repositoryName=parsed.repository)["imageIds"]
    return {one.get("imageTag") or one["imageDigest"]: one["imageDigest"] for one in found}


def check_whole(place: Site, reference: str, content: Image | ImageIndex) -> None:
    """Read back every document and every blob under a reference."""
    parsed = ImageReference.parse(reference)
    with source_at(place, parsed) as source:
        root = source.manifest(tag=parsed.tag, digest=parsed.digest)
        assert (root.raw, root.media_type) == (content.manifest.content, content.manifest.media_type)
        for image in content.images if isinstance(content, ImageIndex) else (content,):
            manifest = source.manifest(digest=image.manifest.digest)
            assert isinstance(manifest, Manifest)
            assert manifest.raw == image.manifest.content
            for blob in Tree((manifest,)).blobs:
                assert fetch(blob, source) == image.blobs[blob.digest].content
