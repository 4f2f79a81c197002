"""The controls find what they have to, and fail where they have to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.cli import main
from unicrs_rl.dialogue import Dialogue, Plan, Score
from unicrs_rl.experiments.comparisons import comparisons
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.controls import aa, truths
from unicrs_rl.experiments.controls.blind import ALIAS, renamed, seen_through, stripped
from unicrs_rl.experiments.controls.finding import Finding, Size
from unicrs_rl.experiments.controls.hidden import (
    compared,
    compared_in_engine,
    of_latents,
    of_target,
    openings,
    seats,
)
from unicrs_rl.experiments.controls.leak import Extent, exchanged, leak
from unicrs_rl.experiments.controls.learned import outcomes
from unicrs_rl.experiments.controls.probe import line_ups, probe
from unicrs_rl.experiments.controls.run import Sources, failed, run_controls
from unicrs_rl.experiments.controls.shortcut import (
    Mentioned,
    beaten_by_copying,
    copying_warning,
    mentioned_before,
    shortcut_rows,
    shortcuts_among,
)
from unicrs_rl.experiments.controls.splits import overlap, telling_sessions
from unicrs_rl.experiments.controls.stage import PLANTED, planted_stage, stages
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.planted import truth
from unicrs_rl.graphs.prior import Prior
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Session, Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.judging.judge import Judge, Judgement
from unicrs_rl.judging.judges import judges
from unicrs_rl.policy.rules import MaxEntropy

KINDS = ("mcr", "latent", "latent, holistic", "lm-reference", "lm-free", "lm-latent")


@pytest.fixture(scope="module")
def by_kind(movies: World) -> dict[str, Components]:
    return stages({"limit": 5}, KINDS, movies) | {PLANTED: planted_stage(0)}


@pytest.fixture(scope="module")
def mcr(by_kind: dict[str, Components]) -> Components:
    return by_kind["mcr"]


def sessions_of(world: World, count: int) -> list[Session]:
    return world.sessions(Split.TEST, count, 0)


class Peeking(Prior):
    """A prior that makes what the seeker wants a little likelier: the target in the features."""

    def __init__(self, prior: Prior, bonus: float) -> None:
        self.prior, self.bonus = prior, bonus

    @override
    def log_scores(self, sessions: Sequence[Session]) -> NDArray[np.float64]:
        scores = self.prior.log_scores(sessions).copy()
        for row, session in enumerate(sessions):
            scores[row, session.target] += self.bonus
        return scores


# ---- nothing hidden decides


@pytest.mark.parametrize("kind", [*KINDS, PLANTED])
@pytest.mark.parametrize("exchange", [of_target, of_latents])
def test_decisions_stay_as_they_are_when_what_is_hidden_is_exchanged(
    by_kind: dict[str, Components], kind: str, exchange: Any
) -> None:
    components = by_kind[kind]
    seekers = Conversations(components).seekers
    pairs = seats(seekers, sessions_of(components.world, 8), sessions_of(components.world, 200), exchange)
    assert pairs
    found = compared(components.policy("max-entropy", 0), components, pairs)
    assert found.dialogues == len(pairs)
    assert found.decisions >= found.dialogues
    assert not found.leaks


def test_a_seat_opens_alike_with_another_inside(mcr: Components) -> None:
    seekers = Conversations(mcr).seekers
    pairs = seats(seekers, sessions_of(mcr.world, 20), sessions_of(mcr.world, 200), of_target)
    assert len(pairs) >= 8
    instead = [seat for _, (_, seat) in pairs]
    assert openings(seekers, instead) == openings(seekers, [session for session, _ in pairs])
    for session, (told, inside) in pairs:
        assert inside.target != session.target
        assert (told.key, told.history, told.seeker) == (session.key, session.history, session.seeker)


def test_with_another_target_replies_differ_sooner_or_later(mcr: Components) -> None:
    """Else nothing would have been exchanged, and nothing could be found."""
    conversations = Conversations(mcr)
    pairs = seats(conversations.seekers, sessions_of(mcr.world, 20), sessions_of(mcr.world, 200), of_target)
    policy = mcr.policy("max-entropy", 0)
    once = conversations.hold(policy, [session for session, _ in pairs])
    instead = conversations.hold(policy, [told for _, (told, _) in pairs])
    differing = [
        a.dialogue.utterances() != b.dialogue.utterances() for a, b in zip(once, instead, strict=True)
    ]
    assert sum(differing) > len(pairs) / 2


def test_reserve_is_exchanged_with_the_latents(by_kind: dict[str, Components]) -> None:
    planted = by_kind[PLANTED]
    conversations = Conversations(planted)
    sessions = sessions_of(planted.world, 12)
    pairs = seats(conversations.seekers, sessions, sessions_of(planted.world, 200), of_latents)
    assert len(pairs) == len(sessions)  # all open alike: nothing can be told from that
    rule = planted.policy("max-entropy", 0)
    once = conversations.hold(rule, [session for session, _ in pairs])
    instead = conversations.hold(
        rule, [told for _, (told, _) in pairs], answering=[inside for _, (_, inside) in pairs]
    )
    reserved = [(a.latents[0], b.latents[0]) for a, b in zip(once, instead, strict=True)]
    assert sum(mine != yours for mine, yours in reserved) >= 3


def test_a_target_in_the_features_is_found(mcr: Components) -> None:
    leaky = replace(mcr, prior=Peeking(mcr.prior, 4.0))
    seekers = Conversations(mcr).seekers
    pairs = seats(seekers, sessions_of(mcr.world, 20), sessions_of(mcr.world, 200), of_target)
    policy = mcr.policy("greedy", 0)
    found = compared(policy, leaky, pairs)
    assert found.leaks
    told = exchanged("planted", {"greedy": found})
    assert told.passed is False
    assert "LEAK: greedy" in told.found
    silent = seats(seekers, sessions_of(mcr.world, 20), sessions_of(mcr.world, 200), of_target, words=False)
    assert compared(policy, leaky, silent, words=False).leaks
    assert compared_in_engine(policy, leaky, silent).leaks
    assert not compared_in_engine(policy, mcr, silent).leaks


def test_a_policy_that_knows_the_seeker_is_found(mcr: Components) -> None:
    """One that looks up in the simulator what was wanted."""

    class Knowing(MaxEntropy):
        wanted: dict[int, int]

        @override
        def decide(self, states: States) -> list[Plan]:
            plans = super().decide(states)
            return [
                replace(plan, items=(self.wanted[state.key], *(plan.items or ())))
                for plan, state in zip(plans, states.rows, strict=True)
            ]

    conversations = Conversations(mcr)
    pairs = seats(conversations.seekers, sessions_of(mcr.world, 8), sessions_of(mcr.world, 200), of_target)
    knowing = Knowing(mcr.policy("max-entropy", 0).context)

    class Telling(Conversations):
        @override
        def hold(self, policy: Any, sessions: Any, *rest: Any, **more: Any) -> Any:
            knowing.wanted = {session.key: session.target for session in sessions}
            return super().hold(policy, sessions, *rest, **more)

    import unicrs_rl.experiments.controls.hidden as hidden

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hidden, "Conversations", Telling)
        assert compared(knowing, mcr, pairs).leaks


# ---- splits and sessions


def test_no_world_shares_seekers_between_training_and_evaluation(shared: Path, movies: World) -> None:
    for world in (movies, make_world("planted-coupled"), make_world("redial", shared / "data" / "redial")):
        found = overlap(world)
        assert found.clean, world.name
        assert (found.seekers, found.pairs, found.keys) == (0, 0, 0)
    lastfm = overlap(make_world("lastfm", shared / "data" / "lastfm"), seeds=(0,))
    assert lastfm.by_interaction
    assert lastfm.clean
    assert lastfm.seekers > 1000  # by interaction: the same people, other pairs
    assert lastfm.pairs == 0


def test_a_seeker_of_two_splits_is_found(movies: World) -> None:
    tested = movies.targets[Split.TEST]
    mixed = {**movies.targets, Split.TRAIN: [*movies.targets[Split.TRAIN], tested[0]]}
    found = overlap(replace(movies, targets=mixed))
    assert not found.clean
    assert (found.seekers, found.pairs) == (1, 1)


def test_a_target_in_the_key_is_found(movies: World) -> None:
    @dataclass(frozen=True)
    class Telling(World):
        @override
        def sessions(self, split: Split, count: int | None, seed: int) -> list[Session]:
            return [
                replace(session, key=draws.key("told", session.target))
                for session in super().sessions(split, count, seed)
            ]

    assert telling_sessions(movies, Split.TEST, 200) == []
    telling = Telling(**{name: getattr(movies, name) for name in movies.__dataclass_fields__})
    assert len(telling_sessions(telling, Split.TEST, 200)) > 150


# ---- the judge


def held(components: Components, arm: str, count: int = 4) -> list[Dialogue]:
    conversations = Conversations(components.of(arm))
    sessions = sessions_of(components.world, count)
    return [episode.dialogue for episode in conversations.hold(components.policy(arm, 0), sessions)]


@pytest.mark.parametrize("name", ["rubric", "prompted"])
def test_judges_are_blind(by_kind: dict[str, Components], name: str) -> None:
    components = by_kind["latent"]
    judge = judges[name](components.world.catalogue, components.model, 2)
    dialogues = held(components, "max-entropy") + held(components, "llm")
    assert seen_through(judge, dialogues) == []
    sessions = sessions_of(components.world, 4)
    for arm in ("max-entropy", "llm"):
        policy = components.policy(arm, 0)
        assert renamed(policy, arm, 0, replace(components, judge=judge), sessions) == ([], False)


class Partial(Judge):
    """Likes whoever tells its plans."""

    name = "partial"

    @override
    def judge(self, dialogues: Sequence[Dialogue]) -> list[Judgement]:
        return [Judgement(Score(1.0 + bool(d.turns[0].plan and d.turns[0].plan.scores))) for d in dialogues]


def test_a_judge_that_peeks_is_found(mcr: Components) -> None:
    dialogues = held(mcr, "max-entropy") + held(mcr, "llm")
    assert seen_through(Partial(), dialogues) == [0, 1, 2, 3]
    assert all(turn.plan is None for turn in stripped(dialogues[0]).turns)


def test_a_name_in_the_dialogue_is_found(mcr: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = mcr.policy("max-entropy", 0)
    decide = type(policy).decide

    def boasting(self: Any, states: States) -> list[Plan]:
        return [replace(plan, scores={ALIAS: 1.0}) for plan in decide(self, states)]

    monkeypatch.setattr(type(policy), "decide", boasting)
    assert renamed(policy, "max-entropy", 0, mcr, sessions_of(mcr.world, 2))[1]


# ---- the probe


def test_a_probe_finds_nothing_but_what_is_planted(mcr: Components) -> None:
    owned = mcr.world.catalogue.item_attributes.toarray().astype(bool)
    honest = probe(line_ups(mcr, 200), owned)
    assert honest.low < 0.5 < honest.high
    assert honest.p > 0.05
    assert honest.honest > 0.6  # history and opening do tell something: the probe is not blind
    peeking = probe(line_ups(replace(mcr, prior=Peeking(mcr.prior, 2.0)), 200), owned)
    assert peeking.low > 0.5
    assert peeking.p < 0.01


def test_the_members_of_a_line_up_open_alike(mcr: Components) -> None:
    found = line_ups(mcr, 40)
    sessions = sessions_of(mcr.world, 40)
    by_key = {f"key {session.key}": session for session in sessions}
    seekers = Conversations(mcr).seekers
    for inputs, members in zip(found.inputs, found.members, strict=True):
        session = next(by_key[name] for name in inputs if name in by_key)
        said = openings(seekers, [replace(session, target=item) for item in members.tolist()])
        assert len(set(said)) == 1
        assert len(set(members.tolist())) > 1


# ---- the whole audit, at a size that tests can afford


def test_the_leak_audit_passes() -> None:
    kinds = ("mcr", "latent", "lm-reference")  # all of them with a rule: see above
    found = leak(Size.SMALL, extent=Extent(dialogues=2, trained=16, limit=3, line_ups=80), kinds=kinds)
    assert failed(found) == []
    checks = [finding.check for finding in found]
    for kind in kinds:
        assert any(f"{kind} seekers, target exchanged" in check for check in checks)
    numbers = next(f.numbers for f in found if f.check == "decisions: latent seekers, target exchanged")
    for arm in ("unified", "unified-ppo", "rso", "rso-ppo", "llm", "intercrs", "pccrs", "grid@four-isolated"):
        assert numbers[arm]["decisions"] > 0, arm


# ---- A/A


def noise(config: Any, rng: np.random.Generator, shift: float = 0.0) -> aa.Repetition:
    """Two sides whose trainings differ by luck, and by ``shift``."""
    found: aa.Repetition = {}
    for side, more in zip(aa.SIDES, (0.0, shift), strict=True):
        luck = rng.normal(0, 0.15, size=(len(config.seeds), 1)) + more
        rows = rng.random((len(config.seeds), config.dialogues)) < np.clip(0.5 + luck, 0, 1)
        found[side] = {name: rows.astype(float).tolist() for name in config.statistics.primary}
    return found


def test_an_arm_against_itself_raises_no_alarm() -> None:
    """Real trainings, and the control's own contrast: a statistic that ignores that trainings differ."""
    extent = aa.Extent(repetitions=6, seeds=2, trained=16, dialogues=20)
    config = aa.config_of(extent)
    done = list(aa.repetitions(config, extent, None, 1, lambda *_: None))
    assert aa.judged(config, done).passed
    broken = aa.judged(config, done, aa.detected_by_dialogues_alone)
    assert broken.passed is False
    assert broken.numbers["rate"] > 0.25
    assert len({json.dumps(one) for one in done}) == len(done)  # nothing is used twice


