"""PCA of prompts: are the vectors of one task, or of one language, close to each other?"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr
from sklearn.metrics import pairwise_distances, silhouette_samples, silhouette_score

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.result import ProbeResult
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from promptscope.statistics import principal_components

Role = Literal["both", "keys", "values"]


@checked()
def prompt_pca(
    prompts: Mapping[str, Prompt],
    tasks: Mapping[str, str] | None = None,
    languages: Mapping[str, str] | None = None,
    role: Role = "both",
    part: str = "self",
    n_components: int = 2,
    n_permutations: int = 200,
    seed: int = 0,
) -> ProbeResult:
    """Fit one PCA per layer to the vectors of all prompts, and score how far they cluster by task and by language.

    Values are coordinates, dimensions (prompt, layer, position, component); input-level prompts have one layer, -1.
    `result.data` also has `explained_variance` (layer, component), the components' shares of the variance, and these
    scores for `*` = `task` and `language`, over the full vectors with Euclidean distance:

    - `silhouette_*` (layer): mean silhouette, in [-1, 1]; 1 = tight clusters, 0 = none, below 0 = vectors are nearer to
      another group;
    - `silhouette_*_null`: its mean when labels are permuted among the prompts (the k vectors of a prompt keep one
      label);
    - `silhouette_*_p`: `(1 + #{permuted >= observed}) / (1 + n_permutations)`;
    - `silhouette_*_of_prompt` (prompt, layer): mean over one prompt's own vectors.

    Args:
        prompts: name -> bound prompt, all of one kind, length and model.
        tasks: prompt -> task; by default the task that the prompt was trained on, otherwise its name.
        languages: prompt -> language; without it there are no scores by language.
        role: for untied deep prompts: `"keys"`, `"values"`, or `"both"` concatenated.
        part: for encoder-decoders: the attention module whose keys and values are used.

    Raises:
        ProbeError: fewer than two prompts, unbound ones, or prompts of different kinds, lengths, layers or models.

    Reference: *Toward the explainable soft prompts*, section 4.2, Figures 1, 2, 9-11.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> names = ["sa-0", "nli-1", "sa-2"]
    >>> prompts = {name: ps.SoftPrompt(length=4, seed=int(name[-1])).bind(model) for name in names}
    >>> result = prompt_pca(prompts, tasks={name: name[:-2] for name in prompts})
    >>> result.dims, bool(abs(result.data["silhouette_task"]).max() < 0.1)  # nothing was trained: no clusters
    (('prompt', 'layer', 'position', 'component'), True)
    """
    vectors, layers = _vectors(prompts, role, part)  # (prompt, layer, k, d)
    n, _, k, _ = vectors.shape
    points, shares = zip(
        *(principal_components(vectors[:, i].reshape(n * k, -1), n_components) for i in range(len(layers))), strict=True
    )
    coordinates = np.stack(points, axis=1).reshape(n, k, len(layers), n_components).transpose(0, 2, 1, 3)
    names = list(prompts)
    labels = {"task": [(tasks or {}).get(name) or str(prompts[name].provenance.get("task", name)) for name in names]}
    if languages is not None:
        missing = [name for name in names if name not in languages]
        if missing:
            raise ProbeError(f"languages has no entry for the task {missing[0]!r}, only for {list(languages)}")
        labels["language"] = [languages[name] for name in names]
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "values": (("prompt", "layer", "position", "component"), coordinates),
        "explained_variance": (("layer", "component"), np.stack(shares)),
    }
    for label, of_prompts in labels.items():
        scores = np.array(
            [_clustering(vectors[:, i], of_prompts, n_permutations, seed) for i in range(len(layers))]
        )  # (layer, 3)
        for name, column in zip(("", "_null", "_p"), scores.T, strict=True):
            variables[f"silhouette_{label}{name}"] = (("layer",), column)
        own = np.stack([_of_each(vectors[:, i], of_prompts) for i in range(len(layers))], axis=1)
        variables[f"silhouette_{label}_of_prompt"] = (("prompt", "layer"), own)
    coords: dict[str, object] = {
        "prompt": names,
        "layer": list(layers),
        "position": np.arange(k),
        "component": np.arange(n_components),
    }
    coords |= {label: ("prompt", of_prompts) for label, of_prompts in labels.items()}
    first = next(iter(prompts.values()))
    return ProbeResult(
        name="prompt_pca",
        data=xr.Dataset(variables, coords=coords),
        title="Prompts, principal components",
        units="coordinate",
        direction="points close together = similar vectors",
        provenance={
            "model": {key: first.provenance.get(key) for key in ("model", "embedding_hash")},
            "prompts": {name: {"prompt": repr(p), "content_hash": p.content_hash()} for name, p in prompts.items()},
        },
    )


def _vectors(prompts: Mapping[str, Prompt], role: Role, part: str) -> tuple[np.ndarray, Sequence[int]]:
    if len(prompts) < 2:
        raise ProbeError(f"prompt_pca compares at least two prompts, got {list(prompts)}")
    unbound = [name for name, prompt in prompts.items() if not prompt.is_bound]
    if unbound:
        raise ProbeError(
            f"prompt {unbound[0]!r} is unbound and has no vectors yet: bind it to a model, load or train it first"
        )
    for what, read in _MUST_AGREE.items():
        found = {name: read(prompt) for name, prompt in prompts.items()}
        if len(set(found.values())) > 1:
            raise ProbeError(f"prompt_pca needs prompts with the same {what}, got {found}")
    arrays = [_of_one(prompt, role, part) for prompt in prompts.values()]
    if len({array.shape for array in arrays}) > 1:
        raise ProbeError(
            "prompt_pca needs prompts with the same layers and width, got shapes (layer, "
            f"k, d): {[array.shape for array in arrays]}"
        )
    first = next(iter(prompts.values()))
    layers = (first.layers or range(len(arrays[0]))) if isinstance(first, DeepPrompt) else (-1,)
    return np.stack(arrays), tuple(layers)


_MUST_AGREE = {
    "kinds": lambda prompt: type(prompt).__name__ + (" tied" if getattr(prompt, "tied", False) else ""),
    "lengths": lambda prompt: prompt.length,
    "layers": lambda prompt: getattr(prompt, "layers", None),
    "models (by embedding hash)": lambda prompt: prompt.provenance.get("embedding_hash"),
}


def _of_one(prompt: Prompt, role: Role, part: str) -> np.ndarray:
    """Return the vectors of one prompt: (layer, k, d)."""
    if isinstance(prompt, SoftPrompt):
        return prompt.vectors().detach().float().cpu().numpy()[None]
    assert isinstance(prompt, DeepPrompt)
    keys, values = (tensor.detach().float().cpu().numpy() for tensor in (prompt.keys(part), prompt.values(part)))
    if prompt.tied or role == "keys":
        return keys
    return values if role == "values" else np.concatenate([keys, values], axis=-1)


def _clustering(
    vectors: np.ndarray, of_prompts: Sequence[str], n_permutations: int, seed: int
) -> tuple[float, float, float]:
    """Return the silhouette of vectors (prompt, k, d) by the prompts' labels, its mean under permutation, and p."""
    n, k, _ = vectors.shape
    if not 1 < len(set(of_prompts)) < n * k:
        return np.nan, np.nan, np.nan
    distances = pairwise_distances(vectors.reshape(n * k, -1).astype(np.float64))
    codes = np.unique(np.array(of_prompts), return_inverse=True)[1]
    generator = np.random.default_rng(seed)

    def score(codes: np.ndarray) -> float:
        return float(silhouette_score(distances, np.repeat(codes, k), metric="precomputed"))

    observed = score(codes)
    null = np.array([score(generator.permutation(codes)) for _ in range(n_permutations)])
    p_value = (1 + int(np.sum(null >= observed - 1e-12))) / (1 + n_permutations)
    return observed, float(null.mean()) if n_permutations else np.nan, p_value


def _of_each(vectors: np.ndarray, of_prompts: Sequence[str]) -> np.ndarray:
    """Return the mean silhouette of the vectors of each prompt, from vectors (prompt, k, d)."""
    n, k, _ = vectors.shape
    if not 1 < len(set(of_prompts)) < n * k:
        return np.full(n, np.nan)
    points = silhouette_samples(vectors.reshape(n * k, -1).astype(np.float64), np.repeat(list(of_prompts), k))
    return np.asarray(points.reshape(n, k).mean(axis=1))
