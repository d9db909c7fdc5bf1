"""What a model is shown of a conversation that has outgrown its context."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent import ChatMessage, InvalidInputError, LeftOut, ModelConfig
from trioagent._context import ContextView, fit_context, page_result, room_for_messages
from trioagent._context import _tokens as tokens_of
from trioagent._model_profile import DEFAULT, MEM_AGENT

SYSTEM = ChatMessage("system", "You have notes.")
LONG = "x" * 3000  # 1,000 tokens by the count of the rules


def turn(number: int, result: str = LONG) -> list[ChatMessage]:
    return [
        ChatMessage("assistant", f"<python>look({number})</python>"),
        ChatMessage("tool", DEFAULT.format_result({"a": repr(result)}, "")),
    ]


def exchange(number: int, turns: int = 1, result: str = LONG) -> list[ChatMessage]:
    """A message of the user, so many code turns, and the reply."""
    said = [ChatMessage("user", f"Question {number}?")]
    for one in range(turns):
        said += turn(one, result)
    return [*said, ChatMessage("assistant", f"<reply>Answer {number}</reply>")]


def shown_tokens(view: ContextView) -> int:
    return sum(map(tokens_of, view.messages))


def test_what_fits_is_shown_as_it_is() -> None:
    messages = [SYSTEM, *exchange(1), ChatMessage("user", "And?")]
    view = fit_context(messages, 5000)
    assert view.messages is messages
    assert (view.left_out, view.is_more, bool(view.left_out)) == (LeftOut(), False, False)
    assert str(view.left_out) == "nothing"


def test_old_results_go_first_and_say_so() -> None:
    messages = [SYSTEM, *exchange(1, turns=3), ChatMessage("user", "And?"), *turn(9)]
    view = fit_context(messages, 4000)
    assert view.left_out == LeftOut(results=2)
    assert view.is_more
    assert shown_tokens(view) <= 4000 * 0.75
    assert len(view.messages) == len(messages)
    changed = [number for number, message in enumerate(view.messages) if message != messages[number]]
    assert [messages[number].role for number in changed] == ["tool", "tool"]
    first = view.messages[changed[0]]
    assert first.role == "tool"
    assert first.content == (
        "<result>\n({}, 'This result had 3,034 characters. It is not shown any more: the conversation outgrew your "
        "context.')\n</result>"
    )
    assert view.messages[-1] == messages[-1]  # the last turn's result is always shown
    as_trained = fit_context(messages, 4000, MEM_AGENT).messages[changed[0]].content
    assert as_trained.startswith("<result>\n({}, {This result had") and as_trained.endswith("context.})\n</result>")


def test_old_messages_go_next_with_all_that_they_led_to() -> None:
    messages = [SYSTEM]
    for number in range(40):
        messages += exchange(number, result="short")
    messages.append(ChatMessage("user", "And?"))
    view = fit_context(messages, 1000)
    assert view.left_out.messages > 20
    assert view.left_out.turns == 0
    assert view.messages[1].role == "user"
    assert [message.role for message in view.messages[1:5]] == ["user", "assistant", "tool", "assistant"]
    assert view.messages[1].content == f"Question {view.left_out.messages}?"
    assert view.messages[-1] == messages[-1]
    note = view.messages[0].content
    assert note.startswith("You have notes.\n\n# What is not shown any more\n")
    assert f"{view.left_out.messages} earlier messages of the user, with all answers" in note
    assert shown_tokens(view) <= 1000


def test_turns_of_the_last_message_go_last() -> None:
    messages = [SYSTEM, *exchange(1), ChatMessage("user", "Look at everything.")]
    for number in range(30):
        messages += [ChatMessage("assistant", f"<python>look({number})</python>"), ChatMessage("tool", "<result/>")]
    view = fit_context(messages, 400)
    assert view.left_out.messages == 1
    assert view.left_out.turns > 10
    assert view.messages[1] == messages[6 - 1]
    assert view.messages[1].content == "Look at everything."
    assert view.messages[-2:] == messages[-2:]
    assert "1 earlier message of the user, with all answers; " in view.messages[0].content
    assert f"{view.left_out.turns} earlier code turns" in view.messages[0].content
    # When the message is old itself, its turns are counted with it.
    later = [*messages, ChatMessage("assistant", "<reply>Done</reply>"), ChatMessage("user", LONG)]
    assert fit_context(later, 1200).left_out == LeftOut(messages=2)


def test_what_is_needed_is_shown_even_if_it_is_too_long() -> None:
    messages = [SYSTEM, ChatMessage("user", LONG), *turn(1)]
    view = fit_context(messages, 100)
    assert (view.messages, view.left_out, view.is_more) == (messages, LeftOut(), False)
    without = fit_context([ChatMessage("user", "old"), ChatMessage("assistant", LONG), ChatMessage("user", "new")], 100)
    assert [message.role for message in without.messages] == ["system", "user"]
    assert without.messages[1].content == "new"


def test_the_start_stays_the_same_for_several_turns() -> None:
    """Servers keep what they have read of a conversation, as long as it begins the same."""
    messages, changes, before = [SYSTEM, ChatMessage("user", "Go.")], 0, LeftOut()
    for number in range(40):
        messages += turn(number)
        view = fit_context(messages, 8000)
        assert view.is_more == (view.left_out != before)
        changes += view.is_more
        before = view.left_out
    assert 10 < changes < 25
    assert before.results > 30


MESSAGES = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "tool"]), st.integers(0, 60), st.sampled_from("aä語")), max_size=30
)


@given(MESSAGES, st.integers(50, 400))
def test_any_conversation(said: list[tuple[str, int, str]], room: int) -> None:
    messages = [SYSTEM, *(ChatMessage(role, letter * length) for role, length, letter in said)]  # type: ignore[arg-type]
    view = fit_context(messages, room)
    assert fit_context(list(messages), room) == view
    originals = [message for message in view.messages if message in messages]
    assert len(originals) + view.left_out.results + (view.left_out.messages + view.left_out.turns > 0) >= len(
        view.messages
    )
    users = [message for message in messages if message.role == "user"]
    assert users[view.left_out.messages :] == [message for message in view.messages if message.role == "user"]
    if messages[-1].role == "user":
        assert view.messages[-1] == messages[-1]


def test_long_results_are_paged() -> None:
    room = 4000  # so 3,000 bytes for a result
    values, _ = page_result({"a": "'short'", "b": repr("y" * 5000), "c": "[" + "1, " * 5000 + "]"}, "", room)
    assert values["a"] == "'short'"
    assert values["b"].endswith("… (5002 characters in all; for more, assign a part such as [1495:2990])")
    assert values["c"].startswith("[1, 1, ") and values["c"].endswith(
        "… (15002 characters in all; for more, assign a part of it)"
    )
    assert sum(map(len, values.values())) < 3000 + 200
    assert page_result({"a": "'short'"}, "printed", room) == ({"a": "'short'"}, "printed")
    cut = "'" + "z" * 9000 + "… (123456 characters in all; for more, assign a part such as [9000:18000])"
    again, shown = page_result({"d": cut}, "p" * 4000 + "… (96,000 more characters)", room)
    assert again["d"].endswith("zz… (123456 characters in all; for more, assign a part such as [1498:2996])")
    assert shown.endswith("pp… (100000 characters in all; for more, assign a part of it)")
    escaped, _ = page_result({"f": repr("a\n\x00" * 3000)}, "", room)
    page = escaped["f"].partition("…")[0]
    assert ast.literal_eval(page + "'") == ("a\n\x00" * 3000)[:1286]
    assert escaped["f"].endswith(" such as [1286:2572])")
    foreign, _ = page_result({"e": repr("語" * 5000)}, "", room)
    assert 2900 < len(foreign["e"].encode()) < 3200


def test_the_room_for_messages() -> None:
    assert room_for_messages(8192, None) == 8192 - 2048
    assert room_for_messages(4000, None) == 3000
    assert room_for_messages(128_000, None) == 128_000 - 2048
    assert room_for_messages(8192, 500) == 7692
    with pytest.raises(InvalidInputError, match="max_tokens.*leaves no room"):
        ModelConfig(base_url="http://localhost/v1", model="m", max_tokens=4096, context_tokens=4096)
    with pytest.raises(InvalidInputError, match="a whole number above 0, not 0"):
        ModelConfig(base_url="http://localhost/v1", model="m", context_tokens=0)


def test_the_count_is_of_what_is_sent() -> None:
    assert tokens_of(ChatMessage("user", "a" * 300)) == 108
    assert tokens_of(ChatMessage("user", '"\n' * 75)) == 108  # as JSON has them
    assert tokens_of(ChatMessage("user", "語" * 100)) == 108
    assert json.loads(b'"' + ChatMessage("user", "語").as_json + b'"') == "語"
