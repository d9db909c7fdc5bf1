"""The rules speak the reply protocol, are a pure function, and survive anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioagent._messages import ChatMessage
from trioagent._model_profile import DEFAULT
from trioagent._reply_parser import parse_reply
from trioagent.models import AnswerEnd, Model, TextDelta
from trioagent.models.offline_rules import OfflineRulesModel, read_result, respond

from .conversation import Conversation

WORDS = st.sampled_from(
    "my I am not from to no longer is but name sister Ann works at in Oslo forget remember that who what 3 on , . ? ; "
    "- and (who instead of [[a|b]] </python> <reply> ’s \n don't \x00 é ".split(" ")
)
SENTENCES = st.lists(WORDS, max_size=30).map(" ".join)


@given(st.one_of(st.text(), SENTENCES))
@example("\ud800")
@example("my " * 5000)
@example("I " + "a, " * 4000)
@example("2" * 9000 + "+")
def test_any_message_gets_one_valid_answer(text: str) -> None:
    answer = parse_reply(respond([ChatMessage("user", text)]))
    assert not answer.repairs
    assert bool(answer.code) != bool(answer.reply)
    if answer.code:
        compile(answer.code, "<block>", "exec")


@given(SENTENCES)
def test_any_sentence_is_carried_out(text: str) -> None:
    with TemporaryDirectory() as folder:
        chat = Conversation(Path(folder))
        assert chat.say(text)
        assert chat.say(text)


@given(st.text())
@example("<result>\n({'answer': {'found': [1, {}], 'near': 3}, 'changes': 5}, '')\n</result>")
@example("<result>\n({'changes': {'saved': [{}], 'missed': 7, 'failed': None}}, '')\n</result>")
@example("<result>\n({'answer': 5}, '')\n</result>")
@example("<result>\n" + "(" * 100_000)
def test_any_result_gets_a_reply(result: str) -> None:
    for asked in ("Where do I live?", "I live in Rome"):
        messages = [ChatMessage("user", asked), ChatMessage("assistant", "…"), ChatMessage("tool", result)]
        assert parse_reply(respond(messages)).reply


def test_equal_conversations_get_equal_answers() -> None:
    messages = [ChatMessage("system", "s"), ChatMessage("user", "I live in Rome. My dog is Rex. How old am I?")]
    assert respond(messages) == respond(list(messages))


@pytest.mark.real
def test_other_processes_give_the_same_answer() -> None:
    code = """
from trioagent._messages import ChatMessage
from trioagent.models.offline_rules import respond
print(respond([ChatMessage("user", "I moved to Rome. When was my sister's employer founded?")]))
"""
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1
    assert "look_up" in answers.pop()


def test_a_failed_block_is_admitted() -> None:
    failed = DEFAULT.format_result({}, "note.md: too large. Nothing was saved.")
    messages = [ChatMessage("user", "I live in Rome"), ChatMessage("assistant", "…"), ChatMessage("tool", failed)]
    reply = parse_reply(respond(messages)).reply
    assert "did not work: note.md: too large. Nothing was saved." in reply
    assert "Noted" not in reply


def test_a_refused_write_is_admitted(chat: Conversation) -> None:
    (chat.root / "user.md").mkdir()
    assert "could not be saved" in chat.say("I live in Rome")


def test_it_says_what_it_is_on_first_use_only(chat: Conversation) -> None:
    assert "not a language model" in chat.say("I live in Rome")
    assert "not a language model" not in chat.say("I like figs")
    assert "not a language model" in chat.say("Write me a poem")
    assert "TRIOAGENT_MODEL" in chat.say("what is 2+2?")
    assert "not a language model" in chat.say("who are you?")


def test_a_block_is_a_call_with_data(chat: Conversation) -> None:
    chat.say("I like figs. Who am I?")
    assert chat.blocks == [
        """\
from offline_rules import look_up, update_notes

changes = update_notes([
    {'op': 'put', 'who': 'me', 'key': 'Likes', 'value': 'figs', 'how': 'add', 'alias': [['like'], ['love'], ['enjoi']]},
], tools=globals())
answer = look_up({
    'words': [
    ],
    'roots': [],
    'wants': 'name',
    'all': [],
    'names': [],
    'proper': [],
    'me': True,
    'yes_no': False,
    'person': True,
    'checks': True,
    'who': True,
    'about': False,
}, tools=globals())"""
    ]


def test_a_block_stays_small_and_leaves_its_results_only(chat: Conversation) -> None:
    chat.tell(
        "My sister Grace works at Acme Corp.",
        "I am not 3 but 4. forget Grace.",
        "When was my sister's employer founded?",
        "I have a cat named </python>. Who is my sister?",
    )
    results = [message.content for message in chat.messages if message.role == "tool"]
    left = [re.findall(r"[{ ]'(changes|answer)': \{", text) for text in results]
    assert left == [["changes"], ["changes"], ["answer"], ["changes", "answer"]]
    assert max(map(len, chat.blocks)) < 2_000


def test_a_sandbox_without_the_library_is_told_apart() -> None:
    for error in (
        "ModuleNotFoundError: No module named 'offline_rules' (line 1: from offline_rules import look_up)",
        "ImportError: cannot import name 'look_up' from 'offline_rules' (unknown location) (line 1)",
    ):
        messages = [ChatMessage("user", "Who am I?"), ChatMessage("tool", DEFAULT.format_result({}, error))]
        reply = parse_reply(respond(messages)).reply
        assert "need the library offline_rules, and this sandbox does not offer it: use the kernel tier" in reply
        assert error in reply


def test_a_result_with_other_variables_is_read() -> None:
    assert read_result("<result>\n({'x': 1, 'answer': {'a': 1}}, '')\n</result>") == ({"answer": {"a": 1}}, "")
    assert read_result("<result>\n({'changes': \"{'a': 1}\"}, '')\n</result>") == ({"changes": {"a": 1}}, "")
    assert read_result("<result>\n({'answer': <function f>}, 'oh no')\n</result>") == ({}, "oh no")


@pytest.mark.parametrize("messages", [[], [ChatMessage("system", "s")], [ChatMessage("assistant", "a")]])
def test_a_conversation_without_a_question_gets_a_greeting(messages: list[ChatMessage]) -> None:
    assert "Hello" in parse_reply(respond(messages)).reply


async def test_the_model_interface() -> None:
    model: Model = OfflineRulesModel()
    messages = [ChatMessage("user", "Hello!")]
    async with model.answer(messages) as parts:
        text, end = [part async for part in parts]
    assert text == TextDelta(respond(messages))
    assert isinstance(end, AnswerEnd)
    assert end.finish_reason == "stop"
    assert end.usage.estimated
    assert end.usage.completion_tokens == len(respond(messages)) // 4
