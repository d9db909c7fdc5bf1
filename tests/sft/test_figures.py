"""Numbers, times and dates are equal however they are written, and others are others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioagent.sft import Exchange, Fact
from trioagent.sft._checks import check
from trioagent.sft._flows import notes_before
from trioagent.sft._words import states, words_in, words_of

from ..examples import examples
from .people import persona
from .test_checks import conversation

EQUAL = [
    # fractions
    ("I drink 2 1/2 litres of water a day.", "- Water: 2.5 litres a day"),
    ("I drink 2½ litres of water.", "- Water: 2.5 litres"),
    ("I drink 2.5 litres of water.", "- Water: 2½ litres"),
    ("I drink two and a half litres of water.", "- Water: 2 1/2 litres"),
    ("I drink half a litre of milk.", "- Milk: 0.5 litre"),
    ("I own three quarters of the shop.", "- Shop: owns 3/4"),
    ("I own 3/4 of the shop.", "- Shop: owns three quarters"),
    ("I own 1/3 of the shop.", "- Shop: one third"),
    ("I own ⅔ of the shop.", "- Shop: two thirds"),
    ("I am open 24/7.", "- Open 24/7"),
    # scales
    ("I earn 50k a year.", "- Earns 50,000"),
    ("I ran a 10k race.", "- Race: 10 km"),
    ("I earn 2.5 million yen.", "- Earns ¥2,500,000"),
    # times of day
    ("I get up at half past seven.", "- Gets up at 7:30"),
    ("I get up at 7:30 am.", "- Gets up at half past seven"),
    ("I get up at 7:30 a.m.", "- Gets up at 07:30"),
    ("I have dinner at 7:30 pm.", "- Dinner: 19:30"),
    ("I have dinner at 19:30.", "- Dinner: 7.30 PM"),
    ("I have dinner at a quarter to eight.", "- Dinner: 7:45 pm"),
    ("I have dinner at quarter past 8 pm.", "- Dinner: 20:15"),
    ("I get up at 7 am.", "- Gets up at 7"),
    ("I get up at 7 o'clock.", "- Gets up: 07:00"),
    ("Ich stehe um 7 Uhr auf.", "- Aufstehen: 7:00 Uhr"),
    ("We won 21:15.", "- Won 21-15"),
    # signs
    ("My rent is 900 euros.", "- Rent: €900"),
    ("My rent is 900 USD.", "- Rent: $900"),
    ("My rent is $900.", "- Rent: 900 dollars"),
    ("I got 90%.", "- Got 90 percent"),
    ("It was minus five degrees.", "- Degrees: -5"),
    ("It was \u22125 degrees.", "- Degrees: minus 5"),
    ("It was -5 degrees.", "-5 degrees"),
    # ordinals
    ("I live on the first floor.", "- Lives on the 1st floor"),
    ("I live on the 2nd floor.", "- Lives on the second floor"),
    # dates
    ("I was born on March 5, 1990.", "- Born: 1990-03-05"),
    ("I was born on 1990-03-05.", "- Born: 5 Mar 1990"),
    ("I was born on 1990/03/05.", "- Born: the 5th of March, 1990"),
    ("I was born on 25/12/1990.", "- Born: 12/25/1990"),
    ("I was born on 05.03.1990.", "- Born: March 5 1990"),
    ("I was born on 03/05/1990.", "- Born: 5 March 1990"),
    ("I was born on 03/05/1990.", "- Born: 3 May 1990"),
    ("I was born on March 1st.", "- Birthday: 1 March"),
    ("I was born in January.", "- Born: 5 January"),
    ("Ich bin am 5. März 1990 geboren.", "- Geboren: 1990-03-05"),
    ("Nací el 5 de marzo de 1990.", "- Nacimiento: 05/03/1990"),
    ("Je suis né le 3 février 1990.", "- Né: 1990-02-03"),
    ("Я родился 5 марта 1990 года.", "- Родился: 05.03.1990"),
]
DIFFERENT = [
    ("I drink 2 1/2 litres of water.", "- Water: 2 litres, 1 glass"),
    ("I drink 2½ litres of water.", "- Water: 2 litres"),
    ("I drink 2 litres of water.", "- Water: 2½ litres"),
    ("I drink two and a half litres of water.", "- Water: two litres"),
    ("I own 1/3 of the shop.", "- Shop: 2/3"),
    ("I earn 50k a year.", "- Earns 5,000"),
    ("I earn 2.5 million yen.", "- Earns 2,500 yen"),
    ("I get up at half past seven.", "- Gets up at 7:00"),
    ("I get up at 7:30 am.", "- Gets up at 7:30 pm"),
    ("I have dinner at 7:30 pm.", "- Dinner: 7:30 am"),
    ("I have dinner at 7:30.", "- Dinner: 8:30"),
    ("I have 30 cats.", "- Cats: fed at 7:30"),
    ("It was minus five degrees.", "- Degrees: 5"),
    ("It was 5 degrees.", "- Degrees: -5"),
    ("I live on the first floor.", "- Lives on the 2nd floor"),
    ("I was born on 1990-03-05.", "- Born: 5 May 1990"),
    ("I was born on 25/12/1990.", "- Born: 25/11/1990"),
    ("I was born on 03/05/1990.", "- Born: 3 June 1990"),
    ("Ich bin am 5. März 1990 geboren.", "- Geboren: 1990-05-05"),
]


@pytest.mark.parametrize(("fact", "text"), EQUAL)
def test_equal(fact: str, text: str) -> None:
    assert states(fact, [text])
    assert states(fact, [fact])


@pytest.mark.parametrize(("fact", "text"), DIFFERENT)
def test_different(fact: str, text: str) -> None:
    assert not states(fact, [text])


@pytest.mark.parametrize(
    ("fact", "text", "stated"),
    [
        ("I ❤️ 🍕", "- Loves pizza", True),
        ("I ❤️ 🍕", "- 🍕", True),
        ("I ❤️ 🍕", "- Loves sushi", False),
        ("I have two 🐱", "- 2 cats", True),
        ("I have two 🐱", "- 2 dogs", False),
        ("🐶", "- Dog", True),
        ("🐶", "- Cat", False),
        ("I play the cello 🎻", "- Plays the cello", True),  # beside words they only decorate
        ("I moved to Porto 🎉", "- Lives in Porto", True),
    ],
)
def test_facts_of_pictures(fact: str, text: str, stated: bool) -> None:
    assert states(fact, [text]) is stated
    assert states(fact, [fact])


@pytest.mark.parametrize(
    ("fact", "text", "other"),
    [
        ("मैं मुंबई में रहता हूँ।", "- शहर: मुंबई", "- शहर: दिल्ली"),
        ("मेरे पास ३ बिल्लियाँ हैं।", "- बिल्लियाँ: 3", "- बिल्लियाँ: 2"),
        ("சென்னையில் வசிக்கிறேன்.", "- நகரம்: சென்னையில்", "- நகரம்: மதுரை"),
        ("ខ្ញុំរស់នៅភ្នំពេញ", "- ទីក្រុង: រស់នៅភ្នំពេញ ខ្ញុំ", "- ទីក្រុង: សៀមរាប"),
        ("أعيش في بَرْلِين", "- المدينة: برلين", "- المدينة: روما"),
        ("גרתי בְּחֵיפָה", "- עיר: חיפה", "- עיר: רומא"),
        ("ﾄｳｷｮｳに住んでいます。", "- 居住地: ﾄｳｷｮｳ", "- 居住地: ｵｵｻｶ"),
    ],
)
def test_scripts_with_marks_within_words_and_without_blanks(fact: str, text: str, other: str) -> None:
    assert states(fact, [text])
    assert not states(fact, [other])
    assert states(fact, [fact])


@pytest.mark.parametrize(
    ("new", "old", "line", "verdicts"),
    [
        ("I drink 2½ litres of water.", "I drink 2 litres of water.", "- Water: 2.5 litres", []),
        (
            "I drink 2½ litres of water.",
            "I drink 2 litres of water.",
            "- Water: 2 litres",
            ["change_noted", "old_gone"],
        ),
        ("I get up at half past six.", "I get up at half past seven.", "- Gets up at 6:30", []),
        (
            "I get up at half past six.",
            "I get up at half past seven.",
            "- Gets up at 6:30\n- Gets up at 7:30",
            ["old_gone"],
        ),
        (
            "I get up at half past six.",
            "I get up at half past seven.",
            "- Gets up at 6:30\n- Before 2026: gets up at 7:30 (previously)",
            [],
        ),
        ("I earn 500 euros.", "I earn 500 dollars.", "- Earns €500", []),
        ("I earn 500 euros.", "I earn 500 dollars.", "- Earns €500\n- Earns $500", ["old_gone"]),
        ("I was born on 1990-03-05.", "I was born on 1991-03-05.", "- Born on 5 March 1990", []),
        (
            "I was born on 1990-03-05.",
            "I was born on 1991-03-05.",
            "- Born on 5 March 1991",
            ["change_noted", "old_gone"],
        ),
    ],
)
def test_what_changed_is_found_however_it_is_written(new: str, old: str, line: str, verdicts: list[str]) -> None:
    fact = Fact(fact_description=new, previous=old)
    said = Exchange(said=new, reply="Noted.", errors=("",))
    before = notes_before("update", persona(), (fact,))
    kept = "\n".join(text for text in before["user.md"].splitlines() if not states(old, [text]) and old not in text)
    kept = "\n".join(text for text in kept.splitlines() if not any(word in text.lower() for word in ABOUT))
    after = {**before, "user.md": f"{kept}\n{line}\n"}
    made = conversation("update", (fact,), [said], after=after)
    assert [verdict.check for verdict in check(made) if not verdict.passed] == verdicts


ABOUT = ("water", "get up", "gets up", "earn", "born", "birth")

PIECES = (
    "1 30 1/2 3/4 24/7 1/0 99/100 ½ 2½ ²½ ² Ⅷ \u0661\u0662 三只 k 50k % $ - \u2212 am pm a.m. : 7:30 19:30 24:00 12:60 "
    "13pm 7.30pm o'clock uhr half past quarter to and a seven twenty five thirds million minus negative 2.5 1,200 "
    "March Mar of 1st 2nd first 1990-03-05 05/03/1990 25.12.1990 🐶 ❤️ I have dogs Porto मुंबई 東京 's n't ' \n"
).split(" ")


@settings(max_examples=examples(200))
@given(
    st.lists(st.sampled_from([*PIECES, "9" * 40, ""]), min_size=1, max_size=9), st.sampled_from(["", " "]), st.data()
)
def test_whatever_figures_are_put_together(pieces: list[str], between: str, data: st.DataObject) -> None:
    fact = between.join(pieces)
    words = words_of(fact)
    assert not words or words.missing(words_in([fact])) == []
    states(fact, [between.join(data.draw(st.permutations(pieces))[: len(pieces) // 2])])
