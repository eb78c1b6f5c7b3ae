"""Train the prompts and measure them, one after the other; what is finished is not done again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import promptscope as ps
from promptscope.files import read_sealed, write_sealed
from recipes.causal_accounts.settings import INSTRUCTIONS, PARTS, Study
from recipes.common.computed import identity_of


@dataclass(frozen=True)
class Cell:
    """One prompt of the study."""

    task: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of its folders."""
        return f"{self.task.replace('/', '-')}_{self.kind}_{self.seed}"


def cells(study: Study) -> list[Cell]:
    """Return all prompts, seed by seed, so that an interrupted study is balanced over tasks and kinds."""
    return [Cell(task, kind, seed) for seed in range(study.seeds) for task in study.tasks for kind in study.kinds]


def _is_kept(path: Path, decided: object) -> bool:
    """Return whether the file *path* holds the same *decided*; a damaged file counts as different."""
    try:
        return bool(read_sealed(path, lambda found: False) == decided)
    except (OSError, ValueError):
        return False


def trained(model: ps.HookedModel, task: ps.Task, cell: Cell, study: Study, out: Path) -> ps.Run:
    """Train the prompt of *cell*, or return the run if it is finished."""
    new = ps.SoftPrompt if cell.kind == "v1" else ps.DeepPrompt
    prompt = new(study.length, init="vocab", seed=cell.seed) if cell.kind == "v1" else new(study.length, seed=cell.seed)
    config = ps.TrainConfig(
        steps=study.steps,
        batch_size=study.train_batch,
        learning_rate=study.rates[study.kinds.index(cell.kind)],
        schedule="linear",
        max_grad_norm=1.0,
        seed=cell.seed,
        snapshot_every=study.steps,
    )
    return ps.train(model, prompt, task, config, out=out / "runs" / cell.name, progress=False)


def measured(
    model: ps.HookedModel, tasks: Mapping[str, ps.Task], study: Study, out: Path
) -> Iterator[tuple[Cell, Path]]:
    """Yield each cell with the folder of its account, made now or before.

    One null is the shift of another task's prompt: the next task's, of the same kind and seed.
    """
    data = {name: [tasks[name].data_hash(split) for split in sorted(tasks[name].splits)] for name in study.tasks}
    about = {"study": asdict(study), "model": identity_of(model), "data": data, "parts": list(PARTS)}
    decided = json.loads(json.dumps(about))
    for cell in cells(study):
        folder = out / "accounts" / cell.name
        there = folder / "decided_by.json"
        if not _is_kept(there, decided):
            run = trained(model, tasks[cell.task], cell, study, out)
            names = list(study.tasks)
            other = names[(names.index(cell.task) + 1) % len(names)]
            others = {}
            if other != cell.task:
                elsewhere = trained(model, tasks[other], Cell(other, cell.kind, cell.seed), study, out)
                others["another task's prompt"] = elsewhere.prompt
            account = ps.explain(
                model, run.prompt, tasks[cell.task], name=cell.name, parts=PARTS,
                instruction=INSTRUCTIONS.get(cell.task), others=others, untrained=run.snapshots[0],
                settings=study.account,
            )  # fmt: skip
            account.save(folder)
            account.page().write(folder / "page.html")
            write_sealed(there, decided)  # last: a folder that has it is complete
            print(f"{cell.name}: {sum(part.seconds for part in account.parts.values()):.0f} s", flush=True)
        yield cell, folder
