"""The grid between the systems: metrics of its points as heat maps with intervals.

Rows are who decides what, columns what learned policies see and how they learn. A cell without an arm is
empty: that point was not run, or cannot be had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field
from typing_extensions import override

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.artifacts.base import (
    MEASURES,
    Artifact,
    Cell,
    Finished,
    Made,
    Picture,
    Row,
    Table,
    resting_on,
    titles,
)
from unicrs_rl.experiments.artifacts.drawing import Matrix, heat_maps
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.figures import Shown
from unicrs_rl.experiments.points import controlled, point_of
from unicrs_rl.experiments.report.heat_map import GridCell, grid_heat_map
from unicrs_rl.policy.control import Encoder, Learning, Point

_ENCODERS, _LEARNERS = tuple(Encoder), tuple(Learning)


class Grid(Artifact):
    """Points of the grid, before the same seekers."""

    kind: Literal["grid"]
    run: str
    arms: tuple[str, ...] = Field(min_length=1, description="points of the grid")
    metrics: tuple[str, ...] = Field(("sr@15", "at", "hdcg"), min_length=1)
    against: str | None = Field(None, description="the arm that all others are compared with")

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        rest = () if self.against is None else (self.against,)
        return [(self.run, arm) for arm in dict.fromkeys((*self.arms, *rest))]

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        run = runs[self.run]
        points = self._points(run.config)
        rows = list(dict.fromkeys(controlled(point.control) for point in points.values()))
        places = sorted({(_ENCODERS.index(p.encoder), _LEARNERS.index(p.learner)) for p in points.values()})
        columns = [f"{_ENCODERS[encoder]}, {_LEARNERS[learner]}" for encoder, learner in places]
        arms = {(controlled(point.control), _column(point)): arm for arm, point in points.items()}
        panels = [
            Matrix(
                titles([metric])[0],
                [
                    [
                        run.mean(arm, metric).mark if (arm := arms.get((row, column))) else None
                        for column in columns
                    ]
                    for row in rows
                ],
            )
            for metric in self.metrics
        ]
        rests = resting_on({metric: [run.mean(arm, metric).n for arm in points] for metric in self.metrics})
        caption = (
            "Rows: who decides (when, what to ask, what to recommend, the strategy); columns: what learned "
            f"policies see, and how they learn. Means with 95% intervals; empty: not run. {rests}"
        )
        png = heat_maps(rows, columns, panels, self.title, f"{caption} The darker the greater.")
        tables = [self._means(run, points)]
        if self.against is not None:
            tables.append(self._differences(run, points, self.against))
        charts = {
            f"{self.name}-{metric}": self._chart(run, points, metric, caption) for metric in self.metrics
        }
        return Made(tables, [Picture(self.name, png, caption)], charts=charts)

    def _chart(self, run: Finished, points: Mapping[str, Point], metric: str, caption: str) -> Shown:
        cells = []
        for arm, point in points.items():
            mean = run.mean(arm, metric)
            cells.append(GridCell(controlled(point.control), _column(point), mean.value, mean.low, mean.high))
        measure = MEASURES[metric]
        chart = grid_heat_map(cells, titles([metric])[0], measure.unit, measure.higher_is_better)
        return Shown(chart, f"{caption} The darker the better.")

    @override
    def check_runs(self, configs: Mapping[str, RunConfig]) -> None:
        self._points(configs[self.run])

    def _points(self, config: RunConfig) -> dict[str, Point]:
        """Where each arm stands.

        Raises:
            InputError: if one is not on the grid, or two stand at the same point.
        """
        found: dict[str, Point] = {}
        for arm in self.arms:
            point = point_of(config, arm)
            if point is None:
                raise InputError(f"arm {arm!r} is no point of the grid")
            twin = next((other for other, taken in found.items() if taken == point), None)
            if twin is not None:
                raise InputError(f"arms {twin!r} and {arm!r} are the same point")
            found[arm] = point
        return found

    def _means(self, run: Finished, points: Mapping[str, Point]) -> Table:
        rows: list[Row] = []
        body = []
        for arm, point in points.items():
            line = [Cell(self.called(arm)), Cell(controlled(point.control)), Cell(_column(point))]
            for metric in self.metrics:
                mean = run.mean(arm, metric)
                line.append(mean.cell())
                rows.append(
                    {
                        "arm": arm,
                        **{name: value.value for name, value in point.control},
                        "encoder": point.encoder.value,
                        "learner": point.learner.value,
                        "metric": metric,
                        "mean": mean.value,
                        "low": mean.low,
                        "high": mean.high,
                        "n": mean.n,
                    }
                )
            body.append(line)
        note = "Mean, 95% interval and n, the dialogues it rests on."
        head = ["point", "control", "encoder, learner", *titles(self.metrics)]
        return Table(self.name, self.title, rows, head, body, note)

    def _differences(self, run: Finished, points: Mapping[str, Point], against: str) -> Table:
        rows: list[Row] = []
        body = []
        for arm in points:
            if arm == against:
                continue
            line = [Cell(self.called(arm))]
            for metric in self.metrics:
                gap = run.difference(arm, against, metric)
                line.append(gap.difference())
                rows.append({"arm": arm, "minus": against, "metric": metric, **gap.gap})
            body.append(line)
        note = (
            f"Point minus {self.called(against)}, over the same dialogues, with 95% interval, p and n. "
            "Bold: interval clear of zero and p below 0.05, not corrected for the number of comparisons."
        )
        title = f"{self.title}: differences from {self.called(against)}"
        return Table(f"{self.name}-differences", title, rows, ["", *titles(self.metrics)], body, note)

    @override
    def check(self) -> None:
        super().check()
        if len(set(self.arms)) < len(self.arms):
            raise InputError("arms: the same arm twice")


def _column(point: Point) -> str:
    return f"{point.encoder}, {point.learner}"
