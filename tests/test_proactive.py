"""Telling something unasked: what is told, who takes it up, and that nothing changes where it is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unicrs_rl.dialogue import Act, Decision, Fact, Grounding, Plan, Preferences, Reply, State, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.judging.claims import ClaimChecker
from unicrs_rl.judging.metrics import rapport
from unicrs_rl.language.actor import Actor
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.experts import Experts, Volunteering
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.reading import read_reply
from unicrs_rl.policy.rules import MaxEntropy
from unicrs_rl.simulators.populations import make_seekers
from unicrs_rl.simulators.seekers import Actions, Answer, SeekerContext
from unicrs_rl.simulators.settings import SeekerConfig
from unicrs_rl.simulators.wording import Manner, word_reply

TELLING = Experts(volunteer=Volunteering.ATTRIBUTE)


def hold(components: Components, count: int = 12) -> list[list[Decision]]:
    """The decisions of a rule's held-out conversations."""
    policy = components.policy("max-entropy", 0)
    assert isinstance(policy, MaxEntropy)
    episodes = Conversations(components).hold(policy, components.world.sessions(Split.TEST, count, 0))
    for episode in episodes:
        for turn in episode.dialogue.turns:
            told = turn.decision.told
            if told is not None:
                assert components.world.catalogue.attributes[told].casefold() in turn.utterance.casefold()
    return [[turn.decision for turn in episode.dialogue.turns] for episode in episodes]


def test_what_is_told_is_open_new_and_never_with_a_list(components: Components) -> None:
    talks = hold(components.recommending_above(0.6).with_experts(TELLING))
    told = [decision.told for talk in talks for decision in talk if decision.told is not None]
    assert len(told) > len(talks)
    for talk in talks:
        asked: set[int] = set()
        earlier: set[int] = set()
        for decision in talk:
            if decision.act is Act.RECOMMEND:
                assert decision.told is None
            if decision.told is not None:
                assert decision.told not in asked | earlier | set(decision.attributes)
                earlier.add(decision.told)
            asked |= set(decision.attributes)
    silent = hold(components.recommending_above(0.6))
    assert all(decision.told is None for talk in silent for decision in talk)


def test_it_is_claimed_of_an_item_that_has_it(movies: World, lexicon: Lexicon) -> None:
    catalogue = movies.catalogue
    checker = ClaimChecker(catalogue, lexicon)
    actor = Actor(EmbeddedModel(lexicon), lexicon, 0.5)
    for item in range(0, 60, 3):
        fact = catalogue.facts_about(item)[0]
        attribute = lexicon.attribute_id(fact.value)
        if attribute is None:
            continue
        ground = Grounding((item,), (5,), 0.1, (), unasked=(fact,))
        state = State(item, (), Preferences(), (), (), 15)
        (said,) = actor.speak([state], [Plan(Strategy.NO_STRATEGY, Act.CHAT)], [ground])
        assert said.decision == Decision(Act.CHAT, Strategy.NO_STRATEGY, told=attribute)
        claims = checker.claims(said.utterance)
        assert [(claim.item, claim.right) for claim in claims] == [(item, True)]


def test_what_is_asked_about_is_not_told_as_well(lexicon: Lexicon) -> None:
    actor = Actor(EmbeddedModel(lexicon), lexicon, 0.5)
    facts = tuple(Fact(3, "genre", lexicon.attributes[a]) for a in (0, 1))
    ground = Grounding((3,), (0, 1), 0.1, (), unasked=facts)
    plan = Plan(Strategy.NO_STRATEGY, Act.ASK, attributes=(0,))
    (said,) = actor.speak([State(1, (), Preferences(), (), (), 15)], [plan], [ground])
    assert said.decision.attributes == (0,)
    assert said.decision.told == 1
    assert said.decision.raised == (0, 1)
    listed = Plan(Strategy.NO_STRATEGY, Act.RECOMMEND, items=(3,))
    (said,) = actor.speak([State(1, (), Preferences(), (), (), 15)], [listed], [ground])
    assert said.decision.told is None


