"""An image at a source in memory, and what is about it there.

The tests of referrers enter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ecrdrag.content import Digest
from ecrdrag.manifest import Document, parse
from ecrdrag.referrers import referrers_of
from ecrdrag.tree import Referrer
from tests.fake_ends import FAST, MemorySource
from tests.kinds import Parcel, greeter

APP = greeter("amd64", "hello\n")
WHERE = "one.example/team/app"


def offer(source: MemorySource, *parcels: Parcel) -> None:
    """Put them there, under their own tags."""
    for parcel in parcels:
        for document in parcel.documents[:-1]:
            source.put_document(document)
        source.put_document(parcel.root, parcel.tag)


def documents_of(parcel: Parcel) -> list[Document]:
    """Read them."""
    return [parse(blob.content, blob.media_type) for blob in parcel.documents]


def found(source: MemorySource, about: Parcel = APP, types: Collection[str] = ()) -> tuple[Referrer, ...]:
    """Search for what is about an image."""
    return referrers_of(documents_of(about), source, WHERE, types, FAST)


def roots(referrers: Sequence[Referrer]) -> list[Digest]:
    """Give the digests of what was found."""
    return [one.tree.root.digest for one in referrers]
