"""Off the path: each behaviour happens at its rate, is said in words, and is handled well or badly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unicrs_rl.dialogue import Act, Decision, Preferences, Reply, State, Strategy
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.experiments.traces import trace
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.reading import mood_of, read_reply
from unicrs_rl.simulators.effects import EffectTable
from unicrs_rl.simulators.environment import FIRST_QUESTION, ConversationVectorEnv
from unicrs_rl.simulators.latent import LatentSeekers
from unicrs_rl.simulators.off_path import FIRST_CHANGE, HEDGED_WRONG, RATES, rates_of
from unicrs_rl.simulators.seekers import NOTHING, Actions, Answer, Replies, SeekerContext
from unicrs_rl.simulators.settings import OffPath, SeekerConfig
from unicrs_rl.simulators.wording import Behaviour, Manner, word_reply

PLAIN = Strategy.TRANSPARENCY
FRANK = {"patience": 20, "clarity": 20, "openness": -20, "sociability": -20, "pressure": 0}
"""Hidden variables of seekers who answer every question, volunteer nothing and never leave."""
OFTEN = {
    "indifferent": 0.2,
    "changes_mind": 0.6,
    "second_intent": 0.4,
    "off_topic": 0.2,
    "encouraging": 0.8,
    "hedging": 0.3,
}


def population(world: World, count: int, frank: bool = True, **rates: float) -> LatentSeekers:
    settings = SeekerConfig.model_validate(
        {"effects": "none", "off_path": rates, "latents": FRANK if frank else {}}
    )
    seekers = LatentSeekers(SeekerContext(world, settings))
    seekers.reset(world.sessions(Split.TEST, count, 0))
    return seekers


def turn(seekers: LatentSeekers, act: Act, attributes: Any = NOTHING, items: Any = NOTHING) -> Replies:
    """The same kind of turn in every conversation: one attribute and one list for all, or for each."""
    n = len(seekers.sessions)
    lists = np.atleast_2d(np.asarray(items, dtype=np.int64))
    return seekers.respond(
        np.arange(n),
        Actions(
            act=np.full(n, int(act)),
            strategy=np.full(n, PLAIN.position),
            attributes=np.broadcast_to(np.asarray(attributes, dtype=np.int64), n)[:, None],
            items=np.broadcast_to(lists, (n, lists.shape[1])),
            facts_told=np.zeros(n, dtype=np.int64),
        ),
    )


def did(replies: Replies, behaviour: Behaviour) -> NDArray[np.bool_]:
    """Who did it: ``[n]``."""
    return np.array([behaviour.value in done for done in replies.behaviours or [()] * len(replies.place)])


def owned_by(world: World) -> NDArray[np.bool_]:
    return world.catalogue.item_attributes.toarray() > 0


# --- a small recommender whose habits can be good or bad


@dataclass
class Arm:
    """Asks what halves the candidates until ten are left, then lists them; its habits may be bad.

    Attributes:
        forever: candidates once ruled out never come back.
        open_is_no: anything will do counts as a no.
        silence_is_no: an unanswered question counts as a no.
        counts: an answer is a vote, not a filter.
        obliges: shows a list when it is asked for one.
    """

    forever: bool = False
    open_is_no: bool = False
    silence_is_no: bool = False
    counts: bool = False
    obliges: bool = False
    said: list[dict[int, bool]] = field(default_factory=list)

    def play(self, seekers: LatentSeekers, turns: int = 12) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Hold the conversations of a population.

        Returns:
            The accepted item of each (-1 without one), and who left.
        """
        n = len(seekers.sessions)
        owned = owned_by(seekers.world)
        opened = seekers.opening(np.arange(n))
        self.said = [{int(attribute): True} for attribute in opened]
        closed = [{int(attribute)} for attribute in opened]
        kept = np.array([owned[:, attribute] for attribute in opened])
        struck = np.zeros((n, owned.shape[0]), dtype=bool)
        taken, left, wanted = np.full(n, NOTHING), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        live = np.arange(n)
        for number in range(turns):
            decisions = []
            for row in live.tolist():
                scores = self._scores(owned, self.said[row]) * ~struck[row]
                if self.forever:
                    scores = scores * kept[row]
                best = scores.max()
                candidates = np.flatnonzero(scores >= best) if best > 0 else np.zeros(0, dtype=int)
                shares = owned[candidates].mean(axis=0) if len(candidates) else np.zeros(owned.shape[1])
                shares[list(closed[row])] = 0
                gains = np.minimum(shares, 1 - shares)
                if len(candidates) <= 10 or gains.max() == 0 or number == turns - 1 or wanted[row]:
                    ranked = np.argsort(-scores, kind="stable")[:10]
                    items = tuple(ranked[scores[ranked] > 0].tolist()) or (0,)
                    decisions.append(Decision(Act.RECOMMEND, PLAIN, items=items))
                else:
                    decisions.append(Decision(Act.ASK, PLAIN, (int(gains.argmax()),)))
            replies = seekers.replies(
                live, decisions, seekers.respond(live, Actions.of(decisions)), words=False
            )
            for row, decision, reply in zip(live.tolist(), decisions, replies, strict=True):
                heard = dict.fromkeys(reply.disliked, False) | dict.fromkeys(reply.liked, True)
                if decision.attributes and decision.attributes[0] not in heard:
                    if (reply.open and self.open_is_no) or (not reply.open and self.silence_is_no):
                        heard[decision.attributes[0]] = False
                    closed[row].update(reply.open)
                closed[row].update(heard)
                self.said[row] |= heard
                for attribute, wish in heard.items():
                    kept[row] &= owned[:, attribute] == wish
                struck[row, list(reply.rejected)] = True
                request = Behaviour.SECOND_INTENT in reply.behaviours and len(reply.liked) == 0
                wanted[row] = self.obliges and request
                left[row] = reply.left
                if reply.accepted is not None:
                    taken[row] = reply.accepted
            live = np.array(
                [row for row in live.tolist() if taken[row] == NOTHING and not left[row]], dtype=int
            )
            if not len(live):
                break
        return taken, left

    def _scores(self, owned: NDArray[np.bool_], said: dict[int, bool]) -> NDArray[np.float64]:
        agreeing = sum((owned[:, a] == wish).astype(float) for a, wish in said.items())
        scores = np.asarray(agreeing)
        return scores if self.counts else scores * (scores == len(said))


