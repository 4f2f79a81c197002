"""What an artifact of a study is made from, and what it is made of."""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from unicrs_rl.errors import unknown
from unicrs_rl.experiments.artifacts.drawing import Mark, Panel
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.figures import Shown
from unicrs_rl.experiments.run_folder import FileName, RunFolder
from unicrs_rl.experiments.statistics import mean_over_seeds
from unicrs_rl.experiments.verdict import deciding_p, detected, p_text
from unicrs_rl.judging.metrics import METRICS, Metric

Value: TypeAlias = str | int | float | bool | None
Row: TypeAlias = dict[str, Value]
"""One line of the CSV file and of ``results.json``; ``None`` is a missing value."""

MISSING = "missing"
CORPUS = Metric(
    "dist2_corpus",
    "Dist-2 (corpus)",
    True,
    "distinct word pairs / all, over all dialogues of a seed",
    "distinct / all",
    lambda _: None,
)
MEASURES: Mapping[str, Metric] = {metric.name: metric for metric in (*METRICS, CORPUS)}
"""What tables can show: the metrics of single dialogues, and one that only all of them together have."""


@dataclass(frozen=True)
class Cell:
    """An entry of a table as people read it."""

    text: str
    small: str = ""
    marked: bool = False

    @property
    def markdown(self) -> str:
        """For a Markdown table."""
        text = self.text.replace("|", "\\|").replace("\n", " ")
        return " ".join(part for part in (f"**{text}**" if self.marked else text, self.small) if part)


@dataclass(frozen=True)
class Estimate:
    """A mean, or a mean difference, over dialogues.

    Attributes:
        value: ``None`` where no dialogue has one.
        low, high: ends of its 95% interval; ``None`` with fewer than two dialogues, and for a corpus.
        n: dialogues it rests on.
        p: of a difference.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None

    @property
    def mark(self) -> Mark:
        """For a figure."""
        if self.value is None:
            return None
        return (
            self.value,
            self.value if self.low is None else self.low,
            self.value if self.high is None else self.high,
        )

    @property
    def detected(self) -> bool:
        """Of a difference: the interval is clear of zero and p, where there is one, is below the level."""
        if self.low is None or self.high is None:
            return False
        return detected({"ci95": (self.low, self.high), "p": self.p or 0.0})

    @property
    def gap(self) -> Row:
        """Of a difference: its part of a table's row."""
        return {
            "difference": self.value,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "n": self.n,
            "detected": self.detected,
        }

    def cell(self, marked: bool = False) -> Cell:
        """Of a mean: with interval and n."""
        return self._cell("", marked)

    def difference(self) -> Cell:
        """Of a difference: signed, with interval, p and n; marked where it is detected."""
        return self._cell("+", self.detected)

    def _cell(self, sign: str, marked: bool) -> Cell:
        if self.value is None:
            return Cell(MISSING, f"n = {self.n}")
        small = [f"n = {self.n}"]
        if self.p is not None:
            small.insert(0, p_text(self.p))
        span = "" if self.low is None else f"[{self.low:{sign}.3f}, {self.high:{sign}.3f}] "
        return Cell(f"{self.value:{sign}.3f}", span + ", ".join(small), marked)


