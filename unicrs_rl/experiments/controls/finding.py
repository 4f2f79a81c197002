"""What a control found, and at which size controls are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Size(StrEnum):
    """How much a control is given to find something with."""

    SMALL = "small"
    """Enough to see that everything is in order: some minutes for all of them."""
    FULL = "full"
    """Enough to be quoted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one control found.

    Attributes:
        control: which: ``aa``, ``planted``, ``leak`` or ``shortcut``.
        check: what was looked at.
        expected: what has to be found, in words.
        found: what was, in words.
        passed: whether that is what was expected; ``None`` where it is only told: a warning, or nothing
            to look at.
        numbers: the same as numbers, for JSON.
    """

    control: str
    check: str
    expected: str
    found: str
    passed: bool | None
    numbers: Mapping[str, Any] = field(default_factory=dict)
