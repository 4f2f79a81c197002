"""Meeting a population of seekers with a simple rule: what they turn out to be, without any training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unicrs_rl.errors import InputError, Stopped
from unicrs_rl.experiments import realised
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.components import read_world
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.costs import open_ledger, taken
from unicrs_rl.experiments.evaluation import evaluate
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.provenance import provenance
from unicrs_rl.experiments.report import POPULATION, write_report
from unicrs_rl.experiments.results import (
    counts,
    gist,
    intervals,
    means,
    seekers_of,
    values_of,
    without_drift,
)
from unicrs_rl.experiments.run_folder import RunFolder, check_writable, visible, writing
from unicrs_rl.experiments.training import Progress
from unicrs_rl.experiments.verdict import seekers_named
from unicrs_rl.graphs.world import Split
from unicrs_rl.language.ledger import NO_LIMIT, Budget
from unicrs_rl.policy.arms import learns

DIALOGUES = 200


@dataclass(frozen=True)
class Population:
    """A population that was met.

    Attributes:
        config: how.
        found: the content of ``population.json``: ``protocol``, ``arms`` and ``humans`` as a run's
            ``results.json`` has them.
        traces: of the dialogues.
        origin: the content of ``provenance.json``.
    """

    config: RunConfig
    found: dict[str, Any]
    traces: list[dict[str, Any]]
    origin: dict[str, Any]

    def write(self, out: Path) -> None:
        """Write everything into a folder, with a report."""
        writing(out, lambda: out.mkdir(parents=True, exist_ok=True))
        folder = RunFolder(out)
        write_atomically(folder.config_file, self.config.toml())
        folder.write_json(folder.provenance, self.origin)
        write_atomically(folder.traces, "".join(json.dumps(line) + "\n" for line in self.traces))
        folder.write_json(out / POPULATION, self.found)
        write_report(folder)


def check_out(out: Path, replace: bool) -> None:
    """Make sure that a population may be written to a folder.

    Args:
        replace: an earlier one is replaced; files that it did not write stay.

    Raises:
        InputError: if something else is there, or what is there is not to be replaced.
    """
    check_writable(out)
    if not out.exists() or (out.is_dir() and not any(visible(out))):
        return
    if not (out / POPULATION).is_file():
        raise InputError(f"{out}: exists and holds no population; choose another --out")
    if not replace:
        raise InputError(f"{out}: exists already; --force replaces it")


def meet(
    config: RunConfig,
    humans: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = lambda *_: None,
    budget: Budget = NO_LIMIT,
) -> Population:
    """Hold the dialogues of a configuration with its only arm, and measure its seekers.

    Args:
        humans: diversity of human dialogues by corpus; ``None``: that of the coefficient table.
        budget: what may be spent on the language model.

    Raises:
        InputError: if the arm learns, or something is wrong with the input.
        Stopped: if a budget is used up, an endpoint is gone, or no dialogue could be held.
    """
    (arm,) = config.arms
    if learns(arm):
        raise InputError(f"--arm {arm}: it learns; a population is met with a rule, such as max-entropy")
    world = read_world(config)
    components = shared_components(config, world, None, progress)
    components.model.ledger = open_ledger(config, budget, None, resumed=False)
    sessions = world.sessions(Split.TEST, config.dialogues, config.evaluation_seed)
    seed = config.seeds[0]
    policy = components.policy(arm, seed)
    held = [line for batch in evaluate(policy, arm, seed, components, sessions, progress) for line in batch]
    traces = sorted((line for line in held if "failed" not in line), key=lambda line: line["index"])
    if not traces:
        raise Stopped(f"no dialogue of {arm} could be held ({held[0]['failed']})")
    lines = {seed: {line["index"]: gist(line) for line in traces}}
    values = values_of(lines, config.dialogues)
    missing = len(held) - len(traces)
    found = {
        "world": world.name,
        "world_fingerprint": world.fingerprint,
        "protocol": {
            "user": config.seekers_name,
            "seekers": realised.told(config.seekers),
            "turns": config.limit,
            "slate": config.slate,
            "dialogues": config.dialogues,
            "language_model": config.model_name,
        },
        "arms": {
            arm: {
                "metrics": means(values),
                "ci95": intervals(values),
                "counts": counts(values),
                "seekers": seekers_of(
                    config, lines, values, without_drift({arm: lines}, config.dialogues).get(arm)
                ),
                "cost": taken(traces)[arm].whole(config.price),
                **({"broke_off": missing} if missing else {}),
            }
        },
        "humans": realised.humans(config.seekers.table) if humans is None else dict(humans),
        "rests_on": (
            f"Rests on {len(traces)} held-out dialogues of the arm {arm} with simulated "
            f"{seekers_named(config)} of the world {world.name}; nothing was trained but what all arms share."
        ),
    }
    return Population(config, found, traces, provenance(config, world))
