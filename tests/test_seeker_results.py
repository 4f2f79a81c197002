"""What a run's traces, results and report say of the seekers that were met."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import jsonschema
import numpy as np
import pytest

from unicrs_rl.experiments import realised
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import RunConfig, resolve
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.experiments.costs import by_task, taken
from unicrs_rl.experiments.realised import Met
from unicrs_rl.experiments.report import write_report
from unicrs_rl.experiments.results import results, schema
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.seeker_figures import courses, seeker_figures
from unicrs_rl.experiments.traces import trace
from unicrs_rl.experiments.verdict import rests_on, seekers_named
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.judging.diversity import measure_diversity
from unicrs_rl.judging.metrics import METRICS
from unicrs_rl.language.ledger import Price
from unicrs_rl.simulators.effects import EffectTable

ARMS = ("max-entropy", "greedy")
DIALOGUES = 24
OFF_PATH = {
    "indifferent": 0.2,
    "changes_mind": 1.0,
    "second_intent": 0.3,
    "off_topic": 0.2,
    "encouraging": 0.5,
    "hedging": 0.3,
}
SEEKERS = {
    "off_path": OFF_PATH,
    "latents": {"patience": {"sweep": [-1, 1]}, "pressure": 0.5},
}


@pytest.fixture(scope="module")
def off_path(movies: World, movies_embeddings: Embeddings) -> Components:
    """Seekers that leave the path often, one variable swept and one pinned."""
    config = resolve({"arms": ARMS, "dialogues": DIALOGUES, "seeds": (0,), "seekers": SEEKERS})
    return build(config, movies, movies_embeddings)


@pytest.fixture(scope="module")
def episodes(off_path: Components) -> dict[str, list[Episode]]:
    sessions = off_path.world.sessions(Split.TEST, DIALOGUES, 0)
    return {arm: Conversations(off_path.of(arm)).hold(off_path.policy(arm, 0), sessions) for arm in ARMS}


@pytest.fixture
def traces(off_path: Components, episodes: dict[str, list[Episode]]) -> list[dict[str, Any]]:
    lines = [trace(episode, arm, 0, off_path) for arm, held in episodes.items() for episode in held]
    return json.loads(json.dumps(lines))  # as a run reads them back


def found_in(config: RunConfig, traces: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {arm: use.per_dialogue(Price()) for arm, use in taken(traces).items()}
    return results(config, "movies", "0" * 16, dict.fromkeys(ARMS, 0), traces, usage, {})


def with_drift(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, where in every third dialogue the first reply leaks, and nowhere else one drifts."""
    changed = copy.deepcopy(traces)
    for line in changed:
        for number, turn in enumerate(line["turns"]):
            turn["reply"]["drift"] = ["leak"] if line["index"] % 3 == 0 and number == 0 else []
    return changed


def test_a_trace_tells_what_the_seeker_did_believed_and_was_after(
    episodes: dict[str, list[Episode]], traces: list[dict[str, Any]]
) -> None:
    held = [episode for arm in ARMS for episode in episodes[arm]]
    behaviours, beliefs, withdrawn = set(), 0, 0
    for episode, line in zip(held, traces, strict=True):
        goal = dict(line["goal"])
        assert goal["targets"] == [episode.session.target]
        for turn, told, belief in zip(episode.dialogue.turns, line["turns"], episode.beliefs, strict=True):
            behaviours.update(told["reply"]["behaviours"])
            withdrawn += len(told["reply"]["withdrawn"])
            assert tuple(told["reply"]["drift"]) == turn.reply.drift
            assert ("belief" in told) == (belief is not None)
            if belief is not None:
                beliefs += 1
                assert told["belief"]["item"] == belief.item
                assert told["belief"]["posterior"] == pytest.approx(belief.posterior, abs=1e-4)
                assert told["belief"]["evidence"].keys() == belief.evidence.keys()
            goal |= told["goal"]
        after = episode.goals[-1]
        assert goal["rejected"] == sorted(after.rejected)
        assert goal["yes"] == sorted(after.yes)
        assert goal["targets"] == list(after.targets)
        assert line["ratings"] == dict(episode.ratings)
        assert all(1 <= rating <= 5 for rating in line["ratings"].values())
        assert line["ratings"]
    assert behaviours == set(realised.BEHAVIOURS)
    assert beliefs > DIALOGUES
    assert withdrawn


