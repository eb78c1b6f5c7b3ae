"""The beginning that all texts have in common: found exactly, and without an effect on any number."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promptscope.engine import share
from promptscope.engine.template import common_prefix, common_template
from tests.batches import Ragged
from tests.engine.ways import EXACT, PROMPTS, assert_exact, by_hooks, by_packing, gradient, logits_where, texts
from tests.tiny_models import CAUSAL, hooked

token = st.integers(0, 1)  # two kinds only, so that texts agree often


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Draw right-padded ids, mask, wanted positions, the prompt of each text, and how many prompts there are."""
    n_prompts = draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(token, min_size=1, max_size=5), min_size=1, max_size=6))
    width = max(map(len, rows))
    ids = torch.tensor(
        [row + draw(st.lists(token, min_size=width - len(row), max_size=width - len(row))) for row in rows]
    )
    mask = torch.tensor([[i < len(row) for i in range(width)] for row in rows])
    where = torch.zeros_like(mask)
    for row, text in enumerate(rows):
        for position in draw(st.sets(st.integers(0, len(text) - 1))):
            where[row, position] = True
    which = torch.tensor(draw(st.lists(st.integers(0, n_prompts - 1), min_size=len(rows), max_size=len(rows))))
    return ids, mask, where, which, n_prompts


@settings(max_examples=100, deadline=None)
@given(batches())
def test_the_longest_beginning_of_equal_real_unwanted_tokens(batch: tuple) -> None:
    ids, mask, where, which, n_prompts = batch
    found = common_template(ids, mask, where, which if n_prompts > 1 else None, n_prompts)
    groups = [[row for row in range(len(ids)) if n_prompts == 1 or which[row] == g] for g in range(n_prompts)]

    def common(length: int) -> bool:
        """Say whether the first *length* tokens may be shared, by looking at every one of them."""
        return all(
            mask[row, i] and not where[row, i] and ids[row, i] == ids[rows[0], i]
            for rows in groups
            for row in rows
            for i in range(length)
        )

    longest = max(length for length in range(ids.shape[1] + 1) if common(length))
    if any(len(rows) < 2 for rows in groups) or not longest:
        assert found == []  # nothing is shared by one text
    else:
        assert found == [ids[rows[0], :longest].tolist() for rows in groups]


def test_padding_is_never_shared_whatever_it_holds() -> None:
    ids, lengths = torch.tensor([[5, 6, 7]] * 2), torch.tensor([[3], [1]])
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    assert common_template(ids, torch.arange(3) < lengths, nothing) == [[5]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(token, max_size=5), min_size=1, max_size=5))
def test_common_prefix_of_lists(lists: list[list[int]]) -> None:
    found = common_prefix(lists)
    assert all(row[: len(found)] == found for row in lists)
    longer = [tuple(row[: len(found) + 1]) for row in lists]
    assert len(set(longer)) > 1 or len(longer[0]) == len(found)


def with_beginning(tokens: list[int]) -> tuple[Ragged, torch.Tensor]:
    """Let all texts begin with *tokens*, and want the logits of each last token and of the one before."""
    batch = texts("gpt2")
    ids = torch.cat([torch.tensor(tokens, dtype=torch.long).expand(3, -1), batch.input_ids], dim=1)
    mask = torch.cat([torch.ones(3, len(tokens), dtype=torch.long), batch.attention_mask], dim=1)
    where = torch.zeros_like(mask, dtype=torch.bool)
    for row, n in enumerate(mask.sum(1).tolist()):
        where[row, [n - 1, n - 2]] = True
    return Ragged(batch.rows, ids, mask, batch.decoder_rows, None), where


@pytest.mark.parametrize("beginning", [[], [9], [9, 9, 30, 31]], ids=["none", "one token", "four tokens"])
@pytest.mark.parametrize("name", [*PROMPTS, "none"])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_common_beginning_changes_nothing(family: str, name: str, beginning: list[int]) -> None:
    model, (batch, where) = hooked(family, torch.float64), with_beginning(beginning)
    prompt = PROMPTS[name]().bind(model) if name != "none" else None
    prompts = [] if prompt is None else [prompt]
    assert common_template(batch.input_ids, batch.attention_mask.bool(), where) == ([beginning] if beginning else [])
    expected, got = by_hooks(model, batch, prompt, where), by_packing(model, batch, prompts, where)
    assert_exact(got, expected, family)
    if prompt is not None:
        assert_exact(gradient(got, prompt), gradient(expected, prompt), family)
    rows = [row[mask.bool()].tolist()[:-2] for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    shared = share(model, prompts, rows)
    assert shared.n_template == (len(beginning) if name != "v2 in some layers" else 0)
    behind = logits_where(model, where, batch.input_ids, batch.attention_mask, prompts, shared=shared)
    assert_exact(behind, expected, family)


@pytest.mark.parametrize("name", ["v1", "v2 untied", "v2 in some layers"])
@pytest.mark.parametrize("family", CAUSAL)
def test_every_prompt_has_a_beginning_of_its_own(family: str, name: str) -> None:
    model, batch = hooked(family, torch.float64), texts(family)
    which, prompts = torch.tensor([0, 1, 0, 1]), [PROMPTS[name](seed).bind(model) for seed in range(2)]
    ids = torch.randint(200, (4, 6), generator=torch.Generator().manual_seed(4))
    ids[::2, :3], ids[1::2, :2] = torch.tensor([5, 6, 7]), torch.tensor([8, 9])
    mask = torch.ones_like(ids)
    mask[2, 5:] = 0
    where = torch.zeros_like(ids, dtype=torch.bool)
    where[:, 4] = True
    assert common_template(ids, mask.bool(), where, which, 2) == [[5, 6], [8, 9]]
    got = logits_where(model, where, ids, mask, prompts, which)
    batch = Ragged((), ids, mask, (), None)
    every = torch.stack([by_hooks(model, batch, prompt, where) for prompt in prompts])
    expected = every[which, torch.arange(4)]
    assert_exact(got, expected, family)
    assert (every[0] - every[1]).abs().max() > 1e3 * EXACT[family]
