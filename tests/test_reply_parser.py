"""Every rule of the reply protocol, and that no split of the text and no garbage changes anything."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections import defaultdict
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioagent._parsed_reply import REPAIRS, ParsedReply, _dedented, clean_code
from trioagent._reply_parser import ReplyParser, after_thoughts, later_style, parse_reply

from .examples import examples

CODE = "<think>plan</think>\n<python>\nx = 1\n</python>"
REPLY = "<think>plan</think>\n<python></python>\n<reply>Hello.</reply>"


def feed(pieces: list[str]) -> tuple[ParsedReply, dict[str, str]]:
    """Parse *pieces*; also what was shown of each kind, joined."""
    parser, shown = ReplyParser(), defaultdict[str, str](str)
    deltas = []
    for piece in pieces:
        deltas += parser.feed(piece)
    parsed, rest = parser.close()
    for delta in deltas + rest:
        shown[delta.kind] += delta.text
    return parsed, dict(shown)


def test_code() -> None:
    assert parse_reply(CODE) == ParsedReply(thoughts="plan", code="x = 1", reply="", text=CODE, repairs={})


def test_reply_with_empty_code() -> None:
    assert parse_reply(REPLY) == ParsedReply(thoughts="plan", code="", reply="Hello.", text=REPLY, repairs={})


@pytest.mark.parametrize(
    ("text", "thoughts", "code", "reply", "repairs"),
    [
        ("plan</think><python>x = 1</python>", "plan", "x = 1", "", {"missing_think_open": 1}),
        ("<python>x = 1</python>", "", "x = 1", "", {"missing_think": 1}),
        ("<reply>Hi</reply>", "", "", "Hi", {"missing_think": 1}),
        ("<think>plan<python>x = 1</python>", "plan", "x = 1", "", {"unclosed_think": 1}),
        ("<think>plan<reply>Hi</reply>", "plan", "", "Hi", {"unclosed_think": 1}),
        ("<think>only this", "only this", "", "", {"unclosed_think": 1}),
        ("<think>a</think><think>b</think><reply>Hi</reply>", "a\n\nb", "", "Hi", {"extra_think": 1}),
        ("<think>use <python> tags</think><python>x = 1</python>", "use <python> tags", "x = 1", "", {}),
        ("<think>p</think><python>x = 1", "p", "x = 1", "", {"unclosed_python": 1}),
        ("<think>p</think><python>x = 1\n<reply>Hi</reply>", "p", "x = 1", "Hi", {"unclosed_python": 1}),
        ("<think>p</think><python></python><reply>Hi", "p", "", "Hi", {"unclosed_reply": 1}),
        ("<think>p</think><python>x = 1</python><reply>Hi", "p", "x = 1", "Hi", {"unclosed_reply": 1}),
        ("<Think>p</think ><PYTHON>x = 1</ python>", "p", "x = 1", "", {"tag_spelling": 4}),
        ("<think>p</think><python>```python\nx = 1\n```</python>", "p", "x = 1", "", {"code_fence": 1}),
        ("<think>p</think><python>\n~~~\nx = 1\n~~~\n</python>", "p", "x = 1", "", {"code_fence": 1}),
        ("<think>p</think><python>```py\nx = 1</python>", "p", "x = 1", "", {"code_fence": 1}),
        ("<think>p</think><python>python\nx = 1</python>", "p", "x = 1", "", {"language_tag": 1}),
        (
            "<think>p</think><python>\n    if x:\n        y = 1\n</python>",
            "p",
            "if x:\n    y = 1",
            "",
            {"indented_code": 1},
        ),
        ("<think>p</think><python> x = 1</python>", "p", "x = 1", "", {"indented_code": 1}),
        ("Sure! <think>p</think> well <reply>Hi</reply>", "p", "", "Hi", {"outside_text": 2}),
        ("<think>p</think></python><reply>Hi</reply>", "p", "", "Hi", {"outside_text": 1}),
        ("<think>p</think><reply></reply><reply>Hi</reply>", "p", "", "Hi", {}),
        ("no tags at all", "", "", "", {"missing_think": 1, "outside_text": 1}),
        ("", "", "", "", {"missing_think": 1}),
        ("<think>p</think><python>\n```\n```\n</python>", "p", "", "", {}),
        ("<think>p</think><python> \n </python><python>x = 1</python>", "p", "x = 1", "", {}),
    ],
)
def test_repairs(text: str, thoughts: str, code: str, reply: str, repairs: dict[str, int]) -> None:
    parsed = parse_reply(text)
    assert (parsed.thoughts, parsed.code, parsed.reply, parsed.repairs) == (thoughts, code, reply, repairs)
    assert parsed.usable == bool(code or reply)
    assert set(repairs) <= set(REPAIRS)


@pytest.mark.parametrize(
    "literal",
    [
        '"</python>"',
        "'</python>'",
        '"""\n</python>\n"""',
        "'''it's </python>'''",
        '"a \\" </python>"',
        "'' + '</python>'",
        '"" """</python>"""',
        'f"{x} </python>"',
        '"#" + "</python>"',
        '"one \\\ntwo </python>"',
    ],
)
def test_closing_tag_inside_a_string_literal_is_code(literal: str) -> None:
    code = f"text = {literal}\ncreate_file('a.md', text)"
    assert parse_reply(f"<think>p</think><python>\n{code}\n</python>").code == code


def test_closing_tag_after_an_unclosed_literal_still_closes() -> None:
    assert parse_reply("<think>p</think><python>x = 'it's'</python>").code == "x = 'it's'"
    assert parse_reply("<think>p</think><python>x = 'it's'</python>\nmore").code == "x = 'it's'"
    assert parse_reply('<think>p</think><python>x = """never closed</python>').code == 'x = """never closed'


def test_closing_tag_in_a_comment_closes() -> None:
    assert parse_reply("<think>p</think><python>x = 1  # don't</python>").code == "x = 1  # don't"


def test_reply_may_mention_tags() -> None:
    assert (
        parse_reply("<think>p</think><reply>Use <python> and </think>.</reply>").reply == "Use <python> and </think>."
    )


def test_code_and_reply_together() -> None:
    parsed = parse_reply(CODE + "\n\n<reply>Saved.</reply> bye")
    assert (parsed.code, parsed.reply) == ("x = 1", "Saved.")
    assert parsed.text == CODE + "\n\n<reply>Saved.</reply>"


def test_only_the_first_block_counts() -> None:
    parsed = parse_reply(CODE + "<result>({}, '')</result><python>y = 2</python><reply>Done</reply>")
    assert (parsed.code, parsed.reply, parsed.text) == ("x = 1", "", CODE)
    assert parsed.repairs == {"text_after_code": 1}


@pytest.mark.parametrize(
    ("text", "when"),
    [
        (CODE + "\n<result>", len(CODE + "\n<result>") - 4),  # at "<res" it cannot become <reply> any more
        (REPLY + "and more", len(REPLY)),
        (CODE + "\n<reply>Hi</reply>", len(CODE + "\n<reply>Hi</reply>")),
    ],
)
def test_finished_as_soon_as_nothing_more_counts(text: str, when: int) -> None:
    parser = ReplyParser()
    for count, char in enumerate(text, 1):
        parser.feed(char)
        assert parser.finished == (count >= when), text[:count]
        if parser.finished:
            return


def test_text_after_the_end_is_ignored() -> None:
    parser = ReplyParser()
    parser.feed(REPLY)
    assert parser.feed("<reply>Other</reply>") == []
    assert parser.close()[0].reply == "Hello."


def test_deltas_show_what_is_said() -> None:
    parsed, shown = feed(list("<think>a < b</think><python>\ns = '<'\n</python>\n<reply>1 < 2</reply>"))
    assert shown == {"think": "a < b", "code": "\ns = '<'\n", "reply": "1 < 2"}
    assert parsed.code == "s = '<'"


def test_close_twice_gives_the_same() -> None:
    parser = ReplyParser()
    parser.feed("<think>a</think><python>x = 1")
    assert parser.close()[0] == parser.close()[0]


def test_long_untagged_text_is_read_in_linear_time() -> None:
    parser = ReplyParser()
    for _ in range(2_000):
        parser.feed("<thin and more words without any tag ")
        assert parser._pos >= len(parser._text) - 12  # nothing is scanned twice
    assert not parser.close()[0].usable


def test_code_of_every_kind_survives_cleaning() -> None:
    assert clean_code("\n\nx = 1\n\ny = 2\n") == ("x = 1\n\ny = 2", [])
    assert clean_code("   \n\t\n") == ("", [])
    assert clean_code("python = 3\nprint(python)") == ("python = 3\nprint(python)", [])


TOKENS = [
    *(f"<{slash}{name}>" for slash in ("", "/") for name in ("think", "python", "reply")),
    *("< /python>", "<THINK>", "</ reply >", "'", '"', "'''", '"""', "\\", "#", "\n", "```", "```python\n", "python\n"),
    *(
        "<thinking>",
        "</thinking>",
        "</thought>",
        "<seed:think>",
        "[THINK]",
        "[/THINK]",
        "◁think▷",
        "◁/think▷",
        "[",
        "◁",
        "<|channel|>analysis",
        "<|channel|>final",
        "<|message|>",
        "<|channel>thought",
        "<channel|>",
        "<|END_THINKING|>",
        "<|",
        "analysisW",
        "assistantfinal",
        "\n<think>",
        "<ſeed:think>",
    ),
    *("<", ">", "/", "<p", "</py", "x = 1", "    y", " ", "é", "\x00", "\U0001f600", "\ud800"),
]
texts = st.lists(st.sampled_from(TOKENS) | st.text(max_size=5), max_size=30).map("".join)


