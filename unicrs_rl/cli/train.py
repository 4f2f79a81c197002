"""``unicrs-rl train``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

from unicrs_rl.cli.options import (
    Folder,
    Limits,
    Output,
    Settings,
    Text,
    given_budget,
    given_settings,
    on_existing,
    opt,
    progress_bars,
    worker_count,
)
from unicrs_rl.errors import InputError, Unjudged, unknown


@dataclasses.dataclass(frozen=True)
class Train(Limits, Output, Settings):
    """Train an arm and keep its checkpoints."""

    arm: Annotated[
        str, opt("arm to train: unified, unified-ppo, unified-reinforce, rso or rso-ppo", "NAME", "unified")
    ] = "unified"
    reproduce: Annotated[
        Text, opt("a published system: unicorn-code, unicorn-paper, ear, scpr or rso-paper", "NAME")
    ] = None
    stage: Annotated[
        Text, opt("of rso: sft learns human strategies from --corpus, rl goes on", "sft|rl", "both")
    ] = None
    encoder: Annotated[
        Text, opt("of rso's planner: small, minilm, or a Hugging Face folder or name", "NAME")
    ] = None
    planner: Annotated[
        Folder, opt("run of --stage sft whose planner --stage rl goes on from", "RUN", "--out if it is one")
    ] = None
    labels: Annotated[
        Text, opt("strategies that rso's planner tells apart: none (all 14), rso or inspired", "MAP", "none")
    ] = None
    turns: Annotated[
        Text, opt("of --stage sft: utterance, or merged where a speaker goes on", "SWITCH", "utterance")
    ] = None
    out: Annotated[Path, opt("run folder to write", "DIR", "runs/train")] = Path("runs/train")


def run(verb: Train) -> None:
    """Train, and print the checkpoints."""
    from unicrs_rl.experiments.compare import train_arm
    from unicrs_rl.experiments.config import resolve, trained_alone

    if verb.stage not in (None, "sft", "rl"):
        raise unknown("stage", verb.stage, ("sft", "rl"))
    if verb.stage == "sft":
        _train_planner(verb)
        return
    verb = _after_warm_up(verb)
    settings = given_settings(verb, arms=verb.arm) | _planner_settings(verb)
    under = trained_alone(settings, verb.config, verb.reproduce)
    config = resolve(settings, verb.config, under, called={"arms": "--arm"})
    with progress_bars(quiet=verb.json) as progress:
        existing, budget = on_existing(verb, verb.out), given_budget(verb, config)
        made = train_arm(config, verb.out, existing, worker_count(verb), progress, budget)
    if verb.json:
        print(json.dumps(made))
    else:
        for name in made["checkpoints"]:
            print(verb.out / name)
    if made["unscored"]:
        raise Unjudged(f"the judge gave no score in the training of {', '.join(made['unscored'])}")


def _planner_settings(verb: Train) -> dict[str, Any]:
    """Options of the rso arm as settings."""
    if verb.turns is not None:
        raise InputError(f"--turns {verb.turns}: is for --stage sft")
    own = {name: value for name in ("encoder", "labels") if (value := getattr(verb, name)) is not None}
    for option in ("stage", "planner", *own):
        if not verb.arm.startswith("rso") and getattr(verb, option) is not None:
            raise InputError(f"--{option}: is for --arm rso, not {verb.arm!r}")
    if verb.planner is not None and verb.corpus is not None:
        raise InputError("--planner: has learned from a corpus already; leave --corpus out")
    if verb.stage == "rl" and verb.planner is None and verb.corpus is None and verb.config is None:
        raise InputError(
            "--stage rl: goes on from a warmed-up planner; --planner RUN names a run of --stage sft, and "
            "--corpus DIR warms one up at the start (without --stage, a prior does)"
        )
    if verb.planner is not None and own:
        raise InputError(f"--{next(iter(own))}: the planner of --planner has its own")
    if verb.planner is not None:
        own["start"] = str(verb.planner)
    return {"arm": {verb.arm: own}} if own else {}


def _after_warm_up(verb: Train) -> Train:
    """``--stage rl`` with the folder of a supervised run for ``--out`` goes on from it, in ``OUT/rl``."""
    from unicrs_rl.experiments.supervised import is_supervised

    if verb.stage != "rl" or verb.planner is not None or not is_supervised(verb.out):
        return verb
    return dataclasses.replace(verb, planner=verb.out, out=verb.out / "rl")


def _train_planner(verb: Train) -> None:
    """Stage 1 of rso by itself, which has a corpus and no world."""
    from unicrs_rl.experiments.supervised import corpus_folder, resolve_supervised, train_planner

    if verb.arm != "rso":
        raise InputError(f"--stage sft: is for --arm rso, not {verb.arm!r}")
    if verb.planner is not None:
        raise InputError("--planner: --stage sft makes a new planner; --stage rl goes on from one")
    given = given_settings(verb, reproduce=verb.reproduce)
    for name in given:
        if name not in ("corpus", "data", "seeds"):
            raise InputError(f"--{name.replace('_', '-')}: --stage sft has no use for it")
    corpus = corpus_folder(verb.corpus, verb.data)
    values = {"corpus": corpus, "seed": verb.seeds}
    values |= {name: getattr(verb, name) for name in ("encoder", "labels", "turns")}
    config = resolve_supervised({k: v for k, v in values.items() if v is not None}, verb.config)
    with progress_bars(quiet=verb.json) as progress:
        found = train_planner(config, verb.out, on_existing(verb, verb.out), progress)
    if verb.json:
        print(json.dumps(found))
        return
    for split in ("train", "valid"):
        part = found[split]
        print(f"{split}: {part['samples']} samples of {part['dialogues']} dialogues")
        print("  " + ", ".join(f"{name} {count}" for name, count in part["class_counts"].items()))
        print("".join(f"  {note}\n" for note in part["notes"]), end="")
    print_agreement(found["valid"])
    print(verb.out / "checkpoints" / "planner.safetensors")


def print_agreement(found: dict[str, Any]) -> None:
    """How often the planner and the baselines choose as people did."""
    for name, part in {"planner": found, **found["baselines"]}.items():
        for measure, (low, high) in part["ci95"].items():
            print(f"{name:>10}  {measure:<9} {part[measure]:.4f}  [{low:.4f}, {high:.4f}]")
