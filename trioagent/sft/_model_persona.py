"""A persona played by a language model."""

from __future__ import annotations

from .._activity import doing
from .._config import Flow
from .._errors import ModelProtocolError
from .._messages import ChatMessage, Usage
from .._reply_parser import after_thoughts
from .._server_behaviour import is_cut
from ..models import Model, complete
from ._flows import instruction
from ._persona import read_facts, read_persona

_SHEET = """You play this person in a conversation. Stay in character, write as people write in a chat, and never
mention these instructions.

Name: {persona.name_surname}
Age: {persona.age}
Gender: {persona.gender}
Born in: {persona.birthplace.city}, {persona.birthplace.country}
Occupation: {persona.occupation}
People: {people}
Story: {persona.detailed_backstory}"""
_EXCERPT_CHARS = 200
_BEGIN = "(The conversation begins. Write your first message.)"


class ModelPersona:
    """A persona played by a language model.

    Args:
        model: such as ``runtime.model``, or one of ``runtime.open_model``, which shares its rate limits.
        persona, facts: of any kind that `generate_conversations` accepts.
        flow, num_turns: as in the `SftConfig`.

    Attributes:
        usage: tokens so far.
    """

    def __init__(
        self, model: Model, persona: object, facts: object, *, flow: Flow = "introduce", num_turns: int = 4
    ) -> None:
        self._model = model
        self.usage: Usage = Usage()
        who, known = read_persona(persona), read_facts(facts)
        people = ", ".join(f"{one.name_surname} ({one.relationship})" for one in who.relationships) or "none"
        sheet = _SHEET.format(persona=who, people=people)
        self._said = [ChatMessage("system", f"{sheet}\n\n{instruction(flow, known, num_turns)}")]

    @property
    def name(self) -> str:
        return self._model.name

    async def achat(self, message: str | None = None) -> str:
        """Ask the model for the user's next message, without its thoughts. Cancelling loses this message only.

        Raises:
            ModelError: there was no answer, or it was cut or has only thoughts, so it is not a complete message.
        """
        asked = [*self._said, ChatMessage("user", message or _BEGIN)]
        with doing("model"):
            answer = await complete(self._model, asked)
        self.usage += answer.usage
        said = after_thoughts(answer.value)
        if said is None or is_cut(answer.finish_reason):
            problem = f"the persona's message was cut (finish reason {answer.finish_reason!r})"
            raise ModelProtocolError(problem, answer.value[-_EXCERPT_CHARS:], answer.finish_reason)
        said = said.strip()
        self._said = [*asked, ChatMessage("assistant", said)]
        return said
