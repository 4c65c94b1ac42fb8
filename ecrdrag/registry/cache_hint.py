"""Own what is said to who asks ECR by digest for what a pull-through cache of its may not have fetched yet.

The ends that read manifests from ECR may enter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.errors import NotFoundError

# By tag ECR asks upstream, by digest, or by both, it doesn't: aws/containers-roadmap#2837. Nor does it tell whether a
# rule covers a name, so the hint has to say "if".
CACHE_HINT: Final = (
    "if a pull-through cache rule covers it, pull it by its tag alone once: "
    "ECR fetches from upstream by tag, and has the digest then"
)
# An image or a repository that isn't there: FailureCode and error of the API, and error codes at /v2/.
_MISSING: Final = re.compile(r"\((?:ImageNotFound|RepositoryNotFoundException|MANIFEST_UNKNOWN|NAME_UNKNOWN)\b")


@contextmanager
def cache_told(digest: Digest | None) -> Iterator[None]:
    """Let an error about an image that isn't there say how a cache comes by it, where it was asked for by digest."""
    try:
        yield
    except NotFoundError as error:
        if digest is not None and _MISSING.search(str(error)):
            error.hint = f"{error.hint}\n{CACHE_HINT}" if error.hint else CACHE_HINT
        raise
