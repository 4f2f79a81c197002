"""Studies: the paper's experiments from end to end, and the tables and figures made of their runs."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import INTERACTIONS, ITEMS

from unicrs_rl.cli import main
from unicrs_rl.dialogue import Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.artifacts.base import Estimate, Finished
from unicrs_rl.experiments.artifacts.case import Case
from unicrs_rl.experiments.artifacts.frontier import Frontier
from unicrs_rl.experiments.artifacts.numbers import Numbers
from unicrs_rl.experiments.artifacts.strategies import counted, undecided
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.shipped import studies
from unicrs_rl.experiments.statistics import entropy, interval_of_total
from unicrs_rl.experiments.study import StudyFolder, plan_study, run_study

PAPER = ("rso-ablation", "rso-case", "rso-main", "rso-scale", "rso-strategies")
OURS = ("grid", "head-to-head", "proactive", "rapport", "transfer")
ARMS = ("max-entropy", "greedy", "random")
STUDY = """
title = "Rules"
about = "Rules that learn nothing, on a small catalogue."

[settings]
world = "WORLD"
arms = ["max-entropy", "greedy", "random"]
dialogues = 8
seeds = [0]
recommend_above = 0.3
embeddings = { epochs = 1 }

[[run]]
name = "patient"
label = "many turns"

[[run]]
name = "hasty"
label = "few turns"
[run.settings]
limit = 3

[[artifact]]
kind = "numbers"
name = "numbers"
title = "Numbers"
run = "patient"
arms = ["max-entropy", "greedy", "random"]
metrics = ["sr@15", "at", "wi", "dist2_corpus"]
labels = { "greedy" = "the greedy one" }

[[artifact]]
kind = "strategies"
name = "strategies"
title = "Strategies"
run = "patient"
arms = ["max-entropy", "random"]

[[artifact]]
kind = "scale"
name = "scale"
title = "Patience"
size = "turns allowed"
runs = ["hasty", "patient"]
arms = ["max-entropy", "greedy"]
metrics = ["sr@15", "cred"]

[[artifact]]
kind = "ablation"
name = "ablation"
title = "Without thought"
run = "patient"
whole = "max-entropy"
without = { "questions" = "greedy", "any thought" = "random" }
metrics = ["sr@15", "at"]

[[artifact]]
kind = "case"
name = "case"
title = "A conversation"
run = "patient"
arms = ["max-entropy", "random"]
by = "at"
"""
TINY = """
recommend_above = 0.3
dialogues = 6
train_dialogues = 16
seeds = [0]
embeddings = { epochs = 1 }
[arm.rso]
width = 32
warm_up_epochs = 1
"""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small catalogue of the fixture ``bistros``, once for all tests."""
    root = tmp_path_factory.mktemp("bistros")
    (root / "items.csv").write_text(ITEMS)
    (root / "interactions.csv").write_text(INTERACTIONS)
    return root


@pytest.fixture
def small(tmp_path: Path, catalogue: Path) -> Path:
    """The file of a study of rules, which takes seconds."""
    file = tmp_path / "small.toml"
    file.write_text(STUDY.replace("WORLD", str(catalogue)))
    return file


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, catalogue: Path) -> Path:
    """The folder of that study, to be copied."""
    root = tmp_path_factory.mktemp("studies")
    (root / "small.toml").write_text(STUDY.replace("WORLD", str(catalogue)))
    run_study(plan_study(str(root / "small.toml"), {}), root / "out")
    return root / "out"


@pytest.fixture
def finished(tmp_path: Path, done: Path) -> Path:
    """A finished study to do things to."""
    shutil.copytree(done, tmp_path / "out")
    return tmp_path / "out"


