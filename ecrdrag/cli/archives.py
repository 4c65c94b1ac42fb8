"""Own how a command opens an archive that a user names, and what is shown meanwhile.

The commands that read archives enter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ecrdrag.archive.convert import Conversion
from ecrdrag.archive.intake import open_members
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.errors import UsageError
from ecrdrag.transfer.progress import Progress, Stage


def check_name(name: str) -> None:
    """Refuse what a shell makes of an unset variable."""
    if not name:
        raise UsageError("ARCHIVE is empty: name a file or a folder, or - for standard input")


@contextmanager
def opened(name: str, conversion: Conversion, stage: Stage) -> Iterator[ArchiveReader]:
    """Open a file, a folder or with - what comes from stdin; progress shows only where it is copied or unpacked."""
    with ExitStack() as stack:
        progress: list[Progress] = []

        def advance(size: int) -> None:
            if not progress:
                progress.append(stack.enter_context(stage("read")))
                progress[0].begin(None, 0)
            progress[0].advance(size)

        members = open_members(None if name == "-" else Path(name), sys.stdin.buffer, advance)
        stack.close()
        try:
            archive = ArchiveReader(members, conversion)
        except BaseException:
            members.close()
            raise
        with archive:
            yield archive
