"""Does a verdict survive a change of seekers? Arms trained on each kind, before all kinds and people.

**The matrix.** For each arm, a row for the seekers it was trained on (a rule: those whose validation
conversations fitted its threshold) and a column for those it then meets, with 95% intervals over
dialogues. Where human dialogues were replayed (:mod:`~unicrs_rl.experiments.human_replay`) there are
columns for each corpus: agreement with the human's act, which tells arms apart, and Recall@10 of items
that nobody had mentioned, in which arms that rank by the same posterior cannot differ.

**Rank correlation** between two columns, Kendall's tau-b and Spearman's rho: *at home*, over the arms, each
trained on the very seekers it meets (in a human column: averaged over where it was trained), which is how
every simulator by itself would rank the arms; and over *all* pairs of an arm and its training seekers. The
intervals are percentile intervals over 2,000 bootstrap resamples of the dialogues, the same ones in all
simulators; noise in the means makes them lean towards 0.

**The verdict** is on the first two arms: under each kind of simulated seekers, who leads at home. What
human dialogues say is put apart, because agreeing with people is no success.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats
from typing_extensions import override

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.artifacts.base import (
    CORPUS,
    MEASURES,
    Artifact,
    Cell,
    Estimate,
    Finished,
    Made,
    Picture,
    Row,
    Table,
)
from unicrs_rl.experiments.artifacts.drawing import Matrix, matrices
from unicrs_rl.experiments.human_replay import COLUMNS, resampled
from unicrs_rl.experiments.run_folder import FileName

HUMAN = {"act agreement": ("act", "turns"), "Recall@10 of new items": ("new recall@10", "new")}
"""What human columns show: a part and a whole of what is counted there."""


def crossing(trained: str, met: str) -> str:
    """The run in which arms trained in one run meet the seekers of another."""
    return trained if trained == met else f"{trained}-on-{met}"


@dataclass(frozen=True)
class _Column:
    """What arms come to before some seekers.

    Attributes:
        scores: ``[1 + B, trained, arms]``: means over the dialogues, then over each resample of them.
        n: dialogues each mean rests on, ``[trained, arms]``.
        home: which row of ``trained`` is at home here; ``None`` where none is: people.
    """

    name: str
    measure: str
    scores: NDArray[np.float64]
    n: NDArray[np.int64]
    home: int | None

    @property
    def at_home(self) -> NDArray[np.float64]:
        """Scores of the arms at home: ``[1 + B, arms]``."""
        return self.scores.mean(axis=1) if self.home is None else self.scores[:, self.home]

    def estimate(self, trained: int, arm: int) -> Estimate:
        """A mean with its interval."""
        return _estimate(self.scores[:, trained, arm], int(self.n[trained, arm]))


class Transfer(Artifact):
    """The matrix, the rank correlations between its columns, and whether the verdict survives."""

    kind: Literal["transfer"]
    runs: tuple[FileName, ...] = Field(description="one for each kind of seekers")
    arms: tuple[str, ...] = Field(description="the verdict is on the first two")
    metric: str = Field("sr@15", description="of the matrix")
    replayed: int = Field(100, ge=1, description="human dialogues of each corpus")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured of simulated dialogues."""
        return (self.metric,)

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        return [(crossing(a, b), arm) for a in self.runs for b in self.runs for arm in self.arms]

    @property
    @override
    def replays(self) -> Mapping[str, int]:
        return dict.fromkeys(self.runs, self.replayed)

    @override
    def check(self) -> None:
        super().check()
        for name in ("runs", "arms"):
            if len(getattr(self, name)) < 2:
                raise InputError(f"{name}: at least two are needed, to be compared")
        if self.metric == CORPUS.name:
            raise InputError(f"metric: {self.metric!r} is of a whole corpus and has no intervals")

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        columns = [self._simulated(runs, place) for place in range(len(self.runs))]
        corpora = list(runs[self.runs[0]].replays)
        columns += [self._human(runs, corpus, measure) for corpus in corpora for measure in HUMAN]
        rows = [runs[name].label for name in self.runs]
        findings, verdicts = self._verdicts(runs, columns)
        tables = [self._matrix(rows, columns), self._ranks(columns), verdicts]
        measure = MEASURES[self.metric]
        better = "" if measure.higher_is_better else " (lower is better)"
        caption = (
            f"{measure.title}{better} of each arm: trained on (rows), met (columns); 95% intervals over "
            "dialogues; framed: at home."
        )
        if corpora:
            caption += f" Right of the gap: human dialogues, {' and '.join(HUMAN)}."
        panels = [
            Matrix(
                self.called(arm),
                [[column.estimate(t, a).mark for column in columns] for t in range(len(rows))],
            )
            for a, arm in enumerate(self.arms)
        ]
        png = matrices(rows, [column.name for column in columns], len(self.runs), panels, self.title, caption)
        if not corpora:
            findings.append("No human dialogues: their columns are left out.")
        return Made(tables, [Picture(self.name, png, caption)], findings=findings)

    def _simulated(self, runs: Mapping[str, Finished], met: int) -> _Column:
        values = [
            runs[crossing(trained, self.runs[met])].by_dialogue(self.arms, self.metric)
            for trained in self.runs
        ]
        table = np.stack(values)
        drawn, known = resampled(table.shape[2]), ~np.isnan(table)
        sums = np.einsum("bd,tad->bta", drawn, np.where(known, table, 0.0))
        counts = np.einsum("bd,tad->bta", drawn, known.astype(np.float64))
        label = runs[self.runs[met]].label
        return _Column(label, self.metric, _quotient(sums, counts), known.sum(axis=2), met)

    def _human(self, runs: Mapping[str, Finished], corpus: str, measure: str) -> _Column:
        part, whole = (COLUMNS.index(name) for name in HUMAN[measure])
        counts = np.array(
            [[runs[trained].replays[corpus]["counts"][arm] for arm in self.arms] for trained in self.runs]
        )
        sums = np.einsum("bd,tadc->btac", resampled(counts.shape[2]), counts[..., [part, whole]])
        shares = _quotient(sums[..., 0], sums[..., 1])
        n = np.full(shares.shape[1:], counts.shape[2])
        return _Column(f"people ({corpus}): {measure}", measure, shares, n, None)

    def _matrix(self, trained: Sequence[str], columns: Sequence[_Column]) -> Table:
        rows: list[Row] = []
        body = []
        for a, arm in enumerate(self.arms):
            for t, name in enumerate(trained):
                line = [Cell(self.called(arm)), Cell(name)]
                for column in columns:
                    mean = column.estimate(t, a)
                    line.append(mean.cell(column.home == t))
                    rows.append(
                        {
                            "arm": arm,
                            "trained_on": self.runs[t],
                            "met": self.runs[column.home] if column.home is not None else column.name,
                            "metric": column.measure,
                            "mean": mean.value,
                            "low": mean.low,
                            "high": mean.high,
                            "n": mean.n,
                        }
                    )
                body.append(line)
        note = (
            f"{MEASURES[self.metric].title}; in columns of people what their titles say. "
            "Mean, 95% interval over dialogues (percentiles of a bootstrap) and n, the dialogues. "
            "Bold: at home, trained on the seekers that are met."
        )
        head = ["system", "trained on", *(column.name for column in columns)]
        return Table(self.name, self.title, rows, head, body, note)

    def _ranks(self, columns: Sequence[_Column]) -> Table:
        sign = 1.0 if MEASURES[self.metric].higher_is_better else -1.0
        n, everything = len(self.arms), len(self.arms) * len(self.runs)
        rows: list[Row] = []
        body = []
        for one, other in combinations(columns, 2):
            line = [Cell(one.name), Cell(other.name)]
            row: Row = {"seekers": one.name, "others": other.name}
            signs = [1.0 if column.home is None else sign for column in (one, other)]
            whole = [
                c.scores.reshape(len(c.scores), -1) * s for c, s in zip((one, other), signs, strict=True)
            ]
            home = [c.at_home * s for c, s in zip((one, other), signs, strict=True)]
            for place, count, (a, b) in (("home", n, home), ("all", everything, whole)):
                for name, measure in (("kendall", kendall), ("spearman", spearman)):
                    found = _estimate(measure(a, b), count)
                    line.append(found.cell())
                    row |= {
                        f"{name}_{place}": found.value,
                        f"{name}_{place}_low": found.low,
                        f"{name}_{place}_high": found.high,
                    }
            rows.append(row)
            body.append(line)
        note = (
            f"Rank correlation of systems between two kinds of seekers. At home: the {n} arms, each trained "
            f"on the seekers it meets. All: the {everything} pairs of an arm and the seekers it was trained "
            "on. 1: the same order, -1: the reverse; missing: all systems equal under one of the two. 95% "
            "interval over dialogues (percentiles of a bootstrap; noise in the means makes it lean to 0)."
        )
        head = ["seekers", "others", "Kendall, home", "Spearman, home", "Kendall, all", "Spearman, all"]
        return Table(f"{self.name}-ranks", f"{self.title}: rank correlation", rows, head, body, note)

    def _verdicts(self, runs: Mapping[str, Finished], columns: Sequence[_Column]) -> tuple[list[str], Table]:
        """Who leads under which seekers, in sentences and a table."""
        first, second = self.arms[:2]
        better = MEASURES[self.metric].higher_is_better
        rows: list[Row] = []
        body = []
        led: dict[str, list[str]] = {first: [], second: [], "": []}
        human: list[str] = []
        for column in columns:
            if column.home is None:
                gaps = column.at_home[:, 0] - column.at_home[:, 1]
                gap, up = _estimate(gaps, int(column.n[0, 0])), True
            else:
                gap, up = runs[self.runs[column.home]].difference(first, second, self.metric), better
            value = gap.value or 0.0
            leader = "" if not gap.detected else first if (value > 0) == up else second
            shown = self.called(leader) if leader else "nobody"
            if column.home is None:
                human.append(f"{shown} leads with {column.name}")
            else:
                led[leader].append(column.name)
            rows.append({"seekers": column.name, "arm": first, "minus": second, **gap.gap, "leader": leader})
            body.append([Cell(column.name), gap.difference(), Cell(shown)])
        note = (
            f"{self.called(first)} minus {self.called(second)}, each trained on the seekers it meets, with "
            "95% interval; with simulated seekers also p. Leader: interval "
            "clear of zero and p below 0.05, not corrected for the number of seekers."
        )
        head = ["seekers", "difference", "leader"]
        table = Table(f"{self.name}-verdicts", f"{self.title}: verdicts", rows, head, body, note)
        said = [self._survives(led)]
        if human:
            said.append(f"In human dialogues, {'; '.join(human)}.")
        return said, table

    def _survives(self, led: Mapping[str, Sequence[str]]) -> str:
        """The verdict on the verdict."""
        first, second = self.arms[:2]
        undecided, by = led[""], f"By {MEASURES[self.metric].title}"
        if led[first] and led[second]:
            return (
                f"{by} the verdict does not survive a change of seekers: {self.called(first)} leads with "
                f"{_listing(led[first])}, {self.called(second)} with {_listing(led[second])}"
                f"{f'; with {_listing(undecided)} no difference is detected' if undecided else ''}."
            )
        leader = first if led[first] else second
        if not led[leader]:
            return (
                f"{by} there is no verdict that could survive: no seekers show a difference between "
                f"{self.called(first)} and {self.called(second)}."
            )
        if undecided:
            return (
                f"{by} the verdict survives a change of seekers in part: {self.called(leader)} leads with "
                f"{_listing(led[leader])}; with {_listing(undecided)} no difference is detected."
            )
        return (
            f"{by} the verdict survives the change of seekers: {self.called(leader)} leads with all of them."
        )


def _listing(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def kendall(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kendall's tau-b of each row of two tables ``[rows, systems]``; NaN where a row has no order."""
    first, second = np.triu_indices(a.shape[1], 1)
    x, y = (np.sign(np.round(t[:, first] - t[:, second], 12)) for t in (a, b))
    scale = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    return _quotient((x * y).sum(axis=1), scale)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rho of each row of two tables ``[rows, systems]``; NaN where a row has no order."""
    x, y = (stats.rankdata(np.round(table, 12), axis=1) for table in (a, b))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    return _quotient((x * y).sum(axis=1), scale)


def _quotient(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elementwise; NaN of nothing."""
    found: NDArray[np.float64] = np.full(part.shape, np.nan)
    return np.divide(part, whole, out=found, where=whole > 0)


def _estimate(values: NDArray[np.float64], n: int) -> Estimate:
    """A statistic with its interval, from its value and those of the resamples: ``[1 + B]``.

    There is no interval where the statistic is undefined in more than 5% of the resamples.
    """
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]):
        return Estimate(None, None, None, n)
    if len(drawn) < 0.95 * (len(values) - 1):
        return Estimate(round(float(values[0]), 6), None, None, n)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(round(float(values[0]), 6), round(float(low), 6), round(float(high), 6), n)
