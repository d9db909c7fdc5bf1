"""Where model-written code runs: confined, over a private view of the notes, one transaction a block."""

from ._probe import Check as Check
from ._probe import TierReport as TierReport
from ._probe import diagnose as diagnose
from ._result import BlockResult as BlockResult
from ._sandbox import Sandbox as Sandbox
from ._sandbox import open_sandbox as open_sandbox
from ._tier import HostTool as HostTool
