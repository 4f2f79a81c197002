"""What a comparison leaves for other tools: rows of dialogues, and tables in Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.exports import Table, dialogues_csv, tables
from unicrs_rl.experiments.run_folder import OF_RUN, OF_STUDY
from unicrs_rl.experiments.verdict import detected
from unicrs_rl.judging.metrics import METRICS, RESERVED

SETTINGS: dict[str, Any] = {
    "arms": "max-entropy,greedy",
    "dialogues": 10,
    "embeddings": {"dim": 4, "epochs": 1},
    "recommend_above": 0.3,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "rules"
    compare(resolve(SETTINGS), out)
    return out


@pytest.fixture(scope="module")
def found(finished: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((finished / "results.json").read_text())
    return read


def exported(run: Path) -> dict[str, bytes]:
    paths = [run / "dialogues.csv", *sorted((run / "tables").iterdir())]
    return {path.name: path.read_bytes() for path in paths}


def test_there_is_a_row_for_each_dialogue(finished: Path, found: dict[str, Any]) -> None:
    frame = pl.read_csv(finished / "dialogues.csv", infer_schema_length=None)
    lines = [json.loads(line) for line in (finished / "traces.jsonl").read_text().splitlines()]
    assert len(frame) == len(lines) == 20
    for row, line in zip(frame.iter_rows(named=True), lines, strict=True):
        assert (row["arm"], row["seed"], row["index"]) == (line["arm"], line["seed"], line["index"])
        assert row["world"] == found["world"]
        assert (row["seeker"], row["target"]) == (line["seeker"], line["target"])
        assert row["success"] == line["outcome"]["success"]
        assert row["rank"] == line["outcome"]["rank"]
        assert row["mentioned_before"] == line["outcome"]["mentioned_before"]
        assert row["turns"] == len(line["turns"]) == row["asks"] + row["recommends"] + row["chats"]
        assert row["calls"] == sum(len(turn["calls"]) for turn in line["turns"])
        assert row["strategies"] == len({turn["decision"]["strategy"] for turn in line["turns"]})
        assert row["drifted"] == any(turn["reply"]["drift"] for turn in line["turns"])


def test_the_means_of_its_columns_are_the_results(finished: Path, found: dict[str, Any]) -> None:
    frame = pl.read_csv(finished / "dialogues.csv", infer_schema_length=None)
    for arm, entry in found["arms"].items():
        some = frame.filter(pl.col("arm") == arm)
        for metric in METRICS:
            column = some[metric.name].drop_nulls()
            assert len(column) == entry["counts"][metric.name]
            if len(column):
                assert column.mean() == pytest.approx(entry["metrics"][metric.name], abs=1e-6)
        assert some["calls"].mean() == pytest.approx(entry["cost"]["lm_calls_per_dialogue"], abs=1e-6)
        assert some["tokens"].mean() == pytest.approx(entry["cost"]["tokens_per_dialogue"], abs=1e-6)


def test_no_metric_can_be_called_as_another_column_is(finished: Path, found: dict[str, Any]) -> None:
    names = {metric.name for metric in METRICS}
    columns = pl.read_csv(finished / "dialogues.csv").columns
    assert len(set(columns)) == len(columns)
    assert set(columns) - names <= RESERVED
    for arm in found["arms"].values():
        assert set(arm["metrics"]) - names <= RESERVED
    assert not names & RESERVED


def cells(markdown: str) -> tuple[str, list[list[str]]]:
    """Title and table of a Markdown file as it is rendered, marks left out."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)

    def text(token: Token) -> str:
        return "".join(child.content for child in token.children or ())

    title = next(text(tokens[i + 1]) for i, token in enumerate(tokens) if token.type == "heading_open")
    rows: list[list[str]] = []
    for i, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(text(tokens[i + 1]))
    return title, rows


