"""`export_conversations`: the conversations of runs as a data set to train on.

Reads the outputs of batches, training conversations and evaluations. Synchronous: it needs no Trio, and runs in any
thread.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs

from ._errors import InvalidInputError
from ._files import user_path, write_whole
from ._runs import CONVERSATIONS, read_rows
from .evals import SAMPLES

Format = Literal["trl", "axolotl", "openai", "parquet"]
FORMATS: tuple[Format, ...] = ("trl", "axolotl", "openai", "parquet")
"""Formats of the rows: JSON Lines for TRL's SFTTrainer, for axolotl (``type: chat_template``) and for OpenAI's
fine-tuning, or Parquet."""
Split = Literal["train", "test"]

_REJECTED = "rejected.jsonl"
_CUT = ("length", "content_filter")
_CARD = "README.md"
_PROVENANCE = "provenance.jsonl"
_GROUP_ROWS = 1000  # of a Parquet row group


@attrs.frozen(kw_only=True)
class ExportReport:
    """What was exported.

    Attributes:
        rows: number of rows of each split that was written.
        left_out: number of rows left out, by reason: "cut" (an answer was cut, or a message got no reply), "trimmed"
            (the model was not shown all of it, see `LeftOut`; included if cut ones are), "failed", "wrong" (an
            evaluation's score was too low), "duplicate" (the same messages as an earlier one), "unfinished" (it does
            not end with the model).
        files: what was written.
    """

    rows: Mapping[str, int]
    left_out: Mapping[str, int]
    files: tuple[str, ...]


def export_conversations(
    run_dirs: Sequence[str | Path],
    out: str | Path,
    *,
    format: Format = "trl",
    test_fraction: float = 0.0,
    include_cut: bool = False,
    include_failed: bool = False,
    min_score: float = 1.0,
    seed: int = 0,
) -> ExportReport:
    """Write the conversations of *run_dirs* as a data set.

    Results of blocks have role "user", as models were trained on them. Duplicate conversations are exported once, from
    whichever run. All conversations of one persona (of a job's ``metadata["persona"]``, of an evaluation's set-up; else
    of a row alone) are on one side of the split, chosen by a hash of it and *seed*.

    Args:
        run_dirs: run directories of batches, training conversations or evaluations.
        out: a new folder for the output: ``train`` and ``test`` files, ``provenance.jsonl`` (a line for each row: run,
            id, model, prompt hash, scores) and a data set card, ``README.md``.
        test_fraction: the approximate share of personas in the test split; none by default.
        include_cut, include_failed: include rows that are left out otherwise (see `ExportReport`); of those that
            failed, only rejected training conversations have messages.
        min_score: the lowest score of an evaluation's samples.

    Raises:
        InvalidInputError: an argument cannot be used, a folder holds no run, *out* is not empty, or there is no row.
        OSError: a file cannot be read or written.
    """
    _check(format, test_fraction)
    folders = [user_path(folder, "run_dirs") for folder in run_dirs]
    target = user_path(out, "out")
    if target.exists() and any(target.iterdir()):
        raise InvalidInputError("out", f"{str(target)!r} is not empty; choose a new folder")
    target.mkdir(parents=True, exist_ok=True)
    wanted = _Wanted(include_cut, include_failed, min_score)
    rows, left_out, sources = Counter[str](), Counter[str](), Counter[str]()
    with ExitStack() as files:
        provenance = files.enter_context((target / _PROVENANCE).open("w", encoding="utf-8"))
        writers: dict[Split, _Writer] = {}
        for run, row in _taken(folders, wanted, left_out):
            split: Split = "test" if _share(_persona(run, row), seed) < test_fraction else "train"
            if split not in writers:
                writers[split] = files.enter_context(_open_writer(target, split, format))
            messages = [_message(message) for message in row["messages"]]
            writers[split].write(str(row["id"]), messages)
            provenance.write(json.dumps({"split": split, "row": rows[split], **_origin(run, row)}) + "\n")
            rows[split] += 1
            sources[_model(row)] += 1
    if not rows:
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "the runs are empty"
        for path in target.iterdir():
            path.unlink()
        raise InvalidInputError("run_dirs", f"contain no conversation that could be exported ({reasons})")
    names = [writer.path.name for writer in writers.values()]
    card = _card(format, names, rows, left_out, sources)
    write_whole(target / _CARD, card.encode(), sync=False)
    return ExportReport(rows=dict(rows), left_out=dict(left_out), files=(*names, _PROVENANCE, _CARD))


@attrs.frozen
class _Wanted:
    """Which rows are exported."""

    cut: bool
    failed: bool
    min_score: float

    def why_not(self, row: Mapping[str, Any]) -> str:
        """Why *row* is left out, or ""."""
        if "score" in row and row["score"] < self.min_score:
            return "wrong"
        stopped = [reason for reason in row.get("stop_reasons", ()) if reason != "reply"]
        cut = row.get("cuts", 0) or any(reason in _CUT for reason in row.get("finish_reasons", ()))
        if (stopped or cut) and not self.cut:
            return "cut"
        if any((row.get("left_out") or {}).values()) and not self.cut:
            return "trimmed"
        messages = row.get("messages") or ()
        return "" if messages and messages[-1]["role"] == "assistant" else "unfinished"


def _check(format_: str, test_fraction: float) -> None:
    if format_ not in FORMATS:
        raise InvalidInputError("format", f"must be one of {', '.join(FORMATS)}, not {format_!r}")
    if not 0 <= test_fraction < 1:
        raise InvalidInputError("test_fraction", f"must be at least 0 and below 1, not {test_fraction!r}")


def _taken(
    folders: Sequence[Path], wanted: _Wanted, left_out: Counter[str]
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The rows to write, each with its run directory."""
    seen: set[bytes] = set()
    for folder in folders:
        for row, failed in _rows(folder, wanted):
            if row.get("kind") == "set-up":
                continue  # the conversation that set up a memory, shared by many samples
            why = "failed" if failed and not wanted.failed else wanted.why_not(row)
            mark = b"" if why else _mark(row)
            if mark in seen:
                why = "duplicate"
            if why:
                left_out[why] += 1
                continue
            seen.add(mark)
            yield folder, row


