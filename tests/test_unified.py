"""The unified arm: its graph state, its replay, its network and its learning."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Decision, Decisions, Plan, Preferences, State, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.encoder import GraphBackend, GraphEncoder
from unicrs_rl.graphs.states import Past, States
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.graph_state import GraphBatch, Layout, build, join
from unicrs_rl.policy.replay import Replay
from unicrs_rl.policy.rules import Random
from unicrs_rl.policy.unified import (
    Attention,
    Exploration,
    FewLeft,
    Importance,
    NodeVectors,
    QNetwork,
    Unified,
    UnifiedConfig,
)


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
    return components.beliefs.states(rows, components.prior.log_scores(sessions))


def keyed(states: States, step: int) -> States:
    """The same states in conversations of other keys."""
    keys = [draws.key(step, key) for key in states.past.keys.tolist()]
    return replace(states, past=replace(states.past, keys=np.array(keys, dtype=np.uint64)))


def row_of(states: States, row: int) -> States:
    """One conversation of a batch."""

    def one(value: object) -> object:
        return value[row : row + 1] if isinstance(value, np.ndarray) else value

    start, stop = states.offsets[row : row + 2].tolist()
    columns = ("items", "item_weights", "attributes", "entropies", "masses", "named", "concentration")
    return replace(
        states,
        past=Past(**{name: one(getattr(states.past, name)) for name in Past.__dataclass_fields__}),
        offsets=np.array([0, stop - start]),
        candidates=states.candidates[start:stop],
        values=states.values[start:stop],
        **{name: one(getattr(states, name)) for name in columns},
        rows=states.rows[row : row + 1],
    )


def same(one: Decisions, other: Decisions) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Decisions.__slots__)


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


def test_candidates_come_with_what_is_known_of_them(components: Components) -> None:
    """Items: weight, weight up to there, -, place, -. Questions: chance, bits, popularity, place, promise."""
    states = narrow(components, 12)
    graphs = build(states, Layout(10, components.world.catalogue.n_items))
    features = graphs.features.numpy()
    place = np.tile(np.arange(10) / 10, (12, 1))
    none = np.zeros((12, 10))
    degrees = components.world.catalogue.degrees[np.maximum(states.attributes, 0)]
    weights = states.item_weights
    expected = [
        np.stack([weights, weights.cumsum(axis=1), none, place, none], axis=2),
        np.stack([states.masses, states.entropies, np.log1p(degrees) / 5, place, states.hits], axis=2),
        np.zeros((12, 1, 5)),
    ]
    np.testing.assert_allclose(features, np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-7)
    assert graphs.mask[:, :10].tolist() == (states.items >= 0).tolist()
    assert graphs.mask[:, 10:20].tolist() == (states.attributes >= 0).tolist()
    assert graphs.mask[:, 20].all()
    assert not graphs.mask.all()


def test_the_conversation_is_known_by_twelve_numbers(components: Components) -> None:
    known = Preferences(liked=(1, 2), disliked=(3, 4, 5), open=(6,), mood="impatient")
    listing = Decision(Act.RECOMMEND, Strategy.CREDIBILITY, items=(0,))
    rows = [State(1, (), known, (), (listing,) * 2, 3), State(2, (), Preferences(liked=(1,)), (), (), 3)]
    sessions = components.world.sessions(Split.TRAIN, 2, 0)
    states = components.beliefs.states(rows, components.prior.log_scores(sessions))
    context = build(states, Layout(10, components.world.catalogue.n_items)).context.numpy()
    shown = [[2 / 3, 0.4, 0.6, 0.2, 2 / 3, 0, 1], [0, 0.2, 0, 0, 0, 0, 0]]
    believed = [
        states.confidence,
        np.log1p(states.left) / 5,
        -np.log(states.concentration) / 5,
        states.hits.max(axis=1),
        np.array([1.0, 0.0]),
    ]
    np.testing.assert_allclose(context, np.column_stack([shown, *believed]), rtol=1e-5)


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
        n,
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
    options |= {"explore_turns": 5 * steps, "k": 5}
    learner = Unified(context_of(components, dialogues=16 * steps, options=options))
    for step in range(steps):
        states = keyed(states_of(components, 16, seed=step), step)
        plans = learner.act(states)
        earned = [float(p.act is Act.ASK and p.strategy is Strategy.ENCOURAGEMENT) for p in plans]
        learner.observe(states.past.keys.tolist(), earned, [True] * len(states))
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
    learner.learn()
    assert learner.replay.rewards[:3].tolist() == [2.0, 4.0, 4.0]
    assert learner.replay.discounts[:3].tolist() == [0.25, 0.0, 0.0]


def test_conversations_of_a_batch_earn_their_own_returns(components: Components) -> None:
    """Three conversations of one, three and two turns; each next state is of the same conversation."""
    learner = Unified(context_of(components, options={"n_step": 2, "discount": 0.5}))
    batch = states_of(components, 3)
    keys = batch.past.keys.tolist()
    live = [0, 1, 2]
    earned = {0: [8.0], 1: [1.0, 2.0, 4.0], 2: [16.0, 32.0]}
    for turn in range(3):
        states = join_rows([row_of(batch, row) for row in live])
        learner.act(replace(states, past=replace(states.past, turn=np.full(len(live), turn))))
        over = [turn + 1 == len(earned[row]) for row in live]
        learner.observe([keys[row] for row in live], [earned[row][turn] for row in live], over)
        live = [row for row, ended in zip(live, over, strict=True) if not ended]
    learner.learn()
    replay = learner.replay
    of = np.argsort(np.argsort(keys))  # stored in the order of the keys, turn after turn
    lengths = [len(earned[row]) for row in np.argsort(keys)]
    first = np.concatenate([[0], np.cumsum(lengths)])[of].tolist()
    expected = {0: [8.0], 1: [2.0, 4.0, 4.0], 2: [32.0, 32.0]}
    discounts = {0: [0.0], 1: [0.25, 0.0, 0.0], 2: [0.0, 0.0]}
    for row, start in enumerate(first):
        n = len(earned[row])
        assert replay.rewards[start : start + n].tolist() == expected[row]
        assert replay.discounts[start : start + n].tolist() == discounts[row]
    turn_now, turn_then = replay.states.context[first[1], 0], replay.next_states.context[first[1], 0]
    assert (float(turn_now) * 15, float(turn_then) * 15) == pytest.approx((0, 2))


def join_rows(parts: Sequence[States]) -> States:
    """Single conversations as one batch."""
    columns = ("items", "item_weights", "attributes", "entropies", "masses", "named", "concentration")
    past = {
        name: np.concatenate([getattr(part.past, name) for part in parts])
        for name in Past.__dataclass_fields__
        if name != "limit"
    }
    return replace(
        parts[0],
        past=replace(parts[0].past, **past),
        offsets=np.concatenate([[0], np.cumsum([part.offsets[1] for part in parts])]),
        candidates=np.concatenate([part.candidates for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
        rows=tuple(part.rows[0] for part in parts),
    )


def test_learning_waits_for_the_ends_of_conversations(components: Components) -> None:
    learner = Unified(context_of(components))
    states = states_of(components, 2)
    learner.act(states)
    learner.observe(states.past.keys.tolist(), [0.0, 0.0], [True, False])
    with pytest.raises(ValueError, match="has not ended"):
        learner.learn()


def test_rewards_have_to_be_for_the_conversations_that_acted(components: Components) -> None:
    learner = Unified(context_of(components))
    learner.act(states_of(components, 2))
    with pytest.raises(ValueError, match="other conversations"):
        learner.observe([1, 2], [0.0, 0.0], [True, True])


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
    singles = [learner.decide(row_of(states, row))[0] for row in range(30)]
    assert learner.decide(states) == singles


def test_plans_and_decisions_say_the_same(components: Components) -> None:
    learner = learn_to_ask(components, 4)
    states = states_of(components, 20, seed=9)
    chosen = learner.choose(states)
    plans = [replace(plan, scores={}) for plan in learner.decide(states)]
    assert plans == [chosen.plan(row) for row in range(20)]


def test_recommending_puts_the_chosen_item_first(components: Components) -> None:
    learner = Unified(context_of(components))
    states = states_of(components, 3)
    candidates = np.array([4, 0, 9])
    chosen = learner.space.decisions(states, candidates * len(STRATEGIES) + 3)
    assert (chosen.act == Act.RECOMMEND).all()
    assert (chosen.strategy == 3).all()
    assert (chosen.attributes == -1).all()
    for row, head in enumerate(candidates):
        listed = chosen.items[row].tolist()
        assert listed[0] == states.items[row, head]
        assert listed[1:] == [item for item in states.items[row].tolist() if item != listed[0]]


def test_asking_names_the_chosen_attribute_and_chat_nothing(components: Components) -> None:
    learner = Unified(context_of(components))
    states = states_of(components, 2)
    chosen = learner.space.decisions(states, np.array([10 + 6, 20]) * len(STRATEGIES) + 13)
    assert chosen.act.tolist() == [Act.ASK, Act.CHAT]
    assert chosen.strategy.tolist() == [13, 13]
    assert chosen.attributes.tolist() == [[states.attributes[0, 6]], [-1]]
    assert (chosen.items == -1).all()


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


# --- what the reference code does otherwise: each switch, and that it matters


def learner_of(components: Components, seed: int = 0, **options: object) -> Unified:
    """A learner that takes one gradient step per turn, at once; the paper's reading but for ``options``."""
    plain: dict[str, object] = {"k": 5, "warm_up_turns": 1, "steps_per_turn": 1 / 32, "batch_size": 32}
    return Unified(context_of(components, seed=seed, options=plain | options))


