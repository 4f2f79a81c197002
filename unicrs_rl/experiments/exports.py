"""What a comparison leaves for other tools: a row for each dialogue, and tables for a paper.

``dialogues.csv``, and in ``tables/`` Markdown and LaTeX. Made from ``results.json`` and ``traces.jsonl``
alone; nothing in them differs between two runs of the same settings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import polars as pl

from unicrs_rl.experiments.budgets import QUANTITIES
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.costs import COSTS
from unicrs_rl.experiments.results import gist
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.verdict import detected, p_text
from unicrs_rl.judging.metrics import METRICS

_NONE = "–"
_ACTS = ("ask", "recommend", "chat")
_COUNTED = {
    "calls": pl.Int64,
    "tokens": pl.Int64,
    "failed_calls": pl.Int64,
    "invented": pl.Int64,
    "judge_calls": pl.Int64,
    "judge_tokens": pl.Int64,
    "seeker_calls": pl.Int64,
    "seeker_tokens": pl.Int64,
}
"""What is counted in a dialogue, as :func:`~unicrs_rl.experiments.results.gist` names it."""
_FORMULA = re.compile(r"(?![+-]?[0-9]+(\.[0-9]+)?\Z)['=+\-@\t\r\n＝＋－＠]")
"""How a text begins that a spreadsheet may take for a formula; a number is none."""
_EQUAL = {True: "yes", False: "no", None: _NONE}
_TIMED = frozenset({"lm_seconds_per_dialogue", "judge_seconds", "train_seconds", "evaluate_seconds"})
"""Costs that two runs of the same settings differ in."""

_LATEX = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.experiments", "."),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701  this is no HTML; the template escapes for LaTeX
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    block_start_string="<%",
    block_end_string="%>",
    variable_start_string="<<",
    variable_end_string=">>",
    comment_start_string="<#",
    comment_end_string="#>",
)


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column says what its rows are.

    Attributes:
        name: of its files.
        marked: (row, column) of the cells that stand out.
    """

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    marked: frozenset[tuple[int, int]] = frozenset()

    @property
    def markdown(self) -> str:
        """Title, table and note as Markdown."""
        body = self._body(_in_markdown, "**{}**")
        lines = [
            [_in_markdown(title) for title in self.head],
            ["---", *["---:"] * (len(self.head) - 1)],
            *body,
        ]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts = (f"# {_in_markdown(self.title)}", table, _in_markdown(self.note))
        return "\n\n".join(part for part in parts if part) + "\n"

    @property
    def latex(self) -> str:
        """The same as a LaTeX table, with the rules of booktabs."""
        rows = [_row(cells) for cells in self._body(_in_latex, r"\textbf{{{}}}")]
        head = _row([_in_latex(title) for title in self.head])
        columns = "l" + "r" * (len(self.head) - 1)
        return _LATEX.get_template("table.tex.jinja").render(
            name=self.name,
            title=_in_latex(self.title),
            columns=columns,
            head=head,
            rows=rows,
            note=_in_latex(self.note),
        )

    def _body(self, escape: Any, emphasis: str) -> list[list[str]]:
        return [
            [
                emphasis.format(escape(cell)) if (row, column) in self.marked else escape(cell)
                for column, cell in enumerate(cells)
            ]
            for row, cells in enumerate(self.rows)
        ]


def _in_markdown(text: str) -> str:
    return re.sub(r"([\\`*_<>|])", r"\\\1", text)


_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
}


def _in_latex(text: str) -> str:
    """Escaped, and a minus before a digit set as one."""
    escaped = re.sub(r"[\\~^<>&%$#_{}]", lambda found: _LATEX_SPECIAL[found[0]], text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)


def _row(cells: Sequence[str]) -> str:
    """A line of a LaTeX table; a bracket or star at its beginning would belong to the line break before."""
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return guard + " & ".join(cells)


def write_exports(folder: RunFolder) -> None:
    """(Re)make the exports of a finished comparison.

    Raises:
        InputError: if its files are missing or broken.
    """
    found = folder.read_json(folder.results)
    write_atomically(folder.dialogues, dialogues_csv(found["world"], folder.read_traces()))
    folder.tables.mkdir(exist_ok=True)
    for table in tables(found):
        write_atomically(folder.tables / f"{table.name}.md", table.markdown)
        write_atomically(folder.tables / f"{table.name}.tex", table.latex)


