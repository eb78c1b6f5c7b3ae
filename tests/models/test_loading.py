"""From a folder, a name or a model object to a hooked model; what was given stays as it was."""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jaxtyping
import pytest
import torch
from transformers import (
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
    CTRLConfig,
    CTRLLMHeadModel,
    GPT2ForSequenceClassification,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Model,
)

from promptscope.errors import CheckpointWarning, ModelError, PromptError
from promptscope.models import HookedModel, load_model
from promptscope.prompts import DeepPrompt, SoftPrompt
from tests.batches import ragged
from tests.old_safetensors import save_or_skip
from tests.tiny_models import CAUSAL, FAMILIES, bare, hooked, tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpt2")
    tiny_hf_model("gpt2").save_pretrained(path)
    return path


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("family", FAMILIES)
def test_from_a_folder_without_a_tokenizer(family: str, tmp_path: Path) -> None:
    tiny_hf_model(family).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert model.name == str(tmp_path) and model.family.name == family and model.dtype == torch.float32
    assert not model.has_tokenizer
    with pytest.raises(ModelError, match=r"has no tokenizer.*tokenizer=AutoTokenizer"):
        _ = model.tokenizer
    ids = ragged(family).input_ids
    torch.testing.assert_close(model.logits(ids), hooked(family).logits(ids), rtol=0, atol=0)


def test_from_a_folder_with_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(copy_of(folder, tmp_path))
    model = load_model(str(tmp_path))
    assert model.tokenizer("the film")["input_ids"] == [5, 6]
    other = tiny_tokenizer(("film", "the"))
    assert load_model(tmp_path, tokenizer=other).tokenizer is other


def test_shape() -> None:
    shape = hooked("llama").shape
    assert (shape.n_layers, shape.d_model, shape.n_heads, shape.n_kv_heads, shape.d_head) == (3, 32, 4, 2, 8)
    assert (shape.vocab_size, shape.context) == (200, 64)
    assert hooked("gpt2").shape.context == 64
    assert hooked("t5").shape.context is None


