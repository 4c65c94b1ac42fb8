"""Own what ECR makes of an image with a blob without bytes: it takes no upload of that, so it never has all of it.

The destinations that may be ECR's enter; other registries take such blobs.
"""

from __future__ import annotations

from ecrdrag.errors import TransientError, UnsupportedError
from ecrdrag.manifest import Document, Manifest


def check_hope(document: Document, error: TransientError) -> None:
    """Raise UnsupportedError where layers that ECR lacks never come: error says that it lacks some."""
    if isinstance(document, Manifest) and any(blob.size == 0 for blob in document.blobs):
        what = f"the manifest {document.digest} names a blob without bytes"
        raise UnsupportedError(f"{what}, which ECR takes no upload of: {error}") from error
