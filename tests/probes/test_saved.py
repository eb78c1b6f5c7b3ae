"""Every result can be saved, and comes back equal; a damaged folder is refused by the file's name."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
import xarray as xr

import promptscope as ps
from promptscope.files import read_sealed, write_sealed
from promptscope.probes import Saved
from promptscope.probes.saved import KINDS
from promptscope.readings import DescribePrompt, Nulls


def same(a: Any, b: Any) -> None:
    """Assert that two values are equal in every number, type and label."""
    assert type(a) is type(b)
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    elif isinstance(a, xr.Dataset):
        assert a.identical(b)
    elif isinstance(a, go.Figure):
        assert json.loads(a.to_json()) == json.loads(b.to_json())
    elif isinstance(a, ps.Prompt):
        assert a.content_hash() == b.content_hash()
    elif isinstance(a, Mapping):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    elif dataclasses.is_dataclass(a):
        for one in dataclasses.fields(a):
            same(getattr(a, one.name), getattr(b, one.name))
    else:
        assert a == b or (a != a and b != b)


def results() -> dict[str, Any]:
    """Return one result of each kind, measured on the embedded model."""
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    prompt, other = ps.SoftPrompt(2, init="vocab").bind(model), ps.SoftPrompt(2, init="vocab", seed=1).bind(model)
    few: dict[str, Any] = {"limit": 4, "batch_size": 4}
    of: tuple[Any, ...] = (model, prompt, task)
    effect = ps.causal.effect(*of, **few)
    order = ps.causal.attribution_patch(*of, **few)
    answers = ps.account.Part("answers", "Answers", "Right?", ("Yes.",), {"scores": pd.DataFrame({"a": [0.1, None]})},
                              {"order": order}, numbers={"accuracy": (0.5, 0.25, float("nan"))})  # fmt: skip
    account = ps.account.Account("mine", {"answers": answers}, {"model": "m", "layers": (1, 2)})
    words = {"the words": ps.causal.text_prompt(model, "The continent")}
    lens = ps.readings.read_logit_lens(model, prompt, n=2, label_words=["Asia"], nulls=Nulls(random=1))
    describe = DescribePrompt(placeholder=" it")
    return {
        "ProbeResult": order,
        "Importance": ps.importance(*of, limit=2, progress=False),
        "PromptEffect": effect,
        "Answers": effect.plain,
        "Inputs": effect.inputs,
        "Carriers": ps.causal.carriers(*of, order, n_random=1, **few),
        "SkillNeurons": ps.causal.skill_neurons(*of, n_random=1, limit=12),
        "WordsComparison": ps.causal.compare_with_words(*of, words, layers=[1], top=2, **few),
        "LogitLens": lens,
        "NearestTokens": ps.readings.read_nearest_tokens(model, prompt, n=2, nulls=Nulls(random=1)),
        "Patchscope": ps.readings.read_patchscope(
            model, prompt, describe=describe, nulls=Nulls(random=1), max_new_tokens=2, source_layers=[1],
            target_layers=[2], scores={"length": lambda text: float(len(text))},
        ),
        "Account": account,
        "Comparison": ps.account.compare([account, dataclasses.replace(account, name="yours")]),
        "PromptComparison": ps.compare_prompts({"a": prompt, "b": other, "c": np.eye(3, model.shape.d_model)}),
        "Shifts": ps.causal.Shifts((0, 1), torch.randn(2, 3), torch.randn(2, 1, 3), {"fit": "train"}),
    }  # fmt: skip


@pytest.fixture(scope="module")
def every() -> dict[str, Any]:
    return results()


def test_there_is_one_of_every_kind(every: dict[str, Any]) -> None:
    kinds = {one.__name__ for one in Saved.__subclasses__() if one.__module__.startswith("promptscope")}
    assert kinds | {"ProbeResult"} == set(every)
    assert kinds <= set(KINDS)


def test_it_comes_back_equal(every: dict[str, Any], tmp_path: Path) -> None:
    for kind, result in every.items():
        result.save(tmp_path / kind)
        again = ps.load_result(tmp_path / kind)
        same(again, result)
        again.save(tmp_path / "again" / kind)
        same(ps.load_result(tmp_path / "again" / kind), result)


def test_every_file_is_checked(every: dict[str, Any], tmp_path: Path) -> None:
    for kind in ("Importance", "LogitLens", "Account", "PromptComparison"):
        every[kind].save(tmp_path / kind)
        # Of an account there are three more, which are for people: what is loaded does not come from them.
        named = [
            file
            for file in (tmp_path / kind).rglob("*")
            if file.is_file() and file.name not in ("account.json", "numbers.csv", "answers-order.csv")
        ]
        for file in named:
            content = file.read_bytes()
            file.write_bytes(content[:-2] + b"x\n")
            with pytest.raises(ps.ProbeError, match=str(tmp_path / kind)):
                ps.load_result(tmp_path / kind)
            file.write_bytes(content)
        same(ps.load_result(tmp_path / kind), every[kind])


def test_a_changed_text_is_noticed(every: dict[str, Any], tmp_path: Path) -> None:
    """Arrays and tables have checksums in it; it has one of itself."""
    for kind, result in every.items():
        result.save(tmp_path / kind)
        path = tmp_path / kind / "result.json"
        text = path.read_text()
        at = next(i for i in range(len(text) // 2, len(text)) if text[i] in "12345678")
        path.write_text(text[:at] + "9" + text[at + 1 :])
        with pytest.raises(ps.ProbeError, match="agree with its checksum"):
            ps.load_result(tmp_path / kind)


def test_a_kind_that_is_not_ours_is_not_imported(every: dict[str, Any], tmp_path: Path) -> None:
    every["Answers"].save(tmp_path)
    about = read_sealed(tmp_path / "result.json")
    write_sealed(tmp_path / "result.json", about | {"kind": "os"})
    with pytest.raises(ps.ProbeError, match="damaged"):
        ps.load_result(tmp_path)


@dataclasses.dataclass(frozen=True)
class Odd(Saved):
    table: pd.DataFrame
    more: Any


def test_tables_keep_types_texts_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "Odd", __name__)
    table = pd.DataFrame({
        "odd": ["a" * 200_000, "a\rb\r\nc\n", "a\0b", "\u2028\x0c"],
        "text": ["NA", "a,b\n\"c\"", "nan", ""], "number": [0.1, 1 / 3, float("nan"), float("inf")],
        "whole": np.array([1, 2, 3, 2**62]), "small": np.array([1, 2, 3, 4], dtype=np.float32) / 3,
        "flag": [True, False, True, True], "mixed": [None, "x", 3, 1.5], 7: [1, 2, 3, 4],
    })  # fmt: skip
    for value in (table, table[:0], table.set_index("whole"), table.set_index(["text", "whole"]), table[::2]):
        odd = Odd(value, {("a", 1): [None, (np.float32(0.1), "x")], "n": np.arange(3), "texts": np.array(["a", "bc"])})
        odd.save(tmp_path)
        again = ps.load_result(tmp_path)
        pd.testing.assert_frame_equal(again.table, value)
        same(again.more["n"], odd.more["n"])
        same(again.more["texts"], odd.more["texts"])
        assert again.more["a", 1] == [None, (float(np.float32(0.1)), "x")]


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(ps.ProbeError, match="more holds a set"):
        Odd(pd.DataFrame(), {1, 2}).save(tmp_path)