def _rows(folder: Path, wanted: _Wanted) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Each row of a run, and whether it failed."""
    names = [name for name in (CONVERSATIONS, SAMPLES) if (folder / name).is_file()]
    if not names:
        raise InvalidInputError(
            "run_dirs", f"{str(folder)!r} is not a run: it has neither {CONVERSATIONS} nor {SAMPLES}"
        )
    for name in names:
        yield from ((row, False) for row in read_rows(folder / name))
    if (folder / _REJECTED).is_file():
        yield from ((row, True) for row in read_rows(folder / _REJECTED))


def _mark(row: Mapping[str, Any]) -> bytes:
    """A hash that identifies a conversation: all of its messages except the system prompt."""
    said = [[message["role"], message["content"]] for message in row["messages"] if message["role"] != "system"]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).digest()


def _persona(run: Path, row: Mapping[str, Any]) -> str:
    """The persona of a conversation; the row's own id if there is none."""
    if "set_up" in row:
        return f"{row.get('suite')}/{row['set_up']}"
    if "hashes" in row:
        return str(row["hashes"]["persona"])
    persona = row.get("metadata", {}).get("persona")
    return f"{run}/{row['id']}" if persona is None else json.dumps(persona, sort_keys=True)


def _share(persona: str, seed: int) -> float:
    """From 0 to 1, the same for the same persona."""
    mark = hashlib.blake2b(f"{seed}/{persona}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(mark) / 2**64


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    """A lone surrogate, which no file format allows, becomes a replacement character."""
    role = "user" if message["role"] == "tool" else message["role"]
    return {"role": role, "content": message["content"].encode("utf-8", "replace").decode()}


def _model(row: Mapping[str, Any]) -> str:
    return str(row.get("model") or row.get("models", {}).get("agent") or "unknown")


def _origin(run: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("prompt", "profile", "flow", "suite", "category", "score", "tier", "metadata", "trioagent")
    return {
        "run": str(run),
        "id": row["id"],
        "persona": _persona(run, row),
        "model": _model(row),
        **{name: row[name] for name in kept if name in row},
    }


class _Writer(Protocol):
    """A file of rows, open."""

    path: Path

    def write(self, row_id: str, messages: Sequence[Mapping[str, str]]) -> None: ...

    def __enter__(self) -> _Writer: ...

    def __exit__(self, *args: object) -> None: ...


def _open_writer(target: Path, split: Split, format_: Format) -> _Writer:
    if format_ == "parquet":
        return _ParquetFile(target / f"{split}.parquet")
    return _JsonLines(target / f"{split}.jsonl", format_)


class _JsonLines:
    """JSON Lines in the three formats that trainers read."""

    def __init__(self, path: Path, format_: Format) -> None:
        self.path, self._format = path, format_
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> _JsonLines:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()

    def write(self, row_id: str, messages: Sequence[Mapping[str, str]]) -> None:
        """Append one row."""
        body: dict[str, Any] = {"id": row_id, "messages": messages}
        if self._format == "axolotl":  # says of each message whether it is trained on
            body["messages"] = [{**message, "train": message["role"] == "assistant"} for message in messages]
        elif self._format == "openai":  # takes no further fields; of assistants, whether to train on it
            body = {"messages": [_weighted(message) for message in messages]}
        self._file.write(json.dumps(body, ensure_ascii=False) + "\n")


def _weighted(message: Mapping[str, str]) -> dict[str, Any]:
    return {**message, "weight": 1} if message["role"] == "assistant" else dict(message)


class _ParquetFile:
    """A Parquet file with a column of lists of messages."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise InvalidInputError("format", "parquet needs pyarrow: install trioagent[parquet]") from error
        message = pa.struct([("role", pa.string()), ("content", pa.string())])
        self.path = path
        self._arrow: Any = pa
        self._schema = pa.schema([("id", pa.string()), ("messages", pa.list_(message))])
        self._file: Any = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> _ParquetFile:
        return self

    def __exit__(self, *args: object) -> None:
        self._flush()
        self._file.close()

    def write(self, row_id: str, messages: Sequence[Mapping[str, str]]) -> None:
        """Append one row."""
        self._rows.append({"id": row_id, "messages": list(messages)})
        if len(self._rows) == _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._file.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))


_TO_LOAD: Mapping[Format, str] = {
    "trl": """With TRL:

```python
from datasets import load_dataset
from trl import SFTTrainer

trainer = SFTTrainer(model="...", train_dataset=load_dataset("json", data_files="train.jsonl", split="train"))
```
""",
    "axolotl": """In axolotl's configuration:

```yaml
datasets:
  - path: train.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages
    message_field_training: train
```
""",
    "openai": "Upload `train.jsonl` with the purpose `fine-tune`.\n",
    "parquet": """```python
from datasets import load_dataset

rows = load_dataset("parquet", data_files="train.parquet", split="train")
```
""",
}


def _card(
    format_: Format, names: Sequence[str], rows: Counter[str], left_out: Counter[str], sources: Counter[str]
) -> str:
    from . import __version__

    files = "\n".join(f"      - split: {split}\n        path: {split}{Path(names[0]).suffix}" for split in sorted(rows))
    counts = "\n".join(f"| {split} | {count:,} |" for split, count in sorted(rows.items()))
    models = "\n".join(f"- {model}: {count:,}" for model, count in sources.most_common())
    dropped = "\n".join(f"- {why}: {count:,}" for why, count in left_out.most_common()) or "- nothing"
    return f"""---
task_categories:
  - text-generation
tags:
  - memory-agent
  - trioagent
configs:
  - config_name: default
    data_files:
{files}
---

# Conversations of memory agents

Made by trioagent {__version__}, format {format_}. Roles: system, user, assistant; results of code that the agent ran
are messages of the user, as memory agents are trained. No persona is in more than one split. `{_PROVENANCE}` says
of each row where it is from.

| split | rows |
|---|---|
{counts}

Models:

{models}

Left out:

{dropped}

{_TO_LOAD[format_]}"""


__all__ = ["FORMATS", "ExportReport", "Format", "export_conversations"]
