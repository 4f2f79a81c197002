"""Points of the grid in studies: what they become, what is refused, and the heat map made of them."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from conftest import INTERACTIONS, ITEMS

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.points import StudyPoint, controlled, point_of
from unicrs_rl.experiments.shipped import studies
from unicrs_rl.experiments.study import plan_study
from unicrs_rl.policy.arms import check_settings
from unicrs_rl.policy.control import POINTS, Control, Controller, Encoder, Learning, Point

STUDY = """
title = "Points"
about = "Three points of the grid on a small catalogue."

[settings]
world = "WORLD"
arms = ["max-entropy"]
dialogues = 6
train_dialogues = 16
seeds = [0]
recommend_above = 0.3
embeddings = { epochs = 1, dim = 8 }

[[point]]
name = "unified"
point = "unified"
settings = { dim = 16, warm_up_turns = 8 }

[[point]]
name = "ruled"
label = "timing by rule"
control = { when = "rule" }
learner = "ppo"
settings = { dim = 16 }

[[run]]
name = "main"

[[artifact]]
kind = "grid"
name = "grid"
title = "The grid"
run = "main"
arms = ["unified", "grid@ruled"]
metrics = ["sr@15", "at"]
against = "unified"
"""


_CHANGED = "run 'main': point '{}': settings of {} change its {}; give a [[point]] of another name"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study with two points and a rule."""
    root = tmp_path / "bistros"
    root.mkdir()
    (root / "items.csv").write_text(ITEMS)
    (root / "interactions.csv").write_text(INTERACTIONS)
    path = tmp_path / "points.toml"
    path.write_text(STUDY.replace("WORLD", str(root)))
    return path


@pytest.mark.parametrize("name", POINTS)
def test_a_named_point_is_an_arm_that_can_be_had(name: str) -> None:
    point = StudyPoint(name=name, point=name)
    assert point.where == POINTS[name]
    config = resolve({"arms": (point.arm,), "arm": {point.arm: point.table}})
    check_settings(point.arm, config.settings(point.arm))
    assert point_of(config, point.arm) == POINTS[name]


def test_systems_are_arms_of_their_own_and_all_else_is_of_the_grid() -> None:
    assert StudyPoint(name="unified", point="unified").arm == "unified"
    assert StudyPoint(name="wide", settings={"dim": 32}).arm == "unified@wide"
    assert StudyPoint(name="wide", settings={"dim": 32}).table == {"dim": 32}
    assert StudyPoint(name="x", learner=Learning.PPO).arm == "unified-ppo@x"
    text = StudyPoint(name="text", encoder=Encoder.TEXT, settings={"dim": 32})
    assert text.arm == "grid@text"
    assert text.table == {
        "control": dict.fromkeys(("when", "ask", "recommend", "strategy"), "joint"),
        "encoder": "text",
        "learner": "dqn",
        "settings": {"dim": 32},
    }


def test_where_arms_stand() -> None:
    own = {"unified@t": {"encoder": "both"}}
    config = resolve({"arms": ("unified@t", "rso", "rso-ppo", "greedy", "unified-reinforce"), "arm": own})
    assert point_of(config, "unified@t") == Point(encoder=Encoder.BOTH)
    assert point_of(config, "rso") == POINTS["rso"]
    ppo = point_of(config, "rso-ppo")
    assert ppo is not None
    assert ppo.arm == "rso-ppo"
    assert point_of(config, "greedy") is None
    assert point_of(config, "unified-reinforce") == Point(learner=Learning.REINFORCE)


def test_who_decides_in_words() -> None:
    rule, own, expert = Controller.RULE, Controller.OWN, Controller.EXPERT
    assert controlled(Control()) == "joint"
    assert controlled(Control(strategy=rule)) == "joint, strategy rule"
    assert controlled(POINTS["rso"].control) == "expert, strategy own"
    assert controlled(Control(when=rule, ask=own, strategy=expert)) == (
        "joint, when rule, ask own, strategy expert"
    )
    said = {controlled(Control(when=a, ask=b)) for a in Controller for b in Controller}
    assert len(said) == len(Controller) ** 2  # never the same words for other controls


def test_points_are_arms_behind_those_that_are_named(file: Path, tmp_path: Path) -> None:
    plan = plan_study(str(file), {})
    config = plan.configs["main"]
    assert config.arms == ("max-entropy", "unified", "grid@ruled")
    assert config.settings("unified") == {"dim": 16, "warm_up_turns": 8}
    assert config.settings("grid@ruled")["control"]["when"] == "rule"
    assert config.settings("grid@ruled")["settings"] == {"dim": 16}
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(plan.toml())
    assert [point["name"] for point in tomllib.loads(plan.toml())["point"]] == ["unified", "ruled"]
    again = plan_study(str(resolved), {})
    assert again.configs == plan.configs
    assert again.toml() == plan.toml()


