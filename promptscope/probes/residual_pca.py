"""PCA of the residual stream at one position, with and without prompts."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from sklearn.metrics import silhouette_score

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries, Shard
from promptscope.probes.residual import ResidualAt
from promptscope.probes.result import ProbeResult
from promptscope.prompts import Prompt
from promptscope.statistics import principal_components
from promptscope.store import Capture
from promptscope.tasks import Encoded, Task

PLAIN = "plain"
_BYTES_AT_ONCE = 128 * 2**20
_SILHOUETTE_POINTS = 1000


class ResidualPCA(Probe):
    """Principal components of the residual stream at one position of each input, with and without prompts.

    In each layer, one PCA is fitted to the vectors of all passes, so that a difference between them is visible. Values
    are coordinates, dimensions (prompt, layer, example, component); the first entry of `prompt` is `plain`, the pass
    without one. `result.data` also has

    - `explained_variance` (layer, component): shares of the variance;
    - `silhouette` (prompt, layer): how well the vectors with the prompt are separated from those without, in the full
      space, in [-1, 1]: 1 = two tight clusters, 0 = no separation (of at most 1,000 vectors).

    Probe a random prompt of the same norms as well (`ps.random_like(prompt)`): it shows how much any prompt separates
    them.

    Args:
        at: `"answer"` (default), the position that predicts the label; `"last"`, the last token; or a text position
            counted from 0 (negative: from the end). Inputs that are too short are skipped and counted.
        n_components: number of components.

    Raises:
        ProbeError: no prompt, a prompt that is called `plain`, fewer inputs than components, or an unknown *at*.

    >>> ResidualPCA().name, ResidualPCA(at="last").name
    ('residual_pca', 'residual_pca_last')
    """

    title = "Residual stream, principal components"

    @checked()
    def __init__(self, at: int | str = "answer", n_components: int = 2, name: str | None = None) -> None:
        if isinstance(at, str) and at not in ("answer", "last"):
            raise ProbeError(f"at must be 'answer', 'last' or a text position (an integer), got {at!r}")
        if n_components < 1:
            raise ProbeError(f"n_components must be at least 1, got {n_components}")
        self.at = at
        self.n_components = n_components
        self.name = name or "residual_pca" + ("" if at == "answer" else f"_{at}")
        self._site = "hook_resid_post"

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Read the decoder in models whose decoder predicts the answer."""
        if PLAIN in prompts:
            raise ProbeError(
                f"no prompt may be called {PLAIN!r}, which names the pass without a prompt: give it another name"
            )
        made = copy.copy(self)
        if model.family.kind == "seq2seq" and self.at == "answer":
            made._site = "decoder_blocks.{i}.hook_resid_post"
        return made

    def captures(self) -> dict[str, Capture]:
        """Keep one vector of each input and layer."""
        return {"residual": ResidualAt(self._site, self.at)}

    def check(self, examples: Sequence[Encoded], prompts: Sequence[str]) -> None:
        """Raise ProbeError unless enough inputs have the position."""
        usable = int(self._usable(examples).sum())
        if usable < max(self.n_components, 2):
            raise ProbeError(
                f"{self.n_components} components need at least {max(self.n_components, 2)} inputs with position "
                f"{self.at!r}; {usable} of {len(examples)} have it. Give more inputs, or another position"
            )

    def compute(self, entries: Entries) -> ProbeResult:
        """Read layers in groups that fit into memory, and fit each layer by itself."""
        usable = self._usable(entries.examples)
        names = [PLAIN, *entries.prompts]
        layers = entries.layers("residual")
        per_layer = 4 * len(names) * int(usable.sum()) * entries.model.shape.d_model
        at_once = max(1, _BYTES_AT_ONCE // per_layer)
        points, shares, silhouettes = [], [], []
        for start in range(0, len(layers), at_once):
            chunk = slice(start, start + at_once)
            clouds = np.stack([_gather(self._parts(entries, name), usable, chunk) for name in names])
            for i in range(clouds.shape[2]):
                coordinates, share = principal_components(
                    clouds[:, :, i].reshape(-1, clouds.shape[-1]), self.n_components
                )
                points.append(coordinates.reshape(len(names), -1, self.n_components))
                shares.append(share)
                apart = [_silhouette(clouds[0, :, i], cloud[:, i]) for cloud in clouds[1:]]
                silhouettes.append([np.nan, *apart])  # plain against itself says nothing
        return ProbeResult(
            data=xr.Dataset(
                {
                    "values": (("prompt", "layer", "example", "component"), np.stack(points, axis=1)),
                    "explained_variance": (("layer", "component"), np.stack(shares)),
                    "silhouette": (("prompt", "layer"), np.array(silhouettes).T),
                },
                coords={
                    "prompt": names,
                    "layer": list(layers),
                    "example": [e.id for e, kept in zip(entries.examples, usable, strict=True) if kept],
                    "component": np.arange(self.n_components),
                },
            ),
            units="coordinate",
            direction="points close together = similar activations",
            n_examples=int(usable.sum()),
            n_skipped=int((~usable).sum()),
            **entries.about(),
        )

    def _usable(self, examples: Sequence[Encoded]) -> np.ndarray:
        if isinstance(self.at, str):
            return np.ones(len(examples), dtype=bool)
        needed = self.at + 1 if self.at >= 0 else -self.at
        return np.array([len(example.input_ids) >= needed for example in examples])

    def _parts(self, entries: Entries, name: str) -> Iterator[Shard]:
        if name == PLAIN:
            return entries.plain("residual", positions_of=entries.prompts[0])
        return entries.prompted("residual", name)


def _gather(parts: Iterator[Shard], usable: np.ndarray, layers: slice) -> np.ndarray:
    """Return the vectors (X, layer, d) of the usable inputs and some layers."""
    kept, start = [], 0
    for part in parts:
        size = len(part["values"])
        kept.append(part["values"][usable[start : start + size]][:, layers])
        start += size
    return np.concatenate(kept)


def _silhouette(plain: np.ndarray, prompted: np.ndarray) -> float:
    half = _SILHOUETTE_POINTS // 2
    vectors = np.concatenate([plain[:half], prompted[:half]]).astype(np.float64)
    labels = np.repeat([0, 1], [len(plain[:half]), len(prompted[:half])])
    return float(silhouette_score(vectors, labels))
