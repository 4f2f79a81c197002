"""The learning curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import plotly.graph_objects as go

from unicrs_rl.experiments.curves import SMOOTHED, Curves, Points, over_seeds, read_curves, smoothed
from unicrs_rl.experiments.figures import Shown, add_band, colour, dash, empty_figure
from unicrs_rl.experiments.run_folder import RunFolder

_CURVES = (
    ("episode/success", "Successful training conversations", "share"),
    ("episode/turns", "Length of training conversations", "mean turns"),
)
"""TensorBoard tags of the curves, each with the title of its figure and of its axis."""
_CAPTION = (
    "Training conversations as they were led, exploration included: moving mean over the last "
    f"{SMOOTHED:.0%} of them. Line: mean over training seeds; band: from the lowest to the highest seed."
)


@dataclass(frozen=True)
class Learned:
    """The learning curves of a run.

    Attributes:
        arms: all arms of the run, in order; their places give the colours.
        curves: what the event files of those arms hold.
        unreadable: event files that hold nothing that can be read.
    """

    arms: list[str]
    curves: Curves
    unreadable: list[str]

    @classmethod
    def read(cls, folder: RunFolder, arms: list[str]) -> Self:
        """Those of a run folder."""
        curves, unreadable = read_curves(folder.curves)
        return cls(arms, {arm: curves[arm] for arm in arms if arm in curves}, unreadable)

    def figures(self) -> dict[str, Shown]:
        """Figures by name, of what there is."""
        made = {}
        for tag, title, y in _CURVES:
            runs = {arm: [t[tag] for t in seeds.values() if tag in t] for arm, seeds in self.curves.items()}
            if any(runs.values()):
                figure = empty_figure(title, "training conversations", y)
                add_seeds(figure, {arm: smoothed(run) for arm, run in runs.items()}, self.arms)
                made[tag.replace("/", "-")] = Shown(figure, _CAPTION)
        if "episode-success" in made:
            made["episode-success"].figure.update_yaxes(rangemode="tozero")
        return made


def add_seeds(
    figure: go.Figure, runs: Mapping[str, Sequence[Points]], arms: list[str], mode: str = "lines"
) -> None:
    """A line for each arm, the mean over its training seeds, with a band from the lowest to the highest."""
    figure.update_layout(showlegend=len(arms) > 1)
    for arm, several in runs.items():
        if not several:
            continue
        band, place = over_seeds(several), arms.index(arm)
        if len(several) > 1:
            add_band(figure, band.steps, band.low, band.high, arm, colour(place))
        line = {"color": colour(place), "dash": dash(place)}
        figure.add_scatter(x=band.steps, y=band.mean, name=arm, legendgroup=arm, mode=mode, line=line)