def test_a_run_may_take_some_points_and_its_settings_win(file: Path) -> None:
    content = file.read_text().replace(
        'name = "main"\n',
        'name = "main"\n\n[[run]]\nname = "one"\npoints = ["ruled"]\n'
        '[run.settings.arm."grid@ruled"]\nsettings = { dim = 8 }\n',
    )
    file.write_text(content)
    plan = plan_study(str(file), {})
    assert plan.configs["one"].arms == ("max-entropy", "grid@ruled")
    assert plan.configs["one"].settings("grid@ruled")["settings"] == {"dim": 8}
    assert plan.configs["main"].settings("grid@ruled")["settings"] == {"dim": 16}
    file.write_text(content.replace('points = ["ruled"]', 'points = ["rulled"]'))
    with pytest.raises(InputError, match="run 'one': unknown point 'rulled'; did you mean ruled"):
        plan_study(str(file), {})


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'point = "unified"',
            'point = "unifed"',
            "point 1: point: unknown point 'unifed'; did you mean unified",
        ),
        ('point = "unified"', 'poin = "unified"', "point 1: unknown key 'poin'; did you mean point"),
        ('point = "unified"', 'point = "unified"\nlearner = "ppo"', "exclude each other"),
        ('when = "rule"', 'wen = "rule"', "point 2: control: unknown key 'wen'; did you mean when"),
        ('when = "rule"', 'when = "rules"', "point 2: control: when: must be 'joint', 'own', 'rule' or"),
        (
            '[[point]]\nname = "ruled"',
            '[[point]]\nname = "unified"\n\n[[point]]\nname = "ruled"',
            "two points are called 'unified'",
        ),
        ('name = "ruled"', 'name = "four-isolated"', "point 2: 'four-isolated' is the name of another point"),
        ('name = "unified"\npoint', 'name = "rso"\npoint', "point 1: 'rso' is the name of another point"),
        ("dim = 16, warm_up_turns = 8", 'encoder = "text"', _CHANGED.format("unified", "unified", "encoder")),
        (
            "[[run]]",
            '[settings.arm."grid@ruled"]\nencoder = "both"\n[[run]]',
            _CHANGED.format("ruled", "grid@ruled", "encoder"),
        ),
        (
            'name = "main"\n',
            'name = "main"\n[run.settings.arm."grid@ruled"]\ncontrol = { ask = "own" }\nlearner = "dqn"\n',
            _CHANGED.format("ruled", "grid@ruled", "control and learner"),
        ),
        (
            "[[run]]",
            '[settings.arm.unified]\nencoder = "text"\n[[run]]',
            _CHANGED.format("unified", "unified", "encoder"),
        ),
        (
            "settings = { dim = 16 }",
            "settings = 3",
            "point 2: settings: must be a table of settings (it is 3)",
        ),
        ('control = { when = "rule" }', 'control = "rule"', "point 2: control: must be a table of settings"),
        ("[[run]]", '[settings.arm."grid@ruled"]\nwen = 1\n[[run]]', "ruled.wen: there is no such setting"),
        ('name = "ruled"', 'name = "By rule"', "point 2: name: must be small letters"),
        ('when = "rule"', 'when = "expert"', "point 'ruled' is impossible: ask and recommend cannot be"),
        ("settings = { dim = 16 }", "settings = { dimm = 16 }", "grid@ruled"),
        ('arms = ["unified", "grid@ruled"]', 'arms = ["max-entropy"]', "is no point of the grid"),
        ('against = "unified"', 'against = "unifid"', "unknown arm 'unifid'; did you mean unified"),
        ('arms = ["max-entropy"]', 'arms = ["max-entropy"]\nuser = "mcr"', "not this"),
    ],
)
def test_wrong_points_are_one_clear_line(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path, old: str, new: str, says: str
) -> None:
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))
    if says == "not this":  # strategies mean nothing to these seekers, and yet there is enough to learn
        plan_study(str(file), {})
        file.write_text(file.read_text().replace('when = "rule"', 'strategy = "own"'))
        says = "heed no strategy"
    out = tmp_path / "out"
    assert main(["study", str(file), "--out", str(out), "--workers", "1"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not out.exists()


@pytest.mark.slow
def test_a_grid_from_end_to_end(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["study", "run", str(file), "--out", str(out), "--workers", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    run = json.loads((out / "runs" / "main" / "results.json").read_text())
    with (out / "tables" / "grid.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["arm"], row["when"], row["learner"], row["metric"]) for row in rows] == [
        (arm, when, learner, metric)
        for arm, when, learner in (("unified", "joint", "dqn"), ("grid@ruled", "rule", "ppo"))
        for metric in ("sr@15", "at")
    ]
    for row in rows:
        assert float(row["mean"]) == run["arms"][row["arm"]]["metrics"][row["metric"]]
    assert (out / "figures" / "grid.png").read_bytes().startswith(b"\x89PNG")
    gaps = printed["artifacts"]["grid"]["tables"]["grid-differences"]
    assert {row["arm"] for row in gaps} == {"grid@ruled"}
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "unicrs_rl.cli", "study"]
    options = [str(file), "--out", str(killed), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "run", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(12000):
        if any(killed.glob("runs/main/parts/unified-seed0.jsonl")) or process.poll() is not None:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "results.json").exists(), "the study ended before it could be killed"
    assert main(["study", "resume", str(killed), "--workers", "1", "--json"]) == 0
    for name in ("results.json", "runs/main/results.json", "tables/grid.csv"):
        assert (killed / name).read_bytes() == (out / name).read_bytes()
    budgets = {row["name"]: row for row in run["budgets"]}
    assert budgets["train_dialogues"]["by_construction"]
    assert budgets["train_dialogues"]["arms"] == {"max-entropy": None, "unified": 16, "grid@ruled": 16}
    assert budgets["gradient_steps"]["arms"]["unified"] > 0


@pytest.mark.parametrize("name", ["grid"])
def test_the_shipped_grid_has_all_named_points(name: str) -> None:
    plan = plan_study(name, {})
    config = plan.configs["main"]
    there = [point_of(config, arm) for arm in config.arms]
    assert all(point in there for point in POINTS.values())
    assert len(config.seeds) >= 2
    kinds = {artifact["kind"] for artifact in studies.read(name)["artifact"]}
    assert "grid" in kinds
