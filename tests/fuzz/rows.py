"""Calls whose arguments are of the right type and cannot be meant."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import promptscope as ps
from tests.fuzz.calls import model, prompt, task

IDS = torch.tensor([[5, 6, 7], [8, 9, 10]])
EMPTY = Path(tempfile.mkdtemp())
RECORDS = [{"text": "a", "label": "b"}]


def _with(function: Callable[..., Any], base: dict[str, Any], **changes: list[Any]) -> dict[str, Any]:
    return {
        f"{function.__qualname__} {name}={str(value)[:40]}": (function, {**base, name: value})
        for name, values in changes.items()
        for value in values
    }


def _rows() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    one = {"model": model(), "task": task(), "prompt": prompt(), "limit": 2, "progress": False}
    read = {"prompt": prompt(), "model": model()}
    generate = {"model": model(), "prompt": None, "input_ids": IDS}
    hole = np.array([1.0, np.nan, 2.0])
    six, five = np.arange(6.0), np.arange(5.0)
    square = np.abs(np.subtract.outer(five, five))
    s = ps.statistics
    rows = {}
    for function in (ps.evaluate, ps.predict, ps.score_labels):
        rows |= _with(
            function,
            one,
            split=["tset", "", "Test"],
            batch_size=[0, -1],
            limit=[0, -3],
            max_length=[0, -1, 1],
            hooks=[[("blocks.0.nothing", print)], [("x",)], ["x"], print],
        )
    rows |= _with(ps.evaluate, one, padding=["Right", "lft", None, "RIGHT", ""], max_new_tokens=[0, -1])
    rows |= _with(
        ps.generate,
        generate,
        input_ids=["a text", ["a", "text"], IDS[0], IDS.float(), IDS[:, :0], IDS + 10**6, -IDS, [[1, 2]]],
        attention_mask=[
            torch.ones(2, 2).long(),
            torch.ones(1, 3).long(),
            torch.zeros(2, 3).long(),
            2 * torch.ones(2, 3).long(),
            torch.ones(2, 3),
        ],
        max_new_tokens=[-1, 10**6],
        stop_ids=["</s>", 3, [2.5], ["a"]],
        prompt=["folder", prompt().embedding],
    )
    rows |= _with(
        model().logits,
        {"input_ids": IDS},
        input_ids=["a text", IDS[0], IDS.float(), IDS[:, :0], IDS + 10**6, -IDS, None],
        attention_mask=[torch.ones(2, 2).long(), torch.ones(6).long(), "right"],
        via=["hook", None, "Auto"],
        prompt=["folder", 3],
        hooks=[[("blocks.0.nothing", print)], [("x",)], "x"],
    )
    rows |= _with(
        ps.load_model, {"model": "embedded-causal"}, model=["embedded-casual", "/nowhere", "", "\0", "a" * 9000]
    )
    rows |= _with(
        ps.load_model, {"model": "embedded-causal"}, device=["meta", "nowhere", 3.5], dtype=["float99", "int8", 3]
    )
    rows |= _with(
        ps.load_task,
        {"name_or_path": "continent_en"},
        name_or_path=["", "captal_en", "/nowhere", "\0", "a" * 9000, pd.DataFrame(RECORDS), RECORDS],
        template=["singel", 3, ("{text}",), ("{text}", "no label"), ("{text", "{label}")],
        verbalizer=["label", 3, {}, {"a": ""}, {"africa": "x"}],
        metric=["acuracy", 3, [], ["accuracy", 3]],
        max_length=[0, -1, 2.5],
        ties=["Drop", None],
    )
    rows |= _with(
        ps.Task.from_records,
        {"records": RECORDS},
        records=[
            None, 3, [], {}, [1], ["a"], [{}], [{"text": "a"}], [{"label": "b"}], [{"text": b"a", "label": "b"}],
            [{"text": "a", "label": b"b"}], [{"text": "a", "label": {"x": 1}}], [{"text": ["a"], "label": "b"}],
            [{"text": "a", "label": "\ud800"}], [{"text": "a", "references": "b"}], [{"text": "a", "references": []}],
            [{"id": 1, "text": "a", "label": "b"}] * 2, b"bytes", {"train": 3}, EMPTY, EMPTY / "none.csv", "\0",
            pd.DataFrame([["x", "y", "z"]], columns=["text", "text", "label"]), float("nan"),
        ],
    )  # fmt: skip
    rows |= _with(
        ps.Template,
        {"source": "{text}", "target": "{label}"},
        source=["{", "{label}", "{a.b}", "{mask}{mask}", "{0:3}"],
        target=["", "{text}", "{label}{label}", "x{label}", "{label}x"],
        specials=[{"boss": "a"}, {"bos": 3}, "bos"],
    )
    rows |= _with(
        ps.Verbalizer, {"words": {"a": "b"}}, words=[{}, {"a": ""}, {"a": 3}, {b"a": "b"}, {"a": "x", "b": "x"}]
    )
    rows |= _with(
        task().with_splits,
        {"test": 0.1},
        test=[0.0, 1.0, -0.1, 2.0, float("inf"), float("nan"), 1e-9 - 1],
        validation=[1.5, -1.0],
        source=["tset", ""],
    )
    rows |= _with(
        ps.TrainConfig,
        {"steps": 3},
        steps=[0, -1, 2.5, "3", True, None],
        batch_size=[0, 16.0, None, "16"],
        accumulation=[0, 1.5],
        learning_rate=[0, -1.0, float("nan"), float("inf"), "1e-3", None],
        optimizer=["sgd", None, "AdamW"],
        betas=[(0.9,), (0.9, 1.0), 0.9, (0.9, -1), None, "ab"],
        weight_decay=[-1, float("inf"), "0"],
        schedule=["Linear", None],
        warmup_steps=[-1, 1.5],
        max_grad_norm=[0, "1"],
        padding=["Left", None],
        patience=[1],
        seed=[-1, 2**32, 0.5, "0"],
        epochs=[3],
    )
    rows |= _with(ps.TrainConfig, {}, epochs=[0, -1, float("inf"), float("nan"), 1e300, "3"])
    for kind in (ps.SoftPrompt, ps.DeepPrompt):
        rows |= _with(
            kind,
            {"length": 3},
            length=[0, -1, 2.5, "3", None, True],
            init=["unifrom", 3, "vocab:x"],
            seed=[-1, 2**70, "0"],
        )
    rows |= _with(ps.DeepPrompt, {}, layers=[[0.5], "01", 3, ["a"]], parts=["self", [3]], tied=["yes", 1])
    rows |= {
        f"bind {name}": (made.bind, {"model": model()})
        for name, made in {
            "too long": ps.SoftPrompt(10**5),
            "no such layer": ps.DeepPrompt(2, layers=[99]),
            "no layer": ps.DeepPrompt(2, layers=[]),
            "no such part": ps.DeepPrompt(2, parts=["cross"]),
        }.items()
    }
    rows |= _with(ps.load_prompt, {"folder": EMPTY}, folder=[EMPTY, "/nowhere", "", "\0", 3, "a" * 9000])
    rows |= _with(ps.load_result, {"folder": EMPTY}, folder=[EMPTY, "/nowhere", "", "\0", 3])

    rows |= _with(ps.Run, {"folder": EMPTY}, folder=[EMPTY, "/nowhere", "", "\0", 3])
    rows |= _with(
        ps.probe,
        {
            "model": model(),
            "probes": "attention_kl",
            "prompts": prompt(),
            "task": task(),
            "limit": 2,
            "progress": False,
        },
        probes=["attention_lk", [], [3], 3, ["attention_kl", "attention_kl"], ""],
        prompts=[{"": 3}, "folder", {}, [prompt()]],
        task=["continent_en", None, [], [1]],
        split=["tset"],
        batch_size=[0, 2.5],
        limit=[0],
        store=[3],
    )
    for function in (ps.importance, ps.shapley):
        base = {"prompt": prompt(), "models": model(), "task": task(), "limit": 2}
        rows |= _with(function, base, split=["tset"], limit=[0], batch_size=[0], models=["", [], {}, 3], task=["x"])
    rows |= _with(ps.readings.read_logit_lens, read, n=[0], label_words=["Paris", [3], [""], [b"x"]], nulls=[3])
    rows |= _with(ps.readings.read_nearest_tokens, read, n=[0], nulls=[3, "random"])
    rows |= _with(
        ps.readings.read_patchscope,
        read,
        positions=[[99], [0.5], "0", []],
        source_layers=[[99], "0"],
        target_layers=[[99]],
        max_new_tokens=[0, -1],
        batch_size=[0],
        entry=["embedding"],
        scores=[{"a": 3}],
    )
    for name in ("zero", "mean", "remove", "cut"):
        base = {"prompt": prompt(), "tokens": 0}
        rows |= _with(getattr(ps.interventions, name), base, tokens=[99, -1, [0, 99], "0", 0.5, [0.5], None, [True]])
    rows |= _with(
        ps.interventions.mix, {"prompt": prompt(), "other": prompt(), "tokens": 0}, other=["x", ps.DeepPrompt(2)]
    )
    rows |= _with(
        s.paired_permutation_test,
        {"a": five, "b": five},
        a=[hole, six, five.astype(object), [1.0]],
        n_permutations=[0, -1, 2.5],
    )
    rows |= _with(
        s.silhouette_test, {"distances": square, "labels": list("aabbb")}, labels=["aabbb", list("ab"), list("aaaaa")]
    )
    rows |= _with(
        s.mantel_test,
        {"x": square, "y": square},
        y=[square[:4, :4], square * np.nan],
        pairs=["twice"],
        strata=["aabbb", [0]],
    )
    rows |= _with(s.mean_interval, {"values": five}, level=[0.0, 1.0, 95.0, -1.0], n_resamples=[0])
    rows |= _with(s.bootstrap_interval, {"estimate": lambda w: w @ five, "n_examples": 5}, n_examples=[0], level=[2.0])
    rows |= _with(
        s.nearest_vectors, {"queries": square, "table": square}, n=[0, 99], metric=["cos"], exclude=[np.array([1])]
    )
    rows |= _with(
        s.hypergeometric_overlap, {"n": 5, "first": 2, "second": 2, "common": 1}, common=[3, -1], first=[9, -1]
    )
    rows |= _with(s.effective_rank, {"x": square}, x=[square[None], np.full_like(square, np.inf), [["a"]]])
    rows |= _with(s.layer_quarters, {"n_layers": 4}, n_layers=[0], n_groups=[0])
    rows |= _with(
        ps.causal.effect,
        {"model": model(), "prompt": prompt(), "task": task(), "limit": 2},
        split=["tset"],
        positions=["mine"],
    )
    rows |= _with(ps.causal.text_prompt, {"model": model(), "text": "w"}, text=[""])
    rows |= _with(ps.causal.hard_prompt, {"model": model(), "ids": [1]}, ids=[[], [10**9], [-1], ["a"], "a"])
    rows |= _with(
        ps.explain,
        {"model": model(), "prompt": prompt(), "task": task(), "parts": ["answers"]},
        parts=[["anwers"], "answers", [], [3]],
    )
    grid = {"a": ps.GridRun(ps.SoftPrompt(2), task(), ps.TrainConfig(steps=1))}
    rows |= _with(
        ps.train_grid,
        {"model": model(), "runs": grid, "progress": False},
        runs=[{"a/b": grid["a"]}, {"": grid["a"]}, {"a": grid["a"], "b": grid["a"]}, {"a": 3}, [grid["a"]]],
        rows_per_pass=[0, -1],
    )
    rows |= _with(ps.Report, {"title": "a"}, title=[3, None])
    rows |= _with(ps.ActivationStore, {"folder": EMPTY}, shard_size=[0, -1, 2.5], folder=[3, None])
    return rows


ROWS = _rows()