def test_dialogues_that_drift_are_counted_and_left_out(
    off_path: Components, traces: list[dict[str, Any]]
) -> None:
    config = off_path.config
    drifting = with_drift(traces)
    found = found_in(config, drifting)
    steady = [line for line in drifting if line["index"] % 3]
    for arm in ARMS:
        entry = found["arms"][arm]["seekers"]
        assert entry["drift"]["share"] == pytest.approx(1 / 3)
        assert entry["drift"]["per_dialogue"] == {"leak": pytest.approx(1 / 3, abs=1e-6)}
        low, high = entry["drift"]["ci95"]
        assert 0 < low < 1 / 3 < high < 1
        assert entry["without_drift"]["dialogues"] == DIALOGUES * 2 // 3
        kept = [line["metrics"]["at"] for line in steady if line["arm"] == arm]
        assert entry["without_drift"]["metrics"]["at"] == pytest.approx(fmean(kept), abs=1e-6)
    alone = found_in(config, steady)
    assert found["without_drift"]["comparisons"] == alone["comparisons"]
    assert found["comparisons"] != alone["comparisons"]
    assert found["without_drift"]["verdict"].split(",")[0] == alone["verdict"].split(",")[0]


def test_without_drift_everything_is_said_once(off_path: Components, traces: list[dict[str, Any]]) -> None:
    steady = with_drift(traces)
    for line in steady:
        line["turns"][0]["reply"]["drift"] = []
    found = found_in(off_path.config, steady)
    assert "without_drift" not in found
    for arm in ARMS:
        entry = found["arms"][arm]["seekers"]
        assert "without_drift" not in entry
        assert entry["drift"]["share"] == 0
        assert entry["drift"]["ci95"][1] > 0.05  # none seen in 24 does not say that there are none


def test_of_seekers_without_goals_nothing_is_said_of_drift(
    off_path: Components, traces: list[dict[str, Any]]
) -> None:
    for line in traces:
        del line["goal"]
    found = found_in(off_path.config, traces)
    assert [found["arms"][arm]["seekers"]["drift"] for arm in ARMS] == [None, None]


def test_behaviours_are_counted_by_reply_and_by_dialogue(
    off_path: Components, traces: list[dict[str, Any]]
) -> None:
    found = found_in(off_path.config, traces)
    assert found["protocol"]["seekers"]["rates"]["changed-mind"] == OFF_PATH["changes_mind"]
    for arm in ARMS:
        mine = [line for line in traces if line["arm"] == arm]
        replies = [turn["reply"]["behaviours"] for line in mine for turn in line["turns"]]
        done = found["arms"][arm]["seekers"]["behaviours"]
        hedged = sum("hedging" in some for some in replies)
        assert hedged
        assert done["hedging"] == pytest.approx(hedged / len(replies), abs=1e-6)
        turned = sum(any("changed-mind" in t["reply"]["behaviours"] for t in line["turns"]) for line in mine)
        assert turned
        assert done["changed-mind"] == pytest.approx(turned / len(mine), abs=1e-6)


def test_latents_are_found_as_they_were_set(off_path: Components, traces: list[dict[str, Any]]) -> None:
    found = found_in(off_path.config, traces)
    assert found["protocol"]["seekers"]["latents"] == {
        "patience": {"sweep": [-1.0, 1.0]},
        "pressure": {"pin": 0.5},
    }
    for arm in ARMS:
        latents = found["arms"][arm]["seekers"]["latents"]
        for when in ("first", "last"):
            assert latents["pressure"][when] == {"mean": 0.5, "sd": 0.0, "quantiles": [0.5] * 5}
            assert latents["patience"][when]["mean"] == 0.0
            assert latents["patience"][when]["sd"] == 1.0
        ends = [line["turns"][-1]["latents"]["interest"] for line in traces if line["arm"] == arm]
        told = latents["interest"]["last"]
        assert told["mean"] == pytest.approx(np.mean(ends), abs=1e-6)
        assert told["quantiles"] == pytest.approx(np.quantile(ends, realised.QUANTILES), abs=1e-6)


