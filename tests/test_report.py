"""Learning curves read back from event files, and the reports that show them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import INTERACTIONS, ITEMS
from torch.utils.tensorboard import SummaryWriter

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.curves import over_seeds, read_curves, smoothed
from unicrs_rl.experiments.report import GridCell, grid_heat_map, warnings, write_report
from unicrs_rl.experiments.report.dialogues import most_different
from unicrs_rl.experiments.report.forest import forests
from unicrs_rl.experiments.report.gist import Gist
from unicrs_rl.experiments.report.neighbourhood import neighbourhood
from unicrs_rl.experiments.report.pareto import Point, front, pareto
from unicrs_rl.experiments.report.strategies import strategy_figures
from unicrs_rl.experiments.report.success import rates
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.statistics import interval_of_arm
from unicrs_rl.graphs.world import World

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
    line = next((line for line in page.splitlines() if line.startswith("const figures = ")), None)
    if line is None:
        assert 'id="figure-' not in page
        return {}
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
        ">Learning curves</h2>",
        "<h2>Every checkpoint on the validation split</h2>",
        ">Settings</h2>",
        ">Provenance</h2>",
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
    assert page.index(">Success</h2>") < page.index(">Learning curves</h2>")
    assert "Nothing can be read in: random-seed1/events.out.tfevents.9." in page
    figures = figures_of(page)
    assert {"success", "forest-0", "strategies-0", "strategies-1", "latents", "belief", *LEARNING} <= set(
        figures
    )
    low, high, mean = figures["episode-success"]["data"]
    assert (low["y"], high["y"], mean["y"]) == ([0.25] * 3, [0.75] * 3, [0.5] * 3)
    assert mean["name"] == "random"
    assert mean["x"] == [16, 32, 48]
    success = {line["name"]: line["line"]["color"] for line in figures["success"]["data"] if "name" in line}
    assert mean["line"]["color"] == success["random"]  # that of the arm in the other figures


def gists(turns: Mapping[int, Sequence[int | None]], arm: str = "a") -> list[Gist]:
    """Dialogues of an arm by training seed: the turn of success, ``None`` without."""
    return [
        Gist(
            arm, seed, index, 0.0 if won is None else 1.0 / won, won, won or 5, ("No Strategy",) * (won or 5)
        )
        for seed, row in turns.items()
        for index, won in enumerate(row)
    ]


def test_bands_of_success_are_the_intervals_of_every_other_mean() -> None:
    found = rates(gists({0: [1, 2, 2, None, 5, 1], 1: [1, 3, 2, None, 5, None]}), limit=5)
    assert found.mean == pytest.approx([3 / 12, 6 / 12, 7 / 12, 7 / 12, 9 / 12], abs=1e-4)
    hits = np.array([[1, 1, 1, 0, 0, 1], [1, 0, 1, 0, 0, 0]], dtype=float)
    low, high = interval_of_arm(hits) or (0.0, 0.0)
    assert (found.low[1], found.high[1]) == (round(max(0.0, low), 4), round(min(1.0, high), 4))
    assert found.low[1] < found.mean[1] < found.high[1]


def test_bands_leave_out_what_broke_off() -> None:
    one, other = gists({0: [1, 2, None, 4]}), gists({1: [1, 2]})
    assert rates([*one, *other], limit=4).mean == [0.25, 0.5, 0.5, 0.75]


def priced(arm: str, cost: float, success: float) -> Point:
    return Point(arm, cost, success, success, success)


def test_the_front_holds_those_that_none_beats_in_both() -> None:
    points = [
        priced("c", 3, 0.9),
        priced("a", 1, 0.5),
        priced("b", 2, 0.4),
        priced("d", 3, 0.8),
        priced("e", 4, 0.9),
    ]
    assert [point.arm for point in front(points)] == ["a", "c"]


def test_costs_that_span_decades_are_drawn_by_logarithm_with_a_place_for_nothing() -> None:
    def arm(parameters: int) -> dict[str, Any]:
        return {
            "metrics": {"sr@15": 0.5, "at": 3.0},
            "ci95": {"sr@15": [0.4, 0.6]},
            "cost": {"parameters": parameters, "lm_calls_per_dialogue": 8.0},
        }

    found = pareto({"rule": arm(0), "small": arm(1_000), "large": arm(100_000)})
    assert list(found.figures) == ["pareto-parameters"]
    assert found.even == ["turns", "language-model calls", "tokens", "training seconds"]
    figure = found.figures["pareto-parameters"].figure
    axis = figure.layout.xaxis
    assert axis.type == "log"
    assert axis.ticktext[0] == "0"
    at = {line.name: line.x[0] for line in figure.data if line.mode == "markers"}
    assert at == {"rule": axis.tickvals[0], "small": 1_000, "large": 100_000}
    assert 10 ** axis.range[0] < at["rule"] < 10 ** axis.range[1]
    even = pareto({"small": arm(1_000), "larger": arm(1_500)}).figures["pareto-parameters"].figure
    assert even.layout.xaxis.type != "log"


def test_strategies_are_shown_by_progress_and_add_up() -> None:
    one = Gist(
        "a", 0, 0, 0.0, None, 5, ("Offer Help", "Credibility", "Credibility", "Credibility", "Similarity")
    )
    two = Gist("a", 0, 1, 0.0, None, 1, ("Credibility",))
    figure = strategy_figures({"a": [one, two]})["strategies-0"].figure
    shares = dict(zip(figure.data[0].y, np.array(figure.data[0].z), strict=True))
    assert shares["Offer Help"] == pytest.approx([1, 0, 0, 0, 0, 1 / 6], abs=1e-4)
    assert shares["Credibility"] == pytest.approx(
        [0, 1, 1, 1, 0, 4 / 6], abs=1e-4
    )  # a single turn is halfway
    assert shares["Similarity"] == pytest.approx([0, 0, 0, 0, 1, 1 / 6], abs=1e-4)


def comparison_row(metric: str, **more: Any) -> dict[str, Any]:
    return {"a": "a", "b": "b", "metric": metric, "difference": 0.2, "ci95": [0.1, 0.3], "p": 0.01, **more}


def test_the_forest_marks_what_was_declared_and_what_covers_seeds() -> None:
    rows = [
        comparison_row("sr@5", covers_seeds=False),
        comparison_row("sr@15", primary=True, covers_seeds=True),
        comparison_row("at", covers_seeds=True),
    ]
    made = forests({"arms": {"a": {}, "b": {}}, "comparisons": rows})
    shares, turns = made["forest-0"], made["forest-1"]
    (line,) = shares.figure.data
    assert list(line.y) == ["<b>◆ SR@15</b>", "SR@5"]  # declared first
    assert list(line.marker.symbol) == ["square", "square-open"]
    assert line.error_x.array == pytest.approx((0.1, 0.1))
    assert "Filled marks" in shares.caption
    assert "declared primary" in shares.caption
    assert turns.figure.data[0].y == ("AT (less is better)",)
    assert "They cover other training seeds" in turns.caption
    assert not forests({"arms": {"a": {}}, "comparisons": []})


def test_the_grid_is_a_heat_map_with_intervals() -> None:
    cells = [
        GridCell("joint", "graph, dqn", 0.8, 0.7, 0.9),
        GridCell("joint", "text, dqn", 0.4, 0.3, 0.5),
        GridCell("own", "graph, dqn", None),
    ]
    for better in (True, False):
        heat = grid_heat_map(cells, "SR@15", "share", higher_is_better=better).data[0]
        assert [list(line) for line in heat.z] == [[0.8, 0.4], [None, None]]
        assert [list(line) for line in heat.text] == [
            ["<b>0.800</b><br>0.700–0.900", "<b>0.400</b><br>0.300–0.500"],
            ["missing", ""],
        ]
        assert bool(heat.reversescale) is not better


def test_what_was_seen_is_drawn_with_names_where_they_are_known(movies: World) -> None:
    catalogue = movies.catalogue
    item = int(catalogue.edges[0, 0])
    attribute = int(catalogue.attributes_of(item)[0])
    other = next(a for a in range(catalogue.n_attributes) if a not in catalogue.attributes_of(item))
    turn = {
        "decision": {"attributes": [other], "items": []},
        "view": {
            "entropy": 3.0,
            "left": 8,
            "confidence": 0.5,
            "items": [[item, 0.4]],
            "questions": [[other, 0.99, 0.5]],
            "wanted": [attribute],
            "unwanted": [],
        },
    }
    seen = neighbourhood(turn, catalogue)
    assert seen is not None
    assert [(node.name, node.kind) for node in seen.attributes] == [
        (catalogue.attributes[attribute], "wanted"),
        (catalogue.attributes[other], "asked"),
    ]
    assert [node.name for node in seen.items] == [catalogue.items[item]]
    assert [edge.kind for edge in seen.edges] == [
        "wanted",
        "wanted",
        "asked",
    ]  # to the item; then the seeker's
    assert f"{catalogue.attributes[other]} (asked now 0.99 bits)" in seen.said
    bare = neighbourhood(turn, None)
    assert bare is not None
    assert [node.name for node in bare.items] == [f"item {item}"]
    assert neighbourhood({"decision": turn["decision"]}, catalogue) is None


def test_dialogues_differ_most_by_hdcg_then_by_turns() -> None:
    one = [
        Gist("a", 0, i, hdcg, None, turns, ())
        for i, (hdcg, turns) in enumerate([(0.5, 2), (0.5, 9), (0.9, 3)])
    ]
    other = [Gist("b", 0, i, 0.5, None, 2, ()) for i in range(3)]
    found = most_different({"a": one, "b": other})
    assert [(a.index, b.index) for a, b in found] == [(2, 2), (1, 1), (0, 0)]
    assert not most_different({"a": one})


def test_warnings_say_what_is_missing_and_what_is_unequal() -> None:
    arms = {"a": {"failed": {"dialogues": 3, "commonest": "timeout"}}, "b": {}}
    budget = {"name": "gradient_steps", "arms": {"a": 10.0, "b": 40.0}, "by_construction": False}
    found = {"arms": arms, "budgets": [budget | {"equal": False, "ratio": 4.0}]}
    said = warnings(found)
    assert len(said) == 2
    assert "gradient steps" in said[0]
    assert "missing: a 3 (timeout)" in said[1]
    assert all(one.endswith(".") and not one.endswith("..") for one in said)
    assert not warnings({"arms": {"a": {}, "b": {}}}, {"redial": {"beaten_by_copying": {}}, "inspired": {}})
    (copied,) = warnings({"arms": {}}, {"redial": {"beaten_by_copying": {"unified": ["1", "10"]}}})
    assert copied.startswith("In human dialogues (redial) copy-mentioned")
    assert "beats unified (Recall@1, @10)" in copied


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison on a catalogue of one's own."""
    place = tmp_path_factory.mktemp("compared")
    (place / "bistros").mkdir()
    (place / "bistros" / "items.csv").write_text(ITEMS)
    (place / "bistros" / "interactions.csv").write_text(INTERACTIONS)
    (place / "bistros" / "world.toml").write_text('[world]\nname = "bistros"\nnoun = "restaurant"\n')
    world = str(place / "bistros")
    settings = {"arms": "greedy,random", "dialogues": 6, "world": world, "embeddings": {"epochs": 1}}
    compare(resolve(settings), place / "run")
    return place / "run"


