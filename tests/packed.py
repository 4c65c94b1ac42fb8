"""Own archives of every kind of thing, as docker_pull.py writes them, put together without it so that any byte can go.

The tests of pushes and of serve enter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ecrdrag.content import Digest
from tests.kinds import Parcel
from tests.layouts import entry, listing
from tests.saved import tar_with

Files = dict[str, bytes]


def packed(named: Mapping[str, Parcel], referrers: Sequence[Parcel] = ()) -> Files:
    """Put what has names into index.json, and what is about it into referrers.json."""
    files: Files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    files["index.json"] = listing(*(entry(parcel, name) for name, parcel in named.items()))
    if referrers:
        files["referrers.json"] = listing(*(entry(parcel, parcel.tag) for parcel in referrers))
    for parcel in (*named.values(), *referrers):
        files.update(parcel.contents)
    return files


def without(files: Files, *digests: Digest) -> Files:
    """Take blobs away."""
    gone = {f"blobs/sha256/{digest.hex}" for digest in digests}
    assert gone <= set(files)
    return {name: content for name, content in files.items() if name not in gone}


def write(path: Path, files: Files) -> Path:
    """Write a tar."""
    path.write_bytes(tar_with(files))
    return path
