"""What decides a model's numbers decides what is kept under which key: captures, runs, provenance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.normalizers import Lowercase
from torch import Tensor

import promptscope as ps
from promptscope.errors import RunError
from promptscope.models import HookedModel
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training.toy import VOCAB, toy_task

POINT = "blocks.1.attn.hook_z"


def fresh(family: str = "llama", **config: object) -> HookedModel:
    twin = tiny_hf_model(family, vocab=VOCAB)
    for name, value in config.items():
        setattr(twin.config, name, value)
    return ps.load_model(twin, tokenizer=tiny_tokenizer())


def zero_head(x: Tensor, hook: object) -> Tensor:
    x = x.clone()
    x[:, :, 1] = 0
    return x


def zero_other_head(x: Tensor, hook: object) -> Tensor:
    x = x.clone()
    x[:, :, 2] = 0
    return x


def scaled(factor: float) -> object:
    return lambda x, hook: x * factor


class Uncountable:
    """A hook with something inside of which nobody can say what it is."""

    def __init__(self) -> None:
        self.lines = iter(["a", "b"])

    def __call__(self, x: Tensor, hook: object) -> Tensor:
        return x * 0


def probed(model: HookedModel, store: Path, hooks: list[tuple[str, object]] | None = None) -> ps.ProbeResult:
    return ps.probe(
        model, ps.SoftPrompt(3), toy_task(), "attention_kl", store=store, progress=False, hooks=hooks or []
    )["attention_kl"]


@pytest.mark.parametrize("first", ["clean", "hooked"])
@pytest.mark.parametrize("hook", [zero_head, scaled(3.0), Uncountable()], ids=["function", "closure", "unknown"])
def test_captures_under_hooks_and_without_never_answer_for_each_other(first: str, hook: object, tmp_path: Path) -> None:
    model = fresh()
    point = "blocks.1.attn.hook_q"
    expected = {
        "clean": probed(model, tmp_path / "a").values,
        "hooked": probed(model, tmp_path / "b", [(point, hook)]).values,
    }
    assert not np.allclose(expected["clean"], expected["hooked"], atol=1e-4)
    for which in (first, *expected, *expected):
        found = probed(model, tmp_path / "s", [(point, hook)] if which == "hooked" else [])
        np.testing.assert_array_equal(found.values, expected[which])


def test_one_hook_answers_for_itself_only_and_attached_as_given(tmp_path: Path) -> None:
    model, point = fresh(), "blocks.1.attn.hook_q"
    hooks = [zero_head, zero_other_head, scaled(2.0), scaled(-1.0)]
    expected = [probed(model, tmp_path / str(i), [(point, hook)]).values for i, hook in enumerate(hooks)]
    for _ in range(2):
        for hook, wanted in zip(hooks, expected, strict=True):
            np.testing.assert_array_equal(probed(model, tmp_path / "s", [(point, hook)]).values, wanted)
            with model.hooks([(point, hook)]):
                np.testing.assert_array_equal(probed(model, tmp_path / "s").values, wanted)
            other_place = probed(model, tmp_path / "s", [("blocks.2.attn.hook_q", hook)]).values
            assert not np.array_equal(other_place, wanted)


def test_a_store_is_used_again_under_a_known_hook_and_bypassed_under_an_unknown_one(tmp_path: Path) -> None:
    model, point = fresh(), "blocks.1.attn.hook_q"
    probed(model, tmp_path / "s", [(point, zero_head)])
    entries = len(ps.ActivationStore(tmp_path / "s").entries())
    assert probed(model, tmp_path / "s", [(point, zero_head)]).provenance["store"] == "kept"
    assert len(ps.ActivationStore(tmp_path / "s").entries()) == entries > 0
    unknown = probed(model, tmp_path / "s", [(point, Uncountable())])
    assert "bypassed" in unknown.provenance["store"]
    assert len(ps.ActivationStore(tmp_path / "s").entries()) == entries
    stated = Uncountable()
    stated.identity = "zero it"  # type: ignore[attr-defined]
    assert probed(model, tmp_path / "s", [(point, stated)]).provenance["store"] == "kept"
    assert len(ps.ActivationStore(tmp_path / "s").entries()) > entries


CONFIG = ps.TrainConfig(steps=2, batch_size=4, learning_rate=0.1)


def trained(model: HookedModel, folder: Path, hooks: list[tuple[str, object]] | None = None) -> np.ndarray:
    run = ps.train(model, ps.SoftPrompt(3), toy_task(), CONFIG, folder, progress=False, hooks=hooks or [])
    return run.history["loss"].to_numpy()


def triple_ffn(model: HookedModel) -> None:
    for layer in model.twin.model.layers:
        layer.mlp.down_proj.weight.data.mul_(3)


def test_a_finished_run_is_not_returned_for_other_weights(tmp_path: Path) -> None:
    model, edited = fresh(), fresh()
    first = trained(model, tmp_path / "r")
    triple_ffn(model)
    triple_ffn(edited)
    with pytest.raises(RunError, match="weights_hash"):
        trained(model, tmp_path / "r")
    assert not np.allclose(trained(edited, tmp_path / "other"), first, rtol=1e-2)


def test_a_finished_run_is_not_returned_for_other_hooks(tmp_path: Path) -> None:
    model = fresh()
    trained(model, tmp_path / "clean")
    with pytest.raises(RunError, match="hooks"):
        trained(model, tmp_path / "clean", [(POINT, zero_head)])
    under = trained(model, tmp_path / "hooked", [(POINT, zero_head)])
    np.testing.assert_array_equal(trained(model, tmp_path / "hooked", [(POINT, zero_head)]), under)
    with pytest.raises(RunError, match="hooks"):
        trained(model, tmp_path / "hooked")
    with pytest.raises(RunError, match="hooks"):
        trained(model, tmp_path / "hooked", [(POINT, zero_other_head)])
    with pytest.raises(RunError, match=r"fn\.identity"):
        trained(model, tmp_path / "hooked", [(POINT, Uncountable())])


def test_a_finished_run_is_not_returned_for_another_configuration(tmp_path: Path) -> None:
    trained(fresh(), tmp_path / "r")
    with pytest.raises(RunError, match="config"):
        trained(fresh(rms_norm_eps=0.5), tmp_path / "r")


def test_a_finished_run_is_not_returned_for_another_tokenizer(tmp_path: Path) -> None:
    """Of the same vocabulary: another end token, another reading of the text."""
    model, other_end, lower_case = fresh(), fresh(), fresh()
    other_end.tokenizer.eos_token = "<unk>"
    lower_case.tokenizer.backend_tokenizer.normalizer = Lowercase()
    first = trained(model, tmp_path / "r")
    model.tokenizer(["the film", "a"], padding=True, truncation=True, max_length=2)  # leaves its settings behind
    model.tokenizer.padding_side = "left"
    np.testing.assert_array_equal(trained(model, tmp_path / "r"), first)
    for changed in (other_end, lower_case):
        with pytest.raises(RunError, match="tokenizer_hash"):
            trained(changed, tmp_path / "r")
        joint = {"one": model, "two": changed}
        losses = [
            ps.train_across(dict(order), ps.SoftPrompt(3, init="uniform"), toy_task(), CONFIG, progress=False).history[
                "loss"
            ]
            for order in (joint.items(), reversed(joint.items()))
        ]
        np.testing.assert_allclose(*losses, rtol=1e-5)  # each reads the records in its own way


def test_grids_and_joint_runs_are_kept_by_the_same_identity(tmp_path: Path) -> None:
    model = fresh()

    def grid() -> object:
        return ps.train_grid(model, {"a": ps.GridRun(ps.SoftPrompt(3), toy_task(), CONFIG)}, tmp_path, progress=False)

    def joint() -> object:
        return ps.train_across([model], ps.SoftPrompt(3), toy_task(), CONFIG, tmp_path / "joint", progress=False)

    grid(), joint()
    triple_ffn(model)
    with pytest.raises(RunError, match="weights_hash"):
        grid()
    with pytest.raises(RunError, match="weights_hash"):
        joint()


def test_identity_is_of_what_decides_the_numbers_and_of_nothing_else() -> None:
    model, same, other_config = fresh(), fresh(), fresh(rms_norm_eps=0.5)
    same.name, same.twin.config._name_or_path = "elsewhere", "elsewhere"
    assert model.identity == same.identity != other_config.identity
    with model.hooks([(POINT, zero_head)]):
        attached = model.identity
    assert attached != same.identity == model.identity
    triple_ffn(model)
    assert model.identity != same.identity
    half = ps.load_model(tiny_hf_model("llama", vocab=VOCAB), dtype=torch.bfloat16)
    assert half.identity["dtype"] != same.identity["dtype"]


def test_attributes_that_the_configuration_does_not_say_are_part_of_it() -> None:
    plain, changed = tiny_hf_model("llama", vocab=VOCAB), tiny_hf_model("llama", vocab=VOCAB).train()
    changed.model.norm.variance_epsilon = 0.5
    one, other = ps.load_model(plain), ps.load_model(changed)
    assert not torch.allclose(one.logits(torch.tensor([[5, 6]])), other.logits(torch.tensor([[5, 6]])), atol=1e-2)
    assert one.identity != other.identity == one.identity | {"attributes": {"model.norm.variance_epsilon": 0.5}}


def test_a_prompt_says_on_what_weights_it_was_made(tmp_path: Path) -> None:
    model = fresh()
    ps.SoftPrompt(3).bind(model).save(tmp_path / "p")
    ps.load_prompt(tmp_path / "p", model)
    triple_ffn(model)
    with pytest.warns(ps.OtherWeightsWarning, match="other weights"):
        ps.load_prompt(tmp_path / "p", model)
