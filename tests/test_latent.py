"""The latent seeker: what moves it, when it accepts, and how it puts things into words."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import spearmanr

import unicrs_rl.simulators
from unicrs_rl import draws
from unicrs_rl.dialogue import ELICITATION, STRATEGIES, Act, Decision, Plan, Reply, State, Strategy
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.experiments.traces import trace
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.reading import read_reply
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.rules import MaxEntropy
from unicrs_rl.simulators.effects import PERCEPTS, EffectTable, Estimate
from unicrs_rl.simulators.environment import FIRST_QUESTION, ConversationVectorEnv
from unicrs_rl.simulators.latent import Coefficients, LatentSeekers
from unicrs_rl.simulators.latents import MOODS, TRAITS
from unicrs_rl.simulators.seekers import NOTHING, Actions, Answer, Replies, SeekerContext
from unicrs_rl.simulators.settings import SeekerConfig
from unicrs_rl.simulators.wording import Manner, word_opening, word_reply

PLAIN = Strategy.TRANSPARENCY
C = Coefficients()
TABLE = EffectTable.read()
FEELINGS = ("rapport", "trust", "persuasion", "pressure")
"""The moods that the table's percepts are, in their order."""


def table_of(name: str) -> dict[str, Any]:
    """A data file beside the simulators, as it stands."""
    return tomllib.loads(resources.files(unicrs_rl.simulators).joinpath(name).read_text("utf-8"))


PHRASES = table_of("seeker_phrases.toml")


def population(
    world: World, count: int, coefficients: Coefficients = C, split: Split = Split.TEST, **settings: Any
) -> LatentSeekers:
    context = SeekerContext(world, SeekerConfig.model_validate(settings))
    seekers = LatentSeekers(context, coefficients=coefficients)
    seekers.reset(world.sessions(split, count, 0))
    return seekers


def columns(ids: Any, n: int) -> NDArray[np.int64]:
    """One id for all, one for each, or a list for each, as ``[n, k]``."""
    table = np.asarray(ids, dtype=np.int64)
    return table if table.ndim == 2 else np.broadcast_to(table, n)[:, None]


def turn(
    seekers: LatentSeekers,
    act: Act,
    strategy: Strategy | Sequence[Strategy] = PLAIN,
    attributes: Any = NOTHING,
    items: Any = NOTHING,
) -> Replies:
    """The same kind of turn in every conversation; ids as in :func:`columns`."""
    n = len(seekers.sessions)
    strategies = [strategy] * n if isinstance(strategy, Strategy) else strategy
    return seekers.respond(
        np.arange(n),
        Actions(
            act=np.full(n, int(act)),
            strategy=np.array([one.position for one in strategies]),
            attributes=columns(attributes, n),
            items=columns(items, n),
            facts_told=np.zeros(n, dtype=np.int64),
        ),
    )


def mood(seekers: LatentSeekers, name: str) -> NDArray[np.float64]:
    return seekers.moods[:, MOODS.index(name)].copy()


def trait(seekers: LatentSeekers, name: str) -> NDArray[np.float64]:
    return seekers.traits[:, TRAITS.index(name)].copy()


