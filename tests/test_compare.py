"""The head-to-head from end to end, at small size."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import OnExisting, resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.report import write_report
from unicrs_rl.experiments.results import schema
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.traces import trace
from unicrs_rl.graphs.belief import Reject
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Session, Split, World

SMALL: dict[str, Any] = {
    "arms": "unified,rso,max-entropy,random",
    "dialogues": 24,
    "train_dialogues": 48,
    "seeds": "0,1",
    "embeddings": {"epochs": 2},
    "arm": {"rso": {"width": 32, "warm_up_epochs": 1}, "unified": {"warm_up_turns": 32}},
}


TALK = {
    "dialog_id": "d",
    "dialog": [
        {"speaker": "SEEKER", "text": "hello", "strategy": None},
        {"speaker": "RECOMMENDER", "text": "what do you like?", "strategy": "opinion_inquiry"},
    ],
}
"""A human dialogue as INSPIRED writes it."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    compare(resolve(SMALL), out)
    return out


def test_a_run_leaves_what_the_design_says(finished: Path) -> None:
    for name in (
        "config.toml",
        "provenance.json",
        "traces.jsonl",
        "results.json",
        "timings.json",
        "report.html",
        "dialogues.csv",
    ):
        assert (finished / name).stat().st_size > 0
    checkpoints = {path.name for path in (finished / "checkpoints").iterdir()}
    assert checkpoints == {
        "embeddings.safetensors",
        *(f"{arm}-seed{seed}.safetensors" for arm in ("unified", "rso") for seed in (0, 1)),
    }
    assert not (finished / "parts").exists()


def test_results_follow_the_schema(finished: Path) -> None:
    found = json.loads((finished / "results.json").read_text())
    jsonschema.validate(found, schema())
    assert list(found["arms"]) == SMALL["arms"].split(",")  # in the order they were asked for


def test_the_schema_knows_every_way_to_take_a_no() -> None:
    assert schema()["properties"]["protocol"]["properties"]["reject"]["enum"] == list(Reject)


def test_traces_hold_every_turn_of_every_dialogue(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "traces.jsonl").read_text().splitlines()]
    counts = {(line["arm"], line["seed"]): 0 for line in lines}
    for line in lines:
        counts[line["arm"], line["seed"]] += 1
        assert len(line["turns"]) == line["outcome"]["turn"] or not line["outcome"]["success"]
        for turn in line["turns"]:
            assert {
                "decision",
                "scores",
                "utterance",
                "facts",
                "reply",
                "judge",
                "reward",
                "latents",
                "calls",
                "invented",
                "goal",
                "view",
            } == set(turn) - {"belief"}
            assert [call["task"] for call in turn["calls"]] == [
                "preference_reasoner",
                "fact_retriever",
                "actor",
            ]
    assert counts == {
        ("unified", 0): 24,
        ("unified", 1): 24,
        ("rso", 0): 24,
        ("rso", 1): 24,
        ("max-entropy", 0): 24,
        ("random", 0): 24,
    }


def test_every_arm_meets_the_same_held_out_triples(finished: Path) -> None:
    triples: dict[tuple[str, int], set[tuple[str, int, int]]] = {}
    for line in map(json.loads, (finished / "traces.jsonl").read_text().splitlines()):
        triples.setdefault((line["arm"], line["seed"]), set()).add(
            (line["seeker"], line["target"], line["key"])
        )
    assert len({frozenset(found) for found in triples.values()}) == 1


def test_held_out_triples_are_disjoint_from_training_ones(movies: World) -> None:
    train = {(s.seeker, s.target) for s in movies.sessions(Split.TRAIN, None, 0)}
    test = {(s.seeker, s.target) for s in movies.sessions(Split.TEST, None, 0)}
    assert not train & test
    assert not {seeker for seeker, _ in train} & {seeker for seeker, _ in test}


