"""The list of everything that is timed."""

from benchmarks.attention import AttentionDeviation
from benchmarks.flat_attention import Attention
from benchmarks.generation import Generation
from benchmarks.grids import Grid
from benchmarks.growth import GrowthWithInputs, GrowthWithPrompt
from benchmarks.half_precision import Bf16Training
from benchmarks.inputs import Lengths
from benchmarks.masking import Masking
from benchmarks.patching import Patching
from benchmarks.probes import ProbePass
from benchmarks.reparameterised import Reparameterised
from benchmarks.scale import Scale
from benchmarks.scoring import Scoring
from benchmarks.training import Training
from benchmarks.workload import Case

_SHAPES = ((4, 20, 8), (20, 30, 16), (100, 30, 16), (20, 180, 16))  # k, tokens a row, rows
_LONG_TAIL = Lengths(10, 120, "log-uniform")
_SENTENCES = Lengths(12, 60)
_EVALUATION = Lengths(14, 40)
_TEXTS = Lengths(14, 30)

CASES: tuple[Case, ...] = (
    *(Training("smollm2-135m", "v1", k, Lengths(n), rows) for k, n, rows in _SHAPES),
    Training("smollm2-135m", "v1", 20, _LONG_TAIL, 16, batches=2),
    Training("smollm2-135m", "v2", 20, Lengths(30), 16),
    Training("smollm2-135m", "v2", 100, Lengths(30), 16),
    Reparameterised("smollm2-135m", 20, Lengths(30), 16),
    Scoring("smollm2-135m", "v1", 20, _EVALUATION, 48),
    Scoring("smollm2-135m", "v2", 20, _EVALUATION, 48),
    Generation("smollm2-135m", 20, _EVALUATION, 48),
    Grid("smollm2-135m", "v1", 4, Lengths(20), 8, prompts=8),
    Grid("smollm2-135m", "v1", 20, Lengths(30), 8, prompts=8),
    Grid("smollm2-135m", "v1", 4, Lengths(20), 8, prompts=60),
    Masking("smollm2-135m", 8, _TEXTS, 16),
    Masking("smollm2-135m", 16, _TEXTS, 32),
    Patching("smollm2-135m", 20, _TEXTS, 8, layers=6, batch=8),
    GrowthWithPrompt("smollm2-135m", "v1", (10, 50, 100), Lengths(30), 16),
    ProbePass("smollm2-135m", 20, 40, 16),
    *(Training("gpt2-small", "v1", k, Lengths(n), rows) for k, n, rows in _SHAPES),
    Training("gpt2-small", "v1", 20, _LONG_TAIL, 16, batches=2),
    Training("gpt2-small", "v2", 20, Lengths(30), 16),
    AttentionDeviation("gpt2-small", 120, 16, 16),
    ProbePass("gpt2-small", 20, 40, 16),
    GrowthWithInputs("gpt2-small", 20, 40, (16, 160)),
    *(Bf16Training("smollm2-135m", "v1", k, Lengths(n), rows) for k, n, rows in _SHAPES[:2]),
    Bf16Training("smollm2-135m", "v1", 20, _LONG_TAIL, 16, batches=2),
    Bf16Training("smollm2-135m", "v2", 20, Lengths(30), 16),
    Bf16Training("t5-small", "v1", 20, _SENTENCES, 16, targets=2),
    Training("bert-base", "v1", 20, _SENTENCES, 16),
    Training("t5-small", "v1", 20, _SENTENCES, 16, targets=2),
    Training("t5-base", "v1", 20, _SENTENCES, 16, targets=2),
    Scale("mgpt-shape", 20, 150, (16,)),
    Scale("mgpt-shape", 20, 150, (16,), batch=4),
    Scale("mgpt-narrow", 20, 150, (200, 2000)),
)
"""One model after another: only one is in memory at a time."""

_GPU = "smollm2-135m-shape"
CUDA: tuple[Case, ...] = (
    Training(_GPU, "v1", 20, Lengths(30), 16),
    Attention(_GPU, 20, _LONG_TAIL, 64),
    Training(_GPU, "v1", 20, _LONG_TAIL, 64),
    Training(_GPU, "v2", 20, Lengths(30), 16),
    Training("llama-1b-shape", "v1", 20, Lengths(60, 240), 32),
    Attention("llama-1b-shape", 20, Lengths(60, 240), 32),
    Training("llama-1b-shape", "v1", 100, Lengths(30), 16),
    Grid(_GPU, "v1", 4, Lengths(20), 8, prompts=60, per_pass=20),
    Scoring(_GPU, "v1", 20, _EVALUATION, 48),
    Generation(_GPU, 20, _EVALUATION, 48),
    ProbePass("gpt2-small", 20, 40, 64),
    Masking(_GPU, 16, _TEXTS, 32),
    Training("bert-base", "v1", 20, _SENTENCES, 16),
    Training("t5-small", "v1", 20, _SENTENCES, 16, targets=2),
)
"""For a GPU, the most telling first, so that a budget cuts the end; no case needs weights from anywhere."""

QUICK: tuple[Case, ...] = (
    Training("tiny-llama", "v1", 20, Lengths(30), 16),
    Training("tiny-llama", "v1", 20, _LONG_TAIL, 16, batches=2),
    Training("tiny-llama", "v2", 20, Lengths(30), 16),
    Bf16Training("tiny-llama", "v1", 20, Lengths(30), 16),
    Reparameterised("tiny-llama", 20, Lengths(30), 16),
    Masking("tiny-llama", 8, _TEXTS, 16, batch=8),
    Scoring("tiny-llama", "v1", 20, _EVALUATION, 48),
    Generation("tiny-llama", 20, _EVALUATION, 48),
    Grid("tiny-llama", "v1", 4, Lengths(20), 8, prompts=8),
    Patching("tiny-llama", 8, _TEXTS, 8, layers=2, batch=8),
    GrowthWithPrompt("tiny-llama", "v1", (10, 50, 100), Lengths(30), 16),
    Training("tiny-gpt2", "v1", 20, Lengths(30), 16),
    AttentionDeviation("tiny-gpt2", 120, 16, 16),
    ProbePass("tiny-gpt2", 20, 40, 16),
    GrowthWithInputs("tiny-gpt2", 20, 40, (16, 160)),
    Training("tiny-bert", "v1", 20, _SENTENCES, 16),
    Training("tiny-t5", "v1", 20, _SENTENCES, 16, targets=2),
    Scale("tiny-gpt2", 20, 40, (8, 32)),
)
"""The same kinds on tiny models: whether everything works and is equal, not how fast it is."""


def choose(cases: tuple[Case, ...], parts: list[str]) -> list[Case]:
    """Return the cases whose names contain one of *parts*, in the list's order; all cases if *parts* is empty.

    Raises:
        ValueError: a part that no name contains.
    """
    unknown = [part for part in parts if not any(part in case.name for case in cases)]
    if unknown:
        known = "\n  ".join(case.name for case in cases)
        raise ValueError(f"no case has {', '.join(map(repr, unknown))} in its name; choose from:\n  {known}")
    return [case for case in cases if not parts or any(part in case.name for part in parts)]
