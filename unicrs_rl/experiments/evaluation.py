"""Evaluation: a fixed policy meets the held-out (seeker, target, random seed) triples.

Every conversation's outcome depends on its own triple only, not on the batch it is held in, so a
killed evaluation goes on with the conversations that are missing. A conversation that broke off, because
a language model could not be reached, is kept apart with the reason, and is missing, too.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.crowd import crowd
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.traces import trace
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import Session
from unicrs_rl.language.ledger import paid_by
from unicrs_rl.policy.base import Policy

BATCH = 128
"""Conversations held at once."""
GROUP = 8
"""Conversations that go in step, at most, where an endpoint answers many requests at once: the fewer, the
less they wait for each other; the more, the less a policy's decision costs."""


def evaluate(
    policy: Policy,
    arm: str,
    seed: int,
    components: Components,
    sessions: Sequence[Session],
    progress: Progress = lambda *_: None,
    batch_size: int = BATCH,
) -> Iterator[list[dict[str, Any]]]:
    """Hold the conversations, a batch at a time, as traces, in whatever order they end.

    With a model that answers many requests at once, as many small groups are under way.
    """
    threads = components.model.concurrency
    size = batch_size if threads == 1 else min(GROUP, -(-len(sessions) // threads) or 1)
    groups = [sessions[start : start + size] for start in range(0, len(sessions), size)]
    own = components.of(arm)

    def holder() -> Callable[[Sequence[Session]], list[dict[str, Any]]]:
        conversations = Conversations(own)
        return lambda group: [trace(episode, arm, seed, own) for episode in conversations.hold(policy, group)]

    held = 0
    with paid_by(arm):
        found = map(holder(), groups) if threads == 1 else crowd(holder, groups, threads)
        for traces in found:
            held += len(traces)
            progress(f"evaluate {arm} seed {seed}", held, len(sessions))
            yield traces


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
    path, broken_off = folder.part(arm, seed), folder.part_failed(arm, seed)
    broken_off.unlink(missing_ok=True)
    there = _complete_lines(path)
    missing = [session for session in sessions if session.index not in there]
    started = time.perf_counter()
    judging = folder.seconds(arm, seed).get("judge_seconds", 0.0)
    with path.open("a", encoding="utf-8") as lines:
        for traces in evaluate(policy, arm, seed, components, missing, progress, batch_size):
            lines.write("".join(json.dumps(line) + "\n" for line in traces if "failed" not in line))
            lines.flush()
            failures = [line for line in traces if "failed" in line]
            if failures:
                with broken_off.open("a", encoding="utf-8") as apart:
                    apart.write("".join(json.dumps(line) + "\n" for line in failures))
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
