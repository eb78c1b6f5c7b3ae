"""The parts of an account, in the order in which they are on the page."""

from promptscope.account.parts.answers import answers_part
from promptscope.account.parts.direction import direction_part
from promptscope.account.parts.layers import layers_part
from promptscope.account.parts.neurons import neurons_part
from promptscope.account.parts.readings import readings_part
from promptscope.account.parts.routes import routes_part
from promptscope.account.parts.tokens import tokens_part
from promptscope.account.parts.words import words_part

PARTS = {
    "answers": (
        "What it is and what it gains",
        "Does the prompt help, and more than a random prompt does?",
        answers_part,
    ),
    "tokens": ("Which tokens matter", "Are all of the prompt's tokens needed?", tokens_part),
    "layers": ("In which layers it is read", "In which layers must the text attend to the prompt?", layers_part),
    "routes": (
        "Through which parts of the model it acts",
        "Which heads, FFNs and positions carry the effect?",
        routes_part,
    ),
    "direction": (
        "Is it a direction?",
        "Does one vector added to the residual stream have the same effect?",
        direction_part,
    ),
    "words": (
        "Is it the same as words?",
        "Does the prompt act through the same heads as an instruction or few-shot examples?",
        words_part,
    ),
    "readings": (
        "In words",
        "Can the prompt be decoded into text, and does that text have the same effect?",
        readings_part,
    ),
    "neurons": (
        "Neurons",
        "Does the activation of single neurons predict the label, and do the answers depend on these neurons?",
        neurons_part,
    ),
}
"""Key -> (title, question, the function that measures the part)."""

__all__ = ["PARTS"]
