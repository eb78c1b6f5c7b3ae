"""Prompts from everywhere on one page: what is read, what is refused, numbers by hand, clusters that were planted."""

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import silhouette_score
from typer.testing import CliRunner

import promptscope as ps
from promptscope.cli.app import app
from promptscope.comparison import read_vectors
from promptscope.comparison.tables import cluster_table, prompt_table, similarity_table
from promptscope.comparison.vectors import vectors_of
from tests.old_safetensors import save_or_skip
from tests.report.test_report import Page

NOISE = np.random.default_rng(0)
WIDTH = ps.load_model("embedded-causal").shape.d_model


def planted(spread: float = 0.3) -> dict[str, np.ndarray]:
    """Three groups of four prompts: the vectors of a group lie around one centre."""
    centres = {group: NOISE.normal(size=16) for group in "abc"}
    return {f"{group}/{i}": centres[group] + spread * NOISE.normal(size=(3, 16)) for group in "abc" for i in range(4)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prompt in each format, as wide as the model, and files that are damaged in various ways."""
    model = ps.load_model("embedded-causal")
    x = NOISE.normal(size=(4, WIDTH)).astype(np.float32)
    np.save(tmp_path / "one.npy", x.astype(np.float16))
    np.savez(tmp_path / "two.npz", first=x, second=2 * x, step=np.array(3))
    torch.save({"weight": torch.tensor(x)}, tmp_path / "three.pt")
    save_file({"prompt": torch.tensor(x).bfloat16()}, tmp_path / "four.safetensors")
    ps.SoftPrompt(4, seed=1).bind(model).save(tmp_path / "ours" / "soft")
    ps.DeepPrompt(4, seed=1).bind(model).save(tmp_path / "ours" / "deep")
    ps.write_peft(model, ps.SoftPrompt(4, seed=2).bind(model), tmp_path / "peft")
    np.save(tmp_path / "stack.npy", np.stack([x, x + 1]))
    np.save(tmp_path / "bad-ids.npy", np.arange(4))
    np.save(tmp_path / "bad-nan.npy", np.full((2, 3), np.nan))
    np.save(tmp_path / "bad-zeros.npy", np.zeros((2, WIDTH)))
    np.save(tmp_path / "bad-pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    torch.save({"weight": torch.tensor(x)}, tmp_path / "bad-bits.pt")
    content = bytearray((tmp_path / "bad-bits.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bad-bits.pt").write_bytes(bytes(content))
    (tmp_path / "bad-cut.safetensors").write_bytes((tmp_path / "four.safetensors").read_bytes()[:100])
    (tmp_path / "README.md").write_text("no prompt")
    return tmp_path


def test_every_format_is_read_and_what_is_damaged_is_named(folder: Path) -> None:
    found, left_out = read_vectors(folder)
    shapes = {one.name: one.x.shape for one in found}
    plain = ("four.safetensors", "one.npy", "ours/soft", "peft", "stack.npy[0]", "stack.npy[1]", "three.pt")
    assert {shapes[name] for name in (*plain, "two.npz:first", "two.npz:second")} == {(4, WIDTH)}
    assert shapes["ours/deep"][0] == 4 and shapes["ours/deep"][1] > WIDTH
    assert len(shapes) == 10
    assert set(left_out) == {
        *("bad-ids.npy", "bad-nan.npy", "bad-zeros.npy", "bad-pickle.npy", "bad-bits.pt", "bad-cut.safetensors")
    }
    assert "To compare token ids, give their embeddings" in left_out["bad-ids.npy"]
    assert "positions [0, 1]" in left_out["bad-zeros.npy"]
    assert "damaged" in left_out["bad-bits.pt"] and "damaged" in left_out["bad-cut.safetensors"]


def test_links_that_lead_back_are_followed_once_and_no_file_is_passed_over(tmp_path: Path) -> None:
    """A link to the folder above was followed forty levels deep; a suffix in capitals was skipped without a word."""
    x = NOISE.normal(size=(4, 8))
    np.save(tmp_path / "one.npy", x)
    (tmp_path / "one.npy").rename(tmp_path / "ONE.NPY")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "back").symlink_to(tmp_path, target_is_directory=True)
    torch.save({"run": {"prompts": [torch.tensor(x), 2 * torch.tensor(x)]}, "lr": 0.1}, inner / "nested.pt")
    torch.save({"lr": 0.1}, inner / "numbers.pt")
    found, left_out = read_vectors(tmp_path)
    assert [one.name for one in found] == [
        "ONE.NPY", "inner/nested.pt:run.prompts.0", "inner/nested.pt:run.prompts.1"
    ]  # fmt: skip
    assert left_out == {"inner/numbers.pt": "expected at least one array (tokens, width), found only lr: float"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.full((2, 4), 1e200), "is 1e[+]200, and must be between .* for norms in float32"),
        (np.full((2, 4), 1e-200), "largest number .* is 1e-200"),
        (torch.full((2, 4), 1e30), "largest number .* is 1e[+]30"),
        (torch.empty(2, 4, device="meta"), "meta device, which holds no numbers"),
        (torch.ones(2, 4).to_sparse(), "in a sparse layout: give tensor.to_dense"),
    ],
)
def test_numbers_that_float32_cannot_hold_and_tensors_without_numbers(value: object, said: str) -> None:
    with pytest.raises(ps.PromptError, match=said):
        vectors_of({"p": value})


def zipped(path: Path, *members: np.ndarray) -> None:
    """Write an archive whose members all have one name."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for member in members:
            content = io.BytesIO()
            np.save(content, member)
            archive.writestr("x.npy", content.getvalue())


def adapter(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model = ps.load_model("embedded-causal")
    ps.write_peft(model, ps.SoftPrompt(4).bind(model), folder)
    (path,) = folder.glob("*.safetensors")
    save_or_skip({"prompt_embeddings": change(load_file(path)["prompt_embeddings"])}, path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: os.mkfifo(folder / "x.npy"), "expected a file"),  # reading it would wait for ever
        (lambda folder: (folder / "x.npy").symlink_to(folder / "x.npy"), "got a link to nothing"),
        (lambda folder: zipped(folder / "x.npz", np.eye(3), 2 * np.eye(3)), "two of its members have the same name"),
        (lambda folder: adapter(folder / "x", lambda x: x.to(torch.complex64)), "is of torch.complex64"),
        (lambda folder: adapter(folder / "x", lambda x: x.int()), "is of torch.int32"),
        (lambda folder: adapter(folder / "x", lambda x: x * 1e30), "for norms in float32"),
        (
            lambda folder: np.savez_compressed(folder / "x.npz", a=np.zeros((4, 6_500_000), np.float32)),
            "would become 104,000",
        ),
    ],
)
def test_what_would_be_read_as_other_numbers_or_never_is_left_out(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path)
    np.save(tmp_path / "whole.npy", NOISE.normal(size=(4, 8)))
    found, left_out = read_vectors(tmp_path)
    assert [one.name for one in found] == ["whole.npy"]
    assert said in " ".join(left_out.values())


