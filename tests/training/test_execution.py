"""How a run was executed: checkpointed layers, and the kernel that its checkpoint remembers."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import promptscope as ps
from promptscope.engine import can_prepack
from promptscope.training import loop
from tests.old_t5 import PACKED_T5, REASON
from tests.tiny_models import FAMILIES
from tests.training.toy import toy_model, toy_task


def train(family: str, prompt: ps.Prompt, out: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> ps.Run:
    config = ps.TrainConfig(**{"steps": 6, "batch_size": 4, "learning_rate": 0.05} | settings)
    return ps.train(toy_model(family, dtype), prompt, toy_task(), config, out, progress=False)


@pytest.mark.parametrize("make", [ps.SoftPrompt, ps.DeepPrompt])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_trains_the_same_prompt(family: str, make: type[ps.Prompt], tmp_path: Path) -> None:
    if family == "t5" and not PACKED_T5:
        pytest.skip(REASON)
    whole, checkpointed = (
        train(
            family,
            make(3),
            tmp_path / str(on),
            torch.float64,
            steps=3,
            gradient_checkpointing=on,
            batch_size=3,
            accumulation=2,
        )
        for on in (False, True)
    )
    columns = ["loss", "grad_norm", "prompt_norm"]
    tolerance = 1e-5 if family == "llama" else 1e-9
    pd.testing.assert_frame_equal(checkpointed.history[columns], whole.history[columns], rtol=tolerance)
    torch.testing.assert_close(
        checkpointed.prompt.state_dict(), whole.prompt.state_dict(), rtol=tolerance, atol=tolerance
    )
    assert checkpointed.config.gradient_checkpointing


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_on_the_plain_way_is_refused(family: str, tmp_path: Path) -> None:
    with ps.execution(packed=False), pytest.raises(ps.RunError, match=r"packed pass.*accumulation"):
        train(family, ps.SoftPrompt(3), tmp_path, gradient_checkpointing=True)


needs_onednn = pytest.mark.skipif(not can_prepack(torch.nn.Linear(1, 1)), reason="this PyTorch has no such operators")


@needs_onednn
@pytest.mark.parametrize("prepacked", [False, True])
def test_a_run_goes_on_with_the_kernel_that_it_began_with(
    prepacked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for when it goes on: with another kernel the last bits would be others."""
    with ps.execution(prepacked=prepacked):
        whole = train("gpt2", ps.SoftPrompt(3), tmp_path / "whole")
        real = loop.Loop.prepare
        monkeypatch.setattr(loop.Loop, "prepare", lambda self: real(self) if self.step < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train("gpt2", ps.SoftPrompt(3), tmp_path / "run", checkpoint_every=100)
        monkeypatch.undo()
    with ps.execution(prepacked=not prepacked):
        resumed = train("gpt2", ps.SoftPrompt(3), tmp_path / "run", checkpoint_every=100)
    assert whole.result["prepacked"] is resumed.result["prepacked"] is prepacked
    assert resumed.prompt.content_hash() == whole.prompt.content_hash()
    assert resumed.history["loss"].tolist() == whole.history["loss"].tolist()


@needs_onednn
def test_a_machine_without_the_kernel_goes_on_with_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ps.execution(prepacked=True):
        whole = train("gpt2", ps.SoftPrompt(3), tmp_path / "whole")
        monkeypatch.setattr(loop.Loop, "prepare", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train("gpt2", ps.SoftPrompt(3), tmp_path / "run")
        monkeypatch.undo()
    monkeypatch.setattr(loop, "can_prepack", lambda model: False)
    resumed = train("gpt2", ps.SoftPrompt(3), tmp_path / "run")
    assert resumed.result["prepacked"] is False
    assert resumed.history["loss"].tolist() == pytest.approx(whole.history["loss"].tolist(), rel=1e-4)


@needs_onednn
def test_losses_are_the_same_with_either_kernel(tmp_path: Path) -> None:
    """Twelve steps of AdamW."""
    runs = []
    for prepacked in (False, True):
        with ps.execution(prepacked=prepacked):
            runs.append(train("llama", ps.DeepPrompt(3), tmp_path / str(prepacked), steps=12))
    losses = [run.history["loss"].tolist() for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0] - 0.01
