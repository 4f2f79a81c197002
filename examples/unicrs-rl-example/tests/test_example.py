"""What the example adds is found by its name, and does what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unicrs_rl.cli import main


def test_arm_metric_and_world_are_used_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        'recommend_above = 0.3\nembeddings = { epochs = 1 }\n[arm."example-arm@curt"]\nquestions = 1\n'
    )
    arms = "example-arm,example-arm@curt,max-entropy"
    options = ["--world", "example-world", "--arms", arms, "--dialogues", "12", "--config", str(settings)]
    assert main(["compare", *options, "--workers", "1", "--json", "--out", str(tmp_path / "run")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["world"] == "example-world"
    traces = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    for line in traces:
        acts = [turn["decision"]["act"] for turn in line["turns"]]
        assert line["metrics"]["questions"] == acts.count("ask")
        first = {"example-arm": 3, "example-arm@curt": 1}.get(line["arm"])
        if first is not None and len(acts) > first:
            assert acts[first] == "recommend"
            assert "recommend" not in acts[:first]
    asked = {arm: entry["metrics"]["questions"] for arm, entry in found["arms"].items()}
    assert asked["example-arm@curt"] < asked["example-arm"]


def test_doctor_lists_what_is_plugged_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    plugged = json.loads(capsys.readouterr().out)["plug-ins"]
    assert plugged == {
        "arm example-arm": "unicrs-rl-example 0.1.0",
        "metric questions": "unicrs-rl-example 0.1.0",
        "world example-world": "unicrs-rl-example 0.1.0",
    }


def test_wrong_settings_are_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[arm."example-arm"]\nquestions = -1\n')
    assert (
        main(["compare", "--arms", "example-arm", "--config", str(settings), "--out", str(tmp_path / "run")])
        == 2
    )
    assert "arm.example-arm.questions" in capsys.readouterr().err