def test_a_file_name_that_is_no_text_is_on_the_page(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", NOISE.normal(size=(4, 8)))
    os.rename(tmp_path / "x.npy", os.fsencode(tmp_path) + b"/\xff.npy")
    result = CliRunner().invoke(app, ["compare-prompts", str(tmp_path), "--out", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    assert "\ufffd.npy" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_page_without_its_ending_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", NOISE.normal(size=(4, 8)))
    said = CliRunner().invoke(app, ["compare-prompts", str(tmp_path), "--out", str(tmp_path / "page")])
    assert said.exit_code == 2 and "must end in .html" in said.output
    assert not (tmp_path / "page").exists()


def test_numbers_are_the_six_similarities_norms_and_ranks() -> None:
    p, q, short = NOISE.normal(size=(4, 8)), NOISE.normal(size=(4, 8)), NOISE.normal(size=(2, 8))
    prompts = vectors_of({"p": p, "q": q, "short": short})
    names = {name: name for name in ("p", "q", "short")}
    table = similarity_table(prompts, names).set_index(["prompt", "other"])
    expected = ps.statistics.prompt_similarities(*(x.astype(np.float32) for x in (p, q)))
    for name, number in vars(expected).items():
        assert table.loc[("p", "q"), name] == pytest.approx(number)
    other = table.loc[("p", "short")]
    assert np.isnan(other["pairwise_cosine"]) and np.isnan(other["pairwise_distance"])
    unit_p, unit_short = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (p, short))
    assert other["per_token_cosine"] == pytest.approx((unit_p @ unit_short.T).mean(), abs=1e-6)
    lines = prompt_table(prompts, names).set_index("prompt")
    assert lines.loc["p", "norm_max"] == pytest.approx(np.linalg.norm(p, axis=1).max(), rel=1e-6)
    assert lines.loc["p", "effective_rank"] == pytest.approx(ps.statistics.effective_rank(p), rel=1e-5)
    cosines = unit_p @ unit_p.T
    assert lines.loc["p", "inner_cosine"] == pytest.approx(cosines[np.triu_indices(4, 1)].mean(), abs=1e-6)
    line = vectors_of({"line": np.outer([1.0, 2.0, -1.0], np.ones(5))})
    assert prompt_table(line, {"line": "line"})["effective_rank"].item() == pytest.approx(1.0)


@pytest.mark.parametrize("spread", [0.3, 1e3])
def test_planted_groups_are_found_and_others_are_not(spread: float) -> None:
    found = ps.compare_prompts(planted(spread))
    clusters = found.tables["clusters"].set_index("labels")
    groups = found.tables["groups"].set_index("of")
    prompts = found.prompts
    x, labels = np.concatenate([one.x for one in prompts]), [one.name for one in prompts for _ in one.x]
    silhouette = silhouette_score(x.astype(np.float64), labels, metric="cosine")
    assert clusters.loc["vectors by prompt", "silhouette"] == pytest.approx(silhouette, abs=1e-6)
    p = clusters.loc["prompts by group", "p_value"]
    gap = groups.loc["same group", "per_token_cosine"] - groups.loc["other group", "per_token_cosine"]
    assert (p <= 0.01 and gap > 0.5) if spread < 1 else (p > 0.05 and abs(gap) < 0.2)


def test_labels_of_whole_prompts_are_dealt() -> None:
    """Four prompts in two groups of many equal vectors: three ways to pair them, so p cannot be small."""
    prompts = vectors_of(
        {name: np.eye(4)[[i] * 50] + 0.01 * NOISE.normal(size=(50, 4)) for i, name in enumerate("abcd")}
    )
    table = cluster_table(prompts, {"a": "x", "b": "x", "c": "y", "d": "y"}).set_index("labels")
    assert table.loc["prompts by group", "n"] == 4
    assert table.loc["prompts by group", "p_value"] > 0.2
    assert table.loc["vectors by prompt", "p_value"] < 0.01


def test_prompts_of_two_widths_are_not_compared_with_each_other() -> None:
    found = ps.compare_prompts({f"{d}-{i}": NOISE.normal(size=(3, d)) for d in (8, 12) for i in range(2)})
    assert len(found.tables["similarities"]) == 2
    assert {"PCA (width 8)", "t-SNE (width 12)"} <= set(found.figures)


def test_a_model_adds_neighbours_and_transfer(folder: Path) -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    (found,) = [ps.compare_prompts(folder, model=model, tasks={"continents": task}, limit=10)]
    neighbours, transfer = found.tables["neighbours"], found.tables["transfer"].set_index("prompt")
    soft = ps.load_prompt(folder / "ours" / "soft")
    assert isinstance(soft, ps.SoftPrompt)
    expected = ps.readings.read_nearest_tokens(model, soft, 5, nulls=ps.readings.Nulls(random=0)).table
    mine = neighbours[neighbours["prompt"] == "ours/soft"].set_index("position")
    assert mine.loc[0, "cosine"] == pytest.approx(
        1 - expected.query("kind == 'prompt' and position == 0")["distance"].min()
    )
    scores = ps.evaluate(model, soft, task, limit=10, progress=False)
    assert transfer.loc["ours/soft", ["score", "loss"]].tolist() == pytest.approx([scores["accuracy"], scores["loss"]])
    array = ps.evaluate(model, soft, task, limit=10, progress=False)
    foreign = ps.compare_prompts({"x": soft.vectors()}, model=model, tasks={"continents": task}, limit=10)
    assert foreign.tables["transfer"]["loss"].item() == pytest.approx(array["loss"])
    frozen = ps.evaluate(model, None, task, limit=10, progress=False)
    assert set(transfer["frozen_loss"].round(6)) == {round(frozen["loss"], 6)}
    narrow = ps.compare_prompts({"narrow": np.ones((2, 3)), "fits": np.ones((2, WIDTH))}, model=model)
    assert narrow.tables["left_out"]["prompt"].tolist() == ["narrow, with the model"]
    assert set(narrow.tables["neighbours"]["prompt"]) == {"fits"}


def test_the_command_needs_no_model(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page" / "prompts.html"
    result = CliRunner().invoke(app, ["compare-prompts", str(folder), "--out", str(out), "--group-by", "^([a-z]+)"])
    assert result.exit_code == 1, result.output  # some files are damaged
    assert "left out: bad-bits.pt: " in result.stderr and "Traceback" not in result.output
    page = Page(out.read_text(encoding="utf-8"))
    assert "bad-bits.pt" in page.text and "Silhouette" in page.text
    assert len(page.figures()) == 3  # the deep prompt is alone in its width, with too few vectors for a picture
    table = pd.read_csv(out.with_suffix("") / "prompts.csv").set_index("prompt")
    assert table.loc["ours/soft", "group"] == "ours"
    assert table.loc["two.npz:first", "norm_mean"] * 2 == pytest.approx(table.loc["two.npz:second", "norm_mean"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--group-by", "x(.*"], "must be a regular expression"),
        (["--group-by", "one"], "has no group"),
        (["--group-by", "(one)"], "does not match the names"),
        (["--task", "continent_en"], "can be scored with a model only"),
    ],
)
def test_what_the_command_cannot_do_is_said(folder: Path, options: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["compare-prompts", str(folder), "--out", str(folder / "x.html"), *options])
    assert result.exit_code == 2
    assert said in result.output


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ps.PromptError, match="no prompt below"):
        ps.compare_prompts(tmp_path)
    with pytest.raises(ps.PromptError, match="is not a folder"):
        ps.compare_prompts(tmp_path / "missing")
    with pytest.raises(ps.PromptError, match=r"'ids' must be a prompt.*int64"):
        ps.compare_prompts({"ids": np.arange(3)})
    with pytest.raises(ps.PromptError, match=r"'text' must be a prompt.*str"):
        ps.compare_prompts({"text": "a b"})
    with pytest.raises(ps.PromptError, match="has no vectors yet"):
        ps.compare_prompts({"fresh": ps.SoftPrompt(3)})
    with pytest.raises(ps.PromptError, match="needs at least one prompt"):
        ps.compare_prompts({})
    with pytest.raises(ps.ArgumentError, match="groups must name prompts that are given"):
        ps.compare_prompts({"a": [[1.0, 2.0]]}, groups={"b": "x"})


def test_prompts_that_others_trained(shared_data: Path) -> None:
    """T5-small and BERT prompts in fp16; facts: median norms of 36 and 5.7, and related tasks lie together."""
    found, left_out = read_vectors(shared_data / "prompt_transferability")
    assert not left_out
    norms = {
        width: [np.median(np.linalg.norm(one.x, axis=1)) for one in found if one.x.shape[1] == width]
        for width in (512, 768)
    }
    assert np.median(norms[512]) == pytest.approx(36, abs=4) and np.median(norms[768]) == pytest.approx(5.7, abs=0.6)