def dialogues_csv(world: str, traces: Iterable[Mapping[str, Any]]) -> str:
    """One line for each dialogue, after a line of names. A missing value is an empty field.

    A text that a spreadsheet may take for a formula has an apostrophe before it, and so has one that begins
    with an apostrophe itself: without the first apostrophe it is always what it was. (OWASP, CSV injection)
    """
    columns = {
        "world": pl.String,
        "arm": pl.String,
        "seed": pl.Int64,
        "index": pl.Int64,
        "seeker": pl.String,
        "target": pl.Int64,
        "success": pl.Boolean,
        "turns": pl.Int64,
        "item": pl.Int64,
        "rank": pl.Int64,
        "left": pl.Boolean,
        "mentioned_before": pl.String,
        **{metric.name: pl.Float64 for metric in METRICS},
        **{f"{act}s": pl.Int64 for act in _ACTS},
        "strategies": pl.Int64,
        **_COUNTED,
        "drifted": pl.Boolean,
        "behaviours": pl.Int64,
    }
    rows = (_of_dialogue(world, line) for line in traces)
    guarded = [{name: _no_formula(value) for name, value in row.items()} for row in rows]
    return pl.DataFrame(guarded, schema=columns).write_csv()


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _of_dialogue(world: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """A dialogue as a row."""
    outcome, counted = line["outcome"], gist(line)
    acts = Counter(turn["decision"]["act"] for turn in line["turns"])
    seeker = counted["seeker"]
    return {
        "world": world,
        "arm": line["arm"],
        "seed": line["seed"],
        "index": line["index"],
        "seeker": str(line["seeker"]),
        "target": line["target"],
        "success": outcome["success"],
        "turns": len(line["turns"]),
        "item": outcome["item"],
        "rank": outcome["rank"],
        "left": outcome["left"],
        "mentioned_before": outcome.get("mentioned_before"),
        **{metric.name: line["metrics"].get(metric.name) for metric in METRICS},
        **{f"{act}s": acts[act] for act in _ACTS},
        "strategies": len({turn["decision"]["strategy"] for turn in line["turns"]}),
        **{name: counted[name] for name in _COUNTED},
        "drifted": seeker.drifted if seeker.tracked else None,
        "behaviours": sum(len(turn["reply"].get("behaviours", ())) for turn in line["turns"]),
    }


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """The tables of a comparison.

    Args:
        found: ``results.json``.
    """
    yield _means(found)
    first = next(iter(found["arms"]))
    for other in found["arms"]:
        rows = [row for row in found["comparisons"] if (row["a"], row["b"]) == (first, other)]
        if rows:
            yield _differences(first, other, rows)
    yield _costs(found)
    if "budgets" in found:
        yield _budgets(found)


def _means(found: Mapping[str, Any]) -> Table:
    """Each arm's mean of each metric with its interval."""
    rows = []
    for metric in METRICS:
        cells = []
        for entry in found["arms"].values():
            ends, n = entry["ci95"].get(metric.name), entry["counts"].get(metric.name, 0)
            fewer = "" if n == found["protocol"]["dialogues"] else f" (n = {n})"
            cells.append(_number(entry["metrics"].get(metric.name)) + _interval(ends) + fewer)
        if any(not cell.startswith(_NONE) for cell in cells):
            rows.append([metric.title, *cells])
    return Table(
        "results",
        f"{found['world']}: means over {found['protocol']['dialogues']} dialogues, with 95% intervals",
        ["metric", *found["arms"]],
        rows,
        found["rests_on"],
    )


def _differences(first: str, other: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Paired differences of two arms; those detected stand out, primary metrics come first."""
    by_metric = {row["metric"]: row for row in rows}
    known = [(metric, by_metric[metric.name]) for metric in METRICS if metric.name in by_metric]
    known.sort(key=lambda entry: not entry[1].get("primary"))
    body = [
        [
            metric.title + (" (primary)" if row.get("primary") else ""),
            f"{row['difference']:+.3f}",
            _interval(row["ci95"], "+").strip(),
            _p(row["p"]),
            _p(row.get("p_holm")),
            _number(row["effect"]["value"], "+.2f") if row.get("effect") else _NONE,
            str(row["dialogues"]),
        ]
        for metric, row in known
    ]
    return Table(
        f"differences-{other}",
        f"{first} minus {other}: paired differences",
        ["metric", "difference", "95% interval", "p", "p (Holm)", "Cohen's d_z", "dialogues"],
        body,
        "Marked: detected. p (Holm) is corrected for the number of primary metrics.",
        frozenset((place, 1) for place, (_, row) in enumerate(known) if detected(row)),
    )


def _costs(found: Mapping[str, Any]) -> Table:
    """What each arm cost; seconds are in ``timings.json``."""
    rows = []
    for cost in COSTS:
        values = [entry["cost"].get(cost.name) for entry in found["arms"].values()]
        if cost.name not in _TIMED and (cost.always or any(values)):
            rows.append([cost.title, *map(cost.shown, values)])
    return Table("costs", f"{found['world']}: costs", ["", *found["arms"]], rows)


def _budgets(found: Mapping[str, Any]) -> Table:
    """What each arm was given; what was not the same for all stands out."""
    titles = {quantity.name: quantity.title for quantity in QUANTITIES}
    rows = [
        [
            titles[row["name"]],
            *(_amount(value) for value in row["arms"].values()),
            "by construction" if row["by_construction"] else _EQUAL[row["equal"]],
        ]
        for row in found["budgets"]
    ]
    unequal = [place for place, row in enumerate(found["budgets"]) if row["equal"] is False]
    return Table(
        "budgets",
        f"{found['world']}: what each arm was given, mean over training seeds",
        ["", *found["arms"], "equal"],
        rows,
        marked=frozenset((place, len(rows[place]) - 1) for place in unequal),
    )


def _amount(value: float | None) -> str:
    """A budget: a whole number, or with one decimal."""
    return _NONE if value is None else f"{value:,.{0 if float(value).is_integer() else 1}f}"


def _number(value: float | None, form: str = ".3f") -> str:
    return _NONE if value is None else format(value, form)


def _interval(ends: Sequence[float] | None, sign: str = "") -> str:
    return "" if ends is None else f" [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]"


def _p(p: float | None) -> str:
    return _NONE if p is None else p_text(p).removeprefix("p ").removeprefix("= ")
