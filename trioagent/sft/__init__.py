"""Training conversations: personas state, change and ask for facts, and only correct conversations are kept."""

from typing import TYPE_CHECKING

from .._config import FLOWS as FLOWS
from .._config import Flow as Flow
from .._config import SftConfig as SftConfig
from .._deprecated import old_names
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

if not TYPE_CHECKING:  # a type checker should report old names, and misspelt ones, as unknown
    __getattr__ = old_names(__name__)
