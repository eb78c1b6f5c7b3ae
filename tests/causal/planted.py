"""A two-layer attention model made by hand, in which everything about a prompt's effect is known.

Every head's queries have a constant first entry, so that a prompt key is seen by all (+) or by nobody (-), as its first
entry says. FFNs write nothing, and of the heads only those that are `alive` do.
"""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import promptscope as ps
from tests.tiny_tokenizer import tiny_tokenizer

LAYERS, HEADS, D_HEAD = 2, 2, 8
SEEN, UNSEEN = 50.0, -50.0


def planted_model(alive, own_values=True, seed=0):
    """Build the model; without *own_values* heads read nothing from the text, and write what a prompt's values say."""
    tokenizer = tiny_tokenizer()
    d = HEADS * D_HEAD
    config = GPT2Config(n_layer=LAYERS, n_head=HEADS, n_embd=d, vocab_size=len(tokenizer), n_positions=64)
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    hooked = ps.load_model(model, tokenizer=tokenizer)  # planted afterwards: loading refuses a model with dead parts
    with torch.no_grad():
        for layer, block in enumerate(hooked.twin.transformer.h):
            block.mlp.c_proj.weight.zero_()
            block.mlp.c_proj.bias.zero_()
            block.attn.c_attn.bias.zero_()
            if not own_values:
                block.attn.c_attn.weight[:, 2 * d :] = 0
            for head in range(HEADS):
                mine = slice(head * D_HEAD, (head + 1) * D_HEAD)
                block.attn.c_attn.bias[head * D_HEAD] = 8.0  # queries: the constant entry
                if (layer, head) not in alive:
                    block.attn.c_proj.weight[mine] = 0
            block.attn.c_proj.bias.zero_()
        ids = torch.arange(5)[None]
        torch.testing.assert_close(hooked.forward_hooked(ids), hooked.twin(ids).logits)  # both have it
    return hooked


def planted_task(n=12):
    """Return a task whose records all have one label: the effect has one sign."""
    words = ["good", "bad", "dull", "great", "very", "story", "film", "the"]
    rows = [
        {"text": f"the {words[i % 8]} {words[(3 * i + 1) % 8]} film is {words[(5 * i + 2) % 8]}", "label": "pos"}
        for i in range(n)
    ]
    other = [{**row, "label": "neg"} for row in rows[:2]]
    return ps.Task.from_records(
        {"train": [*rows[: n // 2], *other], "test": rows},
        template=("{text}", "{label}"),
        verbalizer={"pos": "positive", "neg": "negative"},
    )


def planted_prompt(model, layer, heads, length=2, size=3.0, seed=1):
    """Return a deep prompt in one layer that only *heads* see; its values are random and large."""
    prompt = ps.DeepPrompt(length, layers=[layer]).bind(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        keys, values = (prompt.numbers[f"self_{role}"].view(length, HEADS, D_HEAD) for role in ("keys", "values"))
        keys.zero_()
        values.zero_()
        keys[..., 0] = UNSEEN
        for head in heads:
            keys[:, head, 0] = SEEN
            values[:, head] = torch.randn(D_HEAD, generator=generator) * size
    return prompt