def play(learner: Unified, states: States, rewards: Sequence[float] | None = None) -> dict[str, float]:
    """One turn of some conversations, and what is learned from it."""
    learner.explore(states)
    earned = np.zeros(len(states)) if rewards is None else rewards
    learner.observe(states.past.keys.tolist(), list(earned), [True] * len(states))
    return learner.learn()


def narrow(components: Components, count: int, seed: int = 0) -> States:
    """States in which much is known, so that many have few candidates left."""
    sessions = components.world.sessions(Split.TRAIN, count, seed)
    rows = []
    for index, session in enumerate(sessions):
        owned = components.world.catalogue.attributes_of(session.target).tolist()
        known = Preferences(liked=tuple(owned[: 1 + index % 4]))
        rows.append(State(session.key, session.history, known, (), (), 15))
    return components.beliefs.states(rows, components.prior.log_scores(sessions))


def test_the_papers_reading_is_the_default() -> None:
    plain = UnifiedConfig()
    assert plain.node_vectors is NodeVectors.PRETRAINED
    assert plain.attention is Attention.CONVERSATION
    assert plain.importance is Importance.SAMPLE
    assert plain.exploration is Exploration.LINEAR
    assert plain.few_left is FewLeft.POLICY
    assert plain.graph_backend is GraphBackend.PYG


