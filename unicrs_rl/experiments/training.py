"""The training loop: a learner leads conversations, batch after batch, and learns after each.

What happens between two checkpoints depends only on the first of them, so a killed run that is
taken up again ends where it would have ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.graphs.world import Session, Split
from unicrs_rl.policy.base import Learner

CHECKPOINTS = 10
"""Checkpoints in the course of a training."""

Progress = Callable[[str, int, int], None]
"""Told of the work as (what, done, total)."""


def train(
    learner: Learner,
    arm: str,
    seed: int,
    components: Components,
    folder: RunFolder,
    progress: Progress = lambda *_: None,
) -> float:
    """Train an arm with a seed, going on from its last checkpoint if there is one.

    Returns:
        Seconds spent, earlier ones of a resumed training included.
    """
    config = components.config
    path = folder.checkpoint(arm, seed)
    sessions = components.world.sessions(Split.TRAIN, max(1, config.train_dialogues), seed)[
        : config.train_dialogues
    ]
    done, earlier, finished = _resume(learner, path, components)
    if finished:
        return earlier
    started = time.perf_counter()
    learner.prepare()
    conversations = Conversations(components)
    every = max(config.train_batch, len(sessions) // CHECKPOINTS)
    saved = done
    with _writer(folder.tensorboard(arm, seed), done) as writer:
        while done < len(sessions):
            batch = sessions[done : done + config.train_batch]
            _learn_from(learner, conversations, batch, writer, done)
            done += len(batch)
            progress(f"train {arm} seed {seed}", done, len(sessions))
            if done - saved >= every and done < len(sessions):
                seconds = earlier + time.perf_counter() - started
                _save(learner, path, components, done, seconds, finished=False)
                saved = done
    seconds = earlier + time.perf_counter() - started
    _save(learner, path, components, done, seconds, finished=True)
    return seconds


def restore(learner: Learner, path: Path, components: Components) -> None:
    """Load a finished checkpoint into a learner.

    Raises:
        InputError: if it is broken, belongs to another world, or does not fit the settings.
    """
    tensors, header = checkpoint.load(path, components.world.fingerprint)
    try:
        learner.load(tensors, header["learner"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: was trained with other settings ({reason})") from None


def _learn_from(
    learner: Learner,
    conversations: Conversations,
    batch: list[Session],
    writer: SummaryWriter,
    done: int,
) -> None:
    episodes = conversations.hold(learner, batch, learning=True)
    curves = learner.learn() | _curves(episodes)
    for name, value in curves.items():
        writer.add_scalar(name, value, done + len(batch))


def _curves(episodes: list[Episode]) -> dict[str, float]:
    turns = [turn for episode in episodes for turn in episode.dialogue.turns]
    n = len(episodes)
    return {
        "episode/reward": sum(turn.reward for turn in turns) / n,
        "episode/turns": len(turns) / n,
        "episode/success": sum(bool(e.dialogue.outcome and e.dialogue.outcome.success) for e in episodes) / n,
        "episode/judge": sum(e.score.value for e in episodes if e.score) / n,
    }


def _writer(directory: Path, done: int) -> SummaryWriter:
    """TensorBoard writer; what a killed run wrote after its last checkpoint is purged."""
    return SummaryWriter(str(directory), purge_step=done + 1 if done else None)


def _resume(learner: Learner, path: Path, components: Components) -> tuple[int, float, bool]:
    """Conversations led, seconds spent, and whether training is finished, from a checkpoint."""
    if not path.is_file():
        return 0, 0.0, False
    tensors, header = checkpoint.load(path, components.world.fingerprint)
    learner.load(tensors, header["learner"])
    return header["done"], header["seconds"], header["finished"]


def _save(
    learner: Learner, path: Path, components: Components, done: int, seconds: float, finished: bool
) -> None:
    tensors, state = learner.state(resumable=not finished)
    header = {
        "world": components.world.fingerprint,
        "done": done,
        "seconds": round(seconds, 3),
        "finished": finished,
        "learner": state,
    }
    checkpoint.save(path, tensors, header)
