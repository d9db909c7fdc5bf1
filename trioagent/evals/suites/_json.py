"""Reading foreign data: every error names its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..._errors import InvalidInputError


def read_json(path: Path) -> Any:
    """The JSON in a file.

    Raises:
        InvalidInputError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(str(path), f"is not JSON: {error}") from error


def read_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each object of a JSON Lines file, with its place as text.

    Raises:
        InvalidInputError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(str(path), f"cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(where, f"is not JSON: {error}") from error
        yield where, as_object(row, where)


def as_object(value: object, where: str) -> Mapping[str, Any]:
    """*value*, if it is a JSON object.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(value, dict):
        raise InvalidInputError(where, f"must be an object, not {value!r:.60}")
    return value


def text_at(row: Mapping[str, Any], name: str, where: str) -> str:
    """The text or number under *name*, as text.

    Raises:
        InvalidInputError: there is none.
    """
    value = row.get(name)
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float):
        return str(value)
    raise InvalidInputError(f"{where}: {name}", f"must be text, not {value!r:.60}")


def texts_at(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """The list of texts under *name*.

    Raises:
        InvalidInputError: it is not such a list.
    """
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidInputError(f"{where}: {name}", f"must be a list of texts, not {value!r:.60}")
    return tuple(value)