def products(out: Path) -> dict[str, bytes]:
    """What a study makes of its runs, but for the report, which tells seconds."""
    files = [out / "results.json", *(out / "tables").iterdir(), *(out / "figures").iterdir()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def rows(out: Path, table: str) -> list[dict[str, str]]:
    with (out / "tables" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def written(value: Any) -> str:
    """A value of ``results.json`` as a CSV file has it."""
    return "" if value is None else str(value)


def check_products(out: Path) -> dict[str, Any]:
    """Tables say what ``results.json`` says, all files are there, and the report needs nothing else."""
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    page = (out / "report.html").read_text()
    tables, figures = set(), set()
    for artifact in found["artifacts"].values():
        for name, said in artifact["tables"].items():
            assert said, name
            assert rows(out, name) == [{key: written(value) for key, value in row.items()} for row in said]
            text = (out / "tables" / f"{name}.md").read_text()
            lines = [line for line in text.splitlines() if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
            tables |= {f"{name}.csv", f"{name}.md"}
        for name, caption in artifact["figures"].items():
            assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
            assert "n = " in caption or "dialogue" in caption.casefold()
            figures.add(f"{name}.png")
    assert {path.name for path in (out / "tables").iterdir()} == tables
    assert {path.name for path in (out / "figures").iterdir()} == figures
    assert page.count("data:image/png;base64,") == len(figures)
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    return found


def test_the_papers_experiments_are_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert studies.names() == tuple(sorted((*PAPER, *OURS)))
    for arguments in (["study"], ["study", "--list"], ["study", "list"]):
        assert main(arguments) == 0
        listed = capsys.readouterr().out
        assert all(name in listed for name in (*PAPER, *OURS))
    assert main(["study", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)["studies"]] == list(
        studies.names()
    )


@pytest.mark.parametrize("name", OURS)
def test_our_studies_declare_what_decides_and_can_be_run(name: str) -> None:
    plan = plan_study(name, {})
    assert plan.study.about
    if name != "transfer":  # its verdict is its own artifact's
        assert "statistics" in studies.read(name)["settings"]


def test_a_study_goes_on_from_its_folder_or_from_nothing_but_the_word(
    capsys: pytest.CaptureFixture[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = products(finished)
    (finished / "results.json").unlink()
    assert main(["study", "resume", str(finished), "--json"]) == 0
    assert products(finished) == before
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    shutil.move(finished, tmp_path / "runs" / "mine")
    assert main(["study", "resume"]) == 2
    assert "no unfinished study in runs" in capsys.readouterr().err
    (tmp_path / "runs" / "mine" / "results.json").unlink()
    assert main(["study", "resume", "--json"]) == 0
    assert products(tmp_path / "runs" / "mine") == before
    (tmp_path / "runs" / "mine" / "results.json").unlink()
    shutil.copytree(tmp_path / "runs" / "mine", tmp_path / "runs" / "other")
    capsys.readouterr()
    assert main(["study", "resume"]) == 2
    assert "several unfinished studies (runs/mine, runs/other)" in capsys.readouterr().err


def test_a_study_and_a_run_are_the_same_bytes_from_their_folders(finished: Path, tmp_path: Path) -> None:
    again = plan_study(str(finished / "study.toml"), {})
    run_study(again, tmp_path / "again")
    assert products(tmp_path / "again") == products(finished)
    run = finished / "runs" / "hasty"
    arguments = ["--config", str(run / "config.toml"), "--out", str(tmp_path / "run"), "--workers", "1"]
    assert main(["compare", *arguments, "--json"]) == 0
    assert (tmp_path / "run" / "results.json").read_bytes() == (run / "results.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_a_study_of_the_paper_from_end_to_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    assert main(["study", name, "--config", "tiny.toml", "--workers", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    out = Path("runs") / name
    assert check_products(out) == printed
    for run in printed["runs"]:
        report = out / "runs" / run / "report.html"
        report.unlink()
        assert main(["report", str(out / "runs" / run)]) == 0
        assert report.is_file()
    before = products(out)
    shutil.rmtree(out / "tables")
    assert main(["study", name, "--config", "tiny.toml", "--workers", "1", "--resume"]) == 0
    assert products(out) == before


def test_everything_is_made_from_the_run_folders(finished: Path, small: Path) -> None:
    check_products(finished)
    before = products(finished)
    runs = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/traces.jsonl")}
    assert len(runs) == 2
    shutil.rmtree(finished / "tables")
    shutil.rmtree(finished / "figures")
    (finished / "results.json").unlink()
    (finished / "report.html").unlink()
    run_study(plan_study(str(small), {}), finished, "resume")
    assert products(finished) == before
    assert {path: path.stat().st_mtime_ns for path in runs} == runs
    check_products(finished)


def test_means_and_differences_are_those_of_the_run(finished: Path) -> None:
    run = json.loads((finished / "runs" / "patient" / "results.json").read_text())
    means = rows(finished, "numbers")
    assert [(row["arm"], row["metric"]) for row in means] == [
        (arm, metric) for arm in ARMS for metric in ("sr@15", "at", "wi", "dist2_corpus")
    ]
    for row in means:
        entry = run["arms"][row["arm"]]
        assert row["mean"] == written(entry["metrics"][row["metric"]])
        low, high = entry["ci95"].get(row["metric"]) or (None, None)
        assert (row["low"], row["high"]) == (written(low), written(high))
    best = min(ARMS, key=lambda arm: run["arms"][arm]["metrics"]["at"])
    marked = [row["arm"] for row in means if row["metric"] == "at" and row["best"] == "True"]
    assert best in marked
    assert len(marked) < len(ARMS)
    comparisons = {(row["a"], row["b"], row["metric"]): row for row in run["comparisons"]}
    forward = rows(finished, "numbers-differences")
    assert {(row["arm"], row["minus"]) for row in forward} == {
        ("max-entropy", "greedy"),
        ("max-entropy", "random"),
    }
    for row in forward:
        known = comparisons[row["arm"], row["minus"], row["metric"]]
        assert float(row["difference"]) == known["difference"]
        assert [float(row["low"]), float(row["high"])] == known["ci95"]
    for row in rows(finished, "ablation"):  # the other way round: without minus with
        known = comparisons[row["minus"], row["arm"], row["metric"]]
        assert float(row["difference"]) == -known["difference"]
        assert [float(row["low"]), float(row["high"])] == [-known["ci95"][1], -known["ci95"][0]]
        assert (float(row["p"]), int(row["n"])) == (known["p"], known["dialogues"])
    page = (finished / "report.html").read_text()
    assert "the greedy one" in page
    assert "the greedy one" in (finished / "tables" / "numbers.md").read_text()


def test_each_point_of_a_scale_is_from_its_run(finished: Path) -> None:
    for row in rows(finished, "scale"):
        run = json.loads((finished / "runs" / row["run"] / "results.json").read_text())
        assert row["mean"] == written(run["arms"][row["arm"]]["metrics"][row["metric"]])
        assert row["size"] == {"hasty": "few turns", "patient": "many turns"}[row["run"]]


def test_the_case_is_the_median_one(finished: Path) -> None:
    lines = [
        json.loads(line) for line in (finished / "runs" / "patient" / "traces.jsonl").read_text().splitlines()
    ]
    value = {(line["arm"], line["index"]): line["metrics"]["at"] for line in lines}
    gaps = sorted((value["max-entropy", i] - value["random", i], i) for i in range(8))
    shown = rows(finished, "case")
    assert {int(row["dialogue"]) for row in shown} == {gaps[3][1]}
    assert {row["arm"] for row in shown} == {"max-entropy", "random"}
    line = next(x for x in lines if (x["arm"], x["index"]) == ("random", gaps[3][1]))
    said = [row["recommender"] for row in shown if row["arm"] == "random"]
    assert said == ["", *(turn["utterance"] for turn in line["turns"])]
    assert "median gap" in (finished / "tables" / "case.md").read_text()


def test_of_unjudged_dialogues_the_first_is_shown() -> None:
    case = Case(kind="case", name="case", title="", run="r", arms=("a", "b"))
    index, why = case._chosen({3: {"a": 1.0}})
    assert index == 0
    assert "in none" in why
    values = {i: {"a": float(gap), "b": 0.0} for i, gap in enumerate((5, 1, 3, 3, 9))}
    assert case._chosen(values)[0] == 3  # gaps 1 3 3 5 9: the third, of equal ones the later dialogue


def talk(index: int, *strategies: Strategy) -> dict[str, Any]:
    return {"index": index, "turns": [{"decision": {"strategy": s.value}} for s in strategies]}


def test_turns_are_counted_where_they_are_in_their_dialogue() -> None:
    a, b = Strategy.CREDIBILITY, Strategy.SIMILARITY
    counts = counted([talk(0, a, a, b, b), talk(1, a), talk(1, b, a), talk(2, a, b, a)], dialogues=4, bins=4)
    of_a, of_b = counts[:, :, a.position], counts[:, :, b.position]
    assert of_a[0].tolist() == [1, 1, 0, 0]
    assert of_b[0].tolist() == [0, 0, 1, 1]
    assert of_a[1].tolist() == [0, 0, 1, 1]  # alone: in the middle; the later of two: at three quarters
    assert of_b[1].tolist() == [0, 1, 0, 0]
    assert of_a[2].tolist() == [1, 0, 0, 1]  # at 1/6, 1/2 and 5/6
    assert of_b[2].tolist() == [0, 0, 1, 0]
    assert counts.sum() == 4 + 1 + 2 + 3


def test_how_undecided_a_planner_was_by_hand() -> None:
    a = Strategy.CREDIBILITY
    one, other, silent = talk(0, a, a), talk(0, a, a), talk(1, a)
    for line, told in ((one, (1.0, 2.0)), (other, (3.0, 0.0)), (silent, (None,))):
        for turn, entropy_told in zip(line["turns"], told, strict=True):
            turn["scores"] = {} if entropy_told is None else {"entropy": entropy_told}
    found = undecided([one, other, silent], dialogues=2, bins=2)
    np.testing.assert_array_equal(found, [[2.0, 1.0, 1.5], [np.nan] * 3])


def test_entropy_by_hand() -> None:
    counts = np.array([[1.0, 1.0, 0.0], [3.0, 1.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    by_hand = [math.log(2), -0.75 * math.log(0.75) - 0.25 * math.log(0.25), 0.0, math.nan, math.log(3)]
    np.testing.assert_allclose(entropy(counts), by_hand, rtol=1e-12)


def test_the_interval_of_an_entropy_holds_it_and_knows_when_there_is_none() -> None:
    rng = np.random.default_rng(0)
    rows_of = rng.multinomial(5, (0.5, 0.3, 0.2), size=200).astype(float)
    low, high = interval_of_total(rows_of, entropy) or (math.nan, math.nan)
    truth = -sum(p * math.log(p) for p in (0.5, 0.3, 0.2))
    assert low < truth < high < math.log(3)
    assert high - low < 0.15
    assert interval_of_total(rows_of[:1], entropy) is None
    assert interval_of_total(np.zeros((9, 3)), entropy) is None
    assert interval_of_total(np.ones((9, 3)), entropy) == pytest.approx((math.log(3), math.log(3)))


def test_strategies_and_entropies_in_a_study(finished: Path) -> None:
    shares = rows(finished, "strategies")
    for arm in ("max-entropy", "random"):
        for progress in ("0–25%", "25–50%", "50–75%", "75–100%", "overall"):
            mine = [row for row in shares if (row["arm"], row["progress"]) == (arm, progress)]
            if int(mine[0]["of_turns"]):
                assert sum(float(row["share"]) for row in mine) == pytest.approx(1, abs=1e-5)
                p = [float(row["share"]) for row in mine if float(row["share"])]
                stated = next(
                    float(row["entropy"])
                    for row in rows(finished, "strategies-entropy")
                    if (row["arm"], row["progress"]) == (arm, progress)
                )
                assert stated == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-4)


def test_a_frontier_pairs_runs_by_dialogue(finished: Path) -> None:
    runs = {}
    for name in ("hasty", "patient"):
        folder = RunFolder(finished / "runs" / name)
        runs[name] = Finished(name, name, folder, json.loads(folder.results.read_text()))
    frontier = Frontier(
        kind="frontier",
        name="f",
        title="F",
        runs=("hasty", "patient"),
        along="turns allowed",
        arms=("max-entropy", "random"),
        task="sr@15",
        other="at",
    )
    made = frontier.make(runs)
    means, gaps = made.tables
    assert made.pictures[0].png.startswith(b"\x89PNG")
    for row in means.rows:
        assert row["mean"] == runs[str(row["run"])].found["arms"][row["arm"]]["metrics"][row["metric"]]
    values = {
        name: {
            line["index"]: line["metrics"]["at"]
            for line in run.folder.read_traces()
            if line["arm"] == "random"
        }
        for name, run in runs.items()
    }
    by_hand = np.mean([values["patient"][index] - values["hasty"][index] for index in range(8)])
    (row,) = [row for row in gaps.rows if (row["arm"], row["metric"]) == ("random", "at")]
    assert row["difference"] == pytest.approx(by_hand, abs=1e-6)
    assert [finding.partition(":")[0] for finding in made.findings] == ["max-entropy", "random"]
    assert all("trade-off" in finding for finding in made.findings)


@pytest.mark.parametrize(
    ("task", "other", "says"),
    [
        ((0.1, 0.05, 0.2), (-0.2, -0.3, -0.1), "a trade-off ("),
        ((0.1, 0.05, 0.2), (0.2, 0.1, 0.3), "both rise together, no trade-off ("),
        ((-0.1, -0.2, -0.05), (-0.2, -0.3, -0.1), "both suffer together, no trade-off ("),
        ((0.1, 0.05, 0.2), (0.2, -0.1, 0.3), "only SR@15 changes, so no trade-off is detected ("),
        ((0.0, -0.1, 0.1), (0.2, -0.1, 0.3), "nothing changes that is detected"),
        (None, (0.2, -0.1, 0.3), "too few dialogues"),
    ],
)
def test_what_a_trade_off_is(
    finished: Path, task: tuple[float, ...] | None, other: tuple[float, ...], says: str
) -> None:
    folder = RunFolder(finished / "runs" / "patient")
    run = Finished("r", "r", folder, json.loads(folder.results.read_text()))
    frontier = Frontier(kind="frontier", name="f", title="F", runs=("r", "s"), along="x", arms=("a",))
    gaps = {
        ("a", "sr@15"): Estimate(None, None, None, 0) if task is None else Estimate(*task, 9, p=0.01),
        ("a", "rapport"): Estimate(*other, 9, p=0.01),
    }
    assert frontier._finding("a", [run, run], gaps).startswith(f"a: {says}")


def test_what_no_dialogue_has_is_missing(finished: Path) -> None:
    folder = RunFolder(finished / "runs" / "patient")
    found = json.loads(folder.results.read_text())
    for entry in found["arms"].values():
        entry["metrics"]["judge"], entry["ci95"]["judge"], entry["counts"]["judge"] = None, None, 0
    found["comparisons"] = [row for row in found["comparisons"] if row["metric"] != "judge"]
    run = Finished("r", "r", folder, found)
    numbers = Numbers(kind="numbers", name="n", title="N", run="r", arms=ARMS[:2], metrics=("judge", "at"))
    made = numbers.make({"r": run})
    means, gaps = made.tables
    assert means.markdown.count("missing n = 0") == 2
    assert "missing n = 0" in gaps.markdown
    assert [row["mean"] for row in means.rows if row["metric"] == "judge"] == [None, None]
    assert not any(row["best"] for row in means.rows if row["metric"] == "judge")
    assert made.pictures[0].png.startswith(b"\x89PNG")


def test_a_difference_is_detected_by_interval_and_p() -> None:
    assert Estimate(0.2, 0.1, 0.3, 9, p=0.01).detected
    assert not Estimate(0.2, 0.1, 0.3, 9, p=0.06).detected
    assert not Estimate(0.2, -0.1, 0.3, 9, p=0.01).detected
    assert not Estimate(None, None, None, 0).detected


def test_a_resolved_study_is_a_study(finished: Path, small: Path) -> None:
    again = plan_study(str(finished / "study.toml"), {})
    assert again.configs == plan_study(str(small), {}).configs
    assert again.toml() == (finished / "study.toml").read_text()


def test_the_documented_study_can_be_run(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "studies.md").read_text("utf-8")
    file = tmp_path / "own.toml"
    file.write_text(re.findall(r"^```toml\n(.*?)^```", page, re.S | re.M)[-1])
    plan = plan_study(str(file), {})
    assert [config.limit for config in plan.configs.values()] == [15, 5]
    assert all(name in page for name in PAPER)


def test_options_win_over_the_study_and_a_run_over_its_study(small: Path, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("dialogues = 5\nslate = 2\n")
    plan = plan_study(str(small), {"dialogues": 3}, config)
    assert [run.dialogues for run in plan.configs.values()] == [3, 3]
    assert [run.slate for run in plan.configs.values()] == [2, 2]
    assert [run.limit for run in plan.configs.values()] == [15, 3]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('title = "Rules"', "title = ", "not valid TOML"),
        ('title = "Rules"', "", "title: is missing"),
        ('title = "Rules"', 'titel = "Rules"\ntitle = ""', "unknown key 'titel'; did you mean title"),
        ('label = "few turns"', 'lable = "few"', "run 2: unknown key 'lable'; did you mean label"),
        ("limit = 3", "limits = 3", "run 'hasty': unknown setting 'limits'; did you mean limit"),
        ("limit = 3", "limit = 0", "run 'hasty': limit: must be at least 1 (it is 0)"),
        ("dialogues = 8", 'dialogues = "many"', "run 'patient': dialogues: must be a whole number"),
        ('name = "hasty"', 'name = "patient"', "two runs are called 'patient'"),
        ('name = "hasty"', 'name = "../hasty"', "run 2: name: must be small letters"),
        ('kind = "scale"', 'kind = "scales"', "artifact 3: unknown kind of artifact 'scales'; did you mean"),
        ('kind = "scale"\n', "", "artifact 3: kind is missing"),
        ('size = "turns allowed"', 'sizes = ""\nsize = ""', "artifact 3: unknown key 'sizes'; did you mean"),
        ('name = "case"', 'name = "scale"', "artifact 'scale': another artifact has this name"),
        ('runs = ["hasty", "patient"]', 'runs = ["hsty"]', "'scale': unknown run 'hsty'; did you mean hasty"),
        ('whole = "max-entropy"', 'whole = "max-entrop"', "has no such arm: unknown arm 'max-entrop'"),
        ('["sr@15", "cred"]', '["sr@15", "credd"]', "'scale': unknown metric 'credd'; did you mean cred"),
        ('by = "at"', 'by = "att"', "artifact 'case': unknown metric 'att'; did you mean at"),
        ('{ "greedy" =', '{ "gredy" =', "labels: unknown arm 'gredy'; did you mean greedy"),
        ("dialogues = 8", 'dialogues = 8\nsurface = "semantic"\nuser = "mcr"', "surface"),
        ("dialogues = 8", 'dialogues = 8\ncorpus = "/no/such/place"', "/no/such/place"),
    ],
)
def test_a_wrong_study_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path, old: str, new: str, says: str
) -> None:
    content = small.read_text()
    assert old in content
    small.write_text(content.replace(old, new, 1))
    out = tmp_path / "out"
    assert main(["study", str(small), "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("rso-mian",), "unknown study 'rso-mian'; did you mean rso-main"),
        (("rso-main", "--dialogues", "0"), "--dialogues: must be at least 1 (it is 0)"),
        (("rso-main", "--world", "movie"), "did you mean movies"),
        (("rso-main", "--resume", "--force"), "exclude"),
        (("rso-main", "--workers", "0"), "workers"),
        (("nowhere.toml",), "nowhere.toml: No such file"),
    ],
)
def test_wrong_use_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_changed_study_is_not_resumed(finished: Path, small: Path) -> None:
    content = small.read_text()
    for old, new, says in (
        ("limit = 3", "limit = 4", "another 'limit' in run 'hasty'"),
        ('title = "Patience"', 'title = "Haste"', "another 'artifact'"),
        ('"patient"', '"slow"', "another run 'patient'"),
    ):
        small.write_text(content.replace(old, new))
        with pytest.raises(InputError, match=says):
            run_study(plan_study(str(small), {}), finished, "resume")
    small.write_text(content)
    with pytest.raises(InputError, match="exists already; --resume"):
        run_study(plan_study(str(small), {}), finished)


def test_force_replaces_what_studies_wrote_and_nothing_else(finished: Path, small: Path) -> None:
    before = products(finished)
    mine = finished / "runs" / "patient" / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"no study wrote 'runs/patient/notes\.txt'"):
        run_study(plan_study(str(small), {}), finished, "force")
    assert products(finished) == before
    mine.unlink()
    small.write_text(small.read_text().replace('"hasty"', '"quick"'))
    run_study(plan_study(str(small), {}), finished, "force")
    assert {path.name for path in (finished / "runs").iterdir()} == {"patient", "quick"}
    check_products(finished)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, small: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "study.toml").write_text('title = "my thesis"\n')
    for existing in ("refuse", "resume", "force"):
        with pytest.raises(InputError, match="not the folder of a study"):
            run_study(plan_study(str(small), {}), other, existing)
    assert [path.name for path in other.iterdir()] == ["study.toml"]


def test_two_studies_cannot_write_to_one_folder(finished: Path, small: Path) -> None:
    with StudyFolder(finished).locked(), pytest.raises(InputError, match="another study is writing"):
        run_study(plan_study(str(small), {}), finished, "resume")


def test_a_judge_that_never_answers_ends_with_3(
    capsys: pytest.CaptureFixture[str], finished: Path, small: Path
) -> None:
    results = finished / "runs" / "patient" / "results.json"
    found = json.loads(results.read_text())
    entry = found["arms"]["random"]
    entry["metrics"]["judge"], entry["ci95"]["judge"], entry["counts"]["judge"] = None, None, 0
    entry["unscored"] = {"dialogues": 8, "of": 8, "commonest": "no JSON"}
    results.write_text(json.dumps(found))
    assert main(["study", str(small), "--out", str(finished), "--resume", "--json"]) == 3
    assert "the judge scored no dialogue of random" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["runs/patient/parts/greedy-seed0.jsonl", "runs/hasty/config.toml"])
def test_a_killed_study_goes_on_to_the_same_tables(
    finished: Path, small: Path, tmp_path: Path, condition: str
) -> None:
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "unicrs_rl.cli",
        "study",
        str(small),
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(6000):
        if any(path.stat().st_size for path in out.glob(condition)) or process.poll() is not None:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists(), "the study ended before it could be killed"
    assert subprocess.run([*command, "--resume"], capture_output=True, check=False).returncode == 0
    assert products(out) == products(finished)
