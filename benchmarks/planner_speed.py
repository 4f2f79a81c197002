"""Decisions per second of the Planner alone, one core, by encoder and batch.

The states are those of conversations that a rule leads in the embedded world. Weights do not matter to
speed, so the classifier is untrained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from itertools import cycle, islice

import torch

from unicrs_rl.experiments.components import build, read_world
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.planner import (
    SMALL,
    Planner,
    PlannerInput,
    corpus_samples,
    pretrained_planner,
    small_planner,
)


def states(count: int) -> list[PlannerInput]:
    settings = resolve({"embeddings": {"epochs": 1}})
    components = build(settings, read_world(settings))
    sessions = components.world.sessions(Split.TEST, 64, 0)
    episodes = Conversations(components).hold(components.policy("max-entropy", 0), sessions)
    met = [seen for seen, _ in corpus_samples(episode.dialogue for episode in episodes)]
    return list(islice(cycle(met), count))


def made(encoder: str, max_tokens: int, seen: Sequence[PlannerInput]) -> Planner:
    torch.manual_seed(0)
    if encoder != SMALL:
        return pretrained_planner(encoder, max_tokens)
    return small_planner(
        [each.text for each in seen], vocabulary=1500, width=64, layers=2, max_tokens=max_tokens
    )


def speed(planner: Planner, seen: Sequence[PlannerInput], batch: int) -> float:
    planner.eval()
    with torch.inference_mode():
        planner(seen[:batch])
        started = time.perf_counter()
        for start in range(0, len(seen), batch):
            planner(seen[start : start + batch]).argmax(1)
        return len(seen) / (time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", default="small,minilm", help="small, minilm, folders or names")
    parser.add_argument("--batches", default="1,32,256")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--decisions", type=int, default=512, help="in each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seen, rows = states(options.decisions), []
    for encoder in options.encoders.split(","):
        planner = made(encoder, options.max_tokens, seen)
        for batch in map(int, options.batches.split(",")):
            runs = [speed(planner, seen, batch) for _ in range(options.runs)]
            rows.append(
                {
                    "encoder": encoder,
                    "parameters": sum(p.numel() for p in planner.parameters()),
                    "batch": batch,
                    "decisions_per_second": round(statistics.median(runs), 1),
                }
            )
    if options.json:
        print(json.dumps({"max_tokens": options.max_tokens, "rows": rows}))
        return
    print(f"{'encoder':<20} {'parameters':>12} {'batch':>6} {'decisions/s':>12}")
    for row in rows:
        print(f"{row['encoder']:<20} {row['parameters']:>12,} {row['batch']:>6}", end=" ")
        print(f"{row['decisions_per_second']:>12,.0f}")


if __name__ == "__main__":
    main()