@settings(max_examples=examples(133))
@given(text=texts, cuts=st.lists(st.integers(0, 200), max_size=20))
def test_every_split_gives_the_same(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    whole = feed([text])
    assert feed(pieces) == whole
    assert feed(list(text)) == whole
    assert text.startswith(whole[0].text)


@settings(max_examples=examples(66))
@given(text=st.text())
def test_garbage_never_raises(text: str) -> None:
    parsed = parse_reply(text)
    assert parsed.text == text or parsed.usable


# ------------------------------------------------------------------------------------------------ cut answers


@pytest.mark.parametrize(
    ("text", "thoughts", "code", "reply", "partial"),
    [
        ("<think>p</think><python>delete_file('a')", "p", "", "", ""),
        ("<think>p</think><python>s = '</python>", "p", "", "", ""),
        ("<think>p</think><python>x = 1\n<reply>Hi", "p", "", "", ""),
        ("<think>p</think><python></python><reply>Your note has been mov", "p", "", "", "Your note has been mov"),
        ("<think>p</think><python>x = 1</python><reply>Do", "p", "x = 1", "", "Do"),
        (
            "<think>I could <python>delete_file('a')</python> or",
            "I could <python>delete_file('a')</python> or",
            "",
            "",
            "",
        ),
        ("<python>delete_file('a')</python> would be wrong, since", "", "", "", ""),
        ("<think>p</think>", "p", "", "", ""),
        ("no tags", "", "", "", ""),
        ("", "", "", "", ""),
    ],
)
def test_what_a_cut_left_open_does_not_count(text: str, thoughts: str, code: str, reply: str, partial: str) -> None:
    parsed = parse_reply(text, cut=True)
    assert (parsed.thoughts, parsed.code, parsed.reply, parsed.partial) == (thoughts, code, reply, partial)
    assert parsed.cut and parsed.text == text
    assert parse_reply(text).cut is False


@pytest.mark.parametrize("text", [CODE, CODE + "\n<rep", REPLY, CODE + "<reply>Hi</reply>"])
def test_what_was_closed_before_the_cut_counts(text: str) -> None:
    whole, cut = parse_reply(text), parse_reply(text, cut=True)
    assert (cut.code, cut.reply, cut.cut) == (whole.code, whole.reply, False)


# ------------------------------------------------------------------------------------ thoughts in other tags


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<thinking>", "</thinking>"),
        ("<Thought>", "</Thought>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("", "</thinking>"),
        ("", "[/THINK]"),
        ("<think>", "</thinking>"),
    ],
)
def test_thoughts_in_other_tags_are_thoughts(opening: str, closing: str) -> None:
    """Code in them was only considered; it must not run because a model was trained to another word."""
    considered = "I could <python>delete_file('a')</python>, but no."
    text = f"{opening}{considered}{closing}<python></python><reply>Hi</reply>"
    for pieces in ([text], list(text)):
        parsed = feed(pieces)[0]
        assert (parsed.thoughts, parsed.code, parsed.reply) == (considered, "", "Hi")
        assert parsed.repairs["tag_spelling"] >= 1


