"""The shell completes names, from lists that agree with the package, without importing torch."""

import os
import subprocess
import sys

import pytest

import promptscope as ps
from promptscope.account.parts import PARTS
from promptscope.cli import completion
from promptscope.models.loading import EMBEDDED_MODELS
from promptscope.probes import PROBES


def test_lists_agree_with_the_package() -> None:
    assert tuple(PROBES) == completion.PROBES
    assert tuple(PARTS) == completion.PARTS
    assert set(EMBEDDED_MODELS) == set(completion.MODELS)
    assert completion.tasks("") == sorted(ps.list_tasks().index)


@pytest.mark.parametrize(
    "line, expected",
    [
        ("train --task capital", ["capital_en", "capital_ko"]),
        ("train --model embedded-s", ["embedded-seq2seq"]),
        ("train --init v", ["vocab", "vocab:"]),
        ("probe run --probes attention_k", ["attention_kl"]),
        ("probe run --probes attention_kl,lab", ["attention_kl,label_cosine"]),
        ("explain run --parts answers,a", []),
        ("eval run --split te", ["test"]),
        ("eval run --prompt no", ["none"]),
    ],
)
def test_the_shell_is_told_names(line: str, expected: list[str]) -> None:
    words = f"promptscope {line}"
    told = {"_PROMPTSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    code = (
        "import sys; sys.argv = ['promptscope']\n"
        "from promptscope.cli import app\n"
        "try:\n    app(prog_name='promptscope')\n"
        "finally:\n    assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == expected
