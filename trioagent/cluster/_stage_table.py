"""Converts a batch of Ray Data's rows to plain values and back. Imports pyarrow only for tables of pyarrow."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .._errors import InvalidInputError
from .._wire import short


@attrs.frozen
class RowTable:
    """A batch of rows, and the batch to return.

    Attributes:
        columns: by name, as plain values.
        count: the number of rows.
    """

    _given: Any
    columns: Mapping[str, Sequence[Any]]
    count: int

    @classmethod
    def of(cls, batch: Any) -> RowTable:
        """
        Args:
            batch: columns by name, or a pyarrow or pandas table. In a Ray process the first and the last become pyarrow
                tables: Ray would take lists of one text for tensors, and write them as pickled objects.

        Raises:
            InvalidInputError: *batch* is something else, or its columns differ in length or have no type.
        """
        if _is_of("pyarrow", batch):
            columns: Mapping[str, Sequence[Any]] = batch.to_pydict()
        elif _is_of("pandas", batch) or isinstance(batch, Mapping):
            columns = {str(name): _plain(column) for name, column in batch.items()}
        else:
            problem = f"must be columns by name, or a table of pyarrow or pandas, not {short(batch)}"
            raise InvalidInputError("batch", problem)
        lengths = {name: len(column) if isinstance(column, list) else -1 for name, column in columns.items()}
        if len(set(lengths.values())) > 1 or -1 in lengths.values():
            raise InvalidInputError("batch", f"must have columns of one length, not {short(lengths)}")
        if not _is_of("pyarrow", batch) and "ray" in sys.modules:
            batch = _arrow_table(columns)
        return cls(batch, columns, next(iter(lengths.values()), 0))

    def rows(self) -> list[dict[str, Any]]:
        """The rows as plain values, None where one is missing; fields that a row has only for others are left out."""
        return [
            {
                name: None if _is_missing(column[number]) else _without_none(column[number])
                for name, column in self.columns.items()
            }
            for number in range(self.count)
        ]

    def extended(self, more: Mapping[str, list[Any]], kinds: Mapping[str, Any]) -> Any:
        """The batch that was given, with further columns, which replace columns of the same names."""
        if _is_of("pandas", self._given):
            return self._given.assign(**more)
        if not _is_of("pyarrow", self._given):
            return {**self._given, **more}
        import pyarrow as pa

        table = self._given.select([name for name in self._given.column_names if name not in more])
        for name, column in more.items():
            table = table.append_column(name, pa.array(column, _arrow_type(kinds[name], pa)))
        return table


def _is_of(package: str, batch: object) -> bool:
    """Whether it is a table of that package, which is imported only in that case."""
    return type(batch).__module__.partition(".")[0] == package and hasattr(batch, "columns")


def _arrow_table(columns: Mapping[str, Sequence[Any]]) -> Any:
    import pyarrow as pa

    arrays = {}
    for name, column in columns.items():
        try:
            arrays[name] = pa.array(column)
        except pa.ArrowException as error:
            raise InvalidInputError("batch", f"has values without a common type in column {name!r}: {error}") from error
    return pa.table(arrays)


def _arrow_type(kind: Any, pa: Any) -> Any:
    if isinstance(kind, list):
        return pa.list_(_arrow_type(kind[0], pa))
    if isinstance(kind, dict):
        return pa.struct([(name, _arrow_type(inside, pa)) for name, inside in kind.items()])
    return {str: pa.string(), int: pa.int64(), bool: pa.bool_()}[kind]


def _plain(value: Any) -> Any:
    """*value* with Python's lists, mappings, strings and numbers instead of NumPy's."""
    if not isinstance(value, str | list | tuple | Mapping) and callable(getattr(value, "tolist", None)):
        value = value.tolist()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _is_missing(value: Any) -> bool:
    """Whether it stands for no value: None, or what pandas has in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType"


def _without_none(value: Any) -> Any:
    """Remove None: Arrow gives every row the fields of all rows, None where a row has none."""
    if isinstance(value, Mapping):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
