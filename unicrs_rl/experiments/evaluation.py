"""Evaluation: a fixed policy meets the held-out (seeker, target, random seed) triples.

Every conversation's outcome depends on its own triple only, not on the batch it is held in, so a
killed evaluation goes on with the conversations that are missing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.traces import trace
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import Session
from unicrs_rl.policy.base import Policy

BATCH = 128
"""Conversations held at once."""


def evaluate(
    policy: Policy,
    arm: str,
    seed: int,
    components: Components,
    sessions: Sequence[Session],
    progress: Progress = lambda *_: None,
    batch_size: int = BATCH,
) -> Iterator[list[dict[str, Any]]]:
    """Hold the conversations, a batch at a time, as traces."""
    conversations = Conversations(components.of(arm))
    for start in range(0, len(sessions), batch_size):
        batch = sessions[start : start + batch_size]
        episodes = conversations.hold(policy, batch)
        progress(f"evaluate {arm} seed {seed}", start + len(batch), len(sessions))
        yield [trace(episode, arm, seed, components) for episode in episodes]


def evaluate_into(
    folder: RunFolder,
    policy: Policy,
    arm: str,
    seed: int,
    components: Components,
    sessions: Sequence[Session],
    progress: Progress = lambda *_: None,
    batch_size: int = BATCH,
) -> None:
    """Evaluate and append to the run folder, leaving out what is there already."""
    path = folder.part(arm, seed)
    there = _complete_lines(path)
    missing = [session for session in sessions if session.index not in there]
    started = time.perf_counter()
    judging = folder.seconds(arm, seed).get("judge_seconds", 0.0)
    with path.open("a", encoding="utf-8") as lines:
        for traces in evaluate(policy, arm, seed, components, missing, progress, batch_size):
            lines.write("".join(json.dumps(line) + "\n" for line in traces))
            lines.flush()
            judging += sum(_judge_seconds(line) for line in traces)
    earlier = folder.seconds(arm, seed).get("evaluate_seconds", 0.0)
    folder.note_seconds(arm, seed, "evaluate_seconds", earlier + time.perf_counter() - started)
    if judging:
        folder.note_seconds(arm, seed, "judge_seconds", judging)


def _judge_seconds(line: dict[str, Any]) -> float:
    """Seconds that the judge's calls of a conversation took."""
    return math.fsum(call["seconds"] for turn in line["turns"] for call in turn.get("judge_calls", ()))


def _complete_lines(path: Path) -> set[int]:
    """Indices of the conversations that are written whole; a torn last line is cut off."""
    if not path.is_file():
        return set()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        write_atomically(path, whole)
    return {json.loads(line)["index"] for line in whole.splitlines()}
