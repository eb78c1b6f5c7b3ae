"""Answers that a decoder may not write whole are refused before anything is written."""

from pathlib import Path

import pytest

import promptscope as ps


def test_an_answer_longer_than_the_decoders_limit_is_refused(tmp_path: Path) -> None:
    model = ps.load_model("embedded-seq2seq")
    rows = [{"text": "a", "label": "b"}, {"text": "c", "label": " ".join(["Ouagadougou"] * 20)}]
    task = ps.Task.from_records(rows, metric="exact_match")
    config = ps.TrainConfig(steps=1, batch_size=2, max_length=12)
    with pytest.raises(ps.TaskError, match="answers are not truncated"):
        ps.train(model, ps.SoftPrompt(2), task, config, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    longer = ps.TrainConfig(steps=1, batch_size=2, max_length=400)
    assert len(ps.train(model, ps.SoftPrompt(2), task, longer, out=tmp_path / "run", progress=False).history) == 1
