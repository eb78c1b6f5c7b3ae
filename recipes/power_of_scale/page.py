"""The texts that the report shows with its tables and figures."""

TITLE = "The power of scale: length, initialisation, objective, neighbours, ensembles, domain shift"
LEAD = (
    "The ablations of The Power of Scale for Parameter-Efficient Prompt Tuning (Lester et al. 2021), "
    "computed from prompts trained here. The overview that this recipe follows prints claims and few "
    "numbers; these are shown with the computed ones."
)
CAPTIONS = {
    "claims": (
        "The claims over tasks (findings.csv has them for each task). A number above zero "
        "supports the claim; holds: the whole 95 % interval is above zero."
    ),
    "figure_a": "Figure a: prompt length, by model.",
    "lengths": "Test scores by length, means over seeds.",
    "figure_b": "Figure b: initialisation.",
    "starts": "Test scores by initialisation, means over seeds; labels where a task has label words that fit.",
    "objectives": "Figures c and d: pre-training objective, and the answer after a sentinel token.",
    "parameters": "How many numbers each method trains, by formula, and their share of the model's parameters.",
    "readings": (
        "Distances from prompt vectors to words, compared with random vectors of the same "
        "norms; p: share of random prompts that do at least as well."
    ),
    "neighbours": "The nearest words of every vector, first seed.",
    "ensembles": "Accuracy of a majority vote of several prompts, compared with the prompts themselves.",
    "shifts": (
        "Prompts and fine-tuned models, trained on one data set, and scored on it (at home) "
        "and on another without further training (shifted)."
    ),
    "failed": "Runs that failed.",
}
"""Name of a table or figure -> what it shows."""