def found(world: World, arm: Arm, count: int = 150, frank: bool = True, **rates: float) -> NDArray[np.bool_]:
    """In which conversations the arm finds what the seeker wants in the end."""
    seekers = population(world, count, frank, **rates)
    taken, _ = arm.play(seekers)
    return taken == seekers.targets


def test_without_digressions_the_arms_habits_do_not_matter(movies: World) -> None:
    usual = found(movies, Arm())
    assert usual.mean() > 0.8
    for habits in ({"forever": True}, {"open_is_no": True}, {"silence_is_no": True}, {"obliges": True}):
        np.testing.assert_array_equal(found(movies, Arm(**habits)), usual)


# --- changing one's mind


def test_minds_change_to_another_item_that_the_same_seeker_could_want(movies: World) -> None:
    seekers = population(movies, 300, changes_mind=1.0)
    owned, before = owned_by(movies), seekers.targets.copy()
    opened = seekers.opening(np.arange(300))
    said = {row: {int(attribute): True} for row, attribute in enumerate(opened)}
    offered = np.arange(10)
    turned = np.zeros(300, dtype=int)
    for number, attribute in enumerate(range(6)):
        act = Act.RECOMMEND if number == 0 else Act.ASK
        met = turn(seekers, act, attributes=attribute, items=offered)
        for row in np.flatnonzero(did(met, Behaviour.CHANGED_MIND)).tolist():
            new, old = int(seekers.targets[row]), int(before[row])
            gone, wish = met.withdrawn[row], int(met.volunteered[row])
            assert new != old
            assert new not in (*seekers.sessions[row].history, *(offered if number == 0 else ()))
            assert gone == tuple(a for a, yes in sorted(said[row].items()) if yes and not owned[new, a])
            assert gone
            assert not any(owned[new, a] for a, yes in said[row].items() if not yes)
            assert wish == NOTHING or (owned[new, wish] and wish not in said[row])
            assert met.place[row] == NOTHING
            turned[row] += 1
        for row in range(300):
            answer = int(met.answers[row, 0])
            if act is Act.ASK and answer in (Answer.YES, Answer.NO):
                said[row][attribute] = answer == Answer.YES
        if number < FIRST_CHANGE:
            assert not turned.any()
    assert turned.max() == 1
    assert turned.mean() > 0.9
    assert (seekers.targets != before).mean() == turned.mean()


