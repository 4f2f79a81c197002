"""The unified arm: its graph state, its replay, its network and its learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Decision, Plan, Preferences, State, Strategy
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.belief import States
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.graph_state import GraphBatch, Layout, build, join
from unicrs_rl.policy.replay import Replay
from unicrs_rl.policy.rules import Random
from unicrs_rl.policy.unified import QNetwork, Unified, UnifiedConfig


def states_of(components: Components, count: int, seed: int = 0) -> States:
    """Opening states of some conversations, with one known wish and one known refusal each."""
    world = components.world
    sessions = world.sessions(Split.TRAIN, count, seed)
    rows = []
    for session in sessions:
        owned = world.catalogue.attributes_of(session.target)
        foreign = next(a for a in range(world.catalogue.n_attributes) if a not in owned)
        known = Preferences(liked=(int(owned[0]),), disliked=(foreign,))
        decided = (Decision(Act.ASK, Strategy.CREDIBILITY, (foreign,)),)
        rows.append(State(session.key, session.history, known, (), decided, 15))
    return components.beliefs.states(rows, components.prior.log_scores([row.history for row in rows]))


def context_of(components: Components, **changes: object) -> ArmContext:
    base = ArmContext(components.world.catalogue, components.embeddings, seed=0, dialogues=100)
    return replace(base, **changes)  # type: ignore[arg-type]


def double(batch: GraphBatch) -> GraphBatch:
    return GraphBatch(*(part.double() if part.is_floating_point() else part for part in batch))


def network(components: Components) -> QNetwork:
    torch.manual_seed(0)
    layout = Layout(10, components.world.catalogue.n_items)
    return QNetwork(UnifiedConfig(), components.embeddings, layout)


def test_graph_links_are_the_catalogues_facts(components: Components) -> None:
    catalogue = components.world.catalogue
    layout = Layout(10, catalogue.n_items)
    graphs = build(states_of(components, 8), layout)
    items = graphs.nodes[:, layout.item_slots].numpy()
    attributes = graphs.nodes[:, layout.attribute_slots].numpy()
    for b, row, column in np.ndindex(*graphs.links.shape):
        item, attribute = items[b, row], attributes[b, column]
        there = item >= 0 and attribute >= 0
        owned = there and (attribute - catalogue.n_items) in catalogue.attributes_of(item)
        assert bool(graphs.links[b, row, column]) == owned


def test_seeker_edges_weigh_candidates_by_posterior(components: Components) -> None:
    states = states_of(components, 8)
    graphs = build(states, Layout(10, components.world.catalogue.n_items))
    expected = states.item_weights / states.item_weights[:, :1]
    np.testing.assert_allclose(graphs.weights.numpy(), expected, rtol=1e-6)


def test_a_block_diagonal_batch_gives_what_single_graphs_give(components: Components) -> None:
    graphs = double(build(states_of(components, 6), Layout(10, components.world.catalogue.n_items)))
    q = network(components).double()
    with torch.inference_mode():
        together = q(graphs)
        alone = torch.cat([q(graphs.rows(np.array([row]))) for row in range(6)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_masked_candidates_are_never_chosen(components: Components) -> None:
    graphs = build(states_of(components, 4), Layout(10, components.world.catalogue.n_items))
    mask = graphs.mask.clone()
    mask[:, 1:-1] = False
    with torch.inference_mode():
        values = network(components)(graphs._replace(mask=mask))
    assert set((values.flatten(1).argmax(1) // len(STRATEGIES)).tolist()) <= {0, 20}


def test_value_of_a_strategy_depends_on_the_candidate(components: Components) -> None:
    graphs = build(states_of(components, 4), Layout(10, components.world.catalogue.n_items))
    with torch.inference_mode():
        values = network(components)(graphs)
    manner = values - values.mean(2, keepdim=True)
    assert not torch.allclose(manner[:, 0], manner[:, 10], atol=1e-4)


def test_history_of_strategies_changes_the_values(components: Components) -> None:
    graphs = build(states_of(components, 4), Layout(10, components.world.catalogue.n_items))
    other = graphs.event_strategies.clone()
    other[other == Strategy.CREDIBILITY.position] = Strategy.SIMILARITY.position
    q = network(components)
    with torch.inference_mode():
        assert not torch.allclose(q(graphs), q(graphs._replace(event_strategies=other)), atol=1e-5)


def test_pretrained_node_vectors_reach_the_network(components: Components) -> None:
    """The reference code drops them; here changing them changes the values."""
    graphs = build(states_of(components, 4), Layout(10, components.world.catalogue.n_items))
    q = network(components)
    with torch.inference_mode():
        before = q(graphs)
        q.table.mul_(-1.0)
        assert not torch.allclose(before, q(graphs), atol=1e-4)


def filled_replay(components: Components, count: int, alpha: float) -> Replay:
    layout = Layout(10, components.world.catalogue.n_items)
    graphs = build(states_of(components, count), layout)
    replay = Replay(64, layout, alpha)
    n = torch.arange(count)
    replay.add(
        graphs,
        torch.stack([n, n], 1),
        n.float(),
        graphs,
        torch.full((count,), 0.5),
        torch.zeros(count).bool(),
    )
    return replay


def test_replay_samples_by_priority(components: Components) -> None:
    replay = filled_replay(components, 10, alpha=1.0)
    replay.reprioritise(np.arange(10), np.array([9.0] + [1.0] * 9))
    places = replay.sample(20_000, 0.4, np.random.default_rng(0)).places
    assert np.mean(places == 0) == pytest.approx(0.5, abs=0.02)


def test_importance_weights_undo_the_sampling_bias(components: Components) -> None:
    replay = filled_replay(components, 10, alpha=1.0)
    errors = np.linspace(0.1, 2.0, 10)
    replay.reprioritise(np.arange(10), errors)
    batch = replay.sample(200_000, 1.0, np.random.default_rng(0))
    estimate = (batch.weights * batch.rewards).sum() / batch.weights.sum()
    assert float(estimate) == pytest.approx(4.5, abs=0.1)


def test_replay_forgets_the_oldest(components: Components) -> None:
    replay = filled_replay(components, 10, alpha=0.0)
    graphs, actions = replay.states.rows(np.arange(10)), replay.actions[:10].clone()
    for _ in range(7):
        replay.add(graphs, actions, torch.full((10,), 99.0), graphs, torch.zeros(10), torch.ones(10).bool())
    assert len(replay) == 64
    assert set(replay.rewards.tolist()) == {99.0}


def learn_to_ask(components: Components, steps: int) -> Unified:
    """A bandit: asking with Encouragement earns 1, everything else nothing; conversations have one turn."""
    options = {"warm_up_turns": 16, "steps_per_turn": 1.0, "learning_rate": 3e-3, "guided": 0.3}
    learner = Unified(context_of(components, dialogues=16 * steps, options=options))
    for step in range(steps):
        states = states_of(components, 16, seed=step)
        rows = tuple(replace(row, key=draws.key(step, row.key)) for row in states.rows)
        plans = learner.act(replace(states, rows=rows))
        earned = [float(p.act is Act.ASK and p.strategy is Strategy.ENCOURAGEMENT) for p in plans]
        learner.observe([row.key for row in rows], earned, [True] * len(rows))
        learner.learn()
    return learner


@pytest.mark.slow
def test_learner_solves_a_bandit_over_acts_and_strategies(components: Components) -> None:
    learner = learn_to_ask(components, 60)
    plans = learner.decide(states_of(components, 64, seed=999))
    solved = [plan.act is Act.ASK and plan.strategy is Strategy.ENCOURAGEMENT for plan in plans]
    assert np.mean(solved) >= 0.95


def test_equal_seeds_give_equal_networks(components: Components) -> None:
    one, other = learn_to_ask(components, 6), learn_to_ask(components, 6)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_n_step_returns_are_discounted_and_bootstrap_after_n_turns(components: Components) -> None:
    learner = Unified(context_of(components, options={"n_step": 2, "discount": 0.5}))
    states = states_of(components, 1)
    key = states.rows[0].key
    for reward, over in ((1.0, False), (2.0, False), (4.0, True)):
        learner.act(states)
        learner.observe([key], [reward], [over])
    assert learner.replay.rewards[:3].tolist() == [2.0, 4.0, 4.0]
    assert learner.replay.discounts[:3].tolist() == [0.25, 0.0, 0.0]


def test_target_network_follows_softly(components: Components) -> None:
    learner = learn_to_ask(components, 3)
    fast = torch.cat([p.detach().flatten() for p in learner.network.parameters()])
    slow = torch.cat([p.detach().flatten() for p in learner.target.parameters()])
    assert not torch.equal(fast, slow)
    assert not any(p.requires_grad for p in learner.target.parameters())


def test_resuming_from_a_checkpoint_changes_nothing(components: Components) -> None:
    through, first = learn_to_ask(components, 4), learn_to_ask(components, 4)
    resumed = Unified(first.context)
    tensors, header = first.state()
    resumed.load({name: tensor.clone() for name, tensor in tensors.items()}, header)
    for learner in (through, resumed):
        states = states_of(components, 16, seed=50)
        learner.act(states)
        learner.observe([row.key for row in states.rows], [1.0] * 16, [True] * 16)
        learner.learn()
    for a, b in zip(through.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_deciding_checkpoint_decides_the_same(components: Components) -> None:
    learner = learn_to_ask(components, 4)
    other = Unified(learner.context)
    tensors, header = learner.state(resumable=False)
    other.load(tensors, header)
    states = states_of(components, 20, seed=7)
    assert learner.decide(states) == other.decide(states)


def test_decisions_do_not_depend_on_the_batch(components: Components) -> None:
    learner = learn_to_ask(components, 4)
    states = states_of(components, 30, seed=8)
    singles = []
    for row in range(30):
        one = States(
            (states.rows[row],),
            states.catalogue,
            *(getattr(states, name)[row : row + 1] for name in _ARRAYS),
            states.slate,
        )
        singles.extend(learner.decide(one))
    assert learner.decide(states) == singles


_ARRAYS = ("weights", "items", "item_weights", "attributes", "entropies", "masses")


def test_recommending_puts_the_chosen_item_first(components: Components) -> None:
    learner = Unified(context_of(components))
    states = states_of(components, 3)
    plan = learner._plan(states, 0, 4, 0, np.zeros((21, len(STRATEGIES))))
    assert plan.items is not None
    assert plan.items[0] == states.items[0, 4]
    assert sorted(plan.items) == sorted(states.items[0].tolist())


def test_joining_batches_keeps_their_order(components: Components) -> None:
    graphs = build(states_of(components, 5), Layout(10, components.world.catalogue.n_items))
    parts = [graphs.rows(np.array([row])) for row in range(5)]
    for whole, again in zip(graphs, join(parts), strict=True):
        assert torch.equal(whole, again)


def test_every_past_event_finds_its_node(components: Components) -> None:
    """Declined lists by their heads, questions by their attribute, whatever the answer was."""
    seen: list[States] = []

    class Watching(Random):
        def decide(self, states: States) -> list[Plan]:
            seen.append(states)
            return super().decide(states)

    policy = Watching(components.policy("random", 0).context)
    Conversations(components).hold(policy, components.world.sessions(Split.TEST, 40, 0))
    about = 0
    for states in seen:
        slots = build(states, Layout(10, components.world.catalogue.n_items)).event_slots.numpy()
        for row, state in enumerate(states.rows):
            found = slots[row, 1 : 1 + len(state.decisions)]  # the first is what was volunteered
            expected = [bool(decision.items or decision.attributes) for decision in state.decisions]
            if state.preferences.liked:
                assert [slot >= 0 for slot in found] == expected
                about += sum(expected)
    assert about > 500
