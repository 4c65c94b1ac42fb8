"""Own the index of what refers to an image, which clients keep under a tag where a registry has no lists of that.

registry/distribution_destination.py enters. OCI distribution spec, "Pushing Manifests with Subject" and "Referrers Tag
Schema". Two processes that push at once may each lose what the other one notes: not even the specification prevents it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.errors import TransientError, UnsupportedError
from ecrdrag.manifest import DOCKER_LIST, MAX_MANIFEST_SIZE, OCI_INDEX, Document, Manifest, parse, parse_object
from ecrdrag.reference import fallback_tag
from ecrdrag.registry.distribution_repository import REFUSED, Answer, Repository
from ecrdrag.registry.upstream import ACCEPT

log = logging.getLogger(__name__)

_OK, _NOT_FOUND = 200, 404
_TAKEN: Final = (_OK, 201, 202)
# An index whose manifests aren't all there is refused by distribution, and by others.
_INCOMPLETE: Final = ("MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN")

_Entry = Mapping[str, object]


class ReferrerIndexes:
    """Note what refers to images of one repository; safe from many threads."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._has_lists: bool | None = None  # None until it is known
        self._lock = threading.Lock()

    def note(self, document: Document, answer: Answer | None = None) -> bool:
        """Note a document that is there, if it has a subject; False when the registry does, or it was noted already.

        answer is the registry's to its PUT, if there was one. Raises what a refusal means.
        """
        if document.subject is None:
            return False
        subject = document.subject.digest
        if answer and answer.headers.get("OCI-Subject"):
            self._has_lists = True
        with self._lock:  # another thread may note something else about the same image
            if self._has_lists is None:
                self._has_lists = self._lists(subject)
            return not self._has_lists and self._add(document, subject)

    def _lists(self, subject: Digest) -> bool:
        """Ask for the list: who has one is not asked for the tag by anybody, though it may not have sent a header."""
        what = f"referrers of {subject} in {self._repository.where}"
        answer = self._repository.ask("GET", f"referrers/{subject}", what, good=(_OK, *REFUSED))
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return answer.status == _OK and kind == OCI_INDEX

    def _add(self, document: Document, subject: Digest) -> bool:
        tag = fallback_tag(subject)
        try:
            index = self._index(tag)
        except UnsupportedError as error:  # the specification: report a failure and skip the rest
            where = f"{self._repository.where}:{tag}"
            log.warning(
                "%s should be an index of referrers, so %s is not noted there: %s", where, document.digest, error
            )
            return False
        entries = _entries(index)
        if str(document.digest) in (entry["digest"] for entry in entries):
            return False
        self._put(tag, index, [*entries, _entry_of(document)], document)
        return True

    def _index(self, tag: str) -> _Entry:
        """Read what is there, or begin with nothing; raise UnsupportedError for anything but an OCI index."""
        found = self._repository.document(tag)
        if found is None:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX}
        raw, kind = found
        document = parse_object(raw, "index")
        if "manifests" not in document or DOCKER_LIST in (kind, document.get("mediaType")):
            raise UnsupportedError("it is something else")
        return {**document, "schemaVersion": 2, "mediaType": OCI_INDEX}

    def _put(self, tag: str, index: _Entry, entries: Sequence[_Entry], document: Document) -> None:
        what = f"the index of referrers {tag} in {self._repository.where}"
        answer = self._send(tag, index, entries, what)
        if answer.refusal and answer.refusal.code in _INCOMPLETE:
            entries = [entry for entry in entries if self._is_there(str(entry["digest"]))]
            if str(document.digest) not in (entry["digest"] for entry in entries):
                raise TransientError(f"{self._repository.where} doesn't know the manifest {document.digest} yet")
            answer = self._send(tag, index, entries, what)
        if answer.refusal:
            raise self._repository.error(answer, what)

    def _send(self, tag: str, index: _Entry, entries: Sequence[_Entry], what: str) -> Answer:
        raw = _written({**index, "manifests": entries})
        if len(raw) > MAX_MANIFEST_SIZE:
            raise UnsupportedError(f"{what} would have {len(raw)} bytes, and nobody reads one of that size")
        good, headers = (*_TAKEN, *REFUSED), {"Content-Type": OCI_INDEX}
        return self._repository.ask("PUT", f"manifests/{tag}", what, good=good, headers=headers, body=raw)

    def _is_there(self, digest: str) -> bool:
        what = f"the manifest {digest} in {self._repository.where}"
        answer = self._repository.ask(
            "HEAD", f"manifests/{digest}", what, good=(_OK, _NOT_FOUND), headers={"Accept": ACCEPT}
        )
        return answer.status == _OK


def _entries(index: _Entry) -> list[_Entry]:
    """Give what is listed in its order, as it is written, but for what breaks the format."""
    listed = index.get("manifests")
    return [entry for entry in listed if _is_descriptor(entry)] if isinstance(listed, list) else []


def _is_descriptor(entry: object) -> bool:
    with suppress(UnsupportedError):
        parse(_written({"schemaVersion": 2, "manifests": [entry]}), OCI_INDEX)
        return True
    return False


def _written(index: _Entry) -> bytes:
    try:
        return json.dumps(index, separators=(",", ":")).encode()
    except RecursionError:
        raise UnsupportedError("an index of referrers is nested too deeply") from None


def _entry_of(document: Document) -> _Entry:
    """Describe a document as the specification's "Pushing Manifests with Subject" has it."""
    kind = document.artifact_type or (document.config.media_type if isinstance(document, Manifest) else "")
    annotations = parse_object(document.raw, "manifest").get("annotations")
    entry: dict[str, object] = {
        "mediaType": document.media_type,
        "digest": str(document.digest),
        "size": len(document.raw),
    }
    if kind:
        entry["artifactType"] = kind
    if isinstance(annotations, dict) and annotations:
        entry["annotations"] = {name: text for name, text in annotations.items() if isinstance(text, str)}
    return entry
