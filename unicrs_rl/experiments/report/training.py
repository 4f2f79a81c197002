"""The page of a training, finished or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.config import Selection
from unicrs_rl.experiments.curves import Points
from unicrs_rl.experiments.figures import Shown, empty_figure
from unicrs_rl.experiments.report.learned import Learned, add_seeds
from unicrs_rl.experiments.report.page import page
from unicrs_rl.experiments.report.success import curves_figure
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.judging.metrics import METRICS, Metric

_SELECTED = {
    Selection.VALID: "The best checkpoint (fewest mean turns)",
    Selection.TEST: "The best checkpoint (fewest mean turns)",
    Selection.LAST: "The last checkpoint",
}
_SPLITS = {"valid": "validation", "test": "test"}


def training(folder: RunFolder) -> str:
    """The page.

    Raises:
        InputError: if nothing was trained, or a checkpoint is broken.
    """
    config = RunFolder.read(folder.path)[1]
    learned = Learned.read(folder, list(config.arms))
    jobs = [
        _Job(arm, seed, checkpoint.load(path)[1] if path.is_file() else None)
        for arm in config.arms
        for seed in config.seeds
        if (path := folder.checkpoint(arm, seed)).is_file() or seed in learned.curves.get(arm, {})
    ]
    if not jobs:
        raise InputError(
            f"{folder.path}: the run is not finished (there is neither a traces.jsonl nor a checkpoint in it)"
        )
    tried = [job for job in jobs if job.tried]
    metrics = [metric for metric in METRICS if tried and metric.name in tried[0].tried[0]]
    kept = {job: job.kept(config.select) for job in tried}
    figures = _trials(tried, metrics, list(config.arms)) if tried else {}
    if kept:
        rates = {f"{job.arm}, seed {job.seed}": row["success_by_turn"] for job, row in kept.items()}
        figures["success"] = Shown(
            curves_figure(rates, config.limit), "Share of held-out conversations won within t turns."
        )
    provenance = folder.read_json(folder.provenance)
    return page(
        "training.html.jinja",
        folder,
        config,
        figures,
        learned,
        arms=list(dict.fromkeys(job.arm for job in jobs)),
        world=provenance["world"]["name"],
        settings=config.model_dump(mode="json"),
        jobs=jobs,
        kept=_kept_tables(kept, [metric.name for metric in metrics]),
        metrics=metrics,
        tried=[f"tried-{metric.name}" for metric in metrics],
        selection=_SELECTED[config.select],
        split=_SPLITS[next(iter(kept.values()))["split"]] if kept else "",
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """An arm trained with a seed.

    Attributes:
        header: of its checkpoint; ``None`` before the first.
    """

    arm: str
    seed: int
    header: Mapping[str, Any] | None

    @property
    def tried(self) -> list[Mapping[str, Any]]:
        """What each checkpoint found on held-out conversations, if it was tried on any."""
        return self.header.get("tried", []) if self.header else []

    def kept(self, select: Selection) -> Mapping[str, Any]:
        """The row of the checkpoint that is kept."""
        return self.tried[-1] if select is Selection.LAST else min(self.tried, key=lambda row: row["at"])


def _kept_tables(kept: Mapping[_Job, Mapping[str, Any]], metrics: list[str]) -> list[dict[str, Any]]:
    """For each arm what was kept of each seed, with the mean and, of several seeds, the spread."""
    tables = []
    for arm in dict.fromkeys(job.arm for job in kept):
        rows = {job.seed: row for job, row in kept.items() if job.arm == arm}
        columns = {name: [row[name] for row in rows.values()] for name in metrics}
        tables.append(
            {
                "arm": arm,
                "seeds": rows,
                "mean": {name: fmean(column) for name, column in columns.items()},
                "spread": {name: stdev(column) for name, column in columns.items()} if len(rows) > 1 else {},
            }
        )
    return tables


def _trials(tried: Sequence[_Job], metrics: Iterable[Metric], arms: list[str]) -> dict[str, Shown]:
    """Each metric at each checkpoint."""
    figures = {}
    for metric in metrics:
        figure = empty_figure(metric.title, "training conversations", "")
        runs: dict[str, list[Points]] = defaultdict(list)
        for job in tried:
            runs[job.arm].append([(row["done"], row[metric.name]) for row in job.tried])
        add_seeds(figure, runs, arms, mode="lines+markers")
        figures[f"tried-{metric.name}"] = Shown(figure, metric.about)
    return figures
