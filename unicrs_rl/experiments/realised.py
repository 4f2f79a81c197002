"""What a population of seekers turned out to be, measured in the dialogues that were held with it.

Settings say what seekers should be; this says what they were: how their hidden variables were
distributed, what they did off the path, how often they drifted from their goals, and how much they varied
beside human ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from unicrs_rl.dialogue import Act, Decision, Dialogue, Reply, Strategy, Turn
from unicrs_rl.judging.diversity import Diversity, measure_diversity
from unicrs_rl.simulators.effects import BEHAVIOURS, EffectTable
from unicrs_rl.simulators.off_path import RATES, rates_of
from unicrs_rl.simulators.settings import SeekerConfig

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_PER_DIALOGUE = "dialogue"
_DECIMALS = 6

Latents: TypeAlias = Mapping[str, float]
"""Hidden variables by name."""


@dataclass(frozen=True, slots=True)
class Met:
    """What a dialogue says about its seeker.

    Attributes:
        dialogue: without the recommender's words.
        first, last: the seeker's hidden variables, at first and at the end.
        tracked: its replies were checked against its goal.
    """

    dialogue: Dialogue
    first: Latents
    last: Latents
    tracked: bool

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Met:
        """From a trace; in one of an earlier version nobody leaves the path or drifts."""
        turns = [
            Turn(
                Decision(Act[turn["decision"]["act"].upper()], Strategy(turn["decision"]["strategy"])),
                "",
                _reply(turn["reply"]),
            )
            for turn in line["turns"]
        ]
        last = line["turns"][-1]["latents"] if turns else line["latents"]
        dialogue = Dialogue(str(line["index"]), _reply(line["opening"]), turns)
        return cls(dialogue, line["latents"], last, "goal" in line)

    @property
    def drifted(self) -> bool:
        """Whether any reply drifted from the seeker's goal."""
        return any(turn.reply.drift for turn in self.dialogue.turns)


def _reply(told: Mapping[str, Any]) -> Reply:
    """A reply as a trace tells it."""
    names = ("liked", "disliked", "open", "rejected", "withdrawn", "behaviours", "drift")
    lists = {name: tuple(told.get(name, ())) for name in names}
    return Reply(text=told["text"], accepted=told["accepted"], left=told["left"], **lists)


def measured(met: Sequence[Met]) -> dict[str, Any]:
    """Everything about the seekers of some dialogues, as ``results.json`` has it."""
    return {
        "dialogues": len(met),
        "drift": drift(met) if all(one.tracked for one in met) else None,
        "behaviours": behaviours(met),
        "latents": latents(met),
        "diversity": rounded(measure_diversity([one.dialogue for one in met])),
    }


def drift(met: Sequence[Met]) -> dict[str, Any]:
    """How often seekers drifted: share of dialogues (Wilson interval), and kinds per dialogue."""
    drifted = sum(one.drifted for one in met)
    ends = binomtest(drifted, len(met)).proportion_ci(method="wilson")
    kinds = Counter(kind for one in met for turn in one.dialogue.turns for kind in turn.reply.drift)
    return {
        "share": _round(drifted / len(met)),
        "ci95": [_round(ends.low), _round(ends.high)],
        "per_dialogue": {kind: _round(count / len(met)) for kind, count in sorted(kinds.items())},
    }


def behaviours(met: Sequence[Met]) -> dict[str, float]:
    """How often seekers left the path, by kind: share of replies, or of dialogues (changing one's mind)."""
    done = [[turn.reply.behaviours for turn in one.dialogue.turns] for one in met]
    replies = max(1, sum(map(len, done)))
    return {
        kind: _round(
            sum(any(kind in some for some in talk) for talk in done) / len(met)
            if per == _PER_DIALOGUE
            else sum(kind in some for talk in done for some in talk) / replies
        )
        for kind, per in BEHAVIOURS.items()
    }


def latents(met: Sequence[Met]) -> dict[str, dict[str, dict[str, Any]]]:
    """How each hidden variable was distributed, at first and at the end."""
    names = dict.fromkeys(name for one in met for name in one.first)
    return {
        name: {
            "first": distribution(one.first[name] for one in met if name in one.first),
            "last": distribution(one.last[name] for one in met if name in one.last),
        }
        for name in names
    }


def distribution(values: Iterable[float]) -> dict[str, Any]:
    """Mean, standard deviation (of these values) and :data:`QUANTILES`."""
    column: NDArray[np.float64] = np.array(list(values), dtype=np.float64)
    return {
        "mean": _round(column.mean()),
        "sd": _round(column.std()),
        "quantiles": [_round(quantile) for quantile in np.quantile(column, QUANTILES)],
    }


def told(settings: SeekerConfig) -> dict[str, Any]:
    """How seekers were set, as the protocol of a run tells it.

    Raises:
        InputError: if the coefficient table cannot be read.
    """
    table = EffectTable.read(settings.table)
    rates = rates_of(settings, table)
    return {
        "effects": settings.effects.value,
        "population": settings.population.value,
        "table": hashlib.sha256(table.toml().encode()).hexdigest()[:16],
        "rates": {behaviour.value: getattr(rates, name) for behaviour, name in RATES.items()},
        "latents": {
            name: setting.model_dump(mode="json", exclude_none=True)
            for name, setting in settings.latents.items()
        },
        "tracking": settings.tracking,
        "regenerate": settings.regenerate,
    }


def humans(table: Path | None) -> dict[str, dict[str, Any]]:
    """The diversity of human dialogues by corpus, from a coefficient table.

    Raises:
        InputError: if it cannot be read.
    """
    return {name: corpus.model_dump(mode="json") for name, corpus in EffectTable.read(table).human.items()}


def rounded(diversity: Diversity) -> dict[str, Any]:
    """Diversity as JSON has it."""
    return {name: _rounded(value) for name, value in dataclasses.asdict(diversity).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return _round(value) if isinstance(value, float) else value


def _round(value: float) -> float:
    return round(float(value), _DECIMALS)
