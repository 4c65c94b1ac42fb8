"""Own the check of a whole store: every row and every byte, while nobody serves it.

The command and tests may enter. What a kill leaves behind is garbage and no damage: it is counted, not complained of.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError, UnsupportedError
from ecrdrag.localecr.names import RepositoryKey
from ecrdrag.localecr.storage.blobs import ALGORITHM, Blobs
from ecrdrag.localecr.storage.database import Database
from ecrdrag.localecr.storage.keys import Keys
from ecrdrag.localecr.storage.layers import LayerTable
from ecrdrag.localecr.storage.store import KEYS, METADATA, locked
from ecrdrag.schema1 import Schema1

_READ_SIZE: Final = 1024 * 1024
_AHEAD: Final = 4  # blobs in the queue of each thread that hashes

Complain = Callable[[str], None]
"""Takes one line about one thing that is broken."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was looked at, and how much of it is broken; garbage is what the next collection removes."""

    images: int
    layers: int
    uploads: int
    blobs: int
    size: int
    garbage: int
    broken: int

    def __str__(self) -> str:
        """Return a line for people."""
        return (
            f"{self.images} images, {self.layers} layers, {self.uploads} uploads, {self.blobs} blobs of"
            f" {self.size} bytes, {self.garbage} of them garbage: {self.broken or 'nothing'} broken"
        )


def scrub(folder: Path, complain: Complain) -> Tally:
    """Read a whole data folder; raise ArchiveError for one that is served, or that can't be read at all."""
    if not (folder / METADATA).is_file():
        raise ArchiveError(f"{folder} holds no data of a local ECR", hint="name the folder that was served with --data")
    complaints = _Complaints(complain)
    try:
        with locked(folder):
            return _scrub(folder, complaints)
    except (OSError, sqlite3.OperationalError) as error:
        raise ArchiveError(f"the data folder {folder} can't be read: {error}") from error
    except sqlite3.DatabaseError as error:
        complaints.add(f"{METADATA}: {error}")
        return Tally(0, 0, 0, 0, 0, 0, complaints.count)


class _Complaints:
    """Count what is complained of."""

    def __init__(self, complain: Complain) -> None:
        self._complain = complain
        self.count = 0

    def add(self, line: str) -> None:
        """Complain of one thing."""
        self.count += 1
        self._complain(line)


def _scrub(folder: Path, complaints: _Complaints) -> Tally:
    try:
        Keys.of(folder / KEYS, ())
    except ArchiveError as error:
        complaints.add(str(error))
    blobs = Blobs(folder)
    with closing(Database(folder / METADATA, may_begin=False)) as metadata, metadata.ask(_Rows) as rows:
        for line in rows.damage(blobs):
            complaints.add(line)
        garbage = size = count = 0
        for blob in _side_by_side(partial(_judge, blobs), blobs.names()):
            for line in rows.lines_about(blob) if blob.damage else ():
                complaints.add(line)
            count, size, garbage = (
                count + 1,
                size + blob.size,
                garbage + (not rows.is_named(f"{ALGORITHM}:{blob.name}")),
            )
        return Tally(*rows.counts(), count, size, garbage, complaints.count)


@dataclass(frozen=True, slots=True)
class _Read:
    """One blob that was read, and what is wrong with it."""

    name: str
    size: int
    damage: str

    def __str__(self) -> str:
        return f"{ALGORITHM}:{self.name} {self.damage}"


def _judge(blobs: Blobs, name: str) -> _Read:
    try:
        digest, size = _hash(blobs.path(name))
    except OSError as error:
        return _Read(name, 0, f"can't be read: {error.strerror}")
    return _Read(name, size, "" if digest == name else f"holds the bytes of {ALGORITHM}:{digest}")


