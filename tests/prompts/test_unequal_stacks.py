"""Encoder-decoders with stacks of different depth: a deep prompt reaches every layer of each, and only these."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import promptscope as ps
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training.toy import VOCAB, toy_task

IDS = torch.tensor([[5, 9, 7, 8], [6, 11, 0, 0]])
MASK = (IDS != 0).long()
DECODER = torch.tensor([[0, 7, 5], [0, 9, 6]])


def model_of(encoder: int, decoder: int) -> ps.HookedModel:
    torch.manual_seed(0)
    config = T5Config(
        num_layers=encoder,
        num_decoder_layers=decoder,
        d_model=32,
        num_heads=4,
        d_kv=8,
        d_ff=64,
        vocab_size=VOCAB,
        decoder_start_token_id=0,
        initializer_factor=2.0,
    )
    return ps.load_model(T5ForConditionalGeneration(config), tokenizer=tiny_tokenizer())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("depths", [(2, 4), (4, 2)])
def test_every_row_of_every_layer_acts_and_learns(depths: tuple[int, int], tied: bool) -> None:
    model = model_of(*depths)
    prompt = ps.DeepPrompt(3, tied=tied, seed=1).bind(model)
    for part, depth in (("encoder", depths[0]), ("decoder", depths[1]), ("cross", depths[1])):
        assert prompt.keys(part).shape == prompt.values(part).shape == (depth, 3, 32)
    assert prompt.n_parameters == (depths[0] + 2 * depths[1]) * 3 * 32 * (1 if tied else 2)
    with torch.enable_grad():
        logits = model.logits(IDS, MASK, prompt, decoder_input_ids=DECODER)
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        (logits * direction).sum().backward()
    for name, number in prompt.numbers.items():
        assert number.grad is not None and (number.grad.abs().amax(dim=(1, 2)) > 0).all(), name


@pytest.mark.parametrize("depths", [(2, 4), (4, 2)])
@pytest.mark.parametrize("layers", [None, [1]])
def test_the_packed_pass_is_the_hooked_one(depths: tuple[int, int], layers: list[int] | None) -> None:
    model, task = model_of(*depths), toy_task()
    prompt = ps.DeepPrompt(3, layers=layers, init="vocab", seed=1).bind(model)
    packed = ps.score_labels(model, prompt, task, progress=False)
    with ps.execution(packed=False):
        plain = ps.score_labels(model, prompt, task, progress=False)
    torch.testing.assert_close(packed, plain, atol=1e-3, rtol=1e-3)
    ids = [[0, *row] for row in ps.generate(model, prompt, IDS, MASK, max_new_tokens=3)]
    for row, written in enumerate(ids):  # the definition, token by token
        seen = IDS[row : row + 1, : int(MASK[row].sum())]
        for t in range(1, len(written)):
            logits = model.logits(seen, prompt=prompt, via="hooks", decoder_input_ids=torch.tensor([written[:t]]))
            assert int(logits[0, -1].argmax()) == written[t]


def test_it_trains_and_comes_back_from_its_folder(tmp_path) -> None:
    model = model_of(2, 4)
    run = ps.train(
        model, ps.DeepPrompt(3, seed=1), toy_task(), ps.TrainConfig(steps=3, batch_size=4), tmp_path, progress=False
    )
    again = ps.load_prompt(tmp_path / "prompts" / "last", model)
    for name, number in run.prompt.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], number)


def test_a_layer_that_one_stack_lacks_is_refused_by_name() -> None:
    model = model_of(2, 4)
    with pytest.raises(ps.PromptError, match=r"0\.\.1, the layers of encoder_blocks.*'encoder'.*\[3\]"):
        ps.DeepPrompt(3, layers=[3]).bind(model)
    prompt = ps.DeepPrompt(3, layers=[3], parts=["decoder"], seed=1).bind(model)
    assert prompt.keys("decoder").shape == (1, 3, 32)