@pytest.mark.parametrize("user", ["mcr", "latent"])
@pytest.mark.parametrize("takes_up", [0.0, 0.5, 1.0])
def test_seekers_take_it_up_truthfully_and_as_often_as_set(movies: World, user: str, takes_up: float) -> None:
    seekers = make_seekers(user, SeekerContext(movies, SeekerConfig(takes_up=takes_up)))
    sessions = movies.sessions(Split.TEST, 400, 0)
    seekers.reset(sessions)
    rows = np.arange(len(sessions))
    has = [int(movies.catalogue.attributes_of(session.target)[0]) for session in sessions]
    decisions = [Decision(Act.CHAT, Strategy.NO_STRATEGY, told=told) for told in has[::-1]]
    replies = seekers.respond(rows, Actions.of(decisions))
    share = float((replies.taken_up != Answer.NONE).mean())
    assert share == pytest.approx(takes_up, abs=0.07)
    for session, decision, answer in zip(sessions, decisions, replies.taken_up.tolist(), strict=True):
        true = decision.told in movies.catalogue.attributes_of(session.target)
        assert answer in (Answer.NONE, Answer.YES if true else Answer.NO)
    said = seekers.replies(rows, decisions, replies, words=False)
    liked = [decision.told in reply.liked for decision, reply in zip(decisions, said, strict=True)]
    assert any(liked) == (takes_up > 0)
    seekers.reset(sessions)
    silent = [replace(decision, told=None) for decision in decisions]
    without = seekers.respond(rows, Actions.of(silent))
    np.testing.assert_array_equal(without.volunteered, replies.volunteered)  # the same random numbers
    assert not len(without.taken_up)


def test_what_is_taken_up_is_read_from_the_words(movies: World, lexicon: Lexicon) -> None:
    catalogue = movies.catalogue
    for told in range(40):
        for key in range(3):
            for wanted in (True, False):
                decision = Decision(Act.ASK, Strategy.NO_STRATEGY, attributes=(told + 50,), told=told)
                liked, disliked = ((told,), ()) if wanted else ((), (told,))
                reply = Reply(liked=(*liked, told + 50), disliked=disliked)
                text = word_reply(catalogue, reply, decision, Manner.PLAIN, key, 1).text
                found = read_reply(lexicon, text, (told + 50,))
                assert (told in found.liked, told in found.disliked) == (wanted, not wanted), text
                assert told + 50 in found.liked, text


def test_where_nothing_can_be_told_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"arm\.llm\.experts: volunteer = 'attribute' needs actor = 'actor'"):
        resolve({"arms": ("llm",), "experts": {"volunteer": "attribute"}})
    semantic = {"surface": "semantic", "user": "mcr", "arms": ("unified",)}
    with pytest.raises(InputError, match=r"arm\.unified\.experts\.volunteer: surface 'semantic'"):
        resolve(semantic | {"experts": {"volunteer": "attribute"}})


def test_rapport_by_hand() -> None:
    assert rapport({}) is None
    assert rapport({"warm": 5, "trustworthy": 5, "persuasive": 1, "pressure": 1}) == 1.0
    assert rapport({"warm": 1, "trustworthy": 1, "persuasive": 5, "pressure": 5}) == 0.0
    assert rapport({"warm": 4, "trustworthy": 2, "persuasive": 3, "pressure": 3}) == 0.5


def test_rapport_is_rewarded_once_at_the_end(components: Components) -> None:
    def rewards(weight: float) -> list[list[float]]:
        config = components.config.model_copy(
            update={"reward": components.config.reward.model_copy(update={"rapport_weight": weight})}
        )
        mine = replace(components, config=config)
        sessions = mine.world.sessions(Split.TEST, 6, 0)
        held = Conversations(mine).hold(mine.policy("max-entropy", 0), sessions)
        for episode in held:
            assert episode.rapport is not None
            felt.append((rapport(episode.ratings) or 0.0) - episode.rapport)
        return [[turn.reward for turn in episode.dialogue.turns] for episode in held]

    felt: list[float] = []
    plain, liked = rewards(0.0), rewards(2.0)
    for without, with_it, worth in zip(plain, liked, felt[6:], strict=True):
        assert with_it[:-1] == without[:-1]
        assert with_it[-1] - without[-1] == pytest.approx(2.0 * worth)
    assert any(felt)
    with pytest.raises(InputError, match=r"reward\.rapport_weight: mcr seekers rate nobody"):
        resolve({"user": "mcr", "reward": {"rapport_weight": 1.0}})
