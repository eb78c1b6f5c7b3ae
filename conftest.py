"""Examples in docstrings share one loaded model of each name: loading, with its self-test, is most of their time."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

import promptscope as ps

_load: Callable[..., ps.HookedModel] = ps.load_model
_loaded = cache(_load)


@pytest.fixture(autouse=True)
def models_of_examples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `ps.load_model("embedded-...")` in an example give the model of the example before."""

    def load(name: Any, **options: Any) -> ps.HookedModel:
        shared = isinstance(name, str) and name in ps.EMBEDDED_MODELS and not options
        return _loaded(name) if shared else _load(name, **options)

    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.setattr(ps, "load_model", load)
    yield
