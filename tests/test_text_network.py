"""The text encoder: what it reads, that it sees no graph, and that learners learn on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_unified import context_of

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Decision, Preferences, State, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split
from unicrs_rl.language.lexicon import tokenize
from unicrs_rl.policy.control import Encoder
from unicrs_rl.policy.graph_actions import ActionConfig, ActionLearner, ActionSpace
from unicrs_rl.policy.graph_network import GraphTrunk, GraphTrunkConfig, in_double
from unicrs_rl.policy.graph_state import GraphBatch, join
from unicrs_rl.policy.text_network import Words
from unicrs_rl.policy.unified import Unified
from unicrs_rl.policy.unified_ppo import UnifiedPpo
from unicrs_rl.policy.unified_reinforce import UnifiedReinforce

READING = [Encoder.TEXT, Encoder.BOTH]
TALK = (
    ("seeker", "Hi! I want a comedy."),
    ("recommender", "Do you like crime?"),
    ("seeker", "No, not crime."),
)
LEARNERS: list[tuple[type[ActionLearner], dict[str, Any]]] = [
    (Unified, {"warm_up_turns": 8, "steps_per_turn": 0.5, "batch_size": 16, "capacity": 256}),
    (UnifiedPpo, {"rollout_turns": 24, "imitate_turns": 0, "epochs": 2}),
    (UnifiedReinforce, {"update_every": 6, "imitate_turns": 0}),
]


def states_of(
    components: Components, texts: list[tuple[tuple[str, str], ...]], seed: int = 0, strategies: int = 1
) -> States:
    """States that differ in nothing but their words and the numbers of their conversations."""
    (session,) = components.world.sessions(Split.TRAIN, 1, seed=0)
    decided = (Decision(Act.ASK, Strategy.CREDIBILITY, (0,)),) * strategies
    rows = [
        State(draws.key(seed, place), session.history, Preferences(), text, decided, 15)
        for place, text in enumerate(texts)
    ]
    prior = components.prior.log_scores([session])
    return components.beliefs.states(rows, np.repeat(prior, len(rows), axis=0))


def space_of(components: Components, encoder: Encoder, **options: Any) -> ActionSpace:
    return ActionSpace(ActionConfig(encoder=encoder, **options), context_of(components))


def trunk_of(components: Components, space: ActionSpace) -> GraphTrunk:
    torch.manual_seed(0)
    return GraphTrunk(space.config, components.embeddings, space.layout).double()


def encoded(trunk: GraphTrunk, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        return trunk.encode(in_double(batch))


# -- words --------------------------------------------------------------------------------------


def test_the_last_words_with_who_said_them_and_how(components: Components) -> None:
    words = Words(components.world.catalogue, 4000, 32)
    (row,) = words.tokens(states_of(components, [TALK]).rows).tolist()
    strategy = 3 + Strategy.CREDIBILITY.position
    expected = [
        1,
        *map(words.token, ("hi", "i", "want", "a", "comedy")),
        2,
        strategy,
        *map(words.token, ("do", "you", "like", "crime")),
        1,
        *map(words.token, ("no", "not", "crime")),
    ]
    assert row == [0] * (32 - len(expected)) + expected
    short = Words(components.world.catalogue, 4000, 8)
    assert short.tokens(states_of(components, [TALK]).rows).tolist() == [expected[-8:]]


def test_known_words_are_told_apart_and_others_share_tokens(components: Components) -> None:
    catalogue = components.world.catalogue
    words = Words(catalogue, 4000, 16)
    known = {word for name in catalogue.attributes for word in tokenize(name)} | {"please", "not"}
    assert len({words.token(word) for word in known}) == len(known)
    strange = {words.token(f"strange{number}") for number in range(2000)}
    assert strange.isdisjoint({words.token(word) for word in known})
    assert len(strange) == 256
    assert max(strange) < words.size
    assert Words(catalogue, 10, 16).size == Words(catalogue, 0, 16).size + 10 < words.size


def test_words_depend_on_the_catalogue_alone(components: Components) -> None:
    catalogue = components.world.catalogue
    one, other = Words(catalogue, 100, 16), Words(catalogue, 100, 16)
    other.tokens(states_of(components, [TALK]).rows)  # what it reads does not change it
    np.testing.assert_array_equal(one.names, other.names)
    assert [one.token(word) for word in ("comedy", "unheard")] == [
        other.token(word) for word in ("comedy", "unheard")
    ]


def test_names_without_a_word_are_nothing(components: Components) -> None:
    catalogue = Catalogue.build(
        "thing", ["…", "some thing"], [(0, "is", "tag", "good"), (1, "is", "tag", "!")]
    )
    words = Words(catalogue, 10, 8)
    assert (words.names > 0).sum(axis=1).tolist()[:2] == [0, 2]


def test_a_graph_learner_has_no_tokens_and_a_reader_needs_words(components: Components) -> None:
    states = states_of(components, [TALK, TALK])
    assert space_of(components, Encoder.GRAPH).graphs(states).tokens.shape == (2, 0)
    assert space_of(components, Encoder.TEXT).graphs(states).tokens.shape == (2, 64)
    with pytest.raises(InputError, match="nothing is said; set surface"):
        space_of(components, Encoder.TEXT).graphs(replace(states, rows=()))


@pytest.mark.parametrize("arm", ["unified", "unified-ppo", "unified-reinforce"])
def test_readers_are_refused_at_the_semantic_surface(arm: str) -> None:
    settings = {"user": "mcr", "surface": "semantic", "arms": arm}
    resolve(settings | {"arm": {arm: {"encoder": "graph"}}})
    with pytest.raises(InputError, match=rf"arm\.{arm}\.encoder: 'text' reads words"):
        resolve(settings | {"arm": {arm: {"encoder": "text"}}})


def test_an_encoder_is_no_path(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").mkdir()
    monkeypatch.chdir(tmp_path)
    config = resolve({"arms": "unified", "arm": {"unified": {"encoder": "text"}}})
    assert config.settings("unified") == {"encoder": "text"}


# -- the encoder --------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", list(Encoder))
def test_all_encoders_have_the_same_interface(components: Components, encoder: Encoder) -> None:
    space = space_of(components, encoder)
    state, joint = encoded(
        trunk := trunk_of(components, space), space.graphs(states_of(components, [TALK] * 3))
    )
    assert state.shape == (3, 32)
    assert joint.shape == (3, 21, trunk.width)


def without_edges(batch: GraphBatch) -> GraphBatch:
    return batch._replace(
        links=torch.zeros_like(batch.links),
        weights=torch.ones_like(batch.weights),
        event_slots=torch.full_like(batch.event_slots, -1),
    )


@pytest.mark.parametrize(("encoder", "sees"), [("graph", True), ("text", False), ("both", True)])
def test_who_sees_the_graph(components: Components, encoder: str, sees: bool) -> None:
    space = space_of(components, Encoder(encoder))
    batch = space.graphs(states_of(components, [TALK]))
    trunk = trunk_of(components, space)
    one, other = encoded(trunk, batch), encoded(trunk, without_edges(batch))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) != sees
    tensors = {name for name, _ in (*trunk.named_parameters(), *trunk.named_buffers())}
    assert ("table" in tensors) == ("project.weight" in tensors) == sees


@pytest.mark.parametrize(("encoder", "reads"), [("graph", False), ("text", True), ("both", True)])
def test_who_reads_the_words(components: Components, encoder: str, reads: bool) -> None:
    space = space_of(components, Encoder(encoder))
    other = (*TALK[:-1], ("seeker", "Yes, crime please!"))
    batch = space.graphs(states_of(components, [TALK, other]))
    assert batch.features[0].equal(batch.features[1])
    state, _ = encoded(trunk_of(components, space), batch)
    assert torch.allclose(state[0], state[1], rtol=0, atol=1e-9) != reads


def test_a_candidate_is_the_mean_of_its_names_words(components: Components) -> None:
    space = space_of(components, Encoder.TEXT)
    batch = space.graphs(states_of(components, [TALK]))
    trunk = trunk_of(components, space)
    _, joint = encoded(trunk, batch)
    assert trunk.text is not None
    assert space.layout.words is not None
    catalogue, vectors = components.world.catalogue, trunk.text.token.weight
    names = [catalogue.items[item] for item in batch.nodes[0, space.layout.items]]
    names += [
        catalogue.attributes[node - catalogue.n_items] for node in batch.nodes[0, space.layout.attributes]
    ]
    for place, name in enumerate(names):
        words = torch.tensor([space.layout.words.token(word) for word in tokenize(name)])
        torch.testing.assert_close(joint[0, place, 32:64], vectors[words].mean(0))
    torch.testing.assert_close(joint[0, 20, 32:64], trunk.text.chat.detach())


@pytest.mark.parametrize("encoder", READING)
def test_neither_padding_nor_the_batch_matters(components: Components, encoder: Encoder) -> None:
    space = space_of(components, encoder)
    trunk = trunk_of(components, space)
    long = (("seeker", "a long story about many films " * 9),)
    silent: tuple[tuple[str, str], ...] = ()
    batches = [space.graphs(states_of(components, [text])) for text in (TALK, long, silent)]
    together = encoded(trunk, join(batches))
    for row, batch in enumerate(batches):
        for whole, alone in zip(together, encoded(trunk, batch), strict=True):
            torch.testing.assert_close(whole[row], alone[0], rtol=0, atol=1e-12)
    assert torch.isfinite(together[0]).all()


def test_a_missing_candidate_has_no_vector(components: Components) -> None:
    space = space_of(components, Encoder.TEXT)
    batch = space.graphs(states_of(components, [TALK]))
    nodes = batch.nodes.clone()
    nodes[:, space.layout.items.start + 3] = -1
    _, joint = encoded(trunk_of(components, space), batch._replace(nodes=nodes))
    assert not joint[0, 3, 32:64].any()


def test_settings_of_the_encoder_are_checked() -> None:
    with pytest.raises(ValueError, match="graph"):
        GraphTrunkConfig.model_validate({"encoder": "words"})
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        GraphTrunkConfig.model_validate({"max_tokens": 4})


# -- learners on it -----------------------------------------------------------------------------


def train(learner: ActionLearner, components: Components, batches: int, first: int = 0) -> None:
    conversations = Conversations(components)
    for batch in range(first, first + batches):
        conversations.hold(learner, components.world.sessions(Split.TRAIN, 8, batch), learning=True)
        learner.learn()


@pytest.mark.parametrize("encoder", READING)
@pytest.mark.parametrize(("kind", "options"), LEARNERS, ids=lambda value: getattr(value, "__name__", ""))
def test_learners_on_text_resume_exactly(
    components: Components, kind: Callable[..., ActionLearner], options: dict[str, Any], encoder: Encoder
) -> None:
    """And equal seeds give equal networks: one goes straight on, the other from its checkpoint."""
    context = context_of(components, options=options | {"encoder": encoder, "dim": 8, "heads": 2})
    through, resumed = kind(context), kind(context)
    train(through, components, 2)
    tensors, header = through.state()
    resumed.load({name: tensor.clone() for name, tensor in tensors.items()}, header)
    train(through, components, 1, first=2)
    train(resumed, components, 1, first=2)
    assert through.gradient_steps == resumed.gradient_steps > 0
    one, other = through.state()[0], resumed.state()[0]
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_decisions_on_text_do_not_depend_on_the_batch(components: Components) -> None:
    learner = Unified(context_of(components, options={"encoder": "text", **LEARNERS[0][1]}))
    train(learner, components, 2)
    texts = [TALK, TALK[:1], (*TALK, ("recommender", "Maybe Heat (1995)?"), ("seeker", "No."))]
    together = learner.decide(states_of(components, texts))
    for row, text in enumerate(texts):
        (alone,) = learner.decide(states_of(components, [text]))
        assert alone == together[row]


@pytest.mark.parametrize(("encoder", "solves"), [("text", True), ("both", True), ("graph", False)])
def test_learner_does_as_the_words_say(components: Components, encoder: str, solves: bool) -> None:
    """A bandit: who says "quickly" wants a recommendation, who says "slowly" a question."""
    options = {"encoder": encoder, "imitate_turns": 0, "update_every": 32, "learning_rate": 6e-3, "dim": 16}
    learner = UnifiedReinforce(
        context_of(components, sociable=False, dialogues=100_000, options=options | {"entropy": 0.003})
    )
    rng = np.random.default_rng(0)

    def talks(hurried: np.ndarray[Any, Any]) -> list[tuple[tuple[str, str], ...]]:
        fill = [" ".join(rng.choice(["well", "film", "please", "something"], 3)) for _ in hurried]
        return [
            (("seeker", f"{words} {'quickly' if now else 'slowly'} then"),)
            for words, now in zip(fill, hurried, strict=True)
        ]

    for batch in range(60):
        hurried = rng.random(32) < 0.5
        states = states_of(components, talks(hurried), seed=batch, strategies=0)
        chosen = learner.explore(states)
        earned = np.where(hurried, chosen.act == Act.RECOMMEND, chosen.act == Act.ASK)
        learner.observe(states.past.keys.tolist(), earned.astype(float).tolist(), [True] * 32)
        learner.learn()
    hurried = np.arange(64) % 2 == 0
    chosen = learner.choose(states_of(components, talks(hurried), seed=999, strategies=0))
    right = np.where(hurried, chosen.act == Act.RECOMMEND, chosen.act == Act.ASK).mean()
    assert right >= 0.95 if solves else right <= 0.6


def test_there_are_as_many_strategy_tokens_as_strategies(components: Components) -> None:
    words = Words(components.world.catalogue, 10, 8)
    every = [
        words.tokens([replace(state, decisions=(Decision(Act.CHAT, strategy),))])[0, -1]
        for strategy in STRATEGIES
        for state in states_of(components, [(("recommender", ""),)]).rows
    ]
    assert len(set(every)) == len(STRATEGIES)
