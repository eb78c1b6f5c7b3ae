"""The parts of an account, in the order in which they are read."""

from promptscope.account.parts.answers import answers_part
from promptscope.account.parts.direction import direction_part
from promptscope.account.parts.layers import layers_part
from promptscope.account.parts.neurons import neurons_part
from promptscope.account.parts.readings import readings_part
from promptscope.account.parts.routes import routes_part
from promptscope.account.parts.tokens import tokens_part
from promptscope.account.parts.words import words_part

PARTS = {
    "answers": ("What it is and what it gains", "Does the prompt help, beyond what any prompt does?", answers_part),
    "tokens": ("Which tokens matter", "Are all of its tokens needed?", tokens_part),
    "layers": ("Where the model reads it", "In which layers must the text see the prompt?", layers_part),
    "routes": ("Through what it acts", "Which heads, FFNs and positions carry the effect?", routes_part),
    "direction": ("Is it a direction?", "Does one vector added to the residual stream do the same?", direction_part),
    "words": (
        "Is it the same as words?",
        "Does it act through the heads that an instruction or examples use?",
        words_part,
    ),
    "readings": ("In words", "Does it read as text, and does that text do the same?", readings_part),
    "neurons": ("Neurons", "Are there neurons that tell the label, and are they needed?", neurons_part),
}
"""Key -> (title, question, function of a subject)."""

__all__ = ["PARTS"]