@pytest.fixture
def compared(finished: Path, tmp_path: Path) -> RunFolder:
    """The same, to be changed."""
    return RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))


def test_a_comparison_begins_with_its_verdict_and_shows_what_was_seen(compared: RunFolder) -> None:
    page = compared.report.read_text()
    found = json.loads(compared.results.read_text())
    assert re.search(r'</h1>\s*<p class="verdict">', page)
    assert escape(found["verdict"]) in page
    assert page.count('<svg class="hood"') == sum(
        len(line["turns"])
        for line in map(json.loads, compared.traces.read_text().splitlines())
        for row in found["why"]["most_different"]
        if (line["arm"], line["seed"], line["index"])
        in {(row[side]["arm"], row[side]["seed"], row[side]["index"]) for side in ("a", "b")}
    )
    assert "Golden Fork" in page
    for setting in ("limit = 15", "[statistics]", "[embeddings]"):
        assert setting in page
    without_library = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", without_library)
    before = compared.report.read_bytes()
    write_report(compared)
    assert compared.report.read_bytes() == before


def test_without_its_data_a_comparison_shows_numbers_for_names(compared: RunFolder) -> None:
    compared.config_file.write_text(compared.config_file.read_text().replace("/bistros", "/gone"))
    write_report(compared)
    page = compared.report.read_text()
    assert '<svg class="hood"' in page
    assert ">item 0<" in page