def _hash(path: Path) -> tuple[str, int]:
    digest, size = hashlib.new(ALGORITHM), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ_SIZE):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _side_by_side(judge: Callable[[str], _Read], names: Iterable[str]) -> Iterator[_Read]:
    """Judge on every processor, in the order of the names, however many there are."""
    workers = os.cpu_count() or 1
    waiting: deque[Future[_Read]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for name in names:
            waiting.append(pool.submit(judge, name))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Rows(LayerTable):
    """Ask for every row, and whether what it says is so."""

    def damage(self, blobs: Blobs) -> Iterator[str]:
        """Give a line for each row that is broken."""
        yield from self._structure()
        yield from self._documents()
        yield from self._images()
        yield from self._references()
        yield from self._layers(blobs)
        yield from self._uploads(blobs)

    def counts(self) -> tuple[int, int, int]:
        """Count images, layers and uploads."""
        images, layers, uploads = self._run(
            "SELECT (SELECT count(*) FROM image), (SELECT count(*) FROM layer), (SELECT count(*) FROM upload)"
        ).fetchone()
        return images, layers, uploads

    def lines_about(self, blob: _Read) -> list[str]:
        """Say what is wrong with a blob, for each repository that has it."""
        rows = self._run(
            "SELECT account, region, name FROM layer JOIN repository ON id = repository WHERE digest = ?",
            (f"{ALGORITHM}:{blob.name}",),
        )
        return [f"{_arn(key)}: the blob of layer {blob}" for key in rows] or [f"blob {blob}"]

    def _structure(self) -> Iterator[str]:
        for (line,) in self._run("PRAGMA integrity_check"):
            if line != "ok":
                yield f"{METADATA}: {line}"
        for table, row, parent, _ in self._run("PRAGMA foreign_key_check"):
            yield f"{METADATA}: row {row} of {table} points to no {parent}"

    def _documents(self) -> Iterator[str]:
        rows = self._run(
            "SELECT 'repository ' || name, settings FROM repository"
            " UNION ALL SELECT kind || ' ' || name || ' of ' || account, value FROM registry_setting"
            " UNION ALL SELECT kind || ' ' || name || ' of repository ' || repository, value FROM repository_setting"
        )
        yield from (f"{what}: the document isn't JSON" for what, value in rows if not _is_json(value))

    def _images(self) -> Iterator[str]:
        rows = self._run(
            "SELECT account, region, name, digest, media_type, raw FROM image"
            " JOIN repository ON repository.id = repository"
        )
        for *key, digest, media_type, raw in rows:
            if not _is_named(digest, media_type, raw):
                yield f"{_arn(key)}: image {digest} holds another manifest"

    def _references(self) -> Iterator[str]:
        # A layer of an image from upstream comes when it is asked for.
        rows = self._run(
            "SELECT account, region, repository.name, parent, child FROM reference"
            " JOIN repository ON repository.id = repository WHERE NOT EXISTS (SELECT 1 FROM layer"
            "  WHERE layer.repository = reference.repository AND digest = child)"
            " AND NOT EXISTS (SELECT 1 FROM image WHERE image.repository = reference.repository AND digest = child)"
            " AND NOT EXISTS (SELECT 1 FROM registry_setting AS rule WHERE kind = 'pull-through-cache-rule'"
            "  AND rule.account = repository.account AND rule.region = repository.region AND (rule.name = 'ROOT'"
            "  OR substr(repository.name, 1, length(rule.name) + 1) = rule.name || '/'))"
        )
        for *key, parent, child in rows:
            yield f"{_arn(key)}: image {parent} needs {child}, which isn't there"

    def _layers(self, blobs: Blobs) -> Iterator[str]:
        rows = self._run("SELECT account, region, name, digest, size FROM layer JOIN repository ON id = repository")
        for *key, digest, size in rows:
            found = blobs.find(digest.partition(":")[2])
            if found is None:
                yield f"{_arn(key)}: layer {digest} has no blob"
            elif found.size != size:
                yield f"{_arn(key)}: layer {digest} has {size} bytes, its blob {found.size}"

    def _uploads(self, blobs: Blobs) -> Iterator[str]:
        rows = self._run(
            "SELECT account, region, name, upload.id, received FROM upload"
            " JOIN repository ON repository.id = repository"
        )
        for *key, upload, received in rows:
            size = blobs.upload_size(upload)
            if size < received:
                yield f"{_arn(key)}: upload {upload} has {size} bytes of the {received} that were acknowledged"


def _is_named(digest: str, media_type: str, raw: bytes) -> bool:
    """Tell whether a digest is a manifest's; that of signed schema 1 may be of what is signed: Settings says which."""
    algorithm = digest.partition(":")[0]
    if algorithm in hashlib.algorithms_available and str(Digest.of(raw, algorithm)) == digest:
        return True
    try:
        return str(Schema1.parse(raw, media_type).digest) == digest
    except UnsupportedError:
        return False


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _arn(key: Iterable[str]) -> str:
    return RepositoryKey(*key).arn
