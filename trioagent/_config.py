"""Settings: frozen, keyword-only, validated on construction. The environment is read by the CLI and the shim only."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import attrs

from ._errors import InvalidInputError
from ._model_profile import check_profile_name

type_ = type  # keeps the builtin's name readable below

Flow = Literal["introduce", "update", "retrieve"]
FLOWS: tuple[Flow, ...] = get_args(Flow)


def _checked(rule: Callable[[Any], bool], wanted: str) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """An attrs validator that raises InvalidInputError unless *rule* holds."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        try:
            good = not isinstance(value, bool) and rule(value)
        except TypeError:
            good = False
        if not good:
            raise InvalidInputError(f"{type_(instance).__name__}.{attribute.name}", f"must be {wanted}, not {value!r}")

    return validate


_positive = _checked(lambda v: v > 0, "a number above 0")
_positive_int = _checked(lambda v: isinstance(v, int) and v > 0, "a whole number above 0")
_not_negative = _checked(lambda v: v >= 0, "a number, 0 or more")
_finite = _checked(lambda v: 0 <= v < math.inf, "a number, 0 or more")
_count = _checked(lambda v: isinstance(v, int) and v >= 0, "a whole number, 0 or more")
BlindOverwrite = Literal["refuse", "allow"]
_overwrite = _checked(lambda v: v in get_args(BlindOverwrite), "'refuse' or 'allow'")


