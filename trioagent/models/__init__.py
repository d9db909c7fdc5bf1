"""Language models: the contract, the client for OpenAI-compatible servers, and names."""

from ._base import AnswerEnd as AnswerEnd
from ._base import AnswerPart as AnswerPart
from ._base import Model as Model
from ._base import Retrying as Retrying
from ._base import TextDelta as TextDelta
from ._http import open_model as open_model
from ._names import OfflineRules as OfflineRules
from ._names import model_config as model_config
from ._pacer import Pacer as Pacer
from ._pacer import PacerStatistics as PacerStatistics
