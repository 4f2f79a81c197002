"""Planted truths: a study of a planted world has to recover what was computed of it.

In each planted world (:mod:`unicrs_rl.experiments.planted`) ``unified``, which has joint control of every
column, is trained and compared with a point of the grid that only learns the strategy while a rule decides
the rest. By how much the one beats the other was computed by dynamic programming: that margin has to lie
in the interval that the comparison finds, and each arm has to come within 2% of the best rate of success
that its kind of control can reach.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unicrs_rl.experiments.components import read_world
from unicrs_rl.experiments.config import RunConfig, resolve
from unicrs_rl.experiments.controls.finding import Finding, Size
from unicrs_rl.experiments.controls.learned import dialogues, learned
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.planted import expected_success, planted_problem, settings, truth
from unicrs_rl.experiments.statistics import compare_arms
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.planted import PROBLEMS
from unicrs_rl.graphs.world import Split

CONTROL = "planted"
JOINT, APART = "unified", "grid@decomposed"
SUCCESS = "sr@15"
NEAR = 0.98
"""Share of the computed optimum that a learned policy has to reach."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What is trained.

    Attributes:
        worlds: planted ones.
        seeds: trainings of each arm.
        trained: conversations of a training; ``None``: as the world is meant.
    """

    worlds: tuple[str, ...]
    seeds: int
    trained: int | None = None


EXTENTS = {Size.SMALL: Extent(("planted-coupled",), 2), Size.FULL: Extent(tuple(PROBLEMS), 5)}


def config_of(world: str, extent: Extent) -> RunConfig:
    """The settings of a study of a planted world."""
    trained = {} if extent.trained is None else {"train_dialogues": extent.trained}
    return resolve(
        {**settings(world), **trained, "arms": (JOINT, APART), "seeds": tuple(range(extent.seeds))}
    )


Job = tuple[dict[str, Any], str, int]
"""Settings, arm and training seed."""


def planted(
    size: Size, workers: int = 1, progress: Progress = lambda *_: None, extent: Extent | None = None
) -> list[Finding]:
    """Hold studies of planted worlds against the truth.

    Args:
        workers: processes; no effect on what is found.
        extent: instead of the size's.
    """
    extent = extent or EXTENTS[size]
    configs = {world: config_of(world, extent) for world in extent.worlds}
    jobs = [
        (config.model_dump(), arm, seed)
        for config in configs.values()
        for arm in config.arms
        for seed in config.seeds
    ]
    reached = iter(_run(jobs, workers, lambda done: progress("planted worlds", done, len(jobs))))
    found: list[Finding] = []
    for world, config in configs.items():
        by_arm = {arm: [next(reached) for _ in config.seeds] for arm in config.arms}
        found += recovered(
            world,
            {arm: np.stack([success for success, _ in some]) for arm, some in by_arm.items()},
            {arm: [expected for _, expected in some] for arm, some in by_arm.items()},
        )
    return found


def recovered(
    world: str, tables: Mapping[str, NDArray[np.float64]], expected: Mapping[str, Sequence[float]]
) -> list[Finding]:
    """Whether a study recovered the truth about a planted world.

    Args:
        tables: success of :data:`JOINT` and :data:`APART`, ``[seeds, dialogues]`` each.
        expected: success of each of their trainings with the luck of guesses taken out.
    """
    known = truth(world)
    outcome = compare_arms(tables[JOINT], tables[APART])
    assert outcome is not None  # there are more than two dialogues
    low, high = outcome.low, outcome.high
    margin = Finding(
        CONTROL,
        f"{world}: margin of joint control",
        f"{known.margin:+.3f} in the interval",
        f"{outcome.difference:+.3f} [{low:+.3f}, {high:+.3f}]",
        low - 1e-9 <= known.margin <= high + 1e-9,
        {
            "truth": round(known.margin, 6),
            "difference": round(outcome.difference, 6),
            "ci95": [round(low, 6), round(high, 6)],
            "p": round(outcome.p, 6),
        },
    )
    best = {JOINT: known.joint, APART: known.decomposed}
    return [margin, *(_near(world, arm, best[arm], rates) for arm, rates in expected.items())]


def _near(world: str, arm: str, best: float, trainings: Sequence[float]) -> Finding:
    rates = np.array(trainings)
    return Finding(
        CONTROL,
        f"{world}: {arm} against the optimum of its control",
        f"at least {NEAR:.0%} of {best:.3f}",
        f"{rates.mean():.3f} over {len(rates)} trainings ({rates.mean() / best:.1%})",
        bool(rates.mean() >= NEAR * best - 1e-9),
        {"optimum": round(best, 6), "by_training": [round(float(rate), 6) for rate in rates]},
    )


Reached = tuple[NDArray[np.float64], float]
"""Whether a training succeeds in each dialogue, ``[dialogues]``, and the success to be expected of it."""


def _run(jobs: Sequence[Job], workers: int, tell: Callable[[int], None]) -> list[Reached]:
    found = []
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            found.append(success(job))
            tell(len(found))
        return found
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for reached in pool.map(success, jobs):
            found.append(reached)
            tell(len(found))
    return found


def success(job: Job) -> Reached:
    """Train an arm in a planted world, and hold one dialogue for everybody in its population."""
    torch.set_num_threads(1)
    given, arm, seed = job
    config = RunConfig.model_validate(given)
    components = shared_components(config, read_world(config), None, keep=False)
    sessions = components.world.sessions(Split.TEST, config.dialogues, config.evaluation_seed)
    held = dialogues(learned(arm, seed, components), arm, seed, components, sessions)
    hits = np.array([line["metrics"][SUCCESS] for line in held], dtype=np.float64)
    return hits, expected_success(planted_problem(config.world), held)
