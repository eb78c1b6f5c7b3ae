"""Several models in turn: in memory, or loaded when they are needed and let go."""

import gc
import weakref

import pytest

import promptscope as ps
from promptscope.errors import ModelError
from promptscope.inference.model_set import ModelSet
from tests.training.toy import toy_model

NAMES = ["embedded-masked-0", "embedded-masked-1"]


@pytest.mark.slow
def test_models_given_by_name_are_loaded_in_turn_and_let_go() -> None:
    alive: list[weakref.ref] = []

    def work(model: ps.HookedModel) -> tuple[str, int]:
        still = sum(one() is not None for one in alive)
        alive.append(weakref.ref(model.twin))
        return model.name, still

    models = ModelSet(NAMES)
    for _ in range(2):
        assert models.map(work) == {name: (name, 0) for name in NAMES}
    gc.collect()
    assert [one() for one in alive] == [None] * 4


def test_loaded_models_are_used_as_they_are() -> None:
    model = toy_model("gpt2")
    assert ModelSet(model).map(lambda one: one) == {model.name: model}
    assert ModelSet({"mine": model}).names == ["mine"]


def test_a_model_that_does_not_fit_is_named_when_it_is_its_turn() -> None:
    with pytest.raises(ModelError, match=r"one width.*'GPT2LMHeadModel': 32, 'embedded-masked-0': \d+"):
        ModelSet([toy_model("gpt2"), "embedded-masked-0"]).map(lambda model: model.name)
