"""How the cost of a turn of the batched engine grows with the catalogue: speed, candidates and memory.

Usage: python benchmarks/growth.py --sizes 1000,10000,100000,1000000 --attributes 100,1000 --out runs/growth

Synthetic worlds are made in memory (benchmarks/synthetic_world.py). All conversations of a world share
one prior row, by popularity or uniform: there is no table of users x items. Each world has a process of
its own, so that its peak memory is its own. What is timed is everything but the making of the world:
the seekers, the engine and the arm. An arm that learns is untrained; what it decides costs the same.

A turn may cost no more than in proportion to the candidates it looks at: the slope of the cost over the
candidates, both in logarithms, then is at most 1. Two things bend it: below some hundred candidates a
turn's constant part counts, and above some ten thousand items tables leave the cache, so that each
candidate costs more. DIR gets growth.json and growth.html, which needs no network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Only the processes that measure import what is heavy: on Linux a child's peak starts from its parent's.

PER_ITEM, USERS = 4.1, 400


def numbers(text: str) -> list[int]:
    """Whole numbers separated by commas, each at least 1."""
    found = [int(part) for part in text.split(",")]
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError("whole numbers of at least 1 are needed, separated by commas")
    return found


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=numbers, default="1000,10000,100000,1000000", help="numbers of items")
    parser.add_argument("--attributes", type=numbers, default="100,1000", help="numbers of attributes")
    parser.add_argument("--arms", default="max-entropy", help="rules, unified or unified-ppo, with commas")
    parser.add_argument("--prior", choices=("popularity", "uniform"), default="popularity")
    parser.add_argument("--batch", type=int, default=256, help="conversations at once")
    parser.add_argument("--batches", type=int, default=5, help="batches that are timed; one more is not")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/growth"), metavar="DIR")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # measure in this process
    return parser.parse_args(arguments)


def measure(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Each arm on one world, in this process."""
    import numpy as np
    import torch
    from synthetic_world import world as synthetic

    from unicrs_rl.experiments.bench import peak_memory_mib
    from unicrs_rl.graphs.embeddings import Embeddings
    from unicrs_rl.graphs.world import Split
    from unicrs_rl.policy.arms import arms, learns
    from unicrs_rl.policy.base import ArmContext
    from unicrs_rl.simulators.engine import Engine

    torch.set_num_threads(1)
    items, attributes = asked.sizes[0], asked.attributes[0]
    world = synthetic(items, attributes, PER_ITEM, USERS, seed=asked.seed)
    counts = np.bincount(world.likes[:, 1], minlength=items)
    row = np.log1p(counts) if asked.prior == "popularity" else np.zeros(items)
    sessions = world.sessions(Split.TEST, (asked.batches + 1) * asked.batch, asked.seed)
    batches = [sessions[start : start + asked.batch] for start in range(0, len(sessions), asked.batch)]
    made = peak_memory_mib()
    rng, found = np.random.default_rng(asked.seed), []
    for arm in asked.arms.split(","):
        shape = (items + attributes + 1, 64 if learns(arm) else 1)
        vectors = rng.normal(size=shape).astype(np.float32) / shape[1] ** 0.5
        embeddings = Embeddings(vectors[:items], vectors[items:-1], vectors[-1])
        context = ArmContext(world.catalogue, embeddings, asked.seed, sociable=False)
        policy = arms[arm]()(context)
        engine = Engine(world, lambda those: np.broadcast_to(row, (len(those), items)))
        held = [hold(engine, policy, batch) for batch in batches][1:]  # loops are compiled in the first
        turns, candidates = sum(one[0] for one in held), sum(one[1] for one in held)
        cost = statistics.median(one[2] / one[0] for one in held)
        found.append(
            {
                "arm": arm,
                "items": items,
                "attributes": attributes,
                "candidates_per_turn": round(candidates / turns, 1),
                "turns": turns,
                "turns_per_second": round(1 / cost, 1),
                "microseconds_per_turn": round(1e6 * cost, 3),
                "nanoseconds_per_candidate": round(1e9 * cost * turns / candidates, 1),
                "world_mib": round(made, 1),
                "peak_mib": round(peak_memory_mib(), 1),
            }
        )
    return found


