"""Two writers of one folder at once: what is read is one writer's or is refused, and never a mixture."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptscope as ps
from promptscope.interventions.result import MEASURES
from recipes.common.computed import Computed
from tests.training.toy import toy_model


def after_file(monkeypatch: pytest.MonkeyPatch, number: int, write: Callable[[], object]) -> list[str]:
    """Let *write* happen once, after the file *number* (from 0) was put in its place; return the files' names."""
    replace, names = os.replace, []

    def replaced(old: Any, new: Any) -> None:
        replace(old, new)
        names.append(Path(new).name)
        if len(names) == number + 1:
            write()

    monkeypatch.setattr(os, "replace", replaced)
    return names


def prompt(name: str) -> ps.Prompt:
    made = ps.SoftPrompt(2, seed=ord(name)).bind(toy_model("gpt2"))
    made.provenance["name"] = name
    return made


def said_of_prompt(made: ps.Prompt) -> object:
    return made.provenance["name"], made.content_hash()


def probe_result(name: str) -> ps.ProbeResult:
    return ps.ProbeResult.from_examples(np.full((4, 2), ord(name), dtype=float), dims=("layer",), title=name)


def said_of_probe_result(made: ps.ProbeResult) -> object:
    return made.title, float(made.values[0])


def importance(name: str) -> ps.Importance:
    return ps.Importance(*(probe_result(name) for _ in range(len(MEASURES) + 1)))


def said_of_importance(made: ps.Importance) -> object:
    return [said_of_probe_result(one) for one in (made.loss, made.difference, made.ratio, made.kl, made.whole)]


KINDS: dict[str, tuple[Callable[[str], Any], Callable[[Path], Any], Callable[[Any], object], int]] = {
    "prompt": (prompt, ps.load_prompt, said_of_prompt, 2),
    "probe result": (probe_result, ps.load_result, said_of_probe_result, 2),
    "importance": (importance, ps.load_result, said_of_importance, 11),
}


@pytest.mark.parametrize(("kind", "number"), [(kind, n) for kind, (*_, files) in KINDS.items() for n in range(files)])
def test_a_folder_that_two_save_into_is_one_of_theirs_or_refused(
    kind: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, load, said, files = KINDS[kind]
    a, b = make("a"), make("b")
    names = after_file(monkeypatch, number, lambda: b.save(tmp_path / "folder"))
    a.save(tmp_path / "folder")
    assert len(names) == 2 * files
    try:
        found = said(load(tmp_path / "folder"))
    except ps.PromptscopeError as error:
        assert "since it was saved" in str(error) or "after it was saved" in str(error)
        assert number < files - 1
    else:
        assert found in (said(a), said(b))


def test_a_number_that_two_compute_for_one_name_is_each_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Computed(tmp_path)
    after_file(monkeypatch, 0, lambda: kept.get("loss", {"prompt": "b"}, lambda: 2.0))
    assert kept.get("loss", {"prompt": "a"}, lambda: 1.0) == 1.0
    assert kept.get("loss", {"prompt": "b"}, lambda: 3.0) == 2.0