@pytest.mark.parametrize("family", FAMILIES)
def test_one_set_of_weights(family: str) -> None:
    """Bridge, twin and the caller's model read the same memory, but for GPT-NeoX's fused projections."""
    given = tiny_hf_model(family)
    model = load_model(given)
    bridge = {p.untyped_storage().data_ptr() for p in model.bridge.parameters()}
    for name, parameter in given.named_parameters():
        assert model.twin.get_parameter(name).data_ptr() == parameter.data_ptr()
        if not (family == "gpt_neox" and "query_key_value" in name):
            assert parameter.untyped_storage().data_ptr() in bridge, name
    assert not any(p.requires_grad for p in (*model.bridge.parameters(), *model.twin.parameters()))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_callers_model_is_left_alone(family: str, tmp_path: Path) -> None:
    given = tiny_hf_model(family)
    keys, attention, training = list(given.state_dict()), given.config._attn_implementation, given.training
    ids = ragged(family).input_ids
    extra = {"decoder_input_ids": ids} if family == "t5" else {}
    given.requires_grad_(False)  # weights that need a gradient run through other kernels, with other rounding
    before = given(input_ids=ids, **extra).logits
    model = load_model(given)
    model.logits(ids, prompt=DeepPrompt(2), via="hooks", **extra)
    assert list(given.state_dict()) == keys
    assert given.config._attn_implementation == attention and given.training == training
    assert torch.equal(given(input_ids=ids, **extra).logits, before)
    given.save_pretrained(tmp_path)
    assert type(given).from_pretrained(tmp_path).state_dict().keys() == given.state_dict().keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_use_does_not_change_a_weight(family: str) -> None:
    """Hashes before and after; the hash itself is checked by changing one weight."""
    model, batch = load_model(tiny_hf_model(family)), ragged(family)

    def weights_hash(model: HookedModel) -> str:
        model.__dict__.pop("weights_hash", None)  # it is computed once per model
        return model.weights_hash

    before = weights_hash(model)
    for prompt in (SoftPrompt(3), DeepPrompt(3)):
        logits = model.logits(batch.input_ids, batch.attention_mask, prompt, decoder_input_ids=batch.decoder_input_ids)
        logits.sum().backward()
        torch.optim.AdamW(prompt.parameters(), lr=0.1).step()
    assert weights_hash(model) == before == hooked(family).weights_hash
    for name, weight in bare(family).state_dict().items():
        assert torch.equal(model.twin.state_dict()[name], weight)
    with torch.no_grad():
        next(model.twin.parameters()).view(-1)[0] += 1
    assert weights_hash(model) != before


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision(family: str) -> None:
    model = load_model(tiny_hf_model(family), dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    batch = ragged(family)
    prompt = DeepPrompt(2).bind(model)
    assert next(prompt.parameters()).dtype == torch.float32
    logits = model.logits(batch.input_ids, batch.attention_mask, prompt, decoder_input_ids=batch.decoder_input_ids)
    logits.float().sum().backward()
    assert all(number.grad.isfinite().all() for number in prompt.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_in_float16_has_one_type(family: str, tmp_path: Path) -> None:
    tiny_hf_model(family).save_pretrained(tmp_path)  # transformers would keep T5's `wo` in float32
    model = load_model(tmp_path, dtype="float16")
    assert {weight.dtype for weight in model.twin.parameters()} == {torch.float16}
    batch = ragged(family)
    logits = model.logits(
        batch.input_ids, batch.attention_mask, DeepPrompt(2), decoder_input_ids=batch.decoder_input_ids
    )
    assert logits.isfinite().all()


def test_a_model_in_training_stays_in_training() -> None:
    given = tiny_hf_model("gpt2").train()
    model = load_model(given)
    assert given.training and not model.twin.training and not model.bridge.training


def test_moving_a_model_object_copies_it() -> None:
    given = tiny_hf_model("gpt2")
    model = load_model(given, dtype=torch.float64)
    assert model.dtype == torch.float64 and given.dtype == torch.float32


def test_embedding_hash_names_the_embeddings(folder: Path) -> None:
    assert load_model(folder).embedding_hash == hooked("gpt2").embedding_hash
    assert load_model(folder, dtype="float64").embedding_hash == hooked("gpt2").embedding_hash
    assert hooked("gpt2", seed=1).embedding_hash != hooked("gpt2").embedding_hash


# --- bad input ---------------------------------------------------------------------------------------


def test_unknown_name() -> None:
    with pytest.raises(ModelError, match=r"no model 'embeded-causal'.*Did you mean 'embedded-causal'\?"):
        load_model("embeded-causal")


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_model(tmp_path)


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(ModelError, match="is a file: expected the folder"):
        load_model(folder / "config.json")


def test_unsupported_architecture(tmp_path: Path) -> None:
    model = CTRLLMHeadModel(CTRLConfig(vocab_size=50, n_embd=16, dff=16, n_layer=1, n_head=2, n_positions=32))
    said = r"'CTRLLMHeadModel' is not supported: .* has no bridge.*Did you mean.*supported_architectures\(\)"
    with pytest.raises(ModelError, match=said):
        load_model(model)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=said):
        load_model(tmp_path)


@pytest.mark.parametrize("head", [BertForPreTraining, T5Model, GPT2ForSequenceClassification])
def test_a_checkpoint_with_another_head_and_all_weights_is_the_language_model(head: type, tmp_path: Path) -> None:
    family = {BertForPreTraining: "bert", T5Model: "t5", GPT2ForSequenceClassification: "gpt2"}[head]
    plain = tiny_hf_model(family)
    other = head(plain.config)
    kept = {name: weight for name, weight in plain.state_dict().items() if name in other.state_dict()}
    other.load_state_dict(kept, strict=False)
    other.save_pretrained(tmp_path)
    said = rf"saved as a {head.__name__} and is loaded as a {type(plain).__name__}"
    with pytest.warns(CheckpointWarning, match=said):
        model = load_model(tmp_path)
    ids = ragged(family).input_ids
    torch.testing.assert_close(model.logits(ids), hooked(family).logits(ids))


@pytest.mark.parametrize("head", [BertModel, BertForSequenceClassification])
def test_a_checkpoint_without_the_language_models_head_is_refused(head: type, tmp_path: Path) -> None:
    head(tiny_hf_model("bert").config).save_pretrained(tmp_path)
    said = rf"lack \d of a BertForMaskedLM, the language-model class for a {head.__name__}: cls\.predictions"
    with pytest.raises(ModelError, match=said):
        load_model(tmp_path)


def test_weights_that_the_config_leaves_out_are_counted(tmp_path: Path) -> None:
    config = Qwen2Config(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)  # with biases that a Llama has not
    written = json.loads((tmp_path / "config.json").read_text())
    written |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(ModelError, match=r"holds 6 weights that .* does not have: .*k_proj\.bias"):
        load_model(tmp_path)


def test_a_checkpoint_with_code_of_its_own_is_refused_with_the_way_out(folder: Path, tmp_path: Path) -> None:
    copy_of(folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.MyConfig", "AutoModelForCausalLM": "mine.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('this must not run')")
    with pytest.raises(
        ModelError, match=r"needs code from its repository.*trust_remote_code=True.*ps\.load_model\(model"
    ):
        load_model(tmp_path)


def test_a_quantised_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    copy_of(folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"are quantised \(bitsandbytes\).*dequantize"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("family", "head"), [("gpt2", GPT2ForSequenceClassification), ("bert", BertForSequenceClassification)]
)
def test_classification_head(family: str, head: type) -> None:
    with pytest.raises(ModelError, match=f"{head.__name__}.*verbalizer"):
        load_model(head(tiny_hf_model(family).config))


def test_config_without_architecture(folder: Path, tmp_path: Path) -> None:
    copy_of(folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="has no entry 'architectures'"):
        load_model(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 1000, -100])
def test_truncated_weights(keep: int, folder: Path, tmp_path: Path) -> None:
    file = copy_of(folder, tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"cannot be read.*interrupted"):
        load_model(tmp_path)


def test_missing_weights(folder: Path, tmp_path: Path) -> None:
    (copy_of(folder, tmp_path) / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path)


def test_weights_that_lack_a_tensor(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy_of(folder, tmp_path) / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    with (
        warnings.catch_warnings(),
        pytest.raises(ModelError, match=r"lack 1 of a GPT2.*h\.1\.mlp\.c_fc\.weight"),
    ):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("architectures", 5, r"has no entry 'architectures'|does not describe a model \(.*architectures"),
        ("n_head", "x", r"damaged or does not describe a model \(.*n_head"),
        ("n_layer", None, r"damaged or does not describe a model \(.*n_layer"),
        ("layer_norm_epsilon", "x", r"damaged or does not describe a model \(.*layer_norm_epsilon"),
        ("tie_word_embeddings", 5, r"damaged or does not describe a model \(.*tie_word_embeddings"),
        ("activation_function", "zzz", r"no GPT2LMHeadModel can be made .*KeyError: 'zzz'"),
        ("n_head", 0, r"no GPT2LMHeadModel can be made .*ZeroDivisionError"),
        ("n_embd", 64, r"other sizes.*transformer\.h\.0\.attn\.c_attn\.bias is \(96,\), and would be \(192,\)"),
        ("vocab_size", 300, r"1 weights .* other sizes.*\(200, 32\), and would be \(300, 32\)"),
    ],
)
def test_a_damaged_entry_of_the_configuration(
    entry: str, value: object, message: str, folder: Path, tmp_path: Path
) -> None:
    config = json.loads((copy_of(folder, tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {entry: value}))
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("value", [-1, 10**6, "x", True, 2.5])
def test_a_decoder_starts_with_a_token(value: object, tmp_path: Path) -> None:
    tiny_hf_model("t5").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"decoder_start_token_id": value}))
    with pytest.raises(ModelError, match=r"decoder_start_token_id=.* expected a token id, 0\.\.199"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("n_layer", 2**40, r"n_layer=1099511627776, expected at most 1,000,000"),
        ("num_labels", 2**40, r"num_labels=1099511627776, expected at most"),
        ("n_layer", 10**6, r"more numbers than its weights can hold \(model.safetensors: [0-9,]+ bytes\)"),
        ("n_embd", 2**20, r"more numbers than its weights can hold .* such as a Embedding.weight of \(200, 1048576\)"),
        ("n_embd", 2**60, "more numbers than its weights can hold"),
        ("n_inner", 2**30, "more numbers than its weights can hold"),
        ("vocab_size", 2**40, "more numbers than its weights can hold"),
        ("n_positions", 2**40, "more numbers than its weights can hold"),
    ],
)
def test_a_configuration_too_large_for_its_weights_is_refused_before_a_model_is_made(
    entry: str, value: int, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*args: object, **options: object) -> None:
        raise AssertionError("a model was made")

    monkeypatch.setattr("transformers.GPT2LMHeadModel.from_pretrained", make)
    config = json.loads((copy_of(folder, tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {entry: value}))
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("generation_config.json", "[]"),
        ("generation_config.json", '{"max_new_tokens": -5}'),
        ("model.safetensors.index.json", "{}"),
        ("model.safetensors.index.json", "5"),
    ],
)
def test_a_damaged_file_beside_the_configuration(file: str, text: str, folder: Path, tmp_path: Path) -> None:
    copy_of(folder, tmp_path)
    if "index" in file:
        (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    (tmp_path / file).write_text(text)
    with pytest.raises(ModelError, match=r"no GPT2LMHeadModel can be made .*restore the JSON files"):
        load_model(tmp_path)


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("to", [torch.bool, torch.int16, torch.uint16, torch.complex64])
def test_weights_that_are_no_floats_are_not_converted_without_a_word(
    to: torch.dtype, folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    file = copy_of(folder, tmp_path) / "model.safetensors"
    tensors = load_file(file)
    name = "transformer.h.1.mlp.c_fc.weight"
    half = tensors[name].bfloat16()
    tensors[name] = half.view(to) if to.itemsize == 2 else tensors[name].to(to)
    save_or_skip(tensors, file)
    with pytest.raises(ModelError, match=r"h\.1\.mlp\.c_fc\.weight in .* must be floating-point numbers"):
        load_model(tmp_path)


def test_a_tokenizer_that_cannot_be_used_is_refused_when_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(copy_of(folder, tmp_path))
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": "x"}))
    with pytest.raises(ModelError, match=r"tokenizer in .* cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float33", "long"])
def test_wrong_dtype(dtype: str, folder: Path) -> None:
    with pytest.raises(ModelError, match="dtype must be 'float32"):
        load_model(folder, dtype=dtype)


def test_wrong_device(folder: Path) -> None:
    with pytest.raises(ModelError, match="no device 'gpu' on this machine"):
        load_model(folder, device="gpu")
    with pytest.raises(ModelError, match="no device 'cuda:99' on this machine"):
        load_model(folder, device="cuda:99")


def test_wrong_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked("gpt2")
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ModelError, match=r"0\.\.199, got ids from 1 to 200.*this model's tokenizer"):
        model.logits(torch.tensor([[1, 200]]))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the shape checks of tests would come first
    with pytest.raises(PromptError, match=r"soft prompt, such as ps.SoftPrompt\(20\), got 'a text'"):
        model.logits(torch.ones(1, 3, dtype=torch.long), prompt="a text")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"attention_mask must have the shape of input_ids, \(1, 3\), got \(1, 5\)"):
        model.logits(ids, torch.ones(1, 5, dtype=torch.long), SoftPrompt(2))
    for wrong in (ids.float(), ids.bool(), ids[0], ids[:0], ids[:, :0], [[1, 2]], "the film"):
        with pytest.raises(ModelError, match=r"input_ids must be an integer tensor of shape \(B, n\) with at least"):
            model.logits(wrong, prompt=SoftPrompt(2))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="via must be 'auto', 'hooks' or 'prefix', not 'twin'"):
        model.resolve_via(None, "twin")  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [*CAUSAL, "bert"])
