"""What a process writes to its run journal, statement by statement: to kill it there, or to do something meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

Watcher = Callable[[str, Sequence[Any]], None]
"""Is given a statement and its values."""


def watched_connect(before: Watcher, after: Watcher) -> Callable[..., sqlite3.Connection]:
    """What, in the place of `sqlite3.connect`, has statements in transactions announced, in the thread that writes.

    Args:
        before, after: called before and after each statement.
    """

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, values: Any = ()) -> Any:
            before(sql, values)
            done = super().execute(sql, values)
            after(sql, values)
            return done

    class Connection(sqlite3.Connection):
        def cursor(self, *factory: Any) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(Cursor)

        def execute(self, *arguments: Any) -> sqlite3.Cursor:  # of whoever makes the journal
            return super().cursor(sqlite3.Cursor).execute(*arguments)

    return partial(sqlite3.connect, factory=Connection)
