"""Training conversations: personas tell, change and ask for facts, and only what was done right is kept."""

import warnings

from .._config import FLOWS as FLOWS
from .._config import Flow as Flow
from .._config import SftConfig as SftConfig
from ._checks import check as check
from ._files import read_personas as read_personas
from ._generate import REJECTED as REJECTED
from ._generate import PersonaChangedError as PersonaChangedError
from ._generate import generate_conversations as generate_conversations
from ._judge import JudgeVerdict as JudgeVerdict
from ._model_persona import ModelPersona as ModelPersona
from ._persona import Birthplace as Birthplace
from ._persona import Fact as Fact
from ._persona import Persona as Persona
from ._persona import Relationship as Relationship
from ._persona import read_facts as read_facts
from ._persona import read_persona as read_persona
from ._persona_models import PersonaFactory as PersonaFactory
from ._persona_models import PersonaModel as PersonaModel
from ._report import PersonaResult as PersonaResult
from ._report import SftReport as SftReport
from ._scripted import ScriptedPersona as ScriptedPersona
from ._static_memory import static_memory as static_memory
from ._transcript import Exchange as Exchange
from ._transcript import Transcript as Transcript
from ._transcript import Verdict as Verdict


def __getattr__(name: str) -> object:
    """The public names of version 0.1, for one release."""
    if name == "Conversation":
        warnings.warn("trioagent.sft.Conversation is now called Transcript", DeprecationWarning, stacklevel=2)
        return Transcript
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
