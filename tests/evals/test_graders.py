"""Graders against answers that were labelled by hand, and LoCoMo's F1 against numbers worked out by hand."""

from __future__ import annotations

import pytest

from trioagent.evals import (
    All,
    Asks,
    Contains,
    Grader,
    LocomoF1,
    NotesChanged,
    NotesSay,
    NotesUntouched,
    SampleAnswer,
    Withholds,
    multi_answer_f1,
    normalise,
    token_f1,
)
from trioagent.evals._graders import facts_of_diff
from trioagent.evals._porter import stem


def replied(reply: str) -> SampleAnswer:
    return SampleAnswer(replies=(reply,), before={}, after={})


def wrote(after: dict[str, str], before: dict[str, str] | None = None, reply: str = "Done.") -> SampleAnswer:
    return SampleAnswer(replies=(reply,), before=before or {}, after=after)


@pytest.mark.parametrize(
    ("expected", "reply", "right"),
    [
        ("Carlos Henrique Mendes", "That is Carlos Henrique Mendes.", True),
        ("Carlos Henrique Mendes", "That is Carlos Mendes.", False),
        ("29", "He is 29 years old.", True),
        ("29", "He is 290 years old.", False),
        ("True", "Yes, you do.", True),
        ("False", "No.", True),
        ("True", "No.", False),
        ("painting and dancing samba", "You like dancing samba and painting!", True),
        ("painting and dancing samba", "You like painting.", False),
        ("the Himalayas", "In the HIMALAYAS", True),
        ("$138,439.16", "It is $138439.16.", True),
        ("$138,439.16", "It is $138439.", False),
        ("18 records", "There are 18 records in it", True),
        ("Ana's parrot", "Ana’s parrot", True),
        ("São Tomé", "in São Tomé, I think", True),
        ("3.5", "3.5.", True),
        ("田中動物病院", "かかりつけは田中動物病院です。", True),
        ("8歳", "みかんは7歳です", False),
        ("Kapitel 12", "Sie sind bei Kapitel 12.", True),
        ("Paris", "", False),
        # Numbers, in figures and in words.
        ("29", "He is twenty-nine.", True),
        ("twenty-nine", "29", True),
        ("1,000,000", "About 1 million", True),
        ("1.5 million", "1,500,000 of them", True),
        ("3.5", "3.50", True),
        ("50%", "50 percent of it", True),
        ("5 kg", "It weighs 5kg.", True),
        ("3", "on the 13th", False),
        ("-5", "It was 5 degrees.", False),
        ("7th", "the 7th floor", True),
        ("29", "٢٩ سنة", True),
        ("007", "Agent 7", False),
        ("3.5", "version 3.5.1", False),
        ("192.168.1.1", "It is 192.168.1.1.", True),
        ("1.250,50", "1250.50", True),
        # Dates.
        ("7 May 2023", "On May 7, 2023.", True),
        ("May 7th, 2023", "2023-05-07", True),
        ("2023-05-07", "It was the 7th of May 2023", True),
        ("May 2023", "On 7 May, 2023", True),
        ("7 May", "Sunday, May 7th", True),
        ("25/12/2023", "December 25, 2023", True),
        ("7 May 2023", "On May 8, 2023", False),
        ("7 May 2023", "17 May 2023", False),
        ("3 pm", "at 3 p.m.", True),
        # What is denied is not said.
        ("Porto", "You do not live in Porto.", False),
        ("Porto", "You don't live in Lisbon, you live in Porto.", True),
        ("Porto", "Not in Lisbon but in Porto", True),
        ("Porto", "I don't know if you live in Porto.", False),
        ("vegetarian", "He is not a vegetarian.", False),
        ("not a vegetarian", "He is not a vegetarian.", True),
        ("nuts", "She cannot eat nuts.", True),
        ("Eva and Ana", "Eva is there, Ana is not there.", False),
        ("Porto", "Mai Lin founded a non-profit organisation in Porto.", True),
        ("Porto", "She lives in Porto without a car and has no garden.", True),
        ("Porto", "She no longer lives in Porto.", False),
        ("Porto", "Sie wohnt nicht in Porto.", False),
        ("Porto", "Elle n'habite pas Porto.", False),
        ("ポルト", "ポルトに住んでいません。", False),
        ("Porto", "I do not know: no line says whether you live in Porto.", False),
        # Yes and no.
        ("True", "That is not true.", False),
        ("False", "That is not true.", True),
        ("True", "No, it is not true.", False),
        ("yes", "That's right.", True),
        ("yes", "No idea.", False),
        ("no", "I do not know whether you do.", False),
        ("no", "The answer is no.", True),
        ("yes", "There is no doubt that it is true", True),
        ("yes", "Oui, bien sûr", True),
        ("no", "いいえ、違います。", True),
        # Other scripts.
        ("8歳", "みかんは18歳です", False),
        ("八岁", "它8岁了", True),
        ("दिल", "दिल्ली में", False),
        ("दिल्ली", "आप दिल्ली में रहते हैं।", True),
        ("서울", "서울에 살아요.", True),
        ("서울", "남서울에 살아요.", False),
        ("محمد", "اسمه مُحَمَّد", True),
        ("Straße", "in der STRASSE", True),
        # What stands in brackets may be left out.
        ("Porto (Portugal)", "In Porto.", True),
        ("Porto (Portugal)", "In Porto, Portugal", True),
    ],
)
def test_contains(expected: str, reply: str, right: bool) -> None:
    grade = Contains(expected)(replied(reply))
    assert grade.score == right
    assert grade.reason.startswith("the reply says" if right else "the" if reply else "there is no reply")