@pytest.mark.parametrize("via", ["hooks", "auto"])
def test_longer_than_the_context(family: str, via: str) -> None:
    model = hooked(family)
    with pytest.raises(PromptError, match=r"70 prompt positions \+ 1 tokens = 71 .* only 64: use a shorter prompt$"):
        SoftPrompt(70).bind(model)
    with pytest.raises(PromptError, match=r"4 prompt positions \+ 61 tokens = 65.*max_length=60"):
        model.logits(torch.ones(1, 61, dtype=torch.long), prompt=SoftPrompt(4), via=via)  # type: ignore[arg-type]
    model.logits(torch.ones(1, 60, dtype=torch.long), prompt=SoftPrompt(4), via=via)  # type: ignore[arg-type]


def test_names_that_no_hub_has_are_refused_without_asking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object, **__: object) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("promptscope.models.loading.AutoConfig.from_pretrained", ask)
    with pytest.raises(ModelError, match=r"no embedded model 'embedded-causl'.*Did you mean 'embedded-causal'"):
        load_model("embedded-causl")
    for path in ("./nowhere", "/nowhere/at/all", "runs/a/b"):
        with pytest.raises(ModelError, match=r"no folder.*save_pretrained"):
            load_model(path)


def test_two_threads_load_at_once(folder: Path) -> None:
    """transformers builds models under settings of the whole process; the second thread's weights were "missing"."""
    with ThreadPoolExecutor(3) as pool:
        loaded = list(pool.map(lambda _: load_model(folder), range(3)))
    assert len({model.weights_hash for model in loaded}) == 1
