"""How many dialogues and training seeds detect a difference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.power import Pilot, Question, ask, parse_differences
from unicrs_rl.experiments.statistics import (
    Components,
    compare_arms,
    components_of,
    detectable,
    needed,
    power,
)
from unicrs_rl.experiments.statistics.power import Trained

RULES = Components(dialogues=0.25, trained=(), share=1.0)
LEARNERS = Components(0.2, (Trained(0.02, 0.3, 3), Trained(0.02, 0.3, 3)), 1.0)


def test_power_of_rules_is_that_of_the_paired_t_test() -> None:
    assert power(RULES, 0.1, 200, 1, 0.05) == pytest.approx(TTestPower().power(0.2, 200, 0.05), abs=1e-3)
    found = needed(RULES, 0.1, 1, 0.05, 0.8)
    assert found == pytest.approx(TTestPower().solve_power(0.2, alpha=0.05, power=0.8), abs=1.5)


def test_power_is_what_simulated_comparisons_detect() -> None:
    """Dialogues by dialogues and training by training, through the comparison itself."""
    rng = np.random.default_rng(0)
    difference, seeds, dialogues, trials = 0.45, 3, 40, 400
    detected = 0
    for _ in range(trials):
        shared = rng.standard_normal(dialogues)
        a, b = (
            shared
            + np.sqrt(0.02) * rng.standard_normal((seeds, 1))
            + np.sqrt(0.1) * rng.standard_normal(dialogues)
            + np.sqrt(0.3) * rng.standard_normal((seeds, dialogues))
            for _ in range(2)
        )
        found = compare_arms(a + difference, b)
        assert found is not None
        detected += found.p < 0.05
    predicted = power(LEARNERS, difference, dialogues, seeds, 0.05)
    assert 0.3 < predicted < 0.9  # or nothing would be shown
    error = np.sqrt(predicted * (1 - predicted) / trials)
    assert detected / trials == pytest.approx(predicted, abs=3 * error)


def test_components_come_back_from_a_pilot() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        a = 0.2 * rng.standard_normal((4, 1)) + 0.5 * rng.standard_normal((4, 50))
        b = 0.3 * rng.standard_normal((1, 50))
        found.append(components_of(a, b, (True, False)))
    assert np.mean([one.dialogues for one in found]) == pytest.approx(0.09, rel=0.05)
    assert np.mean([one.trained[0].rest for one in found]) == pytest.approx(0.25, rel=0.05)
    assert np.mean([one.trained[0].between for one in found]) == pytest.approx(0.04, rel=0.2)


def test_one_training_says_nothing_of_others() -> None:
    rng = np.random.default_rng(2)
    found = components_of(rng.random((1, 30)), rng.random((1, 30)), (True, False))
    assert [one.between for one in found.trained] == [None]


def test_more_of_everything_detects_more() -> None:
    assert power(LEARNERS, 0.3, 100, 3, 0.05) < power(LEARNERS, 0.3, 400, 3, 0.05)
    assert power(LEARNERS, 0.3, 100, 3, 0.05) < power(LEARNERS, 0.3, 100, 5, 0.05)
    assert power(LEARNERS, 0.3, 100, 3, 0.01) < power(LEARNERS, 0.3, 100, 3, 0.05)
    assert power(LEARNERS, 0.0, 100, 5, 0.05) < 0.06


def test_smallest_difference_and_fewest_dialogues_undo_each_other() -> None:
    for components, seeds in ((RULES, 1), (LEARNERS, 5)):
        least = detectable(components, 120, seeds, 0.05, 0.8)
        assert least is not None
        assert needed(components, least, seeds, 0.05, 0.8) == pytest.approx(120, rel=0.05)


def test_dialogues_do_not_make_up_for_trainings() -> None:
    assert needed(LEARNERS, 0.15, 2, 0.05, 0.8) is None
    assert needed(LEARNERS, 0.15, 30, 0.05, 0.8) is not None


def test_dialogues_without_a_value_do_not_count() -> None:
    half = Components(0.25, (), 0.5)
    assert power(half, 0.1, 200, 1, 0.05) == power(RULES, 0.1, 100, 1, 0.05)
    with pytest.raises(ValueError, match="fewer than two"):
        components_of(np.full((1, 3), np.nan), np.zeros((1, 3)))


def test_differences_are_read_by_metric_or_for_all() -> None:
    assert parse_differences("0.02, 0.05", ["sr@15", "at"]) == {"sr@15": [0.02, 0.05], "at": [0.02, 0.05]}
    assert parse_differences("sr@15=0.05,at=0.5", ["wi"]) == {"sr@15": [0.05], "at": [0.5]}
    for wrong in ("0.1,x", "0", "-1", "nan", "inf"):
        with pytest.raises(InputError, match="is no number above 0"):
            parse_differences(wrong, ["at"])
    with pytest.raises(InputError, match="unknown metric 'sr'"):
        parse_differences("sr=0.1", [])


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of an arm that learns, with two seeds, and a rule."""
    out = tmp_path_factory.mktemp("runs") / "pilot"
    small = {"train_dialogues": 16, "dialogues": 16, "seeds": "0,1", "embeddings": {"epochs": 1}}
    compare(resolve({"arms": "unified,random", **small}), out)
    return out