@pytest.mark.parametrize("text", ["[thinking]", "<think]", "[/python]", "◁reply▷", "<thinks>", "<seed:python>"])
def test_what_is_no_tag(text: str) -> None:
    parsed = parse_reply(f"<think>{text}</think><python></python><reply>{text}</reply>")
    assert (parsed.thoughts, parsed.reply, dict(parsed.repairs)) == (text, text, {})


# ------------------------------------------------------------------------------------ thoughts in models' own tokens


@pytest.mark.parametrize(
    ("text", "thoughts", "code", "reply"),
    [
        (  # gpt-oss by way of mlx, llama.cpp, vLLM
            "<|channel|>analysis<|message|>Maybe <python>delete_file('a')</python>?</think><|end|><|start|>assistant"
            "<|channel|>final<|message|><think>p</think><python>x = 1</python><|return|>",
            "Maybe <python>delete_file('a')</python>?</think><|end|><|start|>assistant\n\np",
            "x = 1",
            "",
        ),
        (  # what it says to tools is no answer either
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=python code<|message|>"
            "<python>delete_file('a')</python><|end|><|start|>assistant<|channel|>final<|message|>"
            "<python></python><reply>Hi</reply>",
            "Hm.<|end|><|start|>assistant<|channel|>commentary to=python code<|message|>"
            "<python>delete_file('a')</python><|end|><|start|>assistant",
            "",
            "Hi",
        ),
        ("<|channel|>analysis<|message|>I'd <python>delete_file('a')</python>", "I'd <python>…", "", ""),
        ("<|channel|>final<|message|><python>x = 1</python>", "", "x = 1", ""),
        (  # its opening token consumed by a template
            "I'd <think>a</think><python>delete_file('a')</python>.<|end|><|start|>assistant<|channel|>final<|message|>"
            "<python>x = 1</python>",
            "I'd <think>a</think><python>delete_file('a')</python>.<|end|><|start|>assistant",
            "x = 1",
            "",
        ),
        (  # with all its tokens dropped
            "analysisWe could <python>delete_file('a')</python>.assistantfinal<think>p</think><python>x = 1</python>",
            "We could <python>delete_file('a')</python>.\n\np",
            "x = 1",
            "",
        ),
        ("analysisWe could <python>delete_file('a')</python>.", "We could <python>delete_file('a')</python>.", "", ""),
        ("analysis of it: <python>x = 1</python>", "", "x = 1", ""),
        ("<|channel>thought\nI'd <python>y()</python><channel|><python>x = 1</python>", "I'd <python>…", "x = 1", ""),
        ("I'd <python>y()</python><channel|><python>x = 1</python>", "I'd <python>…", "x = 1", ""),
        (
            "<|START_THINKING|>I'd <python>y()</python><|END_THINKING|><|START_RESPONSE|><python>x = 1</python>",
            "I'd <python>…",
            "x = 1",
            "",
        ),
    ],
)
def test_thoughts_in_the_tokens_of_a_model(text: str, thoughts: str, code: str, reply: str) -> None:
    for pieces in ([text], list(text)):
        parsed = feed(pieces)[0]
        assert (parsed.code, parsed.reply) == (code, reply)
        assert parsed.thoughts == thoughts or parsed.thoughts.startswith(thoughts.removesuffix("…"))


