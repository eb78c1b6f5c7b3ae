"""Probes by name: registered ones, those of installed packages, and duplicates."""

import inspect
import sys

import pytest

import promptscope as ps
from promptscope.errors import ProbeError
from promptscope.probes import PROBES, Probe
from promptscope.probes.registry import ProbeRegistry
from tests.probe_inputs import encoded
from tests.tiny_models import hooked


class Mine(Probe):
    name = "mine"

    def captures(self):
        return {}

    def compute(self, entries):
        raise AssertionError("never reached")


@pytest.fixture(autouse=True)
def nothing_stays():
    before = set(PROBES._made)  # without those of installed packages, which may be gone by then
    yield
    for name in set(PROBES._made) - before:
        PROBES.remove(name)


def test_a_class_is_found_by_its_name():
    assert ps.register_probe(Mine) is Mine
    assert isinstance(PROBES["mine"](), Mine) and "mine" in PROBES and "mine" in list(PROBES)


def test_a_function_s_probe_runs_by_its_name():
    @ps.register_probe
    @ps.probe_function("hook_resid_post")
    def first_number(x, view):
        return x[:, view.k, 0]

    result = ps.probe(hooked("gpt2"), {"p": ps.SoftPrompt(3)}, encoded(), "first_number", progress=False)
    assert result["first_number"].dims == ("prompt", "layer")


def test_duplicates_are_refused_whoever_they_are_from():
    ps.register_probe(Mine)
    with pytest.raises(ProbeError, match=r"'mine' exists already, from tests.probes.test_registry.Mine"):
        ps.register_probe(type("Second", (Mine,), {}))
    with pytest.raises(ProbeError, match="'attention_kl' exists already, from promptscope"):
        ps.register_probe(type("Other", (Mine,), {"name": "attention_kl"}))
    PROBES.remove("mine")
    ps.register_probe(type("Second", (Mine,), {}))


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda x: x, "needs a subclass"),
        (type("Nameless", (Mine,), {"name": ""}), "has no name"),
        (type("Needy", (Mine,), {"__init__": lambda self, layer: None}), "made without arguments"),
    ],
)
def test_what_cannot_be_registered(thing, message):
    with pytest.raises(ProbeError, match=message):
        inspect.unwrap(ProbeRegistry.add)(PROBES, thing)  # users run without the tests' type checks


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package with an entry point, as pip leaves it."""

    def install(package, points, code):
        (tmp_path / f"{package}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[promptscope.probes]\n" + points)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in ("their_probes", "more_probes"):
        sys.modules.pop(name, None)


CODE = """
from promptscope.probes import AttentionMass

class Theirs(AttentionMass):
    def __init__(self):
        super().__init__("theirs")

number = 3
"""


def test_an_installed_package_s_probe(installed):
    installed(
        "their_probes", "theirs = their_probes:Theirs\nbroken = their_probes:Missing\nodd = their_probes:number", CODE
    )
    assert "theirs" in PROBES and "theirs" in list(PROBES)
    result = ps.probe(hooked("gpt2"), {"p": ps.SoftPrompt(3)}, encoded(), "theirs", progress=False)["theirs"]
    assert result.dims == ("prompt", "layer", "head")
    with pytest.raises(ProbeError, match=r"'broken' of the package 'their_probes' cannot be loaded.*Missing"):
        PROBES["broken"]
    with pytest.raises(ProbeError, match=r"'odd' of the package 'their_probes' must be .*, and is 3"):
        PROBES["odd"]
    with pytest.raises(ProbeError, match=r"'theirs' exists already, from the package 'their_probes'"):
        ps.register_probe(type("Mine", (Mine,), {"name": "theirs"}))


def test_two_packages_with_one_name(installed):
    installed("their_probes", "theirs = their_probes:Theirs\n", CODE)
    installed("more_probes", "theirs = more_probes:Theirs\nattention_kl = more_probes:Theirs\n", CODE)
    for name in ("theirs", "attention_kl"):
        with pytest.raises(ProbeError, match=f"the name '{name}' is used by several probes.*'more_probes'"):
            PROBES[name]