def test_a_run_that_noted_less_has_a_report_of_what_it_noted(compared: RunFolder) -> None:
    found = json.loads(compared.results.read_text())
    found["schema_version"] = 2
    for name in ("why", "budgets", "shortcut", "statistics"):
        found.pop(name, None)
    for row in found["comparisons"]:
        for name in set(row) - {"a", "b", "metric", "difference", "ci95", "p", "dialogues"}:
            del row[name]
    found["comparisons"] = [row for row in found["comparisons"] if row["metric"] != "rapport"]
    for entry in found["arms"].values():
        for part in ("metrics", "ci95", "counts"):
            entry[part].pop("rapport", None)
    lines = [json.loads(line) for line in compared.traces.read_text().splitlines()]
    for line in lines:
        line["metrics"].pop("rapport", None)
        for turn in line["turns"]:
            turn.pop("view", None)
    compared.results.write_text(json.dumps(found))
    compared.traces.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(compared)
    page = compared.report.read_text()
    assert "did not note what was believed" in page
    assert "did not note what was seen" in page
    assert "Rapport" not in page
    assert '<svg class="hood"' not in page
    assert {"forest-0", "success", "strategies-0"} <= set(figures_of(page))


def test_results_that_are_none_are_refused(compared: RunFolder) -> None:
    compared.results.write_text("{}")
    with pytest.raises(InputError, match="not the results of a run"):
        write_report(compared)
