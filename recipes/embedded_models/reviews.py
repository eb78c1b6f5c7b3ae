"""Short English reviews made from a small grammar: they teach the polarity of common words.

The free English review set has some 2,000 training sentences, too few for a model that starts from nothing.
"""

import random


def words(text: str) -> list[str]:
    """Split a line of words."""
    return text.split()


NOUNS = {
    "movie": words(
        "movie film plot acting story cast script ending soundtrack dialogue director camerawork humor scenery "
        "character music show series actress actor scene"
    ),
    "restaurant": words(
        "food service restaurant place waiter waitress pizza steak burger salad chicken soup menu staff "
        "dessert sushi coffee atmosphere breakfast buffet sandwich server meat dinner lunch"
    ),
    "product": words(
        "phone headset battery charger case product device camera sound screen keyboard bluetooth earpiece item "
        "design quality reception price cable headphones speaker software plug unit"
    ),
}
GOOD = words(
    "great good excellent wonderful amazing awesome fantastic perfect nice lovely delicious tasty superb brilliant "
    "beautiful impressive outstanding terrific enjoyable fun fresh friendly comfortable reliable clear solid funny "
    "charming touching clever interesting helpful fast attentive incredible best fabulous pleasant sturdy easy worth "
    "happy pleased satisfied glad impressed cool sharp crisp handy masterful hilarious sweet recommended "
    "flawless memorable entertaining stunning moving warm tender juicy yummy phenomenal stylish useful"
)
BAD = words(
    "bad terrible awful horrible poor disappointing boring dull slow rude bland cold stale overpriced worst useless "
    "weak broken defective ugly annoying stupid ridiculous pathetic lame predictable mediocre dirty disgusting "
    "greasy dry uncomfortable unreliable flimsy noisy confusing pointless unfunny wasted overcooked tasteless nasty "
    "unprofessional unacceptable sad angry disappointed frustrated unhappy painful cheesy embarrassing sloppy salty "
    "soggy gross tough faulty junk crappy inconsistent difficult static lousy unwatchable slow tired worse"
)
ADVERBS = ["", "", "", "very ", "really ", "so ", "absolutely ", "truly ", "quite ", "just ", "pretty ", "totally "]
FRAMES = [
    "The {noun} was {adv}{adj}.",
    "The {noun} is {adv}{adj}.",
    "{Adj} {noun}!",
    "{Adj} {noun}.",
    "What a {adj} {noun}.",
    "This {noun} was {adv}{adj}.",
    "Overall, a {adj} {noun}.",
    "The {noun} here is {adv}{adj}, and so is the {noun2}.",
    "The {noun} was {adv}{adj} and the {noun2} was {adj2}.",
    "I thought the {noun} was {adv}{adj}.",
    "I found this {noun} {adv}{adj}.",
    "We got the {noun} and it was {adv}{adj}.",
    "I have to say the {noun} is {adv}{adj}.",
    "It is {adv}{adj}, especially the {noun}.",
    "My {noun} was {adv}{adj}, and I told my friends about it.",
    "{Adj} {noun} and {adj2} {noun2}.",
    "After two weeks the {noun} is still {adj}.",
]
PHRASES = {
    "positive": [
        "I love this {noun}.",
        "I loved the {noun}!",
        "I really enjoyed the {noun}.",
        "Highly recommend this {noun}.",
        "I would recommend the {noun} to anyone.",
        "Great value, and the {noun} works well.",
        "I will be back for the {noun}.",
        "One of the best {noun}s I have ever had.",
        "It works great.",
        "You will not be disappointed with the {noun}.",
        "I am very happy with this {noun}.",
        "The {noun} exceeded my expectations.",
        "Definitely worth the money.",
        "I can't wait to go back for the {noun}.",
        "Five stars for the {noun}!",
        "The {noun} is a must.",
        "I was pleasantly surprised by the {noun}.",
        "No problems with the {noun} at all.",
        "We will definitely come back.",
        "Everything about the {noun} works perfectly.",
        "The {noun} made me smile.",
        "A joy from start to finish, thanks to the {noun}.",
        "The {noun} fits perfectly and does the job.",
        "Thumbs up for the {noun}.",
        "The {noun} is the best I have found so far.",
    ],
    "negative": [
        "I hate this {noun}.",
        "I hated the {noun}!",
        "I regret the {noun}.",
        "Do not buy this {noun}.",
        "I would not recommend the {noun} to anyone.",
        "A waste of money, and the {noun} does not work.",
        "I won't be back for the {noun}.",
        "One of the worst {noun}s I have ever had.",
        "It does not work.",
        "You will be disappointed with the {noun}.",
        "I am very disappointed with this {noun}.",
        "The {noun} did not meet my expectations.",
        "Definitely not worth the money.",
        "I will never go back for the {noun}.",
        "Zero stars for the {noun}!",
        "Avoid the {noun}.",
        "I was let down by the {noun}.",
        "Nothing but problems with the {noun}.",
        "We will never come back.",
        "The {noun} stopped working after a week.",
        "The {noun} made me sick.",
        "A waste of time from start to finish, thanks to the {noun}.",
        "The {noun} broke and I had to return it.",
        "Stay away from the {noun}.",
        "I want my money back for the {noun}.",
        "I wouldn't bother with the {noun} again.",
        "Don't waste your time on the {noun}.",
        "We waited an hour for the {noun}.",
    ],
}


def generated_review(rng: random.Random) -> dict[str, str]:
    """Return one invented review as `{"text", "label", "domain"}`."""
    domain = rng.choice(list(NOUNS))
    noun, noun2 = rng.sample(NOUNS[domain], 2)
    label = rng.choice(["positive", "negative"])
    if rng.random() < 0.4:
        text = rng.choice(PHRASES[label]).format(noun=noun)
    else:
        negated = rng.random() < 0.15
        adjectives = GOOD if (label == "positive") != negated else BAD
        adj, adj2 = rng.sample(adjectives, 2)
        if negated:
            text = rng.choice(
                [
                    "The {noun} was not {adj}.",
                    "This {noun} isn't {adj} at all.",
                    "There is nothing {adj} about the {noun}.",
                    "I don't think the {noun} is {adj}.",
                    "The {noun} was never {adj}.",
                    "Not a {adj} {noun}.",
                ]
            ).format(noun=noun, adj=adj)
        else:
            text = rng.choice(FRAMES).format(
                noun=noun, noun2=noun2, adj=adj, adj2=adj2, Adj=adj.capitalize(), adv=rng.choice(ADVERBS)
            )
    if rng.random() < 0.25:  # reviews often have a second sentence that says the same
        extra = rng.choice(PHRASES[label]).format(noun=noun2)
        text = f"{text} {extra}" if rng.random() < 0.5 else f"{extra} {text}"
    return {"text": text, "label": label, "domain": domain}
