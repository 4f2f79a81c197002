"""Evaluating one arm by itself: a trained checkpoint, or a rule."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components, read_world
from unicrs_rl.experiments.config import RunConfig, read_settings, resolve
from unicrs_rl.experiments.evaluation import BATCH, evaluate
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.statistics import interval_of_mean
from unicrs_rl.experiments.training import Progress, restore
from unicrs_rl.graphs.world import Split
from unicrs_rl.judging.metrics import METRICS
from unicrs_rl.policy.base import Learner, Policy

_CHECKPOINT = re.compile(r"(?P<arm>.+)-seed(?P<seed>-?\d+)\.safetensors")


def evaluate_arm(
    settings: Mapping[str, Any],
    config_file: Path | None,
    run: Path | None,
    arm: str | None,
    split: Split,
    dialogues: int | None,
    batch_size: int | None = None,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Metrics of an arm on held-out conversations.

    Args:
        settings: what was given explicitly; wins over the run's own configuration.
        run: folder with checkpoints; ``None`` for a rule.
        arm: which arm; default: the first one in the run that has a checkpoint.
        dialogues: conversations; ``None`` for every (seeker, target) pair once.

    Returns:
        Each metric's mean, ``ci95`` by metric, ``dialogues`` and ``turns_per_second``.

    Raises:
        InputError: if there is nothing to evaluate, or a checkpoint does not fit the world.
    """
    if dialogues is not None and dialogues < 1:
        raise InputError("--dialogues: at least 1 is needed")
    if batch_size is not None and batch_size < 1:
        raise InputError("--batch-size: at least 1 is needed")
    if run is None and arm is None:
        raise InputError("evaluate needs a run folder, or --arm with a rule")
    if run is None:
        folder, config = None, resolve(settings, config_file)
    else:
        folder, config = _read_run(run, settings, config_file)
    world = read_world(config)
    seed = config.seeds[0]
    if folder is not None:
        arm, seed = _checkpoint_of(folder, arm, config)
    assert arm is not None
    components = shared_components(config, world, folder, progress, keep=False)
    policy = components.policy(arm, seed)
    if isinstance(policy, Learner):
        _restore(policy, arm, seed, folder, components)
    sessions = world.sessions(split, dialogues, config.evaluation_seed)
    started = time.perf_counter()
    lines = [
        line
        for batch in evaluate(policy, arm, seed, components, sessions, progress, batch_size or BATCH)
        for line in batch
    ]
    seconds = time.perf_counter() - started
    turns = sum(len(line["turns"]) for line in lines)
    return {
        "arm": arm,
        "seed": seed,
        "world": world.name,
        "split": split.value,
        **_summary(lines),
        "dialogues": len(lines),
        "turns_per_second": round(turns / seconds, 1),
    }


def _read_run(run: Path, settings: Mapping[str, Any], file: Path | None) -> tuple[RunFolder, RunConfig]:
    """A run and its configuration, under a file's settings, under those given explicitly."""
    folder, config = RunFolder.read(run)
    given = {**(read_settings(file) if file else {}), **settings}
    merged = {**config.model_dump(mode="json", exclude_none=True), **given}
    if "world" in given and "data" not in given:
        merged.pop("data", None)
    return folder, resolve(merged)


def _checkpoint_of(folder: RunFolder, arm: str | None, config: RunConfig) -> tuple[str, int]:
    """The arm and seed to load: the first seed of the arm asked for, or of the first arm there is."""
    there = [
        match
        for path in sorted(folder.embeddings.parent.glob("*"))
        if (match := _CHECKPOINT.fullmatch(path.name))
    ]
    found = {(match["arm"], int(match["seed"])) for match in there}
    for name in (arm,) if arm is not None else config.arms:
        for seed in config.seeds:
            if (name, seed) in found:
                return name, seed
    if arm is not None:
        return arm, config.seeds[0]
    raise InputError(f"{folder.path}: no checkpoint of any of its arms")


def _restore(policy: Policy, arm: str, seed: int, folder: RunFolder | None, components: Components) -> None:
    if folder is None:
        raise InputError(f"arm {arm!r} learns: give the run folder with its checkpoint")
    path = folder.checkpoint(arm, seed)
    if not path.is_file():
        raise InputError(f"{folder.path}: no checkpoint of arm {arm!r}")
    assert isinstance(policy, Learner)
    restore(policy, path, components)


def _summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    means: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for metric in METRICS:
        values = np.array([line["metrics"][metric.name] for line in lines], dtype=float)
        means[metric.name] = None if np.isnan(values).all() else round(float(np.nanmean(values)), 6)
        interval = interval_of_mean(values)
        intervals[metric.name] = None if interval is None else [round(end, 6) for end in interval]
    return means | {"ci95": intervals}