@pytest.mark.parametrize("tokens", ["<|return|>", "<|im_end|>", "\n<|eot_id|>\n", "<｜end▁of▁sentence｜>", "</s>"])
def test_tokens_behind_what_is_open_are_none_of_it(tokens: str) -> None:
    for text in ("<think>p</think><python>x = 1", "<think>p</think><python></python><reply>Hi"):
        bare, leaked = parse_reply(text), parse_reply(text + tokens)
        assert (leaked.code, leaked.reply) == (bare.code, bare.reply)
        assert leaked.repairs["leaked_tokens"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello.", "Hello."),
        ("hm</think>Hello.", "Hello."),
        ("<think>hm", None),
        ("<think>hm</think> no</think>\nHello.", "Hello."),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello.<|return|>",
            "Hello.",
        ),
        ("<|channel|>analysis<|message|>hm", None),
        ("<|channel|>final<|message|>Hello.", "Hello."),
        ("analysisUser asks.assistantfinalHello.", "Hello."),
        ("analysisUser asks.", None),
        ("analysis of it", "analysis of it"),
    ],
)
def test_what_is_said_behind_thoughts(text: str, said: str | None) -> None:
    assert after_thoughts(text) == said


# ------------------------------------------------------------------------------------ thoughts without an opening tag


