"""Each check accepts what is right and rejects what is not, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from trioagent import InvalidInputError
from trioagent.sft import Exchange, Fact, Flow, Transcript, check
from trioagent.sft._flows import check_facts, notes_before

from .people import CELLO, LIVES, SISTER, persona

Notes = Mapping[str, str]


def conversation(flow: Flow, facts: tuple[Fact, ...], exchanges: list[Exchange], **more: Any) -> Transcript:
    before = notes_before(flow, persona(), facts)
    given = {"before": before, "after": before, **more}
    return Transcript(flow=flow, persona=persona(), facts=facts, messages=(), exchanges=tuple(exchanges), **given)


def wrong(conversation: Transcript) -> dict[str, str]:
    return {verdict.check: verdict.reason for verdict in check(conversation) if not verdict.passed}


TOLD = Exchange(said="I live in Porto, and I play the cello.", reply="Noted.", errors=("",))
NOTED = {"user.md": "- **Lives In**: Porto\n- **Plays**: cello\n"}


def introduced(**more: Any) -> Transcript:
    given = {"facts": (LIVES, CELLO), "exchanges": [TOLD], "after": NOTED, **more}
    return conversation("introduce", **given)


def test_introduce_accepted() -> None:
    assert wrong(introduced()) == {}
    assert [verdict.check for verdict in check(introduced())] == [
        "replied",
        "blocks_worked",
        "facts_told",
        "notes_changed",
        "facts_noted",
        "links_resolve",
    ]


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"exchanges": []}, "replied", "the persona said nothing"),
        (
            {"exchanges": [TOLD, Exchange(said="And?", reply="", stop_reason="max_tool_turns")]},
            "replied",
            "message 2 got no reply (max_tool_turns)",
        ),
        (
            {"exchanges": [Exchange(said=TOLD.said, reply="Noted.", errors=("", "NameError: x"))]},
            "blocks_worked",
            "the last block for message 1 failed: 'NameError: x'",
        ),
        (
            {"exchanges": [Exchange(said="I play the cello.", reply="Noted.")]},
            "facts_told",
            "'I live in Porto.' (no porto)",
        ),
        (
            {"exchanges": [Exchange(said=TOLD.said, reply="Noted.", cut=True)]},
            "replied",
            "an answer to message 1 was cut by a token limit or a content filter",
        ),
        ({"after": {}}, "notes_changed", "the notes are as they were"),
        ({"after": {"user.md": "- **Lives In**: Porto\n"}}, "facts_noted", "'I play the cello.' (no cello)"),
        ({"broken_links": ("user.md: [[x]] (no such note)",)}, "links_resolve", "broken links: user.md: [[x]]"),
    ],
)
def test_introduce_rejected(change: dict[str, Any], check: str, words: str) -> None:
    assert words in wrong(introduced(**change))[check]


def test_a_block_that_was_put_right_is_no_harm() -> None:
    assert wrong(introduced(exchanges=[Exchange(said=TOLD.said, reply="Noted.", errors=("NameError: x", ""))])) == {}


def test_the_personas_own_name_need_not_be_said() -> None:
    fact = Fact(fact_description="Mara Holt collects stamps.")
    told = Exchange(said="I collect stamps.", reply="Noted.")
    assert wrong(conversation("introduce", (fact,), [told], after={"user.md": "Collects: stamps"})) == {}


NOTES = notes_before("update", persona(), (LIVES, CELLO))
BEFORE = NOTES["user.md"]
MOVED = Exchange(said="I moved. I live in Porto now.", reply="Noted.", errors=("",))


def updated(after: str, said: Exchange = MOVED) -> Transcript:
    return conversation("update", (LIVES, CELLO), [said], after={**NOTES, "user.md": after})


def test_update_begins_with_the_old_fact() -> None:
    assert "- **Lives In**: Lisbon\n" in BEFORE
    assert "Porto" not in BEFORE


@pytest.mark.parametrize(
    "after",
    [
        BEFORE.replace("Lisbon", "Porto"),
        BEFORE.replace("- **Lives In**: Lisbon", "- **Home**: Porto (moved from Lisbon)"),
        BEFORE.replace("- **Lives In**: Lisbon", "- **City**: Porto\n- **Previous City**: Lisbon"),
    ],
)
def test_update_accepted(after: str) -> None:
    assert wrong(updated(after)) == {}


def test_update_rejected() -> None:
    assert set(wrong(updated(BEFORE))) == {"notes_changed", "change_noted", "old_gone"}
    both = wrong(updated(BEFORE.replace("Lisbon", "Lisbon\n- **Lives In**: Porto")))
    assert both == {"old_gone": "user.md still says '- **Lives In**: Lisbon'"}
    gone = wrong(updated(BEFORE.replace("- **Lives In**: Lisbon\n", "")))
    assert gone == {"change_noted": "not newly noted: 'I live in Porto.' (no porto)"}
    lost = wrong(updated(BEFORE.replace("Lisbon", "Porto").replace("- **Plays**: cello\n", "")))
    assert lost == {"facts_kept": "no longer in the notes: 'I play the cello.' (no cello)"}
    silent = wrong(updated(BEFORE.replace("Lisbon", "Porto"), Exchange(said="Hello.", reply="Hello.")))
    assert list(silent) == ["facts_told"]


def test_what_only_adds_to_the_old_fact_may_stand_beside_it() -> None:
    grown = Fact(fact_description="I have a dog and a cat.", previous="I have a dog.")
    said = Exchange(said="I have a dog and a cat now.", reply="Noted.", errors=("",))
    before = notes_before("update", persona(), (grown,))
    assert "- **Pet**: dog\n" in before["user.md"]

    def after(line: str) -> dict[str, str]:
        notes = {**before, "user.md": before["user.md"].replace("- **Pet**: dog\n", line)}
        return wrong(conversation("update", (grown,), [said], after=notes))

    assert after("- **Pets**: dog, cat\n") == {}
    assert after("- **Pet**: dog\n- **Pets**: dog, cat\n") == {"old_gone": "user.md still says '- **Pet**: dog'"}
    assert list(after("- **Pet**: dog\n- **Loves**: animals\n")) == ["change_noted", "old_gone"]


def test_the_title_of_a_note_states_nothing() -> None:
    held = updated(BEFORE.replace("Lisbon", "Porto"))
    assert wrong(attrs.evolve(held, after={**held.after, "entities/lisbon.md": "# Lisbon\n- A city\n"})) == {}


def test_a_line_of_another_fact_may_hold_the_same_word() -> None:
    """Lisbon is where she was born, too."""
    born = persona(birthplace={"city": "Lisbon", "country": "Portugal"})
    before = notes_before("update", born, (LIVES,))
    after = {**before, "user.md": before["user.md"].replace("- **Lives In**: Lisbon", "- **Lives In**: Porto")}
    held = Transcript(
        flow="update", persona=born, facts=(LIVES,), messages=(), exchanges=(MOVED,), before=before, after=after
    )
    assert wrong(held) == {}


ASKED = [
    Exchange(said="Where do I live?", reply="You live in Porto."),
    Exchange(said="And my sister?", reply="She lives in Rome."),
]


def test_retrieve() -> None:
    assert wrong(conversation("retrieve", (LIVES, SISTER), ASKED)) == {}
    assert wrong(conversation("retrieve", (LIVES, SISTER), ASKED[:1])) == {
        "answered": "not answered: 'Rome': no reply says rome"
    }
    told = [Exchange(said="Do I live in Porto?", reply="Yes, in Porto.")]
    assert "the question tells it" in wrong(conversation("retrieve", (LIVES,), told))["answered"]
    emptied = wrong(conversation("retrieve", (LIVES, SISTER), ASKED, after={"user.md": "- **Lives In**: Porto"}))
    assert set(emptied) == {"facts_kept"}


def test_without_an_answer_the_reply_must_say_the_fact() -> None:
    fact = Fact(fact_description="I am allergic to walnuts.")
    good = [Exchange(said="What am I allergic to?", reply="Walnuts.")]
    bad = [Exchange(said="What am I allergic to?", reply="You are allergic to something.")]
    assert wrong(conversation("retrieve", (fact,), good)) == {}
    assert list(wrong(conversation("retrieve", (fact,), bad))) == ["answered"]


def test_diff() -> None:
    held = introduced(before={"a.md": "x\n", "b.md": "y"}, after={"a.md": "x\nz", "c.md": "new\n"})
    assert held.diff == {
        "a.md": "--- a/a.md\n+++ b/a.md\n@@ -1 +1,2 @@\n x\n+z\n\\ No newline at end of file\n",
        "b.md": "--- a/b.md\n+++ /dev/null\n@@ -1 +0,0 @@\n-y\n\\ No newline at end of file\n",
        "c.md": "--- /dev/null\n+++ b/c.md\n@@ -0,0 +1 @@\n+new\n",
    }


OVER = [
    "- Moved from Lisbon", "- Lisbon (until 2020)", "- Previous city: Lisbon", "- Old address: Lisbon",
    "- Lisbon (old)", "- City: Lisbon → Porto", "- ~~Lisbon~~ Porto", "- no longer in Lisbon",
    "- Lived in Lisbon before Porto", "- Lisbon: 2010-2019", "- City: Porto (was Lisbon)", "- Left Lisbon in 2020",
    "- History: Lisbon",
]  # fmt: skip
STALE = [
    "- 34 years old, baker, lives in Lisbon", "- Home: Lisbon (do not share)", "- Lives on the left bank in Lisbon",
    "- Studies history in Lisbon", "- Flat in Lisbon, goes out once a week", "- Lives in Lisbon with her old dog",
    "- Moved house, lives in Lisbon", "- Lives in Lisbon, not far from the river", "- Has an old car, home in Lisbon",
    "- Lives in Lisbon (not Porto)", "- Lives in Lisbon, was born in Rome", "- A 3-year-old son, home in Lisbon",
]  # fmt: skip


@pytest.mark.parametrize("line", OVER)
def test_a_line_that_says_that_it_is_over_is_not_stale(line: str) -> None:
    assert wrong(updated(BEFORE.replace("- **Lives In**: Lisbon", f"- Home: Porto\n{line}"))) == {}


@pytest.mark.parametrize("line", STALE)
def test_a_stale_line_is_found_whatever_stands_beside_it(line: str) -> None:
    said = wrong(updated(BEFORE.replace("- **Lives In**: Lisbon", f"- Home: Porto\n{line}")))
    assert list(said) == ["old_gone"]


@pytest.mark.parametrize(
    ("line", "verdicts"),
    [
        ("- **Brothers**: 3 (updated 2026-03-02)", []),
        ("- **Brothers**: 3\n- two dogs", []),
        ("- **Brothers**: three\n- 2 sisters since 02/02/2020", []),
        ("- **Brothers**: 3\n- Has 2 brothers", ["old_gone"]),
        ("## Brothers\n- 2\n- 3", ["old_gone"]),
        ("- **Brothers**: 2 (updated 2026-03-03)", ["change_noted", "old_gone"]),
    ],
)
def test_a_number_that_changed(line: str, verdicts: list[str]) -> None:
    fact = Fact(fact_description="I have 3 brothers.", previous="I have 2 brothers.")
    said = Exchange(said="I have 3 brothers now.", reply="Noted.", errors=("",))
    before = notes_before("update", persona(), (fact,))
    kept = "\n".join(text for text in before["user.md"].splitlines() if "rothers" not in text)
    after = {**before, "user.md": f"{kept}\n{line}\n"}
    assert list(wrong(conversation("update", (fact,), [said], after=after))) == verdicts


def test_facts_that_differ_in_the_order_of_their_words_only() -> None:
    fact = Fact(fact_description="My dog is older than my cat.", previous="My cat is older than my dog.")
    said = Exchange(said="My dog is older than my cat.", reply="Noted.", errors=("",))
    before = notes_before("update", persona(), (fact,))
    kept = "\n".join(text for text in before["user.md"].splitlines() if "older" not in text)

    def after(line: str) -> list[str]:
        notes = {**before, "user.md": f"{kept}\n{line}\n"}
        return list(wrong(conversation("update", (fact,), [said], after=notes)))

    assert after("- The dog is older than the cat") == []
    assert after("- The cat is older than the dog") == ["change_noted", "old_gone"]


@pytest.mark.parametrize(
    ("reply", "accepted"),
    [
        ("You live in Porto.", True),
        ("Porto", True),
        ("I am not sure of much, but here it is. You live in Porto.", True),
        ("I could not find whether you live in Porto.", False),
        ("It may be Lisbon, Porto, Rome or Ghent.", False),
        ("Perhaps Porto?", False),
        ("Lisbon or Porto.", False),
    ],
)
def test_a_guess_is_no_answer(reply: str, accepted: bool) -> None:
    said = wrong(conversation("retrieve", (LIVES,), [Exchange(said="Where do I live?", reply=reply)]))
    assert list(said) == ([] if accepted else ["answered"])


@pytest.mark.parametrize(
    ("reply", "accepted"),
    [
        ("You live in Porto, not in Lisbon.", True),
        ("No problem! You live in Porto.", True),
        ("Porto? Yes: you live in Porto.", True),
        ("You do not live in Porto.", False),
        ("You no longer live in Porto.", False),
        ("Do you live in Porto?", False),
        ("Du wohnst nicht in Porto.", False),
    ],
)
def test_the_opposite_and_a_question_are_no_answers(reply: str, accepted: bool) -> None:
    said = wrong(conversation("retrieve", (LIVES,), [Exchange(said="Where do I live?", reply=reply)]))
    assert list(said) == ([] if accepted else ["answered"])


@pytest.mark.parametrize(
    ("reply", "accepted"), [("You are not allergic to peanuts.", True), ("You are allergic to peanuts.", False)]
)
def test_a_denied_fact_is_answered_by_denying_it(reply: str, accepted: bool) -> None:
    fact = Fact(fact_description="I am not allergic to peanuts.", question="What about nuts?")
    said = wrong(conversation("retrieve", (fact,), [Exchange(said=fact.question, reply=reply)]))
    assert list(said) == ([] if accepted else ["answered"])


@pytest.mark.parametrize(
    ("reply", "accepted"),
    [
        ("You have 3 cats.", True),
        ("Three.", True),
        ("I have looked at everything in your notes: three cats live with you.", True),
        ("I looked at 3 notes, but none tells me.", False),
        ("I have read all of your 3 notes and written a summary.", False),
    ],
)
def test_a_number_by_chance_is_no_answer(reply: str, accepted: bool) -> None:
    fact = Fact(fact_description="I have 3 cats.", question="How many cats do I have?", answer="3")
    said = wrong(conversation("retrieve", (fact,), [Exchange(said=fact.question, reply=reply)]))
    assert list(said) == ([] if accepted else ["answered"])


@pytest.mark.parametrize(
    ("flow", "fact", "words"),
    [
        ("update", Fact(fact_description="I live in Porto!", previous="I lived in Porto."), "old_gone"),
        ("update", Fact(fact_description="I have 1,200 books.", previous="I have 1200 books."), "old_gone"),
        (
            "retrieve",
            Fact(fact_description="I live in Porto.", question="Do I live in Porto?", answer="Porto"),
            "answered: not answered: 'Porto': the question tells it",
        ),
    ],
)
def test_a_fact_that_can_never_be_accepted_is_refused(flow: Flow, fact: Fact, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_facts(flow, [fact], "facts", persona())
    assert str(caught.value).startswith("facts[0]: no conversation about it could be accepted: ")
    assert words in str(caught.value)


def test_facts_that_can_be_accepted_are_not_refused() -> None:
    for flow in ("introduce", "retrieve", "update"):
        check_facts(flow, [LIVES, SISTER, CELLO], "facts", persona())
    check_facts(
        "introduce", [Fact(fact_description=text) for text in ("我住在柏林。", "I never smoke.", "🎉 party")], "facts"
    )
