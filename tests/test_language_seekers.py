"""Seekers that speak through a language model: truthful, bounded, and silent about what they want."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unicrs_rl.dialogue import Act, Call, Decision, Reply, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.language.boundary import RETRIES, Prompt, Raw, Task
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.lexicon import Entity, tokenize
from unicrs_rl.language.seeker_tasks import (
    SEEKER_FREE,
    SEEKER_LATENT,
    SEEKER_READING,
    SEEKER_REFERENCE,
    FreeInput,
    Offer,
    ReferenceInput,
    SeekerOutput,
    check_seeker,
)
from unicrs_rl.language.seeker_words import answer_freely, answer_knowing
from unicrs_rl.language.titles import masked, places
from unicrs_rl.simulators.drift import Drift
from unicrs_rl.simulators.language_seekers import (
    WISHES,
    FreeSeekers,
    ReferenceSeekers,
    SpokenLatentSeekers,
)
from unicrs_rl.simulators.latent import LatentSeekers
from unicrs_rl.simulators.populations import make_seekers
from unicrs_rl.simulators.seekers import Actions, Answer, SeekerContext, Seekers
from unicrs_rl.simulators.settings import SeekerConfig
from unicrs_rl.simulators.spoken import FEWEST_TURNS, MOST_TURNS

KINDS = ("lm-reference", "lm-free", "lm-latent")
SPEAKING: tuple[Task[Any, Any], ...] = (SEEKER_REFERENCE, SEEKER_FREE, SEEKER_LATENT)


def components_with(world: World, embeddings: Embeddings, user: str, **seekers: Any) -> Components:
    return build(resolve({"user": user, "seekers": seekers}), world, embeddings)


def held(components: Components, count: int, batch: int = 100, arm: str = "max-entropy") -> list[Episode]:
    sessions = components.world.sessions(Split.TEST, count, 0)
    found: list[Episode] = []
    for start in range(0, count, batch):
        conversations = Conversations(components.of(arm))
        found += conversations.hold(components.policy(arm, 0), sessions[start : start + batch])
    return found


def said(episode: Episode) -> list[Reply]:
    return [episode.dialogue.opening, *(turn.reply for turn in episode.dialogue.turns)]


class Scripted(EmbeddedModel):
    """The embedded model with other answers to some tasks, and a record of all prompts."""

    def __init__(self, world: World, **scripts: Callable[[Prompt[Any], dict[str, Any]], str]) -> None:
        super().__init__(world.catalogue.lexicon)
        self.scripts = scripts
        self.prompts: list[tuple[str, Prompt[Any]]] = []

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        self.prompts += [(task.name, prompt) for prompt in prompts]
        raws = super().generate(task, prompts)
        script = self.scripts.get(task.name)
        if script is None:
            return raws
        return [
            replace(raw, text=script(prompt, json.loads(raw.text)))
            for raw, prompt in zip(raws, prompts, strict=True)
        ]


def meet(
    world: World, user: str, model: EmbeddedModel, count: int = 4, **settings: Any
) -> tuple[Seekers, list[Reply]]:
    seekers = make_seekers(user, SeekerContext(world, SeekerConfig(**settings), model=model))
    rows = np.arange(count)
    volunteered = seekers.reset(world.sessions(Split.TEST, count, 0))
    return seekers, seekers.first_words(rows, volunteered)


def tell(seekers: Seekers, decision: Decision, utterance: str) -> list[Reply]:
    """What all seekers of a batch answer to the same words."""
    rows = np.arange(len(seekers.sessions))
    decisions = [decision] * len(rows)
    arrays = seekers.respond(rows, Actions.of(decisions, [()] * len(rows), [utterance] * len(rows)))
    return seekers.replies(rows, decisions, arrays, True)


def chat(seekers: Seekers, utterance: str = "I see.") -> list[Reply]:
    return tell(seekers, Decision(Act.CHAT, Strategy.NO_STRATEGY), utterance)


# -- conversations


@pytest.mark.parametrize("user", KINDS)
def test_each_kind_leads_whole_conversations(movies: World, movies_embeddings: Embeddings, user: str) -> None:
    episodes = held(components_with(movies, movies_embeddings, user), 40)
    assert (
        np.mean([episode.dialogue.outcome.success for episode in episodes if episode.dialogue.outcome]) > 0.7
    )
    for episode in episodes:
        for reply in said(episode):
            assert reply.text
            assert reply.calls
            assert not any(call.failure or call.retries for call in reply.calls)
            assert not reply.drift
        assert episode.goals
        assert len(episode.goals) == len(episode.dialogue.turns) + 1


@pytest.mark.parametrize("user", KINDS)
def test_what_they_say_does_not_depend_on_the_batch(
    movies: World, movies_embeddings: Embeddings, user: str
) -> None:
    parts = components_with(movies, movies_embeddings, user)
    texts = [[[reply.text for reply in said(e)] for e in held(parts, 12, batch)] for batch in (12, 5)]
    assert texts[0] == texts[1]


def test_one_that_knows_its_item_is_truthful_and_takes_nothing_else(
    movies: World, movies_embeddings: Embeddings
) -> None:
    catalogue = movies.catalogue
    answers = 0
    for episode in held(components_with(movies, movies_embeddings, "lm-reference"), 60):
        owned = set(catalogue.attributes_of(episode.session.target).tolist())
        for turn in episode.dialogue.turns:
            reply = turn.reply
            assert set(reply.liked) <= owned
            assert not owned & set(reply.disliked)
            assert reply.accepted in (None, episode.session.target)
            if episode.session.target in turn.decision.items:
                assert reply.accepted == episode.session.target
            answers += len(reply.liked) + len(reply.disliked)
    assert answers > 20


def test_one_without_an_item_takes_what_meets_its_wishes(
    movies: World, movies_embeddings: Embeddings
) -> None:
    catalogue = movies.catalogue
    others = 0
    for episode in held(components_with(movies, movies_embeddings, "lm-free", satisfied_by=0.6), 60):
        goal = episode.goals[0]
        assert not goal.targets
        assert 1 <= len(goal.wants) <= WISHES
        for turn in episode.dialogue.turns:
            fitting = [
                item
                for item in turn.decision.items
                if len(goal.wants & set(catalogue.attributes_of(item).tolist()))
                >= 0.6 * len(goal.wants) - 1e-9
            ]
            assert turn.reply.accepted == (fitting[0] if fitting else None)
            others += turn.reply.accepted not in (None, episode.session.target)
    assert others > 5


def test_latent_ones_do_what_latent_seekers_do(movies: World, movies_embeddings: Embeddings) -> None:
    spoken, plain = (
        held(components_with(movies, movies_embeddings, user), 30) for user in ("lm-latent", "latent")
    )
    for one, other in zip(spoken, plain, strict=True):
        assert [replace(reply, calls=()) for reply in said(one)] == said(other)
        assert one.latents == other.latents


def test_patience_is_bounded(movies: World) -> None:
    for user in ("lm-reference", "lm-free"):
        bored = Scripted(
            movies,
            seeker_reference=lambda _, answer: json.dumps(answer | {"leaving": False, "volunteered": None}),
            seeker_free=lambda _, answer: json.dumps(answer | {"leaving": False, "volunteered": None}),
        )
        seekers, _ = meet(movies, user, bored, 12)
        left: dict[int, int] = {}
        patience = [seekers.patience(0)]
        for turn in range(1, MOST_TURNS + 1):
            for row, reply in enumerate(chat(seekers)):
                if reply.left:
                    left.setdefault(row, turn)
            patience.append(seekers.patience(0))
        assert sorted(left) == list(range(12))
        assert set(left.values()) <= set(range(FEWEST_TURNS, MOST_TURNS + 1))
        assert len(set(left.values())) > 2
        assert patience == sorted(patience, reverse=True)
        assert (patience[0], patience[-1]) == (1.0, 0.0)


@pytest.mark.parametrize("user", ["lm-reference", "lm-free"])
def test_they_cannot_be_met_without_words(movies: World, user: str) -> None:
    seekers = make_seekers(user, SeekerContext(movies))
    with pytest.raises(InputError, match="these seekers need words"):
        seekers.reset(movies.sessions(Split.TEST, 2, 0))


# -- what goes wrong


@pytest.mark.parametrize("user", KINDS)
def test_an_answer_that_stays_malformed_is_a_failure_and_a_neutral_reply(movies: World, user: str) -> None:
    broken = Scripted(
        movies,
        **dict.fromkeys((t.name for t in (SEEKER_REFERENCE, SEEKER_FREE, SEEKER_LATENT)), lambda *_: "?"),
    )
    seekers, openings = meet(movies, user, broken)
    western = movies.catalogue.attributes.index("western")
    replies = tell(seekers, Decision(Act.ASK, Strategy.NO_STRATEGY, (western,)), "Western?")
    for reply in (*openings, *replies):
        assert reply.text
        failures = [call for call in reply.calls if call.failure]
        assert [(call.retries, call.lost) for call in failures] == [(RETRIES, False)]
        assert not reply.drift
    if user != "lm-latent":  # there the act is decided without the model
        assert {reply.open for reply in replies} == {(western,)}
        assert not any(reply.liked or reply.disliked or reply.left for reply in replies)


def test_a_reply_that_is_never_had_breaks_the_conversation_off(
    movies: World, movies_embeddings: Embeddings
) -> None:
    class Gone(EmbeddedModel):
        def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
            if task is SEEKER_FREE and prompts[0].inputs.dialogue:
                return [Raw("", 0, 0, "the endpoint is gone", lost=True) for _ in prompts]
            return super().generate(task, prompts)

    parts = components_with(movies, movies_embeddings, "lm-free")
    episodes = held(replace(parts, model=Gone(movies.catalogue.lexicon)), 3)
    assert {episode.failure for episode in episodes} == {"seeker_free: the endpoint is gone"}
    assert {len(episode.dialogue.turns) for episode in episodes} == {1}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"utterance": " "}, "utterance: must not be empty"),
        ({"answers": {}}, "answers: must have exactly these keys: ['drama']"),
        ({"answers": {"drama": "yes", "war": "no"}}, "answers: must have exactly these keys: ['drama']"),
        ({"act": "accept"}, "accepted: must be given if act is 'accept', and only then"),
        ({"accepted": "Up (2009)"}, "accepted: must be given if act is 'accept', and only then"),
        ({"act": "accept", "accepted": "It (2017)"}, "accepted: must be one of the items just recommended"),
        ({"volunteered": "war"}, "volunteered: must be one of the wishes"),
        ({}, None),
    ],
)
def test_an_answer_has_to_fit_what_was_asked(change: dict[str, Any], complaint: str | None) -> None:
    inputs = FreeInput(
        noun="movie",
        dialogue=[("recommender", "Drama?")],
        wants=["drama"],
        asked=["drama"],
        offered=[Offer(name="Up (2009)")],
        turns_left=5,
        summary="",
        needed=1,
    )
    answer = {"act": "answer", "answers": {"drama": "yes"}, "utterance": "Yes, I like drama."}
    assert check_seeker(inputs, SeekerOutput.model_validate(answer | change)) == complaint


# -- drift is said again


def test_a_drifting_reply_is_asked_for_again_with_the_complaint(movies: World) -> None:
    def swap_at_first(prompt: Prompt[Any], answer: dict[str, Any]) -> str:
        swapped = "What kind of movies do you like?"
        return json.dumps(answer if prompt.inputs.complaint else answer | {"utterance": swapped})

    for user, task in zip(KINDS, SPEAKING, strict=True):
        _, drifting = meet(movies, user, Scripted(movies, **{task.name: swap_at_first}))
        assert {reply.drift for reply in drifting} == {(Drift.ROLE_SWAP,)}
        model = Scripted(movies, **{task.name: swap_at_first})
        _, corrected = meet(movies, user, model, regenerate=2)
        assert {reply.drift for reply in corrected} == {()}
        for reply in corrected:
            assert [call.task for call in reply.calls] == [task.name, SEEKER_READING.name] * 2
        again = [prompt.text for name, prompt in model.prompts if name == task.name][-1]
        assert "You talked like the recommender; you are the seeker." in again


def test_one_that_never_stops_drifting_is_asked_as_often_as_the_settings_allow(movies: World) -> None:
    swapped = Scripted(
        movies, seeker_free=lambda _, answer: json.dumps(answer | {"utterance": "How can I help you?"})
    )
    _, replies = meet(movies, "lm-free", swapped, regenerate=3)
    for reply in replies:
        assert reply.drift == (Drift.ROLE_SWAP,)
        assert sum(call.task == SEEKER_FREE.name for call in reply.calls) == 4


def test_without_tracking_nothing_is_read(movies: World) -> None:
    _, replies = meet(movies, "lm-free", Scripted(movies), tracking=False)
    assert [call.task for call in replies[0].calls] == [SEEKER_FREE.name]


# -- the target is not named


def forms(name: str) -> set[str]:
    """Ways in which people and models write a title."""
    bare = re.sub(r"\s*\(\d{4}\)$", "", name).strip() or name
    whole = {name, bare}
    cased = {case(form) for form in whole for case in (str.lower, str.upper, str.title)}
    spaced = {bare.replace(" ", odd) for odd in ("  ", "\u00a0", "\n", "-", " \u200b")}
    quoted = {f'"{bare}"', f"“{bare}”", f"'{bare}'", f"*{bare}*", f"**{name}**"}
    signs = {
        bare.replace(one, other)
        for one, other in zip("'’:&-.,", ("’", "", " -", "and", " ", "", ""), strict=True)
    }
    moved = {f"{m[2]}, {m[1]}" for form in whole if (m := re.match(r"(The|A|An) (.+)$", form))}
    return {
        form for form in (whole | cased | spaced | quoted | signs | moved | {" ".join(bare)}) if form.strip()
    }


def names(text: str, title: str) -> bool:
    """Whether the words of a title, without its year, stand in a text one after the other."""
    bare = re.sub(r"\s*\(\d{4}\)$", "", title).strip() or title
    words, wanted = tokenize(text), tokenize(bare)
    if not wanted:
        return bare in text
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))


def check_every_form(items: Sequence[str], noun: str) -> None:
    for name in items:
        for form in forms(name):
            if tokenize(form) or not tokenize(name):
                hidden = masked(f"I want {form} tonight.", [name], noun)
                assert not names(hidden, name), (name, form, hidden)
                assert not places(name, hidden), (name, form, hidden)
                assert hidden.strip()


def test_no_form_of_any_title_gets_through_on_movies(movies: World) -> None:
    check_every_form(movies.catalogue.items, movies.catalogue.noun)


@pytest.mark.slow
def test_no_form_of_any_title_gets_through_on_redial(shared: Path) -> None:
    world = make_world("redial", shared / "data" / "redial")
    check_every_form(world.catalogue.items, world.catalogue.noun)


@pytest.mark.parametrize(
    ("title", "text", "heard"),
    [
        ("The Matrix (1999)", "I want the matrix!", "I want that one!"),
        ("The Matrix (1999)", "Matrix, The (1999) is it.", "That one is it."),
        ("The Matrix (1999)", "Like the movie called “The  Matrix (1999)”, ok?", "Like that one, ok?"),
        ("The Matrix (1999)", "T h e  M a t r i x", "That one"),
        ("It (2017)", "I like it, and IT is scary.", "I like that one, and that one is scary."),
        ("It (2017)", "It's about a clown.", "That one's about a clown."),
        ("Up (2009)", "What's up?", "What's that one?"),
        ("I (2015)", "I'm sure.", "That one'm sure."),
        ("Spider-Man (2002)", "A movie like spiderman or Spider Man", "A movie like that one or that one"),
        ("Rocky II (1979)", "rocky 2 please", "That one please"),
        ("Mr. & Mrs. Smith (2005)", "Mr and Mrs Smith", "That one"),
        ("Amélie (2001)", "Amelie, please", "That one, please"),
        ("Alien: Covenant (2017)", "The one about the Covenant.", "The one about that one."),
        ("That One (2000)", "I want that one.", "I want what I mean."),
        ("Heat (1995)", "I like theatres.", "I like theatres."),
    ],
)  # fmt: skip
def test_the_masked_text_stays_a_sentence(title: str, text: str, heard: str) -> None:
    assert masked(text, [title]) == heard


def test_the_recommender_never_hears_the_target_from_one_that_babbles_it(movies: World) -> None:
    catalogue = movies.catalogue
    count = 0

    def babble(prompt: Prompt[ReferenceInput], answer: dict[str, Any]) -> str:
        nonlocal count
        ways = sorted(forms(prompt.inputs.target))
        count += 1
        return json.dumps(answer | {"utterance": f"I want {ways[count % len(ways)]}, you know."})

    seekers, openings = meet(movies, "lm-reference", Scripted(movies, seeker_reference=babble), 200)
    replies = [openings, *(chat(seekers) for _ in range(3))]
    for row, session in enumerate(seekers.sessions):
        title = catalogue.items[session.target]
        assert not any(names(replied[row].text, title) for replied in replies)
    leaks = [Drift.LEAK in reply.drift for replied in replies for reply in replied]
    assert np.mean(leaks) > 0.9


def test_a_wish_that_holds_the_title_is_not_told(bistros: Path) -> None:
    items = (
        (bistros / "items.csv").read_text().replace("thai|vegan,quiet", "thai|vegan|Blue Door kitchen,quiet")
    )
    (bistros / "items.csv").write_text(items)
    world = make_world(str(bistros))
    model = Scripted(world)
    seekers = make_seekers("lm-reference", SeekerContext(world, model=model))
    assert isinstance(seekers, ReferenceSeekers)
    (target,) = (i for i, name in enumerate(world.catalogue.items) if name == "Blue Door")
    session = replace(world.sessions(Split.TEST, 1, 0)[0], target=target)
    seekers.reset([session])
    told = {world.catalogue.attributes[attribute] for attribute in seekers.wishes(0)}
    assert {"thai", "vegan"} <= told
    assert "Blue Door kitchen" in world.catalogue.attributes
    assert "Blue Door kitchen" not in told


def test_the_prompt_of_one_without_an_item_never_holds_the_target(
    movies: World, movies_embeddings: Embeddings
) -> None:
    model = Scripted(movies)
    parts = replace(components_with(movies, movies_embeddings, "lm-free"), model=model)
    episodes = held(parts, 60)
    by_words = {tuple(text for _, text in e.dialogue.utterances()): e for e in episodes}
    seen = 0
    for name, prompt in model.prompts:
        if name != SEEKER_FREE.name or prompt.inputs.offered:
            continue
        lines = tuple(text for _, text in prompt.inputs.dialogue)
        mine = [e for words, e in by_words.items() if words[: len(lines)] == lines]
        if not lines or len(mine) != 1 or mine[0].session.target in offers_before(mine[0], len(lines)):
            continue
        assert not places(movies.catalogue.items[mine[0].session.target], prompt.text)
        seen += 1
    assert seen > 40
    seekers = FreeSeekers(SeekerContext(movies, model=model))
    seekers.reset(movies.sessions(Split.TEST, None, 0))
    for row, session in enumerate(seekers.sessions):
        title = movies.catalogue.items[session.target]
        told = (seekers.summary(row), *(movies.catalogue.attributes[a] for a in seekers.aim(row).wants))
        assert not any(places(title, text) for text in told)


def offers_before(episode: Episode, lines: int) -> set[int]:
    return {item for turn in episode.dialogue.turns[: lines // 2] for item in turn.decision.items}


def test_what_each_mode_is_told(movies: World) -> None:
    model = Scripted(movies)
    for user in KINDS:
        meet(movies, user, model, 30)
    sessions = movies.sessions(Split.TEST, 30, 0)
    titles = [movies.catalogue.items[session.target] for session in sessions]
    prompts: dict[str, list[str]] = {}
    for name, prompt in model.prompts:
        prompts.setdefault(name, []).append(prompt.text)
    assert all(title in text for title, text in zip(titles, prompts[SEEKER_REFERENCE.name], strict=True))
    for name in (SEEKER_FREE.name, SEEKER_LATENT.name):
        assert not [title for title, text in zip(titles, prompts[name], strict=True) if title in text]


# -- the embedded rules


def test_the_embedded_answers_follow_from_what_is_known() -> None:
    common = {"noun": "movie", "dialogue": [("recommender", "?")], "wants": ["drama", "war"], "turns_left": 4}
    known = ReferenceInput(**common, target="Up (2009)", asked=["drama", "crime"])
    assert answer_knowing(known).answers == {"drama": "yes", "crime": "no"}
    free = FreeInput(**common, avoids=["crime"], asked=["drama", "crime", "space"], summary="", needed=2)
    assert answer_freely(free).answers == {"drama": "yes", "crime": "no", "space": "open"}
    offers = [
        Offer(name="Heat (1995)", attributes=["drama", "war", "crime"]),
        Offer(name="It (2017)", attributes=["drama"]),
        Offer(name="Troy (2004)", attributes=["drama", "war", "space"]),
    ]
    offered = free.model_copy(update={"asked": [], "offered": offers})
    assert answer_freely(offered).accepted == "Troy (2004)"
    assert answer_freely(offered.model_copy(update={"needed": 3})).accepted is None
    assert answer_knowing(known.model_copy(update={"asked": [], "offered": offers})).accepted is None
    last = offered.model_copy(update={"needed": 3, "turns_left": 1})
    assert answer_freely(last).leaving


def test_all_that_embedded_seekers_say_is_read_back(movies: World, movies_embeddings: Embeddings) -> None:
    """The words carry the acts: what a recommender reads is what was done."""
    lexicon = movies.catalogue.lexicon
    for user in ("lm-reference", "lm-free"):
        parts = components_with(movies, movies_embeddings, user)
        for episode in held(parts, 40):
            for reply in said(episode):
                named = {m.id for m in lexicon.mentions(reply.text) if m.entity is Entity.ATTRIBUTE}
                told = {*reply.liked, *reply.disliked, *reply.open}
                assert named <= told
            ((known, _),) = parts.reasoner.perceive([episode.dialogue])
            done = [reply.liked for reply in said(episode)]
            assert set(known.liked) == {attribute for liked in done for attribute in liked}


def test_calls_are_booked_apart_from_the_recommenders(movies: World, movies_embeddings: Embeddings) -> None:
    for episode in held(components_with(movies, movies_embeddings, "lm-free"), 5):
        for turn in episode.dialogue.turns:
            own: set[str] = {call.task for call in turn.calls}
            assert not own & {SEEKER_FREE.name, SEEKER_READING.name}
            assert all(isinstance(call, Call) for call in turn.reply.calls)


def test_a_spoken_latent_seeker_takes_other_words_for_the_same_act(movies: World) -> None:
    warm = Scripted(movies, seeker_latent=lambda _, __: json.dumps({"utterance": "Yes, sure, I love it."}))
    seekers, _ = meet(movies, "lm-latent", warm, 60)
    assert isinstance(seekers, SpokenLatentSeekers)
    assert isinstance(seekers, LatentSeekers)
    drama = movies.catalogue.attributes.index("drama")
    replies = tell(seekers, Decision(Act.ASK, Strategy.NO_STRATEGY, (drama,)), "Drama?")
    assert {reply.text for reply in replies} == {"Yes, sure, I love it."}
    for reply in replies:  # words that say the opposite of what is done are drift
        if reply.liked or reply.disliked:
            assert (Drift.CONTRADICTION in reply.drift) == (drama in reply.disliked)
    assert {Answer.YES, Answer.NO} <= set(answers_of(replies, drama))


def answers_of(replies: Sequence[Reply], attribute: int) -> Iterator[Answer]:
    for reply in replies:
        yield (
            Answer.YES
            if attribute in reply.liked
            else Answer.NO
            if attribute in reply.disliked
            else Answer.OPEN
        )
