"""``unicrs-rl population``: what seekers turn out to be, without any training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from unicrs_rl.cli import main

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """Options that keep it quick."""
    file = tmp_path / "quick.toml"
    file.write_text("recommend_above = 0.5\n[embeddings]\nepochs = 1\n")
    return ["--config", str(file), "--dialogues", "12"]


def met(capsys: Printed, *arguments: str) -> dict[str, Any]:
    assert main(["population", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def complaint(capsys: Printed, *arguments: str) -> str:
    assert main(["population", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_population_is_met_as_it_was_asked_for(capsys: Printed, settings: list[str]) -> None:
    latents = ["--latent", "patience=1.5", "--latent", "trust=sweep:-2,0,2", "--latent", "mood=0"]
    found = met(capsys, *settings, *latents, "--effects", "none", "--population", "holistic")
    seekers = found["arms"]["max-entropy"]["seekers"]
    assert seekers["dialogues"] == 12
    assert seekers["latents"]["patience"]["first"] == {"mean": 1.5, "sd": 0.0, "quantiles": [1.5] * 5}
    assert seekers["latents"]["mood"]["last"]["quantiles"] == [0.0] * 5
    assert seekers["latents"]["trust"]["first"]["mean"] == 0.0
    assert [point["dialogues"] for point in seekers["sweeps"]["trust"]] == [4, 4, 4]
    protocol = found["protocol"]["seekers"]
    assert (protocol["effects"], protocol["population"]) == ("none", "holistic")
    assert protocol["rates"]["encouraging"] > 0
    named = "effects none, population holistic, patience pinned, trust swept, mood pinned"
    assert named in found["rests_on"]
    assert found["humans"]


def test_equal_settings_give_equal_bytes(capsys: Printed, settings: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        met(capsys, *settings, "--out", str(tmp_path / name))
    for file in ("population.json", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_population_leaves_numbers_traces_and_a_report(
    capsys: Printed, settings: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "met"
    printed = met(capsys, *settings, "--out", str(out))
    assert json.loads((out / "population.json").read_text()) == printed
    assert len((out / "traces.jsonl").read_text().splitlines()) == 12
    page = (out / "report.html").read_text()
    assert "<h1>A population of latent seekers on movies</h1>" in page
    assert ">The seekers</h2>" in page
    without_library = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", without_library)
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    capsys.readouterr()
    assert (out / "report.html").read_text() == page
    assert "exists already; --force replaces it" in complaint(capsys, *settings, "--out", str(out))
    again = met(capsys, *settings, "--out", str(out), "--force", "--population", "holistic")
    assert json.loads((out / "population.json").read_text()) == again
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("one")
    assert "holds no population" in complaint(capsys, *settings, "--out", str(foreign), "--force")
    assert [path.name for path in foreign.iterdir()] == ["chapter.txt"]


def test_tables_are_printed(capsys: Printed, settings: list[str]) -> None:
    assert main(["population", *settings, "--user", "mcr", "--arm", "greedy"]) == 0
    printed = capsys.readouterr().out
    assert "Diversity, beside human dialogues" in printed
    assert "greedy" in printed
    assert "Hidden variables" not in printed  # entity-level seekers have none


def test_a_population_of_ones_own_world(capsys: Printed, settings: list[str], bistros: Path) -> None:
    found = met(capsys, *settings, "--world", str(bistros), "--arm", "random")
    assert found["world"] == "bistros"
    assert found["arms"]["random"]["seekers"]["latents"].keys() >= {"patience", "trust", "pressure"}


def test_human_dialogues_are_measured_afresh(capsys: Printed, settings: list[str], shared: Path) -> None:
    corpora = ["--corpus", "inspired,redial", "--data", str(shared / "data")]
    humans = met(capsys, *settings, *corpora)["humans"]
    assert list(humans) == ["inspired", "redial"]
    assert humans["inspired"]["dialogues"] == 900
    assert humans["redial"]["dialogues"] == 1000
    assert humans["redial"]["response_entropy"] is None  # nobody labelled its strategies
    alone = ["--corpus", "inspired", "--data", str(shared / "data" / "inspired")]
    assert list(met(capsys, *settings, *alone)["humans"]) == ["inspired"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arm", "unified"], "--arm unified: it learns"),
        (["--arm", "max-entropi"], "did you mean max-entropy"),
        (["--train-dialogues", "9"], "--train-dialogues: population trains nothing"),
        (["--population", "wholistic"], "population"),
        (["--effects", "weak"], "effects"),
        (["--latent", "patiense=1"], "did you mean patience"),
        (["--latent", "patience"], "NAME=VALUE"),
        (["--user", "mrc"], "did you mean mcr"),
        (["--corpus", "inspird", "--data", "."], "did you mean inspired"),
        (["--corpus", "inspired"], "--data DIR"),
        (["--dialogues", "0"], "--dialogues"),
    ],
)
def test_wrong_input_is_one_line(capsys: Printed, arguments: list[str], said: str) -> None:
    assert said in complaint(capsys, *arguments)
