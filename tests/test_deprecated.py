"""The public names of 0.1: each is still there, or serves its new name with a warning."""

from __future__ import annotations

import importlib
import re
import warnings
from pathlib import Path

import pytest

import trioagent
from trioagent._deprecated import RENAMED

PUBLIC_IN_0_1 = {
    "trioagent": (
        "Agent AgentBusyError AgentConfig AgentEvent AgentFailure AgentJob AgentResponse AgentsFailed AnswerEnd "
        "Answered BadJobs BatchConfig BatchReport BlockResult Cancelled ChatMessage CodeResult CodeStarted "
        "Completion DeadlineExceeded Delta Done Failed FatalError InvalidInputError Job JobChangedError "
        "JournalError Knowledge Memory MemoryConflictError MemoryLimitError MemoryLimits MemoryPathError "
        "MemoryRejectedError MemoryStorageError Model ModelConfig ModelConnectionError ModelError "
        "ModelProtocolError ModelRefusedError ModelStatusError Outcome ParsedReply Progress RateLimits Replied "
        "RetryPolicy Retrying Runner Runtime Sandbox SandboxError SandboxLimits SandboxUnavailable "
        "StructuredOutputError TextDelta TrioAgentError UndoLog Usage complete open_runner open_runtime "
        "open_sandbox run_agents run_batch"
    ),
    "trioagent.batch": (
        "BadJobs BadRow BatchReport BudgetExhausted CONVERSATIONS Concurrency EndpointUse FAILURES Job "
        "JobChangedError JournalError JournalReader PriceUnknown Progress REPORT RunDirError RunStatus STATUS "
        "Spending Straggler Survey fit_to_descriptors good_jobs is_running job_from_row look_at read_jobs read_rows "
        "run_batch survey_jobs"
    ),
    "trioagent.compat": (
        "Agent AgentResponse AsyncAgent BridgeClosedError CallCancelledError ChatMessage Role WrongContextError "
        "install run_agents_concurrently shutdown uninstall"
    ),
    "trioagent.memory": ("ChangeSet Knowledge Lease Memory OutLink Problem Receipt UndoLog Vault check_memory_path"),
    "trioagent.models": (
        "AnswerEnd AnswerPart Completion Model OfflineRules Pacer PacerStatistics Retrying TextDelta complete "
        "model_config names_a_server open_model"
    ),
    "trioagent.nursery_runner": (
        "AgentFailure AgentJob AgentsFailed Cancelled Done Failed Job Outcome Runner RunnerStatistics iterate "
        "open_runner run_agents"
    ),
    "trioagent.sandbox": ("BlockResult Check HostTool Sandbox TierReport diagnose open_sandbox"),
    "trioagent.sft": (
        "Birthplace Conversation Exchange FLOWS Fact Flow JudgeVerdict ModelPersona Persona PersonaChangedError "
        "PersonaFactory PersonaModel PersonaResult REJECTED Relationship ScriptedPersona SftConfig SftReport "
        "Verdict check generate_conversations read_facts read_persona read_personas static_memory"
    ),
    "trioagent.testing": (
        "Fault ModelRequest ModelServer Say ScriptedModel Wire cancel_at_every_checkpoint serve_model"
    ),
    "trioagent.tools": ("Disk Index NAMES NoResults NoteTools ToolError make_tools quiet"),
}


@pytest.mark.parametrize("module", PUBLIC_IN_0_1)
def test_every_public_name_of_0_1_is_still_found(module: str) -> None:
    """A renamed one warns with its new name, and points to the caller; all others are silent."""
    found = importlib.import_module(module)
    for name in PUBLIC_IN_0_1[module].split():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = getattr(found, name)
        new = RENAMED[name] if caught else name
        assert value is getattr(found, new)
        assert [(str(w.message), w.category, w.filename) for w in caught] == (
            [(f"{module}.{name} is now {module}.{new}", DeprecationWarning, __file__)] if new != name else []
        )


def test_old_names_can_be_imported_from_their_modules() -> None:
    with pytest.warns(DeprecationWarning, match="is now trioagent.JobDone"):
        from trioagent import Done  # type: ignore[attr-defined]
    assert Done is trioagent.JobDone


def test_the_page_about_upgrades_names_every_new_name() -> None:
    page = (Path(trioagent.__file__).parent.parent / "docs" / "how-to" / "upgrade.md").read_text()
    for old, new in RENAMED.items():
        assert re.search(rf"[`.]{old}`", page) and re.search(rf"[`.]{new}`", page), (old, new)


@pytest.mark.parametrize("name", ["Dome", "BudgetExhausted", "PriceUnknown"])
def test_names_that_never_were_public_are_unknown(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(trioagent, name)
