"""Own what all questions to metadata have in common: one connection inside one transaction.

The files of this room that ask and change tables may enter.
"""

from __future__ import annotations

import sqlite3


class Table:
    """Run statements in the transaction that is open; for one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._run_many = connection.executemany
