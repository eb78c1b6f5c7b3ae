"""Every entry point on every family under every circumstance: the same numbers, or an error that is written here."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

import promptscope as ps
from tests.invariance.conditions import AS_EDITED, NO_DIFFERENCE, Condition, hf_model
from tests.invariance.entry_points import ENTRY_POINTS, Call
from tests.tiny_models import FAMILIES
from tests.tiny_tokenizer import tiny_tokenizer

# (entry point, family) -> what it is refused with, whatever the circumstance.
REFUSED = {
    ("generate", "bert"): "masked",
    ("logit_lens", "bert"): "needs a causal model",
    ("logit_lens", "t5"): "needs a causal model",
    ("patchscope", "bert"): "needs a causal model",
    ("patchscope", "t5"): "needs a causal model",
}
QUICK = [(entry, "gpt_neox") for entry in ("train", "probe")]  # the family whose bridge holds copies of weights


@cache
def loaded(family: str, edited: bool = False) -> ps.HookedModel:
    return ps.load_model(hf_model(family, edited), tokenizer=tiny_tokenizer())


@cache
def expected(entry: str, family: str, edited: bool) -> np.ndarray:
    """Compute on a model that knows nothing of hooks, threads or edits: its weights were so when it was loaded."""
    return ENTRY_POINTS[entry](Call(loaded(family, edited), Path(mkdtemp())))


def cells(conditions: list[Condition]) -> list[object]:
    return [
        pytest.param(entry, family, condition, marks=() if (entry, family) in QUICK else pytest.mark.slow)
        for entry in ENTRY_POINTS
        for family in FAMILIES
        for condition in conditions
    ]


def check(entry: str, family: str, condition: Condition, edited: bool, folder: Path) -> None:
    model = working(family)
    if (entry, family) in REFUSED:
        with pytest.raises(ps.PromptscopeError, match=REFUSED[entry, family]):
            condition(ENTRY_POINTS[entry], Call(model, folder))
        return
    found = condition(ENTRY_POINTS[entry], Call(model, folder))
    wanted = expected(entry, family, edited)
    if found.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=5e-4, atol=2e-5)
    else:
        np.testing.assert_array_equal(found, wanted)
    assert not model.active_hooks()


@cache
def working(family: str) -> ps.HookedModel:
    """The model that all circumstances meet, one after the other: none may leave a trace."""
    return ps.load_model(hf_model(family, False), tokenizer=tiny_tokenizer())


@pytest.mark.parametrize(("entry", "family", "condition"), cells(AS_EDITED))
def test_hooks_and_edits_act_everywhere(entry: str, family: str, condition: Condition, tmp_path: Path) -> None:
    check(entry, family, condition, True, tmp_path)


@pytest.mark.parametrize(("entry", "family", "condition"), cells(NO_DIFFERENCE))
def test_nothing_else_makes_a_difference(entry: str, family: str, condition: Condition, tmp_path: Path) -> None:
    check(entry, family, condition, False, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_the_edit_does_make_a_difference(entry: str) -> None:
    """Else the first test above would pass where nothing acts."""
    for family in FAMILIES:
        if (entry, family) not in REFUSED:
            clean, edited = expected(entry, family, False), expected(entry, family, True)
            same = (
                np.allclose(clean, edited, rtol=5e-4, atol=2e-5) if clean.dtype.kind == "f" else (clean == edited).all()
            )
            assert not same or entry == "predict"  # one label of two often stays
