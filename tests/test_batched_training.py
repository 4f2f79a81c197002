"""Training and evaluating with the batched engine: targets, checkpoints, resuming, presets, speed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unicrs_rl import draws
from unicrs_rl.dialogue import Act, Decisions, Dialogue, Outcome, Plan
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import bench as benching
from unicrs_rl.experiments import checkpoint, rollout, single
from unicrs_rl.experiments.compare import train_arm
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import RunConfig, Surface, resolve, trained_alone
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.curves import read_curves
from unicrs_rl.experiments.rollout import Outcomes, dreamed, hold
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.shipped import presets
from unicrs_rl.experiments.single import Contender, evaluate_arm
from unicrs_rl.experiments.timing import THRESHOLDS, fit_recommend_above
from unicrs_rl.experiments.training import restore, train
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Session, Split, World
from unicrs_rl.judging.metrics import hdcg, measure
from unicrs_rl.policy.base import Learner, Tensors
from unicrs_rl.policy.graph_network import Attention, NodeVectors
from unicrs_rl.policy.unified import Exploration, FewLeft, Importance, UnifiedConfig
from unicrs_rl.simulators.engine import Engine

SMALL: dict[str, dict[str, Any]] = {
    "unified": {
        "dim": 8,
        "heads": 2,
        "graph_layers": 1,
        "k": 5,
        "warm_up_turns": 32,
        "batch_size": 8,
        "capacity": 1000,
        "learning_rate": 0.01,
        "tau": 0.1,
    },
    "unified-ppo": {
        "dim": 8,
        "heads": 2,
        "graph_layers": 1,
        "k": 5,
        "rollout_turns": 200,
        "imitate_turns": 300,
        "epochs": 2,
    },
}
"""Learners that learn next to nothing, fast."""
BATCHED: dict[str, Any] = {
    "user": "mcr",
    "surface": "semantic",
    "arms": "unified",
    "seeds": "0",
    "train_dialogues": 192,
    "train_batch": 16,
    "recommend_above": 0.3,
    "embeddings": {"epochs": 2},
    "arm": SMALL,
}
TRIED = 80
"""Held-out conversations that a checkpoint is tried on here."""


class InterruptedHereError(Exception):
    """What a test stops a training with."""


class Waiting(Learner):
    """Asks (or chats) for some turns, then recommends. With each batch it learns to wait otherwise.

    Its tensor changes in place, as those of a network do.
    """

    def __init__(self, parts: Components, waits: Sequence[int] = (12, 4, 9, 13)) -> None:
        super().__init__(parts.policy("greedy", 0).context)
        self.wait, self.waits, self.learned = torch.zeros(1), waits, 0
        self.met: list[Session] = []

    def choose(self, states: States) -> Decisions:
        lists, asks = states.past.turn >= int(self.wait), states.attributes[:, 0] >= 0
        return Decisions(
            act=np.select([lists, asks], [int(Act.RECOMMEND), int(Act.ASK)], int(Act.CHAT)),
            strategy=np.zeros(len(states), dtype=np.int64),
            attributes=np.where(lists[:, None], -1, states.attributes[:, :1]),
            items=np.where(lists[:, None], states.items[:, : states.slate], -1),
        )

    def decide(self, states: States) -> list[Plan]:
        chosen = self.choose(states)
        return [chosen.plan(row) for row in range(len(states))]

    act, explore = decide, choose

    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        assert len(keys) == len(rewards) == len(over)

    def learn(self) -> dict[str, float]:
        self.wait.fill_(self.waits[self.learned % len(self.waits)])
        self.learned += 1
        return {"loss": 1 / self.learned}

    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        return {"wait": self.wait}, {"learned": self.learned, "resumable": resumable}

    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        self.wait.copy_(tensors["wait"])
        self.learned = header["learned"]


@pytest.fixture(autouse=True)
def few_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "TRIED_ON", TRIED)


def settings(**more: Any) -> RunConfig:
    return resolve({**BATCHED, **more})


@pytest.fixture(scope="module")
def parts(movies: World, movies_embeddings: Embeddings) -> Components:
    return build(settings(), movies, movies_embeddings)


def configured(parts: Components, **more: Any) -> Components:
    """The same components under settings that change none of them but the engine."""
    return replace(parts, config=settings(**more))


@pytest.fixture(scope="module")
def kept_embeddings(
    tmp_path_factory: pytest.TempPathFactory, movies: World, movies_embeddings: Embeddings
) -> RunFolder:
    """A run folder that has embeddings, so that nothing needs to make them."""
    folder = RunFolder(tmp_path_factory.mktemp("embeddings"))
    header = {"world": movies.fingerprint, "recommend_above": 0.3}
    checkpoint.save(folder.embeddings, movies_embeddings.tensors(), header)
    return folder


def trained(learner: Learner, parts: Components, out: Path, arm: str = "unified", **more: Any) -> Path:
    """Train with seed 0; the checkpoint."""
    folder = RunFolder(out)
    train(learner, arm, 0, parts, folder, **more)
    return folder.checkpoint(arm, 0)


def tried_on(parts: Components, learner: Learner, split: Split) -> Outcomes:
    """Outcomes on the sample of a split that checkpoints are tried on."""
    sessions = rollout.held_out(parts, split, TRIED)
    return rollout.evaluate(parts.engine(), learner, sessions)


def means(found: Outcomes, abs: float = 1e-6) -> dict[str, float]:
    return {name: pytest.approx(float(column.mean()), abs=abs) for name, column in found.metrics().items()}


def bare(header: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's header without seconds."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in header["tried"]]
    return {name: value for name, value in header.items() if name != "seconds"} | {"tried": rows}


def assert_same(one: Path, other: Path) -> None:
    """Two checkpoints hold the same, but for the time it took."""
    (mine, my_header), (theirs, their_header) = checkpoint.load(one), checkpoint.load(other)
    assert bare(my_header) == bare(their_header)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


# --- what seekers want in training ---


def flattened(parts: Components, sessions: Sequence[Session]) -> np.ndarray:
    """Chances of wishes as the docstrings have them: the prior to the power of one over the temperature."""
    chances = np.exp(parts.prior.log_scores(sessions)) ** (1 / parts.config.wish_temperature)
    return chances / chances.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 1.4])
def test_wishes_follow_the_prior(parts: Components, temperature: float) -> None:
    parts = configured(parts, wish_temperature=temperature)
    for session in parts.world.sessions(Split.TRAIN, 3, 0):
        many = [replace(session, key=draws.key("many", i)) for i in range(2000)]
        wishes = np.array([wish.target for wish in dreamed(parts, many)])
        chances = flattened(parts, [session])[0]
        order = np.argsort(-chances)  # bins of items alike in chance
        bins = np.minimum((np.cumsum(chances[order]) * 25).astype(int), 24)
        place = np.empty(len(order), dtype=int)
        place[order] = bins
        expected = np.bincount(bins, weights=chances[order], minlength=25)
        seen = np.bincount(place[wishes], minlength=25)
        assert chisquare(seen, expected * len(many)).pvalue > 1e-3
        assert (chances[wishes] > 0).all()


@pytest.mark.parametrize("temperature", [1.0, 1.4])
def test_wishes_are_as_likely_over_many_seekers_as_the_prior_says(
    parts: Components, temperature: float
) -> None:
    """The mean log-probability of what is wished for is minus the mean entropy of what it is drawn from."""
    parts = configured(parts, wish_temperature=temperature)
    sessions = parts.world.sessions(Split.TRAIN, 2000, 0)
    chances = flattened(parts, sessions)
    logs = np.log(np.where(chances > 0, chances, 1.0))
    wishes = np.array([wish.target for wish in dreamed(parts, sessions)])
    found = logs[np.arange(len(sessions)), wishes]
    expected = (chances * logs).sum(axis=1)
    spread = np.sqrt(((chances * logs**2).sum(axis=1) - expected**2).mean() / len(sessions))
    assert abs(found.mean() - expected.mean()) < 3 * spread


def test_the_coldest_wish_is_the_likeliest_item(parts: Components) -> None:
    sessions = parts.world.sessions(Split.TRAIN, 50, 0)
    best = parts.prior.log_scores(sessions).argmax(axis=1)
    cold = configured(parts, wish_temperature=1e-4)
    assert [wish.target for wish in dreamed(cold, sessions)] == best.tolist()


def test_nobody_wishes_for_what_is_excluded(
    parts: Components, movies: World, movies_embeddings: Embeddings
) -> None:
    sessions = movies.sessions(Split.TRAIN, 3000, 0)
    assert all(wish.target not in wish.history for wish in dreamed(parts, sessions))
    open_ = build(settings(exclude_history=False, prior="uniform"), movies, movies_embeddings)
    assert any(wish.target in wish.history for wish in dreamed(open_, sessions))


def test_a_wish_depends_on_the_session_alone(parts: Components) -> None:
    sessions = parts.world.sessions(Split.TRAIN, 60, 0)
    whole = dreamed(parts, sessions)
    assert dreamed(parts, sessions[::-1])[::-1] == whole
    assert [wish for one in sessions for wish in dreamed(parts, [one])] == whole
    # what the session was about has no part in it
    others = [replace(session, target=0) for session in sessions]
    assert [wish.target for wish in dreamed(parts, others)] == [wish.target for wish in whole]
    for wish, session in zip(whole, sessions, strict=True):
        assert (wish.key, wish.seeker, wish.history) == (session.key, session.seeker, session.history)
    assert len({wish.target for wish in whole}) > 20


@pytest.mark.parametrize("by_interaction", [False, True])
def test_test_targets_have_no_part_in_wishes(
    movies: World, movies_embeddings: Embeddings, by_interaction: bool
) -> None:
    world = replace(movies, by_interaction=by_interaction)
    others = [
        (seeker, (item * 7 + 3) % world.catalogue.n_items) for seeker, item in world.targets[Split.TEST]
    ]
    other = replace(world, targets={**world.targets, Split.TEST: others[:50]})
    found = []
    for one in (world, other):
        parts = build(settings(), one, movies_embeddings)
        found.append(dreamed(parts, one.sessions(Split.TRAIN, 200, 0)))
    assert found[0] == found[1]


@pytest.mark.parametrize("targets", ["prior", "interactions"])
def test_training_meets_wishes_or_the_training_pairs(
    parts: Components, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: str
) -> None:
    parts = configured(parts, train_targets=targets, train_dialogues=64)
    met: list[Session] = []
    trials: list[Session] = []
    begin = Engine.begin

    def recording(engine: Engine, sessions: Sequence[Session]) -> States:
        (met if len(sessions) == 16 else trials).extend(sessions)
        return begin(engine, sessions)

    monkeypatch.setattr(Engine, "begin", recording)
    trained(Waiting(parts), parts, tmp_path)
    planned = parts.world.sessions(Split.TRAIN, 64, 0)
    assert [session.key for session in met] == [session.key for session in planned]
    places, pairs = parts.world.places, set(parts.world.targets[Split.TRAIN])
    about = [(places[session.seeker], session.target) for session in met]
    if targets == "interactions":
        assert met == planned
        assert set(about) <= pairs
    else:
        assert [session.target for session in met] == [s.target for s in dreamed(parts, planned)]
        assert len(set(about) & pairs) < 32
    assert {session.split for session in trials} == {Split.VALID}


# --- which checkpoint is kept ---


@pytest.mark.parametrize(
    ("select", "split", "kept"),
    [("valid", Split.VALID, 1), ("test", Split.TEST, 1), ("last", Split.VALID, 3)],
)
def test_the_selected_checkpoint_is_kept(
    parts: Components, tmp_path: Path, select: str, split: Split, kept: int
) -> None:
    parts = configured(parts, select=select, train_dialogues=64)
    learner = Waiting(parts)
    path = trained(learner, parts, tmp_path)
    tensors, header = checkpoint.load(path)
    rows = header["tried"]
    assert [row["done"] for row in rows] == [16, 32, 48, 64]
    assert (header["kept"], header["finished"], header["best"]) == (kept, True, None)
    lowest = int(np.argmin([row["at"] for row in rows]))
    assert lowest == 1
    for row, wait in zip(rows, learner.waits, strict=True):
        one = Waiting(parts)
        one.wait.fill_(wait)
        found = tried_on(parts, one, split)
        assert {name: row[name] for name in found.metrics()} == means(found)
        assert set(row) == {"done", "seconds", "split", *found.metrics(), "success_by_turn"}
        assert row["split"] == split
        curve = row["success_by_turn"]
        assert len(curve) == 15
        assert curve == sorted(curve)
        assert [curve[4], curve[9], curve[14]] == [row["sr@5"], row["sr@10"], row["sr@15"]]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert header["seconds"] >= seconds[-1] > 0
    # the file holds that learner, and so does the process that trained it
    assert tensors.keys() == {"wait"}
    assert tensors["wait"].item() == learner.waits[kept]
    assert learner.wait.item() == learner.waits[kept]
    again = Waiting(parts)
    restore(again, path, parts)
    assert rows[kept] | means(tried_on(parts, again, split)) == rows[kept]


def test_of_equal_checkpoints_the_first_is_kept(parts: Components, tmp_path: Path) -> None:
    parts = configured(parts, train_dialogues=64)
    _, header = checkpoint.load(trained(Waiting(parts, (9, 4, 4, 4)), parts, tmp_path))
    assert header["kept"] == 1
    assert header["learner"]["learned"] == 2


def test_without_a_validation_split_the_last_checkpoint_is_kept(parts: Components, tmp_path: Path) -> None:
    world = replace(parts.world, targets={**parts.world.targets, Split.VALID: ()})
    parts = replace(configured(parts, train_dialogues=48), world=world)
    learner = Waiting(parts)
    tensors, header = checkpoint.load(trained(learner, parts, tmp_path))
    assert (header["tried"], header["finished"]) == ([], True)
    assert tensors["wait"].item() == learner.waits[2]


def test_a_network_that_goes_on_learning_leaves_the_kept_one_alone(
    parts: Components, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors of a learner's state are its own weights: keeping them is not enough."""
    parts = configured(parts, train_dialogues=96)
    at = iter([6.0, 5.0, 7.0, 8.0, 9.0, 9.5])
    measured = Outcomes.metrics
    monkeypatch.setattr(Outcomes, "metrics", lambda self: measured(self) | {"at": np.array([next(at)])})
    seen: list[Tensors] = []
    learner = parts.policy("unified", 0, 96)
    assert isinstance(learner, Learner)
    choose = learner.choose

    def watching(states: States) -> Decisions:
        if not states.past.turn.any():  # a trial begins
            seen.append({name: t.clone() for name, t in learner.state(resumable=False)[0].items()})
        return choose(states)

    learner.choose = watching  # type: ignore[method-assign]
    tensors, header = checkpoint.load(trained(learner, parts, tmp_path))
    assert len(seen) == len(header["tried"]) == 6
    assert header["kept"] == 1
    same = [all(torch.equal(tensors[name], one[name]) for name in tensors) for one in seen]
    assert same == [False, True, False, False, False, False]