def test_metrics_are_given_at_each_value_of_a_sweep(
    off_path: Components, traces: list[dict[str, Any]]
) -> None:
    found = found_in(off_path.config, traces)
    for arm in ARMS:
        sweeps = found["arms"][arm]["seekers"]["sweeps"]
        assert sweeps.keys() == {"patience"}
        low, high = sweeps["patience"]
        assert (low["value"], high["value"]) == (-1, 1)
        assert low["dialogues"] + high["dialogues"] == DIALOGUES
        mine = [line for line in traces if line["arm"] == arm and line["latents"]["patience"] == 1]
        assert high["dialogues"] == len(mine)
        assert high["metrics"]["at"] == pytest.approx(fmean(line["metrics"]["at"] for line in mine), abs=1e-6)


def test_diversity_of_traces_is_that_of_the_dialogues(
    off_path: Components, episodes: dict[str, list[Episode]], traces: list[dict[str, Any]]
) -> None:
    found = found_in(off_path.config, traces)
    for arm in ARMS:
        held = measure_diversity([episode.dialogue for episode in episodes[arm]])
        assert found["arms"][arm]["seekers"]["diversity"] == realised.rounded(held)
    packaged = EffectTable.read().human
    assert found["humans"].keys() == packaged.keys()
    assert {one["length"] for one in found["humans"].values()} == {one.length for one in packaged.values()}


def test_what_seekers_ask_of_a_model_is_a_cost_of_its_own(
    off_path: Components, traces: list[dict[str, Any]]
) -> None:
    before = found_in(off_path.config, traces)
    call = {"task": "seeker", "prompt": "", "tokens_in": 100, "tokens_out": 20, "seconds": 2.0, "retries": 1}
    for line in traces:
        line["seeker_calls"] = [{**call, "failure": ""}]
        line["turns"][0]["seeker_calls"] = [{**call, "failure": "no JSON"}]
    after = found_in(off_path.config, traces)
    use = taken(traces)["greedy"]
    timings = {"language_model": {"greedy": use.on_the_way()}}
    cost, earlier = after["arms"]["greedy"]["cost"], before["arms"]["greedy"]["cost"]
    assert cost["seeker_calls_per_dialogue"] == 2
    assert cost["seeker_tokens_per_dialogue"] == 240
    assert cost["failed_seeker_calls"] == DIALOGUES
    assert cost["seeker_by_task"]["seeker"]["retries"] == 2
    for name in ("lm_calls_per_dialogue", "tokens_per_dialogue", "failed_calls", "by_task"):
        assert cost[name] == earlier[name]
    row = next(row for row in by_task(after, timings) if row["arm"] == "greedy" and "seeker" in row["task"])
    assert row["seconds"] == 4.0
    price = Price(input=1.0, output=10.0)
    assert (
        use.whole(price)["usd_per_dialogue"]
        > taken(without_seekers(traces))["greedy"].whole(price)["usd_per_dialogue"]
    )


