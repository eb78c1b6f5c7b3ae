"""Which prompts are trained, on which models, with which seeds: the paper's classes of runs."""

from dataclasses import dataclass

from promptscope.errors import RunError
from recipes.token_splitting.settings import HOWS, KNOWN, Settings
from recipes.token_splitting.tasks import printed


@dataclass(frozen=True)
class Plan:
    """One prompt: number `number` of its kind, for `models` (indices into the settings' list).

    `kind` is the number of models, or `init`, `train` (other seeds of the start, of the order of records), `e...`
    (another duration), `sp` (a short prompt for one model).
    """

    name: str
    task: str
    kind: str
    number: int
    models: tuple[int, ...]
    length: int
    init_seed: int
    train_seed: int
    duration: float = 1.0


def make_plans(settings: Settings, task: str) -> list[Plan]:
    """Return the runs of a task, named as the authors named theirs.

    Raises:
        RunError: settings that make no runs: counts without models, twice the same seed, nothing to vary.
    """
    _check(settings)
    n, seeds, k = len(settings.models), settings.seeds, settings.length
    before = prefix(printed(task))
    every = range(n)
    plans = [Plan(f"{before}1_model_{m}", task, "1", m, (m,), k, seeds[0], seeds[0]) for m in every]
    if settings.short_length:
        short = settings.short_length
        plans += [Plan(f"{before}1_model_{m}_sp", task, "sp", m, (m,), short, seeds[0], seeds[0]) for m in every]
    for count in sorted(set(settings.counts) - {1}):
        for i, seed in enumerate(seeds):
            models = tuple(sorted((i + j) % n for j in range(count)))
            plans.append(Plan(f"{before}{count}_model_{i}", task, str(count), i, models, k, seed, seed))
    count = settings.varied
    if count:
        first = tuple(range(count))
        for i, seed in list(enumerate(seeds))[1:]:
            plans.append(Plan(f"{before}{count}_model_init_{i}", task, "init", i, first, k, seed, seeds[0]))
            plans.append(Plan(f"{before}{count}_model_train_{i}", task, "train", i, first, k, seeds[0], seed))
        for duration in settings.durations:
            label = duration_label(settings, task, duration)
            for i, seed in enumerate(seeds):
                models = tuple(sorted((i + j) % n for j in range(count)))
                name = f"{before}{count}_model_{i}_e{label}"
                plans.append(Plan(name, task, f"e{label}", i, models, k, seed, seed, duration))
    return plans


def prefix(dataset: str) -> str:
    """Return the beginning of the names of a task's runs.

    >>> prefix("IMDb"), prefix("mnli")
    ('', 'mnli_')
    """
    return "" if dataset == "IMDb" else f"{dataset}_".replace("/", "-")


def duration_label(settings: Settings, task: str, duration: float) -> str:
    """Return how long a run takes: in epochs if the paper's are used, else in steps.

    >>> duration_label(Settings(steps=0), "mnli", 0.4), duration_label(Settings(steps=50), "mnli", 2.0)
    ('2', '100')
    """
    base = settings.steps or (KNOWN[task].epochs if task in KNOWN else 1)
    return f"{base * duration:g}"


def _check(settings: Settings) -> None:
    n = len(settings.models)
    if n < 2 or len(set(settings.models)) < n:
        raise RunError(f"token splitting needs at least two models, each named once, got {list(settings.models)}")
    wrong = [count for count in (*settings.counts, settings.varied) if not 0 <= count <= n]
    if wrong or max(settings.counts, default=0) < 2 or min(settings.counts) < 1:
        raise RunError(
            f"counts and varied must be in 1..{n}, with at least one count above 1, got "
            f"{list(settings.counts)} and {settings.varied}: there are {n} models"
        )
    if settings.varied and settings.varied not in settings.counts:
        raise RunError(f"varied must be one of counts, {list(settings.counts)}, got {settings.varied}")
    if not settings.seeds or len(set(settings.seeds)) < len(settings.seeds):
        raise RunError(f"seeds must name at least one seed, each once, got {list(settings.seeds)}")
    unknown = [how for how in settings.hows if how not in HOWS]
    if settings.hows[:1] != ("zero",) or unknown:
        raise RunError(
            f"hows must begin with 'zero', by which the paper assigns tokens, and be among {', '.join(HOWS)}; got "
            f"{list(settings.hows)}"
        )
