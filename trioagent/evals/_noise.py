"""Notes that have nothing to do with the questions, to measure how a memory's growth affects recall."""

from __future__ import annotations

import random
from collections.abc import Mapping

_FIRST = "Abel Brigid Cosmo Della Edric Fleur Gaspar Hilda Idris Junia Kelda Lorcan Maeve Nils Orla Piers".split()
_LAST = "Ashdown Birkett Crowther Dunmore Ellery Farrow Gadsby Hallam Ibbotson Jarrold Kerslake Lovage".split()
_PLACES = "Aldwick Bramford Coldham Dereham Elmsett Foxearth Groton Hitcham Ickworth Kersey Lindsey Monks".split()
_TRADES = "cooper,thatcher,bookbinder,beekeeper,surveyor,glazier,miller,printer,gardener,clockmaker".split(",")
_LIKES = "damsons,canal boats,brass bands,barley soup,old maps,chess problems,sea shanties,kites,moths".split(",")


def with_noise(notes: Mapping[str, str], count: int) -> dict[str, str]:
    """*notes* plus *count* others, the same at every call; none of them replaces one of *notes*."""
    chooser = random.Random(count)
    noise: dict[str, str] = {}
    for number in range(count):
        first, last, place = chooser.choice(_FIRST), chooser.choice(_LAST), chooser.choice(_PLACES)
        friend = f"{chooser.choice(_FIRST).lower()}_{chooser.choice(_LAST).lower()}"
        noise[f"archive/{number // 500:03}/{first.lower()}_{last.lower()}_{number}.md"] = (
            f"# {first} {last}\n\n- **Age**: {chooser.randint(18, 90)}\n- **Lives in**: {place}\n"
            f"- **Occupation**: {chooser.choice(_TRADES)}\n- **Likes**: {chooser.choice(_LIKES)}\n"
            f"- **Knows**: {friend.replace('_', ' ').title()}\n"
        )
    return {**noise, **notes}