@dataclass(frozen=True)
class Finished:
    """A finished run of a study.

    Attributes:
        label: what the study calls it in figures.
        found: its ``results.json``.
        replays: what its arms did in human dialogues, by corpus, as far as they were replayed.
    """

    name: str
    label: str
    folder: RunFolder
    found: Mapping[str, Any]
    replays: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """Its settings."""
        return RunFolder.read(self.folder.path)[1]

    def mean(self, arm: str, metric: str) -> Estimate:
        """Mean of a metric over the dialogues of an arm."""
        entry = self.found["arms"][arm]
        low, high = entry["ci95"].get(metric) or (None, None)
        n = entry["counts"]["dist2" if metric == CORPUS.name else metric]
        return Estimate(entry["metrics"][metric], low, high, n)

    def difference(self, arm: str, other: str, metric: str) -> Estimate:
        """Mean of ``arm - other`` over the dialogues in which both have a value."""
        for row in self.found["comparisons"]:
            if row["metric"] == metric and {row["a"], row["b"]} == {arm, other}:
                sign = 1 if row["a"] == arm else -1
                low, high = sorted(sign * end + 0.0 for end in row["ci95"])  # + 0.0: no negative zeros
                return Estimate(sign * row["difference"] + 0.0, low, high, row["dialogues"], deciding_p(row))
        return Estimate(None, None, None, 0)

    def by_training(self, arms: Sequence[str], metric: str) -> dict[str, NDArray[np.float64]]:
        """A metric of each dialogue in each training, by arm: ``[seeds, dialogues]``; NaN for none."""
        dialogues = int(self.found["protocol"]["dialogues"])
        rows: dict[str, dict[int, NDArray[np.float64]]] = {arm: {} for arm in arms}
        for line in self.traces(arms):
            row = rows[line["arm"]].setdefault(line["seed"], np.full(dialogues, np.nan))
            value = line["metrics"][metric]
            row[line["index"]] = np.nan if value is None else value
        return {arm: np.stack([by_seed[seed] for seed in sorted(by_seed)]) for arm, by_seed in rows.items()}

    def by_dialogue(self, arms: Sequence[str], metric: str) -> NDArray[np.float64]:
        """A metric of each dialogue, averaged over training seeds: ``[arms, dialogues]``; NaN for none."""
        tables = self.by_training(arms, metric)
        return np.stack([mean_over_seeds(tables[arm]) for arm in arms])

    def traces(self, arms: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The conversations of some arms."""
        chosen = set(arms)
        return (line for line in self.folder.read_traces() if line["arm"] in chosen)


@dataclass(frozen=True)
class Table:
    """Numbers for machines (one value a row) and the same for people.

    Attributes:
        name: of its files.
        rows: of the CSV file and of ``results.json``; all with the same keys.
        head: titles of the columns that people see.
        body: the lines that people see.
        note: below the table.
    """

    name: str
    title: str
    rows: Sequence[Row]
    head: Sequence[str]
    body: Sequence[Sequence[Cell]]
    note: str

    @property
    def csv(self) -> str:
        """The rows as CSV; a missing value is an empty field."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]) if self.rows else ["nothing"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @property
    def markdown(self) -> str:
        """Title, table and note as Markdown."""
        lines = [list(self.head), ["---"] * len(self.head), *([c.markdown for c in row] for row in self.body)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"# {self.title}\n\n{table}\n\n{self.note}\n"


@dataclass(frozen=True)
class Picture:
    """A figure: PNG bytes, and the words below it."""

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Made:
    """What one artifact came to.

    Attributes:
        talks: conversations to show side by side, whole traces.
        findings: what it comes to, a sentence each.
        charts: figures of the page by name, which shows them instead of the pictures.
    """

    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    talks: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[str] = ()
    charts: Mapping[str, Shown] = field(default_factory=dict)


class Artifact(BaseModel):
    """What a study asks for: an entry ``[[artifact]]`` of its TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: FileName = Field(description="of its files")
    title: str = Field(description="above its tables")
    labels: Mapping[str, str] = Field(
        default={}, description="what arms are called, where not by their names"
    )

    @property
    @abstractmethod
    def needs(self) -> Sequence[tuple[str, str]]:
        """(Run, arm) of everything it is made from."""

    @property
    def replays(self) -> Mapping[str, int]:
        """Runs whose arms are to decide in human dialogues, where there are any, and in how many at most."""
        return {}

    @abstractmethod
    def make(self, runs: Mapping[str, Finished]) -> Made:
        """Tables and figures from finished runs."""

    def check(self) -> None:
        """See that what is called by a name is known by it; which arms there are is not known here.

        Raises:
            InputError: if something is not.
        """
        for metric in getattr(self, "metrics", ()):
            if metric not in MEASURES:
                raise unknown("metric", metric, MEASURES)

    def check_runs(self, configs: Mapping[str, RunConfig]) -> None:
        """See that the runs are such as it can be made from; there is every one that it needs.

        Raises:
            InputError: if one is not.
        """

    def called(self, arm: str) -> str:
        """The name of an arm in tables and figures."""
        return self.labels.get(arm, arm)


def resting_on(counts: Mapping[str, Iterable[int]]) -> str:
    """In words, how many dialogues the numbers of each metric rest on."""
    said: dict[str, list[str]] = {}
    for metric, ns in counts.items():
        spread = sorted(ns)
        span = f"{spread[0]}" if spread[0] == spread[-1] else f"{spread[0]} to {spread[-1]}"
        said.setdefault(span, []).append(MEASURES[metric].title)
    if len(said) == 1:
        return f"n = {next(iter(said))} dialogues."
    return "; ".join(f"{', '.join(titles)}: n = {span}" for span, titles in said.items()) + " (dialogues)."


def panels(metrics: Sequence[str], estimates: Mapping[str, Sequence[Estimate]], zero: bool) -> list[Panel]:
    """Panels of a figure, which say what a metric counts in and which way is better."""
    made = []
    for metric in metrics:
        measure = MEASURES[metric]
        better = "" if measure.higher_is_better else "; lower is better"
        unit = measure.unit + better
        unit = f"difference ({unit})" if zero else unit
        made.append(Panel(measure.title, unit, [estimate.mark for estimate in estimates[metric]]))
    return made


def titles(metrics: Sequence[str]) -> list[str]:
    """Titles of columns; which say so where lower is better."""
    return [
        MEASURES[name].title + ("" if MEASURES[name].higher_is_better else " (lower is better)")
        for name in metrics
    ]
