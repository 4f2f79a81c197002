"""Is it a trade-off? One metric against another, along runs that differ in one setting.

Runs meet the same held-out dialogues, so that differences between them are paired by dialogue, as those of
two arms are. From the first run to the last there is a trade-off where one metric gets better and the other
worse, and both differences are detected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field
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
    resting_on,
    titles,
)
from unicrs_rl.experiments.artifacts.drawing import Path, paths
from unicrs_rl.experiments.run_folder import FileName
from unicrs_rl.experiments.statistics import compare_arms
from unicrs_rl.policy.arms import learns


class Frontier(Artifact):
    """A task metric against another one, for each arm along the runs."""

    kind: Literal["frontier"]
    runs: tuple[FileName, ...] = Field(min_length=2, description="in the order of what they differ in")
    along: str = Field(description="what the runs differ in")
    arms: tuple[str, ...] = Field(min_length=1)
    task: str = Field("sr@15", description="the metric on the y-axis")
    other: str = Field("rapport", description="the metric on the x-axis")
    more: tuple[str, ...] = Field((), description="further metrics, in the tables alone")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured."""
        return (self.task, self.other, *self.more)

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        return [(run, arm) for run in self.runs for arm in self.arms]

    @override
    def check(self) -> None:
        super().check()
        if CORPUS.name in self.metrics:
            raise InputError(f"{CORPUS.name!r} is of a whole corpus and cannot be paired by dialogue")
        if len(set(self.metrics)) < len(self.metrics):
            raise InputError("task, other, more: the same metric twice")

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        chosen = [runs[name] for name in self.runs]
        lines = [
            Path(
                self.called(arm),
                [(run.mean(arm, self.other).mark, run.mean(arm, self.task).mark) for run in chosen],
            )
            for arm in self.arms
        ]
        counts = {
            m: [run.mean(arm, m).n for run in chosen for arm in self.arms] for m in (self.task, self.other)
        }
        caption = (
            f"Each line is an arm, from {chosen[0].label} (large mark) to {chosen[-1].label} in the order of "
            f"{self.along}; means over held-out dialogues with 95% intervals. {resting_on(counts)}"
        )
        axes = titles([self.other, self.task])
        png = paths(lines, axes[0], axes[1], self.title, caption)
        changes, gaps = self._changes(chosen)
        findings = [self._finding(arm, chosen, gaps) for arm in self.arms]
        return Made([self._means(chosen), changes], [Picture(self.name, png, caption)], findings=findings)

    def _means(self, runs: Sequence[Finished]) -> Table:
        rows: list[Row] = []
        body = []
        for arm in self.arms:
            for run in runs:
                line = [Cell(self.called(arm)), Cell(run.label)]
                for metric in self.metrics:
                    mean = run.mean(arm, metric)
                    line.append(mean.cell())
                    rows.append(
                        {
                            "arm": arm,
                            "run": run.name,
                            "metric": metric,
                            "mean": mean.value,
                            "low": mean.low,
                            "high": mean.high,
                            "n": mean.n,
                        }
                    )
                body.append(line)
        note = "Mean, 95% interval and n, the dialogues it rests on."
        return Table(self.name, self.title, rows, ["system", self.along, *titles(self.metrics)], body, note)

    def _changes(self, runs: Sequence[Finished]) -> tuple[Table, dict[tuple[str, str], Estimate]]:
        """Each run minus the first, and those of the last run by arm and metric."""
        rows: list[Row] = []
        body = []
        last: dict[tuple[str, str], Estimate] = {}
        values = {(run.name, m): run.by_training(self.arms, m) for run in runs for m in self.metrics}
        first = runs[0]
        for arm in self.arms:
            for run in runs[1:]:
                line = [Cell(self.called(arm)), Cell(run.label)]
                for metric in self.metrics:
                    now, before = (values[one.name, metric][arm] for one in (run, first))
                    found = compare_arms(now, before, learned=(learns(arm), learns(arm)))
                    gap = (
                        Estimate(None, None, None, 0)
                        if found is None
                        else Estimate(
                            round(found.difference, 6),
                            round(found.low, 6),
                            round(found.high, 6),
                            found.pairs,
                            round(found.p, 6),
                        )
                    )
                    last[arm, metric] = gap
                    line.append(gap.difference())
                    rows.append(
                        {"arm": arm, "run": run.name, "minus": first.name, "metric": metric, **gap.gap}
                    )
                body.append(line)
        note = (
            f"Minus {first.label}, over the same dialogues, with 95% interval, p and n. Bold: interval "
            "clear of zero and p below 0.05, not corrected for the number of comparisons."
        )
        head = ["system", self.along, *titles(self.metrics)]
        title = f"{self.title}: differences from {first.label}"
        return Table(f"{self.name}-differences", title, rows, head, body, note), last

    def _finding(self, arm: str, runs: Sequence[Finished], gaps: Mapping[tuple[str, str], Estimate]) -> str:
        """Whether the arm gives one metric for the other."""
        task, other = gaps[arm, self.task], gaps[arm, self.other]
        told = (
            f"{_told(self.other, other)}, {_told(self.task, task)}, from {runs[0].label} to {runs[-1].label}"
        )
        ways = (_way(self.task, task), _way(self.other, other))
        called = self.called(arm)
        if task.value is None or other.value is None:
            return f"{called}: too few dialogues have both metrics to say whether there is a trade-off."
        if ways[0] * ways[1] < 0:
            return f"{called}: a trade-off ({told})."
        if ways == (0, 0):
            return f"{called}: nothing changes that is detected, so no trade-off is seen ({told})."
        if 0 in ways:
            moved = MEASURES[self.task if ways[0] else self.other].title
            return f"{called}: only {moved} changes, so no trade-off is detected ({told})."
        return f"{called}: both {'rise' if ways[0] > 0 else 'suffer'} together, no trade-off ({told})."


def _way(metric: str, gap: Estimate) -> int:
    """1 if a detected difference is for the better, -1 if for the worse, 0 if none is detected."""
    if not gap.detected or gap.value is None:
        return 0
    return 1 if (gap.value > 0) == MEASURES[metric].higher_is_better else -1


def _told(metric: str, gap: Estimate) -> str:
    span = "" if gap.low is None else f" [{gap.low:+.3f}, {gap.high:+.3f}]"
    return f"{MEASURES[metric].title} {'missing' if gap.value is None else f'{gap.value:+.3f}'}{span}"
