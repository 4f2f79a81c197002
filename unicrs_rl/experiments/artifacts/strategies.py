"""Which strategies are used when in a conversation (RSO, Fig. 3), and how varied they are.

A turn ``t`` (from 0) of a dialogue of ``T`` turns is at progress ``(t + 1/2) / T``. The distribution in a
bin of progress is over all turns in it, of all dialogues and training seeds; its entropy
``-sum_h p(h) ln p(h)`` is in nats. Intervals are BCa bootstrap intervals over held-out dialogues, whose
turns, and trainings, stay together.

That is what was done. How undecided a planner was, ``H(pi(. | s))`` of each turn as its trace tells it,
is averaged over the turns of a dialogue first, and then over dialogues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from unicrs_rl.dialogue import STRATEGIES, Strategy
from unicrs_rl.experiments.artifacts.base import Artifact, Cell, Estimate, Finished, Made, Picture, Row, Table
from unicrs_rl.experiments.artifacts.drawing import progressions
from unicrs_rl.experiments.statistics import entropy, interval_of_mean, interval_of_total, paired

_DECIMALS = 6


class Strategies(Artifact):
    """Distributions of strategies over progress, a map for each arm, with their entropies."""

    kind: Literal["strategies"]
    run: str
    arms: tuple[str, ...] = Field(min_length=1, description="the first is compared with the others")
    bins: int = Field(4, ge=1, le=20, description="parts of a dialogue: 4 are quarters, 10 deciles")

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        return [(self.run, arm) for arm in self.arms]

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        run = runs[self.run]
        dialogues = run.found["protocol"]["dialogues"]
        counts = {arm: counted(run.traces([arm]), dialogues, self.bins) for arm in self.arms}
        entropies = {arm: self._entropies(count) for arm, count in counts.items()}
        totals = {arm: count.sum(axis=0) for arm, count in counts.items()}
        used = [i for i in range(len(STRATEGIES)) if any(total[:, i].any() for total in totals.values())]
        caption = (
            "Above: share of turns (in %) in each part of a dialogue. Below: entropy of each column with 95% "
            f"bootstrap intervals over dialogues. n = {dialogues} dialogues for each system and training "
            f"seed; turns: {self._turns(totals)}."
        )
        picture = Picture(
            self.name,
            progressions(
                [STRATEGIES[i].value for i in used],
                {self.called(arm): _shares(total)[:, used] for arm, total in totals.items()},
                {self.called(arm): [part.mark for part in found[:-1]] for arm, found in entropies.items()},
                self.title,
                caption,
            ),
            caption,
        )
        tables = [self._distribution(totals, used), self._entropy(entropies)]
        if len(self.arms) > 1:
            tables.append(self._differences(counts))
        told = {arm: undecided(run.traces([arm]), dialogues, self.bins) for arm in self.arms}
        return Made([*tables, self._undecided(told)], [picture])

    def _turns(self, totals: Mapping[str, NDArray[np.float64]]) -> str:
        return ", ".join(f"{self.called(arm)} {int(total.sum())}" for arm, total in totals.items())

    def _parts(self) -> list[str]:
        """Names of the parts of a dialogue, and of the whole of it."""
        ends = [round(100 * i / self.bins) for i in range(self.bins + 1)]
        return [*(f"{low}–{high}%" for low, high in pairwise(ends)), "overall"]

    def _entropies(self, counts: NDArray[np.float64]) -> list[Estimate]:
        """Of each part, and of the whole."""
        found = []
        for rows in self._columns(counts):
            value = float(entropy(rows.sum(axis=0)))
            low, high = _rounded(interval_of_total(rows, entropy))
            n = int(rows.any(axis=1).sum())
            found.append(Estimate(None if np.isnan(value) else round(value, _DECIMALS), low, high, n))
        return found

    def _columns(self, counts: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Counts ``[dialogues, strategies]`` of each part, and of the whole."""
        return [*(counts[:, part] for part in range(self.bins)), counts.sum(axis=1)]

    def _distribution(self, totals: Mapping[str, NDArray[np.float64]], used: Sequence[int]) -> Table:
        rows: list[Row] = []
        body = []
        for arm, total in totals.items():
            whole = np.vstack([total, total.sum(axis=0)])
            shares = _shares(whole)
            for part, name in enumerate(self._parts()):
                turns = int(whole[part].sum())
                line = [Cell(self.called(arm)), Cell(name), Cell(str(turns))]
                for i in used:
                    share = None if turns == 0 else round(float(shares[part, i]), _DECIMALS)
                    line.append(Cell("missing" if share is None else f"{share:.3f}"))
                    rows.append(
                        {
                            "arm": arm,
                            "progress": name,
                            "strategy": STRATEGIES[i].value,
                            "share": share,
                            "turns": int(whole[part, i]),
                            "of_turns": turns,
                        }
                    )
                body.append(line)
        head = ["system", "progress", "turns", *(STRATEGIES[i].value for i in used)]
        note = "Share of the turns in each part of a dialogue; strategies that nobody used are left out."
        return Table(self.name, self.title, rows, head, body, note)

    def _entropy(self, entropies: Mapping[str, Sequence[Estimate]]) -> Table:
        rows: list[Row] = []
        body = []
        for arm, found in entropies.items():
            body.append([Cell(self.called(arm)), *(part.cell() for part in found)])
            rows += [
                {"arm": arm, "progress": name, "entropy": e.value, "low": e.low, "high": e.high, "n": e.n}
                for name, e in zip(self._parts(), found, strict=True)
            ]
        note = (
            "Entropy of the distribution of strategies, in nats (14 equally frequent strategies: "
            f"{np.log(len(STRATEGIES)):.3f}), with 95% BCa bootstrap interval over dialogues and n, the "
            "dialogues that have a turn there."
        )
        title = f"{self.title}: entropy"
        return Table(f"{self.name}-entropy", title, rows, ["system", *self._parts()], body, note)

    def _undecided(self, told: Mapping[str, NDArray[np.float64]]) -> Table:
        """How undecided the planners were, and how the first one differs in it from each other."""
        first, *others = self.arms
        lines = [
            (self.called(arm), arm, None, [_mean(column) for column in told[arm].T]) for arm in self.arms
        ] + [
            (
                f"{self.called(first)} minus {self.called(other)}",
                first,
                other,
                [_paired(mine, theirs) for mine, theirs in zip(told[first].T, told[other].T, strict=True)],
            )
            for other in others
        ]
        rows: list[Row] = [
            {
                "arm": arm,
                "minus": other,
                "progress": name,
                "entropy": e.value,
                "low": e.low,
                "high": e.high,
                "p": e.p,
                "n": e.n,
            }
            for _, arm, other, found in lines
            for name, e in zip(self._parts(), found, strict=True)
        ]
        body = [
            [Cell(name), *(e.difference() if other else e.cell() for e in found)]
            for name, _, other, found in lines
        ]
        note = (
            "Mean entropy of the planner's own distribution at each turn, in nats, with 95% interval over "
            "dialogues and n; differences are paired, with p (sign-flip permutation test). Bold: interval "
            "clear of zero and p below 0.05. Missing where a system has no such distribution."
        )
        title = f"{self.title}: how undecided the planner is"
        return Table(f"{self.name}-undecided", title, rows, ["system", *self._parts()], body, note)

    def _differences(self, counts: Mapping[str, NDArray[np.float64]]) -> Table:
        """Entropy of the first arm minus that of each other, over the same draws of dialogues."""
        first, *others = self.arms
        rows: list[Row] = []
        body = []
        for other in others:
            line = [Cell(self.called(other))]
            parts = zip(
                self._parts(), self._columns(counts[first]), self._columns(counts[other]), strict=True
            )
            for name, mine, theirs in parts:
                both = np.stack([mine, theirs], axis=1)
                value = float(_gap(both.sum(axis=0)))
                low, high = _rounded(interval_of_total(both, _gap))
                n = int(both.any(axis=(1, 2)).sum())
                gap = Estimate(None if np.isnan(value) else round(value, _DECIMALS), low, high, n)
                line.append(gap.difference())
                rows.append(
                    {
                        "arm": first,
                        "minus": other,
                        "progress": name,
                        "difference": gap.value,
                        "low": low,
                        "high": high,
                        "n": n,
                    }
                )
            body.append(line)
        note = (
            "In nats, with 95% BCa bootstrap interval over the same dialogues of both. Bold: interval clear "
            "of zero."
        )
        title = f"{self.title}: entropy of {self.called(first)} minus each"
        head = [f"{self.called(first)} minus", *self._parts()]
        return Table(f"{self.name}-entropy-differences", title, rows, head, body, note)


