"""What the report says with its tables and figures."""

TITLE = "The power of scale: length, initialisation, objective, neighbours, ensembles, domain shift"
LEAD = (
    "The ablations of The Power of Scale for Parameter-Efficient Prompt Tuning (Lester et al. 2021), computed from "
    "prompts trained here. The overview that they follow prints claims and few numbers; those are given with ours."
)
CAPTIONS = {
    "claims": "The claims over tasks; by task they are in findings.csv. A number above zero speaks for the claim; "
    "holds: the whole 95 % interval lies above zero.",
    "figure_a": "Figure a: prompt length, by model.",
    "lengths": "Test scores by length, means over seeds.",
    "figure_b": "Figure b: initialisation.",
    "starts": "Test scores by initialisation, means over seeds; labels where a task has label words that fit.",
    "objectives": "Figures c and d: pre-training objective, and the answer after a sentinel token.",
    "parameters": "Trained numbers from formulas, and their share of the model.",
    "readings": "Vectors and words, compared with random vectors of the same norms; p: how many of those do as well.",
    "neighbours": "The nearest words of every vector, first seed.",
    "ensembles": "A majority vote of prompts against its members.",
    "shifts": "Trained on one data set, scored on it (at home) and on another without training (shifted).",
    "failed": "Runs that failed.",
}
"""Name of a table or figure -> what it shows."""
