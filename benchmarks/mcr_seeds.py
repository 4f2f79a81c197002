"""Learned policies and rules on a multi-round benchmark, over training seeds, as Markdown tables.

Usage: python benchmarks/mcr_seeds.py --world lastfm --data data/lastfm --out runs/mcr-seeds

For each way to take a "no": trains every learning arm with every seed by `unicrs-rl train`, then holds
the conversations of the split with each of them and with every rule, the same ones for all. The best
rule is chosen on the valid split, by the fewest mean turns, and the learned arms are compared with it on
the split, conversation by conversation: means over training seeds first, then the paired difference.

DIR gets a run folder ARM-REJECT for each training, mcr_seeds.json and mcr_seeds.md. The same command goes
on after an interruption: trainings that are finished are not run again, nor are evaluations of learned
arms whose checkpoint is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint, rollout
from unicrs_rl.experiments.bench import peak_memory_mib
from unicrs_rl.experiments.components import Components, read_world
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.rollout import Outcomes
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.statistics import Paired, paired
from unicrs_rl.experiments.training import restore
from unicrs_rl.graphs.belief import Scoring
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.arms import learns
from unicrs_rl.policy.base import Learner

METRICS = {"sr@5": "SR@5", "sr@10": "SR@10", "sr@15": "SR@15", "at": "AT", "hdcg": "hDCG"}
MEMORY = Path(__file__).with_name("memory.py")
_PEAK = re.compile(r"peak memory: ([\d,]+) MiB")
_COLUMNS = ("success", "turn", "rank", "reward")


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--world", default="lastfm")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the world's data")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings for all")
    parser.add_argument("--protocol", default="default", choices=("default", "unicorn-code"))
    parser.add_argument("--rejects", default="filter,penalty", help="values of --reject, with commas")
    parser.add_argument("--arms", default="unified,unified-ppo", help="learning arms, with commas")
    parser.add_argument(
        "--rules", default="max-entropy,few-left,halving,minicorn,greedy,random", help="rules, with commas"
    )
    parser.add_argument("--seeds", default="0,1,2", help="training seeds, with commas")
    parser.add_argument("--train-dialogues", type=int, metavar="N", help="default: that of train")
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--dialogues", type=int, metavar="N", help="held-out conversations; default: all")
    parser.add_argument("--until", type=float, default=0.94, metavar="SR", help="SR@15 on valid to time")
    parser.add_argument("--workers", type=int, default=1, help="processes that train at once")
    parser.add_argument("--out", type=Path, default=Path("runs/mcr-seeds"), metavar="DIR")
    return parser.parse_args(arguments)


# --- training, by the command line ---


def train(asked: argparse.Namespace, arm: str, reject: str) -> dict[str, Any]:
    """Train an arm with every seed; what was run, the seconds of each seed, and the peak memory in MiB."""
    folder = asked.out / f"{arm}-{reject}"
    record = asked.out / f"{arm}-{reject}.json"
    command = [sys.executable, "-m", "unicrs_rl.cli", "train", "--json", "--arm", arm, "--user", "mcr"]
    command += ["--world", asked.world, "--protocol", asked.protocol, "--reject", reject]
    command += ["--seeds", asked.seeds, "--workers", str(asked.workers), "--out", str(folder)]
    for name in ("data", "config", "train_dialogues"):
        value = getattr(asked, name)
        command += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    if record.is_file() and (known := json.loads(record.read_text()))["arguments"] == command[3:]:
        return known
    print(f"training {arm} with --reject {reject}, seeds {asked.seeds}", file=sys.stderr, flush=True)
    command += ["--resume"] if (folder / "config.toml").is_file() else []
    done = subprocess.run(
        [sys.executable, str(MEMORY), "--", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise InputError(f"{folder}: training failed: {_last_line(done.stderr)}")
    peak = _PEAK.search(done.stderr)
    made = {
        "arguments": [part for part in command[3:] if part != "--resume"],
        "seconds": {name: job["train_seconds"] for name, job in json.loads(done.stdout)["jobs"].items()},
        "peak_mib": float(peak[1].replace(",", "")) if peak else None,
    }
    checkpoint.write_atomically(record, json.dumps(made, indent=1) + "\n")
    return made


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith("peak memory")]
    return lines[-1] if lines else "it said nothing"


def until(header: Mapping[str, Any], rate: float) -> float | None:
    """Seconds of training before a trial on valid first reached the rate; ``None`` if none did.

    Trials that did not note their time are placed in the training by the conversations led before.
    """
    rows = header["tried"]
    for row in rows:
        if row["split"] == Split.VALID and row["sr@15"] >= rate:
            return round(row.get("seconds", header["seconds"] * row["done"] / rows[-1]["done"]), 1)
    return None


# --- holding conversations ---


def learned(
    components: Components, folder: RunFolder, arm: str, seed: int, split: Split, dialogues: int | None
) -> Outcomes:
    """What a trained arm's conversations came to; kept beside the run, for as long as its checkpoint."""
    path = folder.checkpoint(arm, seed)
    kept = folder.path.with_name(f"{folder.path.name}-seed{seed}-{split}-{dialogues or 'all'}.npz")
    if kept.is_file() and kept.stat().st_mtime >= path.stat().st_mtime:
        with np.load(kept) as table:
            columns = {name: table[name] for name in _COLUMNS}
            return Outcomes(**columns, limit=int(table["limit"]), seconds=float(table["seconds"]))
    policy = components.policy(arm, seed)
    assert isinstance(policy, Learner)
    restore(policy, path, components)
    found = held(components, policy, split, dialogues)
    columns = {name: getattr(found, name) for name in _COLUMNS}
    partial = kept.with_name(f".{kept.name}")
    np.savez_compressed(partial, **columns, limit=found.limit, seconds=found.seconds)
    os.replace(partial, kept)
    return found


