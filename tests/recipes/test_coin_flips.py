"""Closed forms against numerical integration, and the whole recipe once, small."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from recipes.coin_flips.bayes import best_flips, divergence, laplace, posterior
from recipes.coin_flips.tasks import coin_task, counts

RUN = Path(__file__).resolve().parents[2] / "recipes" / "coin_flips" / "run.py"


@pytest.mark.parametrize(("heads", "flips"), [(0, 0), (3, 4), (2, 9)])
def test_laplace_is_the_posterior_mean_under_a_uniform_prior(heads, flips):
    whole = integrate.quad(lambda b: stats.binom.pmf(heads, flips, b), 0, 1)[0]
    mean = integrate.quad(lambda b: b * stats.binom.pmf(heads, flips, b), 0, 1)[0] / whole
    assert laplace(np.array([float(heads)]), np.array([float(flips)])) == pytest.approx(mean)


def test_the_posterior_over_two_coins_is_bayes_rule_written_out():
    heads, flips = 5, 7
    like = [stats.binom.pmf(heads, flips, bias) for bias in (0.2, 0.8)]
    expected = (0.2 * like[0] + 0.8 * like[1]) / sum(like)
    assert posterior(np.array([0.2, 0.8]), np.array([5.0]), np.array([7.0])) == pytest.approx(expected)


def test_divergence_is_scipys():
    best, said = np.array([0.8, 0.3]), np.array([0.5, 0.9])
    expected = [stats.entropy([b, 1 - b], [s, 1 - s]) for b, s in zip(best, said, strict=True)]
    np.testing.assert_allclose(divergence(best, said), expected)


def test_words_fit_one_coin_and_not_two():
    heads, flips = counts(coin_task("two coins", 4, 200))
    lengths = [best_flips(np.array([0.8]), np.zeros(1), np.zeros(1), k)[1] for k in (1, 10, 100)]
    assert lengths == sorted(lengths, reverse=True) and lengths[-1] < 1e-3
    # Every flip as a prompt hides which of two coins it is.
    two = [best_flips(np.array([0.2, 0.8]), heads, flips, k)[1] for k in (0, 10)]
    assert two[1] > two[0] > 0


@pytest.mark.slow
def test_a_tuned_prompt_comes_nearer_to_bayes(tmp_path):
    small = ["--steps", "300", "--prompt-steps", "60", "--seeds", "1", "--texts", "100", "--explained", "12"]
    subprocess.run([sys.executable, str(RUN), "--out", str(tmp_path), *small], check=True, capture_output=True)
    table = pd.read_csv(tmp_path / "distances.csv").set_index(["source", "condition"])["kl"]
    assert (table >= 0).all()
    for kind in ("v1", "v2"):
        before, after = (
            table["one coin", f"trained network, {which}"] for which in ("no prompt", f"tuned {kind} prompt")
        )
        assert after < before / 2
    assert "hold for the untrained network" in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert len(pd.read_csv(tmp_path / "claims.csv")) == 12
