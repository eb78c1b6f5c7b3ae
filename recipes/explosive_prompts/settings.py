"""All that decides the recipe's numbers, under the names of presets."""

from dataclasses import dataclass
from typing import ClassVar

from promptscope.training import BASELINES
from recipes.common.ranges import MATMULS

STRUCTURES = ("none", "layer norm", "residual", "relu", "gelu", "tanh")
STARTS = ("uniform", "vocab", "labels")
EMBEDDED_TASKS = ("continent_en", "capital_en", "currency_en", "country_capital_en")


@dataclass(frozen=True)
class Settings:
    """What a preset decides.

    - `length`: positions of the long prompts; EPT has one, EPT* repeats one vector `length` times.
    - `hidden`: of the residual network (ResPrompt).
    - `learning_rate`: of all comparisons but the one of rates; `rates`: those of Figure 8, of which every method's own
      best one is chosen on validation records.
    - `evaluate_every`: steps between validations; the best prompt of them is the one that is scored.
    - `validated`, `scored`: records of validation and test that are used; 0: all.
    - `widths`: hidden units (Figures 5, 12); `lengths`: of the broadcast prompt (7); `structures`: additions to the
      network (9); `starts`: initialisations (Table 6); `shots`, `draws`: few-shot (Table 3).
      Any of these lists may be empty: then that comparison is left out.
    - `baselines`: other methods (Table 4), trained by PEFT and transformers on copies of the model.
    - `repeats`: up to how often one trained vector is repeated (Figure 4).
    - `matmul`: `bf16` lets frozen layers multiply in bfloat16, on processors that have it (`ps.execution`).
    """

    model: str = "embedded-seq2seq"
    tasks: tuple[str, ...] = EMBEDDED_TASKS
    length: int = 10
    hidden: int = 400
    steps: int = 30_000
    batch_size: int = 16
    max_length: int = 0
    learning_rate: float = 0.3
    weight_decay: float = 0.01
    evaluate_every: int = 1000
    validated: int = 0
    scored: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    widths: tuple[int, ...] = (1, 5, 10, 50, 100, 500, 1000)
    lengths: tuple[int, ...] = tuple(range(1, 11))
    structures: tuple[str, ...] = STRUCTURES
    starts: tuple[str, ...] = STARTS
    shots: tuple[int, ...] = (4, 16, 32)
    draws: int = 6
    few_shot_steps: int = 10_000
    baselines: tuple[str, ...] = ("fine-tuning", "lora", "ia3", "layer-norm", "prefix")
    baseline_rate: float = 1e-3
    repeats: int = 10
    permutations: int = 999
    matmul: str = "float32"

    POSITIVE: ClassVar = (
        *("length", "hidden", "steps", "few_shot_steps", "batch_size", "evaluate_every", "learning_rate", "rates"),
        *("baseline_rate", "widths", "lengths", "shots", "draws", "repeats", "permutations"),
    )
    NEEDED: ClassVar = ("tasks", "seeds")
    WORDS: ClassVar = {"structures": STRUCTURES, "starts": STARTS, "baselines": BASELINES, "matmul": MATMULS}


PRESETS = {
    "smoke": Settings(
        tasks=EMBEDDED_TASKS[:2],
        length=4,
        hidden=8,
        steps=20,
        batch_size=8,
        evaluate_every=10,
        validated=24,
        scored=24,
        seeds=(0, 1),
        rates=(0.03, 0.3),
        widths=(1, 10),
        lengths=(1, 4),
        structures=("none", "layer norm"),
        starts=("uniform", "vocab"),
        shots=(4,),
        draws=2,
        few_shot_steps=10,
        baselines=("fine-tuning", "lora"),
        repeats=3,
        permutations=99,
    ),
    "small": Settings(
        hidden=64,
        steps=100,
        batch_size=8,
        evaluate_every=25,
        validated=40,
        scored=100,
        rates=(0.01, 0.03, 0.1, 0.3),
        widths=(1, 10, 100),
        lengths=(1, 4, 10),
        shots=(4, 16),
        draws=3,
        few_shot_steps=40,
    ),
    # Real weights, the claims and the control: an hour of one core that multiplies bfloat16 (AMX).
    "smollm2": Settings(
        model="HuggingFaceTB/SmolLM2-135M",
        tasks=("fv/antonym", "fv/present-past", "fv/singular-plural", "fv/landmark-country"),
        hidden=64,
        steps=60,
        batch_size=8,
        max_length=48,
        evaluate_every=20,
        validated=32,
        scored=80,
        rates=(0.03, 0.3, 3.0),
        widths=(),
        lengths=(),
        structures=(),
        starts=(),
        shots=(),
        baselines=(),
        repeats=4,
        matmul="bf16",
    ),
    "paper": Settings(
        model="google-t5/t5-base",
        tasks=(
            *("superglue/boolq", "superglue/cb", "superglue/wic", "superglue/wsc", "superglue/multirc"),
            *("cola", "mrpc", "rte", "stsb_score", "mnli", "qnli", "qqp", "sst2"),
            *("mrqa/nq", "mrqa/hotpotqa", "mrqa/searchqa", "mrqa/newsqa"),
            *("winogrande", "yelp_polarity", "scitail", "paws_wiki"),
        ),
        max_length=256,
    ),
}
