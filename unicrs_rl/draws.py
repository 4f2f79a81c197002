"""Random numbers addressed by what they are for, not by when they are drawn.

A draw is a pure function of (conversation key, turn, purpose). Two policies that act alike
therefore meet the same replies, and results do not depend on the batch a conversation runs in.
The mixing function is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def bits(keys: ArrayLike, turn: ArrayLike = 0, purpose: str = "") -> NDArray[np.uint64]:
    """64 random bits for each key: ``[batch]``."""
    address = np.array([zlib.crc32(purpose.encode())], dtype=np.uint64)
    state = np.atleast_1d(np.asarray(keys)).astype(np.uint64) + _GOLDEN
    state = _mix(state) + _GOLDEN * (np.atleast_1d(np.asarray(turn)).astype(np.uint64) + np.uint64(1))
    return _mix(_mix(state) + _GOLDEN * (address + np.uint64(1)))


def uniform(keys: ArrayLike, turn: ArrayLike = 0, purpose: str = "") -> NDArray[np.float64]:
    """One number in [0, 1) for each key: ``[batch]``."""
    return (bits(keys, turn, purpose) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(keys: ArrayLike, turn: ArrayLike = 0, purpose: str = "") -> NDArray[np.float64]:
    """One standard normal number for each key: ``[batch]``."""
    result: NDArray[np.float64] = ndtri(np.clip(uniform(keys, turn, purpose), 1e-12, 1 - 1e-12))
    return result


def key(*parts: int | str) -> int:
    """A 63-bit key from integers and words, equal on every machine."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part & 0xFFFFFFFFFFFFFFFF
        state = _mix(state + _GOLDEN + np.uint64(number))
    return int(state[0] >> np.uint64(1))


def pick(key_: int, turn: int, purpose: str, options: int) -> int:
    """A choice among ``options`` alternatives, without NumPy's overhead for a single draw."""
    state = zlib.crc32(f"{key_}/{turn}/{purpose}".encode())
    state = (state ^ (state >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
    state = (state ^ (state >> 12)) * 0x297A2D39 & 0xFFFFFFFF
    return (state ^ (state >> 15)) % options
