"""Stage 1 of the Planner: it learns to choose as people did.

Cross-entropy over labelled states (RSO, arXiv 2509.26093, Eq. 6), with optional class weights and
label smoothing:

``loss = sum_n w(h_n) [-(1 - e) log pi(h_n | s_n) - e mean_h log pi(h | s_n)] / sum_n w(h_n)``

by AdamW, whose learning rates rise linearly over the first steps and then fall linearly to zero. With
held-out samples the epoch with the best macro-F1 on them is kept, and training ends early when that
no longer rises. Every epoch draws its own random numbers, so that a killed training that is taken up
after its last whole epoch ends where it would have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES
from unicrs_rl.policy.base import Tensors, load_optimizer, named, optimizer_tensors, under
from unicrs_rl.policy.imitation import agreement
from unicrs_rl.policy.planner import Planner, PlannerInput, Sample

_POOL = 50
"""Batches that are made together."""
_CHARACTERS, _BIN = 4, 64
"""Characters in a token, about, and in a step of length."""


class ClassWeights(StrEnum):
    """How much a sample counts, by how frequent its strategy is."""

    NONE = "none"
    """All samples alike (the paper)."""
    SQRT = "sqrt"
    """By one over the square root of the frequency."""
    INVERSE = "inverse"
    """By one over the frequency: all strategies alike."""


class WarmUpConfig(BaseModel):
    """Hyper-parameters of stage 1. The defaults are for a pretrained encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(2, ge=1, description="passes over the samples, at most")
    batch_size: int = Field(32, ge=1, description="samples per step")
    learning_rate: float = Field(2e-4, gt=0, description="of the encoder, at its highest")
    classifier_learning_rate: float = Field(1e-3, gt=0, description="of the classifier, at its highest")
    rising: float = Field(0.06, ge=0, lt=1, description="share of the steps in which the rates rise")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    class_weights: ClassWeights = Field(ClassWeights.NONE, description="none, sqrt or inverse")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="e, share of the loss that asks for breadth")
    adjustment: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of a strategy's log frequency taken from its logit in the end, for rare ones "
        "(logit adjustment, Menon et al., ICLR 2021)",
    )
    frozen_layers: int = Field(
        3, ge=0, description="lowest encoder layers that are not trained; above 0, nor are the embeddings"
    )
    patience: int = Field(1, ge=1, description="epochs without a better macro-F1 after which training ends")