def test_markdown_tables_render_to_what_they_hold(finished: Path, found: dict[str, Any]) -> None:
    made = {table.name: table for table in tables(found)}
    assert set(made) == {"results", "differences-greedy", "costs", "budgets"}
    for name, table in made.items():
        title, rows = cells((finished / "tables" / f"{name}.md").read_text())
        assert title == table.title
        assert rows == [list(table.head), *map(list, table.rows)]
    shown = dict(zip(made["results"].head, made["results"].rows[0], strict=True))
    low, high = found["arms"]["greedy"]["ci95"]["sr@5"]
    mean = found["arms"]["greedy"]["metrics"]["sr@5"]
    assert shown["greedy"] == f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def test_differences_are_those_of_the_results(found: dict[str, Any]) -> None:
    table = next(table for table in tables(found) if table.name == "differences-greedy")
    rows = {row["metric"]: row for row in found["comparisons"]}
    titles = {metric.title: metric.name for metric in METRICS}
    assert len(table.rows) == len(rows)
    assert table.rows[0][0] == "SR@15 (primary)"
    for place, cells_ in enumerate(table.rows):
        row = rows[titles[cells_[0].removesuffix(" (primary)")]]
        assert cells_[1] == f"{row['difference']:+.3f}"
        assert cells_[0].endswith(" (primary)") == row["primary"]
        assert (cells_[4] == "–") == (row["p_holm"] is None)
        assert ((place, 1) in table.marked) == detected(row)


def test_unequal_budgets_stand_out(found: dict[str, Any]) -> None:
    unequal = {"parameters", "lm_tokens"}
    doctored = [
        row | {"equal": row["name"] not in unequal, "by_construction": False} for row in found["budgets"]
    ]
    table = next(table for table in tables(found | {"budgets": doctored}) if table.name == "budgets")
    last = len(table.head) - 1
    names = [row["name"] for row in doctored]
    assert {(names[place], column) for place, column in table.marked} == {(name, last) for name in unequal}
    assert [row[last] for row in table.rows].count("no") == 2
    calls = table.rows[names.index("lm_calls")]
    assert [float(cell) for cell in calls[1:last]] == pytest.approx(
        [entry["cost"]["lm_calls_per_dialogue"] for entry in found["arms"].values()], abs=0.05
    )


def test_results_of_earlier_versions_still_make_tables(found: dict[str, Any]) -> None:
    """Without corrected p-values, effect sizes and metrics that came later."""
    new = {"p_holm", "p_permutation", "primary", "effect", "covers_seeds", "looks"}
    old = found | {
        "comparisons": [{k: v for k, v in row.items() if k not in new} for row in found["comparisons"]]
    }
    del old["budgets"]
    made = {table.name: table for table in tables(old)}
    assert "budgets" not in made
    assert {row[4] for row in made["differences-greedy"].rows} == {"–"}


NASTY = Table(
    "nasty",
    "50% of {a_b} & c # d ~ e ^ f \\ g <h> $i$",
    ["what", "a_b & c", "50%"],
    [["[x] *y*", "-0.5 [-1.0, +2.0]", "< 0.001"], ["`code` | bar", "a-b", "1–2"]],
    "Note: 100% of $5 & more_or_less.",
    frozenset({(0, 1)}),
)


def test_markdown_is_escaped() -> None:
    title, rows = cells(NASTY.markdown)
    assert title == NASTY.title
    assert rows == [list(NASTY.head), *map(list, NASTY.rows)]
    assert "**-0.5" in NASTY.markdown


def latex_problems(text: str) -> list[str]:
    """What LaTeX would complain of: environments, braces, columns, signs that mean something."""
    problems, open_ones, depth = [], [], 0
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            open_ones.append(name)
        elif not open_ones or open_ones.pop() != name:
            problems.append(f"end of {name}")
    problems += [f"{name} is left open" for name in open_ones]
    plain = re.sub(r"\\[\\&%$#_{}]", "", body)  # escaped signs, and line breaks
    for sign in plain:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth < 0:
            problems.append("a closing brace too many")
    problems += ["braces are left open"] * (depth != 0)
    problems += [f"bare {sign}" for sign in re.findall(r"[%#^~_]", re.sub(r"\\label\{.*?\}", "", plain))]
    if plain.count("$") % 2:
        problems.append("a formula is left open")
    columns = re.search(r"\\begin\{tabular\}\{([lcr]+)\}", body)
    rows = re.findall(r"^(.*) \\\\$", body, flags=re.MULTILINE)
    if columns is None or not rows:
        return [*problems, "no table"]
    width = len(columns[1])
    problems += [f"row {row!r}" for row in rows if len(re.findall(r"(?<!\\)&", row)) != width - 1]
    problems += [f"row {row!r} begins with an option" for row in rows if row.startswith(("[", "*"))]
    return problems


def test_latex_tables_are_sound(finished: Path) -> None:
    files = sorted((finished / "tables").glob("*.tex"))
    assert [path.stem for path in files] == ["budgets", "costs", "differences-greedy", "results"]
    for path in files:
        text = path.read_text()
        assert latex_problems(text) == []
        assert text.endswith("\\end{table}\n")
        for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert text.count(rule) == 1