def test_learning_curves_are_written(finished: Path) -> None:
    curves = EventAccumulator(str(finished / "tensorboard" / "unified-seed0"))
    curves.Reload()
    assert [point.step for point in curves.Scalars("episode/reward")] == [16, 32, 48]


def test_checkpoints_are_safetensors_with_a_json_header(finished: Path) -> None:
    with safe_open(finished / "checkpoints" / "rso-seed0.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["header"])
    assert header["finished"] is True
    assert header["done"] == 48


@pytest.mark.parametrize(
    ("workers", "batch_size"), [(1, 1), (1, 7), pytest.param(2, 24, marks=pytest.mark.slow)]
)
def test_results_depend_on_neither_batch_size_nor_workers(
    finished: Path, tmp_path: Path, workers: int, batch_size: int
) -> None:
    compare(resolve(SMALL), tmp_path / "again", workers=workers, batch_size=batch_size)
    assert (tmp_path / "again" / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_another_seed_gives_other_results(finished: Path, tmp_path: Path) -> None:
    compare(resolve({**SMALL, "seeds": "5", "evaluation_seed": 1, "arms": "unified"}), tmp_path / "other")
    other = json.loads((tmp_path / "other" / "results.json").read_text())
    mine = json.loads((finished / "results.json").read_text())
    assert other["arms"]["unified"]["metrics"] != mine["arms"]["unified"]["metrics"]


def test_the_config_of_a_run_reproduces_it(finished: Path, tmp_path: Path) -> None:
    compare(resolve({}, finished / "config.toml"), tmp_path / "replayed")
    assert (tmp_path / "replayed" / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_resuming_a_finished_run_changes_nothing(finished: Path) -> None:
    before = (finished / "results.json").read_bytes(), (finished / "traces.jsonl").read_bytes()
    compare(resolve(SMALL), finished, existing="resume")
    assert before == ((finished / "results.json").read_bytes(), (finished / "traces.jsonl").read_bytes())


def test_report_is_rebuilt_from_the_folder_alone(finished: Path) -> None:
    report = finished / "report.html"
    before = report.read_text()
    report.unlink()
    write_report(RunFolder(finished))
    assert report.read_text() == before


def test_report_needs_no_network(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    without_library = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", without_library)
    assert "<script src" not in page
    assert '<link rel="stylesheet"' not in page


def test_report_opens_with_the_verdict_and_shows_all_arms(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    found = json.loads((finished / "results.json").read_text())
    text = page.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
    assert found["verdict"] in text
    assert text.index(found["verdict"]) < text.index("<table>")
    for arm in found["arms"]:
        assert f"<th>{arm}</th>" in page


def test_text_from_data_cannot_break_out_of_the_report(finished: Path, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    for path in finished.iterdir():
        if path.is_file():
            (copy.path / path.name).write_bytes(path.read_bytes())
    evil = "</script><script>alert(1)</script>"
    lines = [json.loads(line) for line in copy.traces.read_text().splitlines()]
    for line in lines:
        line["opening"]["text"] = evil
        for turn in line["turns"]:
            turn["utterance"] = evil
            turn["decision"]["strategy"] = evil
    copy.traces.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(copy)
    assert "<script>alert(1)" not in copy.report.read_text()


def test_an_existing_folder_is_refused_without_resume_or_force(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    with pytest.raises(InputError, match="--resume"):
        compare(resolve(SMALL), finished)
    assert before == {path: path.stat().st_mtime_ns for path in finished.iterdir()}


def test_a_run_is_not_resumed_with_other_settings(finished: Path) -> None:
    with pytest.raises(InputError, match="'dialogues'"):
        compare(resolve({**SMALL, "dialogues": 25}), finished, existing="resume")


def test_force_does_not_delete_what_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a run folder"):
        compare(resolve(SMALL), tmp_path, existing="force")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def rules_run(out: Path, existing: OnExisting = "refuse", **settings: Any) -> dict[str, Any]:
    """A run of a second: two rules on a small catalogue."""
    small = {"arms": "greedy,random", "dialogues": 4, "embeddings": {"epochs": 1}}
    return compare(resolve({**small, **settings}), out, existing)[0]


@pytest.mark.parametrize("foreign", ["thesis.txt", "figures/one.png", "checkpoints/best.pt", "parts"])
def test_force_deletes_nothing_that_no_run_wrote(tmp_path: Path, bistros: Path, foreign: str) -> None:
    out = tmp_path / "run"
    rules_run(out, world=str(bistros))
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("years of work")
    before = sorted(out.rglob("*"))
    with pytest.raises(InputError, match=foreign.split("/", maxsplit=1)[0]):
        rules_run(out, "force", world=str(bistros))
    assert sorted(out.rglob("*")) == before


def test_force_does_not_take_settings_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('world = "movies"\n')
    with pytest.raises(InputError, match="not a run folder"):
        rules_run(tmp_path, "force")
    assert (tmp_path / "config.toml").read_text() == 'world = "movies"\n'


def test_force_replaces_a_run_with_what_a_kill_left_in_it(tmp_path: Path, bistros: Path) -> None:
    out = tmp_path / "run"
    rules_run(out, world=str(bistros))
    left = ("parts/greedy-seed0.jsonl", "parts/.greedy-seed0.timing.json.tmp", ".traces.jsonl.tmp")
    (out / "parts").mkdir()
    for name in (*left, ".mine"):
        (out / name).write_text("x")
    rules_run(out, "force", world=str(bistros), dialogues=5)
    assert not any((out / name).exists() for name in left)
    assert (out / ".mine").exists()  # hidden and not ours: neither in the way nor deleted


def test_a_killed_replacement_leaves_a_run_folder(
    tmp_path: Path, bistros: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    rules_run(out, world=str(bistros))
    deleted: list[str] = []
    unlink = Path.unlink

    def watched(path: Path, missing_ok: bool = False) -> None:
        if path.is_relative_to(out) and path.name != ".lock":
            deleted.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    rules_run(out, "force", world=str(bistros))
    assert (deleted[0], [n for n in deleted if n == "config.toml"]) == ("results.json", ["config.toml"])
    assert "config.toml" not in deleted[: deleted.index("traces.jsonl")]


def test_a_run_of_rules_leaves_the_same_folders(tmp_path: Path, bistros: Path) -> None:
    out = tmp_path / "run"
    rules_run(out, world=str(bistros))
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"checkpoints", "tables", "tensorboard"}


def test_resuming_a_finished_run_clears_up_after_a_kill(tmp_path: Path, bistros: Path) -> None:
    out = tmp_path / "run"
    found = rules_run(out, world=str(bistros))
    (out / "report.html").unlink()
    (out / "parts").mkdir()
    for name in ("parts/greedy-seed0.jsonl", ".report.html.tmp", "checkpoints/.embeddings.safetensors.tmp"):
        (out / name).write_text("half")
    assert rules_run(out, "resume", world=str(bistros)) == found
    assert {path.name for path in out.iterdir()} >= {"report.html", "results.json"}
    assert not (out / "parts").exists()
    assert not list(out.rglob("*.tmp"))


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path, bistros: Path) -> None:
    out, corpus = tmp_path / "run", tmp_path / "talk"
    corpus.mkdir()
    (corpus / "inspired-train.jsonl").write_text(json.dumps(TALK) + "\n")
    settings = {"world": str(bistros), "corpus": str(corpus)}
    rules_run(out, **settings)
    origin = json.loads((out / "provenance.json").read_text())
    assert set(origin["data"]) == {"items.csv", "interactions.csv", "world.toml"}
    assert set(origin["corpus"]) == {"inspired-train.jsonl"}
    with (bistros / "interactions.csv").open("a") as table:
        table.write("u1,2,5\n")
    with pytest.raises(InputError, match=r"the data changed.*interactions\.csv"):
        rules_run(out, "resume", **settings)


def test_without_training_dialogues_the_planner_still_learns_from_the_corpus(
    tmp_path: Path, movies: World, movies_embeddings: Embeddings
) -> None:
    (tmp_path / "inspired-train.jsonl").write_text(json.dumps(TALK) + "\n")
    config = resolve({"corpus": str(tmp_path), "train_dialogues": 0})
    made = build(config, movies, movies_embeddings)
    assert len(made.policy("rso", 0, 0).context.corpus) == 1
    assert not made.policy("rso", 0).context.corpus  # restored from a checkpoint: the corpus may be gone


def test_two_runs_cannot_write_to_one_folder(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", resolve(SMALL), "refuse")
    with folder.locked(), pytest.raises(InputError, match="another run"):
        compare(resolve(SMALL), tmp_path / "run", existing="resume")


def run_in_background(out: Path, *more: str) -> subprocess.Popen[bytes]:
    settings = out.parent / "small.toml"
    settings.write_text(resolve(SMALL).toml())
    command = [sys.executable, "-m", "unicrs_rl.cli", "compare", "--config", str(settings), "--out", str(out)]
    return subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def killed_when(out: Path, condition: str, workers: str) -> None:
    """Start the small run and kill -9 it as soon as a file matching the pattern is there and not empty."""
    process = run_in_background(out, "--workers", workers)
    for _ in range(1200):
        if any(path.stat().st_size for path in out.glob(condition)) or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "workers"),
    [
        ("checkpoints/unified-seed0.safetensors", "1"),
        ("checkpoints/rso-seed1.safetensors", "1"),
        ("parts/unified-seed1.jsonl", "1"),
        ("checkpoints/unified-seed1.safetensors", "2"),
    ],
)
def test_a_killed_run_resumes_to_the_same_result(
    finished: Path, tmp_path: Path, condition: str, workers: str
) -> None:
    out = tmp_path / "killed"
    killed_when(out, condition, workers)
    assert run_in_background(out, "--resume", "--workers", workers).wait() == 0
    assert (out / "results.json").read_bytes() == (finished / "results.json").read_bytes()


@pytest.mark.slow
def test_workers_of_a_killed_run_do_not_outlive_it(tmp_path: Path) -> None:
    out = tmp_path / "killed"
    killed_when(out, "checkpoints/unified-seed0.safetensors", "2")
    time.sleep(3)
    mine = [pid for pid in os.listdir("/proc") if pid.isdigit() and str(out) in _command_line(pid)]
    assert not mine


def _command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return ""


def test_a_torn_trace_is_cut_off_and_done_again(
    finished: Path, tmp_path: Path, components: Components
) -> None:
    from unicrs_rl.experiments.evaluation import evaluate_into

    folder = RunFolder.open(tmp_path / "run", components.config, "refuse")
    sessions = components.world.sessions(Split.TEST, 6, 0)
    policy = components.policy("max-entropy", 0)
    evaluate_into(folder, policy, "max-entropy", 0, components, sessions)
    part = folder.part("max-entropy", 0)
    whole = [json.loads(line)["metrics"] for line in part.read_text().splitlines()]
    part.write_bytes(part.read_bytes()[:-700])
    evaluate_into(folder, policy, "max-entropy", 0, components, sessions)
    assert [json.loads(line)["metrics"] for line in part.read_text().splitlines()] == whole


@pytest.fixture(scope="module")
def learned(finished: Path, movies: World) -> Components:
    from unicrs_rl.experiments import checkpoint

    tensors, _ = checkpoint.load(finished / "checkpoints" / "embeddings.safetensors")
    return build(resolve(SMALL), movies, Embeddings.from_tensors(tensors))


@pytest.mark.parametrize("arm", ["unified", "rso", "max-entropy", "greedy", "random"])
def test_the_hidden_target_cannot_be_seen_before_a_reply_differs(
    finished: Path, learned: Components, arm: str
) -> None:
    """With the targets permuted, all decisions are the same until the first differing reply."""
    from unicrs_rl.experiments.training import restore
    from unicrs_rl.policy.base import Learner

    policy = learned.policy(arm, 0)
    if isinstance(policy, Learner):
        restore(policy, finished / "checkpoints" / f"{arm}-seed0.safetensors", learned)
    sessions = learned.world.sessions(Split.TEST, 60, 4)
    # a shared history, so that nothing but the target differs
    known = [dataclasses.replace(session, history=sessions[0].history[:3]) for session in sessions]
    permuted = [_with_target(s, known[(i + 17) % len(known)].target) for i, s in enumerate(known)]
    compared = 0
    conversations = Conversations(learned)
    for one, other in zip(
        conversations.hold(policy, known), conversations.hold(policy, permuted), strict=True
    ):
        if one.dialogue.opening.text != other.dialogue.opening.text:
            continue
        for mine, theirs in zip(one.dialogue.turns, other.dialogue.turns, strict=False):
            assert mine.decision == theirs.decision
            assert mine.utterance == theirs.utterance
            compared += 1
            if mine.reply.text != theirs.reply.text:
                break
    assert compared >= 3


def _with_target(session: Session, target: int) -> Session:
    return dataclasses.replace(session, target=target)


def test_all_arms_share_the_same_objects(learned: Components) -> None:
    """Perception, retrieval, Actor, language model and judge are the same instances whoever decides."""
    conversations = Conversations(learned)
    used: dict[str, set[int]] = {name: set() for name in ("reasoner", "retriever", "actor", "judge", "model")}
    for arm in ("unified", "rso", "greedy"):
        conversations.hold(learned.policy(arm, 0), learned.world.sessions(Split.TEST, 2, 0))
        for name, seen in used.items():
            seen.add(id(getattr(conversations.components, name)))
        for expert in (learned.reasoner, learned.retriever, learned.actor):
            used["model"].add(id(expert.model))
    assert all(len(seen) == 1 for seen in used.values())


def test_latents_are_traced_and_never_part_of_a_state(learned: Components) -> None:
    from unicrs_rl.dialogue import State

    episode = Conversations(learned).hold(
        learned.policy("greedy", 0), learned.world.sessions(Split.TEST, 1, 0)
    )[0]
    line = trace(episode, "greedy", 0, learned)
    assert {"patience", "rapport", "trust", "pressure"} <= set(line["turns"][0]["latents"])
    names = {field.name for field in dataclasses.fields(State)}
    assert names == {"key", "history", "preferences", "utterances", "decisions", "limit", "copy"}


def test_semantic_and_text_surface_agree(learned: Components) -> None:
    """With words perceived right, a rule does the same on both surfaces."""
    sessions = learned.world.sessions(Split.TEST, 60, 9)
    policy = learned.policy("max-entropy", 0)
    spoken = Conversations(learned, words=True).hold(policy, sessions)
    silent = Conversations(learned, words=False).hold(policy, sessions)
    same = [
        [turn.decision for turn in a.dialogue.turns] == [turn.decision for turn in b.dialogue.turns]
        for a, b in zip(spoken, silent, strict=True)
    ]
    assert sum(same) >= 0.95 * len(same)


@pytest.mark.slow
def test_the_unified_policy_beats_recommending_blindly_and_acting_at_random(tmp_path: Path) -> None:
    """One training of the default size; the head-to-head takes three."""
    found, _ = compare(resolve({"arms": "unified,greedy,random", "seeds": "1"}), tmp_path / "run")
    rows = {(row["b"], row["metric"]): row for row in found["comparisons"] if row["a"] == "unified"}
    for other in ("greedy", "random"):
        assert rows[other, "sr@15"]["ci95"][0] > 0
        assert rows[other, "at"]["ci95"][1] < 0