def test_random_node_vectors_ignore_the_pretrained_ones_and_learn(components: Components) -> None:
    vectors = components.embeddings
    others = Embeddings(-vectors.items, -vectors.attributes, vectors.likes)
    states = states_of(components, 32)
    for node_vectors in NodeVectors:
        learner = learner_of(components, node_vectors=node_vectors)
        other = Unified(replace(learner.context, embeddings=others))
        alike = [plan.scores for plan in learner.decide(states)] == [
            plan.scores for plan in other.decide(states)
        ]
        before = learner.network.table.detach().clone()
        play(learner, states, rewards=np.linspace(-1, 1, 32).tolist())
        random = node_vectors is NodeVectors.RANDOM
        assert alike == random
        assert torch.equal(before, learner.network.table) != random
        assert ("network.table" in learner.state()[0]) == random


def test_learned_node_vectors_survive_a_checkpoint(components: Components) -> None:
    learner = learner_of(components, node_vectors=NodeVectors.RANDOM)
    states = states_of(components, 32)
    play(learner, states, rewards=np.linspace(-1, 1, 32).tolist())
    other = learner_of(components, seed=1, node_vectors=NodeVectors.RANDOM)
    assert other.decide(states) != learner.decide(states)
    other.load(*learner.state(resumable=False))
    assert other.decide(states) == learner.decide(states)


@pytest.mark.parametrize("attention", list(Attention))
def test_attention_across_the_batch_makes_values_depend_on_it(
    components: Components, attention: Attention
) -> None:
    """Learning does; deciding, the reference code has one conversation at a time, and so never mixes them."""
    q = learner_of(components, attention=attention).network.double()
    graphs = double(build(states_of(components, 6), q.layout))
    with torch.inference_mode():
        for learning in (False, True):
            q.learning = learning
            alone = torch.cat([q(graphs.rows(np.array([row]))) for row in range(6)])
            mixed = learning and attention is Attention.BATCH
            assert torch.allclose(q(graphs), alone, rtol=0, atol=1e-9) != mixed


