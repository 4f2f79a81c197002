"""A/A: an arm against itself, trained with other seeds. Whatever is detected is a false alarm.

Each repetition trains both sides afresh, each with training seeds of its own, and holds held-out dialogues
of its own, so that repetitions have nothing in common but the world. What decides is the very function
that makes the comparisons of every run (:func:`~unicrs_rl.experiments.comparisons.comparisons`): the
primary metrics, Holm's correction, the interval and the p of arms with several trainings. A repetition
counts as a false alarm if anything primary is detected. Of R repetitions at most the level may raise one;
the control fails where an exact binomial test says that there are more.

For contrast it is told how often a statistic that takes the trainings as they are (the permutation test over
dialogues alone, corrected in the same way) would have raised one: trainings differ, and such a statistic
takes their luck for a difference between arms.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

import unicrs_rl
from unicrs_rl.experiments.comparisons import Tables, comparisons
from unicrs_rl.experiments.components import Components, read_world
from unicrs_rl.experiments.config import RunConfig, resolve
from unicrs_rl.experiments.controls.finding import Finding, Size
from unicrs_rl.experiments.controls.learned import learned, outcomes
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import Split
from unicrs_rl.judging.metrics import METRICS

CONTROL = "aa"
ARM = "unified"
SIDES = (ARM, f"{ARM}@again")

Repetition = dict[str, dict[str, list[list[float | None]]]]
"""Side -> primary metric -> ``[seeds, dialogues]``, as JSON has it."""
Row = Mapping[str, Any]
"""A comparison of the two sides on a metric, as ``results.json`` has it."""
Decide = Callable[[RunConfig, Sequence[Row]], bool]
"""Whether anything is detected."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How often an arm is compared with itself, and what each side is given.

    Attributes:
        repetitions: R.
        seeds: trainings of each side.
        trained: conversations of a training.
        dialogues: held with each.
    """

    repetitions: int
    seeds: int
    trained: int
    dialogues: int


EXTENTS = {Size.SMALL: Extent(20, 2, 16, 40), Size.FULL: Extent(200, 3, 64, 100)}


def config_of(extent: Extent) -> RunConfig:
    """The settings of a repetition: the embedded films, short dialogues, and little of everything."""
    return resolve(
        {
            "world": "movies",
            "arms": SIDES,
            "seeds": tuple(range(extent.seeds)),
            "dialogues": extent.dialogues,
            "train_dialogues": extent.trained,
            "limit": 6,
            "recommend_above": 0.3,
            "judge_when": "end",
            "embeddings": {"epochs": 1},
        }
    )


def aa(
    size: Size,
    out: Path | None = None,
    workers: int = 1,
    progress: Progress = lambda *_: None,
    extent: Extent | None = None,
    decide: Decide | None = None,
) -> list[Finding]:
    """Compare an arm with itself, again and again.

    Args:
        out: folder in which what was done is kept, and gone on from.
        workers: processes; no effect on what is found.
        extent: instead of the size's.
        decide: instead of what decides every run.
    """
    extent = extent or EXTENTS[size]
    config = config_of(extent)
    return [judged(config, list(repetitions(config, extent, out, workers, progress)), decide or detected)]


def detected(_config: RunConfig, rows: Sequence[Row]) -> bool:
    """Whether the run with these comparisons detects a difference in anything primary."""
    return any(row["primary"] and row["detected"] for row in rows)


def detected_by_dialogues_alone(config: RunConfig, rows: Sequence[Row]) -> bool:
    """The same by a statistic that takes the trainings as they are: what must not decide."""
    p = [row["p_permutation"] for row in rows if row["primary"]]
    return bool(min(p) * len(p) < config.statistics.level)  # the first step of Holm's procedure


def judged(config: RunConfig, done: Sequence[Repetition], decide: Decide = detected) -> Finding:
    """How many repetitions raised a false alarm, and whether these are too many."""
    gc.freeze()  # statsmodels collects garbage for each correction, which takes longer than all the rest
    compared = [comparisons(config, tables_of(one)) for one in done]
    gc.unfreeze()
    alarms = [number for number, rows in enumerate(compared) if decide(config, rows)]
    naive = sum(detected_by_dialogues_alone(config, rows) for rows in compared)
    level, total = config.statistics.level, len(done)
    test = stats.binomtest(len(alarms), total, level, alternative="greater")
    low, high = stats.binomtest(len(alarms), total).proportion_ci(0.95, "exact")
    return Finding(
        CONTROL,
        f"{ARM} against itself, {total} times",
        f"at most {level:.0%} false alarms, as far as {total} repetitions tell",
        f"{len(alarms)} ({len(alarms) / total:.1%}, exact 95% interval [{low:.1%}, {high:.1%}]); "
        f"by dialogues alone, as if trainings did not differ, {naive} ({naive / total:.1%})",
        bool(test.pvalue >= level),
        {
            "repetitions": total,
            "seeds": len(config.seeds),
            "train_dialogues": config.train_dialogues,
            "dialogues": config.dialogues,
            "primary": list(config.statistics.primary),
            "false_alarms": alarms,
            "rate": round(len(alarms) / total, 6),
            "ci95": [round(float(low), 6), round(float(high), 6)],
            "p": round(float(test.pvalue), 6),
            "by_dialogues_alone": naive,
        },
    )


def tables_of(one: Repetition) -> Tables:
    """What decides takes every metric; those that were not measured have no values."""
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for side, by_metric in one.items():
        measured = {name: np.array(rows, dtype=np.float64) for name, rows in by_metric.items()}
        nothing = np.full(next(iter(measured.values())).shape, np.nan)
        found[side] = {metric.name: measured.get(metric.name, nothing) for metric in METRICS}
    return found


def repetitions(
    config: RunConfig, extent: Extent, out: Path | None, workers: int, progress: Progress
) -> Iterator[Repetition]:
    """All repetitions in their order; those that an earlier command kept are not done again."""
    digest = hashlib.sha256(f"{unicrs_rl.__version__}\n{config.toml()}".encode()).hexdigest()[:16]
    kept = {} if out is None else _kept(out / "aa.jsonl", digest)
    missing = [number for number in range(extent.repetitions) if number not in kept]
    for done, (number, one) in enumerate(_made(config, missing, workers), start=1):
        kept[number] = one
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            with (out / "aa.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"settings": digest, "number": number, "tables": one}) + "\n")
        progress("A/A", extent.repetitions - len(missing) + done, extent.repetitions)
    yield from (kept[number] for number in range(extent.repetitions))


def _kept(path: Path, digest: str) -> dict[int, Repetition]:
    """What was done under these settings; a line that a killed command left torn is passed over."""
    found: dict[int, Repetition] = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            entry: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry["settings"] == digest:
            found[entry["number"]] = entry["tables"]
    return found


def _made(config: RunConfig, numbers: Sequence[int], workers: int) -> Iterator[tuple[int, Repetition]]:
    if workers <= 1 or len(numbers) <= 1:
        components = _components(config)
        yield from ((number, repetition(components, number)) for number in numbers)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (config.model_dump(),)) as pool:
        yield from zip(numbers, pool.map(_work, numbers), strict=True)


def _components(config: RunConfig) -> Components:
    return shared_components(config, read_world(config), None, keep=False)


_worker: dict[str, Components] = {}
"""What a worker process keeps between repetitions."""


def _start(settings: dict[str, Any]) -> None:
    _worker["components"] = _components(RunConfig.model_validate(settings))


def _work(number: int) -> Repetition:
    return repetition(_worker["components"], number)


def repetition(components: Components, number: int) -> Repetition:
    """Train both sides with seeds of their own, and hold the dialogues of this repetition."""
    torch.set_num_threads(1)
    config = components.config
    primary, count = config.statistics.primary, len(config.seeds)
    sessions = components.world.sessions(Split.TEST, config.dialogues, 1 + number)
    found: Repetition = {}
    for place, side in enumerate(SIDES):
        rows: dict[str, list[list[float | None]]] = {name: [] for name in primary}
        for seed in range(count):
            own = (2 * number + place) * count + seed
            reached = outcomes(learned(side, own, components), side, own, components, sessions, primary)
            for name, values in reached.items():
                rows[name].append([None if np.isnan(value) else float(value) for value in values])
        found[side] = rows
    return found
