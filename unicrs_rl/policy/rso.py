"""The decomposed arm: a Planner picks the strategy, everything else is left to the experts.

After RSO ("Reinforced Strategy Optimization for Conversational Recommender Systems via
Network-of-Experts", arXiv 2509.26093). Two stages: supervised warm-up of the Planner on human
strategies (cross-entropy), then REINFORCE with an entropy bonus,

``loss = - sum_t log pi(h_t | s_t) (R_t - b) - beta * (1/T) sum_t H(pi(. | s_t))``,
``R_t = sum_i gamma^i r_(t+i)``,

averaged over the conversations of a batch. The paper has no baseline ``b``; that is
``baseline = "none"``. Where no labelled corpus is given, the warm-up imitates a documented prior
(``strategy_prior.toml``) in the first share of the training conversations.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from tokenizers import Tokenizer
from torch import nn
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Plan
from unicrs_rl.graphs.states import States
from unicrs_rl.policy.base import (
    ArmContext,
    Learner,
    Tensors,
    load_optimizer,
    named,
    optimizer_tensors,
    under,
)
from unicrs_rl.policy.planner import (
    SMALL,
    Planner,
    check_encoder,
    corpus_samples,
    pretrained_planner,
    small_planner,
    small_planner_with,
    text_of,
    wrap_tokenizer,
)


class Baseline(StrEnum):
    """What is subtracted from the return."""

    BATCH = "batch"
    """The mean return of the batch's conversations at the same turn (default; less noise)."""
    NONE = "none"
    """Nothing (the paper)."""


