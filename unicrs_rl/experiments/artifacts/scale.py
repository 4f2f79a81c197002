"""Metrics against the size of the language model (RSO, Fig. 4): runs differ in the model, arms are lines."""

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
from unicrs_rl.experiments.artifacts.drawing import trends


class Scale(Artifact):
    """The same arms in several runs, in the order of their language models' sizes."""

    kind: Literal["scale"]
    runs: tuple[str, ...] = Field(min_length=1, description="smallest first")
    size: str = Field(description="what the runs differ in: the title of the x-axis")
    arms: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = Field(min_length=1)

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        return [(run, arm) for run in self.runs for arm in self.arms]

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        chosen = [runs[name] for name in self.runs]
        means = {
            metric: [run.mean(arm, metric) for arm in self.arms for run in chosen] for metric in self.metrics
        }
        rows, body = [], []
        for place, (arm, run) in enumerate((arm, run) for arm in self.arms for run in chosen):
            line = [Cell(self.called(arm)), Cell(run.label)]
            for metric in self.metrics:
                mean = means[metric][place]
                line.append(mean.cell())
                rows.append(
                    {
                        "arm": arm,
                        "run": run.name,
                        "size": run.label,
                        "metric": metric,
                        "mean": mean.value,
                        "low": mean.low,
                        "high": mean.high,
                        "n": mean.n,
                    }
                )
            body.append(line)
        note = "Mean, 95% interval over dialogues, and n, the dialogues it rests on."
        head = ["system", self.size, *titles(self.metrics)]
        table = Table(self.name, self.title, rows, head, body, note)
        rests = resting_on({metric: [mean.n for mean in column] for metric, column in means.items()})
        caption = (
            "Means over held-out dialogues with 95% intervals, moved aside a little where they would cover "
            f"each other. {rests}"
        )
        png = trends(
            [run.label for run in chosen],
            self.size,
            [self.called(arm) for arm in self.arms],
            panels(self.metrics, means, zero=False),
            self.title,
            caption,
        )
        return Made([table], [Picture(self.name, png, caption)])
