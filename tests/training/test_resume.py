"""A run that is killed anywhere and started again ends with the same bits as one that was not."""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import promptscope as ps
from promptscope import files
from promptscope.prompts import Prompt
from promptscope.training import loop
from tests.training.toy import toy_model, toy_task

CONFIG = ps.TrainConfig(
    steps=7,
    batch_size=4,
    learning_rate=0.05,
    schedule="cosine",
    warmup_steps=2,
    max_grad_norm=0.05,
    evaluate_every=3,
    evaluate_limit=4,
    snapshot_every=3,
    checkpoint_every=2,
    seed=1,
)
EVALUATE = sys.modules["promptscope.inference.evaluate"]  # the package's attribute of this name is the function
MAKE: dict[str, Callable[[], Prompt]] = {"v1": lambda: ps.SoftPrompt(3), "v2": lambda: ps.DeepPrompt(3, seed=2)}


def run(folder: Path, family: str = "gpt2", prompt: Prompt | None = None, config: ps.TrainConfig = CONFIG) -> ps.Run:
    return ps.train(toy_model(family), prompt or MAKE["v2"](), toy_task(), config, out=folder, progress=False)


def outcome(folder: Path) -> dict[str, Any]:
    """Return every byte of a run that must not depend on how often it was interrupted."""
    prompts = {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "prompts").rglob("*.*"))}
    history = pd.read_csv(folder / "history.csv", dtype=str, keep_default_na=False).drop(columns="seconds")
    return {"prompts": prompts, "history": history.to_csv(), "config": (folder / "config.json").read_bytes()}


def dies_of(what: Callable[[], object]) -> int:
    """Run *what* in a forked child; return the signal that killed it, 0 if it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            what()
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def killing(function: Callable[..., Any], number: int, after: bool = False) -> Callable[..., Any]:
    """Return *function*, but call *number* (from 0) kills the process, before or after it does its work."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number + 1 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls == number + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12; the child runs alone


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_single_write(tmp_path: Path, after: bool) -> None:
    """Attempt n is killed before or after it puts its n-th file in place; each goes on from the one before."""
    whole = run(tmp_path / "whole")
    deaths = 0
    for number in range(200):

        def attempt(number: int = number) -> None:
            files.os.replace = killing(os.replace, number, after)
            run(tmp_path / "killed")

        if dies_of(attempt) == 0:
            break
        deaths += 1
        if not (tmp_path / "killed" / "result.json").is_file():
            with pytest.raises(ps.RunError, match=r"not finished|is not a run"):
                ps.load_run(tmp_path / "killed")
    assert deaths > 5
    assert run(tmp_path / "killed").config == CONFIG
    assert outcome(tmp_path / "killed") == outcome(whole.folder)
    assert not list((tmp_path / "killed").rglob(".*.tmp"))


@pytest.mark.parametrize(("family", "kind"), [("llama", "v1"), ("t5", "v2")])
def test_killed_in_steps_and_in_evaluation(tmp_path: Path, family: str, kind: str) -> None:
    whole = run(tmp_path / "whole", family, MAKE[kind]())
    # Before the first checkpoint of a step, between checkpoints, in the first evaluation, in the second.
    plan = [
        (loop, "accumulate_gradient", 0),
        (loop, "accumulate_gradient", 1),
        (loop, "accumulate_gradient", 3),
        (EVALUATE, "target_losses", 0),
        (EVALUATE, "target_losses", 1),
        (loop.Loop, "_snapshot", 1),
    ]
    for owner, name, number in plan:

        def attempt(owner: Any = owner, name: str = name, number: int = number) -> None:
            setattr(owner, name, killing(getattr(owner, name), number))
            run(tmp_path / "killed", family, MAKE[kind]())

        assert dies_of(attempt) == signal.SIGKILL
    run(tmp_path / "killed", family, MAKE[kind]())
    assert outcome(tmp_path / "killed") == outcome(whole.folder)


@pytest.mark.parametrize("checkpoint_every", [2, 100])
@pytest.mark.parametrize("same_object", [True, False])
def test_interrupted_in_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint_every: int, same_object: bool
) -> None:
    """The prompt that was being trained may be handed in again, half trained as it is, or a new one of its seed."""
    config = ps.TrainConfig(**CONFIG.to_json() | {"checkpoint_every": checkpoint_every, "betas": (0.9, 0.999)})
    whole = run(tmp_path / "whole", config=config)
    prompt, steps, real = MAKE["v2"](), 0, loop.accumulate_gradient

    def interrupted(*args: Any) -> float:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(loop, "accumulate_gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", prompt=prompt, config=config)
    again = prompt if same_object else MAKE["v2"]()
    run(tmp_path / "run", prompt=again, config=config)
    assert steps == 6 + (3 if checkpoint_every == 2 else 7)
    assert outcome(tmp_path / "run") == outcome(whole.folder)
    assert again.content_hash() == whole.prompt.content_hash()


def test_a_finished_run_is_returned_without_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path / "run")
    before = outcome(first.folder)
    monkeypatch.setattr(loop.Loop, "__init__", None)  # any step would fail
    fresh = MAKE["v2"]()
    second = run(tmp_path / "run", prompt=fresh)
    assert fresh.content_hash() == second.prompt.content_hash() == first.prompt.content_hash()
    run(tmp_path / "run", prompt=fresh)  # trained by now, and still known
    run(tmp_path / "run", prompt=second.prompt)
    assert outcome(first.folder) == before
    trained_on = fresh.copy()
    with pytest.raises(ps.RunError, match=r"prompt\.settings"):
        run(tmp_path / "run", prompt=ps.DeepPrompt(4))
    trained_on.provenance.pop("start")
    with pytest.raises(ps.RunError, match=r"prompt\.start"):
        run(tmp_path / "run", prompt=trained_on)


def test_training_goes_on_in_another_folder_from_a_trained_prompt(tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    prompt = first.prompt
    second = run(tmp_path / "second", prompt=prompt)
    assert second.prompt.content_hash() == prompt.content_hash() != first.prompt.content_hash()
    assert second.description["prompt"]["start"] == first.prompt.content_hash()
    assert second.history["loss"].iloc[0] < first.history["loss"].iloc[0]


def test_going_on_leaves_the_callers_random_numbers_alone(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "result.json").unlink()  # interrupted just before its end
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_a_run_without_a_folder_is_gone_with_its_process() -> None:
    code = (
        "import promptscope as ps; from tests.training.toy import *; "
        "config = ps.TrainConfig(steps=1); "
        "print(ps.train(toy_model('gpt2'), ps.SoftPrompt(2), toy_task(), config, progress=False).folder)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    folder = ended.stdout.strip().splitlines()[-1]
    assert "promptscope-run-" in folder and not Path(folder).exists()


def test_what_cannot_be_trained_is_said_before_the_first_step(tmp_path: Path) -> None:
    frozen = ps.SoftPrompt(3).bind(toy_model("gpt2")).requires_grad_(False)
    with pytest.raises(ps.PromptError, match=r"nothing to train.*requires_grad is False"):
        run(tmp_path / "r", prompt=frozen)
    assert not (tmp_path / "r").exists()