def test_too_many_false_alarms_fail() -> None:
    config = aa.config_of(aa.Extent(repetitions=60, seeds=3, trained=1, dialogues=60))
    rng = np.random.default_rng(0)
    done = [noise(config, rng) for _ in range(60)]
    assert aa.judged(config, done).passed
    assert aa.judged(config, done, aa.detected_by_dialogues_alone).passed is False
    shifted = [noise(config, rng, shift=0.45) for _ in range(10)]
    assert aa.judged(config, shifted).passed is False  # a true difference is no false alarm, and is seen


def test_repetitions_are_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extent = aa.Extent(repetitions=2, seeds=1, trained=4, dialogues=4)
    config = aa.config_of(extent)
    whole = list(aa.repetitions(config, extent, tmp_path, 1, lambda *_: None))
    lines = (tmp_path / "aa.jsonl").read_text().splitlines()
    assert len(lines) == 2
    (tmp_path / "aa.jsonl").write_text(lines[0] + "\n" + lines[1][:40])  # killed while it wrote
    made: list[int] = []
    real = aa.repetition

    def noted(components: Components, number: int) -> aa.Repetition:
        made.append(number)
        return real(components, number)

    monkeypatch.setattr(aa, "repetition", noted)
    assert list(aa.repetitions(config, extent, tmp_path, 1, lambda *_: None)) == whole
    assert made == [1]