def without_seekers(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    clean = copy.deepcopy(traces)
    for line in clean:
        for told in (line, *line["turns"]):
            told.pop("seeker_calls", None)
    return clean


def test_what_a_verdict_rests_on_names_the_seekers() -> None:
    assert "simulated latent seekers of the world movies" in rests_on(resolve({}), "movies")
    seekers = {"effects": "strong", "population": "holistic", "latents": {"trust": {"normal": [0, 2]}}}
    config = resolve({"seekers": seekers})
    named = "latent seekers (effects strong, population holistic, trust drawn from a normal distribution)"
    assert seekers_named(config) == named
    assert named in rests_on(config, "movies")
    assert seekers_named(resolve({"user": "mcr"})) == "mcr seekers"


def test_a_belief_is_shown_where_its_item_was_recommended(traces: list[dict[str, Any]]) -> None:
    found = courses(traces, ARMS)
    figure = seeker_figures(found)["belief"]
    lines = {line.name: line for line in figure.data if line.name}
    for arm in ARMS:
        told = [
            (line["turns"][0]["belief"]["prior"], line["turns"][0]["belief"]["posterior"])
            for line in traces
            if line["arm"] == arm and line["turns"][0]["decision"]["items"]
        ]
        assert len(told) > 1
        prior, posterior = lines[f"{arm}, title alone"], lines[f"{arm}, after the turn"]
        assert prior.x[0] == posterior.x[0] == 1
        assert prior.y[0] == pytest.approx(fmean(pair[0] for pair in told), abs=1e-3)
        assert posterior.y[0] == pytest.approx(fmean(pair[1] for pair in told), abs=1e-3)
        assert posterior.text[0] == f"{len(told)} dialogues"


def test_histograms_hold_every_dialogue(traces: list[dict[str, Any]]) -> None:
    figure = seeker_figures(courses(traces, ARMS))["latents"]
    titles = [note.text for note in figure.layout.annotations]
    assert titles == list(traces[0]["latents"])
    bars = [shown for shown in figure.data if shown.type == "bar"]
    assert len(bars) == len(titles)
    assert all(sum(bar.y) == pytest.approx(1, abs=1e-3) for bar in bars)
    moved = {shown.xaxis for shown in figure.data if shown.type == "scatter"}
    assert len(moved) < len(titles)  # traits, and what is pinned, stay where they are


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "rules"
    settings = {"arms": ARMS, "dialogues": 12, "seeds": (0,), "embeddings": {"epochs": 1}, "seekers": SEEKERS}
    compare(resolve(settings), out)
    return out


def test_the_report_has_a_section_on_the_seekers(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert ">The seekers</h2>" in page
    said = "latent seekers (rates of one&#39;s own off the path, patience swept, pressure pinned)"
    assert said in page
    for table in ("Diversity, beside human dialogues", "Hidden variables", "Off the path", "By value of"):
        assert table in page
    for name in ("latents", "belief"):
        assert f'id="figure-{name}"' in page
    without_library = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", without_library)


def test_a_run_of_the_first_version_still_has_a_report(run: Path, tmp_path: Path) -> None:
    old = RunFolder(tmp_path)
    found = json.loads((run / "results.json").read_text())
    for name in ("humans", "without_drift"):
        found.pop(name, None)
    found["schema_version"] = 1
    del found["protocol"]["seekers"]
    for entry in found["arms"].values():
        del entry["seekers"]
        for name in ("seeker_calls_per_dialogue", "seeker_tokens_per_dialogue", "failed_seeker_calls"):
            del entry["cost"][name]
    jsonschema.validate(found, schema())
    lines = [json.loads(line) for line in (run / "traces.jsonl").read_text().splitlines()]
    for line in lines:
        del line["goal"], line["ratings"]
        for turn in line["turns"]:
            del turn["goal"]
            turn.pop("belief", None)
            for name in ("withdrawn", "behaviours", "drift"):
                del turn["reply"][name]
    old.results.write_text(json.dumps(found))
    old.traces.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = re.sub(r"\n\[seekers.*?(?=\n\[(?!seekers))", "\n", (run / "config.toml").read_text(), flags=re.S)
    assert "seekers" not in config
    old.config_file.write_text(config)
    for name in ("provenance.json", "timings.json"):
        (tmp_path / name).write_text((run / name).read_text())
    write_report(old)
    page = old.report.read_text()
    assert "<h3>Numbers</h3>" in page
    assert "The seekers" not in page
    assert not Met.of(lines[0]).tracked
    assert {metric.name for metric in METRICS} <= found["arms"]["greedy"]["metrics"].keys()
