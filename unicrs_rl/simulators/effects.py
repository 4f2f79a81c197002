"""The coefficient table of the latent seeker: what strategies do to people, as a value and as TOML.

The table is estimated from human dialogues by ``unicrs-rl calibrate`` and read by
:mod:`~unicrs_rl.simulators.latent`; one is packaged as ``human.toml``. The model behind it, for a
dialogue in which strategy ``s`` was used ``n_s`` times by the recommender:

- effective uses ``x_s = 1 + wear + … + wear**(n_s - 1)``;
- percept ``k`` (how warm, trustworthy, persuasive and pressing the recommender seems):
  ``latent_k = Σ_s beta[s, k]·x_s + Σ_j gamma[j, k]·z_j + eps_k`` with ``eps ~ N(0, residual)`` and
  traits ``z ~ N(0, trait correlation)``; the rating on the five-point scale is the number of
  ``cutpoints_k`` below ``latent_k``, plus one (ordered probit);
- acceptance: ``P = sigmoid(base + slope·fit + Σ_k a[k]·latent_k + Σ_s delta[s]·x_s)``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from unicrs_rl.dialogue import STRATEGIES, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.readers.files import first_problem, read_text

PERCEPTS: Mapping[str, str] = {
    "warm": "warm",
    "trustworthy": "trustworthy",
    "persuasive": "persuasive",
    "pressure": "pressure_me",
}
"""What a seeker feels about the recommender, and the question of INSPIRED's survey that asks for it."""
SURVEY_TRAITS: Mapping[str, tuple[str, int]] = {
    "patience": ("Neurotic", -1),
    "openness": ("Open", 1),
    "clarity": ("Conscientious", 1),
    "sociability": ("Extrovert", 1),
    "trustfulness": ("Agreeable", 1),
}
"""Session trait -> the column of INSPIRED's personality survey that stands for it, and its sign."""
BEHAVIOURS: Mapping[str, str] = {
    "indifferent": "turn",
    "changed-mind": "dialogue",
    "second-intent": "turn",
    "off-topic": "turn",
    "encouraging": "turn",
    "hedging": "turn",
}
"""What seekers do off the path, and what its rate is a share of."""

_NUMBERS = re.compile(r"\[\n([^\[\]\"]*?),?\n *\]")
_PACKAGED = "human.toml"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(NamedTuple):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float


class Provenance(_Table):
    """Where a table comes from.

    Attributes:
        command: what wrote it.
        version: of unicrs-rl.
        corpora: name -> number of dialogues.
        files: SHA-256 of each file that was read, by corpus and name.
        seed: of the bootstrap and the folds.
        bootstrap: resamples of dialogues behind the intervals.
        notes: what was missing or fell back.
    """

    command: str
    version: str
    corpora: dict[str, int]
    files: dict[str, str]
    seed: int
    bootstrap: int
    notes: tuple[str, ...] = ()


class Uses(_Table):
    """How often a strategy occurs: ``uses`` recommender utterances in ``dialogues`` dialogues."""

    uses: int
    dialogues: int


class Perception(_Table):
    """How one percept arises.

    Attributes:
        question: of the survey.
        dialogues: that were rated.
        cutpoints: between the five ratings, ascending.
        strategies: ``beta``, in residual standard deviations per effective use.
        traits: ``gamma``, per standard deviation of the trait.
    """

    question: str
    dialogues: int
    cutpoints: tuple[float, float, float, float]
    strategies: dict[Strategy, Estimate]
    traits: dict[str, Estimate]

    @field_validator("cutpoints")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(value):
            raise ValueError("cutpoints must ascend")
        return value


class Acceptance(_Table):
    """How acceptance arises, in log-odds.

    What humans show of the fit is a proxy among items that were all meant to fit
    (:attr:`human_base`, :attr:`human_fit`); it cannot say how likely an item that does not fit at all
    is taken. The simulator's own ``base`` and ``fit`` are therefore assumed, and say so.

    Attributes:
        dialogues: that have an outcome and ratings.
        base: of the simulator, assumed.
        fit: of the simulator, assumed: slope of the fit in [0, 1].
        fit_source: why these.
        human_base: intercept, estimated.
        human_fit: slope of the proxy in [0, 1], estimated.
        fit_dialogues: dialogues in which the proxy could be measured.
        percepts: ``a``, per standard deviation of the percept's residual.
        strategies: ``delta``, direct effect per effective use.
    """

    dialogues: int
    base: float
    fit: float
    fit_source: str
    human_base: Estimate
    human_fit: Estimate
    fit_dialogues: int
    percepts: dict[str, Estimate]
    strategies: dict[Strategy, Estimate]


class Trait(_Table):
    """A session trait in the survey: column, sign, and its mean and standard deviation over seekers."""

    survey: str
    sign: int
    mean: float
    sd: float
    seekers: int


class Rate(_Table):
    """How often people do something.

    Attributes:
        rate: share, with its 95% interval (mean over corpora).
        per: ``turn`` (a seeker's turn) or ``dialogue``.
        hits: by corpus.
        of: turns or dialogues looked at, by corpus.
    """

    rate: Estimate
    per: str
    hits: dict[str, int]
    of: dict[str, int]


class HumanDialogues(_Table):
    """Diversity of the human dialogues of a corpus, see :class:`~unicrs_rl.judging.diversity.Diversity`.

    A turn is a run of recommender utterances and the reply to it; what a corpus does not show is missing.
    """

    dialogues: int
    length: float
    length_sd: float
    dist4: float | None = None
    dist4_dialogue: float | None = None
    response_entropy: float | None = None
    act_mix: dict[str, float] = {}
    reply_mix: dict[str, float]


