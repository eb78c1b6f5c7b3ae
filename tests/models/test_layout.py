"""Right padding from any padding, and back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from promptscope.models.layout import prepend_slots, restore_order, to_right_padding

MASKS = st.integers(1, 8).flatmap(lambda n: st.lists(st.lists(st.integers(0, 1), min_size=n, max_size=n), min_size=1))


@given(MASKS)
def test_real_tokens_come_first_in_their_order_and_find_back(rows: list[list[int]]) -> None:
    mask = torch.tensor(rows)
    order = to_right_padding(mask)
    places = torch.arange(mask.shape[1]).expand_as(mask)
    for row, placed, kept in zip(mask, places.gather(1, order), mask.gather(1, order), strict=True):
        n = int(row.sum())
        assert kept.tolist() == [1] * n + [0] * (len(row) - n)
        assert placed[:n].tolist() == row.nonzero().flatten().tolist()
    values = torch.randn(*mask.shape, 2)
    there = values.gather(1, order[:, :, None].expand_as(values))
    assert torch.equal(restore_order(there, order), values)


def test_slots_stand_in_front() -> None:
    assert prepend_slots(torch.tensor([[5, 6]]), 2, fill=1).tolist() == [[1, 1, 5, 6]]
