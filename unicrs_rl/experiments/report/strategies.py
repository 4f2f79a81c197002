"""Which strategies an arm uses, and when in a dialogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.experiments.figures import Shown
from unicrs_rl.experiments.report.gist import Gist
from unicrs_rl.experiments.report.share_map import share_map

FIFTHS = ("0–20", "20–40", "40–60", "60–80", "80–100")
"""Parts of a dialogue by relative progress in per cent; turn i of n, from 0, is at (i + 1/2) / n."""


def strategy_figures(found: Mapping[str, Sequence[Gist]]) -> dict[str, Shown]:
    """For each arm the share of each strategy over the progress of its dialogues, and in all."""
    total = Counter(name for dialogues in found.values() for one in dialogues for name in one.strategies)
    names = [name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    figures = {}
    for place, (arm, dialogues) in enumerate(found.items()):
        used = _counts(dialogues, names)
        shares = used / np.maximum(1, used.sum(axis=0))
        figures[f"strategies-{place}"] = Shown(
            share_map(
                f"{arm}: strategies over progress",
                "% of the dialogue",
                names,
                [*FIFTHS, "all"],
                shares.tolist(),
            ),
            "Share of turns in each fifth of a dialogue, by relative progress, and in all "
            f"{used[:, -1].sum():,} turns.",
        )
    return figures


def _counts(dialogues: Sequence[Gist], names: Sequence[str]) -> NDArray[np.int64]:
    """Turns of each strategy in each fifth and in all: ``[strategies, 6]``."""
    used = np.zeros((len(names), len(FIFTHS)), dtype=np.int64)
    rows = {name: row for row, name in enumerate(names)}
    for one in dialogues:
        for turn, name in enumerate(one.strategies):
            used[rows[name], int((turn + 0.5) / one.turns * len(FIFTHS))] += 1
    return np.column_stack([used, used.sum(axis=1)])