@pytest.mark.parametrize(
    ("text", "thoughts", "code", "reply"),
    [
        (
            "I could <python>delete_file('a')</python>, but no.</think><python>x = 1</python>",
            "I could <python>delete_file('a')</python>, but no.",
            "x = 1",
            "",
        ),
        (
            "<reply>Hi?</reply> too short</think>\n<python></python><reply>Hello.</reply>",
            "<reply>Hi?</reply> too short",
            "",
            "Hello.",
        ),
        ("the tag </python> ends code</think><python>x = 1</python>", "the tag </python> ends code", "x = 1", ""),
        ("<python>delete_file('a')</python></think>", "<python>delete_file('a')</python>", "", ""),
    ],
)
def test_all_before_a_closing_tag_without_an_opening_one_is_thought(
    text: str, thoughts: str, code: str, reply: str
) -> None:
    parsed = parse_reply(text)
    assert (parsed.thoughts, parsed.code, parsed.reply) == (thoughts, code, reply)
    assert parsed.repairs["missing_think_open"] == 1


DRAFT = "<think>save it</think><python>delete_file('a')</python>"


@pytest.mark.parametrize(
    ("text", "thoughts", "code", "reply"),
    [
        (  # a second closing tag, and a third
            "a</think> Hm, <python>delete_file('a')</python>, no.</think> Or <reply>b</reply>?</think>"
            "<python>x = 1</python>",
            "a\n\nHm, <python>delete_file('a')</python>, no.\n\nOr <reply>b</reply>?",
            "x = 1",
            "",
        ),
        (
            "<think>a</think> Hm, <python>delete_file('a')</python>, no.</think><python></python><reply>Hi</reply>",
            "a\n\nHm, <python>delete_file('a')</python>, no.",
            "",
            "Hi",
        ),
        ("<think>a</think> and more</think><python>x = 1</python>", "a\n\nand more", "x = 1", ""),
        (  # an answer that is drafted, with thoughts of its own
            f"I'd write {DRAFT}, but no.</think>\n<think>p</think><python>x = 1</python>",
            f"I'd write {DRAFT}, but no.\n\np",
            "x = 1",
            "",
        ),
        (
            f"<think>I'd write:\n{DRAFT}\nBut no.</think><python>x = 1</python>",
            f"I'd write:\n{DRAFT}\nBut no.",
            "x = 1",
            "",
        ),
        (
            "<think>a</think> Or <think>b</think><reply>c</reply>? No.</think><python></python><reply>Hi</reply>",
            "a\n\nOr <think>b</think><reply>c</reply>? No.",
            "",
            "Hi",
        ),
        # what is only mentioned, doubled, or text that is no thought, changes nothing
        ("<think>use\n<think> tags</think><python>x = 1</python>", "use\n<think> tags", "x = 1", ""),
        ("<think>\n<think>p</think></think><python>x = 1</python>", "<think>p", "x = 1", ""),
        ("Sure. <think>p</think> Saving: <python>x = 1</python> done", "p", "x = 1", ""),
        (
            "<think>p</think> Saving: <python>x = 1</python><think>q</think> And <python>y = 1</python>",
            "p",
            "x = 1",
            "",
        ),
        ("<think>p</think><python></python> So: <reply>Hi</reply>", "p", "", "Hi"),
    ],
)
def test_what_is_considered_does_not_count(text: str, thoughts: str, code: str, reply: str) -> None:
    for pieces in ([text], list(text)):
        parsed = feed(pieces)[0]
        assert (parsed.thoughts, parsed.code, parsed.reply) == (thoughts, code, reply)


def test_text_outside_of_tags_is_waited_for_until_it_was_no_thought() -> None:
    answer = "<think>p</think> Saving: <python>x = 1</python> and"
    first = ReplyParser("tagged")
    first.feed(answer)
    assert not first.finished
    assert first.close()[0].code == "x = 1"
    assert first.style == "talks"
    second = ReplyParser(first.style)
    second.feed("Sure. " + answer)
    assert second.finished
    assert second.style == "talks"


def test_a_model_without_opening_tags_is_waited_for_at_each_text() -> None:
    """It is stopped early where the protocol is kept to, and a draft among its thoughts never counts."""
    parser = ReplyParser("unopened")
    parser.feed(f"I should use <think>. {DRAFT} or so")
    assert not parser.finished
    parser.feed(", no.</think><think>p</think><python>x = 1</python> and")
    parser.feed("</think><python>y = 1</python> and")
    assert parser.close()[0].code == "y = 1"
    parser = ReplyParser("unopened")
    parser.feed(f"{DRAFT[len('<think>') :]} or so</think><think>p</think><python>x = 1</python> and")
    assert parser.finished


