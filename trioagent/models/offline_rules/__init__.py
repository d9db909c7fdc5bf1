"""`offline-rules`, the embedded default model: deterministic rules, not a language model, which its replies state.

A message is parsed into a plan (`_sentences`, `_facts`, `_corrections`, `_questions`, `_plan`). The plan becomes a
block (`_block`) that calls the package `library`, which the sandbox offers to blocks as `offline_rules`. The block's
result becomes a reply (`_replies`). `_respond` joins these into one pure function; `_model` gives it the interface of a
model. See docs/offline-rules.md.
"""

from ._block import read_result as read_result
from ._facts import parse_facts as parse_facts
from ._model import OfflineRulesModel as OfflineRulesModel
from ._respond import respond as respond
