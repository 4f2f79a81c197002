"""The hidden variables of latent seekers: which there are, and where they start in a conversation.

*Traits* hold for a conversation. They are drawn together, standard normal, with the correlations of the
personality survey (INSPIRED) in the table of coefficients. *Moods* change with every turn. Four of them
are what the survey after the conversation asks for (:data:`PERCEPTS`): they start at
``Σ_j gamma[j, k] z_j + eps_k``, where ``z`` are the traits and ``eps ~ N(0, residual)``, see
:mod:`~unicrs_rl.simulators.effects`.

Any of them can be pinned (it stays there), swept (conversation ``i`` gets value ``i`` of the list; of
several sweeps, every combination) or sampled from another distribution. A trait then is that value; a
mood that is swept or sampled starts from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.simulators.effects import PERCEPTS, SURVEY_TRAITS, EffectTable
from unicrs_rl.simulators.settings import LatentSetting

TRAITS = tuple(SURVEY_TRAITS)
"""Patience, openness, clarity (of own wishes), sociability and trustfulness."""
MOODS = ("interest", "rapport", "trust", "persuasion", "pressure", "mood")
FELT = slice(1, 1 + len(PERCEPTS))
"""The moods that a survey asks for, in the order of ``PERCEPTS``."""
_UNFELT_SD = {"interest": 0.3, "mood": 0.5}
"""Standard deviations at first of the moods that no survey asks for: assumed."""


class Population:
    """Where seekers start, and what never changes.

    Args:
        table: correlations of the traits, and what they do to percepts.
        settings: variables that are pinned, swept or sampled, by name.
    """

    def __init__(self, table: EffectTable, settings: Mapping[str, LatentSetting]) -> None:
        self._settings = settings
        self._traits = _root(table.trait_correlation)
        self._gamma, self._residual = table.gamma, _root(table.residual)
        swept = {name: setting.sweep for name, setting in settings.items() if setting.sweep is not None}
        self._grid = np.array(list(product(*swept.values())), dtype=np.float64)
        self._swept = {name: column for column, name in enumerate(swept)}
        pins = {name: setting.pin for name, setting in settings.items() if setting.pin is not None}
        self._pinned = [column for column, name in enumerate(MOODS) if name in pins]
        self._pins = np.array([pins[MOODS[column]] for column in self._pinned], dtype=np.float64)

    def traits(self, keys: NDArray[np.uint64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """The traits of conversations: ``[n, traits]``.

        Args:
            keys: of the conversations, ``[n]``.
            numbers: which conversation of the run each is, ``[n]``: what a sweep goes by.
        """
        own = np.stack([draws.normal(keys, purpose=name) for name in TRAITS], axis=1)
        return self._set(TRAITS, own @ self._traits, keys, numbers)

    def moods(
        self, keys: NDArray[np.uint64], numbers: NDArray[np.int64], traits: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The moods in which conversations start: ``[n, moods]``; arguments as in :meth:`traits`."""
        noise = np.stack([draws.normal(keys, purpose=f"{name} at first") for name in MOODS], axis=1)
        moods = noise * [_UNFELT_SD.get(name, 1.0) for name in MOODS]
        moods[:, FELT] = traits @ self._gamma + noise[:, FELT] @ self._residual
        return self._set(MOODS, moods, keys, numbers)

    def hold(self, moods: NDArray[np.float64]) -> NDArray[np.float64]:
        """Moods (``[n, moods]``) with the pinned ones where they are pinned."""
        if self._pinned:
            moods[:, self._pinned] = self._pins
        return moods

    def _set(
        self,
        names: Sequence[str],
        values: NDArray[np.float64],
        keys: NDArray[np.uint64],
        numbers: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """The drawn values (``[n, names]``) with those that settings decide."""
        for column, name in enumerate(names):
            setting = self._settings.get(name)
            if setting is None:
                continue
            if setting.pin is not None:
                values[:, column] = setting.pin
            elif setting.sweep is not None:
                values[:, column] = self._grid[numbers % len(self._grid), self._swept[name]]
            elif setting.normal is not None:
                mean, sd = setting.normal
                values[:, column] = mean + sd * draws.normal(keys, purpose=f"{name} sampled")
            elif setting.uniform is not None:
                low, high = setting.uniform
                values[:, column] = low + (high - low) * draws.uniform(keys, purpose=f"{name} sampled")
        return values


def _root(correlation: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The symmetric square root of a correlation matrix: it turns independent draws into such ones."""
    values, vectors = np.linalg.eigh(np.array(correlation))
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root