def test_what_a_model_was_seen_to_leave_out_is_not_forgotten() -> None:
    parser = ReplyParser("unopened")
    parser.feed("<python>x = 1</python>")
    assert parser.close()[0].code == "x = 1"
    assert parser.style == "unopened"
    assert later_style("unopened", "none") == "unopened"  # of an answer that began before that was known
    assert later_style("tagged", "none") == "none"


@pytest.mark.parametrize("text", [f"a</think> Hm, {DRAFT} or", f"Hm, {DRAFT} or", f"<think>a\n{DRAFT} or"])
def test_what_may_be_considered_only_does_not_run_when_the_answer_was_cut(text: str) -> None:
    parsed = parse_reply(text, cut=True)
    assert (parsed.code, parsed.reply, parsed.cut) == ("", "", True)


def test_code_that_comes_first_does_not_end_the_answer_until_the_model_is_known() -> None:
    first = ReplyParser()
    assert first.feed("<python>x = 1</python> and then") == [] and not first.finished
    assert first.close()[0].code == "x = 1"
    assert first.style == "none"
    second = ReplyParser(first.style)
    second.feed("<python>x = 1</python> and then")
    assert second.finished


def test_a_model_whose_opening_tag_is_removed_is_stopped_early_behind_its_thoughts() -> None:
    parser = ReplyParser("tagged")
    parser.feed("<python>maybe</python> no.</think><python>x = 1</python> and")
    assert parser.finished
    assert parser.close()[0].code == "x = 1"
    assert parser.style == "unopened"


def test_a_cut_answer_says_nothing_of_how_its_model_marks_thoughts() -> None:
    parser = ReplyParser()
    parser.feed("<python>x = 1</python> and")
    parser.close(cut=True)
    assert parser.style == "unknown"


def test_reasoning_sent_apart_is_thought_where_there_are_no_tags() -> None:
    for text, thoughts in (("<reply>Hi</reply>", "hm"), ("<think>p</think><reply>Hi</reply>", "p"), ("", "hm")):
        parser = ReplyParser()
        parser.feed(text)
        for _ in range(2):
            parsed, _ = parser.close(reasoning="hm")
            assert parsed.thoughts == thoughts
            assert "missing_think" not in parsed.repairs


@given(st.lists(st.text(alphabet=" \tab\x0b", max_size=6), max_size=8))
def test_indentation_is_taken_off_as_the_library_does(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert _dedented(text) == textwrap.dedent(text)


def test_code_of_megabytes_of_blanks() -> None:
    """What looks at each run of blanks once more for each of its places takes minutes here."""
    for code in (" " * 4_000_000 + "x = 1", "    \n" * 400_000 + "    x = 1", "    x = 1\n" * 400_000):
        assert clean_code("\n" + code)[0].strip().startswith("x = 1")


CODE_BEGINS = "<think>a</think><python>"
FLOODS = {
    "quotes in a comment": (CODE_BEGINS + "#", "\"'\\"),
    "quotes in a long string": (CODE_BEGINS + '"""', "'\"'"),
    "backslashes in a string": (CODE_BEGINS + "'", "\\"),
    "quotes": (CODE_BEGINS, "'"),
    "blanks after code": (CODE_BEGINS + "x = 1</python>", " \n"),
    "tags": ("", "<think><python></python><reply></reply>"),
    "beginnings of tags": ("<think>", "< / pytho"),
    "drafts": ("<think>a", "\n<think>"),
    "drafts that end": ("<think>a", "\n<think>b</think>"),
    "closing tags": ("<think>a</think>", "b</think>"),
    "text and tags": ("", "b <think>c</think> "),
    "channels": ("<|channel|>analysis", "<|channel|>analysis\n"),
    "channels without tokens": ("analysisWe", "assistantfina"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_work_grows_with_the_length_of_an_answer(name: str) -> None:
    """Counted in lines of the parser that run, and in characters that it has before it when a piece comes."""

    def work(length: int) -> tuple[int, int]:
        lines = 0

        def count(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return count

        begin, flood = FLOODS[name]
        text = (begin + flood * length)[:length]
        parser, waiting = ReplyParser(), 0
        trace = sys.gettrace()
        sys.settrace(count)
        try:
            for start in range(0, length, 16):
                parser.feed(text[start : start + 16])
                waiting = max(waiting, len(parser._text) - parser._pos)
        finally:
            sys.settrace(trace)
        return lines, waiting

    (few, _), (many, waiting) = work(1000), work(4000)
    assert many < 6 * few and waiting < 40