def test_a_true_difference_between_arms_is_detected(movies: World) -> None:
    components = stages({"limit": 8, "arms": "max-entropy,random"}, ("mcr",), movies)["mcr"]
    config = components.config.model_copy(update={"dialogues": 40})
    sessions = sessions_of(movies, 40)
    tables: aa.Repetition = {}
    for arm in config.arms:
        reached = outcomes(components.policy(arm, 0), arm, 0, components, sessions, config.statistics.primary)
        tables[arm] = {name: [values.tolist()] for name, values in reached.items()}
    assert aa.detected(config, comparisons(config, aa.tables_of(tables)))


# ---- planted truths


def test_a_study_that_missed_the_truth_fails() -> None:
    known = truth("planted-coupled")
    pairs = 20
    right = {
        truths.JOINT: np.tile(np.arange(pairs) < known.joint * pairs, (3, 1)).astype(float),
        truths.APART: np.tile(np.arange(pairs) < known.decomposed * pairs, (3, 1)).astype(float),
    }
    rates = {arm: table.mean(axis=1).tolist() for arm, table in right.items()}
    assert all(finding.passed for finding in truths.recovered("planted-coupled", right, rates))
    wrong = {arm: np.zeros((3, pairs)) for arm in right}
    nothing = {arm: [0.0, 0.0, 0.0] for arm in right}
    margin, joint, apart = truths.recovered("planted-coupled", wrong, nothing)
    assert (margin.passed, joint.passed, apart.passed) == (False, False, False)


