"""Parses JSON from clients, strictly and with bounds on its size."""

from __future__ import annotations

from typing import Any, TypeVar

from .._json_steps import decode_steps
from .._steps import run_steps
from .._wire import read_value, strict_converter
from ._request_error import RequestError

T = TypeVar("T")

_MOST_VALUES = 100_000
_converter = strict_converter()


async def read_json(data: bytes | str) -> Any:
    """Parse *data*.

    Raises:
        RequestError: it is not JSON or not UTF-8, or has too many values or levels.
    """
    try:
        return await run_steps(decode_steps(data, max_values=_MOST_VALUES, surrogates=False))
    except ValueError as error:
        raise RequestError(400, "bad_json", f"this is not JSON: {error}", "send a JSON object in UTF-8") from error


async def read_record(data: bytes | str, kind: type[T], where: str = "body") -> T:
    """Parse *data* into the attrs class *kind*.

    Raises:
        RequestError: see `read_json`.
        InvalidInputError: the JSON does not match the class; names the wrong field.
    """
    return read_value(_converter, await read_json(data), kind, where)
