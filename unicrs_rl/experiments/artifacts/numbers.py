"""Arms in rows, metrics in columns (RSO, Tables IV and V), with the paired differences of one arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field
from typing_extensions import override

from unicrs_rl.experiments.artifacts.base import (
    MEASURES,
    Artifact,
    Cell,
    Estimate,
    Finished,
    Made,
    Picture,
    Table,
    panels,
    resting_on,
    titles,
)
from unicrs_rl.experiments.artifacts.drawing import forest


class Numbers(Artifact):
    """Means of arms, and how one of them differs from each of the others."""

    kind: Literal["numbers"]
    run: str
    arms: tuple[str, ...] = Field(min_length=1, description="the first is compared with the others")
    metrics: tuple[str, ...] = Field(min_length=1)

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        return [(self.run, arm) for arm in self.arms]

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        run = runs[self.run]
        means = {metric: [run.mean(arm, metric) for arm in self.arms] for metric in self.metrics}
        rests = resting_on({metric: [mean.n for mean in column] for metric, column in means.items()})
        rows = [self.called(arm) for arm in self.arms]
        caption = f"Means over held-out dialogues with 95% intervals. {rests}"
        png = forest(rows, panels(self.metrics, means, zero=False), self.title, caption)
        picture = Picture(self.name, png, caption)
        tables = [self._means(means)]
        if len(self.arms) > 1:
            tables.append(self._differences(run))
        return Made(tables, [picture])

    def _means(self, means: Mapping[str, Sequence[Estimate]]) -> Table:
        best = {metric: _best(metric, column) for metric, column in means.items()}
        rows, body = [], []
        for place, arm in enumerate(self.arms):
            line = [Cell(self.called(arm))]
            for metric, column in means.items():
                mean, is_best = column[place], place in best[metric]
                line.append(mean.cell(is_best))
                rows.append(
                    {
                        "arm": arm,
                        "metric": metric,
                        "mean": mean.value,
                        "low": mean.low,
                        "high": mean.high,
                        "n": mean.n,
                        "best": is_best,
                    }
                )
            body.append(line)
        note = (
            "Mean, 95% interval over dialogues, and n, the dialogues it rests on (averaged over training "
            "seeds first). Bold: best of its column, detected or not."
        )
        if "dist2_corpus" in means:
            note += " Dist-2 of the corpus is one number for all dialogues together and has no interval."
        return Table(self.name, self.title, rows, ["system", *titles(self.metrics)], body, note)

    def _differences(self, run: Finished) -> Table:
        first, *others = self.arms
        rows, body = [], []
        shown = [metric for metric in self.metrics if metric != "dist2_corpus"]
        for other in others:
            line = [Cell(self.called(other))]
            for metric in shown:
                gap = run.difference(first, other, metric)
                line.append(gap.difference())
                rows.append(
                    {
                        "arm": first,
                        "minus": other,
                        "metric": metric,
                        **gap.gap,
                    }
                )
            body.append(line)
        note = (
            "Paired over the same dialogues, with 95% interval, p and n, the "
            "dialogues in which both have a value. Bold: interval clear of zero and p below 0.05, not "
            "corrected for the number of comparisons."
        )
        title = f"{self.title}: {self.called(first)} minus each"
        head = [f"{self.called(first)} minus", *titles(shown)]
        return Table(f"{self.name}-differences", title, rows, head, body, note)


def _best(metric: str, column: Sequence[Estimate]) -> set[int]:
    """Places of the best value; of all that share it; of none where there is nothing to be better than."""
    known = {place: mean.value for place, mean in enumerate(column) if mean.value is not None}
    if len(known) < 2:
        return set()
    top = (max if MEASURES[metric].higher_is_better else min)(known.values())
    return {place for place, value in known.items() if value == top}
