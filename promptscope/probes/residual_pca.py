"""PCA of the residual stream at one position, prompted against unprompted."""

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
    """Principal components of the residual stream leaving each layer at one position of each input.

    The vectors of the plain pass and of all prompted ones are fitted together, layer by layer, so that what separates
    them is in the picture. `at`: `"answer"` (default), where the label is predicted; `"last"`, the last token; or a
    text position counted from 0 (negative: from the end); inputs that are shorter are skipped and counted.

    Values are coordinates, dimensions (prompt, layer, example, component), where the first "prompt" is `plain`. In
    `result.data` are `explained_variance` (layer, component) and `silhouette` (prompt, layer): how far the prompt's
    vectors and the plain ones lie apart in the full space (1 = two tight clusters, 0 = one; of at most 1,000 vectors).
    Probe a random prompt as well: it says how much of that any prompt does.

    Raises:
        ProbeError: no prompt, a prompt that is called `plain`, or fewer inputs than components.

    >>> ResidualPCA().name, ResidualPCA(at="last").name
    ('residual_pca', 'residual_pca_last')
    """

    title = "Residual stream, principal components"

    @checked()
    def __init__(self, at: int | str = "answer", n_components: int = 2, name: str | None = None) -> None:
        if isinstance(at, str) and at not in ("answer", "last"):
            raise ProbeError(f"at must be 'answer', 'last' or a position, not {at!r}")
        if n_components < 1:
            raise ProbeError(f"n_components must be at least 1, got {n_components}")
        self.at = at
        self.n_components = n_components
        self.name = name or "residual_pca" + ("" if at == "answer" else f"_{at}")
        self._site = "hook_resid_post"

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Read the decoder where it is the decoder that answers."""
        if PLAIN in prompts:
            raise ProbeError(f"the pass without a prompt is called {PLAIN!r} here: give that prompt another name")
        made = copy.copy(self)
        if model.family.kind == "seq2seq" and self.at == "answer":
            made._site = "decoder_blocks.{i}.hook_resid_post"
        return made

    def captures(self) -> dict[str, Capture]:
        """Keep one vector of each input and layer."""
        return {"residual": ResidualAt(self._site, self.at)}

    def check(self, examples: Sequence[Encoded], prompts: Sequence[str]) -> None:
        """Enough inputs must have the position."""
        usable = int(self._usable(examples).sum())
        if usable < max(self.n_components, 2):
            raise ProbeError(
                f"{self.n_components} components need at least {max(self.n_components, 2)} inputs with position "
                f"{self.at!r}; {usable} of {len(examples)} have it. Give more inputs, or another position"
            )

    def compute(self, entries: Entries) -> ProbeResult:
        """Read the layers in groups that fit into memory, fit each layer by itself."""
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
            direction="near = alike",
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
            return entries.plain("residual", beside=entries.prompts[0])
        return entries.prompted("residual", name)


def _gather(parts: Iterator[Shard], usable: np.ndarray, layers: slice) -> np.ndarray:
    """(X, layer, d) of the usable inputs and some layers."""
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
