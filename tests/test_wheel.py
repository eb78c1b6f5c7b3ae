"""The wheel holds all that the package reads, and runs where nothing of the repository is."""

import shutil
import subprocess
import sys
import zipfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building leaves folders in the source
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "promptscope", source / "promptscope", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, capture_output=True)
    (built,) = folder.glob("promptscope-*.whl")
    return built


@pytest.mark.slow
def test_everything_that_is_read_is_in_the_wheel(wheel: Path) -> None:
    kept = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    tracked = subprocess.run(["git", "ls-files", "promptscope"], cwd=ROOT, capture_output=True, text=True, check=True)
    read = {name for name in tracked.stdout.split() if not name.endswith("README.md")}
    assert read - kept == set()


@pytest.mark.slow
def test_it_installs_into_an_empty_environment_and_runs_there(wheel: Path, tmp_path: Path) -> None:
    """With its dependencies, from the package index; `twine check` has nothing to say."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "empty")], check=True)
    python = str(tmp_path / "empty" / "bin" / "python")
    constraints = str(ROOT / "constraints.txt")
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints, str(wheel), "twine"]
    subprocess.run(install, check=True, capture_output=True)
    checked = subprocess.run([python, "-m", "twine", "check", "--strict", str(wheel)], capture_output=True, text=True)
    assert checked.returncode == 0 and "PASSED" in checked.stdout, checked.stdout + checked.stderr
    code = (
        "import promptscope as ps; model = ps.load_model('embedded-causal'); print(ps.__file__); "
        "print(ps.evaluate(model, None, ps.load_task('continent_en'), limit=2, progress=False)['n'])"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    where, n = run([python, "-c", code]).stdout.split()
    assert Path(where).is_relative_to(tmp_path) and n == "2.0"
    command = str(tmp_path / "empty" / "bin" / "promptscope")
    assert run([command, "--version"]).stdout.strip().endswith(version("promptscope"))