def test_who_unlearns_finds_the_new_target_and_who_filters_for_ever_never(movies: World) -> None:
    counts = []
    for arm in (Arm(), Arm(forever=True)):
        seekers = population(movies, 150, changes_mind=1.0)
        before = seekers.targets.copy()
        taken, _ = arm.play(seekers)
        changed = seekers.targets != before
        assert changed.sum() > 50
        counts.append((taken[changed] == seekers.targets[changed]).mean())
    assert counts[0] > 0.6
    assert counts[1] == 0


def test_what_is_said_after_a_change_of_mind_follows_the_new_target(movies: World) -> None:
    seekers, owned = population(movies, 200, changes_mind=1.0), owned_by(movies)
    seekers.opening(np.arange(200))
    for attribute in range(12):
        met = turn(seekers, Act.ASK, attributes=attribute)
        wish = owned[seekers.targets, attribute]
        np.testing.assert_array_equal(met.answers[:, 0] == Answer.YES, wish)


def test_the_environment_unlearns_too(movies: World) -> None:
    settings = SeekerConfig.model_validate({"off_path": {"changes_mind": 1.0}, "latents": FRANK})
    env = ConversationVectorEnv(movies, 64, user="latent", seekers=settings)
    env.reset(seed=1)
    before = env.seekers.targets.copy()
    for attribute in range(8):
        env.step(np.tile([FIRST_QUESTION + attribute, PLAIN.position], (64, 1)))
    now = env.seekers.targets
    assert (now != before).mean() > 0.8
    assert env.candidates[np.arange(64), now].all()
    assert not env.candidates[np.arange(64), before][now != before].any()


def test_metrics_go_by_what_the_seeker_wants_in_the_end(wanderers: Components) -> None:
    sessions = wanderers.world.sessions(Split.TEST, 60, 5)
    episodes = Conversations(wanderers, words=False).hold(wanderers.policy("max-entropy", 0), sessions)
    turned = [episode for episode in episodes if episode.wanted != episode.session.target]
    assert len(turned) > 10
    for episode in episodes:
        line = trace(episode, "max-entropy", 0, wanderers)
        lists = [one.decision.items for one in episode.dialogue.turns]
        assert line["metrics"]["rec_sr"] == float(any(episode.wanted in items for items in lists))
        changed = any(one.reply.withdrawn for one in episode.dialogue.turns)
        assert changed == (episode.wanted != episode.session.target)


# --- the other behaviours


def test_indifference_is_about_an_attribute_and_stays(movies: World) -> None:
    seekers = population(movies, 2000, indifferent=0.3)
    first, again = (turn(seekers, Act.ASK, attributes=4) for _ in range(2))
    np.testing.assert_array_equal(first.answers, again.answers)
    indifferent = first.answers[:, 0] == Answer.OPEN
    assert indifferent.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(did(first, Behaviour.INDIFFERENT), indifferent)
    other = turn(seekers, Act.ASK, attributes=5).answers[:, 0] == Answer.OPEN
    assert (other & indifferent).mean() == pytest.approx(0.09, abs=0.03)


def test_indifference_is_no_refusal(movies: World) -> None:
    rates = {"indifferent": 0.4}
    assert found(movies, Arm(), **rates).mean() > found(movies, Arm(open_is_no=True), **rates).mean() + 0.2


def test_who_is_off_topic_leaves_the_question_open_and_comes_back(movies: World) -> None:
    seekers, owned = population(movies, 1500, off_topic=0.3), owned_by(movies)
    first = turn(seekers, Act.ASK, attributes=4)
    away = did(first, Behaviour.OFF_TOPIC)
    assert away.mean() == pytest.approx(0.3, abs=0.04)
    np.testing.assert_array_equal(first.answers[:, 0] == Answer.NONE, away)
    assert (first.volunteered[away] == NOTHING).all()
    second = turn(seekers, Act.ASK, attributes=4)
    still = did(second, Behaviour.OFF_TOPIC)
    assert still[away].mean() == pytest.approx(0.3, abs=0.06)
    back = away & ~still
    np.testing.assert_array_equal(second.answers[back, 0] == Answer.YES, owned[seekers.targets[back], 4])
    assert (second.manner[back] == Manner.BACK).all()
    assert not (second.manner[~away] == Manner.BACK).any()