def test_curves_have_every_trial_and_the_success_of_the_kept_one_by_turn(
    parts: Components, tmp_path: Path
) -> None:
    parts = configured(parts, train_dialogues=64)
    _, header = checkpoint.load(trained(Waiting(parts), parts, tmp_path))
    events = EventAccumulator(str(RunFolder(tmp_path).tensorboard("unified", 0)))
    events.Reload()
    for name in ("sr@5", "sr@10", "sr@15", "at", "hdcg"):
        points = {event.step: event.value for event in events.Scalars(f"valid/{name}")}
        assert points == {row["done"]: pytest.approx(row[name], abs=1e-5) for row in header["tried"]}
    curve = [(event.step, event.value) for event in events.Scalars("valid/success by turn")]
    kept = header["tried"][header["kept"]]["success_by_turn"]
    assert [step for step, _ in curve] == list(range(1, 16))
    assert [value for _, value in curve] == pytest.approx(kept, abs=1e-6)
    for name in ("loss", "episode/reward", "episode/turns", "episode/success"):
        assert [event.step for event in events.Scalars(name)] == [16, 32, 48, 64]


def test_curves_are_on_disk_before_the_checkpoint_that_they_lead_to(
    parts: Components, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill loses what is not, and the training goes on from the checkpoint."""
    parts = configured(parts, train_dialogues=48)
    save = checkpoint.save
    found: list[dict[str, list[int]]] = []

    def watching(path: Path, tensors: Tensors, header: dict[str, Any]) -> None:
        curves = read_curves(tmp_path / "tensorboard")[0]["unified"][0]
        found.append({tag: [step for step, _ in curves[tag]] for tag in ("loss", "valid/at")})
        save(path, tensors, header)

    monkeypatch.setattr(checkpoint, "save", watching)
    trained(Waiting(parts), parts, tmp_path)
    assert found == [dict.fromkeys(("loss", "valid/at"), steps) for steps in ([16], [16, 32], [16, 32, 48])]


# --- stopping and going on ---


def stopping_at(done: int) -> Callable[[str, int, int], None]:
    def progress(_what: str, now: int, _total: int) -> None:
        if now == done:
            raise InterruptedHereError

    return progress


@pytest.mark.parametrize("arm", ["unified", "unified-ppo"])
def test_an_interrupted_training_ends_where_it_would_have_ended(
    parts: Components, tmp_path: Path, arm: str
) -> None:
    """Before the first checkpoint, between two, right before one, and before the last."""
    parts = configured(parts, arms=arm)
    n = parts.config.train_dialogues
    whole = trained(parts.policy(arm, 0, n), parts, tmp_path / "whole", arm)  # type: ignore[arg-type]
    for stop, there in ((16, None), (112, 96), (128, 96), (n, 160)):
        with pytest.raises(InterruptedHereError):
            trained(
                parts.policy(arm, 0, n),  # type: ignore[arg-type]
                parts,
                tmp_path / "parts",
                arm,
                progress=stopping_at(stop),
            )
        path = RunFolder(tmp_path / "parts").checkpoint(arm, 0)
        assert path.is_file() == (there is not None)
        if there is not None:
            assert checkpoint.load(path)[1]["done"] == there
    found = trained(parts.policy(arm, 0, n), parts, tmp_path / "parts", arm)  # type: ignore[arg-type]
    assert_same(found, whole)
    assert checkpoint.load(whole)[1]["tried"][-1]["done"] == n
    curves, complete = (read_curves(tmp_path / name / "tensorboard")[0] for name in ("parts", "whole"))
    assert curves == complete


@pytest.mark.parametrize("stop", [32, 48, 64])
def test_the_kept_checkpoint_survives_an_interruption(parts: Components, tmp_path: Path, stop: int) -> None:
    parts = configured(parts, train_dialogues=64)
    whole = trained(Waiting(parts), parts, tmp_path / "whole")
    with pytest.raises(InterruptedHereError):
        trained(Waiting(parts), parts, tmp_path / "parts", progress=stopping_at(stop))
    learner = Waiting(parts)
    assert_same(trained(learner, parts, tmp_path / "parts"), whole)
    assert learner.wait.item() == learner.waits[1]


def test_a_finished_training_is_not_taken_up_again(parts: Components, tmp_path: Path) -> None:
    parts = configured(parts, train_dialogues=32)
    path = trained(Waiting(parts), parts, tmp_path)
    before, seconds = path.read_bytes(), checkpoint.load(path)[1]["seconds"]
    learner = Waiting(parts)
    assert train(learner, "unified", 0, parts, RunFolder(tmp_path), stopping_at(32)) == seconds
    assert path.read_bytes() == before
    assert learner.wait.item() == learner.waits[1]
    assert len(list(RunFolder(tmp_path).tensorboard("unified", 0).iterdir())) == 1


KILLED = """
import sys
from unicrs_rl.experiments import rollout
rollout.TRIED_ON = {tried}
from unicrs_rl.cli import main
sys.exit(main(["train", "--config", sys.argv[1], "--out", sys.argv[2], "--workers", "1", "--json"]))
"""


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_checkpoint(tmp_path: Path) -> None:
    config = settings(train_dialogues=384)
    file, out = tmp_path / "settings.toml", tmp_path / "killed"
    file.write_text(config.toml())
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(tried=TRIED), str(file), str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    path = RunFolder(out).checkpoint("unified", 0)
    for _ in range(6000):
        if path.is_file() or process.poll() is not None:
            break
        time.sleep(0.01)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    _, complaint = process.communicate()
    assert running, complaint
    left = checkpoint.load(path)[1]
    assert not left["finished"]
    assert left["tried"]
    train_arm(config, out, "resume", workers=1)
    whole = tmp_path / "whole"
    train_arm(config, whole, "refuse", workers=1)
    assert_same(path, RunFolder(whole).checkpoint("unified", 0))
    curves, complete = (read_curves(folder / "tensorboard")[0] for folder in (out, whole))
    assert curves == complete
    assert json.loads((out / "timings.json").read_text())["jobs"]["unified-seed0"]["train_seconds"] > 0


def test_without_training_conversations_there_is_a_usable_checkpoint(tmp_path: Path) -> None:
    config = settings(train_dialogues=0)
    made = train_arm(config, tmp_path / "run", "refuse", workers=1)
    assert made["checkpoints"] == ["checkpoints/unified-seed0.safetensors"]
    folder = RunFolder(tmp_path / "run")
    path = folder.checkpoint("unified", 0)
    header = checkpoint.load(path)[1]
    assert (header["done"], header["finished"], len(header["tried"])) == (0, True, 1)
    found = evaluate_arm(Contender(config, "unified", 0, folder, path), Split.VALID, TRIED)
    (row,) = header["tried"]
    for name in ("sr@5", "sr@10", "sr@15", "at", "hdcg"):
        assert found[name] == pytest.approx(row[name], abs=1e-4)


# --- evaluation ---


@pytest.fixture
def ready(parts: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations find the components built, instead of building them each time."""
    monkeypatch.setattr(
        single, "shared_components", lambda config, *_args, **_more: replace(parts, config=config)
    )
    monkeypatch.setattr(single, "read_world", lambda _config: parts.world)


def evaluated(
    folder: RunFolder, arm: str = "max-entropy", dialogues: int | None = 60, **more: Any
) -> dict[str, Any]:
    batch_size, split = more.pop("batch_size", None), more.pop("split", Split.TEST)
    config = settings(arms=arm, **more)
    return evaluate_arm(Contender(config, arm, 0, folder), split, dialogues, batch_size)


def test_the_whole_split_is_evaluated_by_default(
    kept_embeddings: RunFolder, ready: None, movies: World
) -> None:
    for split in (Split.VALID, Split.TEST):
        found = evaluated(kept_embeddings, dialogues=None, split=split)
        assert found["dialogues"] == len(movies.targets[split])
        assert found["split"] == split
        assert found["turns_per_second"] > 0
        assert set(found["ci95"]) == {"sr@5", "sr@10", "sr@15", "at", "hdcg"}


@pytest.mark.parametrize("arm", ["max-entropy", "unified"])
def test_an_evaluation_is_equal_for_any_batch_size(kept_embeddings: RunFolder, ready: None, arm: str) -> None:
    found = [evaluated(kept_embeddings, arm, batch_size=size) for size in (None, 1, 7, 60, 1000)]
    for one in found:
        one.pop("turns_per_second")
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("protocol", ["default", "unicorn-code"])
@pytest.mark.parametrize(("arm", "limit"), [("max-entropy", 15), ("greedy", 5)])
def test_metrics_are_those_of_the_judge(
    kept_embeddings: RunFolder, parts: Components, ready: None, protocol: str, arm: str, limit: int
) -> None:
    parts = configured(parts, protocol=protocol, limit=limit)
    sessions = parts.world.sessions(Split.TEST, 60, 0)
    outcomes = hold(parts.engine(), parts.policy(arm, 0), sessions)
    columns = outcomes.metrics()
    for row, session in enumerate(sessions):
        found, turn = bool(outcomes.success[row]), int(outcomes.turn[row])
        rank = int(outcomes.rank[row]) if found else None
        dialogue = Dialogue("d", outcome=Outcome(found, turn, session.target if found else None, rank))
        expected = measure(dialogue, session.target, limit, None, (), None)
        assert {name: column[row] for name, column in columns.items()} == {
            name: pytest.approx(expected[name], abs=1e-12) for name in columns
        }
    found_alone = evaluated(kept_embeddings, arm, protocol=protocol, limit=limit)
    assert {name: found_alone[name] for name in columns} == means(outcomes, abs=1e-4)
    assert outcomes.turn[outcomes.success].max() <= (limit - 1 if protocol == "unicorn-code" else limit)
    assert (columns["at"][~outcomes.success] == limit).all()
    assert outcomes.success.any()
    assert limit == 15 or not outcomes.success.all()


def test_metrics_of_outcomes_by_hand() -> None:
    outcomes = Outcomes(
        success=np.array([True, True, False, True]),
        turn=np.array([1, 10, 15, 5]),
        rank=np.array([1, 3, 0, 10]),
        reward=np.zeros(4),
        limit=15,
    )
    found = outcomes.metrics()
    assert found["sr@5"].tolist() == [1, 0, 0, 1]
    assert found["sr@10"].tolist() == [1, 1, 0, 1]
    assert found["sr@15"].tolist() == [1, 1, 0, 1]
    assert found["at"].tolist() == [1, 10, 15, 5]
    gains = [
        1.0,
        hdcg(Outcome(True, 10, 0, 3)),
        0.0,
        1 / np.log2(7) + (1 / np.log2(6) - 1 / np.log2(7)) / np.log2(11),
    ]
    assert found["hdcg"].tolist() == pytest.approx(gains)


def test_only_fourteen_turns_act_under_the_protocol_of_the_code(parts: Components) -> None:
    """A list of the last call that would hit is out of turns: a failure of fifteen."""
    sessions = parts.world.sessions(Split.TEST, 60, 0)
    last = {}
    for protocol in ("default", "unicorn-code"):
        learner = Waiting(parts)
        learner.wait.fill_(14)  # the fifteenth turn
        last[protocol] = hold(configured(parts, protocol=protocol).engine(), learner, sessions)
    assert last["default"].success.any()
    late = last["default"].success & (last["default"].turn == 15)
    assert late.any()
    assert not last["unicorn-code"].success[late].any()
    assert (last["unicorn-code"].metrics()["at"][late] == 15).all()


@pytest.mark.parametrize("arm", ["max-entropy", "greedy"])
def test_words_and_engine_agree_on_a_rule(kept_embeddings: RunFolder, ready: None, arm: str) -> None:
    engine = evaluated(kept_embeddings, arm)
    talking = evaluated(kept_embeddings, arm, surface="text")
    for name in ("sr@5", "sr@10", "sr@15", "at", "hdcg"):
        assert talking[name] == engine[name], name
        assert talking["ci95"][name] == engine["ci95"][name]
    assert set(talking) > set(engine)  # only words are judged


def test_when_to_recommend_is_fitted_on_the_validation_split_alone(
    parts: Components, movies: World, movies_embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[Session] = []
    begin, held = Engine.begin, Conversations.hold
    monkeypatch.setattr(Engine, "begin", lambda self, some: (met.extend(some), begin(self, some))[1])
    monkeypatch.setattr(
        Conversations, "hold", lambda self, policy, some: (met.extend(some), held(self, policy, some))[1]
    )
    fitted = fit_recommend_above(parts)
    assert len(met) == TRIED * len(THRESHOLDS)
    assert {session.split for session in met} == {Split.VALID}
    people = {seeker for seeker, _ in movies.targets[Split.VALID]}
    assert {movies.places[session.seeker] for session in met} <= people
    targets = {**movies.targets, Split.TEST: movies.targets[Split.TEST][::-1][:9], Split.TRAIN: [(0, 0)]}
    other = build(parts.config, replace(movies, targets=targets), movies_embeddings)
    assert fit_recommend_above(other) == fitted
    at = {
        threshold: hold(
            parts.engine(),
            parts.recommending_above(threshold).policy("max-entropy", 0),
            rollout.held_out(parts, Split.VALID, TRIED),
        ).metrics()["at"]
        for threshold in THRESHOLDS
    }
    assert at[fitted].mean() == min(column.mean() for column in at.values())

    met.clear()
    monkeypatch.setattr("unicrs_rl.experiments.timing._SESSIONS", 20)
    fit_recommend_above(configured(parts, surface="text"))
    assert {session.split for session in met} == {Split.VALID}


# --- published systems ---

FAULTS: dict[str, Any] = {
    "protocol": "unicorn-code",
    "reject": "penalty",
    "scoring": "unicorn",
    "ask": "similarity",
    "select": "test",
}
LEARNERS_FAULTS: dict[str, Any] = {
    "exploration": Exploration.COLLAPSED,
    "node_vectors": NodeVectors.RANDOM,
    "attention": Attention.BATCH,
    "importance": Importance.MEAN,
    "few_left": FewLeft.RECOMMEND,
}


def reproduced(name: str, file: Path | None = None, **given: Any) -> RunConfig:
    """The settings of ``train --reproduce NAME``."""
    values = {"arms": "unified", **given}
    return resolve(values, file, trained_alone(values, file, name))


MCR_PRESETS = ("ear", "scpr", "unicorn-code", "unicorn-paper")


def test_these_are_the_presets() -> None:
    assert presets.names() == tuple(sorted((*MCR_PRESETS, "rso-paper")))
    with pytest.raises(InputError, match="did you mean unicorn-code"):
        presets.read("unicorn-cod")


@pytest.mark.parametrize("name", MCR_PRESETS)
def test_a_preset_resolves_and_trains(
    name: str, movies: World, movies_embeddings: Embeddings, tmp_path: Path
) -> None:
    config = reproduced(name)
    assert (config.user, config.surface, config.seeds) == ("mcr", Surface.SEMANTIC, (0,))
    for setting, value in presets.read(name).items():
        resolved = config.model_dump(mode="json")[setting]
        assert resolved == value, setting
    assert resolve({}, under=config.model_dump(mode="json", exclude_none=True)) == config
    own = config.arm["unified"]
    small = {key: value for key, value in SMALL["unified"].items() if key not in ("k", "tau")}
    tiny = {**own, **small, "steps_per_turn": 0.1}
    config = reproduced(name, train_dialogues=32, train_batch=16, arm={"unified": tiny}, recommend_above=0.3)
    parts = build(config, movies, movies_embeddings, 0.3)
    learner = parts.policy("unified", 0, 32)
    assert isinstance(learner, Learner)
    tensors, header = checkpoint.load(trained(learner, parts, tmp_path))
    assert (header["finished"], header["done"], len(header["tried"])) == (True, 32, 2)
    assert header["learner"]["steps"] > 0
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert header["tried"][0]["split"] == ("test" if name == "unicorn-code" else "valid")


def test_unicorn_as_its_code_behaves_has_every_fault() -> None:
    config = reproduced("unicorn-code")
    assert {name: getattr(config, name).value for name in FAULTS} == FAULTS
    learner = UnifiedConfig.model_validate(config.arm["unified"])
    assert {name: getattr(learner, name) for name in LEARNERS_FAULTS} == LEARNERS_FAULTS
    assert config.train_targets == "interactions"
    assert (learner.guided, learner.margin_weight) == (0, 0)


def test_unicorn_as_its_paper_describes_it_has_none() -> None:
    """Rejected attributes lower scores and remove nothing in the paper, too: that is not among them."""
    config = reproduced("unicorn-paper")
    plain = resolve({})
    for name in ("protocol", "ask", "select"):
        assert getattr(config, name) == getattr(plain, name)
    assert (config.reject, config.scoring) == ("penalty", "unicorn")
    learner, default = UnifiedConfig.model_validate(config.arm["unified"]), UnifiedConfig()
    for name in LEARNERS_FAULTS:
        assert getattr(learner, name) == getattr(default, name)
    assert config.train_targets == "interactions"


def test_what_is_given_wins_over_the_preset_and_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('train_dialogues = 48\nselect = "last"\nreject = "filter"\n')
    config = reproduced("unicorn-code", file, reject="none", train_batch=8)
    assert (config.reject, config.train_batch) == ("none", 8)
    assert (config.train_dialogues, config.select) == (48, "last")
    assert (config.protocol, config.scoring) == ("unicorn-code", "unicorn")
    assert config.arm["unified"]["few_left"] == "recommend"
    assert reproduced("ear").train_dialogues == 6000  # ear.toml says nothing of it


def test_a_setting_of_an_arm_leaves_the_presets_others_alone(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[arm.unified]\ndim = 16\n")
    own = reproduced("unicorn-code", file).arm["unified"]
    assert (own["dim"], own["node_vectors"], own["few_left"]) == (16, "random", "recommend")


# --- settings that exclude each other ---


def test_a_preset_is_refused_for_an_arm_it_is_not_about() -> None:
    with pytest.raises(InputError, match="scpr: has settings for unified, not for arm 'unified-ppo'"):
        trained_alone({"arms": "unified-ppo"}, None, "scpr")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"surface": "semantic"}, "'semantic' is for mcr seekers"),
        ({"surface": "semantic", "user": "latent", "arms": "unified"}, "'latent'"),
        ({"surface": "semantic", "user": "mcr", "arms": "unified,rso"}, "which arm 'rso' needs"),
        ({"user": "mcr", "protocol": "unicorn-code"}, "protocol: 'unicorn-code' needs the batched engine"),
        ({"user": "mcr", "question": "multi-choice"}, "question: 'multi-choice' needs the batched engine"),
        ({"user": "mcr", "scoring": "unicorn"}, "scoring: 'unicorn' needs the batched engine"),
        ({"user": "mcr", "ask": "similarity"}, "ask: 'similarity' needs the batched engine"),
        ({"user": "mcr", "reject": "noisy"}, "'noisy' needs --noise above 0"),
        ({**BATCHED, "reject": "noisy"}, "'noisy' needs --noise above 0"),
        (
            {**BATCHED, "scoring": "unicorn", "reject": "noisy", "noise": 0.1},
            "needs scoring 'posterior'",
        ),
        ({"noise": 0.1}, "latent seekers do not answer with noise"),
        ({"noise": 0.5, "user": "mcr"}, "must be less than 0.5"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        resolve(values)


def test_the_engine_takes_every_switch() -> None:
    config = settings(protocol="unicorn-code", question="multi-choice", noise=0.1, reject="noisy")
    assert (config.switches.noise, config.switches.question) == (0.1, "multi-choice")
    assert settings(scoring="unicorn", ask="similarity").switches.scoring == "unicorn"
    assert resolve({"user": "mcr", "noise": 0.1, "reject": "noisy"}).surface is Surface.TEXT


# --- speed ---


def test_bench_measures_every_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benching, "RUNS", 1)
    monkeypatch.setattr(benching, "_MANY", 64)
    monkeypatch.setattr(benching, "BATCHES", (1, 16, 64))
    monkeypatch.setattr(benching, "_DIALOGUES", {1: 8})
    told: list[tuple[str, int, int]] = []
    found = benching.bench(settings(), progress=lambda *news: told.append(news))
    assert (found["world"], found["items"], found["threads"], found["runs"]) == ("movies", 499, 1, 1)
    assert list(found["arms"]) == ["max-entropy", "unified"]
    for speeds in found["arms"].values():
        assert list(speeds) == ["1", "16", "64"]
        for speed in speeds.values():
            turns, episodes = speed["turns_per_second"], speed["episodes_per_second"]
            assert 1 < turns / episodes < 15  # turns of a conversation
            assert turns > 5
    rule = found["arms"]["max-entropy"]
    assert rule["64"]["turns_per_second"] > rule["1"]["turns_per_second"]
    assert 100 < found["peak_memory_mib"] < 1e5
    assert ("bench unified", 3, 3) in told
    json.dumps(found)
    with pytest.raises(InputError, match="leaves columns to others"):
        benching.bench(resolve({"user": "mcr", "embeddings": {"epochs": 0}}), ("rso",))
