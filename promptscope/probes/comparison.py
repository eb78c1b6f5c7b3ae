"""One prompt compared with another over the same inputs."""

from dataclasses import replace

from promptscope.errors import ProbeError, nearest
from promptscope.probes.agreement import check_lengths
from promptscope.probes.result import ProbeResult
from promptscope.statistics import paired_permutation_test


def compare_prompts(result: ProbeResult, first: str, second: str) -> ProbeResult:
    """Return `first - second`: mean, interval and p-value of a paired permutation test. See `ProbeResult.compare`."""
    known = [str(name) for name in result.data["prompt"].values] if "prompt" in result.dims else []
    for name in (first, second):
        if name not in known:
            raise ProbeError(f"result {result.name!r} has no prompt {name!r}, only {known}.{nearest(name, known)}")
    check_lengths(result, [first, second])
    if "per_example" not in result.data:
        raise ProbeError(
            f"result {result.name!r} has no number for each input (`per_example`), which a paired "
            "comparison needs: compute it with ProbeResult.from_examples"
        )
    dims = tuple(dim for dim in result.dims if dim != "prompt")
    a, b = (result.data["per_example"].sel(prompt=name).transpose("example", *dims).values for name in (first, second))
    difference = ProbeResult.from_examples(
        a - b,
        dims,
        {dim: result.data[dim].values.tolist() for dim in (*dims, "example")},
        name=f"{result.name}_difference",
        title=f"{result.title}: {first} − {second}",
        units=result.units,
        direction=f"positive = larger under {first}",
        n_skipped=result.n_skipped,
        provenance=result.provenance,
    )
    _, p_value = paired_permutation_test(a, b)
    return replace(difference, data=difference.data.assign(p_value=(dims, p_value)))
