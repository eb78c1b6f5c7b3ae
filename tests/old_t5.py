"""Beside transformers before 5.15, T5 computes attention in its own code: it runs unpacked, and a warning says so."""

import pytest
from transformers.models.t5.modeling_t5 import T5Attention

PACKED_T5 = "ALL_ATTENTION_FUNCTIONS" in T5Attention.forward.__code__.co_names
REASON = "transformers before 5.15 computes T5's attention in its own code: no packed pass, no reference reaches it"

needs_packed_t5 = pytest.mark.skipif(not PACKED_T5, reason=REASON)
