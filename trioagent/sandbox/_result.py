"""What one block came to."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class BlockResult:
    """What one block of code came to.

    Attributes:
        locals: the block's variables, name to ``repr``, bounded (see :class:`SandboxLimits`) and ready to print: a
            variable ``v`` holding the text ``hi`` is ``{"v": "'hi'"}``.
        error: "" if the block ended well, else what went wrong, in words for the model.
        printed: what the block printed, to standard output and error.
        saved: True if the block changed notes and the changes were committed.
        tier: the sandbox tier that ran it.
    """

    locals: dict[str, str]
    error: str
    printed: str
    saved: bool
    tier: str
