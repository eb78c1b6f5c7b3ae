"""All that decides the numbers of `train`, under the names of presets."""

from dataclasses import dataclass, replace
from typing import ClassVar


@dataclass(frozen=True)
class Known:
    """One of the paper's data sets: its name in the tables, its row of Table 7, and the sizes of section 4.1.

    `epochs` are those that were run; the text has none.
    """

    printed: str
    batch_size: int
    learning_rate: float
    epochs: int
    train: int
    scored: int = 5000


KNOWN = {
    "imdb": Known("IMDb", 168, 0.811, 5, 15_000),
    "emotion": Known("emotion", 180, 0.128, 15, 6_000),
    "mnli": Known("mnli", 304, 0.266, 5, 10_000),
}

EMBEDDED = tuple(f"embedded-masked-{seed}" for seed in range(5))
MULTIBERTS = tuple(f"google/multiberts-seed_{seed}" for seed in range(25))
HOWS = ("zero", "remove", "mean", "cut")


@dataclass(frozen=True)
class Settings:
    """What a preset decides.

    - `models`: names or folders of masked language models of one width and one tokenizer.
    - `counts`: numbers of models that share a prompt. One prompt is trained for each single model; of every other
      count one prompt for each seed; run i is trained on that many models, from number i on.
    - `varied`: the count whose first run is trained again with other initialisations, other orders of the records
      and for other durations (Tables 5 and 6); 0: none.
    - `durations`: of training, as multiples of `steps` or of the paper's epochs.
    - `short_length`: length of one more prompt for each single model (section 4.5); 0: none.
    - `init_range`: numbers of a fresh prompt are uniform in [-init_range, init_range).
    - `steps`, `batch_size`, `learning_rate`: of every task; 0: the paper's, by task.
    - `micro_batch`: most records in a pass; the passes of `batch_size` records make one step, so each has the largest
      number up to it that divides the batch. 0: all at once.
    - `mask_attended`: False: nothing attends to [MASK], as in the authors' runs; True: it is a token like any other.
    - `first_piece`: a label of several word pieces is replaced by its first; False: such a label is refused.
    - `held_out`: share of a data set without a test split that is held out as one.
    - `train_limit`, `scored`: records that are trained on and scored, drawn with equally many of each label
      (`data_seed`); 0: all, or the paper's numbers.
    - `hows`: interventions on single tokens, the paper's `zero` first; the others on the first run of each count.
    - `draws`: random choices of tokens that a choice by importance is compared with.
    - `shapley_scored`: records for Shapley values (of the first run of each count); 0: no Shapley values.
    - `neighbours`: how many nearest embeddings vote on which model a token is near.
    - `shown`: rows of each embedding matrix in the pictures; 0: all.
    - `permutations`: how many, for nulls that are not exact.
    """

    models: tuple[str, ...] = EMBEDDED
    tasks: tuple[str, ...] = ("continent_en",)
    counts: tuple[int, ...] = (1, 2, 3, 4, 5)
    seeds: tuple[int, ...] = (0, 1, 2)
    varied: int = 5
    durations: tuple[float, ...] = ()
    length: int = 16
    short_length: int = 2
    init_range: float = 0.5
    steps: int = 100
    batch_size: int = 16
    micro_batch: int = 0
    learning_rate: float = 0.3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    mask_attended: bool = True
    first_piece: bool = False
    held_out: float = 0.2
    train_limit: int = 0
    scored: int = 0
    hows: tuple[str, ...] = HOWS
    draws: int = 3
    shapley_scored: int = 0
    neighbours: int = 7
    shown: int = 300
    permutations: int = 1000
    data_seed: int = 0

    POSITIVE: ClassVar = (
        "counts",
        "length",
        "init_range",
        "draws",
        "neighbours",
        "permutations",
        "durations",
    )
    SHARES: ClassVar = ("held_out",)
    NEEDED: ClassVar = ("tasks", "counts", "seeds", "hows")


_PAPER = Settings(
    models=MULTIBERTS,
    tasks=tuple(KNOWN),
    counts=(1, 2, 5, 10),
    seeds=(0, 1, 2, 3, 4),
    durations=(0.4, 2.0, 4.0),
    # A standard normal start has the same norms.
    init_range=3**0.5,
    steps=0,
    batch_size=0,
    # Small enough for any memory; with more of it, --set micro_batch=... of the largest that fits is faster.
    micro_batch=4,
    learning_rate=0.0,
    weight_decay=0.173,
    betas=(0.803, 0.939),
    mask_attended=False,
    first_piece=True,
    shapley_scored=500,
    shown=2000,
)

PRESETS = {
    "smoke": Settings(
        counts=(1, 2, 5),
        seeds=(0, 1),
        length=4,
        steps=20,
        batch_size=8,
        scored=24,
        draws=1,
        shapley_scored=8,
        shown=100,
    ),
    # SST-2 is real text such as these models have never seen: what they can learn of it is the label words.
    "small": Settings(
        tasks=("continent_en", "continent_ko", "sst2"),
        durations=(0.5,),
        length=6,
        steps=60,
        batch_size=8,
        first_piece=True,
        scored=60,
        shapley_scored=30,
    ),
    "paper": _PAPER,
    "fixed": replace(_PAPER, mask_attended=True),
}
