"""The folder that the authors published: which run is where, and what could not be read."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from jaxtyping import Float

from promptscope.errors import PromptscopeError, RunError
from recipes.token_splitting.prompt_files import read_prompt_file
from recipes.token_splitting.result_files import (
    read_evaluation,
    read_masked_losses,
    read_one_losses,
    read_transfer_losses,
)
from recipes.token_splitting.source import AbsentError, Evaluation, MaskedLosses, TransferLosses

RUNS = Path("logs") / "explainable-soft-prompts"
N_RUNS = {"IMDb": 5, "emotion": 3, "mnli": 3}
WIDTH = 768
MASKED, EVALUATED = "*_token_drop_out_test.csv", "*_evaluation_with_k_7_test.csv"
TRANSFERRED = "val_losses_test.csv"


class Artifacts:
    """The published folder, a `Source`; a file is read when it is asked for, once.

    A damaged file is refused: `refused` maps it to the reason, and what needs it is absent.

    Raises:
        RunError: the folder is not the authors'.
    """

    datasets = tuple(N_RUNS)
    counts = ("2", "5", "10")
    others = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / RUNS).is_dir():
            raise RunError(
                f"{folder}: expected the authors' folder, with {RUNS.as_posix()}/<run>/checkpoints and cfgs inside; "
                "the recipe's README says where to get it"
            )
        self.refused: dict[Path, str] = {}
        self._known: dict[Path, Any] = {}
        self._run_of: dict[bytes, str] = {}
        if not self.runs():
            raise RunError(f"{folder / RUNS}: expected a folder with checkpoints for each run, got none: copy it again")

    def runs(self) -> list[str]:
        """Return the names of all runs in the folder."""
        names = (path.name for path in _visible((self.folder / RUNS).iterdir()) if path.is_dir())
        return sorted(names, key=lambda name: [int(n) if n.isdecimal() else n for n in re.split(r"(\d+)", name)])

    def runs_of(self, dataset: str, kind: str) -> Sequence[str]:
        """Return the runs of a class: *kind* is 2, 5, 10 (models), init, train (seeds) or e2, e10, e20 (epochs).

        The classes `init` and `train` have their first run in common with 5.
        """
        before = "" if dataset == "IMDb" else f"{dataset}_"
        numbers = range(N_RUNS[dataset])
        if kind in ("init", "train"):
            return [f"{before}5_model_0", *(f"{before}5_model_{kind}_{i}" for i in numbers[1:])]
        if kind.startswith("e"):
            return [f"{before}5_model_{i}_{kind}" for i in numbers]
        return [f"{before}{kind}_model_{i}" for i in numbers]

    def durations(self, dataset: str) -> dict[str, str]:
        """Return the durations of Table 6, in epochs."""
        return {"2": "e2", "5": "5", "10": "e10", "20": "e20"}

    def prompt(self, run: str, name: str = "soft_prompt") -> Float[np.ndarray, "k d"]:
        """Return a run's trained prompt, or its `init_soft_prompt`.

        Training started from standard normal numbers: if those of the other file are none, the two were exchanged.
        """
        prompt = self._prompt(run, name)
        initial = _if_there(lambda run: self._prompt(run, "init_soft_prompt"), run)
        if initial is not None and not 0.8 < float(np.square(initial).mean()) < 1.25:
            about = "init_soft_prompt.pt holds no standard normal numbers, from which training started"
            self._disagree(run, about, "it was changed, or exchanged with soft_prompt.pt")
        if name == "soft_prompt" and (first := self._run_of.setdefault(prompt.tobytes(), run)) != run:
            self._disagree(run, f"soft_prompt.pt is that of {first}", "one run is a copy of the other")
        return prompt

    def _prompt(self, run: str, name: str) -> Float[np.ndarray, "k d"]:
        prompt, k = self._file_of(run, f"{name}.pt", read_prompt_file), _length(run)
        self._check(run, f"{name}.pt", prompt.shape == (k, WIDTH), f"{k} x {WIDTH} numbers", prompt)
        differ = len(np.unique(prompt, axis=0)) == k
        self._check(run, f"{name}.pt", differ, f"{k} tokens of which no two are equal", prompt)
        return prompt

    def masked_losses(self, run: str) -> MaskedLosses:
        """Return the test losses of a run with each token masked."""
        found = self._masked_losses(run)
        self._check_that_files_agree(run)
        return found

    def evaluation(self, run: str) -> Evaluation:
        """Return a run's votes and test losses."""
        found = self._evaluation(run)
        self._check_that_files_agree(run)
        return found

    def transfer_losses(self, run: str) -> TransferLosses:
        """Return the test losses on all 25 models."""
        found = self._transfer_losses(run)
        self._check_that_files_agree(run)
        return found

    def _masked_losses(self, run: str) -> MaskedLosses:
        found = self._of_all_models(run, self._file_of(run, MASKED, read_masked_losses))
        fits = found.losses.shape[1] == _length(run)
        self._check(run, MASKED, fits, f"losses without each of {_length(run)} tokens", found.losses)
        return found

    def _evaluation(self, run: str) -> Evaluation:
        found = self._of_all_models(run, self._file_of(run, EVALUATED, read_evaluation))
        votes = found.cosine_vote
        self._check(run, EVALUATED, len(votes) == _length(run), f"votes on {_length(run)} tokens", votes)
        return found

    def _transfer_losses(self, run: str) -> TransferLosses:
        return self._file_of(run, TRANSFERRED, read_transfer_losses)

    def _check_that_files_agree(self, run: str) -> None:
        """Refuse the result files of a run if two disagree in a number that both have, or belong to another run.

        A file that is not there, or was refused, has nothing to compare with.
        """
        evaluated = _if_there(self._evaluation, run)
        masked, transfer = _if_there(self._masked_losses, run), _if_there(self._transfer_losses, run)
        if masked is not None and (first := self._run_of.setdefault(masked.losses.tobytes(), run)) != run:
            self._disagree(run, f"the losses of {MASKED} are those of {first}", "one run is a copy of the other")
        if evaluated is None:
            return
        if masked is not None:
            largest, needed_by = evaluated.largest_masked_loss, evaluated.needed_by
            if largest is not None and not np.allclose(largest, masked.losses.max(axis=0), rtol=1e-3):
                self._disagree(run, f"the largest losses of {MASKED} are not those in the row 'Loss' of {EVALUATED}")
            models = np.array(masked.models)[masked.losses.argmax(axis=0)]
            if needed_by is not None and not np.array_equal(needed_by, models):
                self._disagree(run, f"the models with them in {MASKED} are not the 'Loss assignment' of {EVALUATED}")
        if transfer is not None and not np.allclose(
            transfer.trained[list(evaluated.models)], evaluated.whole_loss, rtol=1e-3
        ):
            self._disagree(run, f"'val_loss' of {TRANSFERRED} is not the row 'One model loss' of {EVALUATED}")

    def _disagree(self, run: str, about: str, reason: str = "one of the files was changed") -> NoReturn:
        folder = self.folder / RUNS / run / "checkpoints"
        self.refused[folder] = f"{folder}: {about}: {reason}"
        raise AbsentError(f"the results of {run} were refused")

    def one_losses(self, dataset: str, folder: str = "1_models") -> Float[np.ndarray, "M"]:
        """Return the test losses of the 25 prompts that were each trained on one model."""
        return self._read(self.folder / "cfgs" / dataset.lower() / folder / "one_losses.csv", read_one_losses)

    def random_masked_losses(self, dataset: str, count: str) -> Float[np.ndarray, "n"]:
        """Raise AbsentError: the authors kept no losses of random masking."""
        raise AbsentError("the losses of random masking were not published")

    def _of_all_models(self, run: str, found: Any) -> Any:
        """Return *found* if it has as many models as the run's name says."""
        n = re.search(r"(\d+)_model", run)
        if n and len(found.models) != int(n[1]):
            folder = self.folder / RUNS / run
            self.refused[folder] = f"{folder}: expected results for {n[1]} models, got {list(found.models)}"
            raise AbsentError(f"the results of {run} were refused")
        return found

    def _check(self, run: str, pattern: str, holds: bool, expected: str, got: np.ndarray) -> None:
        """Refuse a run's file that was read, unless its content *holds* what is expected."""
        if not holds:
            (path,) = sorted(_visible((self.folder / RUNS / run / "checkpoints").glob(pattern)))
            self.refused[path] = f"{path}: expected {expected}, got others (shape {got.shape})"
            raise AbsentError(f"{path.relative_to(self.folder)} was refused")

    def _file_of(self, run: str, pattern: str, read: Callable[[Path], Any]) -> Any:
        folder = self.folder / RUNS / run
        self._check_folders(folder / "checkpoints")
        if not folder.is_dir():
            raise AbsentError(f"the run {run} is not in the folder")
        found = sorted(_visible((folder / "checkpoints").glob(pattern)))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            self.refused[folder] = f"{folder}: expected one file {pattern}, got {names}: which of them is the run's?"
            raise AbsentError(f"{run} has several files {pattern}: {names}")
        return self._read(found[0] if found else folder / "checkpoints" / pattern, read)

    def _read(self, path: Path, read: Callable[[Path], Any]) -> Any:
        name = path.relative_to(self.folder)
        if path in self.refused:
            raise AbsentError(f"{name} was refused")
        if not path.is_file():
            self._check_folders(path.parent)
            if path.is_symlink() or path.exists():
                self._refuse_kind(path, "a file")
            raise AbsentError(f"{name} is not in the folder")
        if path not in self._known:
            try:
                self._known[path] = read(path)
            except PromptscopeError as error:
                self.refused[path] = str(error)
            # Files of other people can be broken in ways nobody thought of: this one is named, the others are read.
            except Exception as error:
                self.refused[path] = f"{path}: cannot be read ({type(error).__name__}: {error})"
            if path in self.refused:
                raise AbsentError(f"{name} was refused")
        return self._known[path]

    def _check_folders(self, path: Path) -> None:
        """Refuse a file, or a link to nothing, that has the place of the folder *path* or of one that holds it."""
        for place in (path, *path.parents):
            if place == self.folder:
                return
            if place.is_symlink() or place.exists():
                if not place.is_dir():
                    self._refuse_kind(place, "a folder")
                return

    def _refuse_kind(self, path: Path, expected: str) -> NoReturn:
        got = "a link to nothing" if path.is_symlink() else "something else"
        self.refused[path] = f"{path}: expected {expected}, got {got}"
        raise AbsentError(f"{path.relative_to(self.folder)} was refused")


Found = TypeVar("Found")


def _if_there(read: Callable[[str], Found], run: str) -> Found | None:
    try:
        return read(run)
    except AbsentError:
        return None


def _visible(paths: Iterable[Path]) -> Iterator[Path]:
    """Leave out files that systems and editors add to folders: `._NAME`, `.ipynb_checkpoints`."""
    return (path for path in paths if not path.name.startswith("."))


def _length(run: str) -> int:
    """Return how many tokens a run's prompt has: 16, or 2 for the short prompts (section 4.5)."""
    return 2 if run.endswith("_sp") else 16
