"""A chaos run: a batch of many agents against a server that misbehaves, killed and cancelled again and again.

Three processes: a model server (`server`), the batch (`batch`, started anew after every kill), and the supervisor
(`run_chaos`), which disturbs, and in the end holds everything that is left against what the script says must be there.
"""

from ._plan import Plan as Plan
from ._supervisor import run_chaos as run_chaos
from ._table import Figures as Figures
