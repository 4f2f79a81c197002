"""What every arm's decision maker is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from unicrs_rl.dialogue import Decisions, Dialogue, Plan
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ArmContext:
    """What an arm may build on.

    Attributes:
        catalogue: of the world.
        embeddings: pretrained nodes.
        seed: of training.
        limit: T, turns allowed.
        slate: items in a list.
        sociable: whether the seekers heed strategies and small talk.
        recommend_above: confidence above which the best simple rule recommends.
        dialogues: training conversations it will lead.
        corpus: human dialogues with strategy labels to warm up on; may be empty.
        options: the arm's own settings.
        progress: told of long steps as (what, done, total).
    """

    catalogue: Catalogue
    embeddings: Embeddings
    seed: int
    limit: int = 15
    slate: int = 10
    sociable: bool = True
    recommend_above: float = 0.3
    dialogues: int = 0
    corpus: tuple[Dialogue, ...] = ()
    options: Mapping[str, Any] | None = None
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None


class NoSettings(BaseModel):
    """For policies without hyper-parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Policy(ABC):
    """Decides a batch of conversations at once.

    Args:
        context: of the arm.
    """

    Config: ClassVar[type[BaseModel]] = NoSettings
    """The hyper-parameters a user may set under ``[arm.NAME]``."""

    complete: ClassVar[bool] = True
    """Whether it decides every column, and so needs no words: :meth:`choose` then works."""
    experts: ClassVar[Mapping[str, str]] = {}
    """Experts it needs other than the default (fields of :class:`~unicrs_rl.language.experts.Experts`)."""
    reads_corpus: ClassVar[bool] = False
    """Whether it warms up on human dialogues."""
    rewarded_by_judge: ClassVar[bool] = False
    """Whether the arm's own paper trains it on the judge's score (only counts under ``published``)."""

    def __init__(self, context: ArmContext) -> None:
        self.context = context

    @classmethod
    def files(cls, settings: Mapping[str, Any]) -> tuple[Path, ...]:  # noqa: ARG003  whoever has, overrides
        """Files that a training with these settings starts from; what else it needs is looked at.

        Raises:
            InputError: naming the setting, if something is not there.
        """
        return ()

    @classmethod  # noqa: B027  most need nothing
    def check(cls, settings: Mapping[str, Any], catalogue: Catalogue) -> None:
        """Look at what the arm needs besides its training, before anything is run; nothing by default.

        Raises:
            InputError: naming what is not there, or does not fit the catalogue.
        """

    @abstractmethod
    def decide(self, states: States) -> list[Plan]:
        """A plan for each conversation, in order. The same state gives the same plan."""

    def choose(self, states: States) -> Decisions:  # noqa: ARG002  whoever can, overrides it
        """The same as arrays, of a policy that decides every column.

        Raises:
            TypeError: if it leaves columns to others.
        """
        raise TypeError(f"{type(self).__name__} leaves columns to others; it needs the whole conversation")


class Learner(Policy):
    """A policy that learns from the conversations it leads.

    A training loop calls :meth:`act` at every turn, :meth:`observe` after the replies and
    :meth:`learn` after each batch of conversations; conversations are told apart by their keys.
    """

    stepped: int = 0
    """Gradient steps that this learner itself has taken."""
    warm_up_steps: int = 0
    """Those of them in which it learned from people or a rule, before any reward counted."""

    @property
    def gradient_steps(self) -> int:
        """Steps taken on the policy's network so far, all that went into it, those of a warm-up included.

        A learned baseline beside the network takes its steps along with these; they count once.
        """
        return self.stepped

    @property
    def rollouts(self) -> int:
        """How often each training conversation is to be held, with the same random numbers."""
        return 1

    @property
    def settled(self) -> bool:
        """Whether it has learned all it is going to learn, so that training may end early."""
        return False

    def prepare(self) -> None:
        """What has to be done before the first training conversation; nothing by default."""

    def act(self, states: States) -> list[Plan]:
        """Plans while learning: explores."""
        chosen = self.explore(states)
        return [chosen.plan(row) for row in range(len(states))]

    def explore(self, states: States) -> Decisions:  # noqa: ARG002  whoever can, overrides it
        """The same as arrays, of a learner that decides every column.

        Raises:
            TypeError: if it leaves columns to others.
        """
        raise TypeError(f"{type(self).__name__} leaves columns to others; it needs the whole conversation")

    @abstractmethod
    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        """What the last :meth:`act` led to in each of these conversations."""

    def forget(self, keys: Collection[int]) -> None:
        """Learn nothing of the conversations with these keys, which broke off since the last :meth:`learn`.

        Without a method of its own a learner takes them as they ended.
        """

    @abstractmethod
    def learn(self) -> dict[str, float]:
        """Improve; returns numbers for the learning curves."""

    @abstractmethod
    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        """Tensors and a JSON header for :meth:`load`.

        Args:
            resumable: everything needed to go on learning as if nothing had happened; else only
                what deciding needs.
        """

    @abstractmethod
    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        """Take up a :meth:`state`."""


def check_same(acted: NDArray[np.uint64], rewarded: Sequence[int]) -> None:
    """Rewards belong to the conversations that acted last.

    Raises:
        ValueError: if they are for others.
    """
    if not np.array_equal(acted, np.asarray(rewarded, dtype=np.uint64)):
        raise ValueError("rewards are for other conversations than the last turn's")


def by_conversation(keys: NDArray[np.uint64], over: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The order that puts a conversation's turns side by side, in their order: ``[n]``.

    Args:
        keys, over: of turns in the order they were played, ``[n]``.

    Raises:
        ValueError: if a conversation has not ended.
    """
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    if not over[order][np.append(sorted_keys[1:] != sorted_keys[:-1], True)].all():
        raise ValueError("a conversation has not ended; learn between batches of conversations")
    return order


def under(prefix: str, tensors: Tensors) -> Tensors:
    """Entries under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def named(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Entries put under a prefix."""
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """An optimizer's moments as flat named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, moments in state.items() for name, value in moments.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Take up :func:`optimizer_tensors`."""
    moments: dict[int, Tensors] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