class WarmUp:
    """One training of a planner, an epoch at a time.

    Args:
        planner: trained in place; in the end it is the best epoch's, in evaluation mode.
        samples: labelled states.
        held_out: labelled states to choose the epoch by; none: the last epoch is kept.
        seed: of the order of samples and of dropout.
        progress: told of the work as (samples done, of how many).
    """

    def __init__(
        self,
        planner: Planner,
        samples: Sequence[Sample],
        held_out: Sequence[Sample],
        config: WarmUpConfig,
        seed: int,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self.planner, self.samples, self.held_out = planner, samples, held_out
        self.config, self.seed, self.progress = config, seed, progress
        self.history: list[dict[str, float]] = []
        """Of each epoch so far: ``loss``, and ``accuracy``, ``macro_f1`` and ``top3`` on the held-out."""
        self.steps = -(-len(samples) // config.batch_size)
        _freeze(planner.encoder, config.frozen_layers)
        top = [p for p in planner.classifier.parameters() if p.requires_grad]
        rest = [p for p in planner.encoder.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": rest, "lr": config.learning_rate},
                {"params": top, "lr": config.classifier_learning_rate},
            ],
            weight_decay=config.weight_decay,
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._weights = class_weights([label for _, label in samples], config.class_weights)
        frequency = class_weights([label for _, label in samples], ClassWeights.INVERSE).reciprocal()
        self._adjustment = config.adjustment * frequency.log()
        self._best = self._trained()

    def fit(self, keep: Callable[[], None] = lambda: None) -> list[dict[str, float]]:
        """Train to the end; the history.

        Args:
            keep: called after each epoch but the last, to keep a checkpoint.
        """
        while not self.over:
            self._epoch()
            if not self.over:
                keep()
        self.planner.load_state_dict(self._best, strict=False)
        self.planner.classifier.bias.data -= self._adjustment
        self.planner.eval()
        return self.history

    @property
    def best(self) -> int:
        """Which epoch is kept, from 0."""
        if not self.held_out:
            return len(self.history) - 1
        return max(range(len(self.history)), key=lambda epoch: self.history[epoch]["macro_f1"])

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        done = len(self.history)
        return done >= self.config.epochs or (done > 0 and done - 1 - self.best >= self.config.patience)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """All that training goes on from: trained parameters, now and at their best, and moments."""
        tensors = (
            named("now.", self._trained())
            | named("best.", self._best)
            | named("optimizer.", optimizer_tensors(self.optimizer))
        )
        return tensors, {"history": self.history}

    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        """Take up a :meth:`state`."""
        self.planner.load_state_dict(under("now.", tensors), strict=False)
        self._best = under("best.", tensors)
        load_optimizer(self.optimizer, under("optimizer.", tensors))
        self.history = list(header["history"])

    def _epoch(self) -> None:
        """One pass over the samples, and a look at the held-out ones."""
        epoch, config = len(self.history), self.config
        total = 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key("warm-up", self.seed, epoch) % 2**31)
            self.planner.train()
            for step, batch in enumerate(self._batches()):
                for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                    group["lr"] = rate * self._schedule(epoch * self.steps + step)
                chosen = [self.samples[i] for i in batch]
                loss = self._loss(chosen)
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.planner.parameters(), config.clip)
                self.optimizer.step()
                total += float(loss.detach()) * len(chosen)
                done = epoch * len(self.samples) + min((step + 1) * config.batch_size, len(self.samples))
                self.progress(done, config.epochs * len(self.samples))
        entry = {"loss": total / len(self.samples)}
        if self.held_out:
            logits = predict(self.planner, [seen for seen, _ in self.held_out])
            found = agreement(logits - self._adjustment, torch.tensor([label for _, label in self.held_out]))
            entry |= {"accuracy": found.accuracy, "macro_f1": found.macro_f1, "top3": found.top3}
        self.history.append(entry)
        if self.best == epoch:
            self._best = self._trained()

    def _batches(self) -> list[list[int]]:
        """Indices of the samples in random order, those of a batch of like length: it spares padding.

        Lengths are coarse, and equal where a text is cut: batches of one length exactly would hold
        what is said at one point of a dialogue.
        """
        longest = _CHARACTERS * self.planner.max_tokens
        bins = [min(len(seen.text), longest) // _BIN for seen, _ in self.samples]
        order = torch.randperm(len(self.samples)).tolist()
        size = self.config.batch_size
        pool = _POOL * size
        batches = []
        for start in range(0, len(order), pool):
            alike = sorted(order[start : start + pool], key=bins.__getitem__)
            batches += [alike[i : i + size] for i in range(0, len(alike), size)]
        return [batches[i] for i in torch.randperm(len(batches)).tolist()]

    def _schedule(self, step: int) -> float:
        """Share of the highest learning rate at a step."""
        total = self.config.epochs * self.steps
        rise = max(1, round(self.config.rising * total))
        return min((step + 1) / rise, (total - step) / max(1, total - rise))

    def _loss(self, samples: Sequence[Sample]) -> torch.Tensor:
        labels = torch.tensor([label for _, label in samples])
        log_p = self.planner([seen for seen, _ in samples]).log_softmax(1)
        smoothing = self.config.label_smoothing
        loss = -(1 - smoothing) * log_p.gather(1, labels[:, None]).squeeze(1)
        loss = loss - smoothing * log_p[:, ~self.planner.left_out].mean(1)
        weights = self._weights[labels]
        mean: torch.Tensor = (weights * loss).sum() / weights.sum()
        return mean

    def _trained(self) -> Tensors:
        """A copy of the parameters that are trained."""
        return {
            name: parameter.detach().clone()
            for name, parameter in self.planner.named_parameters()
            if parameter.requires_grad
        }


def predict(planner: Planner, inputs: Sequence[PlannerInput], batch_size: int = 64) -> torch.Tensor:
    """Logits ``[inputs, strategies]`` of as many states as one likes; dropout off."""
    planner.eval()
    logits = torch.empty(len(inputs), len(STRATEGIES))
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i].text))
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            logits[rows] = planner([inputs[i] for i in rows]).float()
    return logits


def class_weights(labels: Sequence[int], kind: ClassWeights) -> torch.Tensor:
    """Weight of a sample by its label, 1 on average over the samples: ``[strategies]``."""
    counts = torch.bincount(torch.tensor(labels), minlength=len(STRATEGIES)).float()
    power = {ClassWeights.NONE: 0.0, ClassWeights.SQRT: 0.5, ClassWeights.INVERSE: 1.0}[kind]
    weights: torch.Tensor = counts.clamp(min=1).pow(-power)
    normed: torch.Tensor = weights * counts.sum() / (weights * counts).sum()
    return normed


def _freeze(encoder: nn.Module, layers: int) -> None:
    """Leave the embeddings and the lowest layers as they are."""
    if layers == 0:
        return
    depth = int(encoder.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    stacks = (m for m in encoder.modules() if isinstance(m, nn.ModuleList) and len(m) == depth)
    parts = [encoder.get_input_embeddings(), *next(stacks, nn.ModuleList())[:layers]]  # type: ignore[operator]
    for part in parts:
        part.requires_grad_(False)