def test_attention_across_the_batch_does_not_see_the_conversation(components: Components) -> None:
    """An event of another turn changes what an event attends to only within a conversation."""
    values = {}
    for attention in Attention:
        q = learner_of(components, attention=attention).network.double()
        graphs = double(build(states_of(components, 1), q.layout))
        tokens = []
        q.events.register_forward_hook(lambda _m, _a, out, kept=tokens: kept.append(out))
        other = graphs.event_strategies.clone()
        other[:, 1] = (other[:, 1] + 1) % len(STRATEGIES)  # the second event is another
        with torch.inference_mode():
            q(graphs)
            q(graphs._replace(event_strategies=other))
        first, second = (out.reshape(1, -1, out.shape[-1])[:, 0] for out in tokens)
        values[attention] = torch.allclose(first, second, atol=1e-9)
    assert values == {Attention.CONVERSATION: False, Attention.BATCH: True}


@pytest.mark.parametrize("importance", list(Importance))
def test_importance_weighs_samples_or_only_the_mean(components: Components, importance: Importance) -> None:
    """By hand, on a batch of unequal weights: mean of w_i loss_i, or mean w times mean loss."""
    learner = learner_of(components, importance=importance, alpha=1.0, beta=1.0, guided=0.0)
    rewards = np.linspace(-3, 3, 32).tolist()
    play(learner, states_of(components, 32), rewards)
    twin = copy.deepcopy(learner)
    learner.rng, twin.rng = np.random.default_rng(5), np.random.default_rng(5)
    batch = twin.replay.sample(32, 1.0, twin.rng)
    assert float(batch.weights.min()) < 0.5 * float(batch.weights.max())
    with torch.no_grad():
        value = twin.network(batch.states).flatten(1).gather(1, batch.actions[:, None]).squeeze(1)
    losses = torch.nn.functional.smooth_l1_loss(value, batch.rewards, reduction="none")
    mine, reference = (batch.weights * losses).mean(), batch.weights.mean() * losses.mean()
    assert abs(float(mine - reference)) > 0.01
    expected = mine if importance is Importance.SAMPLE else reference
    assert learner._step() == pytest.approx(float(expected), rel=1e-5)


def test_importance_moves_the_weights_differently(components: Components) -> None:
    """After a first step, with equal weights, the networks agree; after a second one they do not."""
    states, rewards = states_of(components, 32), np.linspace(-3, 3, 32).tolist()
    parted = []
    learners = [learner_of(components, importance=one, alpha=1.0) for one in Importance]
    for _ in range(2):
        for learner in learners:
            play(learner, states, rewards)
        one, other = (torch.cat([p.flatten() for p in x.network.parameters()]) for x in learners)
        parted.append(not torch.allclose(one, other, atol=1e-6))
    assert parted == [False, True]


@pytest.mark.parametrize(
    ("exploration", "left"),
    [(Exploration.LINEAR, [1.0, 0.68, 0.36, 0.04, 0.0]), (Exploration.COLLAPSED, [1.0, *[0.05 / 0.95] * 4])],
)
def test_epsilon_falls_with_the_turns_or_at_once(
    components: Components, exploration: Exploration, left: list[float]
) -> None:
    """From 1 to 0.05 in 100 turns, 32 at a time; or to 0.1 as soon as there was one."""
    learner = learner_of(components, exploration=exploration, explore_turns=100)
    states = states_of(components, 32)
    found = [learner._epsilon()] + [play(learner, states)["epsilon"] for _ in range(4)]
    assert found == pytest.approx([0.05 + 0.95 * share for share in left])


def test_collapsed_exploration_is_over_at_the_second_step(components: Components) -> None:
    """At first everybody explores; from the second step on about one in ten."""
    learner = learner_of(components, exploration=Exploration.COLLAPSED, guided=0.0, warm_up_turns=10_000)
    states = states_of(components, 100)
    plain = learner.choose(states)
    shares = []
    for step in range(4):
        chosen = learner.explore(keyed(states, step))
        learner.observe(learner._turns[-1].keys.tolist(), [0.0] * 100, [True] * 100)
        other = (chosen.act != plain.act) | (chosen.strategy != plain.strategy)
        shares.append(float((other | (chosen.items != plain.items).any(axis=1)).mean()))
    assert shares[0] > 0.9
    assert max(shares[1:]) < 0.25
    assert sum(shares[1:]) / 3 == pytest.approx(0.1, abs=0.06)