def test_a_planted_world_is_studied_with_real_trainings() -> None:
    """So little training that only what is left to rules can be as good as it gets."""
    extent = truths.Extent(("planted-coupled",), seeds=1, trained=16)
    margin, joint, apart = truths.planted(Size.SMALL, extent=extent)
    known = truth("planted-coupled")
    assert margin.numbers["truth"] == round(known.margin, 6)
    assert apart.passed
    assert apart.numbers["by_training"] == [round(known.decomposed, 6)]
    (reached,) = joint.numbers["by_training"]
    assert joint.passed is (reached >= 0.98 * known.joint)
    assert margin.numbers["difference"] == pytest.approx(reached - known.decomposed)


# ---- shortcuts


Said = tuple[str, list[int], str]
"""What the recommender said, what it listed, and the reply."""


def line_of(texts: Sequence[Said], opening: str, accepted: int | None) -> dict[str, Any]:
    turns = [
        {"decision": {"items": items}, "utterance": said, "reply": {"text": reply}}
        for said, items, reply in texts
    ]
    outcome = {"success": accepted is not None, "turn": len(turns), "item": accepted}
    return {"opening": {"text": opening}, "turns": turns, "outcome": outcome}


def test_who_mentioned_an_item_first(movies: World) -> None:
    titles, lexicon = movies.catalogue.items, movies.catalogue.lexicon
    one, two = 3, 7
    offer = (f"How about {titles[one]}?", [one], "Yes, that one!")
    talk: Said = ("What do you like?", [], f"Something like {titles[one]}.")
    assert mentioned_before(line_of([offer], "Hello.", one), lexicon) is None
    assert mentioned_before(line_of([offer], f"I liked {titles[one]}.", one), lexicon) is Mentioned.SEEKER
    assert mentioned_before(line_of([talk, offer], "Hello.", one), lexicon) is Mentioned.SEEKER
    told: Said = (f"I watched {titles[one]} once.", [], "I see.")
    assert mentioned_before(line_of([told, offer], "Hello.", one), lexicon) is Mentioned.RECOMMENDER
    declined = (f"How about {titles[one]}?", [one, two], "No, thank you.")
    assert mentioned_before(line_of([declined, offer], "Hello.", one), lexicon) is Mentioned.LIST
    assert mentioned_before(line_of([declined], f"I liked {titles[one]}.", None), lexicon) is None
    other = (f"How about {titles[two]}?", [two], "Yes, that one!")
    assert mentioned_before(line_of([talk, other], "Hello.", two), lexicon) is None


