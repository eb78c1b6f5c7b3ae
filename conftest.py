"""Examples in docstrings share one loaded model of each name: loading, with its self-test, is most of their time."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest


@cache
def _loaded(name: str) -> Any:
    from promptscope.models import load_model

    return load_model(name)


@pytest.fixture(autouse=True)
def models_of_examples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `ps.load_model("embedded-...")` in an example give the model of the example before."""
    if isinstance(request.node, pytest.DoctestItem):
        # Not at the top: old releases of jaxtyping put their checks in after this file was read, and refuse to if the
        # package is imported by then.
        import promptscope as ps

        load_anew = ps.load_model

        def load(name: Any, **options: Any) -> Any:
            shared = isinstance(name, str) and name in ps.EMBEDDED_MODELS and not options
            return _loaded(name) if shared else load_anew(name, **options)

        monkeypatch.setattr(ps, "load_model", load)
    yield
