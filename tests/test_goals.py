"""Goals, and what is found where a seeker strays from its own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from unicrs_rl.cli import main
from unicrs_rl.dialogue import Act, Decision, Reply, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.drift_cases import measure_drift, read_labelled
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.seeker_rules import read_words
from unicrs_rl.simulators.drift import Drift, DriftDetector, complaint
from unicrs_rl.simulators.goals import Goal

HERE = Path(__file__).parent
CORPORA = ("drift.jsonl", "drift_heldout.jsonl")


def ask(*attributes: int) -> Decision:
    return Decision(Act.ASK, Strategy.NO_STRATEGY, attributes)


def offer(*items: int) -> Decision:
    return Decision(Act.RECOMMEND, Strategy.NO_STRATEGY, items=items)


# -- goals


def test_a_goal_keeps_what_was_said_and_later_words_count() -> None:
    goal = Goal((7,), frozenset({1, 2, 3}))
    goal = goal.after(Reply(liked=(1,)))
    goal = goal.after(Reply(disliked=(5,), open=(6,)), ask(5, 6))
    goal = goal.after(Reply(rejected=(8, 9)), offer(8, 9))
    assert (goal.yes, goal.no, goal.open) == ({1}, {5}, {6})
    assert goal.rejected == goal.named == {8, 9}
    goal = goal.after(Reply(liked=(5,), disliked=(1,)), ask(5, 1))
    assert (goal.yes, goal.no) == ({5}, {1})
    assert goal.after(Reply(withdrawn=(5,))).yes == set()
    assert goal.after(Reply(accepted=9), offer(9)).rejected == {8}


def test_a_change_of_mind_keeps_what_still_holds() -> None:
    goal = Goal((7,), frozenset({1, 2}), yes=frozenset({1, 2}), no=frozenset({3, 4}))
    turned = goal.turned_to((8,), (2, 3))
    assert (turned.targets, turned.wants) == ((8,), {2, 3})
    assert (turned.yes, turned.no) == ({2}, {4})


@pytest.mark.parametrize(
    ("goal", "attributes", "satisfied"),
    [
        (Goal((7,), frozenset({1, 2})), {3}, False),
        (Goal((7,), frozenset({1, 2})), {1, 2, 3}, True),
        (Goal((0,), frozenset({1, 2})), {3}, True),  # it is the target itself
        (Goal(wants=frozenset({1, 2, 3, 4}), needs=0.5), {1, 2}, True),
        (Goal(wants=frozenset({1, 2, 3, 4}), needs=0.75), {1, 2}, False),
        (Goal(wants=frozenset({1}), avoids=frozenset({5})), {1, 5}, False),
        (Goal(wants=frozenset({1}), no=frozenset({1})), {1}, True),  # a slip of the tongue
        (Goal(yes=frozenset({1})), {2}, False),
        (Goal((7,)), {2}, False),
        (Goal(), {2}, True),
    ],
)
def test_what_satisfies_a_goal(goal: Goal, attributes: set[int], satisfied: bool) -> None:
    assert goal.satisfied_by(0, attributes) == satisfied


# -- drift


def found(world: World, goal: Goal, decision: Decision | None, reply: Reply) -> set[str]:
    (checked,) = DriftDetector(world.catalogue).check([goal], [decision], [""], [reply])
    return set(checked.drift)


def ids(world: World, *names: str) -> list[int]:
    return [world.catalogue.attributes.index(name) for name in names]


def test_each_kind_is_found_in_what_is_done(movies: World) -> None:
    comedy, horror, drama = ids(movies, "comedy", "horror", "drama")
    elf, saw = movies.catalogue.items.index("Elf (2003)"), movies.catalogue.items.index("Saw (2004)")
    goal = Goal(wants=frozenset({comedy}), avoids=frozenset({horror}), yes=frozenset({comedy}))
    assert found(movies, goal, ask(comedy), Reply("No.", disliked=(comedy,))) == {Drift.CONTRADICTION}
    assert found(movies, goal, ask(horror), Reply("Yes.", liked=(horror,))) == {Drift.CONTRADICTION}
    assert found(movies, goal, ask(comedy), Reply("Whatever.", open=(comedy,))) == {Drift.FORGOTTEN}
    assert found(movies, goal, ask(drama), Reply("I love horror.", liked=(horror,))) == {Drift.FORGOTTEN}
    assert found(movies, goal, offer(elf), Reply("Okay.", accepted=elf)) == set()
    assert found(movies, goal, offer(saw), Reply("Okay.", accepted=saw)) == {Drift.IMPOSSIBLE}
    assert found(movies, goal, ask(drama), Reply("Okay.", accepted=elf)) == {Drift.PREMATURE}
    again = goal.after(Reply(rejected=(elf,)), offer(elf))
    assert found(movies, again, offer(elf), Reply("Okay.", accepted=elf)) == {Drift.IMPOSSIBLE}
    assert found(movies, goal, None, Reply("How can I help you?")) == {Drift.ROLE_SWAP}
    wanting = Goal((elf,), frozenset(movies.catalogue.attributes_of(elf).tolist()))
    assert found(movies, wanting, None, Reply("I want Elf (2003).")) == {Drift.LEAK}
    assert found(movies, wanting, offer(elf), Reply("I'll take Elf (2003).", accepted=elf)) == set()
    assert found(movies, wanting, ask(horror), Reply("Yes.", liked=(horror,))) == {Drift.CONTRADICTION}


def test_words_against_deeds_are_a_contradiction(movies: World) -> None:
    comedy, horror = ids(movies, "comedy", "horror")
    elf = movies.catalogue.items.index("Elf (2003)")
    goal = Goal(wants=frozenset({comedy}))
    denied = Reply("No, I hate comedy.", liked=(comedy,))
    assert found(movies, goal, ask(comedy), denied) == {Drift.CONTRADICTION}
    assert found(movies, goal, ask(horror), Reply("No horror.", disliked=(horror,))) == set()
    assert found(movies, goal, offer(elf), Reply("No, thanks.", accepted=elf)) == {Drift.CONTRADICTION}
    taken = Reply("I'll take Elf (2003).", rejected=(elf,))
    assert found(movies, goal, offer(elf), taken) == {Drift.CONTRADICTION}


@pytest.mark.parametrize(
    "declared",
    [
        Reply("I changed my mind, no comedy.", disliked=(4,)),
        Reply("No comedy.", disliked=(4,), withdrawn=(4,)),
        Reply("No comedy.", disliked=(4,), behaviours=("changed-mind",)),
        Reply("Maybe not, I guess.", disliked=(4,), behaviours=("hedging",)),
    ],
)
def test_a_declared_change_of_mind_and_hedging_are_no_drift(movies: World, declared: Reply) -> None:
    assert movies.catalogue.attributes[4] == "comedy"
    goal = Goal(wants=frozenset({4}), yes=frozenset({4}))
    assert found(movies, goal, ask(4), declared) == set()
    assert found(movies, goal, ask(4), Reply("No comedy.", disliked=(4,))) == {Drift.CONTRADICTION}


def test_indifference_on_purpose_is_no_drift(movies: World) -> None:
    goal = Goal(wants=frozenset({4}), yes=frozenset({4}))
    easy = Reply("Whatever.", open=(4,), behaviours=("indifferent",))
    assert found(movies, goal, ask(4), easy) == set()


def test_a_sequel_is_not_the_target(movies: World) -> None:
    first, second = (movies.catalogue.items.index(f"Ride Along{n}") for n in (" (2014)", " 2 (2016)"))
    wants = frozenset(movies.catalogue.attributes_of(first).tolist())
    goal = Goal((first,), wants, needs=0.2)
    assert found(movies, goal, offer(second), Reply("I'll take Ride Along 2.", accepted=second)) == set()
    assert Drift.LEAK in found(movies, goal, offer(second), Reply("I meant Ride Along."))


def test_a_complaint_names_every_kind() -> None:
    assert complaint(list(Drift)).count(".") == len(Drift)


@pytest.mark.parametrize(
    ("text", "takes", "swaps"),
    [
        ("I'll take it.", True, False),
        ("I will watch anything with Tom Hanks.", False, False),
        ("I might watch it.", False, False),
        ("Should I watch it?", False, False),
        ("Hey, I am in the mood for comedy.", False, False),
        ("What would you recommend?", False, False),
        ("Do you know a good comedy?", False, False),
        ("Do you like comedy?", False, True),
        ("Did you like it?", False, False),
        ("You should watch Elf (2003).", False, True),
        ("I'll watch Elf (2003).", True, False),
        ("I would like you to suggest something.", False, False),
    ],
)
def test_how_words_are_read(movies: World, text: str, takes: bool, swaps: bool) -> None:
    words = read_words(movies.catalogue.lexicon, text)
    assert (words.accepts, words.swaps) == (takes, swaps)


# -- seekers keep to their goals


@pytest.mark.parametrize(
    ("user", "population"), [("mcr", "plain"), ("latent", "plain"), ("latent", "holistic")]
)
def test_template_seekers_hardly_ever_seem_to_drift(
    movies: World, movies_embeddings: Embeddings, user: str, population: str
) -> None:
    parts = build(resolve({"user": user, "seekers": {"population": population}}), movies, movies_embeddings)
    sessions = movies.sessions(Split.TEST, 100, 0)
    drifting: Counter[str] = Counter()
    for episode in Conversations(parts.of("max-entropy")).hold(parts.policy("max-entropy", 0), sessions):
        replies = [episode.dialogue.opening, *(turn.reply for turn in episode.dialogue.turns)]
        drifting.update(kind for reply in replies for kind in reply.drift)
        assert len(episode.goals) == len(replies)
        said = {attribute for reply in replies for attribute in reply.liked}
        assert episode.goals[-1].yes <= said
        assert episode.goals[0].patience >= episode.goals[-1].patience - 1e-9 or user == "latent"
        assert all(0 <= goal.patience <= 1 for goal in episode.goals)
        if replies[-1].accepted is None:
            offered = {item for turn in episode.dialogue.turns for item in turn.decision.items}
            assert episode.goals[-1].rejected == offered
    assert sum(drifting.values()) <= 1


def test_nothing_is_tracked_without_words_or_where_it_is_switched_off(
    movies: World, movies_embeddings: Embeddings
) -> None:
    parts = build(resolve({}), movies, movies_embeddings)
    off = build(resolve({"seekers": {"tracking": False}}), movies, movies_embeddings)
    sessions = movies.sessions(Split.TEST, 5, 0)
    for conversations in (Conversations(parts, words=False), Conversations(off)):
        episodes = conversations.hold(parts.policy("max-entropy", 0), sessions)
        assert not any(episode.goals for episode in episodes)
        assert not any(turn.reply.drift for e in episodes for turn in e.dialogue.turns)


# -- what words are built like


@pytest.mark.parametrize(
    ("text", "offered", "takes"),
    [
        ("so put me down for Saw", False, True),
        ("We would be delighted to see Saw tonight.", False, True),
        ("gonna watch superbad", False, True),
        ("Could you order Saw for us?", False, True),
        ("Very nice, make the booking.", True, True),
        ("ima watch it n thats that", True, True),
        ("Very nice, make the booking.", False, False),
        ("I saw Saw and loved it.", True, False),
        ("I'm not going to watch Saw.", True, False),
        ("If it is short I will watch Saw.", True, False),
        ("I want to see something like Saw.", True, False),
        ("Should I watch Saw?", True, False),
    ],
)
def test_an_offer_is_taken_by_a_wish_of_ones_own_to_get_it(
    movies: World, text: str, offered: bool, takes: bool
) -> None:
    lexicon = movies.catalogue.lexicon
    saw = next(i for i, name in enumerate(lexicon.items) if name == "Saw (2004)")
    assert read_words(lexicon, text, offered=(saw,) if offered else ()).accepts == takes


@pytest.mark.parametrize(
    ("text", "swaps"),
    [
        ("whatre u into", True),
        ("hey so what kinda stuff do u like", True),
        ("You really ought to see Casablanca.", True),
        ("u rly gotta see Casablanca", True),
        ("I strongly advise you to consider Casablanca.", True),
        ("whatever u like is fine", False),
        ("You should find me a comedy.", False),
        ("You could pick a comedy for me.", False),
        ("You should know that I love comedy.", False),
        ("what u got", False),
    ],
)
def test_urging_and_asking_for_taste_are_the_recommenders(movies: World, text: str, swaps: bool) -> None:
    assert read_words(movies.catalogue.lexicon, text).swaps == swaps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sure y not", "liked"),
        ("suppose so", "liked"),
        ("Fine by me.", "liked"),
        ("yesss plsss", "liked"),
        ("cant stand it", "disliked"),
        ("That is of no great consequence, dear.", "open"),
        ("It is all the same to me.", "open"),
        ("Makes no difference.", "open"),
        ("im not fussed", "open"),
    ],
)
def test_short_answers_are_to_what_was_asked(movies: World, text: str, said: str) -> None:
    lexicon = movies.catalogue.lexicon
    comedy = lexicon.attributes.index("comedy")
    words = read_words(lexicon, text, asked=(comedy,))
    assert {kind: getattr(words, kind) for kind in ("liked", "disliked", "open") if getattr(words, kind)} == {
        said: (comedy,)
    }


# -- labelled replies


@pytest.mark.parametrize("name", CORPORA)
def test_drift_is_detected_in_labelled_replies(name: str) -> None:
    measured = measure_drift(resolve({}), HERE / name)
    assert measured["replies"] >= 40
    assert measured["drifting"] >= measured["replies"] / 2
    assert min(measured["precision"], measured["recall"]) >= 0.9
    for kind in measured["kinds"].values():
        assert kind["labelled"] >= 3
        assert min(kind["precision"], kind["recall"]) >= 0.75
    assert measured["failures"] == 0


def test_the_typed_task_reads_as_the_rule_does(movies: World) -> None:
    labelled = [case for _, case in read_labelled(HERE / CORPORA[1]) if case.items is None]
    catalogue = movies.catalogue
    by_rule, by_task = DriftDetector(catalogue), DriftDetector(catalogue, EmbeddedModel(catalogue.lexicon))
    for case in labelled:
        offered = tuple(catalogue.items.index(name) for name in case.offered)
        decision = Decision(Act.CHAT, Strategy.NO_STRATEGY, tuple(ids(movies, *case.asked)), offered)
        ((one, calls),) = by_task.read([Goal()], [decision], [case.recommender], [case.reply])
        ((other, none),) = by_rule.read([Goal()], [decision], [case.recommender], [case.reply])
        assert one == other
        assert [call.task for call in calls] == ["seeker_reading"]
        assert none == ()


def test_a_file_of_ones_own_can_be_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.jsonl"
    lines: list[dict[str, Any]] = [
        {"goal": {"wants": ["comedy"]}, "reply": "What are you in the mood for?", "drift": ["role-swap"]},
        {"goal": {"target": "Elf (2003)"}, "reply": "Hello!", "drift": []},
        {"noun": "bar", "items": {"Moe's": ["loud"]}, "reply": "I like loud bars.", "drift": ["leak"]},
    ]
    path.write_text("\n\n".join(map(json.dumps, lines)))
    assert main(["drift", str(path), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["precision"], measured["recall"]) == (1.0, 0.5)
    assert measured["kinds"]["leak"] == {"labelled": 1, "found": 0, "precision": None, "recall": 0.0}
    (wrong,) = measured["wrong"]
    assert (wrong["line"], wrong["labelled"], wrong["found"]) == (5, ["leak"], [])
    assert main(["drift", str(path)]) == 0
    assert "role-swap" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (None, "there is no such file; it should hold one labelled reply a line, as JSON"),
        ("", "it holds no replies"),
        ("{", "line 1: line: Invalid JSON"),
        ('{"reply": "Hi"}', "line 1: drift: Field required"),
        ('{"reply": "Hi", "drift": ["rudeness"]}', "line 1: drift.0: Input should be 'contradiction', "),
        ('{"reply": "Hi", "drift": [], "gaol": {}}', "line 1: gaol: Extra inputs are not permitted"),
        (
            '{"reply": "Hi", "drift": [], "goal": {"target": "Nope (1901)"}}',
            "line 1: the catalogue has no item 'Nope (1901)'; choose --world, or give the line items",
        ),
        (
            '{"reply": "Hi", "drift": [], "asked": ["tea"]}',
            "line 1: the catalogue has no attribute 'tea'; choose --world, or give the line items",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str | None, says: str
) -> None:
    path = tmp_path / "mine.jsonl"
    if line is not None:
        path.write_text(line)
    assert main(["drift", str(path)]) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert len(complaint.splitlines()) == 1


def test_unknown_names_are_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"reply": "Hi", "drift": [], "offered": ["Nope"]}')
    with pytest.raises(InputError, match="no item 'Nope'"):
        measure_drift(resolve({}), path)