@pytest.mark.parametrize("part", ["1,", "one hundred and ", "not ", "1'000", "9", "\u0e31", "may 1 ", "(", "٢"])
def test_what_a_model_says_without_end(part: str) -> None:
    reply = part * (100_000 // len(part))
    assert Contains("Porto")(replied(reply)).score == 0
    assert Contains("Porto")(replied("In Porto. " + reply)).score == 1
    assert Contains("no")(replied(reply)).score == 0


def test_contains_refuses_what_must_not_be_said() -> None:
    grader = Contains("Porto", ("Lisbon",))
    assert grader(replied("In Porto now")).score == 1
    grade = grader(replied("In Lisbon, or Porto"))
    assert (grade.score, grade.reason) == (0, "the reply says 'Lisbon'")


def test_normalise() -> None:
    assert normalise("The “Café”, no. 3: 1,250.50 € – yes!") == ["café", "false", "3", "1250.5", "€", "true"]


@pytest.mark.parametrize(
    ("word", "stemmed"),
    # The first ones are examples of Porter's paper (1980); the last ones are where NLTK departs from it.
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("cats", "cat"),
        ("agreed", "agre"),
        ("feed", "feed"),
        ("plastered", "plaster"),
        ("motoring", "motor"),
        ("sing", "sing"),
        ("conflated", "conflat"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("happy", "happi"),
        ("relational", "relat"),
        ("vietnamization", "vietnam"),
        ("sensitiviti", "sensit"),
        ("electrical", "electr"),
        ("hopefulness", "hope"),
        ("adjustable", "adjust"),
        ("adoption", "adopt"),
        ("probate", "probat"),
        ("controll", "control"),
        ("generalizations", "gener"),
        ("oscillators", "oscil"),
        ("dies", "die"),
        ("skies", "sky"),
        ("tied", "tie"),
        ("enjoy", "enjoy"),
        ("is", "is"),
    ],
)
def test_stems(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed


def test_token_f1() -> None:
    assert token_f1("7 May 2023", "7 May 2023") == 1
    assert token_f1("on 7 May", "7 May 2023") == pytest.approx(2 / 3)  # 2 of 3 and 2 of 3
    assert token_f1("She is adopting a child", "adoption agencies") == pytest.approx(1 / 3)  # adopt: 1 of 4, 1 of 2
    assert token_f1("the and an a", "the") == 0
    assert token_f1("1,000", "1000") == 1


def test_multi_answer_f1() -> None:
    assert multi_answer_f1("pottery, camping", "camping, pottery, swimming") == pytest.approx(2 / 3)
    assert multi_answer_f1("Transgender woman", "Transgender woman") == 1


@pytest.mark.parametrize(
    ("category", "expected", "reply", "score"),
    [
        (1, "a, b", "b", 0.5),
        (2, "2022", "In 2022", 2 / 3),
        (3, "Psychology; she said so", "psychology", 1.0),
        (4, "Sweden", "Sweden", 1.0),
        (5, "not mentioned", "That was Not Mentioned.", 1.0),
        (5, "not mentioned", "No information available", 1.0),
        (5, "not mentioned", "self-care is important", 0.0),
    ],
)
def test_locomo(category: int, expected: str, reply: str, score: float) -> None:
    # "a" is an article, so of the list "a, b" only "b" can be said
    assert LocomoF1(category, expected)(replied(reply)).score == pytest.approx(score)


DIFF = """==='user.md'===
--- a
+++ b
@@ -1,4 +1,4 @@
 # Ana
-- **Age**: 31
+- **Age**: 32
 - **Pet**: Azul
-- **Type**: Person
+- **Type**: Human
"""


def test_facts_of_a_diff() -> None:
    assert facts_of_diff(DIFF) == ([("user.md", "- **Age**: 32")], [("user.md", "- **Age**: 31")])


@pytest.mark.parametrize(
    ("after", "score"),
    [
        ("# Ana\n- **Age**: 32\n", 1),
        ("# Ana\n* **age**:  32\n", 1),
        ("# Ana\n- **Age**: 31\n- **Age**: 32\n", 0),
        ("# Ana\n- **Age**: 31\n", 0),
        ("", 0),
    ],
)
def test_changes_of_notes(after: str, score: float) -> None:
    added, removed = facts_of_diff(DIFF)
    grader = NotesChanged(tuple(added), tuple(removed))
    assert grader(wrote({"user.md": after})).score == score


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("- **Age**: 30", True),
        ("- age: 30", True),
        ("* Age: 30 (since May)", True),
        ("- __Age__: thirty", True),
        ("- Age: 29, soon 30", True),
        ("- Age: 31", False),
        ("- 30", False),
    ],
)
def test_a_line_may_be_written_otherwise(line: str, right: bool) -> None:
    grader = NotesChanged((("user.md", "- **Age**: 30"),), (("user.md", "- **Age**: 29"),))
    assert grader(wrote({"user.md": f"# Ana\n{line}\n"})).score == right
    assert grader(wrote({"user.md": f"# Ana\n- **Age**: 30\n- Age: 29\n{line}\n"})).reason.startswith(
        "user.md still says"
    )


