"""Results as a Markdown table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.results import CaseResult, Measurement, Proof, Results
from benchmarks.scale import scale_lines
from benchmarks.summary import markdown, milliseconds, spread_text, summary

COLUMNS = ["variant", "ms", "ratio", "differences", "GFLOP needed / done", "of GEMM peak", "peak MB", "growth"]


def page(results: Results) -> str:
    """Return everything: machine, proofs, one line per case, one table per case, and the control."""
    proofs = "\n".join(map(proof_line, results.proofs))
    parts = [_machine(results), *filter(None, [proofs]), summary(results), *map(case_table, results.cases)]
    if isinstance(results.control, Results):
        parts += ["## Control: MKL on AVX-512 for everybody", page(results.control)]
    elif results.control is not None:
        parts.append(f"Control with MKL on AVX-512: {results.control}")
    parts.append(verdict(results))
    return "\n\n".join(parts)


def overview(sessions: Sequence[Results]) -> str:
    """Return sessions on one machine in brief: machines and versions, proofs, one line per case."""
    cases = sorted((case for results in sessions for case in results.cases), key=lambda case: case.case)
    control = next((results.control for results in sessions if isinstance(results.control, Results)), None)
    proofs = list({proof.name: proof for results in sessions for proof in results.proofs}.values())
    together = replace(sessions[0], cases=cases, control=control, proofs=proofs)
    listed = "\n".join(map(proof_line, proofs))
    parts = [_machines(sessions), *filter(None, [listed]), summary(together), verdict(together)]
    return "\n\n".join(parts)


def case_table(case: CaseResult) -> str:
    """Return a case as a table under its name."""
    if case.not_run is not None:
        return f"### {case.case}\n\n{'**FAILED** ' if case.failed else ''}not run: {case.not_run}"
    rows = [_row(m, case.limits) for m in case.measurements]
    about = "".join(f" · {name.replace('_', ' ')} {value:g}" for name, value in case.about.items())
    first = case.measurements[0]
    tokens = f"{first.tokens} tokens needed, {first.padded_tokens} padded{about}"
    table = f"### {case.case}\n\n{tokens}\n\n{markdown(COLUMNS, rows)}"
    return f"{table}\n\n{scale_lines(case)}" if case.case.startswith("scale/") else table


def proof_line(proof: Proof) -> str:
    """Return a proof as a list item."""
    return f"- {'**FAILED** ' if proof.failed else ''}{proof.name}: {_differences(proof.differences, proof.limits)}"


def verdict(results: Results) -> str:
    """Return a sentence that says whether all results are equal, and if not, which ratios do not count."""
    if not results.failures:
        return "All variants are equal within their limits."
    return "FAILED, so that their ratios do not count: " + "; ".join(results.failures)


def _machine(results: Results) -> str:
    return f"{_setting(results)}. {_moment(results)}"


def _machines(sessions: Sequence[Results]) -> str:
    """Return a paragraph for each machine and set of versions, followed by a list of the sessions measured on it."""
    settings = dict.fromkeys(map(_setting, sessions))
    together = {setting: [_moment(one) for one in sessions if _setting(one) == setting] for setting in settings}
    return "\n\n".join(f"{setting}.\n\n" + "\n".join(f"- {one}" for one in ones) for setting, ones in together.items())


def _setting(results: Results) -> str:
    about = results.hardware
    machine = about.get("gpu") or about["cpu"]
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    threads = f"{about['threads']} thread{'' if about['threads'] == 1 else 's'}"
    return f"{machine} ({about['device']}), {threads}, {about['clock']}; {versions}"


def _moment(results: Results) -> str:
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in results.gemm_gflops.items())
    load = ", ".join(f"{x:.1f}" for x in results.hardware["load_average"])
    when = results.date[:16].replace("T", " ")
    rounds = f"{results.rounds} round{'' if results.rounds == 1 else 's'}"
    said = f"{when}, {rounds}, load average {load} at the start. GEMM in GFLOP/s: {rates}. {_prepacking(results)}"
    return said.strip()


def _prepacking(results: Results) -> str:
    costs = [
        f"{model} {cost['prepack_seconds']:.2g} s, {cost.get('prepack_mb', 0):.0f} MB"
        for model, cost in results.prepacking.items()
        if cost
    ]
    return f"Weights packed once: {'; '.join(costs)}. " if costs else ""


def _row(m: Measurement, limits: Mapping[str, float]) -> list[str]:
    ratio = "1" if m.ratio is None else f"{spread_text(m.ratio)}{' **FAILED**' if m.failed else ''}"
    return [
        m.variant,
        milliseconds(m),
        ratio,
        _differences(m.differences, limits),
        f"{m.gflop_needed:.3g} / {'not counted' if m.gflop_done is None else format(m.gflop_done, '.3g')}",
        f"{100 * m.share_of_peak:.0f} %",
        "" if m.peak_mb is None else f"{m.peak_mb:.0f}",
        "" if m.growth is None else f"x{spread_text(m.growth)} time",
    ]


def _differences(found: Mapping[str, float], limits: Mapping[str, float]) -> str:
    return "; ".join(f"{name} {value:.1e} (limit {limits.get(name, 0):.0e})" for name, value in found.items())