def hold(engine: Any, policy: Any, sessions: list[Any]) -> tuple[int, int, float]:
    """Turns of a batch of conversations, candidates that were left in them together, and seconds."""
    turns = candidates = 0
    started = time.perf_counter()
    states = engine.begin(sessions)
    while len(states):
        turns, candidates = turns + len(states), candidates + int(states.left.sum())
        _, states = engine.step(policy.choose(states))
    return turns, candidates, time.perf_counter() - started


def alone(asked: argparse.Namespace, items: int, attributes: int) -> list[dict[str, Any]]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", "--sizes", str(items), "--attributes", str(attributes)]
    for name in ("arms", "prior", "batch", "batches", "seed"):
        command += [f"--{name}", str(getattr(asked, name))]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        sys.exit(f"{items} items, {attributes} attributes: failed with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def slope(rows: list[dict[str, Any]]) -> float | None:
    """Of microseconds over candidates per turn, both in logarithms; least squares."""
    import numpy as np

    x, y = (np.log([row[name] for row in rows]) for name in ("candidates_per_turn", "microseconds_per_turn"))
    return round(float(np.polyfit(x, y, 1)[0]), 3) if len(rows) > 1 and np.ptp(x) > 0 else None


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Microseconds over candidates, candidates over items, memory over items; each in logarithms."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    panels = (
        ("candidates_per_turn", "microseconds_per_turn"),
        ("items", "microseconds_per_turn"),
        ("items", "candidates_per_turn"),
        ("items", "peak_mib"),
    )
    figure = make_subplots(2, 2)
    for number, (x, y) in enumerate(panels):
        place = {"row": number // 2 + 1, "col": number % 2 + 1}
        for arm, attributes in dict.fromkeys((row["arm"], row["attributes"]) for row in rows):
            mine = [row for row in rows if (row["arm"], row["attributes"]) == (arm, attributes)]
            line = go.Scatter(
                x=[row[x] for row in mine],
                y=[row[y] for row in mine],
                mode="lines+markers",
                name=f"{arm}, {attributes} attributes",
                legendgroup=f"{arm} {attributes}",
                showlegend=not number,
            )
            figure.add_trace(line, **place)
        figure.update_xaxes(type="log", title=x.replace("_", " "), **place)
        figure.update_yaxes(type="log", title=y.replace("_", " "), **place)
    figure.update_layout(title="Growth of the batched engine", height=800)
    figure.write_html(path, include_plotlyjs=True)


def main(arguments: list[str] | None = None) -> None:
    asked = options(arguments)
    if asked.one:
        print(json.dumps(measure(asked)))
        return
    rows: list[dict[str, Any]] = []
    print(
        "       items  attributes  arm            candidates/turn    µs/turn  ns/candidate    turns/s"
        "  world MiB  peak MiB"
    )
    for attributes, items in itertools.product(asked.attributes, asked.sizes):
        if attributes > items * PER_ITEM / 2:
            print(f"{items:>12,}{attributes:>12,}  left out: too many attributes for so few items")
            continue
        for row in alone(asked, items, attributes):
            rows.append(row)
            print(
                f"{items:>12,}{attributes:>12,}  {row['arm']:<13}{row['candidates_per_turn']:>17,.1f}"
                f"{row['microseconds_per_turn']:>11,.2f}{row['nanoseconds_per_candidate']:>14,.1f}"
                f"{row['turns_per_second']:>11,.0f}"
                f"{row['world_mib']:>11,.0f}{row['peak_mib']:>10,.0f}",
                flush=True,
            )
    slopes = {arm: slope([row for row in rows if row["arm"] == arm]) for arm in asked.arms.split(",")}
    for arm, found in slopes.items():
        if found is not None:
            print(f"{arm}: slope of µs over candidates, in logarithms: {found:.2f} (1: in proportion)")
    asked.out.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(asked, name) for name in ("prior", "batch", "batches", "seed")}
    found = {"settings": settings | {"per_item": PER_ITEM, "users": USERS}, "rows": rows, "slopes": slopes}
    (asked.out / "growth.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(rows, asked.out / "growth.html")
    print(f"written: {asked.out / 'growth.json'}, {asked.out / 'growth.html'}")


if __name__ == "__main__":
    main()
