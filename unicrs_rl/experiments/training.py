"""The training loop: a learner leads conversations, batch after batch, and learns after each.

The conversations are held in words (:class:`~unicrs_rl.experiments.conversation.Conversations`), or by
the batched engine (:mod:`~unicrs_rl.experiments.rollout`); see :class:`Surface`. With the engine each
checkpoint is tried on held-out conversations, and the best one is kept in the end.

What happens between two checkpoints depends only on the first of them, so a killed run that is
taken up again ends where it would have ended.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint, rollout
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import Selection, Surface, TrainTargets
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.graphs.world import Session, Split
from unicrs_rl.policy.base import Learner, Tensors, named, under

_LOG = logging.getLogger(__name__)
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
    sessions = _sessions(components, learner.rollouts, seed)
    done, earlier, finished, tried, unscored, taken = _resume(learner, path, components)
    if finished:
        return earlier
    started = time.perf_counter()
    learner.prepare()
    semantic = config.surface is Surface.SEMANTIC
    lead = _Batched(learner, components) if semantic else _Talking(learner, components.of(arm))
    lead.unscored &= unscored
    lead.taken.update(taken)
    every = max(config.train_batch, len(sessions) // CHECKPOINTS)
    saved = done
    with _writer(folder.tensorboard(arm, seed), done) as writer:
        while not finished:
            batch = sessions[done : done + config.train_batch]
            if batch:
                _write(writer, lead(batch), done + len(batch))
            done += len(batch)
            progress(f"train {arm} seed {seed}", done, len(sessions))
            finished = done >= len(sessions) or learner.settled
            if done - saved >= every or finished:
                if semantic:
                    tried.add(learner, components, done, writer, earlier + time.perf_counter() - started)
                steps = learner.gradient_steps  # all of them, whichever checkpoint is kept
                if finished:
                    tried.write_success_by_turn(writer)
                    tried.give_back(learner)
                writer.flush()  # a killed run goes on from this checkpoint, and so do its curves
                seconds = earlier + time.perf_counter() - started
                _save(learner, path, components, lead, done, seconds, steps, finished, tried)
                saved = done
    return earlier + time.perf_counter() - started


def _sessions(components: Components, rollouts: int, seed: int) -> list[Session]:
    """The training conversations, each as often as the learner wants; copies count for the budget."""
    count = components.config.train_dialogues
    drawn = components.world.sessions(Split.TRAIN, max(1, -(-count // rollouts)), seed)
    return [replace(session, copy=copy) for session in drawn for copy in range(rollouts)][:count]


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


class _Talking:
    """Leads conversations in words, one turn of a batch at a time."""

    def __init__(self, learner: Learner, components: Components) -> None:
        self.learner = learner
        config = components.config
        if not config.seekers.regenerate:  # nobody sees how seekers drift here, and no reply depends on it
            seekers = config.seekers.model_copy(update={"tracking": False})
            config = config.model_copy(update={"seekers": seekers})
        self.conversations = Conversations(replace(components, config=config))
        self.unscored = True  # until the judge gives a score
        self.taken: Counter[str] = Counter()

    def __call__(self, batch: Sequence[Session]) -> dict[str, float]:
        held = self.conversations.hold(self.learner, batch, learning=True)
        broken = {episode.session.key for episode in held if episode.failure}
        if broken:  # torn conversations would teach that it is good to break off
            self.learner.forget(broken)
            why = next(episode.failure for episode in held if episode.failure)
            _LOG.warning("%d training dialogues broke off (%s); nothing is learned of them", len(broken), why)
        episodes = [episode for episode in held if episode.session.key not in broken]
        turns = [turn for episode in episodes for turn in episode.dialogue.turns]
        self.unscored &= all(turn.score is None for turn in turns)
        self.taken.update(_taken(held))
        n = max(1, len(episodes))
        return self.learner.learn() | {
            "episode/reward": sum(turn.reward for turn in turns) / n,
            "episode/turns": len(turns) / n,
            "episode/success": sum(bool(e.dialogue.outcome and e.dialogue.outcome.success) for e in episodes)
            / n,
            "episode/judge": sum(e.score.value for e in episodes if e.score) / n,
        }


def _taken(episodes: Collection[Episode]) -> dict[str, int]:
    """Turns of conversations, and what they took of language models, the judge's and seekers' share too."""
    turns = [turn for episode in episodes for turn in episode.dialogue.turns]
    calls = [call for turn in turns for call in (*turn.calls, *turn.judge_calls, *turn.reply.calls)]
    calls += [call for episode in episodes for call in episode.dialogue.opening.calls]
    tokens = sum(call.tokens_in + call.tokens_out for call in calls)
    return {"turns": len(turns), "calls": len(calls), "tokens": tokens}


class _Batched:
    """Leads conversations in the batched engine."""

    def __init__(self, learner: Learner, components: Components) -> None:
        self.learner, self.components = learner, components
        self.engine = components.engine()
        self.unscored = False  # nobody judges
        self.taken: Counter[str] = Counter()

    def __call__(self, batch: Sequence[Session]) -> dict[str, float]:
        if self.components.config.train_targets is TrainTargets.PRIOR:
            batch = rollout.dreamed(self.components, batch)
        found = rollout.hold(self.engine, self.learner, batch, learning=True)
        self.taken.update(turns=int(found.turn.sum()), calls=0, tokens=0)
        return self.learner.learn() | {
            "episode/reward": float(found.reward.mean()),
            "episode/turns": float(found.turn.mean()),
            "episode/success": float(found.success.mean()),
        }


class _Tried:
    """Checkpoints tried on held-out conversations, and what the best of them needs to decide.

    Attributes:
        rows: of each trial, the conversations led before and the metrics found.
        tensors: of the best learner.
        header: of the best learner; ``None`` before the first trial.
        kept: which trial that is.
    """

    def __init__(
        self, rows: list[dict[str, Any]], tensors: Tensors, header: dict[str, Any] | None, kept: int = 0
    ) -> None:
        self.rows, self.tensors, self.header, self.kept = rows, tensors, header, kept

    def add(
        self, learner: Learner, components: Components, done: int, writer: SummaryWriter, seconds: float
    ) -> None:
        """Try the learner; keep it if it needs fewer turns than all before, failures counting the limit.

        Args:
            done: conversations led so far.
            seconds: of training so far.
        """
        config = components.config
        split = Split.TEST if config.select is Selection.TEST else Split.VALID
        if not components.world.targets[split]:
            return  # nobody to try it on: the last one is kept
        sessions = rollout.held_out(components, split, rollout.TRIED_ON)
        found = rollout.evaluate(components.engine(), learner, sessions)
        values = {name: round(float(column.mean()), 6) for name, column in found.metrics().items()}
        _write(writer, {f"{split}/{name}": value for name, value in values.items()}, done)
        if not self.rows or config.select is Selection.LAST or values["at"] < self._least:
            tensors, self.header = learner.state(resumable=False)
            self.tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # it goes on learning
            self.kept = len(self.rows)
        rates = [round(float(found.success_by(t).mean()), 6) for t in range(1, config.limit + 1)]
        row = {"done": done, "seconds": round(seconds, 3), "split": split.value, **values}
        self.rows.append(row | {"success_by_turn": rates})

    @property
    def _least(self) -> float:
        least: float = min(row["at"] for row in self.rows)
        return least

    def give_back(self, learner: Learner) -> None:
        """Make the learner the one that is kept, as taking up its checkpoint would."""
        if self.header is not None:
            learner.load(self.tensors, self.header)

    def write_success_by_turn(self, writer: SummaryWriter) -> None:
        """The SR@t curve of the trial that is kept, over t."""
        if self.rows:
            kept = self.rows[self.kept]
            for turn, rate in enumerate(kept["success_by_turn"], start=1):
                writer.add_scalar(f"{kept['split']}/success by turn", rate, turn)


def _write(writer: SummaryWriter, curves: Mapping[str, float], step: int) -> None:
    for name, value in curves.items():
        writer.add_scalar(name, value, step)


def _writer(directory: Path, done: int) -> SummaryWriter:
    """TensorBoard writer; what a killed run wrote after its last checkpoint is purged."""
    return SummaryWriter(str(directory), purge_step=done + 1)


def _resume(
    learner: Learner, path: Path, components: Components
) -> tuple[int, float, bool, _Tried, bool, dict[str, int]]:
    """From a checkpoint: conversations led, seconds spent, whether training is finished, trials,
    whether the judge has given no score so far, and what was taken."""
    if not path.is_file():
        return 0, 0.0, False, _Tried([], {}, None), True, {}
    tensors, header = checkpoint.load(path, components.world.fingerprint)
    learner.load(tensors, header["learner"])
    tried = _Tried(header["tried"], under("best.", tensors), header["best"], header["kept"])
    taken = header.get("taken", {})  # earlier versions did not count
    return header["done"], header["seconds"], header["finished"], tried, header["unscored"], taken


def _save(
    learner: Learner,
    path: Path,
    components: Components,
    lead: _Talking | _Batched,
    done: int,
    seconds: float,
    steps: int,
    finished: bool,
    tried: _Tried,
) -> None:
    """Write a checkpoint; the last one is the best one tried."""
    if finished and tried.header is not None:
        tensors, state = tried.tensors, tried.header
    else:
        tensors, state = learner.state(resumable=not finished)
        tensors |= named("best.", tried.tensors)
    header = {
        "world": components.world.fingerprint,
        "done": done,
        "seconds": round(seconds, 3),
        "finished": finished,
        "unscored": lead.unscored,
        "gradient_steps": steps,
        "taken": dict(lead.taken),
        "learner": state,
        "tried": tried.rows,
        "kept": tried.kept,
        "best": None if finished else tried.header,
    }
    checkpoint.save(path, tensors, header)
