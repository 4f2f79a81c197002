"""What each expert is worth (RSO, Fig. 5): an arm without it minus the arm with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field
from typing_extensions import override

from unicrs_rl.experiments.artifacts.base import (
    Artifact,
    Cell,
    Finished,
    Made,
    Picture,
    Table,
    panels,
    resting_on,
    titles,
)
from unicrs_rl.experiments.artifacts.drawing import forest


class Ablation(Artifact):
    """Paired differences of arms that lack something from the arm that has it."""

    kind: Literal["ablation"]
    run: str
    whole: str = Field(description="the arm with everything")
    without: Mapping[str, str] = Field(min_length=1, description="what is left out, and the arm without it")
    metrics: tuple[str, ...] = Field(min_length=1)

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        return [(self.run, arm) for arm in (self.whole, *self.without.values())]

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        run = runs[self.run]
        gaps = {
            metric: [run.difference(arm, self.whole, metric) for arm in self.without.values()]
            for metric in self.metrics
        }
        rows, body = [], []
        whole = [run.mean(self.whole, metric).cell() for metric in self.metrics]
        for place, (part, arm) in enumerate(self.without.items()):
            line = [Cell(f"without {part}")]
            for metric in self.metrics:
                gap = gaps[metric][place]
                line.append(gap.difference())
                rows.append(
                    {
                        "without": part,
                        "arm": arm,
                        "minus": self.whole,
                        "metric": metric,
                        "arm_mean": run.mean(arm, metric).value,
                        "whole_mean": run.mean(self.whole, metric).value,
                        **gap.gap,
                    }
                )
            body.append(line)
        rests = resting_on({metric: [gap.n for gap in column] for metric, column in gaps.items()})
        note = (
            f"First line: mean of {self.called(self.whole)}. Below: without minus with, paired over the same "
            "dialogues, with 95% interval, p and n, the dialogues in which both "
            "have a value. Bold: interval clear of zero and p below 0.05, not corrected for the number of "
            "comparisons."
        )
        head = ["", *titles(self.metrics)]
        body.insert(0, [Cell(self.called(self.whole)), *whole])
        table = Table(self.name, self.title, rows, head, body, note)
        caption = (
            "Without minus with: mean paired differences with 95% intervals; dotted line: no difference. "
            f"{rests}"
        )
        lines = [f"without {part}" for part in self.without]
        png = forest(lines, panels(self.metrics, gaps, zero=True), self.title, caption, zero=True)
        return Made([table], [Picture(self.name, png, caption)])