def test_a_run_is_a_pilot(pilot: Path) -> None:
    read = Pilot.read(pilot)
    found = ask(read, Question({"sr@15": [0.1]}, seeds=(2, 10)))
    assert found["level_of_each"] == pytest.approx(0.025)  # two primary metrics, one other arm
    row, other = found["comparisons"]
    assert (row["a"], row["b"], row["metric"], other["metric"]) == ("unified", "random", "sr@15", "at")
    assert set(row["sd"]["seeds"]) == {"unified"}
    assert row["detectable"]["2"] > row["detectable"]["10"]
    (wanted,) = row["differences"]
    assert wanted["dialogues"]["2"] is None or wanted["dialogues"]["2"] >= wanted["dialogues"]["10"]
    results = json.loads((pilot / "results.json").read_text())
    (same,) = [r for r in results["comparisons"] if r["metric"] == "sr@15"]
    assert same["detectable"] == pytest.approx(row["detectable"]["2"])


def test_the_command_prints_tables_or_json(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["power", "--run", str(pilot), "--difference", "0.2", "--metrics", "hdcg", "--numbers", "2,5"]
    assert main([*asked, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["pilots"]
    assert found["primary"] == ["hdcg"]
    assert list(found["comparisons"][0]["differences"][0]["dialogues"]) == ["2", "5"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    for title in (
        "How it varies",
        "Smallest detectable difference",
        "Dialogues needed",
        "unified minus random",
    ):
        assert title in out


STUDY = """
title = "Two rules"
about = "Small."
[settings]
arms = ["halving", "random"]
train_dialogues = 0
embeddings = { epochs = 1 }
[[run]]
name = "main"
[[artifact]]
kind = "numbers"
name = "numbers"
title = "Numbers"
run = "main"
arms = ["halving", "random"]
metrics = ["sr@15"]
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rules."""
    out = tmp_path_factory.mktemp("runs") / "rules"
    small = {"train_dialogues": 0, "dialogues": 12, "seeds": "0", "embeddings": {"epochs": 1}}
    compare(resolve({"arms": "halving,random", **small}), out)
    return out


def test_a_study_without_a_pilot_gets_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(STUDY)
    asked = ["power", "--study", "two.toml", "--dialogues", "12", "--json", "--workers", "1"]
    assert main(asked) == 0
    first = capsys.readouterr()
    assert "making one of 12 dialogues" in first.err
    assert main(asked) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "making one" not in again.err
    (found,) = json.loads(again.out)["pilots"]
    assert found["dialogues"] == 12
    assert found["comparisons"][0]["sd"]["seeds"] == {}  # nothing is trained
    assert main([*asked[:-3], "--difference", "0.3"]) == 0
    out = capsys.readouterr().out
    assert "nothing is trained; power" in out
    for of_trainings in ("seed", "one training", "these very trainings"):
        assert of_trainings not in out.replace("between training seeds", "")  # the head of a column


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '["halving", "random"]',
            '["greedy", "random"]',
            "arms: halving, random, in the study greedy, random",
        ),
        (
            "[settings]",
            '[settings]\nstatistics = { primary = ["hdcg"] }',
            "primary metrics: sr@15, at, in the study hdcg",
        ),
        ("[settings]", '[settings]\nuser = "mcr"', "user: latent, in the study mcr"),
        (
            "[settings]",
            '[settings]\nworld = "planted-coupled"',
            "world: movies, in the study planted-coupled",
        ),
    ],
)
def test_a_pilot_of_something_else_is_refused(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    study = tmp_path / "other.toml"
    study.write_text(STUDY.replace(old, new))
    (tmp_path / "pilot" / "runs").mkdir(parents=True)
    shutil.copytree(rules, tmp_path / "pilot" / "runs" / "main")
    assert main(["power", "--study", str(study), "--pilot", str(tmp_path / "pilot")]) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert "no pilot of other: main (" in complaint
    assert said in complaint


def test_a_pilot_may_have_other_sizes_and_is_asked_what_the_study_declares(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "same.toml"
    study.write_text(
        STUDY.replace("[settings]", "[settings]\ndialogues = 900\nstatistics = { level = 0.02 }")
    )
    (tmp_path / "pilot" / "runs").mkdir(parents=True)
    shutil.copytree(rules, tmp_path / "pilot" / "runs" / "main")
    assert main(["power", "--study", str(study), "--pilot", str(tmp_path / "pilot"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["pilots"]
    assert (found["dialogues"], found["level"]) == (12, 0.02)


def test_other_folders_are_no_pilots(rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "two.toml"
    study.write_text(STUDY)
    assert main(["power", "--study", str(study), "--pilot", str(rules)]) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert "is the folder of a run, not of a study; --run reads it" in complaint
    assert not (rules / "runs").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "study.toml").write_text(STUDY.replace('"main"', '"another"'))
    assert main(["power", "--study", str(study), "--pilot", str(other)]) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert "is the folder of another study" in complaint


def test_an_unfinished_run_is_no_pilot(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(rules, run)
    traces, lines = run / "traces.jsonl", (run / "traces.jsonl").read_text().splitlines(keepends=True)
    traces.write_text("".join(lines[:-3]))
    for verb in (["power", "--run"], ["report"]):
        assert main([*verb, str(run)]) == 2
        (complaint,) = capsys.readouterr().err.splitlines()
        assert "has 9 dialogues of random, but results.json counts 12" in complaint
    (run / "results.json").write_text("{}")
    assert main(["power", "--run", str(run)]) == 2
    assert "not the results of a run" in capsys.readouterr().err
    (run / "results.json").unlink()
    assert main(["power", "--run", str(run)]) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert "not finished" in complaint
    assert f"--resume --out {run}" in complaint


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "one of the two"),
        (["--study", "head-to-head", "--run", "x"], "one of the two"),
        (["--run", "nowhere"], "not a run folder"),
        (["--run", "x", "--power", "1.5"], "must be between 0 and 1"),
        (["--run", "x", "--level", "0.2"], "must be above 0 and at most 0.05"),
        (["--run", "x", "--numbers", "0"], "whole numbers above 0"),
        (["--run", "x", "--metrics", "sr"], "unknown metric 'sr'"),
    ],
)
def test_wrong_input_ends_in_one_line(
    asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["power", *asked]) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert said in complaint
