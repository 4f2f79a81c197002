"""The decomposed arm: a Planner picks the strategy, everything else is left to the experts.

After RSO ("Reinforced Strategy Optimization for Conversational Recommender Systems via
Network-of-Experts", arXiv 2509.26093). Two stages: supervised warm-up of the Planner on human
strategies (cross-entropy), then REINFORCE with an entropy bonus,

``loss = - sum_t log pi(h_t | s_t) (R_t - b_t)
        - beta * (1/T) sum_t H(pi(. | s_t)) + kappa * (1/T) sum_t KL(pi(. | s_t) || pi_0(. | s_t))``,
``R_t = sum_i gamma^i r_(t+i)``,

averaged over the conversations of a step (Eq. 7-8). The paper has neither a baseline ``b``
(``baseline = "none"``) nor the divergence from the warmed-up planner ``pi_0`` (``kl = 0``).

Strategies move a conversation little, and chance much. So each training conversation is held
``rollouts`` times with the same random numbers, and ``b`` is what the others of its group returned:
what differs between them is due to the strategies alone. For the same reason ``R_t`` is the mean reward
of the conversation by default; :class:`Returns` has the paper's sum, :class:`Tuned` its whole planner.

Where no labelled corpus is given, the warm-up imitates a documented prior (``strategy_prior.toml``)
in the first share of the training conversations.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import entr
from torch import nn
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, LabelMap, Plan
from unicrs_rl.errors import InputError
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
    PlannerInput,
    Sample,
    check_encoder,
    corpus_samples,
    input_of,
    load_planner,
    new_planner,
    planner_file,
    planner_state,
    restored_planner,
)
from unicrs_rl.policy.warm_up import WarmUp, WarmUpConfig


class Baseline(StrEnum):
    """What is subtracted from the return."""

    GROUP = "group"
    """The mean return at the same turn of the other conversations with the same seeker, target and
    random numbers (default); the batch's mean where no other got so far."""
    BATCH = "batch"
    """The mean return of the batch's conversations at the same turn."""
    VALUE = "value"
    """A learned estimate of the return, linear in the planner's features of the state."""
    NONE = "none"
    """Nothing (the paper)."""


class Deciding(StrEnum):
    """How a strategy is taken outside training."""

    GREEDY = "greedy"
    """The likeliest one (default)."""
    SAMPLED = "sampled"
    """One drawn with its probability (RSO's released code); the same in every run."""


class Returns(StrEnum):
    """What a strategy is credited with."""

    SUM = "sum"
    """The discounted sum of the rewards from its turn on (the paper). Where every turn is rewarded with
    the judge's score, that pays for long conversations."""
    MEAN = "mean"
    """The mean reward of the conversation's turns (default): a long conversation is worth no more than a
    short one. It varies far less with chance than whether the conversation succeeds in the end."""


class Tuned(StrEnum):
    """What of the planner stage 2 trains."""

    CLASSIFIER = "classifier"
    """The classifier on top; the encoder keeps what it learned from people (default). The features of a
    state are computed once, when it is acted on, so learning costs next to nothing."""
    ALL = "all"
    """Everything (the paper)."""