def test_shortcuts_are_counted() -> None:
    ended: list[dict[str, Any]] = [
        {"success": True, "mentioned_before": None},
        {"success": True, "mentioned_before": "seeker"},
        {"success": True, "mentioned_before": "list"},
        {"success": False, "mentioned_before": None},
    ]
    found = shortcuts_among(ended)
    assert found == {
        "successes": 3,
        "by": {"seeker": 1, "recommender": 0, "list": 1},
        "share": round(2 / 3, 6),
    }
    assert shortcuts_among([{"success": True}]) is None  # a trace of an earlier version
    nothing = shortcuts_among([])
    assert nothing is not None
    assert nothing["share"] is None


def test_a_run_says_how_many_successes_were_shortcuts(tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = tmp_path / "settings.toml"
    settings.write_text("[embeddings]\nepochs = 1\n")
    given = ["--arms", "max-entropy,random", "--dialogues", "20", "--user", "mcr", "--config", str(settings)]
    assert main(["compare", *given, "--out", str(out), "--workers", "1", "--json"]) == 0
    found = json.loads((out / "results.json").read_text())
    rows = {row.arm: row for row in shortcut_rows(found)}
    assert rows["max-entropy"].successes > 15
    assert rows["max-entropy"].shortcuts == 0
    assert rows["max-entropy"].metric == rows["max-entropy"].without
    assert shortcut_rows({"arms": found["arms"]}) == []
    (told,) = [f for f in _shortcut_of(out) if f.check.endswith("max-entropy")]
    assert told.numbers["successes"] == rows["max-entropy"].successes


def _shortcut_of(run: Path) -> list[Finding]:
    from unicrs_rl.experiments.controls.repeated import of_run

    return list(of_run(run))


def test_copying_that_beats_an_arm_is_warned_of() -> None:
    recall: dict[str, dict[str, float | None]] = {
        "greedy": {"1": 0.01, "10": 0.2},
        "llm": {"1": 0.2, "10": 0.3},
        "silent": {"1": None, "10": None},
        "popularity": {"1": 0.0, "10": 0.0},
        "copy-mentioned": {"1": 0.1, "10": 0.2},
    }
    beaten = beaten_by_copying(recall, "copy-mentioned", ("popularity",))
    assert beaten == {"greedy": ["1"]}
    warning = copying_warning(beaten, "copy-mentioned")
    assert warning is not None
    assert warning.startswith("WARNING: copy-mentioned")
    assert "greedy (Recall@1)" in warning
    assert copying_warning({}, "copy-mentioned") is None


def test_replayed_people_are_held_against_copying(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shared / "data" / "inspired"
    given = ["--corpus", "inspired", "--data", str(data), "--arm", "greedy", "--world", "movies"]
    assert main(["replay", *given, "--dialogues", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    recall = {arm: row["recall"]["1"]["value"] for arm, row in found["arms"].items()}
    assert ("1" in found["beaten_by_copying"].get("greedy", [])) == (
        recall["copy-mentioned"] > recall["greedy"]
    )
    warned = [note for note in found["notes"] if note.startswith("WARNING: copy-mentioned")]
    assert bool(warned) == bool(found["beaten_by_copying"])


# ---- the door


def test_controls_are_written_down_alike_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_controls(("shortcut",), Size.SMALL, Sources(out=tmp_path / name))
    one, two = ((tmp_path / name / "controls.json").read_bytes() for name in ("one", "two"))
    assert one == two
    told = json.loads(one)
    assert told["passed"]
    assert all(finding["passed"] for finding in told["findings"])
    page = (tmp_path / "one" / "controls.html").read_text()
    assert "everything was found" in page
    assert "http" not in page


def test_a_failed_control_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from unicrs_rl.experiments.controls import run

    bad = Finding("leak", "judge rubric", "the same", "not the same", False)
    monkeypatch.setattr(run, "CONTROLS", {"leak": lambda *_: [bad]})
    assert main(["controls", "leak", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["passed"] is False
    assert told.err == "unicrs-rl: 1 of 1 checks failed: judge rubric\n"
    monkeypatch.undo()
    assert main(["controls", "leaks"]) == 2
    assert main(["controls", "aa", "--workers", "0"]) == 2
    assert main(["controls", "shortcut", "--run", "nowhere"]) == 2
