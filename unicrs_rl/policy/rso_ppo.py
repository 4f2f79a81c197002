"""The decomposed arm learning by proximal policy optimisation, beside the paper's REINFORCE.

Everything but stage 2 is :class:`~unicrs_rl.policy.rso.Rso`'s. After each batch of conversations, with
advantages ``A`` by generalised advantage estimation (Schulman et al., 2016) from a learned value ``V``,

``loss = - mean min(rho A, clip(rho, 1 - e, 1 + e) A) - beta mean H(pi) + kappa mean KL(pi || pi_0)``,
``rho = pi(h | s) / pi_old(h | s)``,

over several epochs of minibatches of whole conversations (Schulman et al., 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from unicrs_rl.policy.rso import Baseline, Episode, Returns, Rso, RsoConfig, chosen_in


class RsoPpoConfig(RsoConfig):
    """Hyper-parameters; those of stage 1 are the same as :class:`RsoConfig`'s."""

    baseline: Literal[Baseline.VALUE] = Field(Baseline.VALUE, description="the learned value, always")
    returns: Literal[Returns.SUM] = Field(Returns.SUM, description="advantages are estimated from sums")
    rollouts: int = Field(1, ge=1, description="times each training conversation is held")
    epochs: int = Field(4, ge=1, description="passes over each batch of conversations")
    clip_range: float = Field(0.2, gt=0, description="e, how far the ratio of probabilities may move")
    smoothing: float = Field(0.95, ge=0, le=1, description="lambda of the advantage estimate")
    largest_drift: float = Field(
        0.05, gt=0, description="mean KL from the policy that acted above which a batch is left"
    )


class RsoPpo(Rso):
    """Plays as :class:`Rso`, and learns as said above.

    Args:
        context: of the arm; ``options`` are fields of :class:`RsoPpoConfig`.
    """

    Config: ClassVar[type[RsoPpoConfig]] = RsoPpoConfig
    config: RsoPpoConfig

    @override
    def _reinforce(self, episodes: Sequence[Episode]) -> dict[str, float]:
        config = self.config
        if not config.reinforce:
            return {}
        with torch.no_grad():
            features, log_p = self.look(episodes)
            values = self.values(features)
            old = log_p.gather(1, chosen_in(episodes)).squeeze(1)
        rewards = [np.array(episode.rewards) for episode in episodes]
        bounds = np.cumsum([0, *(len(r) for r in rewards)])
        estimates = [values[a:b].double().numpy() for a, b in pairwise(bounds)]
        gains = [
            advantages(r, v, config.discount, config.smoothing)
            for r, v in zip(rewards, estimates, strict=True)
        ]
        targets = torch.from_numpy(np.concatenate([g + v for g, v in zip(gains, estimates, strict=True)]))
        gain = torch.from_numpy(np.concatenate(gains)).float()
        gain = (gain - gain.mean()) / (gain.std() + 1e-8) if len(gain) > 1 else gain
        curves = self._epochs(episodes, bounds, old, gain, targets.float())
        self._exact = None
        return curves | {"return": float(np.mean([r.sum() for r in rewards]))}

    def _epochs(
        self,
        episodes: Sequence[Episode],
        bounds: NDArray[np.int64],
        old: torch.Tensor,
        gain: torch.Tensor,
        targets: torch.Tensor,
    ) -> dict[str, float]:
        """Minibatches of whole conversations; ``bounds`` are those of their states in the flat tensors."""
        steps: list[dict[str, float]] = []
        for _ in range(self.config.epochs):
            order = self.rng.permutation(len(episodes))
            for start in range(0, len(order), self.config.update_every):
                picked = order[start : start + self.config.update_every]
                rows = torch.from_numpy(np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in picked]))
                step = self._minibatch([episodes[i] for i in picked], old[rows], gain[rows], targets[rows])
                steps.append(step)
            if steps[-1]["drift"] > self.config.largest_drift:
                break
        return {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}

    def _minibatch(
        self, episodes: Sequence[Episode], old: torch.Tensor, gain: torch.Tensor, targets: torch.Tensor
    ) -> dict[str, float]:
        config = self.config
        features, log_p = self.look(episodes)
        taken = log_p.gather(1, chosen_in(episodes)).squeeze(1)
        ratio = (taken - old).exp()
        clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        loss = -torch.minimum(ratio * gain, clipped * gain).mean() - config.entropy * entropy
        loss = loss + config.kl * self.divergence(episodes, log_p).mean()
        self.descend(loss)
        value_loss = self.fit_values(features.detach(), targets)
        return {
            "loss": float(loss.detach()),
            "entropy": float(entropy.detach()),
            "value_loss": value_loss,
            "drift": float((ratio - 1 - ratio.log()).mean().detach()),
        }


def advantages(
    rewards: NDArray[np.float64], values: NDArray[np.float64], discount: float, smoothing: float
) -> NDArray[np.float64]:
    """``A_t = sum_i (gamma lambda)^i d_(t+i)``, ``d_t = r_t + gamma V_(t+1) - V_t``: ``[T]``.

    After the end V is 0.
    """
    later = np.append(values[1:], 0.0)
    errors = rewards + discount * later - values
    found = np.zeros(len(rewards))
    total = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        total = errors[t] + discount * smoothing * total
        found[t] = total
    return found
