"""The turn's rules, with no model, clock or event loop."""

from __future__ import annotations

import ast

import pytest

from trioagent._messages import ChatMessage, Usage
from trioagent._model_profile import DEFAULT
from trioagent._reply_parser import parse_reply
from trioagent._server_behaviour import is_cut
from trioagent._turn import CUT, FILTERED, HINT, NOT_RUN, AskModel, Finish, RunCode, Turn

USER = ChatMessage("user", "Where do I live?")
CODE = "<think>look</think><python>x = read_file('user.md')</python>"
REPLY = "<think>found</think><python></python><reply>In Berlin.</reply>"


def answer(turn: Turn, text: str) -> AskModel | RunCode | Finish:
    return turn.on_answer(parse_reply(text), Usage(prompt_tokens=10, completion_tokens=2, requests=1))


def new_turn(max_tool_turns: int = 4) -> Turn:
    turn = Turn([USER], max_tool_turns=max_tool_turns)
    assert turn.start() == AskModel([USER])
    return turn


def test_a_reply_ends_the_turn() -> None:
    turn = new_turn()
    step = answer(turn, REPLY)
    assert isinstance(step, Finish)
    response = step.response
    assert (response.reply, response.thoughts, response.python_block) == ("In Berlin.", "found", "")
    assert (response.stop_reason, response.turns, response.usage.total_tokens) == ("reply", 1, 12)
    assert turn.messages == [USER, ChatMessage("assistant", REPLY)]


def test_code_runs_and_its_result_goes_to_the_model_as_a_tool_message() -> None:
    turn = new_turn()
    assert answer(turn, CODE) == RunCode("x = read_file('user.md')")
    step = turn.on_result({"x": "'- city: Berlin'"}, "", saved=True, tier="kernel")
    result = ChatMessage("tool", "<result>\n({'x': '- city: Berlin'}, '')\n</result>")
    assert step == AskModel([USER, ChatMessage("assistant", CODE), result])
    last = answer(turn, REPLY)
    assert isinstance(last, Finish)
    assert last.response.python_block == "x = read_file('user.md')"
    assert (last.response.turns, last.response.blocks_saved, last.response.tier) == (2, 1, "kernel")
    assert last.response.usage == Usage(prompt_tokens=20, completion_tokens=4, requests=2)


def test_code_with_a_reply_that_worked_needs_no_second_answer() -> None:
    turn = new_turn()
    text = CODE + "<reply>Saved.</reply>"
    assert answer(turn, text) == RunCode("x = read_file('user.md')")
    step = turn.on_result({}, "", saved=True)
    assert isinstance(step, Finish)
    assert step.response.reply == "Saved."
    assert [m.role for m in turn.messages] == ["user", "assistant", "tool"]


def test_code_with_a_reply_that_failed_goes_back_to_the_model() -> None:
    turn = new_turn()
    answer(turn, CODE + "<reply>Saved.</reply>")
    step = turn.on_result({}, "NameError: x")
    assert isinstance(step, AskModel)
    assert step.messages[-1].content == "<result>\n({}, 'NameError: x')\n</result>"


def test_nothing_usable_gets_a_hint_which_costs_a_tool_turn() -> None:
    turn = new_turn(max_tool_turns=1)
    step = answer(turn, "I think I should look into my notes.")
    assert step == AskModel(turn.messages)
    assert turn.messages[-1] == ChatMessage("tool", HINT)
    last = answer(turn, "Still no tags.")
    assert isinstance(last, Finish)
    assert (last.response.stop_reason, last.response.reply, last.response.turns) == ("max_tool_turns", "", 2)
    assert last.response.repairs == {"missing_think": 2, "outside_text": 2}


def test_tool_turns_run_out_without_running_the_last_code() -> None:
    turn = new_turn(max_tool_turns=2)
    for _ in range(2):
        assert isinstance(answer(turn, CODE), RunCode)
        assert isinstance(turn.on_result({}, ""), AskModel)
    last = answer(turn, CODE)
    assert isinstance(last, Finish)
    assert (last.response.stop_reason, last.response.reply, last.response.turns) == ("max_tool_turns", "", 3)
    assert turn.messages[-1] == ChatMessage("tool", DEFAULT.format_result({}, NOT_RUN))


