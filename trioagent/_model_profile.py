"""The formats that families of models were trained on: a block's result, hints, and the system prompt.

The memory-agent family has two versions. One shows a block's result as ``({'name': 'value'}, 'error')``, the other
(driaforall/mem-agent) as ``{'name': 'value'}``, and ``({'name': 'value'}, {error})`` after an error; models of the
second were never given a hint outside a result. A model's name selects the profile, unless settings do.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

import attrs

from ._errors import InvalidInputError

ResultShape = Literal["pair", "values"]


@attrs.frozen(kw_only=True)
class ModelProfile:
    """What models of one kind were trained on.

    Attributes:
        name: recorded with every conversation.
        models: globs over models' names, in lower case; a model that matches gets this profile.
        result_shape: "pair" for ``({'name': 'value'}, 'error')``; "values" for ``{'name': 'value'}``, or
            ``({'name': 'value'}, {error})``.
        hints: the format of a hint after an unusable answer: "text" as plain words, "result" as a block's error.
    """

    name: str
    models: tuple[str, ...] = ()
    result_shape: ResultShape = "pair"
    hints: Literal["text", "result"] = "text"

    def format_result(self, values: Mapping[str, str], error: str, printed: str = "") -> str:
        """The message with a block's result for the model.

        Printed text, for which these formats have no field, is added under a key that is not a valid variable name.

        Args:
            values: reprs of the block's variables.
            error: "" if there was none.
        """
        items = [f"{name!r}: {value}" for name, value in values.items()]
        if printed:
            items.append(f"'(printed)': {printed!r}")
        shown = f"{{{', '.join(items)}}}"
        if self.result_shape == "pair":
            shown = f"({shown}, {error!r})"
        elif error:
            shown = f"({shown}, {{{error}}})"
        return f"<result>\n{shown}\n</result>"

    def format_hint(self, hint: str) -> str:
        """The message that tells the model why its answer could not be used."""
        return self.format_result({}, hint) if self.hints == "result" else hint


DEFAULT = ModelProfile(name="default")
MEM_AGENT = ModelProfile(name="mem-agent", models=("*mem-agent*",), result_shape="values", hints="result")
PROFILES: Mapping[str, ModelProfile] = {profile.name: profile for profile in (DEFAULT, MEM_AGENT)}


def profile_for(model: str, chosen: str | None = None) -> ModelProfile:
    """The profile called *chosen*, or the one that matches the name *model*.

    Raises:
        InvalidInputError: there is no profile of that name.
    """
    if chosen is not None:
        check_profile_name(chosen)
        return PROFILES[chosen]
    return _fitting(model)


@lru_cache(maxsize=64)
def _fitting(model: str) -> ModelProfile:
    fits = (each for each in PROFILES.values() if any(fnmatchcase(model.lower(), glob) for glob in each.models))
    return next(fits, DEFAULT)


def check_profile_name(name: object) -> None:
    """Raise InvalidInputError unless there is a profile called *name*."""
    if name not in PROFILES:
        raise InvalidInputError("model_profile", f"must be one of {', '.join(map(repr, PROFILES))}, not {name!r:.100}")