def test_silence_is_no_refusal_and_asking_again_works(movies: World) -> None:
    rates = {"off_topic": 0.4}
    again, refusing = (found(movies, Arm(silence_is_no=habit), **rates).mean() for habit in (False, True))
    assert again > refusing + 0.2
    assert again > 0.6


def test_a_second_intent_is_a_true_wish_or_the_request_for_a_list(movies: World) -> None:
    seekers, owned = population(movies, 1500, second_intent=0.5), owned_by(movies)
    met = turn(seekers, Act.ASK, attributes=4)
    second, wish = did(met, Behaviour.SECOND_INTENT), met.volunteered
    assert second.mean() == pytest.approx(0.5, abs=0.04)
    told = wish != NOTHING
    assert (second >= told).all()
    assert 0.3 < told[second].mean() < 0.7
    assert owned[seekers.targets[told], wish[told]].all()
    assert (wish[told] != 4).all()
    assert (met.answers[:, 0] != Answer.NONE).all()


def test_who_lets_a_seeker_wait_for_the_list_it_asked_for_loses_it(movies: World) -> None:
    left = []
    for obliges in (True, False):
        seekers = population(movies, 300, frank=False, second_intent=0.5)
        left.append(Arm(obliges=obliges).play(seekers)[1].mean())
    assert left[0] < left[1] - 0.05


def test_encouragement_tells_that_the_direction_is_right(movies: World) -> None:
    """Who goes on in that direction gets closer than who starts afresh."""
    seekers = population(movies, 1500, encouraging=0.9)
    rng = np.random.default_rng(0)
    content = movies.catalogue.content.toarray()
    fit = content @ content.T
    listed = np.stack([rng.choice(len(fit), 10, replace=False) for _ in range(1500)])
    listed = np.where(listed == seekers.targets[:, None], (listed + 1) % len(fit), listed)
    met = turn(seekers, Act.RECOMMEND, items=listed)
    encouraged = did(met, Behaviour.ENCOURAGING)
    best = fit[seekers.targets[:, None], listed].max(axis=1)
    declined = met.place == NOTHING
    assert not encouraged[~declined].any()
    assert encouraged[declined].mean() == pytest.approx(
        (0.9 * np.minimum(2 * best, 1))[declined].mean(), abs=0.04
    )
    assert best[encouraged].mean() > best[declined & ~encouraged].mean() + 0.03
    likeness = fit[listed].mean(axis=1)
    np.put_along_axis(likeness, listed, -1.0, axis=1)
    nearer = np.argsort(-likeness, axis=1)[:, :10]
    afresh = np.stack([rng.choice(len(fit), 10, replace=False) for _ in range(1500)])
    reach = [fit[seekers.targets[:, None], items].max(axis=1) for items in (nearer, afresh)]
    assert reach[0][encouraged].mean() > reach[1][encouraged].mean() + 0.02
    gain = (reach[0] - reach[1])[encouraged].mean() - (reach[0] - reach[1])[declined & ~encouraged].mean()
    assert gain > 0


def test_a_hedged_answer_is_wrong_at_times_and_another_one_is_not(movies: World) -> None:
    seekers, owned = population(movies, 2000, hedging=0.5), owned_by(movies)
    met = turn(seekers, Act.ASK, attributes=4)
    hedged = did(met, Behaviour.HEDGING)
    wrong = (met.answers[:, 0] == Answer.YES) != owned[seekers.targets, 4]
    assert hedged.mean() == pytest.approx(0.5, abs=0.04)
    assert not wrong[~hedged].any()
    assert wrong[hedged].mean() == pytest.approx(HEDGED_WRONG, abs=0.04)
    np.testing.assert_array_equal(met.manner == Manner.HEDGING, hedged)


