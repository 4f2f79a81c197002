"""The commands in benchmarks/: with tiny settings they run and say what they promise. No speed is tested."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def commands() -> Iterator[Any]:
    """``benchmarks/`` is no package; its commands import one another as scripts do."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))


@pytest.mark.slow
def test_growth_tells_cost_candidates_and_memory_of_each_size(
    commands: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--sizes", "300,900", "--attributes", "40,2000", "--batch", "16", "--batches", "1"]
    commands("growth").main([*settings, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.count("left out: too many attributes") == 2
    found = json.loads((tmp_path / "growth.json").read_text())
    small, large = found["rows"]
    assert [(row["items"], row["attributes"]) for row in (small, large)] == [(300, 40), (900, 40)]
    assert 0 < small["candidates_per_turn"] < large["candidates_per_turn"]
    for row in (small, large):
        assert row["microseconds_per_turn"] * row["turns_per_second"] == pytest.approx(1e6, rel=0.01)
        assert row["peak_mib"] >= row["world_mib"] > 0
    assert isinstance(found["slopes"]["max-entropy"], float)
    page = (tmp_path / "growth.html").read_text()
    assert "candidates per turn" in page
    assert "<script src" not in page


def test_kernels_agree_and_are_timed(commands: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--items", "400,900", "--attributes", "60", "--batch", "12", "--runs", "1"]
    commands("kernels").main([*settings, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["items"] for row in found["rows"]] == [400, 900]
    assert all(row["ms"].keys() == {"numba", "numpy", "scipy", "torch"} for row in found["rows"])
    commands("kernels").main(settings)
    assert capsys.readouterr().out.count("×") == 6


def test_kernels_refuse_a_variant_that_finds_something_else(
    commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = commands("kernels")
    rows = kernels.make(400, 60, 12, seed=0)
    shares, promise = kernels.by_numpy(rows)
    monkeypatch.setitem(kernels.VARIANTS, "numpy", lambda _: (shares, promise * 1.001))
    with pytest.raises(SystemExit, match="numpy: finds something else"):
        kernels.measure(rows, runs=1)


@pytest.mark.slow
def test_seeds_are_trained_once_and_compared_with_the_best_rule(
    commands: Any, bistros: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = ["--world", str(bistros), "--out", str(out), "--rejects", "filter", "--arms", "unified"]
    settings += ["--rules", "max-entropy,random", "--seeds", "0,1", "--train-dialogues", "64"]
    settings += ["--dialogues", "6", "--until", "0.5"]
    commands("mcr_seeds").main(settings)
    first = capsys.readouterr()
    commands("mcr_seeds").main(settings)
    second = capsys.readouterr()
    assert "training unified" in first.err
    assert "training" not in second.err
    assert "| `unified` | " in first.out
    assert (out / "mcr_seeds.md").read_text() in second.out
    (found,) = json.loads((out / "mcr_seeds.json").read_text())["studies"]
    assert found["best_rule"] == min(found["valid_at"], key=lambda rule: found["valid_at"][rule])
    row = found["arms"]["unified"]
    assert row["at"]["low"] <= row["at"]["mean"] <= row["at"]["high"]
    assert len(row["train_seconds"]) == len(row["until_seconds"]) == 2
    assert row["peak_mib"] > 0
    gap = found["learned_minus_best_rule"]["unified"]["at"]
    assert gap["low"] <= gap["difference"] <= gap["high"]
    assert gap["difference"] == pytest.approx(
        row["at"]["mean"] - found["arms"][found["best_rule"]]["at"]["mean"]
    )


def test_rules_alone_need_no_training(commands: Any, bistros: Path, tmp_path: Path) -> None:
    settings = ["--world", str(bistros), "--out", str(tmp_path / "out"), "--dialogues", "6", "--arms", ""]
    commands("mcr_seeds").main([*settings, "--rules", "greedy,halving", "--rejects", "none"])
    (found,) = json.loads((tmp_path / "out" / "mcr_seeds.json").read_text())["studies"]
    assert list(found["arms"]) == ["greedy", "halving"]
    assert not found["learned_minus_best_rule"]


def test_a_training_that_fails_is_one_line(commands: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"mcr_seeds: .*nowhere"):
        commands("mcr_seeds").main(
            ["--world", "nowhere", "--arms", "unified", "--out", str(tmp_path / "out")]
        )


def test_planner_speed_tells_decisions_of_each_encoder_and_batch(
    commands: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--encoders", "small", "--batches", "1,4", "--decisions", "8", "--runs", "1"]
    commands("planner_speed").main([*settings, "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["encoder"], row["batch"]) for row in rows] == [("small", 1), ("small", 4)]
    assert all(row["decisions_per_second"] > 0 and row["parameters"] > 10_000 for row in rows)