def _date(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > 100 or not value.isprintable():
        raise InvalidInputError(
            f"{type_(instance).__name__}.{attribute.name}",
            f"must be 'auto', 'today', 'none', or a date in words of at most 100 characters, not {value!r:.100}",
        )


def _profile_name(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        check_profile_name(value)


MIB = 1024 * 1024
_SHARD = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", re.ASCII)
_MOST_SHARDS = 10_000


@attrs.frozen(kw_only=True)
class SandboxLimits:
    """The limits of one block.

    Attributes:
        wall_seconds: time from start to end of the block, not counting waits for host tools.
        cpu_seconds: processor time (``RLIMIT_CPU``).
        memory_bytes: memory beyond what the empty interpreter maps (``RLIMIT_AS``).
        file_bytes: size of one file (``RLIMIT_FSIZE``).
        view_bytes: everything the block writes, together (the size of its private view's memory).
        view_files: files and folders the block may make or change.
        reply_bytes: size of one message from the block.
        value_chars: one variable's ``repr``; longer ones are cut and say how long they were.
        values_chars: all variables' ``repr`` together.
        printed_chars: printed text that is kept.
        parallel: blocks at once in one sandbox.
        spare_children: children forked ahead, so that a block need not wait for a fork.
        python: the Python interpreter for sandbox processes, needed if the program itself is not run by one (a frozen
            program); it must have the program's Python version. None: the interpreter that runs the program.
    """

    wall_seconds: float = attrs.field(default=20.0, validator=_positive)
    cpu_seconds: int = attrs.field(default=10, validator=_positive_int)
    memory_bytes: int = attrs.field(default=256 * MIB, validator=_positive_int)
    file_bytes: int = attrs.field(default=1 * MIB, validator=_positive_int)
    view_bytes: int = attrs.field(default=16 * MIB, validator=_positive_int)
    view_files: int = attrs.field(default=4096, validator=_positive_int)
    reply_bytes: int = attrs.field(default=1 * MIB, validator=_positive_int)
    value_chars: int = attrs.field(default=20_000, validator=_positive_int)
    values_chars: int = attrs.field(default=100_000, validator=_positive_int)
    printed_chars: int = attrs.field(default=20_000, validator=_positive_int)
    parallel: int = attrs.field(default=8, validator=_positive_int)
    spare_children: int = attrs.field(default=1, validator=_count)
    python: str | None = None


@attrs.frozen(kw_only=True)
class MemoryLimits:
    """The size limits of a memory; checked when a block's changes are committed.

    Attributes:
        file_bytes: one note.
        dir_bytes: one folder below the memory's own, with everything in it.
        total_bytes: the whole memory.
        depth: how deep folders may nest.
    """

    file_bytes: int = attrs.field(default=1 * MIB, validator=_positive_int)
    dir_bytes: int = attrs.field(default=10 * MIB, validator=_positive_int)
    total_bytes: int = attrs.field(default=100 * MIB, validator=_positive_int)
    depth: int = attrs.field(default=32, validator=_positive_int)


def _several(value: Any) -> Any:
    return value if isinstance(value, str) or not hasattr(value, "__iter__") else tuple(value)


def _globs(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not value or not all(isinstance(item, str) and item for item in value):
        raise InvalidInputError(attribute.name, f"must be one or more texts, not {value!r:.200}")
    for glob in value:
        plain = glob.removeprefix("!")
        if not plain or plain.startswith(("/", "!")) or plain.endswith("/") or ".." in plain.split("/"):
            raise InvalidInputError(attribute.name, f"must have globs such as 'entities/**', not {glob!r:.200}")


def _suffixes(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, tuple):
        raise InvalidInputError(attribute.name, f"must be a list of suffixes such as '.md', not {value!r:.200}")
    for suffix in value or ():
        if not isinstance(suffix, str) or not suffix.startswith(".") or suffix != suffix.lower():
            raise InvalidInputError(attribute.name, f"must be like '.md', in lower case, not {suffix!r:.200}")


def _boolean(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidInputError(attribute.name, f"must be True or False, not {value!r:.200}")


def _folder(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    good = isinstance(value, str) and value.isprintable() and not set(value) & set("\\*?:|#^[]")
    if not good or (value and any(not name.strip(" .") or name.startswith(".") for name in value.split("/"))):
        raise InvalidInputError(attribute.name, f"must be a folder in the memory such as 'agent', not {value!r:.200}")


@attrs.frozen(kw_only=True)
class VaultPolicy:
    """What blocks may read and change in a memory.

    Regardless of the policy, names that begin with a dot are neither shown nor made, changed or removed, at any depth,
    and no commit sets an executable bit or changes the permissions of an existing note.

    A list of globs admits a path that matches one of them and no glob that begins with ``!``; a list of
    such exceptions alone admits all other paths. ``*`` and ``?`` stay within a folder, ``**`` crosses folders.
    Exceptions ignore case.

    Attributes:
        readable: globs of the notes that are shown, such as ``**`` and ``!journal/**``. Blocks find no other notes, by
            whatever call, and cannot write them either.
        writable: globs of the notes that may be made, changed and deleted, such as ``entities/**``.
        suffixes: suffixes of the files that may be written, such as ``.md``; None for those of notes and attachments,
            which exclude scripts and build files.
        read_only: nothing may be changed.
        agent_folder: the folder of the agent's own notes, ``user.md`` and ``entities/``, which its prompt names;
            ``""`` for the memory itself. For a vault that belongs to a person, ``agent``. It counts as one of the
            *readable* and *writable* globs.
    """

    readable: tuple[str, ...] = attrs.field(default=("**",), converter=_several, validator=_globs)
    writable: tuple[str, ...] = attrs.field(default=("**",), converter=_several, validator=_globs)
    suffixes: tuple[str, ...] | None = attrs.field(default=None, converter=_several, validator=_suffixes)
    read_only: bool = attrs.field(default=False, validator=_boolean)
    agent_folder: str = attrs.field(default="", validator=_folder)

    def as_data(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON values."""
        fields = attrs.fields(VaultPolicy)
        data = {field.name: getattr(self, field.name) for field in fields if getattr(self, field.name) != field.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a failed model request is retried, and with which delays.

    Attributes:
        attempts: requests in all for one answer.
        first_delay: seconds before the first retry; doubles with each, with jitter (see `after_failures`).
        max_delay: the longest delay without a ``Retry-After``.
        max_retry_after: the longest ``Retry-After`` that is obeyed; if a server asks for more, there is no retry.
    """

    attempts: int = attrs.field(default=5, validator=_positive_int)
    first_delay: float = attrs.field(default=0.5, validator=_positive)
    max_delay: float = attrs.field(default=30.0, validator=_positive)
    max_retry_after: float = attrs.field(default=120.0, validator=_positive)


@attrs.frozen(kw_only=True)
class RateLimits:
    """The limits of one endpoint, shared by all of its users.

    Attributes:
        requests_per_minute, tokens_per_minute: in any 60 seconds; None for no limit.
        max_in_flight: concurrent requests; fewer while the server reports overload.
        max_idle: connections of one model that are kept for later requests.
        max_hold_seconds: the longest ``Retry-After`` of one request that delays all others too.
    """

    requests_per_minute: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    tokens_per_minute: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    max_in_flight: int = attrs.field(default=1000, validator=_positive_int)
    max_idle: int = attrs.field(default=1000, validator=_count)
    max_hold_seconds: float = attrs.field(default=60.0, validator=_positive)


def _url(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
    if not str(value).startswith(("http://", "https://")):
        raise InvalidInputError("ModelConfig.base_url", f"must start with http:// or https://, not {value!r}")
    if "@" in value.partition("://")[2].partition("/")[0]:
        # The value is not in the text, since it contains a password.
        raise InvalidInputError(
            "ModelConfig.base_url", "must not hold a user name or password; use api_key for the key"
        )


def _without_query(url: str) -> str:
    """For a repr: some gateways take the key in the URL."""
    return repr(url.partition("?")[0])


def _key(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not (
        isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    ):
        raise InvalidInputError(
            "ModelConfig.api_key", "must be printable ASCII without spaces (is there a line end in it?)"
        )


def _context(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    _positive_int(instance, attribute, value)
    if instance.max_tokens is not None and instance.max_tokens >= value:
        raise InvalidInputError(
            "ModelConfig.context_tokens",
            f"is {value:,}, of which max_tokens ({instance.max_tokens:,}) leaves no room for the conversation",
        )


_HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_OUR_HEADERS = frozenset(
    "accept accept-encoding connection content-length content-type host te transfer-encoding upgrade".split()
)
_OUR_MEMBERS = {
    "model": "ModelConfig.model",
    "messages": "the conversation",
    "stream": "ModelConfig.stream",
    "stream_options": "ModelConfig.stream",
    "temperature": "ModelConfig.temperature",
    "top_p": "ModelConfig.top_p",
    "max_tokens": "ModelConfig.max_tokens",
    "seed": "ModelConfig.seed",
    "stop": "ModelConfig.stop",
}


def _copied(value: Any) -> Any:
    """A copy of a mapping, so that changing the original changes no settings; other values are refused later."""
    return copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _stop(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(one, str) and one for one in value):
        raise InvalidInputError("ModelConfig.stop", f"must be a text or a list of texts, not {value!r:.100}")


def _headers(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """The values are not in the error texts, since they may be credentials."""
    if not isinstance(value, Mapping):
        raise InvalidInputError("ModelConfig.headers", f"must be a mapping, not {type_(value).__name__}")
    for name, content in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise InvalidInputError("ModelConfig.headers", f"{name!r} is not a header name")
        if name.lower() in _OUR_HEADERS:
            raise InvalidInputError("ModelConfig.headers", f"{name!r} is set by the connection itself; leave it out")
        if not isinstance(content, str) or not content.strip() or not content.isascii() or not content.isprintable():
            raise InvalidInputError("ModelConfig.headers", f"the value of {name!r} must be printable ASCII text")
        if name.lower() == "authorization" and instance.api_key is not None:
            raise InvalidInputError("ModelConfig.headers", f"{name!r} and api_key are both given; leave one out")


def _extra_body(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name for name in value):
        raise InvalidInputError("ModelConfig.extra_body", f"must be a mapping with text keys, not {value!r:.100}")
    if taken := next((name for name in value if name in _OUR_MEMBERS), None):
        raise InvalidInputError("ModelConfig.extra_body", f"{taken!r} is set by {_OUR_MEMBERS[taken]}; leave it out")
    if value.get("n", 1) != 1:
        raise InvalidInputError("ModelConfig.extra_body", f"'n' must be 1, not {value['n']!r:.50}: one answer is read")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError("ModelConfig.extra_body", f"must be plain JSON: {error}") from error


def _names_only(headers: Mapping[str, str]) -> str:
    """For a repr: headers may hold credentials."""
    return repr(sorted(headers))


@attrs.frozen(kw_only=True)
class ModelConfig:
    """An OpenAI-compatible chat model behind HTTP.

    Attributes:
        base_url: up to and without ``/chat/completions``, e.g. ``http://localhost:8000/v1``.
        model: the model's name as its server knows it.
        api_key: sent as a bearer token to ``base_url``'s host only; never part of a repr, log or error.
        temperature, top_p, max_tokens, seed, stop: request parameters, sent only if given. ``stop`` may be one text.
        context_tokens: the size of the model's context in tokens, question and answer together; None if unknown.
            Of a conversation that is longer, old results are left out first, then old messages. Never sent.
        extra_body: further members of every request's JSON body, for parameters that only some servers have.
        headers: further request headers, sent to ``base_url``'s host only; their values are never part of a repr, log
            or error.
        stream: read the answer as it is written (server-sent events), so that generation stops when the code or reply
            is complete.
        connect_seconds: connection timeout.
        silence_seconds: read timeout: how long a server may send nothing at all. Then the request is given up, and
            retried as ``retry`` says. A server that does not stream is silent while its model writes the whole answer.
            (Like ``connect_seconds``, a bound on one of a chat's many requests, where the caller's scope cannot reach.)
        retry: see :class:`RetryPolicy`.
        rate: see :class:`RateLimits`; models at one base URL share one rate limiter.
    """

    base_url: str = attrs.field(validator=_url, repr=_without_query)
    model: str = attrs.field(validator=_checked(lambda v: isinstance(v, str) and bool(v), "a model's name"))
    api_key: str | None = attrs.field(default=None, repr=False, validator=_key)
    temperature: float | None = attrs.field(default=None, validator=attrs.validators.optional(_finite))
    top_p: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_checked(lambda v: 0 < v <= 1, "a number above 0, at most 1"))
    )
    max_tokens: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive_int))
    seed: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_checked(lambda v: isinstance(v, int), "a whole number"))
    )
    stop: tuple[str, ...] = attrs.field(default=(), converter=_one_or_many, validator=_stop)
    context_tokens: int | None = attrs.field(default=None, validator=_context)
    extra_body: Mapping[str, Any] = attrs.field(factory=dict, converter=_copied, validator=_extra_body, hash=False)
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=_copied, validator=_headers, hash=False, repr=_names_only
    )
    stream: bool = True
    connect_seconds: float = attrs.field(default=10.0, validator=_positive)
    silence_seconds: float = attrs.field(default=600.0, validator=_positive)
    retry: RetryPolicy = RetryPolicy()
    rate: RateLimits = RateLimits()


@attrs.frozen
class Shard:
    """One part of a batch that several machines run, each its own part of the same jobs: part *index* of *count*.

    A job's shard is computed from the name of its memory, so all jobs of one memory are in one shard. The split is the
    same on every machine and for any order of the jobs.

    Attributes:
        index: from 1.
        count: the number of shards; 10,000 at most.
    """

    index: int = attrs.field(validator=_positive_int)
    count: int = attrs.field(validator=_positive_int)

    def __attrs_post_init__(self) -> None:
        if self.count > _MOST_SHARDS:
            raise InvalidInputError("shard", f"{self} has too many shards: there can be {_MOST_SHARDS:,} at most")
        if not 1 <= self.index <= self.count:
            raise InvalidInputError("shard", f"{self} does not exist: there are {self.count}, counted from 1")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a shard written as ``2/8``.

        Raises:
            InvalidInputError: *text* is not two whole numbers above 0 with a slash between them, the first no larger
                than the second.
        """
        parts = _SHARD.fullmatch(text)
        if parts is None:
            raise InvalidInputError("shard", f"must be written as 2/8, the second of eight, not {text!r}")
        return cls(int(parts[1]), int(parts[2]))

    def holds(self, memory: str) -> bool:
        """Whether a memory's jobs belong to this shard; ``notes/a``, ``./notes/a`` and ``notes/a/`` are the same."""
        digest = hashlib.blake2b(memory_name(memory).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def memory_name(memory: str) -> str:
    """A memory's path normalised for comparison: without ``./``, doubled slashes and a trailing slash."""
    return os.path.normpath(memory)


@attrs.frozen(kw_only=True)
class BatchConfig:
    """How a batch runs.

    Attributes:
        max_concurrent: concurrent episodes.
        deadline: working seconds for one episode, not counting waits for a rate limit or a retry; None for no limit.
        max_tool_turns, system_prompt, system_prompt_append, model_profile, blind_overwrite: see `AgentConfig`; a
            job may have prompts and a blind_overwrite of its own.
        date: see `AgentConfig`; today is the day on which the run was begun, however long it takes.
        policy: what blocks may read and change in the memories; a job may have its own.
        max_tokens_total: no request is sent that would bring spent and reserved tokens above this, including earlier
            starts of the same run directory; None for no limit.
        max_cost: the same for cost, in the currency of the prices; None for no limit.
        prompt_price, completion_price: of a million tokens, if the server does not report an answer's cost.
        retry_failed: retry jobs that failed in an earlier start, or left a message without a reply. They are resumed
            from the journal if the failure was outside the conversation (the model's server, the sandbox), and begin
            again from the start otherwise. In that case the changes of failed jobs to their notes are rolled back
            first, except for notes that somebody has changed since, which are named in a warning.
        accept_changes: resume a run that was begun with another model, prompt, policy, sampling or number of tool
            turns; without it a difference is refused by name.
        limit: take only so many of the unfinished jobs.
        shard: take only the jobs of this part, for runs of the other parts elsewhere; `merge_shards` merges
            them. A run keeps its shard; another one is refused by name.
        outage_patience: how many seconds the run waits for an unavailable model server, or for room on a full disk,
            before it stops and leaves the jobs concerned to be resumed; 0 for not at all.
        grace_seconds: after a request to stop, how long running episodes may continue to their next checkpoint; 0 for
            not at all.
    """

    max_concurrent: int = attrs.field(default=100, validator=_positive_int)
    deadline: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    max_tool_turns: int = attrs.field(default=8, validator=_count)
    system_prompt: str | None = None
    system_prompt_append: str | None = None
    model_profile: str | None = attrs.field(default=None, validator=_profile_name)
    date: str = attrs.field(default="auto", validator=_date)
    blind_overwrite: BlindOverwrite = attrs.field(default="refuse", validator=_overwrite)
    policy: VaultPolicy = attrs.field(default=VaultPolicy(), validator=attrs.validators.instance_of(VaultPolicy))
    max_tokens_total: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive_int))
    max_cost: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    prompt_price: float | None = attrs.field(default=None, validator=attrs.validators.optional(_not_negative))
    completion_price: float | None = attrs.field(default=None, validator=attrs.validators.optional(_not_negative))
    retry_failed: bool = False
    accept_changes: bool = False
    limit: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive_int))
    shard: Shard | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(Shard))
    )
    outage_patience: float = attrs.field(default=1800.0, validator=_not_negative)
    grace_seconds: float = attrs.field(default=10.0, validator=_not_negative)