def _mean(values: NDArray[np.float64]) -> Estimate:
    """Mean over dialogues, missing values left out."""
    known = values[~np.isnan(values)]
    low, high = _rounded(interval_of_mean(values))
    return Estimate(round(float(known.mean()), _DECIMALS) if len(known) else None, low, high, len(known))


def _paired(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> Estimate:
    """Mean difference over the dialogues in which both have a value."""
    found = paired(mine, theirs)
    if found is None:
        return Estimate(None, None, None, 0)
    value, low, high, p = (round(x, _DECIMALS) for x in (found.difference, found.low, found.high, found.p))
    return Estimate(value, low, high, found.pairs, p)


def undecided(traces: Iterable[Mapping[str, Any]], dialogues: int, bins: int) -> NDArray[np.float64]:
    """Mean entropy of the planner's distributions, in nats, by dialogue and part of it, and in the whole.

    Returns:
        ``[dialogues, bins + 1]``; NaN where no turn tells it.
    """
    sums, turns_told = np.zeros((2, dialogues, bins + 1))
    for line in traces:
        turns = line["turns"]
        for t, turn in enumerate(turns):
            told = turn["scores"].get("entropy")
            if told is not None:
                places = (line["index"], [_part(t, len(turns), bins), bins])
                sums[places] += told
                turns_told[places] += 1
    return np.divide(sums, turns_told, out=np.full_like(sums, np.nan), where=turns_told > 0)


def _part(t: int, turns: int, bins: int) -> int:
    """The part of a dialogue in which its turn ``t`` is."""
    return (2 * t + 1) * bins // (2 * turns)


def counted(traces: Iterable[Mapping[str, Any]], dialogues: int, bins: int) -> NDArray[np.float64]:
    """Turns by dialogue, part of the dialogue and strategy: ``[dialogues, bins, strategies]``.

    The conversations of one held-out triple, one for each training seed, count together.
    """
    counts = np.zeros((dialogues, bins, len(STRATEGIES)))
    for line in traces:
        turns = line["turns"]
        for t, turn in enumerate(turns):
            strategy = Strategy(turn["decision"]["strategy"])
            counts[line["index"], _part(t, len(turns), bins), strategy.position] += 1
    return counts


def _shares(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row as shares of its sum; NaN where that is 0."""
    sums = totals.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(totals, sums, out=np.full_like(totals, np.nan), where=sums > 0)
    return shares


def _gap(both: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference of two entropies: ``[..., 2, strategies]`` to ``[...]``."""
    mine, theirs = np.moveaxis(entropy(both), -1, 0)
    gap: NDArray[np.float64] = mine - theirs
    return gap


def _rounded(ends: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return (None, None) if ends is None else (round(ends[0], _DECIMALS), round(ends[1], _DECIMALS))
