"""A policy as the product makes it, trained in this process and kept nowhere."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.evaluation import evaluate
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.training import train
from unicrs_rl.graphs.world import Session
from unicrs_rl.policy.base import Learner, Policy


def learned(arm: str, seed: int, components: Components) -> Policy:
    """The policy of an arm, trained as the configuration says if it learns."""
    config = components.config
    policy = components.policy(arm, seed, config.train_dialogues)
    if isinstance(policy, Learner) and config.trains(arm):
        with TemporaryDirectory(prefix="unicrs-rl-control-") as place:
            train(policy, arm, seed, components, RunFolder.open(Path(place) / "run", config, "refuse"))
    return policy


def outcomes(
    policy: Policy,
    arm: str,
    seed: int,
    components: Components,
    sessions: list[Session],
    metrics: tuple[str, ...],
) -> dict[str, NDArray[np.float64]]:
    """What a policy reaches in each dialogue, by metric: ``[dialogues]``; NaN where there is no value."""
    held = dialogues(policy, arm, seed, components, sessions)
    return {
        name: np.array([np.nan if (v := line["metrics"][name]) is None else v for line in held])
        for name in metrics
    }


def dialogues(
    policy: Policy, arm: str, seed: int, components: Components, sessions: list[Session]
) -> list[dict[str, Any]]:
    """The traces of a policy's dialogues, in their order."""
    held = [line for batch in evaluate(policy, arm, seed, components, sessions) for line in batch]
    return sorted(held, key=lambda line: int(line["index"]))
