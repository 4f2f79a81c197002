"""Beliefs about the target: hand-computed posteriors and entropies, and what answers do to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from unicrs_rl.dialogue import Act, Decision, Preferences, State, Strategy
from unicrs_rl.experiments.components import Components
from unicrs_rl.graphs.belief import (
    Belief,
    Reject,
    Scoring,
    attribute_mass,
    binary_entropy,
    top_items,
)
from unicrs_rl.graphs.beliefs import Beliefs
from unicrs_rl.graphs.candidates import Switches
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import OPENING, States
from unicrs_rl.graphs.world import Split

OWNERS = {"p": (0, 1), "q": (1, 2), "r": (3,), "s": (0, 1, 2, 3), "t": (2, 3)}
P, Q, R, S, T = range(5)
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])
VECTORS = Embeddings(
    items=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=np.float32),
    attributes=np.array([[1.0, 2.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [1.0, 1.0]], dtype=np.float32),
    likes=np.zeros(2, dtype=np.float32),
)


def four() -> Catalogue:
    facts = [(item, "tag", "tag", name) for name, owners in OWNERS.items() for item in owners]
    return Catalogue.build("thing", ["a", "b", "c", "d"], facts)


def belief(reject: Reject = Reject.FILTER, scoring: Scoring = Scoring.POSTERIOR) -> Belief:
    return Belief(four(), np.log(PRIOR)[None].copy(), reject, scoring, VECTORS)


def state(known: Preferences, decisions: tuple[Decision, ...] = ()) -> State:
    return State(0, (), known, (), decisions, 15)


def posterior(found: States, row: int = 0) -> dict[int, float]:
    """Candidates of a row with their weights."""
    part = slice(*found.offsets[row : row + 2].tolist())
    return dict(zip(found.candidates[part].tolist(), found.values[part].tolist(), strict=True))


# --- posterior ---


def test_before_any_word_the_posterior_is_the_prior() -> None:
    assert belief().weights()[0] == pytest.approx(PRIOR)


def test_an_accepted_attribute_keeps_its_owners_only() -> None:
    """0.4 : 0.3 for the owners of p."""
    found = belief()
    found.accept(0, P)
    assert found.weights()[0] == pytest.approx([4 / 7, 3 / 7, 0, 0])


def test_a_removed_item_shares_its_mass_out() -> None:
    found = belief()
    found.remove(0, (0,))
    assert found.weights()[0] == pytest.approx([0, 3 / 6, 2 / 6, 1 / 6])


def test_a_filtering_no_is_the_exact_posterior() -> None:
    """After no to q, 0.4 : 0.1 for a and d."""
    found = belief(Reject.FILTER)
    found.decline(0, Q)
    assert found.candidates[0].tolist() == [True, False, False, True]
    assert found.weights()[0] == pytest.approx([0.8, 0, 0, 0.2])


def test_a_penalising_no_lowers_owners_by_a_sigmoid() -> None:
    """v·q is 1 for b and c, so both lose sigmoid(1) of log-score and nobody else does."""
    found = belief(Reject.PENALTY)
    found.decline(0, Q)
    assert found.candidates.all()
    raw = PRIOR * np.exp([0, -expit(1), -expit(1), 0])
    assert found.weights()[0] == pytest.approx(raw / raw.sum())


def test_an_ignored_no_changes_nothing() -> None:
    found = belief(Reject.NONE)
    found.decline(0, Q)
    assert found.weights()[0] == pytest.approx(PRIOR)


CERTAIN = [reject for reject in Reject if reject is not Reject.NOISY]


@pytest.mark.parametrize("reject", CERTAIN)
def test_what_a_no_does_is_no_matter_to_a_yes(reject: Reject) -> None:
    found = belief(reject)
    found.accept(0, Q)
    assert found.weights()[0] == pytest.approx([0, 0.6, 0.4, 0])


def test_filter_is_the_default() -> None:
    assert Belief(four(), np.zeros((1, 4))).reject is Reject.FILTER


# --- answers that may be wrong


def noisy(noise: float = 0.2) -> Belief:
    return Belief(four(), np.log(PRIOR)[None].copy(), Reject.NOISY, noise=noise)


def test_a_noisy_yes_weighs_items_by_the_chance_of_that_answer() -> None:
    """Only b and c have q: 0.8 of them say yes, and 0.2 of the others."""
    found = noisy()
    found.accept(0, Q)
    raw = PRIOR * [0.2, 0.8, 0.8, 0.2]
    assert found.weights()[0] == pytest.approx(raw / raw.sum())


def test_a_noisy_no_is_the_other_way_round_and_removes_nothing() -> None:
    found = noisy()
    found.decline(0, Q)
    raw = PRIOR * [0.8, 0.2, 0.2, 0.8]
    assert found.weights()[0] == pytest.approx(raw / raw.sum())
    assert found.candidates.all()


def test_what_is_volunteered_is_no_slip() -> None:
    found = noisy()
    found.update(0, Preferences(liked=(Q, P)))
    assert found.weights()[0] == pytest.approx([0, 0.3 * 0.8 / 0.28, 0.2 * 0.2 / 0.28, 0])


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_noisy_answers_need_a_noise(noise: float) -> None:
    with pytest.raises(ValueError, match="between 0 and one half"):
        noisy(noise)


# --- what is volunteered


def test_a_volunteered_attribute_is_likelier_of_items_that_have_few() -> None:
    """All have s; of a (p, s) every second seeker begins with it, of the others every third."""
    found = belief()
    found.volunteer(0, S, weigh=True)
    raw = PRIOR / [2, 3, 3, 3]
    assert found.weights()[0] == pytest.approx(raw / raw.sum())


def test_without_that_weight_the_volunteered_attribute_only_filters() -> None:
    found = belief()
    found.volunteer(0, Q, weigh=False)
    assert found.weights()[0] == pytest.approx([0, 0.6, 0.4, 0])


def test_only_the_first_wish_is_volunteered() -> None:
    found = belief()
    found.update(0, Preferences(liked=(S, P)), weigh=True)
    raw = np.array([0.4 / 2, 0.3 / 3, 0, 0])
    assert found.weights()[0] == pytest.approx(raw / raw.sum())


def test_conversations_of_a_batch_do_not_touch_each_other() -> None:
    found = Belief(four(), np.log(np.stack([PRIOR, PRIOR])))
    found.accept(1, R)
    assert found.weights()[0] == pytest.approx(PRIOR)
    assert found.weights()[1] == pytest.approx([0, 0, 0, 1])


def test_with_nothing_left_all_weights_are_zero() -> None:
    found = belief()
    found.remove(0, range(4))
    assert found.weights()[0].tolist() == [0, 0, 0, 0]


# --- the reference code's scoring ---


def test_unicorn_weights_are_sigmoids_of_scores() -> None:
    found = belief(scoring=Scoring.UNICORN)
    raw = expit(np.log(PRIOR))
    assert found.weights()[0] == pytest.approx(raw / raw.sum())


def test_unicorn_acceptance_adds_the_affinity_and_intersects() -> None:
    """v·p is 1, 2, 3, 0; only a and b have p."""
    found = belief(scoring=Scoring.UNICORN)
    found.accept(0, P)
    assert found.scores[0] == pytest.approx(np.log(PRIOR) + np.array([1, 2, 3, 0]))
    raw = expit(np.log(PRIOR) + np.array([1, 2, 3, 0])) * [1, 1, 0, 0]
    assert found.weights()[0] == pytest.approx(raw / raw.sum())


def test_unicorn_code_rejection_only_subtracts_a_sigmoid() -> None:
    """Design §5: sum over rejected p that v has of sigmoid(v·p); t is of c (v·t = 2) and d (0)."""
    found = belief(Reject.PENALTY, Scoring.UNICORN)
    found.decline(0, T)
    assert found.scores[0] == pytest.approx(np.log(PRIOR) - np.array([0, 0, expit(2), expit(0)]))
    assert found.candidates.all()


def test_arithmetic_with_vectors_needs_vectors() -> None:
    for reject, scoring in ((Reject.PENALTY, Scoring.POSTERIOR), (Reject.FILTER, Scoring.UNICORN)):
        with pytest.raises(ValueError, match="need embeddings"):
            Belief(four(), np.zeros((1, 4)), reject, scoring)


# --- all that is known at once ---


def test_update_applies_every_answer() -> None:
    found = belief()
    found.update(0, Preferences(liked=(S,), disliked=(R,), rejected_items=(0,)))
    assert found.weights()[0] == pytest.approx([0, 0.6, 0.4, 0])


def test_indifference_is_no_evidence() -> None:
    found = belief()
    found.update(0, Preferences(open=(P, Q)))
    assert found.weights()[0] == pytest.approx(PRIOR)


def test_contradicting_answers_rank_by_agreement() -> None:
    """Nothing has p and r but not q; answers agreed with, less those denied: 1, 0, -1, 1."""
    found = belief()
    found.update(0, Preferences(liked=(P, R), disliked=(Q,)))
    raw = PRIOR * np.exp(5.0 * np.array([1, 0, -1, 1]))
    assert found.weights()[0] == pytest.approx(raw / raw.sum())


def test_contradicting_answers_do_not_bring_rejected_items_back() -> None:
    found = belief()
    found.update(0, Preferences(liked=(P, R), rejected_items=(0, 1)))
    weights = found.weights()[0]
    assert weights[:2].tolist() == [0, 0]
    assert weights[3] > weights[2] > 0


@settings(deadline=None)
@given(
    scores=st.lists(st.floats(-30, 30), min_size=4, max_size=4),
    liked=st.sets(st.integers(0, 4), max_size=2),
    disliked=st.sets(st.integers(0, 4), max_size=2),
    turned_down=st.sets(st.integers(0, 3), max_size=3),
)
def test_posterior_is_bayes_rule(
    scores: list[float], liked: set[int], disliked: set[int], turned_down: set[int]
) -> None:
    """Against the definition: prior times a likelihood of 0 or 1, normalised."""
    owned = [{place for place, owners in enumerate(OWNERS.values()) if item in owners} for item in range(4)]
    agrees = [
        liked <= owned[item] and not disliked & owned[item] and item not in turned_down for item in range(4)
    ]
    found = Belief(four(), np.array([scores]))
    found.update(0, Preferences(tuple(liked), tuple(disliked), rejected_items=tuple(turned_down)))
    weights = found.weights()[0]
    assert weights.sum() == pytest.approx(1.0)
    assert all(weights[item] == 0 for item in turned_down)
    if any(agrees):
        raw = np.exp(np.array(scores) - max(scores)) * agrees
        assert weights == pytest.approx(raw / raw.sum(), abs=1e-12)


# --- mass, entropy, order ---


def test_attribute_mass_is_the_probability_of_a_yes() -> None:
    """p: 0.4 + 0.3, q: 0.3 + 0.2, r: 0.1, s: all, t: 0.2 + 0.1."""
    assert attribute_mass(four(), PRIOR[None])[0] == pytest.approx([0.7, 0.5, 0.1, 1.0, 0.3])


@pytest.mark.parametrize(
    ("p", "bits"), [(0.5, 1.0), (0.25, 0.8112781244591328), (0.1, 0.4689955935892812), (0.0, 0.0), (1.0, 0.0)]
)
def test_entropy_of_a_question_in_bits(p: float, bits: float) -> None:
    assert binary_entropy(np.array([p]))[0] == pytest.approx(bits)
    assert binary_entropy(np.array([1 - p]))[0] == pytest.approx(bits)


def test_top_items_are_heaviest_first_ties_by_id() -> None:
    weights = np.array([[0.1, 0.3, 0.3, 0.0, 0.3], [0.0, 0.0, 0.0, 1.0, 0.0]])
    assert top_items(weights, 3).tolist() == [[1, 2, 4], [3, -1, -1]]


def test_top_items_of_a_small_world_are_padded() -> None:
    assert top_items(np.array([[0.2, 0.8]]), 4).tolist() == [[1, 0, -1, -1]]


@pytest.mark.parametrize("values", [2, 30, 10_000])
def test_top_items_agree_with_a_full_sort(values: int) -> None:
    weights = np.random.default_rng(0).integers(1, values, (20, 500)).astype(float)
    expected = np.argsort(-weights, axis=1, kind="stable")[:, :10]
    assert top_items(weights, 10).tolist() == expected.tolist()


# --- states ---


def states(known: Preferences, *decisions: Decision, k: int = 5) -> States:
    return Beliefs(four(), k=k).states([state(known, decisions)], np.log(PRIOR)[None])


def test_states_list_items_and_questions() -> None:
    """Entropies: q (0.5) 1.0, then p (0.7) and t (0.3) alike; s is certain, and r has one owner only."""
    found = states(Preferences())
    assert found.items[0].tolist() == [0, 1, 2, 3, -1]
    assert found.item_weights[0] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0])
    assert found.attributes[0].tolist() == [Q, P, T, -1, -1]
    assert found.masses[0] == pytest.approx([0.5, 0.7, 0.3, 0, 0])
    assert found.entropies[0] == pytest.approx([1.0, 0.8812908992306927, 0.8812908992306927, 0, 0])


def test_confidence_is_the_mass_of_the_listed_items() -> None:
    assert states(Preferences(), k=2).confidence == pytest.approx([0.7])


@pytest.mark.parametrize(
    ("known", "decisions"),
    [
        (Preferences(), (Decision(Act.ASK, Strategy.NO_STRATEGY, attributes=(Q,)),)),
        (Preferences(open=(Q,)), ()),
    ],
)
def test_what_was_asked_or_is_indifferent_is_no_question_any_more(
    known: Preferences, decisions: tuple[Decision, ...]
) -> None:
    assert states(known, *decisions).attributes[0].tolist() == [P, T, -1, -1, -1]


def test_states_do_not_change_the_prior_they_are_given() -> None:
    prior = np.log(PRIOR)[None]
    before = prior.copy()
    switches = Switches(reject=Reject.PENALTY)
    Beliefs(four(), switches, embeddings=VECTORS).states([state(Preferences(disliked=(Q,)))], prior)
    assert prior.tolist() == before.tolist()


@pytest.mark.parametrize(
    ("reject", "order"), [(Reject.FILTER, [3, -1]), (Reject.PENALTY, [3, 2]), (Reject.NONE, [2, 3])]
)
def test_the_switch_shows_in_what_is_listed(reject: Reject, order: list[int]) -> None:
    """The seeker wants t (c, d) and not q (b, c)."""
    known = Preferences(liked=(T,), disliked=(Q,))
    switches = Switches(reject=reject, volunteered=False)
    found = Beliefs(four(), switches, 2, 2, VECTORS).states([state(known)], np.log(PRIOR)[None])
    assert found.items[0].tolist() == order
    ratio = {Reject.FILTER: 0.0, Reject.PENALTY: 2 * np.exp(-expit(1)), Reject.NONE: 2.0}[reject]
    weights = posterior(found)
    assert weights.get(2, 0.0) == pytest.approx(ratio * weights[3])


def test_the_ragged_posterior_is_the_dense_one(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 6, 0)
    owned = [components.world.catalogue.attributes_of(session.target).tolist() for session in sessions]
    rows = [state(Preferences(liked=(mine[0],), disliked=(0,) * (0 not in mine))) for mine in owned]
    prior = components.prior.log_scores(sessions)
    found = components.beliefs.states(rows, prior)
    dense = Belief(components.world.catalogue, prior.copy())
    for row, known in enumerate(rows):
        dense.update(row, known.preferences, components.beliefs.switches.volunteered)
    for row, weights in enumerate(dense.weights()):
        held = np.flatnonzero(weights)
        assert posterior(found, row) == dict(zip(held.tolist(), weights[held].tolist(), strict=True))
        assert found.left[row] == len(held)
        assert found.concentration[row] == pytest.approx((weights**2).sum())


def test_the_past_is_what_the_dialogue_shows() -> None:
    """The seeker wants s and p, not q, is open about t, and has declined c."""
    known = Preferences(liked=(S, P), disliked=(Q,), open=(T,), rejected_items=(2,), mood="impatient")
    decided = (
        Decision(Act.ASK, Strategy.SIMILARITY, attributes=(P,)),
        Decision(Act.ASK, Strategy.SIMILARITY, attributes=(Q, T)),
        Decision(Act.CHAT, Strategy.CREDIBILITY),
        Decision(Act.RECOMMEND, Strategy.CREDIBILITY, items=(2,)),
    )
    rows = [state(known, decided), State(7, (), Preferences(), (), (), 15)]
    past = Beliefs(four()).states(rows, np.log(np.stack([PRIOR, PRIOR]))).past
    warm, true = Strategy.SIMILARITY.position, Strategy.CREDIBILITY.position
    assert past.keys.tolist() == [0, 7]
    assert past.turn.tolist() == [4, 0]
    assert past.wanted.tolist() == [[S, P], [-1, -1]]
    assert past.unwanted.tolist() == [[Q], [-1]]
    assert past.indifferent.tolist() == [[T], [-1]]
    assert past.declined.tolist() == [[2], [-1]]
    assert past.events.tolist() == [[4 + S, 4 + P, 4 + Q, -1, 2], [-1] * 5]
    assert past.strategies.tolist() == [[OPENING, warm, warm, true, true], [-1] * 5]
    assert past.mood.tolist() == [2, 0]
    assert past.streak.tolist() == [1, 0]
    assert past.asked.tolist() == [[P, Q, S, T], [-1] * 4]


def test_states_do_not_depend_on_the_batch(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 12, 0)
    catalogue = components.world.catalogue
    rows = [
        state(Preferences(liked=(int(catalogue.attributes_of(session.target)[0]),))) for session in sessions
    ]
    prior = components.prior.log_scores(sessions)
    together = components.beliefs.states(rows, prior)
    for index, row in enumerate(rows):
        alone = components.beliefs.states([row], components.prior.log_scores(sessions[index : index + 1]))
        assert alone.items[0].tolist() == together.items[index].tolist()
        assert alone.attributes[0].tolist() == together.attributes[index].tolist()