def test_few_candidates_may_be_recommended_whatever_the_network_says(components: Components) -> None:
    states = narrow(components, 60)
    few = states.left <= 10
    assert 10 < few.sum() < 50
    seen = 0
    for seed in range(3):
        mine, reference = (learner_of(components, seed, few_left=one).choose(states) for one in FewLeft)
        assert same(rows_of(mine, ~few), rows_of(reference, ~few))
        assert (reference.act[few] == Act.RECOMMEND).all()
        assert np.array_equal(reference.items[few], states.items[few])
        assert np.array_equal(reference.strategy, mine.strategy)
        seen += int((mine.act[few] != Act.RECOMMEND).sum())
    assert seen > 10


def test_few_candidates_are_left_to_the_policy_in_training(components: Components) -> None:
    states = narrow(components, 60)
    options = {"explore_from": 0.0, "explore_to": 0.0}
    mine, reference = (learner_of(components, 1, few_left=one, **options) for one in FewLeft)
    assert same(mine.explore(states), reference.explore(states))
    assert not same(mine.choose(states), reference.choose(states))


def rows_of(decisions: Decisions, kept: np.ndarray) -> Decisions:
    return Decisions(*(getattr(decisions, name)[kept] for name in Decisions.__slots__))


@pytest.mark.parametrize(("actions", "kinds"), [(1, 2), (2, 4)])
def test_fewer_actions_can_be_left(components: Components, actions: int, kinds: int) -> None:
    """The heads of the listed items and the first of the listed questions, whether learning or not."""
    context = context_of(components, sociable=False)
    options = {"item_actions": actions, "attribute_actions": actions, "guided": 0.0}
    learner = Unified(replace(context, options=options))
    states = states_of(components, 100)
    assert ((states.attributes >= 0).sum(axis=1) > 2).all()
    seen = set()
    for chosen in (learner.explore(states), learner.choose(states)):
        for row in range(100):
            if chosen.act[row] == Act.RECOMMEND:
                seen.add(("item", states.items[row].tolist().index(chosen.items[row, 0])))
            else:
                assert chosen.act[row] == Act.ASK
                seen.add(("question", states.attributes[row].tolist().index(chosen.attributes[row, 0])))
    assert seen == {(kind, place) for kind in ("item", "question") for place in range(actions)}
    assert len(seen) == kinds


def test_all_listed_actions_are_open_by_default(components: Components) -> None:
    learner = Unified(context_of(components, options={"guided": 0.0}))
    chosen = learner.explore(states_of(components, 400))
    states = states_of(components, 400)
    heads = {
        states.items[row].tolist().index(chosen.items[row, 0])
        for row in np.flatnonzero(chosen.act == Act.RECOMMEND)
    }
    assert heads == set(range(10))
    assert set(chosen.act.tolist()) == set(Act)
    assert set(chosen.strategy.tolist()) == set(range(len(STRATEGIES)))


def test_before_deaf_seekers_it_neither_chats_nor_charms(components: Components) -> None:
    states = states_of(components, 200)
    learner = Unified(context_of(components, sociable=False, options={"guided": 0.0}))
    for chosen in (learner.explore(states), learner.choose(states)):
        assert set(chosen.act.tolist()) <= {Act.ASK, Act.RECOMMEND}
        assert set(chosen.strategy.tolist()) == {Strategy.NO_STRATEGY.position}
    sociable = Unified(context_of(components, options={"guided": 0.0})).explore(states)
    assert Act.CHAT in sociable.act
    assert learner.network.manner[-1].out_features == 1


def test_before_deaf_seekers_it_chats_where_nothing_else_is_possible(components: Components) -> None:
    everything = tuple(range(components.world.catalogue.n_items))
    row = State(1, (), Preferences(rejected_items=everything), (), (), 15)
    session = components.world.sessions(Split.TRAIN, 1, 0)
    states = components.beliefs.states([row], components.prior.log_scores(session))
    assert states.left.tolist() == [0]
    learner = Unified(context_of(components, sociable=False))
    for chosen in (learner.explore(states), learner.choose(states)):
        assert chosen.act.tolist() == [Act.CHAT]


def test_both_graph_backends_give_the_same_values(components: Components) -> None:
    try:
        GraphEncoder(1, 0, GraphBackend.DGL)
    except InputError as error:
        pytest.skip(str(error))
    one, other = (learner_of(components, graph_backend=backend) for backend in GraphBackend)
    graphs = one.space.graphs(states_of(components, 20))
    with torch.inference_mode():
        torch.testing.assert_close(one.network(graphs), other.network(graphs), rtol=0, atol=1e-5)
    other.load(*one.state())
