"""Synonyms, so that a question's words match a note's keys without knowing either.

Each row of ``_SAME`` is one meaning; words of one row are almost equal. A row of ``_NEAR`` is looser: each word after
the colon is a fair guess for the word before it. Words are plain English here and become stems on import.
"""

from __future__ import annotations

from .library._words import stem

_SAME = """
occupation profession job work career employment position title vocation trade
role position function duty
age old aged
hobby hobbies interest interests pastime pastimes leisure
hometown birthplace born birth
hometown come comes
live lives city home address residence resident town
location located place situated where based site
headquarters headquartered based
pet pets animal
dog puppy
dog pet
cat pet
parrot pet
rabbit pet
child children kid kids son daughter offspring
parent mother father
mother mom mum
father dad
wife spouse husband partner
husband spouse
married marital
sister sibling
brother sibling
founded founding established establish establishment built build construction constructed opened started inception
founder founded
owner own owns owned proprietor ownership
manufacturer maker made manufacture manufactured producer brand
installed installation
maintain maintains maintained maintenance servicing serviced service upkeep
manager manage manages managed management manages
supervise supervises supervisor supervision oversee oversees
lead leads leader led
teach teaches teacher teaching taught
study studies studied education degree educational schooling qualification university college
expertise specialty specialization specialisation specialize speciality specialized expert specialist
skill skills ability abilities talent proficiency
certification certifications certificate certified credential license licence qualification
language languages speak speaks spoken fluent
food dish meal cuisine
favorite favourite preferred preference prefer like best
like likes love loves enjoy enjoys
dislike dislikes hate hates
allergy allergies allergic
member members membership participant
number count quantity total
size area large big
price cost fee charge
purpose objective goal aim mission use function
primary main principal core chief
salary income earn wage pay
budget funding
frequency often regularly
schedule timetable timing timings calendar
hours time opening operating operational
shift shifts
email mail
phone telephone mobile number contact
car vehicle drive
birthday birthdate dob
year date
nickname called
name named called
surname last family
operate operates operation operating operated operational
organize organizes organise organizer organisation organization host hosts
help helps assist assists assistance support supports aid
collaborate collaborates collaboration cooperate cooperation partner partnership partners
participate participates participation take part
employ employs employer employee employed hire hires work works
use uses using usage utilize
event events activity activities
feature features characteristic
award awards awarded prize honor
accomplishment achievement achievements
weakness weaknesses
strength strengths
training trained
experience experienced
type kind sort category classification
facility facilities amenity amenities
available availability offer offers provide provides
friend friends
boss manager supervisor
colleague coworker
neighbour neighbor
religion faith
nationality citizenship
origin originally background
weight weigh weighs
height tall
length long duration
depth deep
width wide
speed fast
distance far range
color colour
kilometer kilometers km
meter meters m
hour hours hrs hr
minute minutes min
gps navigation
team crew
product products goods
technology technologies tech
method methods approach
communication communicate communicates
diet dietary
film movie movies
music song songs
book books
sport sports
contact reach
wear wears wearing
visitor visitors guest
fear afraid
dream dreams ambition
motto slogan
accessibility accessible
sustainable sustainability
population inhabitants
capital
currency money
material materials
vet vets veterinary veterinarian
serve serves served serving service
"""

_NEAR = """
where: city address country workplace headquarters region area residence origin
when: date year time day since schedule birthday deadline last
live: location country region lives area
job: role work employer
occupation: role employer works
profession: role
role: occupation profession job title
work: employer company workplace occupation
works: employer company workplace occupation
employer: works company workplace
workplace: works employer company
old: years year built founded
founded: year date since origin
start: since year founded
started: since
big: capacity volume number
size: capacity number count volume
people: capacity number staff personnel members population
staff: personnel employees team
own: co
co: joint
interest: passion
hobby: passion interests activity enjoys likes
enjoy: hobby interests favorite
do: occupation job profession role
born: origin background hometown date birthday
from: hometown origin birthplace
grow: hometown
family: children wife husband status married relatives
educational: background
background: education
skill: expertise speciality
expertise: skills
specialty: focus field
field: specialty area expertise
objective: focus
main: key
main: primary
know: known
meet: meeting meetings
eat: food diet
drink: beverage coffee tea
read: book books reading
watch: film series
play: sport instrument game
cost: price amount annual
owner: family
call: name nickname
named: name
fluent: languages
degree: education field
study: school field
school: education
size: area team
hold: certification
charge: head
boss: reports
last: latest recent
serviced: maintenance
service: years served
serve: service
experience: years
contact: phone email manager
built: year
make: manufacturer brand
"""

QUESTION_WORDS = {
    "where": (0.5, "location place address city where headquarters site lives"),
    "when": (0.5, "date year time since day schedule birthday last established founded"),
    "how old": (1.0, "age"),
    "how many": (0.45, "number count total quantity many size"),
    "how much": (0.5, "amount price cost fee weight salary budget much"),
    "how often": (0.9, "frequency schedule often interval"),
    "how long": (0.7, "duration length years time since long"),
    "how tall": (1.0, "height"),
    "how big": (0.8, "size area capacity"),
    "how large": (0.8, "size area capacity"),
    "how far": (0.8, "distance range proximity"),
    "how fast": (0.9, "speed"),
    "how heavy": (0.9, "weight"),
    "how deep": (0.9, "depth"),
    "how high": (0.9, "height elevation altitude"),
    "what time": (0.8, "time hours schedule"),
}

BROAD = frozenset(
    "person people place organization organisation company group thing entity someone somebody individual facility "
    "equipment system building initiative project venue institution business man woman guy body area space object item "
    "notable specific general many much available years".split()
)

_FULL, _CLOSE, _FAIR = 1.0, 0.9, 0.6


def _tables() -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for row in _SAME.strip().splitlines():
        meaning = dict.fromkeys(stem(word) for word in row.split())  # ordered: the same in every process
        for one in meaning:
            for other in meaning:
                table.setdefault(one, {})[other] = _CLOSE
    for row in _NEAR.strip().splitlines():
        asked, _, guesses = row.partition(":")
        for guess in guesses.split():
            table.setdefault(stem(asked), {}).setdefault(stem(guess), _FAIR)
    return table


_TABLE = _tables()


def alike(word_stem: str) -> dict[str, float]:
    """The stems that *word_stem* may mean, each with its similarity from 0 to 1."""
    return {word_stem: _FULL} | {other: like for other, like in _TABLE.get(word_stem, {}).items() if other != word_stem}
