"""Evaluating one arm by itself: a trained checkpoint, or a rule."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.errors import InputError, Stopped
from unicrs_rl.experiments import rollout
from unicrs_rl.experiments.components import Components, read_world
from unicrs_rl.experiments.config import RunConfig, by_engine, read_settings, resolve
from unicrs_rl.experiments.costs import open_ledger, taken
from unicrs_rl.experiments.evaluation import BATCH, evaluate
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.results import counts, failures_of_judge, intervals, means, unscored
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.training import Progress, restore
from unicrs_rl.graphs.belief import Scoring
from unicrs_rl.graphs.world import Session, Split
from unicrs_rl.judging.metrics import METRICS
from unicrs_rl.language.ledger import NO_LIMIT, Budget
from unicrs_rl.policy.arms import learns
from unicrs_rl.policy.base import Learner, Policy

_MOST = 10_000_000
"""Conversations that can be asked for: each is planned before the first is held."""
_CHECKPOINT = re.compile(r"(?P<arm>.+)-seed(?P<seed>-?\d+)\.safetensors")


@dataclass(frozen=True)
class Contender:
    """What is to be evaluated: an arm under a configuration, with a training seed.

    Attributes:
        folder: the run it comes from; ``None`` for a rule by itself.
        checkpoint: what it learned; ``None`` for a rule.
    """

    config: RunConfig
    arm: str
    seed: int
    folder: RunFolder | None = None
    checkpoint: Path | None = None


def choose(
    settings: Mapping[str, Any], config_file: Path | None, run: Path | None, arm: str | None
) -> Contender:
    """What to evaluate.

    Args:
        settings: what was given explicitly; wins over the run's own configuration.
        run: folder with checkpoints, or one of its checkpoints; ``None`` for a rule.
        arm: which arm; default: the first one in the run that has a checkpoint.

    Raises:
        InputError: if there is nothing to evaluate.
    """
    if run is None:
        if arm is None:
            raise InputError("evaluate needs a run folder or a checkpoint, or --arm with a rule")
        alone = {**settings, "arms": (arm,)}
        under = {"surface": "semantic"} if by_engine(alone, config_file, {}) else {}
        return _rule(arm, resolve(alone, config_file, under, called={"arms": "--arm"}))
    if run.is_file() or run.suffix == ".safetensors":
        found, seed, path = _named(run)
        if arm not in (None, found):
            raise InputError(f"--arm {arm}: {run} is a checkpoint of arm {found!r}")
        folder, config = read_run(path.parent.parent, settings, config_file)
        return Contender(config, found, seed, folder, path)
    folder, config = read_run(run, settings, config_file)
    if arm is not None and not learns(arm):
        return Contender(config, arm, config.seeds[0], folder)
    found, seed = _first_trained(folder, arm, config)
    return Contender(config, found, seed, folder, folder.checkpoint(found, seed))


def evaluate_arm(
    contender: Contender,
    split: Split,
    dialogues: int | None,
    batch_size: int | None = None,
    progress: Progress = lambda *_: None,
    budget: Budget = NO_LIMIT,
) -> dict[str, Any]:
    """Metrics of an arm on held-out conversations.

    Args:
        dialogues: conversations; ``None`` for every (seeker, target) pair once.
        budget: what may be spent on the language model.

    Returns:
        Each metric's mean, ``ci95`` and ``counts`` by metric, ``unscored`` (if somebody judged, what
        has no score), ``lm_calls_per_dialogue``, ``tokens_per_dialogue`` and, with a price,
        ``usd_per_dialogue`` (the judge's included), ``broke_off`` (dialogues without any value, where a
        language model could not be reached), ``dialogues`` and ``turns_per_second``.

    Raises:
        InputError: if a checkpoint is broken, or does not fit the world or the settings.
        Stopped: if a budget is used up, an endpoint is gone, or no conversation could be held.
    """
    for option, given in (("--dialogues", dialogues), ("--batch-size", batch_size)):
        if given is not None and given < 1:
            raise InputError(f"{option}: must be at least 1 (it is {given})")
        if given is not None and given > _MOST:
            raise InputError(f"{option}: must be at most {_MOST} (it is {given})")
    config, arm, seed = contender.config, contender.arm, contender.seed
    world = read_world(config)
    components = shared_components(config, world, contender.folder, progress, keep=False)
    run = contender.folder
    components.model.ledger = open_ledger(config, budget, None if run is None else run.answers, resumed=False)
    policy = components.policy(arm, seed)
    if isinstance(policy, Learner) and contender.checkpoint is not None:
        restore(policy, contender.checkpoint, components)
    sessions = world.sessions(split, dialogues, config.evaluation_seed)
    hold = _batched if rollout.plays(policy, components) else _talking
    values, turns, seconds, notes = hold(policy, arm, seed, components, sessions, progress, batch_size)
    return {
        "arm": arm,
        "seed": seed,
        "world": world.name,
        "split": split.value,
        "user": config.seekers_name,
        "protocol": config.protocol.value,
        "turns": config.limit,
        "reject": config.reject.value,
        "prior": config.prior.value,
        "noise": config.noise,
        **means(values),
        "ci95": intervals(values),
        "counts": counts(values),
        **notes,
        "dialogues": len(sessions),
        "turns_per_second": round(turns / seconds, 1),
    }


Held = tuple[dict[str, NDArray[np.float64]], int, float, dict[str, Any]]
"""Metrics by name, each ``[dialogues]``; turns; seconds; and, if a judge was there, what it left unscored
(``unscored``) and how many dialogues broke off (``broke_off``)."""


def _batched(
    policy: Policy,
    arm: str,
    seed: int,
    components: Components,
    sessions: list[Session],
    progress: Progress,
    batch_size: int | None,
) -> Held:
    """By the engine, without words."""
    if components.config.scoring is Scoring.POSTERIOR:
        components.prior.remember(sessions, lambda known, all_: progress("prior", known, all_))
    what = f"evaluate {arm} seed {seed}"
    found = rollout.evaluate(
        components.engine(), policy, sessions, batch_size, lambda held, all_: progress(what, held, all_)
    )
    return found.metrics(), int(found.turn.sum()), found.seconds, {}


def _talking(
    policy: Policy,
    arm: str,
    seed: int,
    components: Components,
    sessions: list[Session],
    progress: Progress,
    batch_size: int | None,
) -> Held:
    """In words."""
    started = time.perf_counter()
    batches = evaluate(policy, arm, seed, components, sessions, progress, batch_size or BATCH)
    held = [line for batch in batches for line in batch]
    lines = sorted((line for line in held if "failed" not in line), key=lambda line: line["index"])
    if not lines:
        raise Stopped(f"no dialogue of {arm} could be held ({held[0]['failed']})")
    values = {
        metric.name: np.array([line["metrics"][metric.name] for line in lines], dtype=float)
        for metric in METRICS
    }
    missing = unscored(
        [line["metrics"]["judge"] for line in lines],
        (failure for line in lines for failure in failures_of_judge(line)),
    )
    broke_off = len(held) - len(lines)
    notes = (
        {"unscored": missing}
        | taken(lines)[arm].whole(components.config.price)
        | ({"broke_off": broke_off} if broke_off else {})
    )
    return values, sum(len(line["turns"]) for line in lines), time.perf_counter() - started, notes


def _rule(arm: str, config: RunConfig) -> Contender:
    """An arm that needs no run."""
    if learns(arm):
        raise InputError(f"--arm {arm}: it learns; give the run folder with its checkpoint")
    return Contender(config, arm, config.seeds[0])


def read_run(run: Path, settings: Mapping[str, Any], file: Path | None) -> tuple[RunFolder, RunConfig]:
    """A run and its configuration, under a file's settings, under those given explicitly.

    Raises:
        InputError: if there is no run, or the settings are wrong.
    """
    folder, config = RunFolder.read(run)
    own = config.model_dump(mode="json", exclude_none=True)
    given = {*(read_settings(file) if file else ()), *settings}
    if "world" in given and "data" not in given:
        own.pop("data", None)
    return folder, resolve(settings, file, under=own)


def _named(path: Path) -> tuple[str, int, Path]:
    """Arm and seed of a checkpoint, which are in its name, and where it is."""
    match = _CHECKPOINT.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path}: not the checkpoint of an arm, which is called ARM-seedN.safetensors")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    return match["arm"], int(match["seed"]), path.absolute()


def _first_trained(folder: RunFolder, arm: str | None, config: RunConfig) -> tuple[str, int]:
    """The first seed of the arm asked for, or of the first arm, that has a checkpoint."""
    for name in (arm,) if arm is not None else config.arms:
        for seed in config.seeds:
            if folder.checkpoint(name, seed).is_file():
                return name, seed
    whose = "any of its arms" if arm is None else f"arm {arm!r}"
    raise InputError(f"{folder.path}: no checkpoint of {whose}")
