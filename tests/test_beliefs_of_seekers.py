"""What seekers believe of items: priors, evidence, posteriors, and the intentions that follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from unicrs_rl.dialogue import Act, Decision, Fact, Strategy
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.simulators.intentions import EVIDENCE, OPINIONS, Belief, Credence
from unicrs_rl.simulators.latent import LatentSeekers
from unicrs_rl.simulators.populations import make_seekers
from unicrs_rl.simulators.seekers import Actions, SeekerContext
from unicrs_rl.simulators.settings import SeekerConfig

PLAIN = Strategy.TRANSPARENCY
CALM = {"rapport": 0, "trust": 0, "pressure": 0, "persuasion": 0}
C = Credence()


def population(
    world: World, count: int, latents: dict[str, Any] = CALM, effects: str = "human"
) -> LatentSeekers:
    settings = SeekerConfig.model_validate({"latents": latents, "effects": effects})
    seekers = LatentSeekers(SeekerContext(world, settings))
    seekers.reset(world.sessions(Split.TEST, count, 0))
    return seekers


def offer(
    seekers: LatentSeekers,
    items: Any,
    strategy: Strategy = PLAIN,
    facts: tuple[Fact, ...] = (),
    act: Act = Act.RECOMMEND,
) -> None:
    """The same list, strategy and facts to everybody."""
    decision = Decision(act, strategy, items=tuple(items))
    n = len(seekers.sessions)
    seekers.respond(np.arange(n), Actions.of([decision] * n, [facts] * n, ["words"] * n))


def belief_of(seekers: LatentSeekers, row: int = 0) -> Belief:
    belief = seekers.belief(row)
    assert belief is not None
    return belief


def fit_of(world: World, target: int, item: int) -> float:
    content = world.catalogue.content
    return 1.0 if target == item else float((content[[target]] @ content[[item]].T).toarray()[0, 0])


def usual_fit(world: World, target: int) -> float:
    return float(np.mean([fit_of(world, target, item) for item in range(world.catalogue.n_items)]))


def test_there_is_no_belief_before_something_is_offered(movies: World) -> None:
    seekers = population(movies, 1)
    assert seekers.belief(0) is None
    offer(seekers, (), act=Act.CHAT)
    assert seekers.belief(0) is None


def test_the_prior_is_what_the_title_alone_tells(movies: World) -> None:
    seekers = population(movies, 1)
    target = int(seekers.targets[0])
    usual = usual_fit(movies, target)
    for item in (3, 40, target):
        fit = fit_of(movies, target, item)
        expected = 1 + 4 * expit(C.base + C.slope * (usual + C.familiar * (fit - usual)))
        assert seekers.intentions(0, item).before == pytest.approx(expected, abs=1e-5)
        assert seekers.intentions(0, item).after == pytest.approx(expected, abs=1e-5)
        assert seekers.intentions(0, item).informed == pytest.approx(1 + 4 * expit(C.base + C.slope * fit))


def test_the_posterior_is_the_conjugate_normal_one(movies: World) -> None:
    """A look, two facts and an opinion on one item, everything felt being 0: worked out by hand."""
    seekers = population(movies, 1)
    target = int(seekers.targets[0])
    item = (target + 1) % movies.catalogue.n_items
    told = movies.catalogue.facts_about(item)[:2]
    offer(seekers, (item,), Strategy.PERSONAL_OPINION, told)
    fit, usual = fit_of(movies, target, item), usual_fit(movies, target)
    prior = usual + C.familiar * (fit - usual)
    precisions = {"facts": 2 * C.fact, "opinions": C.opinion, "fit": C.look}
    values = {"facts": fit, "opinions": 1.0, "fit": fit}
    total = 1 + sum(precisions.values())
    mean = (prior + sum(precisions[kind] * values[kind] for kind in EVIDENCE)) / total
    belief = belief_of(seekers)
    assert belief.item == item
    assert belief.posterior == pytest.approx(1 + 4 * expit(C.base + C.slope * mean), abs=1e-4)
    for kind in EVIDENCE:
        pull = C.slope * precisions[kind] * (values[kind] - prior) / total
        assert belief.evidence[kind] == pytest.approx(pull, abs=1e-4)


def test_prior_and_evidence_add_up_to_the_posterior_in_every_conversation(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 40, 0)
    beliefs = [
        belief
        for episode in Conversations(components).hold(components.policy("max-entropy", 0), sessions)
        for belief in episode.beliefs
        if belief is not None
    ]
    assert len(beliefs) > 40
    for belief in beliefs:
        start, end = ((value - 1) / 4 for value in (belief.prior, belief.posterior))
        assert logit(end) == pytest.approx(logit(start) + sum(belief.evidence.values()), abs=1e-6)
    assert any(belief.evidence["facts"] != 0 for belief in beliefs)
    assert any(belief.evidence["opinions"] > 0 for belief in beliefs)


def test_facts_lead_to_the_truth_and_one_told_twice_counts_once(movies: World) -> None:
    seekers = population(movies, 1)
    target = int(seekers.targets[0])
    facts = movies.catalogue.facts_about(target)
    wishes = []
    for number in (0, 1, 1, 2, 3):
        offer(seekers, (target,), facts=facts[:number])
        wishes.append(seekers.intentions(0, target))
    after = [wish.after for wish in wishes]
    assert after[1] == after[2]
    assert after[0] < after[1] < after[3] < after[4] < wishes[0].informed
    assert wishes[0].informed == pytest.approx(4.523188)


def test_the_number_of_facts_counts_where_nothing_is_said(movies: World) -> None:
    said, silent = population(movies, 1), population(movies, 1)
    target = int(said.targets[0])
    offer(said, (target,), facts=movies.catalogue.facts_about(target)[:2])
    decision = Decision(Act.RECOMMEND, PLAIN, items=(target,))
    actions = Actions.of([decision])
    silent.respond(np.arange(1), Actions(*[*vars(actions).values()][:4], np.array([2])))
    assert belief_of(said) == belief_of(silent)


def test_trust_makes_facts_count_for_more(movies: World) -> None:
    after = []
    for trust in (-2, 0, 2):
        seekers = population(movies, 1, CALM | {"trust": trust})
        target = int(seekers.targets[0])
        offer(seekers, (target,), facts=movies.catalogue.facts_about(target)[:2])
        after.append(seekers.intentions(0, target).after)
    assert after == sorted(set(after))


@pytest.mark.parametrize("strategy", list(Strategy))
def test_opinions_persuade_of_what_does_not_fit_too(movies: World, strategy: Strategy) -> None:
    seekers = population(movies, 1)
    item = next(i for i in range(400) if fit_of(movies, int(seekers.targets[0]), i) == 0)
    offer(seekers, (item,), strategy)
    belief = belief_of(seekers)
    assert (belief.evidence["opinions"] > 0) == (strategy in OPINIONS)
    assert belief.evidence["fit"] < 0 == belief.evidence["facts"]
    wish = seekers.intentions(0, item)
    assert wish.before > wish.informed
    over_persuaded = population(movies, 1)
    for _ in range(8):
        offer(over_persuaded, (item,), strategy)
    more = over_persuaded.intentions(0, item).after
    assert more > wish.after if strategy in OPINIONS else more == wish.after


@pytest.mark.parametrize(("name", "better"), [("rapport", True), ("pressure", False)])
def test_rapport_lends_weight_to_opinions_and_pressure_takes_it(
    movies: World, name: str, better: bool
) -> None:
    pulls = []
    for value in (-2, 0, 2):
        seekers = population(movies, 1, CALM | {name: value})
        offer(seekers, (5,), Strategy.CREDIBILITY)
        pulls.append(belief_of(seekers).evidence["opinions"])
    assert pulls == sorted(set(pulls), reverse=not better)


@pytest.mark.parametrize(("effects", "strength"), [("none", 0.0), ("human", 1.0), ("strong", 5.0)])
def test_opinions_weigh_as_much_as_strategies_have_effects(
    movies: World, effects: str, strength: float
) -> None:
    seekers = population(movies, 1, effects=effects)
    offer(seekers, (5,), Strategy.ENCOURAGEMENT)
    target = int(seekers.targets[0])
    fit, usual = fit_of(movies, target, 5), usual_fit(movies, target)
    prior, weight = usual + C.familiar * (fit - usual), strength * C.opinion
    expected = C.slope * weight * (1 - prior) / (1 + weight + C.look)
    assert belief_of(seekers).evidence["opinions"] == pytest.approx(expected, abs=1e-4)


def test_the_best_fitting_item_on_offer_is_the_one_considered(movies: World) -> None:
    seekers = population(movies, 30)
    offer(seekers, range(20, 30))
    for row, target in enumerate(seekers.targets.tolist()):
        fits = [fit_of(movies, target, item) for item in range(20, 30)]
        assert fits[belief_of(seekers, row).item - 20] == pytest.approx(max(fits), abs=1e-6)


def test_beliefs_start_anew_with_a_conversation(movies: World) -> None:
    seekers = population(movies, 4)
    offer(seekers, (5, 6), Strategy.ENCOURAGEMENT, movies.catalogue.facts_about(5)[:1])
    held = [seekers.belief(row) for row in range(4)]
    seekers.start(np.array([1, 2]))
    assert [seekers.belief(row) for row in (0, 3)] == [held[0], held[3]]
    assert seekers.belief(1) is seekers.belief(2) is None
    assert seekers.intentions(1, 5).after == seekers.intentions(1, 5).before


@pytest.mark.parametrize("user", ["mcr", "lm-reference", "lm-free", "lm-latent"])
def test_every_kind_holds_beliefs_in_words(components: Components, user: str) -> None:
    world = components.world
    seekers = make_seekers(user, SeekerContext(world, model=components.model))
    seekers.reset(world.sessions(Split.TEST, 1, 0))
    item = next(i for i in range(world.catalogue.n_items) if i != int(seekers.targets[0]))
    before = seekers.intentions(0, item)
    assert before.after == before.before
    facts = tuple(world.catalogue.facts_about(item))[:3]
    decision = Decision(Act.RECOMMEND, PLAIN, items=(item,))
    seekers.respond(np.arange(1), Actions.of([decision], [facts], ["words"]))
    belief = seekers.belief(0)
    assert belief is not None
    assert belief.item == item
    told = logit((belief.posterior - 1) / 4) - logit((belief.prior - 1) / 4)
    assert told == pytest.approx(sum(belief.evidence.values()), abs=1e-6)
    after = seekers.intentions(0, item)
    assert (after.before, after.after) == (belief.prior, belief.posterior)
    assert after.before == before.before
    assert after.after != after.before
    seekers.reset(world.sessions(Split.TEST, 1, 0))
    assert seekers.belief(0) is None


def test_opinions_mean_nothing_to_seekers_that_do_not_feel(components: Components) -> None:
    world = components.world
    item, other = 0, 1
    for user, moved in (("mcr", False), ("lm-free", True)):
        beliefs = []
        for strategy in (Strategy.PERSONAL_OPINION, PLAIN):
            seekers = make_seekers(user, SeekerContext(world, model=components.model))
            seekers.reset(world.sessions(Split.TEST, 1, 0))
            decision = Decision(Act.RECOMMEND, strategy, items=(item, other))
            seekers.respond(np.arange(1), Actions.of([decision], [()], ["words"]))
            beliefs.append(seekers.intentions(0, item).after)
        assert (beliefs[0] != beliefs[1]) is moved


def test_without_a_target_an_item_fits_by_the_wishes_it_meets(components: Components) -> None:
    world = components.world
    seekers = make_seekers("lm-free", SeekerContext(world, model=components.model))
    seekers.reset(world.sessions(Split.TEST, 3, 0))
    for row in range(3):
        wants = seekers.aim(row).wants
        for item in (0, 7, int(seekers.targets[row])):
            owned = set(world.catalogue.attributes_of(item).tolist())
            assert seekers.fits(row)[item] == pytest.approx(len(wants & owned) / len(wants))
