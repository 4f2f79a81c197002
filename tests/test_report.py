"""Learning curves read back from event files, and the reports that show them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.curves import over_seeds, read_curves, smoothed
from unicrs_rl.experiments.report import write_report
from unicrs_rl.experiments.run_folder import RunFolder

Points = list[tuple[int, float]]
LEARNING = ("episode-success", "episode-turns")
TRIED = ("tried-sr@5", "tried-sr@10", "tried-sr@15", "tried-at", "tried-hdcg")


def write_curves(directory: Path, **tags: Points) -> Path:
    """An event file; ``episode_turns`` stands for the tag ``episode/turns``."""
    with SummaryWriter(str(directory)) as writer:
        for name, points in tags.items():
            for step, value in points:
                writer.add_scalar(name.replace("_", "/"), value, step)
    return max(directory.iterdir(), key=lambda path: path.name)


def test_curves_are_found_by_arm_seed_and_tag(tmp_path: Path) -> None:
    write_curves(tmp_path / "rso-seed0", episode_turns=[(16, 3.0)], loss=[(16, 0.1), (32, 0.25)])
    write_curves(tmp_path / "unified-ppo-seed2", loss=[(16, 1.0)])
    write_curves(tmp_path / "unified-ppo-seed10", loss=[(16, 2.0)])
    write_curves(tmp_path / "thesis", loss=[(16, 9.0)])
    curves, unreadable = read_curves(tmp_path)
    assert curves == {
        "rso": {0: {"episode/turns": [(16, 3.0)], "loss": [(16, 0.1), (32, 0.25)]}},
        "unified-ppo": {2: {"loss": [(16, 1.0)]}, 10: {"loss": [(16, 2.0)]}},
    }
    assert list(curves["unified-ppo"]) == [2, 10]
    assert not unreadable


def test_no_point_of_a_long_curve_is_dropped(tmp_path: Path) -> None:
    points = [(step, float(step)) for step in range(10_100)]  # TensorBoard shows a sample of 10,000
    write_curves(tmp_path / "rso-seed0", loss=points)
    assert read_curves(tmp_path)[0]["rso"][0]["loss"] == points


def test_without_event_files_there_are_no_curves(tmp_path: Path) -> None:
    (tmp_path / "rso-seed0").mkdir()
    assert read_curves(tmp_path) == ({}, [])
    assert read_curves(tmp_path / "nowhere") == ({}, [])


def test_of_a_torn_event_file_the_whole_records_count(tmp_path: Path) -> None:
    points = [(step, float(step)) for step in range(8)]
    file = write_curves(tmp_path / "rso-seed0", loss=points)
    whole = file.read_bytes()
    first = 16 + int.from_bytes(whole[:8], "little")  # the record that makes it an event file
    found = []
    for cut in range(1, len(whole) - first, 7):
        file.write_bytes(whole[:-cut])
        curves, unreadable = read_curves(tmp_path)
        kept = curves["rso"][0].get("loss", [])
        assert kept == points[: len(kept)]
        assert not unreadable
        found.append(len(kept))
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (7, 0)
    file.write_bytes(b"")
    assert read_curves(tmp_path) == ({"rso": {0: {}}}, [])


def test_a_training_that_was_taken_up_goes_on_in_another_file(tmp_path: Path) -> None:
    first = write_curves(tmp_path / "rso-seed0", loss=[(16, 1.0), (32, 2.0)])
    first.write_bytes(first.read_bytes()[:-5])
    write_curves(tmp_path / "rso-seed0", loss=[(16, 1.5), (32, 2.5), (48, 3.5)])
    assert read_curves(tmp_path)[0]["rso"][0]["loss"] == [(16, 1.5), (32, 2.5), (48, 3.5)]


def test_an_unreadable_event_file_is_noted(tmp_path: Path) -> None:
    write_curves(tmp_path / "rso-seed0", loss=[(16, 1.0)])
    (tmp_path / "rso-seed0" / "events.out.tfevents.9999999999.x").write_text("no event file at all" * 9)
    (tmp_path / "rso-seed1" / "events.out.tfevents.1").mkdir(parents=True)
    curves, unreadable = read_curves(tmp_path)
    assert curves["rso"][0] == {"loss": [(16, 1.0)]}
    assert unreadable == ["rso-seed0/events.out.tfevents.9999999999.x", "rso-seed1/events.out.tfevents.1"]


def test_a_band_spans_the_seeds_that_got_there() -> None:
    band = over_seeds([[(1, 0.0), (2, 1.0), (3, 4.0)], [(1, 1.0), (2, 0.5)]])
    assert band.steps == [1, 2, 3]
    assert band.mean == [0.5, 0.75, 4.0]
    assert band.low == [0.0, 0.5, 4.0]
    assert band.high == [1.0, 1.0, 4.0]
    assert over_seeds([]).steps == []


def test_a_moving_mean_looks_back_only() -> None:
    points = [(step, float(step)) for step in range(40)]
    (mean,) = smoothed([points], share=0.1)
    assert mean[:3] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert mean[-1] == (39, (36 + 37 + 38 + 39) / 4)
    assert smoothed([points[:5]]) == [points[:5]]  # too few for anything but themselves
    assert smoothed([]) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """A training with the batched engine, and what its command printed."""
    place = tmp_path_factory.mktemp("trained")
    settings, out = place / "small.toml", place / "run"
    settings.write_text("train_batch = 32\nrecommend_above = 0.5\n[embeddings]\nepochs = 1\n")
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda line, **_: printed.append(line))
        arguments = ["--user", "mcr", "--train-dialogues", "64", "--seeds", "0,1", "--workers", "1", "--json"]
        assert main(["train", "--config", str(settings), "--out", str(out), *arguments]) == 0
    return out, json.loads(printed[0])


@pytest.fixture
def run(trained: tuple[Path, Any], tmp_path: Path) -> RunFolder:
    """The same, to be changed."""
    return RunFolder(Path(shutil.copytree(trained[0], tmp_path / "run")))


def figures_of(page: str) -> dict[str, Any]:
    line = next(line for line in page.splitlines() if line.startswith("const figures = "))
    found: dict[str, Any] = json.loads(re.sub(r",?\s*};$", "}", line.removeprefix("const figures = ")))
    for name in found:
        assert f'id="figure-{name}"' in page
    assert len(re.findall('id="figure-', page)) == len(found)
    return found


def lines_of(figure: Mapping[str, Any]) -> list[str]:
    """Names of the lines, without the edges of the bands."""
    return [trace["name"] for trace in figure["data"] if trace.get("showlegend", True)]


def change_headers(run: RunFolder, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    for seed in (0, 1):
        tensors, header = checkpoint.load(run.checkpoint("unified", seed))
        checkpoint.save(run.checkpoint("unified", seed), tensors, change(header))


def test_a_training_writes_a_report(trained: tuple[Path, Mapping[str, Any]]) -> None:
    out, printed = trained
    assert printed["report"] == "report.html"
    page = (out / "report.html").read_text()
    for heading in (
        "<h1>Training of unified on movies</h1>",
        "<h2>Trained</h2>",
        "<h2>The best checkpoint (fewest mean turns) on the validation split</h2>",
        "<h2>Learning curves</h2>",
        "<h2>Every checkpoint on the validation split</h2>",
        "<h2>Settings</h2>",
        "<h2>Provenance</h2>",
    ):
        assert heading in page
    assert "not held-out" not in page
    assert "not finished" not in page
    figures = figures_of(page)
    assert set(figures) == {"success", *LEARNING, *TRIED}
    assert lines_of(figures["success"]) == ["unified, seed 0", "unified, seed 1"]
    assert len(figures["success"]["data"][0]["x"]) == 15
    for name in (*LEARNING, *TRIED):
        assert lines_of(figures[name]) == ["unified"]
        assert figures[name]["data"][-1]["x"] == [32, 64]


def test_the_best_metrics_of_each_seed_are_in_a_table(run: RunFolder) -> None:
    rows = [checkpoint.load(run.checkpoint("unified", seed))[1]["tried"] for seed in (0, 1)]
    best = [min(tried, key=lambda row: row["at"]) for tried in rows]
    page = run.report.read_text()
    for seed, row in enumerate(best):
        cells = "".join(f"<td>{row[name]:.4f}</td>" for name in ("sr@5", "sr@10", "sr@15", "at", "hdcg"))
        assert f"<td>unified, seed {seed}</td><td>{row['done']}</td>{cells}" in page
    mean = (best[0]["at"] + best[1]["at"]) / 2
    assert re.search(rf"unified, mean</td>.*<td>{mean:.4f}</td>", page)
    spread = abs(best[0]["at"] - best[1]["at"]) / 2**0.5
    assert re.search(rf"standard deviation</td>.*<td>{spread:.4f}</td>", page)


def test_a_training_report_needs_no_network(run: RunFolder) -> None:
    page = run.report.read_text()
    without_library = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", without_library)
    assert "<script src" not in page
    assert '<link rel="stylesheet"' not in page


def test_a_training_report_is_rebuilt_to_the_same_bytes(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run.report.read_bytes()
    run.report.unlink()
    assert main(["report", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(run.report)}
    assert run.report.read_bytes() == before


def test_selection_on_the_test_split_is_said_in_bold(run: RunFolder) -> None:
    settings = run.config_file.read_text().replace('select = "valid"', 'select = "test"')
    run.config_file.write_text(settings)

    def on_test(header: dict[str, Any]) -> dict[str, Any]:
        return header | {"tried": [row | {"split": "test"} for row in header["tried"]]}

    change_headers(run, on_test)
    write_report(run)
    page = run.report.read_text()
    bold = "<strong>The checkpoints were selected on the test split: these are not held-out results.</strong>"
    assert bold in page
    assert page.index(bold) < page.index("<table>")
    assert "(fewest mean turns) on the test split</h2>" in page
    assert "validation split" not in page


def test_of_a_training_that_keeps_the_last_checkpoint_that_is_shown(run: RunFolder) -> None:
    run.config_file.write_text(run.config_file.read_text().replace('select = "valid"', 'select = "last"'))

    def worsened(header: dict[str, Any]) -> dict[str, Any]:
        *others, last = header["tried"]
        return header | {"tried": [*others, last | {"at": 14.5}]}

    change_headers(run, worsened)
    write_report(run)
    page = run.report.read_text()
    assert "<h2>The last checkpoint on the validation split</h2>" in page
    assert re.search(r"unified, seed 0</td><td>64</td>.*<td>14\.5000</td>", page)


def test_a_training_without_trials_shows_its_learning_curves_alone(run: RunFolder) -> None:
    change_headers(run, lambda header: {k: v for k, v in header.items() if k not in ("tried", "best")})
    write_report(run)
    page = run.report.read_text()
    assert set(figures_of(page)) == set(LEARNING)
    assert " split</h2>" not in page


def test_a_killed_training_shows_what_it_did(run: RunFolder) -> None:
    tensors, header = checkpoint.load(run.checkpoint("unified", 0))
    halfway = {"done": 32, "finished": False, "tried": header["tried"][:1]}
    checkpoint.save(run.checkpoint("unified", 0), tensors, header | halfway)
    run.checkpoint("unified", 1).unlink()
    run.timings.unlink()
    for seed in (0, 1):
        (events,) = run.tensorboard("unified", seed).iterdir()
        events.write_bytes(events.read_bytes()[:600])
    write_report(run)
    page = run.report.read_text()
    assert "32 of 64, not finished" in page
    assert "no checkpoint" in page
    figures = figures_of(page)
    assert lines_of(figures["success"]) == ["unified, seed 0"]
    assert figures["episode-success"]["data"][-1]["x"] == [32]
    assert "standard deviation</td>" not in page


def test_a_training_killed_before_its_first_point_has_a_report(run: RunFolder) -> None:
    for seed in (0, 1):
        run.checkpoint("unified", seed).unlink()
        (events,) = run.tensorboard("unified", seed).iterdir()
        events.write_bytes(b"")
    write_report(run)
    assert not figures_of(run.report.read_text())


def test_a_folder_with_nothing_trained_has_no_report(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run.report.unlink()
    for folder in ("checkpoints", "tensorboard"):
        shutil.rmtree(run.path / folder)
    assert main(["report", str(run.path)]) == 2
    assert "not finished" in capsys.readouterr().err
    assert not run.report.exists()


def test_a_broken_checkpoint_is_named(run: RunFolder) -> None:
    run.checkpoint("unified", 1).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"unified-seed1\.safetensors: not a checkpoint"):
        write_report(run)


def test_a_comparison_shows_the_learning_curves_of_its_arms(tmp_path: Path, bistros: Path) -> None:
    settings = {"arms": "greedy,random", "dialogues": 4, "world": str(bistros), "embeddings": {"epochs": 1}}
    out = tmp_path / "run"
    compare(resolve(settings), out)
    run = RunFolder(out)
    assert "Learning curves" not in run.report.read_text()  # rules learn nothing

    for seed, rate in ((0, 0.25), (1, 0.75)):
        points = [(16 * n, rate) for n in range(1, 4)]
        write_curves(run.tensorboard("random", seed), episode_success=points, episode_turns=points)
    write_curves(run.tensorboard("stranger", 0), episode_success=[(16, 1.0)])
    (run.tensorboard("random", 1) / "events.out.tfevents.9").write_text("broken" * 9)
    write_report(run)
    page = run.report.read_text()
    assert page.index("<h2>Figures</h2>") < page.index("<h2>Learning curves</h2>")
    assert "Nothing can be read in: random-seed1/events.out.tfevents.9." in page
    figures = figures_of(page)
    assert set(figures) == {"success", "forest", "strategies", "latents", "belief", *LEARNING}
    low, high, mean = figures["episode-success"]["data"]
    assert (low["y"], high["y"], mean["y"]) == ([0.25] * 3, [0.75] * 3, [0.5] * 3)
    assert mean["name"] == "random"
    assert mean["x"] == [16, 32, 48]
    colours = figures["success"]["layout"]["colorway"]
    assert mean["line"]["color"] == colours[1]  # that of the arm in the other figures
