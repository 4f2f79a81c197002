"""How many dialogues and training seeds detect a difference, from a run that serves as a pilot.

The pilot says how much a comparison varies: between trainings of each arm, between dialogues, and in what
neither explains. Which differences are worth detecting, it does not say: the one it happened to find is no
guide (Hoenig and Heisey, The American Statistician 55:19, 2001).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.comparisons import POWER, Tables, alpha_of, rounded
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.results import check_results, check_whole, values_of
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.statistics import Components, components_of, detectable, needed, power
from unicrs_rl.judging.metrics import METRIC_BY_NAME

SEEDS = (1, 2, 3, 5, 10)
"""Training seeds that are thought of, unless told otherwise."""


@dataclass(frozen=True)
class Pilot:
    """A finished comparison."""

    name: str
    config: RunConfig
    values: Tables

    @classmethod
    def read(cls, path: Path, name: str | None = None) -> Pilot:
        """From its run folder.

        Raises:
            InputError: if it is none, the run is not finished, or dialogues of it were lost.
        """
        folder, config = RunFolder.read(path)
        if not folder.results.is_file():
            raise InputError(
                f"{path}: the run is not finished (there is no results.json in it); "
                f"compare --config {path / 'config.toml'} --resume --out {path} goes on"
            )
        found = folder.read_json(folder.results)
        check_results(folder.results, found)
        by_arm: dict[str, dict[int, dict[int, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
        for line in folder.read_traces():
            by_arm[line["arm"]][line["seed"]][line["index"]] = {"metrics": line["metrics"]}
        held = {arm: sum(map(len, by_seed.values())) for arm, by_seed in by_arm.items()}
        check_whole(folder.traces, held, found)
        values = {arm: values_of(by_arm[arm], config.dialogues) for arm in config.arms}
        return cls(str(path) if name is None else name, config, values)

    def of(self, config: RunConfig, place: Path) -> Pilot:
        """It as the pilot of a run that is planned: asked about what that run declares to decide.

        Args:
            place: its run folder, for the message.

        Raises:
            InputError: naming in what else than sizes the two differ.
        """
        if (differs := difference(self.config, config)) is not None:
            raise InputError(f"{place}: no pilot of {self.name} ({differs}); name another --pilot")
        return replace(self, config=self.config.model_copy(update={"statistics": config.statistics}))


def difference(pilot: RunConfig, planned: RunConfig) -> str | None:
    """In what a pilot is no pilot of a run; ``None`` where it is one.

    Sizes and training seeds may differ.
    """
    sides = (pilot, planned)
    compared = {
        "arms": [", ".join(one.arms) for one in sides],
        "primary metrics": [", ".join(one.statistics.primary) for one in sides],
        "user": [one.user for one in sides],
        "world": [one.world for one in sides],
    }
    differs = [
        f"{name}: {has}, in the study {wanted}" for name, (has, wanted) in compared.items() if has != wanted
    ]
    return "; ".join(differs) or None


@dataclass(frozen=True)
class Question:
    """What is to be detected.

    Attributes:
        differences: by metric, in its units; with none, the smallest detectable one is told.
        power: chance with which.
        level: over all comparisons of the family; ``None``: that of the run.
        seeds: training seeds to think of.
    """

    differences: Mapping[str, Sequence[float]]
    power: float = POWER
    level: float | None = None
    seeds: tuple[int, ...] = SEEDS


def parse_differences(text: str, metrics: Sequence[str]) -> dict[str, list[float]]:
    """``0.02,0.05`` for each of the metrics, or ``sr@15=0.05,at=0.5``.

    Raises:
        InputError: if there is no such metric, or something is no size.
    """
    found: dict[str, list[float]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, size = part.rpartition("=")
        if equals:
            METRIC_BY_NAME[name]
        try:
            value = float(size)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise InputError(f"--difference {part}: {size!r} is no number above 0")
        for metric in [name] if equals else metrics:
            found.setdefault(metric, []).append(value)
    return found


def ask(pilot: Pilot, question: Question) -> dict[str, Any]:
    """What the pilot says about each primary comparison of its family.

    Raises:
        InputError: if it has no comparison that can be thought about.
    """
    config, rows = pilot.config, []
    rules = config.statistics
    if question.level is not None:
        rules = rules.model_copy(update={"level": question.level})
    alpha = alpha_of(rules, len(config.arms))
    for a, b in combinations(config.arms, 2):
        if not rules.family.has(config.arms, a, b):
            continue
        for metric in dict.fromkeys((*rules.primary, *question.differences)):
            learned = config.trains(a), config.trains(b)
            try:
                found = components_of(pilot.values[a][metric], pilot.values[b][metric], learned)
            except ValueError:
                continue
            names = [arm for arm, learns in zip((a, b), learned, strict=True) if learns]
            rows.append(
                {"a": a, "b": b, "metric": metric}
                | _varies(found, names)
                | _answers(found, config, question.differences.get(metric, ()), question, alpha)
            )
    if not rows:
        raise InputError(f"{pilot.name}: no two arms with a primary metric in common to compare")
    return {
        "pilot": pilot.name,
        "dialogues": config.dialogues,
        "seeds": len(config.seeds),
        "primary": list(rules.primary),
        "family": rules.family.value,
        "level": rules.level,
        "level_of_each": rounded(alpha),
        "power": question.power,
        "comparisons": rows,
    }


def _varies(found: Components, names: Sequence[str]) -> dict[str, Any]:
    """Standard deviations, in units of the metric."""
    between = {
        arm: None if one.between is None else rounded(math.sqrt(one.between))
        for arm, one in zip(names, found.trained, strict=True)
    }
    rest = {
        arm: rounded(math.sqrt(one.rest))
        for arm, one in zip(names, found.trained, strict=True)
        if one.between is not None
    }
    return {
        "sd": {"dialogues": rounded(math.sqrt(found.dialogues)), "seeds": between, "rest": rest},
        "share": rounded(found.share),
    }


def _answers(
    found: Components, config: RunConfig, differences: Sequence[float], question: Question, alpha: float
) -> dict[str, Any]:
    """Power and smallest detectable difference as it is, and the sizes that the differences need."""
    dialogues = config.dialogues
    trainings = question.seeds if found.trained else (1,)
    now = len(config.seeds) if found.trained else 1
    least = {
        str(seeds): detectable(found, dialogues, seeds, alpha, question.power)
        for seeds in dict.fromkeys((now, *trainings))
    }
    return {
        "detectable": {seeds: None if size is None else rounded(size) for seeds, size in least.items()},
        "differences": [
            {
                "difference": size,
                "power": rounded(power(found, size, dialogues, now, alpha)),
                "dialogues": {
                    str(seeds): needed(found, size, seeds, alpha, question.power) for seeds in trainings
                },
            }
            for size in differences
        ],
    }