def fits(world: World) -> NDArray[np.float64]:
    """Cosines of the items' TF-IDF attribute vectors, worked out anew: ``[items, items]``."""
    owned = world.catalogue.item_attributes.toarray()
    vectors = owned * np.log(1 + len(owned) / owned.sum(axis=0))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def misfits(world: World, targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each target an item with nothing in common: ``[batch]``."""
    return fits(world)[targets].argmin(axis=1)


class AnyManner(MaxEntropy):
    """The max-entropy rule with strategies drawn uniformly."""

    def __init__(self, purpose: str, context: ArmContext) -> None:
        super().__init__(context)
        self.purpose = purpose

    def decide(self, states: States) -> list[Plan]:
        plans = super().decide(states)
        return [
            replace(plan, strategy=STRATEGIES[draws.pick(row.key, row.turn, self.purpose, len(STRATEGIES))])
            for plan, row in zip(plans, states.rows, strict=True)
        ]


# --- strategy and pressure


@pytest.mark.parametrize(("effects", "strength"), [("human", 1.0), ("strong", 5.0), ("none", 0.0)])
@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_strategy_moves_percepts_as_the_table_says(
    movies: World, strategy: Strategy, effects: str, strength: float
) -> None:
    seekers = population(movies, 30, effects=effects)
    before = [mood(seekers, name) for name in FEELINGS]
    turn(seekers, Act.CHAT, strategy)
    for name, percept, felt in zip(FEELINGS, PERCEPTS, before, strict=True):
        beta = TABLE.perception[percept].strategies[strategy].value
        np.testing.assert_allclose(mood(seekers, name) - felt, strength * beta, atol=1e-12)


def test_a_strategy_wears_out(movies: World) -> None:
    seekers = population(movies, 50)
    felt = [mood(seekers, "rapport")]
    for _ in range(3):
        turn(seekers, Act.CHAT, Strategy.SIMILARITY)
        felt.append(mood(seekers, "rapport"))
    first, second, third = np.diff(felt, axis=0)
    np.testing.assert_allclose(second, TABLE.wear * first)
    np.testing.assert_allclose(third, TABLE.wear**2 * first)


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy.PERSONAL_OPINION,
        Strategy.PERSONAL_EXPERIENCE,
        Strategy.ENCOURAGEMENT,
        Strategy.ACKNOWLEDGMENT,
    ],
)
def test_more_uses_of_a_warm_strategy_go_with_more_rapport(movies: World, strategy: Strategy) -> None:
    """As in INSPIRED, where each correlates with perceived warmth."""
    seekers, rng = population(movies, 4000), np.random.default_rng(0)
    uses = np.zeros(4000)
    wanted = rng.integers(0, 7, 4000)
    for number in range(6):
        use = wanted > number
        turn(seekers, Act.CHAT, [strategy if one else PLAIN for one in use])
        uses += use
    found = spearmanr(uses, mood(seekers, "rapport"))
    assert 0 < found.statistic < 0.3
    assert found.pvalue < 0.01


def test_without_effects_strategies_change_nothing_at_all(movies: World) -> None:
    """Two recommenders that differ only in strategy meet the same replies, moods and beliefs."""
    rng = np.random.default_rng(0)
    one, other = population(movies, 400, effects="none"), population(movies, 400, effects="none")
    for act in (Act.CHAT, Act.ASK, Act.CHAT, Act.RECOMMEND, Act.CHAT, Act.RECOMMEND):
        met = [
            turn(
                seekers,
                act,
                rng.choice(np.array(STRATEGIES, dtype=object), 400).tolist(),
                attributes=5,
                items=misfits(movies, seekers.targets),
            )
            for seekers in (one, other)
        ]
        for field in ("answers", "volunteered", "place", "left", "manner"):
            np.testing.assert_array_equal(getattr(met[0], field), getattr(met[1], field))
    np.testing.assert_array_equal(one.moods, other.moods)
    assert [one.belief(row) for row in range(400)] == [other.belief(row) for row in range(400)]
    with_effects = population(movies, 400)
    turn(with_effects, Act.CHAT, Strategy.OPINION_INQUIRY)
    turn(one := population(movies, 400), Act.CHAT, Strategy.ENCOURAGEMENT)
    assert (one.moods != with_effects.moods).any()


def test_without_effects_strategies_change_no_word_either(
    movies: World, movies_embeddings: Embeddings
) -> None:
    """In words a strategy also decides how many facts are told."""
    replies = []
    for effects in ("none", "strong"):
        components = build(resolve({"seekers": {"effects": effects}}), movies, movies_embeddings)
        for purpose in ("one manner", "another manner"):
            policy = AnyManner(purpose, ArmContext(movies.catalogue, movies_embeddings, 0))
            episodes = Conversations(components).hold(policy, movies.sessions(Split.TEST, 60, 0))
            replies.append([[one.reply for one in episode.dialogue.turns] for episode in episodes])
    assert replies[0] == replies[1]
    assert replies[2] != replies[3]


def test_without_effects_all_chat_brings_out_as_many_wishes_as_any_would_on_average(movies: World) -> None:
    told = {
        strategy: (turn(population(movies, 3000, effects="none"), Act.CHAT, strategy).volunteered != NOTHING)
        for strategy in (Strategy.OPINION_INQUIRY, Strategy.ENCOURAGEMENT)
    }
    np.testing.assert_array_equal(*told.values())
    eliciting = turn(population(movies, 3000), Act.CHAT, Strategy.OPINION_INQUIRY).volunteered != NOTHING
    share = len(ELICITATION) / len(STRATEGIES)
    assert told[Strategy.ENCOURAGEMENT].mean() == pytest.approx(share * eliciting.mean(), abs=0.02)


def test_recommending_early_and_again_and_again_is_felt_as_pressure(movies: World) -> None:
    seekers = population(movies, 100, effects="none")
    wrong = misfits(movies, seekers.targets)
    felt = [mood(seekers, "pressure")]
    for act in (Act.RECOMMEND, Act.RECOMMEND, Act.RECOMMEND, Act.CHAT, Act.RECOMMEND, Act.RECOMMEND):
        turn(seekers, act, items=wrong)
        felt.append(mood(seekers, "pressure"))
    early, again = C.pressure_early, C.pressure_repeat
    added = [early, early + again, 2 * again, 0, 0, again]
    for (before, after), expected in zip(pairwise(felt), added, strict=True):
        np.testing.assert_allclose(after - before, expected, atol=1e-12)


def test_no_cause_outside_the_table_swamps_those_in_it(movies: World) -> None:
    """A list too early or too often weighs as much as two uses of the most pressing strategy, at most."""
    largest = TABLE.beta[:, FEELINGS.index("pressure")].max()
    assert max(C.pressure_early, C.pressure_repeat) <= 2 * largest
    assert C.trust_fact <= TABLE.beta[:, FEELINGS.index("trust")].max()


def test_a_first_list_after_two_turns_presses_nobody(movies: World) -> None:
    patient, hasty = population(movies, 100), population(movies, 100)
    wrong = misfits(movies, patient.targets)
    for act, other in ((Act.CHAT, Act.CHAT), (Act.CHAT, Act.RECOMMEND), (Act.RECOMMEND, Act.CHAT)):
        turn(patient, act, items=wrong)
        turn(hasty, other, items=wrong)
    assert (mood(hasty, "pressure") > mood(patient, "pressure")).all()


# --- acceptance


def test_acceptance_is_the_documented_logistic_function(movies: World) -> None:
    """Targets and near misses offered to many: observed shares match sigmoid(base + ...) in every bin."""
    n = 6000
    seekers, rng = population(movies, n, effects="strong"), np.random.default_rng(0)
    uses = np.zeros((n, len(STRATEGIES)))
    push = np.zeros(n)
    for number in range(3):
        chosen = rng.integers(0, len(STRATEGIES), n)
        push += 5 * TABLE.delta[chosen] * TABLE.wear ** uses[np.arange(n), chosen]
        uses[np.arange(n), chosen] += 1
        strategies = [STRATEGIES[strategy] for strategy in chosen]
        cosine = fits(movies)
        near = (cosine - 2 * np.eye(len(cosine))).argmax(axis=1)[seekers.targets]
        offered = np.where(np.arange(n) % 2 == 0, seekers.targets, near)
        met = turn(seekers, Act.RECOMMEND if number == 2 else Act.CHAT, strategies, items=offered)
    felt = np.stack([mood(seekers, name) for name in FEELINGS], axis=1)
    logit = -6.0 + 8.0 * cosine[seekers.targets, offered] + felt @ TABLE.a + push
    chance = expit(logit)
    np.testing.assert_allclose(seekers.acceptance(np.arange(n), cosine[seekers.targets, offered]), chance)
    bins = np.digitize(chance, [0.05, 0.2, 0.5, 0.8, 0.9])
    for number in range(6):
        inside = bins == number
        error = np.sqrt((chance * (1 - chance))[inside].sum()) / inside.sum()
        assert inside.sum() > 100
        assert abs(met.accepted[inside].mean() - chance[inside].mean()) < 4 * error


def test_an_average_seeker_takes_the_target_with_088_and_a_misfit_once_in_400(movies: World) -> None:
    unfeeling = {"effects": "none", "latents": dict.fromkeys(FEELINGS, 0)}
    shares = []
    for right in (True, False):
        seekers = population(movies, 8000, **unfeeling)
        offered = seekers.targets if right else misfits(movies, seekers.targets)
        shares.append(turn(seekers, Act.RECOMMEND, items=offered).accepted.mean())
    assert shares[0] == pytest.approx(expit(2.0), abs=0.015)
    assert shares[1] == pytest.approx(expit(-6.0), abs=0.002)


@pytest.mark.parametrize(
    ("name", "better"), [("rapport", 1.0), ("trust", 1.0), ("persuasion", 1.0), ("pressure", -1.0)]
)
def test_better_moods_turn_refusals_into_acceptance_and_never_back(
    movies: World, name: str, better: float
) -> None:
    """With common random numbers the same seekers are asked twice."""
    taken = []
    for push in (0.0, 6 * better):
        seekers = population(movies, 1000)
        seekers.moods[:, MOODS.index(name)] += push
        taken.append(turn(seekers, Act.RECOMMEND, items=seekers.targets).accepted)
    assert (taken[1] >= taken[0]).all()
    assert taken[1].sum() > taken[0].sum() + 20


def test_percepts_go_with_acceptance_as_in_inspired(movies: World) -> None:
    """Humans: warm +0.148, trustworthy +0.179, persuasive +0.119, pressure -0.140 (Spearman)."""
    seekers, rng = population(movies, 8000), np.random.default_rng(0)
    for _ in range(2):
        turn(seekers, Act.CHAT, rng.choice(np.array(STRATEGIES, dtype=object), 8000).tolist())
    taken = turn(seekers, Act.RECOMMEND, items=seekers.targets).accepted
    for name, human in zip(FEELINGS, (0.148, 0.179, 0.119, -0.140), strict=True):
        found = spearmanr(mood(seekers, name), taken)
        assert np.sign(found.statistic) == np.sign(human)
        assert found.pvalue < 0.01
        assert abs(found.statistic - human) < 0.1


def test_ratings_are_percepts_through_the_cutpoints_of_the_survey(movies: World) -> None:
    seekers = population(movies, 500)
    rated = [seekers.ratings(row) for row in range(500)]
    for name, percept in zip(FEELINGS, PERCEPTS, strict=True):
        cuts, felt = TABLE.perception[percept].cutpoints, mood(seekers, name)
        assert [one[percept] for one in rated] == [1 + sum(cut < value for cut in cuts) for value in felt]
        assert len({one[percept] for one in rated}) >= 4


def test_the_best_fitting_item_of_a_list_is_the_one_taken(movies: World) -> None:
    seekers = population(movies, 200)
    lists = np.stack([misfits(movies, seekers.targets)] * 4, axis=1)
    lists[:, 2] = seekers.targets
    place = turn(seekers, Act.RECOMMEND, items=lists).place
    assert set(place.tolist()) == {2, NOTHING}


def test_without_a_list_nothing_is_accepted(movies: World) -> None:
    seekers = population(movies, 200)
    assert not turn(seekers, Act.ASK, attributes=0, items=seekers.targets).accepted.any()
    assert not turn(seekers, Act.RECOMMEND).accepted.any()


# --- answers and leaving


def test_answers_are_true_or_indifferent(movies: World) -> None:
    seekers = population(movies, 500)
    owned = movies.catalogue.item_attributes.toarray()[seekers.targets] > 0
    said = []
    for attribute in range(21):
        answers = turn(seekers, Act.ASK, attributes=attribute).answers[:, 0]
        assert not owned[answers == Answer.NO, attribute].any()
        assert owned[answers == Answer.YES, attribute].all()
        said.extend(answers.tolist())
    assert set(said) == {Answer.YES, Answer.NO, Answer.OPEN}


def test_unclear_and_open_seekers_commit_less(movies: World) -> None:
    seekers = population(movies, 6000)
    drama = movies.catalogue.attributes.index("drama")
    indifferent = turn(seekers, Act.ASK, attributes=drama).answers[:, 0] == Answer.OPEN
    wish = movies.catalogue.item_attributes.toarray()[seekers.targets, drama] > 0
    for asked, chance in (
        (wish, C.open_if_unclear * (1 - expit(trait(seekers, "clarity")))),
        (~wish, C.open_if_open * expit(trait(seekers, "openness"))),
    ):
        assert indifferent[asked].mean() == pytest.approx(chance[asked].mean(), abs=0.02)
        assert chance[asked & indifferent].mean() > chance[asked & ~indifferent].mean() + 0.01


def test_what_is_volunteered_is_a_true_wish_not_asked_about(movies: World) -> None:
    seekers = population(movies, 4000)
    owned = movies.catalogue.item_attributes.toarray()[seekers.targets] > 0
    drama = movies.catalogue.attributes.index("drama")
    volunteered = turn(seekers, Act.ASK, attributes=drama).volunteered
    told = volunteered != NOTHING
    assert told.sum() > 50
    assert owned[told, volunteered[told]].all()
    assert (volunteered != drama).all()


def test_only_open_questions_make_chat_elicit_wishes(movies: World) -> None:
    for strategy in Strategy:
        told = (turn(population(movies, 300), Act.CHAT, strategy).volunteered != NOTHING).mean()
        assert (told > 0.2) if strategy in ELICITATION else (told == 0)


def test_impatient_seekers_leave_sooner(movies: World) -> None:
    seekers = population(movies, 1500)
    gone = np.full(1500, 99)
    for number in range(15):
        left = turn(seekers, Act.CHAT).left
        gone = np.where(left & (gone == 99), number, gone)
    patience = trait(seekers, "patience")
    assert 0.02 < (gone < 8).mean() < (gone < 15).mean() < 0.9
    assert patience[gone < 15].mean() < patience[gone == 99].mean() - 0.3


def test_traits_are_standard_normal_with_the_surveys_correlations_and_drawn_once(movies: World) -> None:
    seekers = population(movies, 4000)
    before = seekers.traits.copy()
    turn(seekers, Act.ASK, attributes=0)
    np.testing.assert_array_equal(seekers.traits, before)
    np.testing.assert_allclose(before.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(np.cov(before.T), TABLE.trait_correlation, atol=0.08)


def test_percepts_start_from_the_traits_and_the_residuals_of_the_table(movies: World) -> None:
    seekers = population(movies, 6000)
    felt = np.stack([mood(seekers, name) for name in FEELINGS], axis=1)
    gamma = np.linalg.lstsq(seekers.traits, felt, rcond=None)[0]
    np.testing.assert_allclose(gamma, TABLE.gamma, atol=0.06)
    np.testing.assert_allclose(np.cov((felt - seekers.traits @ TABLE.gamma).T), TABLE.residual, atol=0.06)


# --- pinned, swept and sampled


def test_a_pinned_mood_stays_whatever_is_done(movies: World) -> None:
    seekers = population(movies, 60, latents={"pressure": {"pin": 0}, "patience": 1.5})
    for number in range(5):
        turn(seekers, Act.RECOMMEND, Strategy.OPINION_INQUIRY, items=misfits(movies, seekers.targets))
        assert (mood(seekers, "pressure") == 0).all(), number
    assert (trait(seekers, "patience") == 1.5).all()
    assert (mood(seekers, "interest") < 0).any()


def test_sweeps_go_through_every_combination_by_conversation(movies: World) -> None:
    sweeps = {"trust": {"sweep": [-2, 0, 2]}, "clarity": {"sweep": [-1, 1]}}
    seekers = population(movies, 13, latents=sweeps)
    met = list(zip(mood(seekers, "trust").tolist(), trait(seekers, "clarity").tolist(), strict=True))
    assert met[:6] == [(trust, clarity) for trust in (-2, 0, 2) for clarity in (-1, 1)]
    assert met[6:] == [*met[:6], met[0]]
    turn(seekers, Act.CHAT, Strategy.ENCOURAGEMENT)
    np.testing.assert_array_equal(trait(seekers, "clarity"), [clarity for _, clarity in met])
    assert (mood(seekers, "trust") > [trust for trust, _ in met]).all()  # only its start is swept


def test_samples_follow_their_distribution(movies: World) -> None:
    latents = {"openness": {"normal": [1, 2]}, "mood": {"uniform": [-1, 3]}}
    seekers = population(movies, 4000, latents=latents)
    openness, feeling = trait(seekers, "openness"), mood(seekers, "mood")
    assert (openness.mean(), openness.std()) == (pytest.approx(1, abs=0.1), pytest.approx(2, abs=0.1))
    assert (feeling.min(), feeling.max()) == (pytest.approx(-1, abs=0.01), pytest.approx(3, abs=0.01))
    assert np.histogram(feeling, 8, (-1, 3))[0].min() > 400
    plain = population(movies, 4000)
    np.testing.assert_array_equal(trait(seekers, "patience"), trait(plain, "patience"))


# --- hidden state


def names_of(line: dict[str, Any]) -> set[str]:
    return set(line["latents"]).intersection(*(one["latents"] for one in line["turns"]))


def test_every_latent_is_in_the_trace_at_first_and_after_each_turn(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 5, 0)
    for episode in Conversations(components).hold(components.policy("random", 0), sessions):
        line = trace(episode, "random", 0, components)
        assert names_of(line) == {*TRAITS, *MOODS}
        assert len({one["latents"]["mood"] for one in line["turns"]}) == len(line["turns"])
        assert len({one["latents"]["patience"] for one in line["turns"]}) == 1


def test_no_latent_is_in_an_observation(movies: World) -> None:
    """Rapport and trust changed behind the scenes: the same questions show the same, to the last bit."""
    shown, hidden = [], []
    for push in (0.0, 1.5):
        env = ConversationVectorEnv(movies, 64, user="latent")
        seen = [env.reset(seed=3)]
        assert isinstance(env.seekers, LatentSeekers)
        env.seekers.moods[:, 1:3] += push
        for attribute in range(5):
            codes = np.tile([FIRST_QUESTION + attribute, 0], (64, 1))
            observation, *_, info = env.step(codes)
            seen.append((observation, info))
        shown.append(seen)
        hidden.append(env.seekers.moods.copy())
    assert not np.allclose(*hidden)
    for one, other in zip(*shown, strict=True):
        for plain, pushed in zip(one, other, strict=True):
            assert plain.keys() == pushed.keys()
            for name, values in plain.items():
                np.testing.assert_array_equal(values, pushed[name])


def watched(components: Components, seekers: LatentSeekers) -> tuple[list[State], list[Episode]]:
    """All states that the max-entropy rule was shown by these seekers at the semantic surface."""
    policy, seen = components.policy("max-entropy", 0), []
    decide = policy.decide

    def recording(states: States) -> list[Plan]:
        seen.extend(states.rows)
        return decide(states)

    policy.decide = recording  # type: ignore[method-assign]
    conversations = Conversations(components, words=False)
    conversations.seekers = seekers
    return seen, conversations.hold(policy, components.world.sessions(Split.TEST, 40, 0))


def test_no_latent_is_in_a_policys_state(components: Components, tmp_path: Path) -> None:
    """Seekers whose moods differ but do not tell on their replies are seen and treated alike."""
    percepts = dict.fromkeys(PERCEPTS, Estimate(0.0, 0.0, 0.0))
    mute = TABLE.model_copy(update={"acceptance": TABLE.acceptance.model_copy(update={"percepts": percepts})})
    (tmp_path / "mute.toml").write_text(mute.toml())
    (one, felt), (other, felt_otherwise) = (
        watched(
            components,
            LatentSeekers(
                SeekerContext(
                    components.world,
                    SeekerConfig.model_validate({"table": tmp_path / "mute.toml", "latents": latents}),
                )
            ),
        )
        for latents in ({}, {"trust": {"normal": [2, 1]}, "rapport": {"uniform": [-3, 3]}})
    )
    assert one == other
    assert len(one) > 100
    assert [e.dialogue for e in felt] == [e.dialogue for e in felt_otherwise]
    assert [e.latents for e in felt] != [e.latents for e in felt_otherwise]


# --- batches and common random numbers


def words_of(episodes: list[Episode]) -> list[list[tuple[Decision, Reply]]]:
    return [[(one.decision, one.reply) for one in episode.dialogue.turns] for episode in episodes]


def test_replies_do_not_depend_on_the_batch(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 30, 2)
    policy = components.policy("max-entropy", 0)
    together = words_of(Conversations(components).hold(policy, sessions))
    for size in (1, 7):
        apart = [
            words
            for start in range(0, 30, size)
            for words in words_of(Conversations(components).hold(policy, sessions[start : start + size]))
        ]
        assert apart == together
    backwards = words_of(Conversations(components).hold(policy, sessions[::-1]))
    assert backwards[::-1] == together


def test_seekers_answer_alike_in_any_company(movies: World) -> None:
    sessions = movies.sessions(Split.TEST, 20, 0)
    answers = []
    for chosen in (sessions, sessions[5:6], sessions[::-1][:15]):
        seekers = LatentSeekers(SeekerContext(movies))
        opened = seekers.reset(chosen)
        row = chosen.index(sessions[5])
        met: list[Any] = [int(opened[row])]
        for number in range(8):
            replies = turn(seekers, Act.ASK, STRATEGIES[number], attributes=number)
            met.extend(
                [int(part[row].item()) for part in (replies.answers, replies.volunteered, replies.manner)]
            )
        answers.append((met, seekers.latents(row)))
    assert answers[0] == answers[1] == answers[2]


def test_different_turns_before_do_not_change_the_answer_now(movies: World) -> None:
    """Random numbers are addressed by conversation, turn and purpose, not by what came before."""
    now = []
    for before in (Act.ASK, Act.CHAT, Act.RECOMMEND):
        seekers = population(movies, 400)
        turn(seekers, before, Strategy.CREDIBILITY, attributes=3, items=misfits(movies, seekers.targets))
        now.append(turn(seekers, Act.ASK, attributes=7).answers)
    np.testing.assert_array_equal(now[0], now[1])
    np.testing.assert_array_equal(now[0], now[2])


def test_policies_that_act_alike_at_first_meet_the_same_replies_until_they_part(movies: World) -> None:
    one, other = population(movies, 200), population(movies, 200)
    for attribute in (1, 2, 3):
        np.testing.assert_array_equal(
            turn(one, Act.ASK, attributes=attribute).answers,
            turn(other, Act.ASK, attributes=attribute).answers,
        )
    np.testing.assert_array_equal(one.moods, other.moods)
    turn(one, Act.CHAT, Strategy.SIMILARITY)
    turn(other, Act.CHAT, Strategy.OPINION_INQUIRY)
    assert (one.moods != other.moods).any()


def test_another_random_seed_gives_another_conversation(movies: World) -> None:
    base = movies.sessions(Split.TEST, 1, 0)[0]
    seekers = LatentSeekers(SeekerContext(movies))
    seekers.reset([replace(base, key=key) for key in range(300)])
    assert len(np.unique(seekers.traits[:, 0])) == 300
    drama = movies.catalogue.attributes.index("drama")
    assert len(np.unique(turn(seekers, Act.ASK, attributes=drama).manner)) >= 3


# --- words


@pytest.fixture(scope="module")
def spoken(components: Components) -> list[Episode]:
    """Conversations of two rules with a population at the text surface."""
    sessions = components.world.sessions(Split.TEST, 250, 1)
    conversations = Conversations(components)
    return [
        episode
        for arm in ("random", "max-entropy")
        for episode in conversations.hold(components.policy(arm, 0), sessions)
    ]


@pytest.mark.parametrize(
    ("what", "cues", "at_least"),
    [
        ("hedges", ("hmm", "i guess", "i suppose", "maybe", "probably", "kind of"), 20),
        ("open to any suggestion", ("open to any suggestion",), 20),
        ("thanks", ("thank", "appreciate"), 20),
        ("impatience", ("hurry", "taking", "get to the point", "little time", "how many more"), 20),
        ("off-topic remarks", ("the dog", "raining", "my phone", "my neighbour"), 20),
        ("goodbyes without an item", ("goodbye", "bye"), 5),
    ],
)
def test_a_population_shows_the_manners_of_people(
    spoken: list[Episode], what: str, cues: tuple[str, ...], at_least: int
) -> None:
    said = [one.reply.text.casefold() for episode in spoken for one in episode.dialogue.turns]
    showing = [text for text in said if any(cue in text for cue in cues)]
    assert len(showing) >= at_least, what
    assert len(set(showing)) >= at_least / 5, what
    assert len(showing) < len(said) / 2, what


def test_who_wanders_off_topic_comes_back_in_the_same_reply(spoken: list[Episode]) -> None:
    away = PHRASES["aside"]["away"]
    back = [line.format(noun="movie") for line in PHRASES["aside"]["back"]]
    said = [one.reply.text for episode in spoken for one in episode.dialogue.turns]
    wandering = [text for text in said if text.startswith(tuple(away))]
    assert len(wandering) >= 20
    for text in wandering:
        start, line = max((text.find(line), line) for line in back)
        assert start > 0
        assert len(text) > start + len(line)  # and something to the point follows


def test_replies_vary_and_are_never_empty(spoken: list[Episode]) -> None:
    said = [one.reply.text for episode in spoken for one in episode.dialogue.turns]
    assert all(said)
    assert len(set(said)) > 200
    assert len({episode.dialogue.opening.text for episode in spoken}) > 60


def test_impatience_is_said_by_the_impatient_and_warmth_by_those_with_rapport(movies: World) -> None:
    seekers = population(movies, 4000)
    for _ in range(4):
        manner = turn(seekers, Act.CHAT).manner
    patience, rapport = trait(seekers, "patience"), mood(seekers, "rapport")
    assert patience[manner == Manner.IMPATIENT].mean() < patience.mean() - 0.3
    assert rapport[manner == Manner.WARM].mean() > rapport.mean() + 0.1


def read_as(lexicon: Lexicon, decision: Decision, reply: Reply) -> Reply:
    """What the words of a reply say, as acts."""
    reading = read_reply(lexicon, reply.text, decision.attributes, decision.items)
    parts = (tuple(sorted(part)) for part in (reading.liked, reading.disliked, reading.open))
    return Reply(reply.text, *parts, accepted=reading.accepted, rejected=reading.rejected, left=reply.left)


def in_order(reply: Reply) -> Reply:
    """What was done, without what is hidden from the recommender."""
    return replace(
        reply,
        liked=tuple(sorted(reply.liked)),
        disliked=tuple(sorted(reply.disliked)),
        open=tuple(sorted(reply.open)),
        withdrawn=(),
        behaviours=(),
        drift=(),
    )


def test_words_say_what_the_seeker_did(lexicon: Lexicon, spoken: list[Episode]) -> None:
    turns = [one for episode in spoken for one in episode.dialogue.turns]
    for one in turns:
        assert read_as(lexicon, one.decision, one.reply) == in_order(one.reply)
    for episode in spoken:
        assert read_reply(lexicon, episode.dialogue.opening.text).liked == episode.dialogue.opening.liked


@pytest.mark.parametrize("world", ["bistros", "lastfm", "redial"])
def test_words_say_what_the_seeker_did_in_other_worlds(world: str, request: pytest.FixtureRequest) -> None:
    if world == "bistros":
        settings: dict[str, Any] = {"world": str(request.getfixturevalue("bistros"))}
    else:
        shared: Path = request.getfixturevalue("shared")
        settings = {"world": world, "data": shared / "data" / world}
    settings |= {"embeddings": {"epochs": 0}, "prior": "uniform"}
    made = make_world(settings["world"], settings.get("data"))
    components = build(resolve(settings), made)
    policy = components.policy("random", 0)
    episodes = Conversations(components).hold(policy, made.sessions(Split.TEST, 40, 0))
    for one in (one for episode in episodes for one in episode.dialogue.turns):
        assert read_as(components.actor.lexicon, one.decision, one.reply) == in_order(one.reply)


def situations(catalogue: Any) -> dict[str, tuple[Decision, Reply]]:
    """One reply of each kind: what was done, and the seeker's act."""
    crime, director = catalogue.attributes.index("crime"), catalogue.attributes.index("Steven Spielberg")
    ask = Decision(Act.ASK, PLAIN, (crime,))
    listing = Decision(Act.RECOMMEND, PLAIN, items=(3, 4, 5))
    return {
        "yes": (ask, Reply(liked=(crime,))),
        "yes and more": (ask, Reply(liked=(crime, director))),
        "no": (ask, Reply(disliked=(crime,))),
        "no and bye": (ask, Reply(disliked=(crime,), left=True)),
        "open": (ask, Reply(open=(crime,))),
        "accept": (listing, Reply(accepted=4)),
        "decline": (listing, Reply(rejected=(3, 4, 5))),
        "decline and bye": (listing, Reply(rejected=(3, 4, 5), left=True)),
        "chat": (Decision(Act.CHAT, PLAIN), Reply()),
        "chat and more": (Decision(Act.CHAT, PLAIN), Reply(liked=(director,))),
    }


@pytest.mark.parametrize("manner", list(Manner))
def test_every_phrase_in_every_manner_says_what_was_done(
    movies: World, lexicon: Lexicon, manner: Manner
) -> None:
    catalogue = movies.catalogue
    style = "plain" if manner in (Manner.ASIDE, Manner.BACK) else manner.name.lower()
    for kind, (decision, act) in situations(catalogue).items():
        texts = set()
        for key in range(120):
            reply = word_reply(catalogue, act, decision, manner, key, 2)
            assert read_as(lexicon, decision, reply) == in_order(reply)
            assert replace(reply, text="") == act
            texts.add(reply.text)
        for line in PHRASES[kind.split()[0]][style]:  # each was used, so each was read
            written = line.format(attribute="crime", item=catalogue.items[4], noun="movie")
            assert any(written in text for text in texts)


def test_seekers_quote_names_that_would_get_lost() -> None:
    catalogue = Catalogue.build("item", ["it", "Zola"], [(0, "a", "a", "good"), (1, "a", "a", "thai")])
    good, thai = (catalogue.attributes.index(name) for name in ("good", "thai"))
    assert all("“good”" in word_opening("item", "good", key) for key in range(20))
    assert any("an item" in word_opening("item", "good", key) for key in range(20))
    for key in range(20):
        asked = Decision(Act.ASK, PLAIN, (thai,))
        said = word_reply(catalogue, Reply(liked=(thai, good)), asked, Manner.PLAIN, key, 0).text
        assert "“good”" in said
        assert "“thai”" not in said
        offer = Decision(Act.RECOMMEND, PLAIN, items=(0, 1))
        assert "“it”" in word_reply(catalogue, Reply(accepted=0), offer, Manner.PLAIN, key, 0).text


def test_answers_about_several_attributes_name_each(movies: World, lexicon: Lexicon) -> None:
    asked = tuple(movies.catalogue.attributes.index(name) for name in ("crime", "drama", "war"))
    decision = Decision(Act.ASK, PLAIN, asked)
    act = Reply(liked=asked[:1], disliked=asked[1:2], open=asked[2:])
    for manner in Manner:
        for key in range(40):
            reply = word_reply(movies.catalogue, act, decision, manner, key, 0)
            assert read_as(lexicon, decision, reply) == in_order(reply)


def test_every_attribute_and_every_title_survives_the_round_trip(movies: World, lexicon: Lexicon) -> None:
    """Names such as "war", "Will Smith" or "Never Let Me Go" neither deny nor affirm by themselves."""
    catalogue = movies.catalogue
    for attribute in range(catalogue.n_attributes):
        decision = Decision(Act.ASK, PLAIN, (attribute,))
        for act in (Reply(liked=(attribute,)), Reply(disliked=(attribute,)), Reply(open=(attribute,))):
            reply = word_reply(catalogue, act, decision, Manner(attribute % 4), attribute, 1)
            assert read_as(lexicon, decision, reply) == reply
        opening = word_opening(catalogue.noun, catalogue.attributes[attribute], attribute)
        assert read_reply(lexicon, opening).liked == (attribute,)
    for item in range(catalogue.n_items):
        offered = (item, (item + 1) % catalogue.n_items)
        decision = Decision(Act.RECOMMEND, PLAIN, items=offered)
        for accepted in offered:
            act = Reply(accepted=accepted)
            reply = word_reply(catalogue, act, decision, Manner(item % 4), item, 1)
            assert read_as(lexicon, decision, reply) == reply


def test_rules_decide_alike_with_and_without_words(components: Components) -> None:
    """The round trip is exact, so that the text surface changes no decision and no reply."""
    sessions = components.world.sessions(Split.TEST, 40, 9)
    policy = components.policy("max-entropy", 0)
    unlettered = Coefficients(trust_fact=0)  # facts are told in words only
    held = []
    for words in (True, False):
        conversations = Conversations(components, words)
        conversations.seekers = LatentSeekers(SeekerContext(components.world), coefficients=unlettered)
        held.append(conversations.hold(policy, sessions))
    for one, other in zip(*held, strict=True):
        assert [t.decision for t in one.dialogue.turns] == [t.decision for t in other.dialogue.turns]
        assert [replace(t.reply, text="", drift=()) for t in one.dialogue.turns] == [
            t.reply for t in other.dialogue.turns
        ]