def test_who_counts_hedged_answers_as_votes_does_better_than_who_filters_by_them(movies: World) -> None:
    counting, filtering = (found(movies, Arm(counts=habit), hedging=0.7).mean() for habit in (True, False))
    assert counting > filtering + 0.1


# --- rates


def test_a_plain_population_never_leaves_the_path(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 60, 3)
    for episode in Conversations(components, words=False).hold(components.policy("random", 0), sessions):
        assert not any(one.reply.behaviours or one.reply.withdrawn for one in episode.dialogue.turns)


def test_a_holistic_population_has_the_rates_of_people() -> None:
    table = EffectTable.read()
    rates = rates_of(SeekerConfig.model_validate({"population": "holistic"}), table)
    for behaviour, name in RATES.items():
        assert getattr(rates, name) == table.off_path[behaviour.value].rate.value > 0
    assert rates_of(SeekerConfig(), table) == OffPath()
    own = {"population": "holistic", "off_path": {"hedging": 0.5}}
    assert rates_of(SeekerConfig.model_validate(own), table) == OffPath(hedging=0.5)


def test_digressions_do_not_depend_on_the_batch(movies: World) -> None:
    sessions = movies.sessions(Split.TEST, 30, 0)
    settings = SeekerConfig.model_validate({"off_path": OFTEN})
    met = []
    for chosen in (sessions, sessions[7:8], sessions[::-1][:25]):
        seekers = LatentSeekers(SeekerContext(movies, settings))
        seekers.reset(chosen)
        row = chosen.index(sessions[7])
        lines: list[Any] = []
        for number in range(8):
            act = (Act.ASK, Act.CHAT, Act.ASK, Act.RECOMMEND)[number % 4]
            replies = turn(seekers, act, attributes=number, items=np.arange(10) + 10 * number)
            done = replies.behaviours[row] if replies.behaviours else ()
            gone = replies.withdrawn[row] if replies.withdrawn else ()
            lines.append((replies.answers[row].tolist(), int(replies.volunteered[row]), done, gone))
        met.append((lines, seekers.latents(row), int(seekers.targets[row])))
    assert met[0] == met[1] == met[2]
    assert any(done for *_, done, _ in met[0][0])


# --- in words


@pytest.fixture(scope="module")
def wanderers(movies: World, movies_embeddings: Embeddings) -> Components:
    return build(resolve({"seekers": {"off_path": OFTEN, "tracking": False}}), movies, movies_embeddings)


@pytest.fixture(scope="module")
def spoken(wanderers: Components) -> list[Episode]:
    sessions = wanderers.world.sessions(Split.TEST, 150, 1)
    conversations = Conversations(wanderers)
    return [
        episode
        for arm in ("random", "max-entropy")
        for episode in conversations.hold(wanderers.policy(arm, 0), sessions)
    ]


def said(reply: Reply) -> tuple[set[int], set[int], set[int], int | None, tuple[int, ...]]:
    return set(reply.liked), set(reply.disliked), set(reply.open), reply.accepted, reply.rejected


def test_words_say_what_the_seeker_did_off_the_path(lexicon: Lexicon, spoken: list[Episode]) -> None:
    done: set[str] = set()
    for one in (one for episode in spoken for one in episode.dialogue.turns):
        read = read_reply(lexicon, one.reply.text, one.decision.attributes, one.decision.items)
        heard = Reply(one.reply.text, read.liked, read.disliked, read.open, read.accepted, read.rejected)
        assert said(heard) == said(one.reply)
        done.update(one.reply.behaviours)
        assert set(one.reply.withdrawn) <= set(one.reply.disliked)
        if Behaviour.ENCOURAGING in one.reply.behaviours and Behaviour.HEDGING not in one.reply.behaviours:
            assert mood_of(one.reply.text) in ("positive", "impatient")
    assert done == {behaviour.value for behaviour in Behaviour}