def test_a_reply_still_counts_when_no_tool_turn_is_left() -> None:
    step = answer(new_turn(max_tool_turns=0), REPLY)
    assert isinstance(step, Finish)
    assert step.response.reply == "In Berlin."


def test_a_stopped_block_is_in_the_history() -> None:
    turn = new_turn()
    answer(turn, CODE)
    turn.on_stopped()
    assert [m.role for m in turn.messages] == ["user", "assistant", "tool"]
    assert "stopped before it ended" in turn.messages[-1].content
    with pytest.raises(ValueError, match="no code is running"):
        turn.on_stopped()


def test_a_result_without_running_code_is_our_own_fault() -> None:
    with pytest.raises(ValueError, match="no code is running"):
        new_turn().on_result({}, "")


def test_the_history_given_is_not_touched() -> None:
    history = [USER]
    turn = Turn(history, max_tool_turns=1)
    answer(turn, REPLY)
    assert history == [USER]


def test_result_is_a_readable_tuple_whatever_is_in_it() -> None:
    text = DEFAULT.format_result({"a": "'it\\'s'", "n": "[1, 2]"}, "boom 'x'\nline", 'said "hi"\n')
    body = text.removeprefix("<result>\n").removesuffix("\n</result>")
    assert ast.literal_eval(body) == ({"a": "it's", "n": [1, 2], "(printed)": 'said "hi"\n'}, "boom 'x'\nline")


CUT_CODE = "<think>move it</think><python>delete_file('keep.md')"
CUT_REPLY = "<think>t</think><python></python><reply>Your note has been mov"


def cut(turn: Turn, text: str, reason: str = "length") -> AskModel | RunCode | Finish:
    return turn.on_answer(parse_reply(text, cut=True), Usage(prompt_tokens=10, completion_tokens=77), reason)


def test_a_cut_answer_costs_a_tool_turn_and_the_model_is_told() -> None:
    turn = new_turn(max_tool_turns=2)
    assert isinstance(cut(turn, CUT_CODE), AskModel)
    assert turn.messages[-2:] == [ChatMessage("assistant", CUT_CODE), ChatMessage("tool", CUT.format(tokens=77))]
    assert isinstance(cut(turn, CUT_REPLY, "content_filter"), AskModel)
    assert turn.messages[-1] == ChatMessage("tool", FILTERED)
    step = turn.on_answer(parse_reply(REPLY), Usage(), "stop")
    assert isinstance(step, Finish)
    assert step.response.finish_reasons == ("length", "content_filter", "stop")
    assert (step.response.stop_reason, step.response.partial) == ("reply", "")


@pytest.mark.parametrize(
    ("text", "partial"), [(CUT_REPLY, "Your note has been mov"), (CUT_CODE, CUT_CODE), ("<think>hm", "<think>hm")]
)
def test_a_cut_answer_at_the_last_turn_is_partial_and_no_reply(text: str, partial: str) -> None:
    step = cut(new_turn(max_tool_turns=0), text)
    assert isinstance(step, Finish)
    response = step.response
    assert (response.stop_reason, response.reply, response.partial) == ("cut", "", partial)
    assert response.repairs["cut_answer"] == 1


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("MAX_TOKENS", CUT.format(tokens=77)),
        ("model_context_window_exceeded", CUT.format(tokens=77)),
        ("repetition", CUT.format(tokens=77)),
        ("content_filter: RECITATION", FILTERED),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", FILTERED),
        ("guardrail_intervened", FILTERED),
    ],
)
def test_every_spelling_of_a_cut(reason: str, told: str) -> None:
    """Gemini's compatible endpoint adds its own reason behind a colon."""
    turn = new_turn()
    assert is_cut(reason)
    assert isinstance(cut(turn, CUT_CODE, reason), AskModel)
    assert turn.messages[-1] == ChatMessage("tool", told)


@pytest.mark.parametrize("reason", ["stop", "", "eos", "end_turn", "STOP", "tool_calls", "stop: x"])
def test_what_is_no_cut(reason: str) -> None:
    assert not is_cut(reason)


def test_a_block_closed_before_the_cut_runs() -> None:
    turn = new_turn()
    assert cut(turn, CODE + "<reply>Do") == RunCode("x = read_file('user.md')")
    assert isinstance(turn.on_result({}, ""), AskModel), "its reply was cut, so the model gets the result"
