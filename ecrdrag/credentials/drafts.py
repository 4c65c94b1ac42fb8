"""Own drafts: new files that take another's place when they are whole, or are gone.

The rooms of credentials that write files enter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft_beside(target: Path) -> Iterator[tuple[int, Path]]:
    """Give the descriptor, to be closed, and the path of a new file that its owner alone can read.

    Without an error it takes the target's place at the end of the block.
    """
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    draft = Path(name)
    try:
        yield descriptor, draft
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