@pytest.mark.parametrize("world", ["bistros", "lastfm"])
def test_words_say_what_was_done_in_other_worlds_too(world: str, request: pytest.FixtureRequest) -> None:
    if world == "bistros":
        settings: dict[str, Any] = {"world": str(request.getfixturevalue("bistros"))}
    else:
        settings = {"world": world, "data": request.getfixturevalue("shared") / "data" / world}
    rates = OFTEN | {"changes_mind": 1.0}
    settings |= {"embeddings": {"epochs": 0}, "prior": "uniform", "seekers": {"off_path": rates}}
    made = make_world(settings["world"], settings.get("data"))
    components = build(resolve(settings), made)
    episodes = Conversations(components).hold(
        components.policy("random", 0), made.sessions(Split.TEST, 40, 4)
    )
    for one in (one for episode in episodes for one in episode.dialogue.turns):
        read = read_reply(
            components.actor.lexicon, one.reply.text, one.decision.attributes, one.decision.items
        )
        heard = Reply(one.reply.text, read.liked, read.disliked, read.open, read.accepted, read.rejected)
        assert said(heard) == said(one.reply)
    assert any(one.reply.withdrawn for episode in episodes for one in episode.dialogue.turns)


def test_nothing_hidden_is_said(spoken: list[Episode]) -> None:
    for one in (one for episode in spoken for one in episode.dialogue.turns):
        assert not any(f" {behaviour.value} " in one.reply.text for behaviour in Behaviour)


def test_every_line_about_a_change_of_mind_is_read_as_one(movies: World, lexicon: Lexicon) -> None:
    catalogue = movies.catalogue
    for attribute in range(catalogue.n_attributes):
        other = (attribute + 7) % catalogue.n_attributes
        reply = Reply(liked=(other,), disliked=(attribute,), withdrawn=(attribute,), rejected=(1, 2))
        decision = Decision(Act.RECOMMEND, PLAIN, items=(1, 2))
        worded = word_reply(catalogue, reply, decision, Manner(attribute % 4), attribute, 3)
        read = read_reply(lexicon, worded.text, (), (1, 2))
        assert (read.liked, read.disliked, read.rejected) == ((other,), (attribute,), (1, 2)), worded.text


def test_arms_that_read_words_meet_the_same_change_of_mind(wanderers: Components) -> None:
    """Preferences read from words equal those from acts, also after wishes were withdrawn."""
    conversations = Conversations(wanderers)
    sessions = wanderers.world.sessions(Split.TEST, 60, 5)
    reasoner = wanderers.reasoner
    withdrawn = 0
    for episode in conversations.hold(wanderers.policy("max-entropy", 0), sessions):
        known, _ = reasoner.perceive([episode.dialogue])[0]
        for one in episode.dialogue.turns:
            if one.reply.withdrawn:
                withdrawn += 1
                later = episode.dialogue.turns[episode.dialogue.turns.index(one) + 1 :]
                again = {attribute for turn in later for attribute in turn.reply.liked}
                assert not (set(one.reply.withdrawn) - again) & set(known.liked)
    assert withdrawn > 10


def state(decisions: tuple[Decision, ...], known: Preferences) -> State:
    return State(0, (), known, (), decisions, 15)


def test_a_question_left_unanswered_can_be_asked_once_more() -> None:
    ask: Callable[[int], Decision] = lambda attribute: Decision(Act.ASK, PLAIN, (attribute,))  # noqa: E731
    heard = Preferences(liked=(1,))
    assert state((ask(4),), heard).asked == {1}
    assert state((ask(4),), replace(heard, disliked=(4,))).asked == {1, 4}
    assert state((ask(4), ask(4)), heard).asked == {1, 4}
    assert state((ask(4), ask(5)), heard).asked == {1, 4}
    assert state((ask(4), Decision(Act.CHAT, PLAIN)), heard).asked == {1, 4}
    assert state((ask(4),), Preferences()).asked == {4}  # nobody reads


def test_arms_ask_again_what_was_left_unanswered(wanderers: Components) -> None:
    sessions = wanderers.world.sessions(Split.TEST, 80, 2)
    episodes = Conversations(wanderers, words=False).hold(wanderers.policy("max-entropy", 0), sessions)
    pairs = [
        (first.decision, second.decision)
        for episode in episodes
        for first, second in zip(episode.dialogue.turns, episode.dialogue.turns[1:], strict=False)
        if Behaviour.OFF_TOPIC in first.reply.behaviours and first.decision.act is Act.ASK
    ]
    assert len(pairs) > 10
    again = [second.attributes == first.attributes for first, second in pairs if second.act is Act.ASK]
    assert np.mean(again) > 0.9
