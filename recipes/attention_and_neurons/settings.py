"""All that decides the recipe's numbers, under the names of presets."""

from dataclasses import dataclass, replace
from typing import ClassVar

from recipes.common.ranges import MATMULS

PAPER_TASKS = (
    "stsb",
    "klue_sts",
    "snli",
    "kor_nli",
    "sst2",
    "nsmc",
    "ag_news",
    "klue_ynat",
    "squad2",
    "korquad",
    "commongen",
    "kommongen",
)


@dataclass(frozen=True)
class Known:
    """One of the paper's data sets: its task, its name in Table 7, and its row of Table 6 (the lengths are the task's).

    `kind` is what Figures 1, 2 and 9-11 call the task, in both languages alike.
    """

    kind: str
    printed: str
    language: str
    batch_size: int
    epochs: int


KNOWN = {
    "stsb": Known("STS", "GLUE-STS", "English", 16, 10),
    "klue_sts": Known("STS", "KLUE-STS", "Korean", 16, 10),
    "snli": Known("NLI", "SNLI", "English", 32, 16),
    "kor_nli": Known("NLI", "KorNLI", "Korean", 32, 16),
    "sst2": Known("SA", "SST2", "English", 32, 20),
    "nsmc": Known("SA", "NSMC", "Korean", 32, 20),
    "ag_news": Known("TC", "AGNews", "English", 64, 10),
    "klue_ynat": Known("TC", "KLUE-Ynat", "Korean", 32, 10),
    "squad2": Known("QA", "SQuAD 2.0", "English", 16, 12),
    "korquad": Known("QA", "KorQuAD 1.0", "Korean", 16, 12),
    "commongen": Known("CG", "CommonGen", "English", 16, 20),
    "kommongen": Known("CG", "KommonGen", "Korean", 16, 20),
}
"""The paper's Tables 1, 6 and 7."""

PAPER_PEAKS = (0, 1, 7, 9, 11, 13, 15, 17, 20, 21, 22, 23)
PAPER_TROUGHS = (0, 2, 8, 10, 12, 14, 16, 18, 20, 21, 22, 23)
"""The paper's groups of layers (section 5), of a model with 24."""


@dataclass(frozen=True)
class Settings:
    """What a preset decides.

    - `dtype`: of the model; empty: the default of `ps.load_model`.
    - `length`: prompt positions; `seeds`: one v1 and one v2 prompt each. Probes look at those of the first seed.
    - `steps`, `batch_size`: of every task; 0: the paper's epochs and batch size, by task.
    - `learning_rate` of v1, `deep_learning_rate` of v2 and its groups of layers: the paper prints none.
    - `held_out`: share of a data set without a test split that is held out as one.
    - `train_limit`, `scored`, `probed`: records that are trained on, scored, and probed, drawn with equally many of
      each label; 0: all.
    - `longest`: records of more tokens (of the model's tokenizer, without label) are left out; 0: none are.
    - `first_n`: tokens that the attention variability looks at; `first_n_concepts` for commonsense generation.
    - `layers`: where the groups of layers of the ablation come from: `paper` (24 layers only) or `measured`.
    - `ablation`: whether deep prompts are trained in groups of layers, which takes as long as v2 twice.
    - `permutations`: for the null of the silhouettes.
    - `paper_specials`: texts get the paper's `<s>`, `</s>` and `<|endoftext|>` where the tokenizer has them but
      declares others, as mGPT's does; False: those that it declares.
    - `matmul`: `bf16` lets frozen layers multiply in bfloat16, on processors that have it (`ps.execution`).
      Probes always run in float32.
    """

    model: str = "embedded-causal"
    dtype: str = ""
    tasks: tuple[str, ...] = PAPER_TASKS
    length: int = 20
    seeds: tuple[int, ...] = (42,)
    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 5e-3
    deep_learning_rate: float = 2e-2
    held_out: float = 0.2
    train_limit: int = 0
    longest: int = 0
    scored: int = 0
    probed: int = 0
    probe_batch: int = 8
    first_n: int = 10
    first_n_concepts: int = 2
    layers: str = "measured"
    ablation: bool = True
    permutations: int = 200
    paper_specials: bool = False
    matmul: str = "float32"

    POSITIVE: ClassVar = ("length", "learning_rate", "deep_learning_rate", "probe_batch", "permutations")
    AT_LEAST: ClassVar = {"first_n": 2, "first_n_concepts": 2}  # the first token is left out
    SHARES: ClassVar = ("held_out",)
    NEEDED: ClassVar = ("tasks", "seeds")
    WORDS: ClassVar = {
        "layers": ("measured", "paper"),
        "dtype": ("", "float32", "bfloat16", "float16", "float64"),
        "matmul": MATMULS,
    }


PRESETS = {
    # Everything once: two kinds of tasks in two languages, single and paired inputs, one generation.
    "smoke": Settings(
        tasks=("continent_en", "continent_ko", "same_country_en", "same_country_ko", "capital_en"),
        steps=20,
        batch_size=16,
        learning_rate=1e-2,
        deep_learning_rate=0.1,
        scored=40,
        probed=40,
        first_n=6,
    ),
    # What one core of a laptop trains in two hours, half of it for the ablation: short texts, and Korean only for the
    # kind of task that an English model can do in it.
    "small": Settings(
        model="HuggingFaceTB/SmolLM2-135M",
        tasks=("sst2", "nsmc", "stsb", "ag_news"),
        steps=500,
        batch_size=8,
        learning_rate=2e-2,
        deep_learning_rate=1e-2,
        longest=48,
        scored=150,
        probed=64,
    ),
    # The published findings: a model that reads Korean, four kinds of tasks in both languages, with the ablation; and a
    # model of English on the English half, so that "on this model" and "in general" are two columns. Takes hours on two
    # cores.
    "gemma": Settings(
        model="google/gemma-3-270m",
        tasks=("stsb", "klue_sts", "snli", "kor_nli", "sst2", "nsmc", "commongen", "kommongen"),
        seeds=(42, 43, 44),
        steps=200,
        batch_size=8,
        learning_rate=0.3,  # these two by pilot.py; results/pilot has its table
        deep_learning_rate=1e-2,
        longest=48,
        scored=100,
        probed=48,
        probe_batch=4,
        matmul="bf16",
    ),
    "smollm2": Settings(
        model="HuggingFaceTB/SmolLM2-135M",
        tasks=("stsb", "snli", "sst2", "ag_news", "commongen"),
        seeds=(42, 43, 44),
        steps=200,
        batch_size=8,
        learning_rate=0.2,  # by pilot.py too
        deep_learning_rate=3e-2,
        longest=48,
        scored=100,
        probed=48,
        matmul="bf16",
    ),
    "paper": Settings(model="ai-forever/mGPT", probed=2000, layers="paper", paper_specials=True),
}
PRESETS |= {  # one kind of task each; `paper` with the same --out reuses their runs
    f"paper-{kind.lower()}": replace(
        PRESETS["paper"], tasks=tuple(name for name, known in KNOWN.items() if known.kind == kind)
    )
    for kind in dict.fromkeys(known.kind for known in KNOWN.values())
}