def test_latex_is_escaped() -> None:
    text = NASTY.latex
    assert latex_problems(text) == []
    assert r"\caption{50\% of \{a\_b\} \& c \# d \textasciitilde{} e \textasciicircum{} f" in text
    assert r"{}[x] *y* & \textbf{$-$0.5 [$-$1.0, +2.0]} & \textless{} 0.001 \\" in text
    assert "a-b" in text  # a hyphen is no minus


@pytest.mark.parametrize(
    "broken",
    [
        NASTY.latex.replace(r"\end{tabular}", ""),
        NASTY.latex.replace(r"\&", "&"),
        NASTY.latex.replace(r"\%", "%"),
        NASTY.latex.replace("textbf{", "textbf"),
        NASTY.latex.replace("{}[x]", "[x]"),
    ],
)
def test_the_check_finds_what_is_broken(broken: str) -> None:
    assert latex_problems(broken)


def test_report_makes_them_anew_with_the_same_bytes(finished: Path) -> None:
    before = exported(finished)
    (finished / "dialogues.csv").unlink()
    for path in (finished / "tables").iterdir():
        path.unlink()
    main(["report", str(finished)])
    assert exported(finished) == before


def test_the_same_settings_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    compare(resolve(SETTINGS), tmp_path / "again", batch_size=3)
    assert exported(tmp_path / "again") == exported(finished)


def test_a_finished_run_gets_back_what_a_kill_kept_from_it(finished: Path) -> None:
    before = exported(finished)
    (finished / "dialogues.csv").unlink()
    compare(resolve(SETTINGS), finished, existing="resume")
    assert exported(finished) == before


def test_they_are_replaced_with_the_run_and_nothing_else_is(tmp_path: Path) -> None:
    out = tmp_path / "run"
    compare(resolve(SETTINGS), out)
    chapter = out / "tables" / "chapter.tex"
    chapter.write_text("mine")
    with pytest.raises(InputError, match=re.escape("tables/chapter.tex")):
        compare(resolve(SETTINGS | {"dialogues": 4}), out, existing="force")
    chapter.unlink()
    compare(resolve(SETTINGS | {"dialogues": 4}), out, existing="force")
    assert len(pl.read_csv(out / "dialogues.csv")) == 8


def test_a_study_knows_them_in_its_runs() -> None:
    for name in ("dialogues.csv", "tables/", "tables/results.tex", "tables/differences-rso@sft.md"):
        assert name in OF_RUN
        assert f"runs/main/{name}" in OF_STUDY
    assert "tables/chapter.tex" not in OF_RUN
    assert "runs/main/tables/chapter.tex" not in OF_STUDY


def test_who_mentioned_the_accepted_item_is_a_column(finished: Path) -> None:
    line = json.loads((finished / "traces.jsonl").read_text().splitlines()[0])
    told = line | {"outcome": line["outcome"] | {"mentioned_before": "seeker"}}
    text = dialogues_csv("movies", [line, told])
    assert pl.read_csv(io.StringIO(text))["mentioned_before"].to_list() == [None, "seeker"]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=u19", "'=u19"),
        ('=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'),
        ("+1-555", "'+1-555"),
        ("-2+3", "'-2+3"),
        ("@sum", "'@sum"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        ("'=u19", "''=u19"),
        ("-5", "-5"),
        ("+0.25", "+0.25"),
        ("-5\n", "'-5\n"),
        ("u=19", "u=19"),
        ("", ""),
    ],
)
def test_a_text_is_no_formula(finished: Path, text: str, cell: str) -> None:
    line = json.loads((finished / "traces.jsonl").read_text().splitlines()[0])
    row = next(csv.DictReader(io.StringIO(dialogues_csv(text, [line | {"seeker": text}]), newline="")))
    assert (row["world"], row["seeker"]) == (cell, cell)


def test_numbers_below_zero_stay_numbers(finished: Path) -> None:
    line = json.loads((finished / "traces.jsonl").read_text().splitlines()[0])
    told = line | {"metrics": line["metrics"] | {"rapport": -0.5}, "seed": -1}
    row = next(csv.DictReader(io.StringIO(dialogues_csv("movies", [told]))))
    assert (row["rapport"], row["seed"]) == ("-0.5", "-1")
