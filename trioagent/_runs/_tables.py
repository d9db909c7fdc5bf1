"""Tables of the journal that are made with their first row, and that journals of earlier releases do not have."""

from __future__ import annotations

import sqlite3


def has_table(cursor: sqlite3.Cursor, name: str, database: str = "main") -> bool:
    """Whether the journal, or the attached one *database*, has the table *name*."""
    select = f"SELECT count(*) FROM {database}.sqlite_master WHERE type = 'table' AND name = ?"
    (found,) = cursor.execute(select, (name,)).fetchone()
    return bool(found)