class EffectTable(_Table):
    """All coefficients.

    Attributes:
        wear: each further use of the same strategy counts this much as the one before.
        penalties: of the ridge, by model.
        uses: sample sizes by strategy.
        perception: by percept.
        residual: correlation of the percepts given strategies and traits: ``[percepts, percepts]``.
        acceptance: of an item that is offered.
        traits: by name.
        trait_correlation: ``[traits, traits]``, in the order of :data:`SURVEY_TRAITS`.
        off_path: by behaviour.
        human: by corpus.
    """

    provenance: Provenance
    wear: float = Field(gt=0, le=1)
    penalties: dict[str, float]
    uses: dict[Strategy, Uses]
    perception: dict[str, Perception]
    residual: tuple[tuple[float, ...], ...]
    acceptance: Acceptance
    traits: dict[str, Trait]
    trait_correlation: tuple[tuple[float, ...], ...]
    off_path: dict[str, Rate]
    human: dict[str, HumanDialogues]

    @model_validator(mode="after")
    def _complete(self) -> EffectTable:
        by_strategy: list[tuple[str, Mapping[Strategy, object]]] = [
            ("uses", self.uses),
            ("acceptance.strategies", self.acceptance.strategies),
            *((f"perception.{name}.strategies", p.strategies) for name, p in self.perception.items()),
        ]
        by_name: list[tuple[str, Mapping[str, object], Mapping[str, object]]] = [
            ("perception", self.perception, PERCEPTS),
            ("acceptance.percepts", self.acceptance.percepts, PERCEPTS),
            ("traits", self.traits, SURVEY_TRAITS),
            *((f"perception.{name}.traits", p.traits, SURVEY_TRAITS) for name, p in self.perception.items()),
            ("off_path", self.off_path, BEHAVIOURS),
        ]
        for place, strategies in by_strategy:
            for strategy in STRATEGIES:
                if strategy not in strategies:
                    raise ValueError(f"{place}: {strategy.value} is missing")
        for place, given, expected in by_name:
            for name in expected:
                if name not in given:
                    raise ValueError(f"{place}: {name} is missing")
        for place, matrix, size in (
            ("residual", self.residual, len(PERCEPTS)),
            ("trait_correlation", self.trait_correlation, len(SURVEY_TRAITS)),
        ):
            _check_correlation(place, matrix, size)
        return self

    @classmethod
    def read(cls, path: Path | None = None) -> EffectTable:
        """The table of a file, or the packaged one.

        Raises:
            InputError: if it cannot be read or is no such table.
        """
        if path is None:
            return _packaged()
        return cls.parse(read_text(path), str(path))

    @classmethod
    def parse(cls, text: str, place: str) -> EffectTable:
        """The table of a text.

        Raises:
            InputError: naming ``place``.
        """
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{place}: not valid TOML ({error})") from None
        except ValidationError as error:
            raise InputError(
                f"{place}: {first_problem(error)}; unicrs-rl calibrate writes such a table"
            ) from None

    def toml(self) -> str:
        """The table as a file's text, numbers to four significant digits."""
        text = tomli_w.dumps(_rounded(self.model_dump(mode="json", exclude_none=True)))
        text = _NUMBERS.sub(lambda match: f"[{', '.join(match[1].split())}]".replace(",,", ","), text)
        return f"# {self.provenance.command}\n# Written by this command: do not edit, run it again.\n\n{text}"

    @property
    def beta(self) -> NDArray[np.float64]:
        """Effect of an effective use on each percept: ``[strategies, percepts]``."""
        return np.array(
            [[self.perception[name].strategies[s].value for name in PERCEPTS] for s in STRATEGIES]
        )

    @property
    def gamma(self) -> NDArray[np.float64]:
        """Effect of a trait on each percept: ``[traits, percepts]``, traits as in :data:`SURVEY_TRAITS`."""
        return np.array(
            [[self.perception[name].traits[trait].value for name in PERCEPTS] for trait in SURVEY_TRAITS]
        )

    @property
    def cutpoints(self) -> NDArray[np.float64]:
        """``[percepts, 4]``."""
        return np.array([self.perception[name].cutpoints for name in PERCEPTS])

    @property
    def a(self) -> NDArray[np.float64]:
        """Log-odds of acceptance per unit of each percept: ``[percepts]``."""
        return np.array([self.acceptance.percepts[name].value for name in PERCEPTS])

    @property
    def delta(self) -> NDArray[np.float64]:
        """Log-odds of acceptance per effective use of each strategy: ``[strategies]``."""
        return np.array([self.acceptance.strategies[s].value for s in STRATEGIES])


@cache
def _packaged() -> EffectTable:
    text = resources.files(__package__).joinpath(_PACKAGED).read_text("utf-8")
    return EffectTable.parse(text, _PACKAGED)


def _check_correlation(place: str, matrix: tuple[tuple[float, ...], ...], size: int) -> None:
    if len(matrix) != size or any(len(row) != size for row in matrix):
        raise ValueError(f"{place}: {size} rows of {size} numbers are expected")
    table = np.array(matrix)
    if not np.allclose(table, table.T) or not np.allclose(np.diag(table), 1):
        raise ValueError(f"{place}: no correlation matrix")
    if np.linalg.eigvalsh(table)[0] < -1e-6:
        raise ValueError(f"{place}: not positive semidefinite")


def _rounded(value: Any) -> Any:
    """The same with numbers to four significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
