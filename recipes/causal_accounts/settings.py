"""What decides the numbers: tasks, prompts, training, and how much is measured."""

from dataclasses import dataclass

from promptscope.account import Settings

PARTS = ("answers", "layers", "routes", "direction", "words")
"""The parts that the questions need."""

INSTRUCTIONS = {
    "fv/country-capital": "Give the capital of the country.",
    "fv/singular-plural": "Give the plural of the word.",
    "fv/antonym": "Give the opposite of the word.",
    "capital_en": "Name the capital:",
    "continent_en": "Which continent?",
    "currency_en": "Which currency do they use?",
}
"""Each task in words; a task that is not here is compared with few-shot examples alone."""


@dataclass(frozen=True)
class Study:
    """Prompts of each kind and seed on each task, and what is measured of each.

    `limit`: inputs for an account; `few`: inputs where many variants are run; `layers`: how many layers are measured,
    evenly spaced.
    """

    tasks: tuple[str, ...]
    kinds: tuple[str, ...] = ("v1", "v2")
    seeds: int = 3
    length: int = 10
    steps: int = 60
    train_batch: int = 8
    rates: tuple[float, ...] = (0.03, 0.1)
    limit: int = 16
    few: int = 8
    layers: int = 5
    n_random: int = 2
    shots: int = 2
    batch_size: int = 16
    exact: bool = False

    POSITIVE = ("seeds", "length", "steps", "train_batch", "rates", "limit", "few", "layers", "batch_size")

    @property
    def account(self) -> Settings:
        """Settings of `ps.explain`."""
        return Settings(
            limit=self.limit, few=self.few, layers=self.layers, exact=self.exact, n_random=self.n_random,
            shots=self.shots, batch_size=self.batch_size,
        )  # fmt: skip


_WORDS = ("fv/country-capital", "fv/singular-plural", "fv/antonym")
_FACTS = ("continent_en", "capital_en", "currency_en")

PRESETS = {
    "smoke": Study(("continent_en", "capital_en"), seeds=1, length=3, steps=3, limit=6, few=4, layers=3, n_random=1),
    "embedded": Study(_FACTS, steps=80, limit=32, few=12, layers=5, shots=4, exact=True),
    "small": Study(_WORDS, steps=40, limit=16, few=6),
    "full": Study(_WORDS, length=20, steps=300, train_batch=16, limit=64, few=32, layers=8, n_random=3, exact=True),
}
"""`small`: an hour or two on one core with a model of 135 million parameters; `embedded`: all heads exactly, in
minutes, on the model that comes with the package; `full`: as `promptscope explain` measures by default."""