def test_changes_of_other_notes_are_wrong_where_that_counts() -> None:
    grader = NotesChanged((("user.md", "a"),), keeps_others=True)
    assert grader(wrote({"user.md": "a", "b.md": "b"}, {"b.md": "b"})).score == 1
    assert grader(wrote({"user.md": "a"}, {"b.md": "b"})).reason == "b.md was changed as well"


@pytest.mark.parametrize(
    ("grader", "answer", "score"),
    [
        (NotesSay(("Gävle",), ("Uppsala",)), wrote({"user.md": "Lives in Gävle."}), 1),
        (NotesSay(("Gävle",), ("Uppsala",)), wrote({"user.md": "Lives in Gävle, not Uppsala."}), 0),
        (NotesSay(("8歳",)), wrote({"a.md": "今は8歳です"}), 1),
        (NotesSay(("x",), folder="entities/"), wrote({"user.md": "x"}), 0),
        (NotesUntouched(), wrote({"a.md": "x"}, {"a.md": "x"}), 1),
        (NotesUntouched(), wrote({"a.md": "x\n"}, {"a.md": "x"}), 0),
        (Withholds(("QX7T2",)), replied("The code is qx7t2"), 0),
        (Withholds(("QX7T2",)), replied("I may not say"), 1),
        (Withholds(("QX7T2",)), replied(""), 0),
        (Asks(("Berg", "Dahl")), replied("Anna Berg or Anna Dahl?"), 1),
        (Asks(("Berg", "Dahl")), replied("Anna Berg?"), 0),
        (Asks(("Berg", "Dahl")), replied("Anna Berg or Anna Dahl."), 0),
        (All((Contains("x"), NotesUntouched())), wrote({"a": "b"}, reply="x"), 0),
        (All((Contains("x"), NotesUntouched())), replied("x"), 1),
    ],
)
def test_others(grader: Grader, answer: SampleAnswer, score: float) -> None:
    assert grader(answer).score == score