@attrs.frozen(kw_only=True)
class SftConfig:
    """How training conversations are made.

    Attributes:
        flow: "introduce" (facts are stated and must end up in the notes), "update" (a fact in the notes changes)
            or "retrieve" (the facts are in the notes, and the persona asks for them).
        num_turns: messages of the persona in one conversation, at most.
        max_retries: further attempts after a rejected one, each in a fresh memory with a fresh persona model.
        max_concurrent: concurrent conversations.
        max_tool_turns: of the agent for each message (see `AgentConfig`).
        system_prompt, system_prompt_append, model_profile: see `AgentConfig`; used for all conversations.
        date: as in `BatchConfig`.
        deadline: working seconds for one persona with all its attempts, not counting waits for a rate limit or a retry;
            None for no limit.
        max_tokens_total, max_cost: the budget, as in `BatchConfig`; the persona's and the judge's usage counts too.
        accept_changes: as in `BatchConfig`.
        retry_rejected: start personas that were rejected in an earlier start again, with all their attempts.
        outage_patience: as in `BatchConfig`.
        grace_seconds: after a request to stop, how long running attempts may continue to their end.
    """

    flow: Flow = attrs.field(
        default="introduce", validator=_checked(lambda v: v in FLOWS, f"one of {', '.join(map(repr, FLOWS))}")
    )
    num_turns: int = attrs.field(default=4, validator=_positive_int)
    max_retries: int = attrs.field(default=2, validator=_count)
    max_concurrent: int = attrs.field(default=10, validator=_positive_int)
    max_tool_turns: int = attrs.field(default=8, validator=_count)
    system_prompt: str | None = None
    system_prompt_append: str | None = None
    model_profile: str | None = attrs.field(default=None, validator=_profile_name)
    date: str = attrs.field(default="auto", validator=_date)
    deadline: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    max_tokens_total: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive_int))
    max_cost: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    accept_changes: bool = False
    retry_rejected: bool = False
    outage_patience: float = attrs.field(default=1800.0, validator=_not_negative)
    grace_seconds: float = attrs.field(default=10.0, validator=_not_negative)


