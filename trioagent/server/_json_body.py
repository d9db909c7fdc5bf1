"""JSON that clients send: read in bounded steps, and strictly."""

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
    """The value that *data* stands for.

    Raises:
        RequestError: it is no JSON, or bad UTF-8, or has more values or levels than anything here needs.
    """
    try:
        return await run_steps(decode_steps(data, max_values=_MOST_VALUES, surrogates=False))
    except ValueError as error:
        raise RequestError(400, "bad_json", f"this is not JSON: {error}", "send a JSON object in UTF-8") from error


async def read_record(data: bytes | str, kind: type[T], where: str = "body") -> T:
    """The attrs class *kind* that *data* stands for.

    Raises:
        RequestError: see `read_json`.
        InvalidInputError: it is JSON of another shape; names the place in it.
    """
    return read_value(_converter, await read_json(data), kind, where)
