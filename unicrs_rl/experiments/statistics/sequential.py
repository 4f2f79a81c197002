"""Looking at the held-out dialogues several times without more false positives.

The error that may be made is spent look by look (Lan and DeMets, Biometrika 70:659, 1983), with the spending
function that resembles O'Brien and Fleming's boundary: little at first, nearly all of it at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import simpson
from scipy.optimize import brentq

_POINTS = 257
_LEAST = 1e-10
"""p-values below this are taken for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the first dialogues.

    Attributes:
        dialogues: how many were looked at.
        z: of the comparison then, signed: what a normal variable with its p would be.
        p: of the comparison then, by itself.
        boundary: that the size of z has to reach for a single comparison to be decided at the level.
    """

    dialogues: int
    z: float
    p: float
    boundary: float


def look(dialogues: int, difference: float, p: float, boundary: float) -> Look:
    """A look at which a comparison had this difference and two-sided p."""
    z = float(np.sign(difference) * stats.norm.isf(max(p, _LEAST) / 2))
    return Look(dialogues, z + 0.0, p, boundary)


def spent(level: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """One-sided error spent when a share of the dialogues is there: half the level at the end.

    ``2 - 2 Phi(z_{level / 4} / sqrt(share))``.
    """
    found: NDArray[np.float64] = 2 * stats.norm.sf(stats.norm.isf(level / 4) / np.sqrt(share))
    return found


@lru_cache(maxsize=4096)
def boundaries(level: float, looks: int) -> tuple[float, ...]:
    """What \\|z\\| has to reach at each of the looks, at equal steps, for a two-sided test at the level.

    Under no difference ``sqrt(t) z`` is a Brownian motion at the times ``t = 1/looks, ..., 1``. Its density
    where nothing was decided yet is carried from look to look by numerical integration (Armitage,
    McPherson and Rowe, JRSS A 132:235, 1969), which is exact far into the tails, where the error of
    :class:`scipy.stats.multivariate_normal` (1e-5) is more than what the first looks may spend.
    """
    times = np.arange(1, looks + 1) / looks
    steps = np.diff(spent(level, times), prepend=0.0)
    scale = looks**-0.5  # standard deviation of what comes between two looks
    found = [float(stats.norm.isf(steps[0]))]
    grid = np.linspace(-8.0 * scale, found[0] * scale, _POINTS)
    density = stats.norm.pdf(grid, scale=scale)
    for time, step in zip(times[1:], steps[1:], strict=True):

        def beyond(z: float, time: float = time, step: float = step) -> float:
            tail = stats.norm.sf((z * np.sqrt(time) - grid) / scale)  # noqa: B023  called at once
            return float(simpson(density * tail, x=grid)) - step  # noqa: B023

        found.append(float(brentq(beyond, 0.0, 40.0)))
        further = np.linspace(-8.0 * np.sqrt(time), found[-1] * np.sqrt(time), _POINTS)
        carried = stats.norm.pdf((further[:, None] - grid) / scale) / scale
        grid, density = further, simpson(carried * density, x=grid, axis=1)
    return tuple(found)


def sequential_p(z: Sequence[float], looks: int) -> float:
    """The level at which the looks so far would just have decided.

    The sequential p-value of Liu and Anderson (Statistics in Medicine 27:4590, 2008): it corrects for the
    looks, and may be corrected for the number of comparisons like any other p-value.

    Args:
        z: of the first looks, as many as there have been.
        looks: planned in all.
    """
    sizes = np.abs(np.asarray(z))

    def short(logit: float) -> float:
        """How far the nearest look is from deciding."""
        level = float(1 / (1 + np.exp(-logit)))
        return float(min(np.array(boundaries(level, looks)[: len(sizes)]) - sizes))

    if looks == 1:
        return float(2 * stats.norm.sf(sizes[0]))
    least, most = np.log(_LEAST), 14.0  # chances of 1e-10 and of nearly one
    if short(least) <= 0:
        return _LEAST
    if short(most) > 0:
        return 1.0
    return float(1 / (1 + np.exp(-brentq(short, least, most, xtol=1e-4))))