class RsoConfig(BaseModel):
    """Hyper-parameters of the decomposed arm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = Field(
        SMALL, description="'small' (from config), 'minilm', or a Hugging Face encoder, folder or name"
    )
    labels: LabelMap = Field(
        LabelMap.NONE, description="which strategies are told apart: none, rso, inspired"
    )
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
    warm_up_learning_rate: float = Field(2e-3, gt=0, description="of AdamW, supervised, at its highest")
    learning_rate: float = Field(3e-3, gt=0, description="of AdamW, reinforcement")
    start: Path | None = Field(
        None,
        description="a warmed-up planner to go on from: a run of train --stage sft, or its "
        "planner.safetensors; its encoder and labels are then its own",
    )
    deciding: Deciding = Field(Deciding.GREEDY, description="how a strategy is taken outside training")
    reinforce: bool = Field(True, description="stage 2; off, the warmed-up planner stays as it is")
    tuned: Tuned = Field(Tuned.CLASSIFIER, description="what of the planner stage 2 trains")
    update_every: int = Field(
        16, ge=1, description="conversations per policy-gradient step, at most a training batch"
    )
    rollouts: int = Field(4, ge=1, description="times each training conversation is held")
    batch_size: int = Field(32, ge=1, description="supervised samples per step")
    returns: Returns = Field(Returns.MEAN, description="what a strategy is credited with")
    discount: float = Field(0.99, ge=0, le=1, description="gamma, per turn")
    entropy: float = Field(0.02, ge=0, description="beta, weight of the entropy bonus")
    kl: float = Field(0.0, ge=0, description="kappa, weight of the divergence from the warmed-up planner")
    baseline: Baseline = Field(Baseline.GROUP, description="what is subtracted from the return")
    value_learning_rate: float = Field(1e-2, gt=0, description="of the learned baseline")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")

    @model_validator(mode="after")
    def _grouped(self) -> RsoConfig:
        if self.baseline is Baseline.GROUP and self.rollouts < 2:
            raise ValueError("baseline 'group' needs rollouts of at least 2")
        return self


@dataclass(slots=True)
class Episode:
    """One conversation as the learner remembers it; ``key`` is that of its random numbers."""

    key: int = 0
    inputs: list[PlannerInput] = field(default_factory=list)
    features: list[torch.Tensor] = field(default_factory=list)
    strategies: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)


class Rso(Learner):
    """Plays and learns; see the module's docstring.

    Args:
        context: of the arm; ``options`` are fields of :class:`RsoConfig`.
    """

    Config: ClassVar[type[RsoConfig]] = RsoConfig
    complete = False
    reads_corpus = True
    rewarded_by_judge = True

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.config = self.Config.model_validate(context.options or {})
        self.rng = np.random.default_rng(draws.key("rso exploration", context.seed))
        known = context.corpus or self.config.start is not None
        self.warm_up_dialogues = 0 if known else round(self.config.warm_up_share * context.dialogues)
        self.planner: Planner | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.critic: nn.Linear | None = None
        self.critic_optimizer: torch.optim.Optimizer | None = None
        self.played = 0
        self.samples: list[Sample] = []
        self._episodes: dict[tuple[int, int], Episode] = {}
        self._acting: list[tuple[int, int]] = []
        self._finished: list[Episode] = []
        self._exact: Planner | None = None
        self._warmed_up: Planner | None = None

    @classmethod
    @override
    def files(cls, settings: Mapping[str, Any]) -> tuple[Path, ...]:
        config = cls.Config.model_validate(settings)
        if config.start is not None:
            try:
                return (planner_file(config.start),)
            except InputError as error:
                raise InputError(f"start: {error}") from None
        if config.encoder != SMALL:
            try:
                check_encoder(config.encoder)
            except ValueError as error:
                raise InputError(f"encoder: {error}") from None
        return ()

    @property
    @override
    def rollouts(self) -> int:
        return self.config.rollouts

    @property
    @override
    def settled(self) -> bool:
        return not self.config.reinforce and self.planner is not None

    def decide(self, states: States) -> list[Plan]:
        """The likeliest strategy, unless they are to be sampled; dropout off, in double precision."""
        self.prepare()
        chances = self._exact_chances(states)
        if self.config.deciding is Deciding.GREEDY:
            return [self._plan(row) for row in chances]
        rows = states.rows
        keys = np.array([state.key for state in rows], dtype=np.uint64)
        drawn = draws.uniform(keys, np.array([state.turn for state in rows]), "strategy")
        return [self._plan(row, _drawn(row, at)) for row, at in zip(chances, drawn.tolist(), strict=True)]

    def _exact_chances(self, states: States) -> NDArray[np.float64]:
        """Probabilities that do not depend on the batch: ``[b, strategies]``."""
        if self.planner is None:
            labels = self.config.labels
            return np.stack([_prior(state.turn, state.limit, labels) for state in states.rows])
        if self._exact is None:
            self._exact = copy.deepcopy(self.planner).double().eval()
        with torch.inference_mode():
            logits = self._exact([input_of(state) for state in states.rows])
            chances: NDArray[np.float64] = torch.round(logits.softmax(1), decimals=9).numpy()
        return chances

    @override
    def act(self, states: States) -> list[Plan]:
        self.prepare()
        inputs = [input_of(state) for state in states.rows]
        features, chances = self._chances(states, inputs)
        plans = []
        self._acting = [(state.key, state.copy) for state in states.rows]
        for state, seen, known, row in zip(states.rows, inputs, features, chances, strict=True):
            strategy = _drawn(row, self.rng.random())
            episode = self._episodes.setdefault((state.key, state.copy), Episode(state.key))
            episode.inputs.append(seen)
            episode.features.append(known)
            episode.strategies.append(strategy)
            plans.append(self._plan(row, episode.strategies[-1]))
        return plans

    @override
    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        if [key for key, _ in self._acting] != list(keys):
            raise ValueError("rewards are for other conversations than the last turn's")
        for which, reward, ended in zip(self._acting, rewards, over, strict=True):
            self._episodes[which].rewards.append(reward)
            if ended:
                self._finished.append(self._episodes.pop(which))
                self.played += 1

    @override
    def forget(self, keys: Collection[int]) -> None:
        self._finished = [episode for episode in self._finished if episode.key not in keys]

    @override
    def learn(self) -> dict[str, float]:
        episodes, self._finished = self._finished, []
        if self.planner is None:
            self.samples += [pair for e in episodes for pair in zip(e.inputs, e.strategies, strict=True)]
            if self.played < self.warm_up_dialogues or not self.samples:
                return {}
            samples, self.samples = self.samples, []
            return {"warm_up_loss": self._warm_up(samples)}
        return self._reinforce(episodes) if episodes else {}

    @override
    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        header: dict[str, Any] = {
            "played": self.played,
            "stepped": self.stepped,
            "warm_up_steps": self.warm_up_steps,
            "resumable": resumable,
            "rng": self.rng.bit_generator.state,
            "config": self.config.model_dump(mode="json"),
            "planner": None,
        }
        tensors: Tensors = {}
        if resumable and self.samples:  # as a tensor: a header has its limits
            text = json.dumps([(astuple(seen), strategy) for seen, strategy in self.samples]).encode()
            tensors["samples"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        if self.planner is not None and self.optimizer is not None:
            weights, header["planner"] = planner_state(self.planner)
            tensors |= named("planner.", weights)
            if resumable:
                tensors |= self._learning()
        return tensors, header

    @override
    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        self.played = header["played"]
        self.stepped = header.get("stepped", 0)  # earlier versions did not count
        self.warm_up_steps = header.get("warm_up_steps", 0)
        kept = json.loads(tensors["samples"].numpy().tobytes()) if "samples" in tensors else []
        self.samples = [
            (PlannerInput(text, tuple(used), *rest), strategy) for (text, used, *rest), strategy in kept
        ]
        self.rng.bit_generator.state = header["rng"]
        self._exact = None
        if header["planner"] is None:
            return
        self._take(restored_planner(under("planner.", tensors), header["planner"]))
        if header["resumable"]:
            self._take_up_learning(tensors)

    def _learning(self) -> Tensors:
        """What learning needs beside the planner."""
        assert self.optimizer is not None
        assert self.critic is not None
        assert self.critic_optimizer is not None
        tensors = named("optimizer.", optimizer_tensors(self.optimizer))
        tensors |= named("critic.", self.critic.state_dict())
        tensors |= named("critic_optimizer.", optimizer_tensors(self.critic_optimizer))
        if self._warmed_up is not None:
            tensors |= named("warmed_up.", self._warmed_up.state_dict())
        return tensors

    def _take_up_learning(self, tensors: Tensors) -> None:
        """Take up :meth:`_learning`."""
        assert self.planner is not None
        assert self.optimizer is not None
        assert self.critic is not None
        assert self.critic_optimizer is not None
        load_optimizer(self.optimizer, under("optimizer.", tensors))
        self.critic.load_state_dict(under("critic.", tensors))
        load_optimizer(self.critic_optimizer, under("critic_optimizer.", tensors))
        before = under("warmed_up.", tensors)
        if before:
            self._warmed_up = copy.deepcopy(self.planner)
            self._warmed_up.load_state_dict(before)

    @override
    def prepare(self) -> None:
        """Make the planner, unless it is to imitate the prior first; a corpus warms up a new one."""
        if self.planner is not None or self.warm_up_dialogues:
            return
        if self.config.start is not None:
            self._take(load_planner(planner_file(self.config.start)))
        elif self.context.corpus:
            self._warm_up(corpus_samples(self.context.corpus, self.config.labels))
        else:
            self._new_planner(["recommender seeker turn used none", *(s.value for s in STRATEGIES)])

    def _new_planner(self, texts: Sequence[str]) -> None:
        self._take(new_planner(self.config, texts, draws.key("rso", self.context.seed)))

    def _take(self, planner: Planner) -> None:
        self.planner = planner
        tuned = planner.classifier if self.config.tuned is Tuned.CLASSIFIER else planner
        self.optimizer = torch.optim.AdamW(tuned.parameters(), lr=self.config.learning_rate)
        self.critic = nn.utils.skip_init(nn.Linear, planner.classifier.in_features, 1)
        nn.init.zeros_(self.critic.weight)
        nn.init.zeros_(self.critic.bias)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=self.config.value_learning_rate)
        self._exact = self._warmed_up = None

    def _warm_up(self, samples: Sequence[Sample]) -> float:
        """Stage 1: cross-entropy on (state, strategy) samples; the last epoch's mean loss."""
        config = self.config
        self._new_planner([seen.text for seen, _ in samples])
        assert self.planner is not None
        course = WarmUp(
            self.planner,
            samples,
            held_out=(),
            config=WarmUpConfig(
                epochs=config.warm_up_epochs,
                batch_size=config.batch_size,
                learning_rate=config.warm_up_learning_rate,
                classifier_learning_rate=config.warm_up_learning_rate,
                clip=config.clip,
                adjustment=0.0,
                frozen_layers=0,
            ),
            seed=self.context.seed,
            progress=lambda done, total: self.context.progress(
                f"warm up rso seed {self.context.seed}", done, total
            ),
        )
        history = course.fit()
        self.warm_up_steps += len(history) * course.steps
        self.stepped += len(history) * course.steps
        self._exact = None
        return history[-1]["loss"]

    def _reinforce(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Stage 2: policy-gradient steps on a batch of conversations, a few conversations at a time."""
        if not self.config.reinforce:
            return {}
        episodes = sorted(episodes, key=lambda episode: episode.key)  # groups together
        returns = [self._returns(episode.rewards) for episode in episodes]
        baselines = self._baselines(episodes, returns)
        size = self.config.update_every
        steps = []
        for start in range(0, len(episodes), size):
            part = slice(start, start + size)
            steps.append(self._step(episodes[part], returns[part], baselines[part]))
        self._exact = None
        means = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        return means | {"return": float(np.mean([r[0] for r in returns]))}

    def _returns(self, rewards: Sequence[float]) -> NDArray[np.float64]:
        """What the strategy of each turn is credited with: ``[T]``."""
        if self.config.returns is Returns.MEAN:
            return np.full(len(rewards), np.mean(rewards))
        return discounted(rewards, self.config.discount)

    def _baselines(
        self, episodes: Sequence[Episode], returns: Sequence[NDArray[np.float64]]
    ) -> list[NDArray[np.float64]]:
        """What is subtracted from the returns, but for the learned estimate: ``[T]`` each."""
        kind = self.config.baseline
        if kind in (Baseline.NONE, Baseline.VALUE):
            return [np.zeros(len(r)) for r in returns]
        if kind is Baseline.BATCH:
            means = mean_by_turn(returns)
            return [means[: len(r)] for r in returns]
        return group_baselines([episode.key for episode in episodes], returns)

    def _step(
        self,
        episodes: Sequence[Episode],
        returns: Sequence[NDArray[np.float64]],
        baselines: Sequence[NDArray[np.float64]],
    ) -> dict[str, float]:
        """One gradient step on conversations; what it was made of."""
        config = self.config
        features, log_p = self.look(episodes)
        taken = log_p.gather(1, chosen_in(episodes)).squeeze(1)
        reached = torch.from_numpy(np.concatenate(returns)).float()
        gain = reached - torch.from_numpy(np.concatenate(baselines)).float()
        if config.baseline is Baseline.VALUE:
            gain = gain - self.values(features).detach()
            self.fit_values(features.detach(), reached)
        share = torch.cat([torch.full((len(e.inputs),), 1 / len(e.inputs)) for e in episodes])
        entropy = -(log_p.exp() * log_p).sum(1)
        loss = -(taken * gain).sum() - config.entropy * (entropy * share).sum()
        drift = self.divergence(episodes, log_p)
        loss = loss + config.kl * (drift * share).sum()
        self.descend(loss / len(episodes))
        return {
            "loss": float(loss.detach()) / len(episodes),
            "entropy": float(entropy.detach().mean()),
            "gain": float(gain.square().mean().sqrt()),
            "kl": float(drift.detach().mean()),
        }

    def values(self, features: torch.Tensor) -> torch.Tensor:
        """The learned estimate of the return at each state: ``[states]``."""
        assert self.critic is not None
        values: torch.Tensor = self.critic(features).squeeze(1)
        return values

    def fit_values(self, features: torch.Tensor, returns: torch.Tensor) -> float:
        """One step of the learned estimate towards returns; its mean squared error before."""
        assert self.critic_optimizer is not None
        loss = nn.functional.mse_loss(self.values(features), returns)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        return float(loss.detach())

    def look(self, episodes: Sequence[Episode]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features ``[states, width]`` and log-probabilities ``[states, strategies]`` of all their states.

        Without dropout: the update follows the policy that acted.
        """
        assert self.planner is not None
        self.planner.eval()
        if self.config.tuned is Tuned.ALL:
            features = self.planner.features([seen for e in episodes for seen in e.inputs])
        else:
            features = torch.stack([row for e in episodes for row in e.features])
        return features, self.planner.logits(features).log_softmax(1)

    def divergence(self, episodes: Sequence[Episode], log_p: torch.Tensor) -> torch.Tensor:
        """KL(pi || pi_0) at each state, 0 where it has no weight: ``[states]``."""
        if not self.config.kl:
            return torch.zeros(len(log_p))
        if self._warmed_up is None:
            self._warmed_up = copy.deepcopy(self.planner)
        assert self._warmed_up is not None
        with torch.no_grad():
            before = self._warmed_up.eval()([seen for e in episodes for seen in e.inputs]).log_softmax(1)
        drift: torch.Tensor = (log_p.exp() * (log_p - before)).sum(1)
        return drift

    def descend(self, loss: torch.Tensor) -> None:
        """One step of the planner's optimizer."""
        assert self.planner is not None
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.planner.parameters(), self.config.clip)
        self.optimizer.step()
        self.stepped += 1

    def _chances(
        self, states: States, inputs: Sequence[PlannerInput]
    ) -> tuple[torch.Tensor, NDArray[np.float64]]:
        """The planner's features ``[b, width]``, and probabilities to sample from: ``[b, strategies]``."""
        if self.planner is None:
            prior = [_prior(state.turn, state.limit, self.config.labels) for state in states.rows]
            return torch.zeros(len(prior), 0), np.stack(prior)
        self.planner.eval()
        with torch.no_grad():
            features = self.planner.features(inputs)
            return features, self.planner.logits(features).softmax(1).double().numpy()

    def _plan(self, chances: NDArray[np.float64], strategy: int | None = None) -> Plan:
        """A strategy, and nothing else decided; with the likeliest three and the entropy in nats."""
        index = int(chances.argmax()) if strategy is None else strategy
        best = np.argsort(-chances, kind="stable")[:3]
        scores = {STRATEGIES[i].value: round(float(chances[i]), 4) for i in best}
        return Plan(STRATEGIES[index], scores=scores | {"entropy": round(float(entr(chances).sum()), 4)})


