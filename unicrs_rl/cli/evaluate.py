"""``unicrs-rl evaluate``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional

from unicrs_rl.cli.options import (
    Folder,
    Limits,
    Number,
    Settings,
    Text,
    given_budget,
    given_settings,
    opt,
    progress_bars,
)
from unicrs_rl.cli.train import print_agreement
from unicrs_rl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Evaluate(Limits, Settings):
    """Evaluate a checkpoint, or an arm that needs no training, on held-out seekers."""

    run: Positional[
        Annotated[Folder, opt("run folder made by train or compare, or one of its checkpoints", "RUN")]
    ] = None
    arm: Annotated[Text, opt("arm to evaluate", "NAME", "the first in RUN that has a checkpoint")] = None
    split: Annotated[
        Literal["valid", "test"], opt("which held-out conversations, or dialogues of --corpus", "", "test")
    ] = "test"
    dialogues: Annotated[Number, opt("how many of them", "N", "every (seeker, target) pair once")] = None
    batch_size: Annotated[Number, opt("held at once; no effect on results", "N", "128 or 512")] = None
    json: Annotated[bool, opt("print one JSON object instead of a table")] = False


def run(verb: Evaluate) -> None:
    """Evaluate, and print the metrics."""
    from unicrs_rl.experiments.results import check_judged
    from unicrs_rl.experiments.single import choose, evaluate_arm
    from unicrs_rl.experiments.supervised import is_supervised
    from unicrs_rl.graphs.world import Split

    if verb.run is not None and is_supervised(verb.run):
        _evaluate_planner(verb, verb.run)
        return
    contender = choose(given_settings(verb), verb.config, verb.run, verb.arm)
    with progress_bars(quiet=verb.json) as progress:
        budget = given_budget(verb, contender.config)
        found = evaluate_arm(contender, Split(verb.split), verb.dialogues, verb.batch_size, progress, budget)
    if verb.json:
        print(json.dumps(found))
    else:
        _print_metrics(found)
    check_judged({found["arm"]: found})


def _evaluate_planner(verb: Evaluate, run: Path) -> None:
    from unicrs_rl.experiments.supervised import corpus_folder, evaluate_planner
    from unicrs_rl.graphs.world import Split

    given = given_settings(verb, config=verb.config, dialogues=verb.dialogues, batch_size=verb.batch_size)
    for name in given:
        if name not in ("corpus", "data"):
            option = name.replace("_", "-")
            raise InputError(f"--{option}: {run} holds a planner of --stage sft, which has no use for it")
    if verb.arm not in (None, "rso"):
        raise InputError(f"--arm {verb.arm}: {run} holds a planner of arm 'rso'")
    found = evaluate_planner(run, corpus_folder(verb.corpus, verb.data), Split(verb.split))
    if verb.json:
        print(json.dumps(found))
        return
    print(f"{found['split']}: {found['samples']} samples of {found['dialogues']} dialogues")
    print(f"{found['protocol']}; encoder {found['encoder']}, label map {found['labels']}")
    print("".join(f"{note}\n" for note in found["notes"]), end="")
    print_agreement(found)


def _print_metrics(found: dict[str, Any]) -> None:
    """What an evaluation found, line by line: means with their intervals and, if not all, their dialogues."""
    from unicrs_rl.experiments.results import missing_scores

    missing = missing_scores({found["arm"]: found})
    rest = {name: value for name, value in found.items() if name not in ("ci95", "counts", "unscored")}
    for name, value in rest.items():
        shown = "–" if value is None else f"{value:.4f}" if isinstance(value, float) else value
        spread = "  [{:.4f}, {:.4f}]".format(*found["ci95"][name]) if found["ci95"].get(name) else ""
        count = found["counts"].get(name, found["dialogues"])
        print(f"{name:>22}  {shown}{spread}{'' if count == found['dialogues'] else f'  (n={count})'}")
    if missing:
        print(f"{missing}.")
