"""Exception groups: their leaves, and which exception is raised when a block and its helper tasks both fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, however deeply nested; for an exception that is not a group, itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def without_cancelled(error: BaseException | None) -> BaseException | None:
    """*error* without every `trio.Cancelled` in it; None if nothing is left."""
    if isinstance(error, BaseExceptionGroup):
        cancelled, rest = error.split(trio.Cancelled)
        return error if cancelled is None else rest
    return None if isinstance(error, trio.Cancelled) else error


def body_first(body: BaseException | None, helpers: BaseException | None) -> BaseException | None:
    """The exception to raise when a block, the tasks that helped it, or both have failed; None if neither has.

    The block's own exception comes first, unwrapped, with the helpers' as a note on it. But the cancellation of a block
    (by its helpers' failure, or a scope around it) hides no error, and an ordinary error hides no KeyboardInterrupt.
    """
    helpers = without_cancelled(helpers)
    if helpers is None:
        return body
    body = without_cancelled(body)
    if body is None:
        return helpers
    if isinstance(body, Exception) and not isinstance(helpers, Exception):
        helpers.add_note(f"the block that it helped raised {body!r}")
        return helpers
    body.add_note(f"cleaning up raised as well: {'; '.join(map(repr, leaves(helpers)))}")
    return body


@asynccontextmanager
async def open_helper_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery for tasks that help the block: they are cancelled when it ends, however it ends.

    Raises:
        BaseException: the block's own exception, unwrapped (see `body_first`).
        BaseExceptionGroup: what the tasks raised, which cancelled the block.
    """
    body: BaseException | None = None
    helpers: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
                body = error
            nursery.cancel_scope.cancel()
    except BaseException as error:  # noqa: BLE001 - raised again below
        helpers = error
    if (failure := body_first(body, helpers)) is not None:
        raise failure