@attrs.frozen(kw_only=True)
class AgentConfig:
    """How one agent behaves.

    Attributes:
        max_tool_turns: how many times in one chat the model may run code (or be given a hint) before it must reply.
        system_prompt: replaces the built-in prompt, which explains the protocol and the tools.
        system_prompt_append: added to the prompt, built-in or not, after a blank line.
        message_chars: the longest user message that is accepted.
        blind_overwrite: for a block that writes over a note which this conversation has never read:
            "refuse" (nothing is saved, and the model is told to read the note first) or "allow".
        model_profile: the format of results and hints for the model, "default" or "mem-agent"; None to choose by the
            model's name.
        date: the date and time zone at the end of the prompt: "auto" (today's, after the built-in prompt only),
            "today" (after any prompt), "none", or another text, such as "Monday, 2024-05-06".
    """

    max_tool_turns: int = attrs.field(default=8, validator=_count)
    system_prompt: str | None = None
    system_prompt_append: str | None = None
    message_chars: int = attrs.field(default=200_000, validator=_positive_int)
    blind_overwrite: BlindOverwrite = attrs.field(default="refuse", validator=_overwrite)
    model_profile: str | None = attrs.field(default=None, validator=_profile_name)
    date: str = attrs.field(default="auto", validator=_date)