def _drawn(chances: NDArray[np.float64], at: float) -> int:
    """The strategy in whose share of [0, 1) a number lies."""
    place = int(np.searchsorted(np.cumsum(chances) / chances.sum(), at, side="right"))
    return min(place, len(chances) - 1)


def chosen_in(episodes: Sequence[Episode]) -> torch.Tensor:
    """The strategies chosen, as a column: ``[states, 1]``."""
    return torch.tensor([[strategy] for episode in episodes for strategy in episode.strategies])


def discounted(rewards: Sequence[float], discount: float) -> NDArray[np.float64]:
    """Returns ``R_t = sum_i gamma^i r_(t+i)``: ``[T]``."""
    returns = np.zeros(len(rewards))
    later = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        later = rewards[t] + discount * later
        returns[t] = later
    return returns


def mean_by_turn(returns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean return at each turn over the conversations that reached it: ``[longest]``."""
    longest = max(len(r) for r in returns)
    return np.array([np.mean([r[t] for r in returns if len(r) > t]) for t in range(longest)])


def group_baselines(keys: Sequence[int], returns: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Mean return at each turn of the *other* conversations with the same key: ``[T]`` each.

    Independent of the conversation's own strategies, so the gradient stays unbiased. Where no other of
    the group reached the turn, the mean over all conversations.
    """
    everybody = mean_by_turn(returns)
    groups: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    baselines = []
    for place, (key, own) in enumerate(zip(keys, returns, strict=True)):
        others = [returns[other] for other in groups[key] if other != place]
        known = mean_by_turn(others)[: len(own)] if others else np.zeros(0)
        baselines.append(np.concatenate([known, everybody[len(known) : len(own)]]))
    return baselines


@cache
def _prior_table() -> NDArray[np.float64]:
    text = resources.files(__package__).joinpath("strategy_prior.toml").read_text("utf-8")
    quarters = tomllib.loads(text)["quarter"]
    return np.array([[quarter[strategy.value] for strategy in STRATEGIES] for quarter in quarters])


@cache
def _merged_prior(labels: LabelMap) -> NDArray[np.float64]:
    """The table under a label map: ``[quarters, strategies]``."""
    merged = np.zeros_like(_prior_table())
    for strategy, shares in zip(STRATEGIES, _prior_table().T, strict=True):
        merged[:, labels.of(strategy).position] += shares
    return merged


def _prior(turn: int, limit: int, labels: LabelMap) -> NDArray[np.float64]:
    """Strategy shares at a turn; a dialogue is expected to last half its limit."""
    table = _merged_prior(labels)
    row: NDArray[np.float64] = table[min(len(table) - 1, len(table) * turn * 2 // limit)]
    return row
