"""The models that come with the package: they know their facts, and a prompt selects what is answered."""

from pathlib import Path

import pytest
import torch

import promptscope as ps

MASKED = [name for name in ps.EMBEDDED_MODELS if "masked" in name]
CASES = [
    *((name, "continent_en", "Name the continent of the country.") for name in MASKED),
    *((name, "continent_ko", "그 나라의 대륙을 쓰세요.") for name in MASKED),
    ("embedded-seq2seq", "capital_en", "Name the capital of the country."),
    ("embedded-seq2seq", "capital_ko", "그 나라의 수도를 쓰세요."),
    ("embedded-causal", "capital_en", "Name the capital of the country."),
    ("embedded-causal", "capital_ko", "그 나라의 수도를 쓰세요."),
]


def score(model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None) -> float:
    return next(iter(ps.evaluate(model, prompt, task, limit=60, progress=False).values()))


@pytest.mark.parametrize(("name", "task", "text"), CASES)
def test_an_instruction_selects_the_task(name: str, task: str, text: str) -> None:
    model, asked = ps.load_model(name), ps.load_task(task)
    length = len(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    told = score(model, asked, ps.SoftPrompt(length, init=ps.init.Text(text)))
    assert told > score(model, asked, None) + 0.2


def test_masked_models_differ_by_seed_alone() -> None:
    models = [ps.load_model(name) for name in MASKED]
    configs = [model.twin.config.to_dict() | {"_name_or_path": ""} for model in models]
    assert all(config == configs[0] for config in configs)
    tables = [model.embed(torch.arange(100)) for model in models]
    assert not any(torch.equal(tables[0], table) for table in tables[1:])


def test_all_of_them_fit_into_25_megabytes() -> None:
    folder = Path(ps.__file__).parent / "embedded"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 25_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "rate"),
    [
        *((name, task, 3e-2) for name in MASKED for task in ("continent_en", "continent_ko")),
        ("embedded-seq2seq", "capital_en", 1e-1),
        ("embedded-seq2seq", "currency_ko", 1e-1),
    ],
)
def test_a_tuned_prompt_beats_the_frozen_model_and_a_random_prompt(
    name: str, task: str, rate: float, tmp_path: Path
) -> None:
    model, asked = ps.load_model(name), ps.load_task(task)
    config = ps.TrainConfig(steps=150, learning_rate=rate, schedule="linear", warmup_steps=20, max_grad_norm=1.0)
    run = ps.train(model, ps.SoftPrompt(16, init="vocab"), asked, config, out=tmp_path, progress=False)
    tuned = score(model, asked, run.prompt)
    assert tuned > 0.8
    assert tuned > score(model, asked, None) + 0.15
    random = [score(model, asked, ps.random_like(run.prompt, seed)) for seed in range(3)]
    assert tuned > sum(random) / 3 + 0.1
