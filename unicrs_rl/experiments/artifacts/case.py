"""One conversation side by side (RSO, Fig. 6), chosen by a rule and not by hand.

For every held-out dialogue the gap is taken between the first arm's value of a metric and the mean of
the others', all of the first training seed. Shown is the dialogue whose gap is the median (of an even
number the lower one; ties by the dialogue's number): neither the best case nor the worst.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from pydantic import Field
from typing_extensions import override

from unicrs_rl.errors import unknown
from unicrs_rl.experiments.artifacts.base import MISSING, Artifact, Cell, Finished, Made, Picture, Row, Table
from unicrs_rl.experiments.artifacts.drawing import Line, talks
from unicrs_rl.judging.metrics import METRIC_BY_NAME

_Values = dict[int, dict[str, float]]
"""Value of the metric by dialogue and arm."""


class Case(Artifact):
    """The same held-out dialogue with each arm."""

    kind: Literal["case"]
    run: str
    arms: tuple[str, ...] = Field(min_length=2, description="the first is compared with the others")
    by: str = Field("judge", description="metric whose median gap chooses the dialogue")

    @property
    @override
    def needs(self) -> Sequence[tuple[str, str]]:
        return [(self.run, arm) for arm in self.arms]

    @override
    def check(self) -> None:
        if self.by not in METRIC_BY_NAME:
            raise unknown("metric", self.by, METRIC_BY_NAME)

    @override
    def make(self, runs: Mapping[str, Finished]) -> Made:
        run = runs[self.run]
        seed = run.found["protocol"]["seeds"][0]
        values: _Values = defaultdict(dict)
        for line in run.traces(self.arms):
            if line["seed"] == seed and line["metrics"][self.by] is not None:
                values[line["index"]][line["arm"]] = line["metrics"][self.by]
        index, note = self._chosen(values)
        shown = {
            line["arm"]: line
            for line in run.traces(self.arms)
            if (line["seed"], line["index"]) == (seed, index)
        }
        lines = [shown[arm] for arm in self.arms]
        columns = {f"{self.called(line['arm'])}: {_ending(line)}": _said(line) for line in lines}
        picture = Picture(self.name, talks(columns, f"{self.title} (dialogue {index})", note), note)
        return Made([self._table(lines, note)], [picture], lines)

    def _chosen(self, values: _Values) -> tuple[int, str]:
        """The dialogue to show, and why."""
        title = METRIC_BY_NAME[self.by].title
        first, *others = self.arms
        gaps = sorted(
            (known[first] - fmean(known[arm] for arm in others), index)
            for index, known in values.items()
            if len(known) == len(self.arms)
        )
        if not gaps:
            return 0, f"Dialogue 0, the first one, because in none {title} is known of every system."
        gap, index = gaps[(len(gaps) - 1) // 2]
        return index, (
            f"Dialogue {index}: of {len(gaps)} dialogues in which {title} is known of every system, the one "
            f"with the median gap between {self.called(first)} and the mean of the others ({gap:+.3f}; all "
            f"gaps: {gaps[0][0]:+.3f} to {gaps[-1][0]:+.3f}; ties by the dialogue's number)."
        )

    def _table(self, lines: Sequence[Mapping[str, Any]], note: str) -> Table:
        rows: list[Row] = []
        body = []
        for line in lines:
            arm = line["arm"]
            opening = line["opening"]["text"]
            rows.append(_row(line, 0, seeker=opening))
            body.append(
                [Cell(self.called(arm)), Cell("0"), Cell(""), Cell(""), Cell(""), Cell(opening), Cell("")]
            )
            for number, turn in enumerate(line["turns"], start=1):
                decision = turn["decision"]
                score = turn["judge"]["score"] if turn["judge"] else None
                rows.append(
                    _row(
                        line,
                        number,
                        act=decision["act"],
                        strategy=decision["strategy"],
                        recommender=turn["utterance"],
                        seeker=turn["reply"]["text"],
                        judge=score,
                    )
                )
                body.append(
                    [
                        Cell(self.called(arm)),
                        Cell(str(number)),
                        Cell(decision["act"]),
                        Cell(decision["strategy"]),
                        Cell(turn["utterance"]),
                        Cell(turn["reply"]["text"]),
                        Cell(MISSING if score is None else f"{score:.2f}"),
                    ]
                )
        head = ["system", "turn", "act", "strategy", "recommender", "seeker", "judge, 1 to 5"]
        return Table(self.name, self.title, rows, head, body, note)


def _row(line: Mapping[str, Any], turn: int, **said: str | float | None) -> Row:
    """A line of the CSV file; turn 0 is what the seeker says first."""
    empty: Row = dict.fromkeys(("act", "strategy", "recommender", "seeker", "judge"))
    return {"arm": line["arm"], "seed": line["seed"], "dialogue": line["index"], "turn": turn} | empty | said


def _said(line: Mapping[str, Any]) -> list[Line]:
    """A conversation, utterance by utterance."""
    said = [Line("seeker", line["opening"]["text"])]
    for turn in line["turns"]:
        decision = turn["decision"]
        said.append(Line("system", turn["utterance"], f"{decision['act']} · {decision['strategy']}"))
        said.append(Line("seeker", turn["reply"]["text"]))
    return said


def _ending(line: Mapping[str, Any]) -> str:
    outcome = line["outcome"]
    if outcome["success"]:
        return f"accepted in turn {outcome['turn']}"
    return f"left after turn {outcome['turn']}" if outcome["left"] else "no success"