def held(components: Components, policy: Any, split: Split, dialogues: int | None) -> Outcomes:
    """What the conversations of a split came to."""
    sessions = rollout.held_out(components, split, dialogues)
    if components.config.scoring is Scoring.POSTERIOR:
        components.prior.remember(sessions)  # or the first arm's speed would be the prior's
    return rollout.evaluate(components.engine(), policy, sessions)


def line(outcomes: list[Outcomes]) -> dict[str, Any]:
    """Of each metric the mean over training seeds, the lowest and the highest; and turns per second."""
    means = [{name: float(column.mean()) for name, column in one.metrics().items()} for one in outcomes]
    found: dict[str, Any] = {}
    for name in METRICS:
        values = [row[name] for row in means]
        found[name] = {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
    speeds = [float(one.turn.sum()) / one.seconds for one in outcomes]
    return found | {"turns_per_second": round(float(np.median(speeds)), 1)}


def over_seeds(outcomes: list[Outcomes], metric: str) -> NDArray[np.float64]:
    """A metric of each conversation, averaged over training seeds."""
    mean: NDArray[np.float64] = np.mean([one.metrics()[metric] for one in outcomes], axis=0)
    return mean


# --- everything for one way to take a "no" ---


def shared(asked: argparse.Namespace, arms: list[str], reject: str) -> Components:
    """What all arms have in common: that of the first training, or made anew for rules alone."""
    if arms:
        folder, config = RunFolder.read(asked.out / f"{arms[0]}-{reject}")
        return shared_components(config, read_world(config), folder, keep=False)
    values = {"world": asked.world, "data": asked.data, "protocol": asked.protocol, "reject": reject}
    config = resolve({**values, "user": "mcr", "surface": "semantic", "arms": ("unified",)}, asked.config)
    return shared_components(config, read_world(config), None)


def study(asked: argparse.Namespace, reject: str) -> dict[str, Any]:
    arms = [arm for arm in asked.arms.split(",") if arm]
    trainings = {arm: train(asked, arm, reject) for arm in arms}
    components = shared(asked, arms, reject)
    split, seeds = Split(asked.split), [int(seed) for seed in asked.seeds.split(",")]
    valid, test = {}, {}
    for rule in asked.rules.split(","):
        print(f"holding conversations with {rule} ({reject})", file=sys.stderr, flush=True)
        policy = components.policy(rule, seeds[0])
        valid[rule] = held(components, policy, Split.VALID, asked.dialogues)
        test[rule] = held(components, policy, split, asked.dialogues)
    best = min(valid, key=lambda rule: valid[rule].metrics()["at"].mean())
    rows = {rule: line([outcomes]) for rule, outcomes in test.items()}
    gaps: dict[str, dict[str, Paired | None]] = {}
    for arm in arms:
        print(f"holding conversations with {arm} ({reject})", file=sys.stderr, flush=True)
        run, _ = RunFolder.read(asked.out / f"{arm}-{reject}")
        outcomes = [learned(components, run, arm, seed, split, asked.dialogues) for seed in seeds]
        headers = [checkpoint.load(run.checkpoint(arm, seed))[1] for seed in seeds]
        rows[arm] = line(outcomes) | {
            "train_seconds": list(trainings[arm]["seconds"].values()),
            "until_seconds": [until(header, asked.until) for header in headers],
            "peak_mib": trainings[arm]["peak_mib"],
        }
        gaps[arm] = {
            metric: paired(over_seeds(outcomes, metric), test[best].metrics()[metric]) for metric in METRICS
        }
    return {
        "reject": reject,
        "best_rule": best,
        "valid_at": {rule: float(one.metrics()["at"].mean()) for rule, one in valid.items()},
        "recommend_above": components.recommend_above,
        "dialogues": len(test[best].turn),
        "arms": rows,
        "learned_minus_best_rule": {
            arm: {name: gap and vars_of(gap) for name, gap in mine.items()} for arm, mine in gaps.items()
        },
    }


def vars_of(gap: Paired) -> dict[str, float]:
    return {name: getattr(gap, name) for name in ("difference", "low", "high", "p", "pairs")}


# --- tables ---


def spread(values: list[float | None]) -> str:
    """Mean and range of the seeds that have a value, and how many have none."""
    known = [value for value in values if value is not None]
    if not known:
        return "never"
    range_ = f"{min(known):.0f} to {max(known):.0f}" if len(known) > 1 else ""
    missing = f"never in {len(values) - len(known)}" if len(known) < len(values) else ""
    beside = ", ".join(part for part in (range_, missing) if part)
    return f"{np.mean(known):.0f}" + (f" ({beside})" if beside else "")


def cell(found: Mapping[str, float], metric: str) -> str:
    digits = 2 if metric == "at" else 4
    text = f"{found['mean']:.{digits}f}"
    if found["low"] == found["high"]:
        return text
    return f"{text} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def markdown(asked: argparse.Namespace, studies: list[dict[str, Any]]) -> str:
    """Two tables for each study."""
    lines: list[str] = []
    for found in studies:
        lines += [
            f"`{asked.world}`, protocol `{asked.protocol}`, `--reject {found['reject']}`, "
            f"split {asked.split}, {found['dialogues']:,} conversations; "
            f"training seeds {asked.seeds} (mean, lowest to highest); "
            f"rules recommend above {found['recommend_above']}.",
            "",
            "| arm | "
            + " | ".join(METRICS.values())
            + f" | training, s | until SR@15 {asked.until} on valid, s | turns/s | peak, MiB |",
            "|---" * (len(METRICS) + 5) + "|",
        ]
        for arm, row in found["arms"].items():
            trained = learns(arm)
            cells = [cell(row[metric], metric) for metric in METRICS]
            cells += [spread(row["train_seconds"]), spread(row["until_seconds"])] if trained else ["", ""]
            cells += [f"{row['turns_per_second']:,.0f}", f"{row['peak_mib'] or 0:,.0f}" if trained else ""]
            lines.append(f"| `{arm}` | " + " | ".join(cells) + " |")
        if not found["learned_minus_best_rule"]:
            lines.append("")
            continue
        lines += [
            "",
            f"Learned less `{found['best_rule']}`, the rule with the fewest turns on valid; mean over seeds, "
            "paired by conversation, with 95% intervals:",
            "",
            "| arm | " + " | ".join(METRICS.values()) + " |",
            "|---" * (len(METRICS) + 1) + "|",
        ]
        for arm, gaps in found["learned_minus_best_rule"].items():
            cells = [
                "" if gap is None else f"{gap['difference']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
                for gap in gaps.values()
            ]
            lines.append(f"| `{arm}` | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    asked = options(arguments)
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        studies = [study(asked, reject) for reject in asked.rejects.split(",")]
    except InputError as error:
        sys.exit(f"mcr_seeds: {error}")
    settings = {name: str(value) for name, value in vars(asked).items() if name not in ("data", "out")}
    found = {"settings": settings, "studies": studies, "evaluation_peak_mib": round(peak_memory_mib(), 1)}
    checkpoint.write_atomically(asked.out / "mcr_seeds.json", json.dumps(found, indent=1) + "\n")
    text = markdown(asked, studies)
    checkpoint.write_atomically(asked.out / "mcr_seeds.md", text)
    print(text)


if __name__ == "__main__":
    main()
