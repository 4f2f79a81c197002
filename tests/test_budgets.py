"""Budgets: what arms were given, counted where it was spent, and said where it is not equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unicrs_rl.cli import main
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.budgets import (
    budget_rows,
    budget_warning,
    budgets,
    parameters,
    untrained_warning,
)
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.report import warnings
from unicrs_rl.experiments.run_folder import RunFolder

COST = {
    f"{who}{what}_per_dialogue": value
    for who, what, value in (
        ("lm_", "calls", 3.0),
        ("judge_", "calls", 2.0),
        ("seeker_", "calls", 1.0),
        ("", "tokens", 30.0),
        ("judge_", "tokens", 20.0),
        ("seeker_", "tokens", 10.0),
    )
}


def trained(
    folder: RunFolder, arm: str, seed: int, steps: int, taken: dict[str, int] | None, size: int
) -> None:
    header = {"done": 10, "learner": {}} | ({"gradient_steps": steps, "taken": taken} if taken else {})
    tensors = {"network.w": torch.zeros(size), "target.w": torch.zeros(size), "ask.replay.x": torch.zeros(9)}
    checkpoint.save(folder.checkpoint(arm, seed), tensors, header)


def test_budgets_are_read_from_checkpoints_and_costs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    config = resolve({"arms": ("unified", "unified-ppo", "greedy"), "seeds": (0, 1), "train_dialogues": 10})
    for seed, steps in ((0, 100), (1, 200)):
        trained(folder, "unified", seed, steps, {"turns": 50, "calls": 500, "tokens": 4000}, 7)
        trained(folder, "unified-ppo", seed, 10, {"turns": 50, "calls": 500, "tokens": 8000}, 7)
    arms = {"unified": {"cost": COST}, "unified-ppo": {"cost": COST}, "greedy": {"cost": COST}}
    rows = {row["name"]: row for row in budgets(config, folder, arms)}
    assert rows["train_dialogues"] == {
        "name": "train_dialogues",
        "arms": {"unified": 10, "unified-ppo": 10, "greedy": None},
        "by_construction": True,
        "equal": True,
        "ratio": 1.0,
    }
    assert rows["gradient_steps"]["arms"] == {"unified": 150, "unified-ppo": 10, "greedy": None}
    assert rows["gradient_steps"]["ratio"] == 15.0
    assert not rows["gradient_steps"]["equal"]
    assert rows["train_turns"]["equal"]
    assert not rows["train_turns"]["by_construction"]
    assert rows["parameters"]["arms"]["unified"] == 7  # without the copy and the memory
    assert rows["train_lm_calls"]["arms"]["unified"] == 50
    assert rows["train_lm_tokens"]["ratio"] == 2.0
    assert rows["lm_calls"]["arms"] == dict.fromkeys(arms, 6.0)
    assert rows["lm_tokens"]["arms"] == dict.fromkeys(arms, 60.0)
    found = {"budgets": list(rows.values())}
    said = {row.title: row for row in budget_rows(found)}
    assert said["training dialogues"].verdict == "equal by construction"
    assert said["training turns"].verdict == "equal"
    assert said["gradient steps"].verdict == "unequal (15 times)"
    assert said["gradient steps"].unequal
    assert said["gradient steps"].cells == {"unified": "150", "unified-ppo": "10", "greedy": "–"}
    assert budget_warning(found) == (
        "Budgets are not equal, most to least: gradient steps 15 times, "
        "tokens / training dialogue 2.00 times."
    )
    assert untrained_warning(found) is None


@pytest.mark.parametrize(
    ("steps", "said"),
    [((0, 0), "unified and unified-ppo were"), ((0, 3), "unified was"), ((0, None), "unified was")],
)
def test_an_arm_that_took_no_gradient_step_is_named(
    tmp_path: Path, steps: tuple[int, int | None], said: str
) -> None:
    folder = RunFolder(tmp_path)
    config = resolve({"arms": ("unified", "unified-ppo", "greedy"), "seeds": (0,), "train_dialogues": 10})
    taken = {"turns": 50, "calls": 500, "tokens": 4000}
    for arm, number in zip(("unified", "unified-ppo"), steps, strict=True):
        if number is not None:  # else nothing is known of it
            trained(folder, arm, 0, number, taken, 7)
    arms = {arm: {"cost": COST} for arm in config.arms}
    found = {"budgets": budgets(config, folder, arms), "arms": arms}
    warning = f"{said} trained with no gradient step: too few training dialogues to learn anything."
    assert untrained_warning(found) == warning
    assert warnings(found)[0] == warning


def test_a_comparison_of_an_untrained_arm_says_so(
    tmp_path: Path, bistros: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "recommend_above = 0.3\nembeddings = { epochs = 1, dim = 8 }\n[arm.unified]\ndim = 16\n"
    )
    out = tmp_path / "run"
    arguments = ["--world", str(bistros), "--arms", "unified,greedy", "--seeds", "0", "--workers", "1"]
    arguments += ["--train-dialogues", "2", "--dialogues", "4", "--config", str(settings), "--out", str(out)]
    assert main(["compare", *arguments]) == 0
    said = "unified was trained with no gradient step"
    assert said in capsys.readouterr().out
    assert said in (out / "report.html").read_text()


def test_checkpoints_of_earlier_versions_tell_less(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    config = resolve({"arms": ("unified", "rso"), "seeds": (0,)})
    trained(folder, "unified", 0, 0, None, 3)
    rows = {row["name"]: row for row in budgets(config, folder, {"unified": {"cost": COST}})}
    assert rows["gradient_steps"]["arms"] == {"unified": None}
    assert rows["gradient_steps"]["equal"] is None
    assert rows["parameters"]["arms"] == {"unified": 3}
    assert budget_rows({}) == []
    assert budget_warning({}) is None
    assert untrained_warning({}) is None


def test_copies_and_memories_are_no_parameters() -> None:
    tensors = {
        name: torch.zeros(2)
        for name in ("network.a", "ask.network.a", "ask.target.a", "optimizer.0.x", "when.optimizer.0.x")
    }
    assert parameters(tensors) == 4


@pytest.mark.slow
def test_what_a_training_took_is_that_of_its_dialogues(tmp_path: Path, bistros: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "recommend_above = 0.3\nembeddings = { epochs = 1, dim = 8 }\n"
        "[arm.unified]\ndim = 16\nwarm_up_turns = 8\n"
    )
    out = tmp_path / "run"
    arguments = ["--world", str(bistros), "--arms", "unified,greedy", "--seeds", "0", "--workers", "1"]
    arguments += ["--train-dialogues", "20", "--dialogues", "5", "--config", str(settings), "--out", str(out)]
    assert main(["compare", *arguments, "--json"]) == 0
    _, header = checkpoint.load(RunFolder(out).checkpoint("unified", 0))
    taken = header["taken"]
    assert 20 <= taken["turns"] <= 20 * 15
    assert taken["calls"] >= 3 * taken["turns"]  # read, looked up, said
    assert taken["tokens"] > taken["calls"]
    found = json.loads((out / "results.json").read_text())
    rows = {row["name"]: row for row in found["budgets"]}
    assert rows["train_turns"]["arms"] == {"unified": taken["turns"], "greedy": None}
    assert rows["train_lm_calls"]["arms"]["unified"] == taken["calls"] / 20
    assert rows["gradient_steps"]["arms"]["unified"] == header["gradient_steps"] > 0
    assert rows["lm_calls"]["arms"]["greedy"] > 0
