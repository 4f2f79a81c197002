"""Learning curves: read back from TensorBoard event files, smoothed, and put together over training seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

Points: TypeAlias = list[tuple[int, float]]
"""(step, value) of a tag, steps rising."""
Curves: TypeAlias = dict[str, dict[int, dict[str, Points]]]
"""Points by arm, training seed and tag."""

SMOOTHED = 0.05
"""Share of a curve's points that a moving mean is taken over."""


def read_curves(directory: Path) -> tuple[Curves, list[str]]:
    """What the trainings of a run wrote, each into its folder ``ARM-seedN``.

    A killed training leaves a file that ends anywhere, and takes up its curves in another file. What is
    whole counts; of a step written twice, the later file.

    Args:
        directory: ``tensorboard/`` of a run folder; need not be there.

    Returns:
        The curves (without tags for an arm and seed that wrote nothing yet), and the names of the event
        files in which nothing can be read.
    """
    found: dict[str, dict[int, dict[str, dict[int, float]]]] = {}
    unreadable = []
    for path in sorted(directory.glob("*/events.out.tfevents.*")):
        arm, is_training, seed = path.parent.name.rpartition("-seed")
        if not (is_training and seed.isdecimal()):
            continue
        tags = found.setdefault(arm, {}).setdefault(int(seed), {})
        scalars = _scalars(path)
        if scalars is None:
            unreadable.append(path.relative_to(directory).as_posix())
            continue
        for tag, values in scalars.items():
            tags.setdefault(tag, {}).update(values)
    curves = {
        arm: {seed: {tag: sorted(values.items()) for tag, values in tags.items()} for seed, tags in seeds}
        for arm, seeds in ((arm, sorted(by_seed.items())) for arm, by_seed in found.items())
    }
    return curves, unreadable


def _scalars(path: Path) -> dict[str, dict[int, float]] | None:
    """Values by tag and step of an event file up to where it is torn; ``None`` if it is none."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        SCALARS,
        EventAccumulator,
    )

    events = EventAccumulator(str(path), size_guidance={SCALARS: 0})  # 0: keeps them all
    try:
        events.Reload()
        if events.file_version is None:  # the first record of every event file says it
            return None if path.stat().st_size else {}
    except OSError:
        return None
    return {
        tag: {event.step: round(event.value, 6) for event in events.Scalars(tag)}  # they are 32-bit floats
        for tag in events.Tags()[SCALARS]
    }


@dataclass(frozen=True)
class Band:
    """A curve over training seeds: at each step, over the seeds that got there.

    Attributes:
        steps, mean, low, high: ``[points]`` each; lowest and highest of the seeds.
    """

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def over_seeds(runs: Iterable[Points]) -> Band:
    """The mean, lowest and highest of several curves."""
    values: defaultdict[int, list[float]] = defaultdict(list)
    for points in runs:
        for step, value in points:
            values[step].append(value)
    steps = sorted(values)
    mean, low, high = ([round(f(values[step]), 6) for step in steps] for f in (fmean, min, max))
    return Band(steps, mean, low, high)


def smoothed(runs: Sequence[Points], share: float = SMOOTHED) -> list[Points]:
    """Moving means of curves, each point with those before it: in all, a share of the longest curve."""
    window = max(1, round(share * max(map(len, runs), default=0)))
    return [
        [
            (step, fmean(value for _, value in points[max(0, place + 1 - window) : place + 1]))
            for place, (step, _) in enumerate(points)
        ]
        for points in runs
    ]