class RsoConfig(BaseModel):
    """Hyper-parameters of the decomposed arm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = Field(SMALL, description="'small' (from config) or a Hugging Face encoder, folder or name")
    width: int = Field(64, ge=32, multiple_of=32, description="of the small encoder")
    layers: int = Field(2, ge=1, description="of the small encoder")
    vocabulary: int = Field(1500, ge=300, description="of the small encoder's tokenizer")
    max_tokens: int = Field(96, ge=8, description="longer texts lose their beginning")
    warm_up_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the training conversations spent on the prior, without a corpus",
    )
    warm_up_epochs: int = Field(2, ge=1, description="passes over the supervised samples")
    warm_up_learning_rate: float = Field(1e-3, gt=0, description="of AdamW, supervised")
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW, reinforcement")
    update_every: int = Field(4, ge=1, description="conversations per policy-gradient step")
    batch_size: int = Field(32, ge=1, description="supervised samples per step")
    discount: float = Field(0.99, ge=0, le=1, description="gamma, per turn")
    entropy: float = Field(0.02, ge=0, description="beta, weight of the entropy bonus")
    baseline: Baseline = Field(Baseline.BATCH, description="what is subtracted from the return")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")

    @field_validator("encoder")
    @classmethod
    def _loadable(cls, name: str) -> str:
        if name != SMALL:
            check_encoder(name)
        return name


@dataclass(slots=True)
class _Episode:
    """One conversation as the learner remembers it."""

    texts: list[str] = field(default_factory=list)
    strategies: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)


class Rso(Learner):
    """Plays and learns; see the module's docstring.

    Args:
        context: of the arm; ``options`` are fields of :class:`RsoConfig`.
    """

    Config = RsoConfig
    complete = False
    reads_corpus = True
    rewarded_by_judge = True

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.config = RsoConfig.model_validate(context.options or {})
        self.rng = np.random.default_rng(draws.key("rso exploration", context.seed))
        self.warm_up_dialogues = 0 if context.corpus else round(self.config.warm_up_share * context.dialogues)
        self.planner: Planner | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.played = 0
        self.samples: list[tuple[str, int]] = []
        self._episodes: dict[int, _Episode] = {}
        self._finished: list[_Episode] = []
        self._exact: Planner | None = None

    def decide(self, states: States) -> list[Plan]:
        """The likeliest strategy; dropout off, in double precision."""
        self.prepare()
        if self.planner is None:
            return [self._plan(_prior(state.turn, state.limit)) for state in states.rows]
        if self._exact is None:
            self._exact = copy.deepcopy(self.planner).double().eval()
        with torch.inference_mode():
            logits = self._exact([text_of(state) for state in states.rows])
            chances = torch.round(logits.softmax(1), decimals=9).numpy()
        return [self._plan(row) for row in chances]

    @override
    def act(self, states: States) -> list[Plan]:
        self.prepare()
        texts = [text_of(state) for state in states.rows]
        chances = self._chances(states, texts)
        plans = []
        for state, text, row in zip(states.rows, texts, chances, strict=True):
            strategy = int(np.searchsorted(np.cumsum(row) / row.sum(), self.rng.random(), side="right"))
            episode = self._episodes.setdefault(state.key, _Episode())
            episode.texts.append(text)
            episode.strategies.append(min(strategy, len(STRATEGIES) - 1))
            plans.append(self._plan(row, episode.strategies[-1]))
        return plans

    @override
    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        for key, reward, ended in zip(keys, rewards, over, strict=True):
            self._episodes[key].rewards.append(reward)
            if ended:
                self._finished.append(self._episodes.pop(key))
                self.played += 1

    @override
    def learn(self) -> dict[str, float]:
        episodes, self._finished = self._finished, []
        if self.planner is None:
            self.samples += [pair for e in episodes for pair in zip(e.texts, e.strategies, strict=True)]
            if self.played < self.warm_up_dialogues:
                return {}
            samples, self.samples = self.samples, []
            return {"warm_up_loss": self._warm_up(samples)}
        return self._reinforce(episodes) if episodes else {}

    @override
    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        header: dict[str, Any] = {
            "played": self.played,
            "resumable": resumable,
            "rng": self.rng.bit_generator.state,
            "config": self.config.model_dump(mode="json"),
            "tokenizer": None,
        }
        tensors: Tensors = {}
        if resumable and self.samples:  # as a tensor: a header has its limits
            text = json.dumps(self.samples).encode()
            tensors["samples"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        if self.planner is not None and self.optimizer is not None:
            tensors |= named("planner.", self.planner.state_dict())
            if resumable:
                tensors |= named("optimizer.", optimizer_tensors(self.optimizer))
            header["tokenizer"] = self.planner.tokenizer.backend_tokenizer.to_str()
        return tensors, header

    @override
    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        self.played = header["played"]
        kept = json.loads(tensors["samples"].numpy().tobytes()) if "samples" in tensors else []
        self.samples = [(text, strategy) for text, strategy in kept]
        self.rng.bit_generator.state = header["rng"]
        self._exact = None
        if header["tokenizer"] is None:
            return
        if self.config.encoder == SMALL:
            tokenizer = wrap_tokenizer(Tokenizer.from_str(header["tokenizer"]))
            width, layers = self.config.width, self.config.layers
            self._take(small_planner_with(tokenizer, width, layers, self.config.max_tokens))
        else:
            self._take(pretrained_planner(self.config.encoder, self.config.max_tokens))
        assert self.planner is not None
        assert self.optimizer is not None
        self.planner.load_state_dict(under("planner.", tensors))
        if header["resumable"]:
            load_optimizer(self.optimizer, under("optimizer.", tensors))

    @override
    def prepare(self) -> None:
        """Make the planner, unless it is to imitate the prior first; a corpus warms it up."""
        if self.planner is not None or self.warm_up_dialogues:
            return
        if self.context.corpus:
            self._warm_up(corpus_samples(self.context.corpus))
        else:
            self._new_planner(["recommender seeker turn used none", *(s.value for s in STRATEGIES)])

    def _new_planner(self, texts: Sequence[str]) -> None:
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key("rso", self.context.seed) % 2**31)
            if config.encoder == SMALL:
                made = small_planner(texts, config.vocabulary, config.width, config.layers, config.max_tokens)
            else:
                made = pretrained_planner(config.encoder, config.max_tokens)
        self._take(made)

    def _take(self, planner: Planner) -> None:
        self.planner = planner
        self.optimizer = torch.optim.AdamW(planner.parameters(), lr=self.config.learning_rate)
        self._exact = None

    def _warm_up(self, samples: Sequence[tuple[str, int]]) -> float:
        """Stage 1: cross-entropy on (text, strategy) samples; the last epoch's mean loss."""
        config = self.config
        self._new_planner([text for text, _ in samples])
        assert self.planner is not None
        optimizer = torch.optim.AdamW(self.planner.parameters(), lr=config.warm_up_learning_rate)
        loss_of_epoch, done = 0.0, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key("rso warm-up", self.context.seed) % 2**31)
            self.planner.train()
            for _ in range(config.warm_up_epochs):
                losses = []
                for batch in torch.randperm(len(samples)).split(config.batch_size):
                    done += len(batch)
                    self.context.progress(
                        f"warm up rso seed {self.context.seed}", done, len(samples) * config.warm_up_epochs
                    )
                    chosen = [samples[i] for i in batch.tolist()]
                    loss = nn.functional.cross_entropy(
                        self.planner([text for text, _ in chosen]), torch.tensor([s for _, s in chosen])
                    )
                    _descend(optimizer, self.planner, loss, config.clip)
                    losses.append(float(loss.detach()))
                loss_of_epoch = float(np.mean(losses))
            self.planner.eval()
        self._exact = None
        return loss_of_epoch

    def _reinforce(self, episodes: Sequence[_Episode]) -> dict[str, float]:
        """Stage 2: policy-gradient steps on a batch of conversations, a few conversations at a time."""
        returns = [discounted(episode.rewards, self.config.discount) for episode in episodes]
        gains = returns
        if self.config.baseline is Baseline.BATCH:
            baselines = _baselines(returns)
            gains = [r - baselines[: len(r)] for r in returns]
        size = self.config.update_every
        starts = range(0, len(episodes), size)
        steps = [self._step(episodes[i : i + size], gains[i : i + size]) for i in starts]
        loss, entropy = np.mean(steps, axis=0)
        self._exact = None
        return {
            "loss": float(loss),
            "entropy": float(entropy),
            "return": float(np.mean([r[0] for r in returns])),
        }

    def _step(
        self, episodes: Sequence[_Episode], gains: Sequence[NDArray[np.float64]]
    ) -> tuple[float, float]:
        """One gradient step on conversations and their returns less the baseline; loss and entropy."""
        assert self.planner is not None
        assert self.optimizer is not None
        self.planner.eval()  # the update follows the policy that acted, which has no dropout
        log_p = self.planner([text for e in episodes for text in e.texts]).log_softmax(1)
        chosen = torch.tensor([s for e in episodes for s in e.strategies])
        taken = log_p.gather(1, chosen[:, None]).squeeze(1)
        entropy = -(log_p.exp() * log_p).sum(1)
        share = torch.cat([torch.full((len(e.texts),), 1 / len(e.texts)) for e in episodes])
        gain = torch.from_numpy(np.concatenate(gains)).float()
        loss = -((taken * gain).sum() + self.config.entropy * (entropy * share).sum()) / len(episodes)
        _descend(self.optimizer, self.planner, loss, self.config.clip)
        return float(loss.detach()), float(entropy.detach().mean())

    def _chances(self, states: States, texts: Sequence[str]) -> NDArray[np.float64]:
        """Strategy probabilities to sample from: ``[b, strategies]``."""
        if self.planner is None:
            return np.stack([_prior(state.turn, state.limit) for state in states.rows])
        self.planner.eval()
        with torch.inference_mode():
            chances: NDArray[np.float64] = self.planner(texts).softmax(1).double().numpy()
        return chances

    def _plan(self, chances: NDArray[np.float64], strategy: int | None = None) -> Plan:
        """A strategy, and nothing else decided."""
        index = int(chances.argmax()) if strategy is None else strategy
        best = np.argsort(-chances, kind="stable")[:3]
        return Plan(
            STRATEGIES[index], scores={STRATEGIES[i].value: round(float(chances[i]), 4) for i in best}
        )


def discounted(rewards: Sequence[float], discount: float) -> NDArray[np.float64]:
    """Returns ``R_t = sum_i gamma^i r_(t+i)``: ``[T]``."""
    returns = np.zeros(len(rewards))
    later = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        later = rewards[t] + discount * later
        returns[t] = later
    return returns


def _baselines(returns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean return at each turn over the conversations that reached it."""
    longest = max(len(r) for r in returns)
    return np.array([np.mean([r[t] for r in returns if len(r) > t]) for t in range(longest)])


@cache
def _prior_table() -> NDArray[np.float64]:
    text = resources.files(__package__).joinpath("strategy_prior.toml").read_text("utf-8")
    quarters = tomllib.loads(text)["quarter"]
    return np.array([[quarter[strategy.value] for strategy in STRATEGIES] for quarter in quarters])


def _prior(turn: int, limit: int) -> NDArray[np.float64]:
    """Strategy shares at a turn; a dialogue is expected to last half its limit."""
    table = _prior_table()
    row: NDArray[np.float64] = table[min(len(table) - 1, len(table) * turn * 2 // limit)]
    return row


def _descend(optimizer: torch.optim.Optimizer, model: nn.Module, loss: torch.Tensor, clip: float) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
