"""Detection of concepts in a text: English words by their inflected forms, other languages by spelling."""

import re

# Forms that no rule below makes, for words that concept sets use; first the dictionary form.
_IRREGULAR = """
axis axes
be am is are was were been being
become became
begin began begun
bend bent
bite bit bitten
blow blew blown
break broke broken
bring brought
build built
burn burnt
buy bought
calf calves
catch caught
child children
choose chose chosen
come came
creep crept
deal dealt
die dying
dig dug
dive dove
do did done
draw drew drawn
drink drank drunk
drive drove driven
eat ate eaten
fall fell fallen
feed fed
feel felt
fight fought
find found
fly flew flown
foot feet
forget forgot forgotten
freeze froze frozen
fungus fungi
get got gotten
give gave given
go went gone
goose geese
grind ground
grow grew grown
half halves
hang hung
have has had
hear heard
hide hid hidden
hold held
keep kept
kneel knelt
knife knives
know knew known
lay laid
lead led
leaf leaves
lean leant
leap leapt
leave left
lend lent
lie lay lain lying
life lives
light lit
loaf loaves
lose lost
make made
man men
mean meant
meet met
mouse mice
panic panicked panicking
pay paid
person people
picnic picnicked picnicking
ride rode ridden
ring rang rung
rise rose risen
run ran
say said
scarf scarves
see saw seen
seek sought
sell sold
send sent
sew sewn
shake shook shaken
shave shaven
shear shorn
sheep sheep
shelf shelves
shine shone
shoot shot
show shown
shrink shrank shrunk
sing sang sung
sink sank sunk
sit sat
sleep slept
slide slid
speak spoke spoken
spend spent
spill spilt
spin spun
spit spat
spring sprang sprung
stand stood
steal stole stolen
stick stuck
sting stung
stink stank stunk
strike struck stricken
string strung
sweep swept
swim swam swum
swing swung
take took taken
teach taught
tear tore torn
tell told
thief thieves
think thought
throw threw thrown
tie tying
tooth teeth
understand understood
wake woke woken
wear wore worn
weave wove woven
weep wept
wife wives
win won
wind wound
wolf wolves
woman women
wring wrung
write wrote written
"""
_IRREGULAR_FORMS = {line.split()[0]: frozenset(line.split()[1:]) for line in _IRREGULAR.split("\n") if line}
_CLOSED = re.compile(r"[^aeiou][aeiou][^aeiouwxy]$")  # stop, plan: the last letter doubles
_WORDS = re.compile(r"[a-z]+")


def mentions(text: str, concept: str) -> bool:
    """Return whether a text contains a concept, in any inflection.

    In English, a word of the text must be the concept or one of its inflected forms; of a concept of several words, all
    must occur. In other scripts, the concept's letters must occur in the text without its spaces: Korean particles come
    after their noun, so that 바나나 is found in 바나나를. (The authors of CommonGen compare spaCy's lemmas.)

    >>> mentions("Two dogs were running.", "run"), mentions("바나나 두개가 얼었다.", "바나나")
    (True, True)
    """
    concept = concept.lower()
    if _WORDS.fullmatch(concept.replace(" ", "").replace("-", "")):
        words = set(_WORDS.findall(text.lower()))
        return all(words & english_forms(part) for part in _WORDS.findall(concept))
    return "".join(concept.split()) in "".join(text.lower().split())


def english_forms(word: str) -> set[str]:
    """Return a word and its inflected forms: plural, third person, past, participles.

    >>> sorted(english_forms("carry"))
    ['carried', 'carries', 'carry', 'carryed', 'carrying', 'carrys']
    """
    forms = {word, word + "s", word + "ed", word + "ing", *_IRREGULAR_FORMS.get(word, ())}
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.add(word + "es")
    if word.endswith("e"):
        forms |= {word + "d", word[:-1] + "ing"}
    if re.search(r"[^aeiou]y$", word):
        forms |= {word[:-1] + "ies", word[:-1] + "ied"}
    if _CLOSED.search(word):
        forms |= {word + word[-1] + ending for ending in ("ed", "ing")}
    return forms
