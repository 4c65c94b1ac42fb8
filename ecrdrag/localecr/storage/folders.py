"""Own the syncing of a folder that many threads put names into: who comes while a sync runs shares the next one.

The files of this room that keep bytes may enter.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Folder:
    """Make new names in one folder durable; safe from many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._begun = 0
        self._done = 0
        self._runs = False

    def sync(self) -> None:
        """Return when a sync has ended well that began after this call; raise OSError when this call's own failed."""
        with self._changed:
            needed = self._begun + 1
            self._changed.wait_for(lambda: self._done >= needed or not self._runs)
            if self._done >= needed:
                return
            self._runs = True
            self._begun += 1
            mine = self._begun
        try:
            sync_folder(self.path)
        except BaseException:
            self._end(self._done)
            raise
        self._end(mine)

    def _end(self, done: int) -> None:
        with self._changed:
            self._runs = False
            self._done = done
            self._changed.notify_all()


def sync_folder(folder: Path) -> None:
    """Make renames and new names in folder survive a power cut, where the system can (POSIX fsync of a folder)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
