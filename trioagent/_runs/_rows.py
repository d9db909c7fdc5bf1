"""Rows of JSON Lines from users: read one at a time, with every bad one named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs

from .._errors import InvalidInputError

T = TypeVar("T")

MAX_ROW_BYTES = 16 * 1024 * 1024
_SHOWN = 20


@attrs.frozen
class BadRow:
    """A row of a jobs file that is not a valid job."""

    line: int
    problem: str


class BadJobsError(InvalidInputError):
    """A jobs file with bad rows; nothing was run.

    Attributes:
        path: the file.
        rows: every bad row.
    """

    def __init__(self, path: str, rows: tuple[BadRow, ...]) -> None:
        super().__init__(path, "has bad rows")
        self.args: tuple[Any, ...] = (path, rows)
        self.path: str = path
        self.rows: tuple[BadRow, ...] = rows

    def __str__(self) -> str:
        lines = [f"  line {row.line}: {row.problem}" for row in self.rows[:_SHOWN]]
        if len(self.rows) > _SHOWN:
            lines.append(f"  and {len(self.rows) - _SHOWN} more")
        rows = "1 bad row" if len(self.rows) == 1 else f"{len(self.rows)} bad rows"
        return "\n".join([f"{self.path}: {rows}; nothing was run", *lines])


def checked_rows(
    path: Path, read: Callable[[object], T], *, max_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, T | BadRow]]:
    """``(line number, value or problem)`` of every row that is not blank; one row in memory at a time.

    Args:
        read: converts decoded JSON, or raises `InvalidInputError`.
        max_bytes: a longer row is a bad one.
    """
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(max_bytes + 1):
            number += 1
            if len(line) > max_bytes:
                yield number, BadRow(number, f"is longer than {max_bytes:,} bytes")
                while line and not line.endswith(b"\n"):
                    line = file.readline(max_bytes)
                continue
            if line.strip():
                yield number, _read_row(number, line, read)


def _read_row(number: int, line: bytes, read: Callable[[object], T]) -> T | BadRow:
    try:
        return read(json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")))
    except UnicodeDecodeError as error:
        return BadRow(number, f"is not UTF-8 at byte {error.start}")
    except InvalidInputError as error:
        return BadRow(number, str(error))
    except json.JSONDecodeError as error:  # its own text counts lines, and there is only one
        return BadRow(number, f"is not JSON: {error.msg} at character {error.pos + 1}")
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"is not JSON: {error}")
