"""A sandbox's zygotes: the one most blocks run in, and one with the whole library, made when a block wants it."""

from __future__ import annotations

import trio

from .._config import SandboxLimits
from .._errors import SandboxError
from ._tier import TierStartError
from ._zygote import Zygote


class Zygotes:
    """Both zygotes of one tier. Each is started again if something (the kernel's out-of-memory killer) ended it."""

    def __init__(self, limits: SandboxLimits, tier: str, usual: Zygote) -> None:
        self._limits, self._tier = limits, tier
        self.usual = usual
        modules = usual.hello["modules"]
        assert isinstance(modules, list)
        self.present = frozenset(modules)
        """The modules of the standard library that the usual one has imported."""
        self._whole: Zygote | None = None
        self._starting = trio.Lock()

    @classmethod
    async def start(cls, limits: SandboxLimits, tier: str) -> Zygotes:
        """Start the usual one. Raises TierStartError."""
        return cls(limits, tier, await Zygote.start(limits, tier, whole=False))

    async def get(self, *, whole: bool) -> Zygote:
        """A living zygote.

        Raises:
            SandboxError: it cannot be started.
        """
        if (zygote := self._current(whole)) is not None and zygote.alive:
            return zygote
        async with self._starting:
            if (zygote := self._current(whole)) is not None:
                if zygote.alive:
                    return zygote
                await zygote.aclose()
            try:
                zygote = await Zygote.start(self._limits, self._tier, whole=whole)
            except TierStartError as error:
                raise SandboxError(f"a zygote did not start: {error.step}: {error.detail}") from error
            if whole:
                self._whole = zygote
            else:
                self.usual = zygote
            return zygote

    def _current(self, whole: bool) -> Zygote | None:
        return self._whole if whole else self.usual

    async def aclose(self) -> None:
        """End both, and with them every child."""
        try:
            await self.usual.aclose()
        finally:
            if self._whole is not None:
                await self._whole.aclose()
