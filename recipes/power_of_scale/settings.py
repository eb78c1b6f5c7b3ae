"""All that decides the recipe's numbers, under the names of presets."""

from dataclasses import dataclass
from typing import ClassVar

from recipes.common.ranges import MATMULS

STARTS = ("uniform", "vocab", "labels")
EMBEDDED_TASKS = ("continent_en", "capital_en", "currency_en", "country_capital_en")


@dataclass(frozen=True)
class Settings:
    """What a preset decides.

    - `models`: the sizes; the first is that of all other comparisons.
    - `lengths`, `starts`: of the ablations (Figures a, b); `length`, `start`: of all else.
    - `objectives`: names and models of the objective ablation (Figure c, d), pairs (name, model); each is also trained
      with a sentinel token before the answer where its tokenizer has one.
    - `rate`: of all runs; `evaluate_every`: steps between validations; `validated`, `scored`: records of validation and
      test that are used, 0: all.
    - `neighbours`: nearest tokens of a vector; `null_draws`: random prompts they are compared with.
    - `members`: prompts of an ensemble; `shifts`: pairs (trained on, scored on); with 0 or an empty list (also of
      `lengths` and `starts`) the comparison is left out.
    - `matmul`: `bf16` lets frozen layers multiply in bfloat16, on processors that have it (`ps.execution`).
    """

    models: tuple[str, ...] = ("embedded-seq2seq",)
    tasks: tuple[str, ...] = EMBEDDED_TASKS
    lengths: tuple[int, ...] = (1, 5, 20, 100, 150)
    length: int = 100
    starts: tuple[str, ...] = STARTS
    start: str = "labels"
    objectives: tuple[tuple[str, str], ...] = ()
    steps: int = 30_000
    batch_size: int = 32
    max_length: int = 0
    rate: float = 0.3
    weight_decay: float = 1e-5
    evaluate_every: int = 1000
    validated: int = 0
    scored: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    neighbours: int = 5
    null_draws: int = 99
    members: int = 5
    shifts: tuple[tuple[str, str], ...] = ()
    baseline_rate: float = 1e-3
    matmul: str = "float32"

    POSITIVE: ClassVar = (
        *("length", "lengths", "steps", "batch_size", "rate", "evaluate_every", "neighbours", "null_draws"),
        "baseline_rate",
    )
    NEEDED: ClassVar = ("models", "tasks", "seeds")
    WORDS: ClassVar = {"start": STARTS, "starts": STARTS, "matmul": MATMULS}
    PAIRS: ClassVar = ("objectives", "shifts")


PRESETS = {
    "smoke": Settings(
        tasks=EMBEDDED_TASKS[:2],
        lengths=(1, 5),
        length=5,
        starts=("uniform", "vocab", "labels"),
        start="uniform",
        steps=20,
        batch_size=8,
        evaluate_every=10,
        validated=24,
        scored=24,
        seeds=(0, 1),
        null_draws=19,
        members=2,
        shifts=(("capital_en", "country_capital_en"),),
    ),
    "small": Settings(
        lengths=(1, 5, 20, 100),
        length=20,
        start="uniform",
        steps=100,
        batch_size=8,
        evaluate_every=25,
        validated=40,
        scored=100,
        members=3,
        shifts=(("capital_en", "country_capital_en"), ("country_capital_en", "capital_en")),
    ),
    # Real weights: a quarter of an hour of one core that multiplies bfloat16 (AMX).
    "smollm2": Settings(
        models=("HuggingFaceTB/SmolLM2-135M",),
        tasks=("fv/antonym", "fv/present-past", "fv/singular-plural", "fv/landmark-country"),
        lengths=(1, 5, 20),
        length=20,
        start="uniform",
        steps=40,
        batch_size=8,
        max_length=40,
        rate=0.1,
        evaluate_every=20,
        validated=24,
        scored=60,
        null_draws=19,
        members=2,
        matmul="bf16",
    ),
    "paper": Settings(
        models=tuple(f"google/t5-{size}-lm-adapt" for size in ("base", "small", "large", "xl", "xxl")),
        tasks=("superglue/boolq", "superglue/cb", "superglue/copa", "superglue/multirc", "superglue/rte",
               "superglue/wic", "superglue/wsc"),
        objectives=(("span corruption", "google/t5-v1_1-base"), ("LM adaptation", "google/t5-base-lm-adapt")),
        max_length=512,
        shifts=(("qqp", "mrpc"), ("mrpc", "qqp"), ("mrqa/squad", "mrqa/newsqa"), ("mrqa/squad", "mrqa/hotpotqa")),
    ),
}  # fmt: skip
