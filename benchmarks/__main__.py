"""The command line: `python -m benchmarks`."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptscope.files import read_json, write_json

if TYPE_CHECKING:
    from benchmarks.results import Results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases, or show stored results; return 1 if anything that was compared is not equal."""
    options = _parser().parse_args(arguments)
    if options.command in ("table", "summary"):
        from benchmarks.report import overview, page

        sessions = _read(options.results)
        print(overview(sessions) if options.command == "summary" else "\n\n".join(map(page, sessions)))
        return 0
    if options.command == "figure":
        return _figure(options.results, options.out)
    return _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny models, a minute: checks equality, not speed")
    parser.add_argument(
        "--cases", nargs="+", default=[], metavar="PART", help="run only cases whose names contain one of these"
    )
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--rounds", type=int, help="timed rounds for each case (default 7; with --quick 3)")
    parser.add_argument("--device", default="cpu", help="device to measure on: cpu or cuda")
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="start no case that is expected to end after this many minutes"
    )
    parser.add_argument("--no-proofs", action="store_true", help="leave the equality proofs out")
    parser.add_argument("--mkl-control", action="store_true", help="afterwards run all cases again with MKL on AVX-512")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark.json"), help="file for the results (default %(default)s)"
    )
    commands = parser.add_subparsers(dest="command")
    table = commands.add_parser("table", help="stored results as Markdown")
    brief = commands.add_parser("summary", help="stored results as Markdown in brief, one line for each case")
    figure = commands.add_parser("figure", help="stored results as a figure")
    for command in (table, brief, figure):
        command.add_argument(
            "results",
            type=Path,
            nargs="+",
            help="result files of one machine; if several have the same case, the newest is used",
        )
    figure.add_argument(
        "--out", type=Path, default=Path("speed.html"), help="file for the figure: .html, .json or an image"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    if not options.device.startswith("cuda"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it when it is imported
    from benchmarks.cases import CASES, CUDA, QUICK, choose
    from benchmarks.control import run_control
    from benchmarks.report import case_table, proof_line, verdict
    from benchmarks.results import CaseResult, Proof, Results
    from benchmarks.session import pin, run_session

    try:
        every = CUDA if options.device.startswith("cuda") else CASES
        cases = choose(QUICK if options.quick else every, options.cases)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    pin(options.device)
    rounds = options.rounds or (3 if options.quick else 7)

    def tell(results: Results, new: Proof | CaseResult) -> None:
        write_json(options.out, results.to_json())
        print(proof_line(new) if isinstance(new, Proof) else case_table(new), end="\n\n", flush=True)

    real = "smollm2-135m-shape" if options.device.startswith("cuda") else "smollm2-135m"
    proof_model = None if options.no_proofs else "tiny-llama" if options.quick else real
    results = run_session(cases, rounds, options.device, proof_model, tell, options.budget)
    if options.mkl_control:
        print("Control: MKL on AVX-512 for everybody\n", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            results.control = run_control(_again(options, rounds), Path(folder))
        if isinstance(results.control, str):
            print(results.control)
    write_json(options.out, results.to_json())
    print(verdict(results))
    return 1 if results.failures else 0


def _again(options: argparse.Namespace, rounds: int) -> list[str]:
    arguments = ["--rounds", str(rounds), "--device", options.device, "--no-proofs"]
    arguments += ["--quick"] if options.quick else []
    return arguments + (["--cases", *options.cases] if options.cases else [])


def _figure(paths: Sequence[Path], out: Path) -> int:
    from benchmarks.figure import ratio_figure

    figure = ratio_figure(_read(paths))
    if out.suffix == ".html":
        figure.write_html(out, include_plotlyjs=True)
    elif out.suffix == ".json":
        figure.write_json(out)
    else:
        figure.write_image(out, scale=2)  # needs the package kaleido
    print(out)
    return 0


def _read(paths: Sequence[Path]) -> "list[Results]":
    from benchmarks.results import Results, newest

    return newest(Results.from_json(read_json(path)) for path in paths)


if __name__ == "__main__":
    sys.exit(main())
