"""The decomposed arm: the planner's network, its warm-up and its policy gradient."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Decision, Dialogue, LabelMap, Reply, Strategy, Turn
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.components import Components, starting_points
from unicrs_rl.experiments.config import resolve, trained_alone
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.training import _sessions, train
from unicrs_rl.graphs.readers import inspired
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split
from unicrs_rl.judging.reward import Signal
from unicrs_rl.language.experts import Retrieval
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.planner import (
    PlannerInput,
    corpus_samples,
    planner_input,
    planner_state,
    pretrained_planner,
    small_planner,
)
from unicrs_rl.policy.rso import Baseline, Returns, Rso, Tuned, _prior_table, discounted, group_baselines

TEXTS = [
    "seeker: hello, a comedy please",
    "recommender: do you like crime?\nseeker: no",
    "turn 3, used: none",
] * 4


def context_of(components: Components, **changes: object) -> ArmContext:
    base = ArmContext(components.world.catalogue, components.embeddings, seed=0, dialogues=0)
    return replace(base, **changes)  # type: ignore[arg-type]


def states_of(components: Components, count: int, seed: int = 0) -> States:
    sessions = components.world.sessions(Split.TRAIN, count, seed)
    from unicrs_rl.dialogue import Preferences, State

    rows = [
        State(draws.key(seed, s.index), s.history, Preferences(), (("seeker", f"hello {s.index}"),), (), 15)
        for s in sessions
    ]
    return components.beliefs.states(rows, components.prior.log_scores(sessions))


def test_returns_are_discounted() -> None:
    np.testing.assert_allclose(discounted([1.0, 0.0, 2.0], 0.5), [1.5, 1.0, 2.0])


def test_padding_has_no_influence_on_the_logits() -> None:
    planner = small_planner(TEXTS, 400, 32, 1, 64).double().eval()
    short, long = "seeker: hello", "seeker: " + "a long story about many films " * 5
    with torch.inference_mode():
        alone, padded = planner([PlannerInput(short)]), planner([PlannerInput(short), PlannerInput(long)])
    torch.testing.assert_close(alone[0], padded[0], rtol=0, atol=1e-12)


def test_long_texts_lose_their_beginning_not_their_end() -> None:
    planner = small_planner(TEXTS, 400, 32, 1, 16).eval()
    tail = " seeker: no crime please. turn 3, used: none" * 3
    with torch.inference_mode():
        same = [planner([PlannerInput(head + tail)]) for head in ("hello" * 5, "a comedy" * 9)]
    torch.testing.assert_close(*same)


def test_tokenizer_loses_no_characters() -> None:
    planner = small_planner(TEXTS, 400, 32, 1, 64)
    text = "seeker: naïve 東京 — ok?"
    ids = planner.tokenizer(text)["input_ids"]
    assert planner.tokenizer.decode(ids).strip() == text.lower()


def labelled(count: int) -> tuple[Dialogue, ...]:
    """Dialogues in which the strategy follows from the seeker's last word."""
    cues = {"thanks": Strategy.ACKNOWLEDGMENT, "help": Strategy.OFFER_HELP, "crime": Strategy.OPINION_INQUIRY}
    made = []
    for index in range(count):
        word, strategy = list(cues.items())[index % 3]
        dialogue = Dialogue(str(index), Reply(f"well {index % 7} {word}"))
        dialogue.turns.append(Turn(Decision(Act.CHAT, strategy), "okay", Reply("")))
        made.append(dialogue)
    return tuple(made)


def test_corpus_samples_show_only_what_came_before() -> None:
    dialogue = labelled(1)[0]
    dialogue.turns.append(Turn(Decision(Act.CHAT, Strategy.SIMILARITY), "secret", Reply("bye")))
    (first, label), (second, _) = corpus_samples([dialogue])
    assert label == Strategy.ACKNOWLEDGMENT.position
    assert "okay" not in first.text
    assert "okay" in second.text
    assert "secret" not in second.text


def test_supervised_warm_up_learns_the_labels(components: Components) -> None:
    options = {"warm_up_epochs": 12, "width": 32, "vocabulary": 400}
    learner = Rso(context_of(components, corpus=labelled(120), options=options))
    learner.decide(states_of(components, 1))
    assert learner.planner is not None
    samples = corpus_samples(labelled(30))
    with torch.inference_mode():
        guessed = learner.planner.eval()([seen for seen, _ in samples]).argmax(1)
    assert np.mean(guessed.numpy() == [label for _, label in samples]) >= 0.95


def play_bandit(learner: Rso, components: Components, rounds: int) -> dict[str, float]:
    """Similarity earns 1, any other strategy nothing; conversations have one turn."""
    curves: dict[str, float] = {}
    for step in range(rounds):
        states = states_of(components, 16, seed=step)
        plans = learner.act(states)
        earned = [float(plan.strategy is Strategy.SIMILARITY) for plan in plans]
        learner.observe([row.key for row in states.rows], earned, [True] * 16)
        curves = learner.learn()
    return curves


def _start(settings: dict[str, object]) -> dict[str, Path]:
    """What a comparison looks at before it begins to train."""
    return starting_points(resolve(settings))


@pytest.mark.parametrize("baseline", list(Baseline))
def test_policy_gradient_solves_a_bandit(components: Components, baseline: Baseline) -> None:
    options = {"learning_rate": 3e-3, "entropy": 0.001, "width": 32, "baseline": baseline.value}
    learner = Rso(context_of(components, options=options))
    play_bandit(learner, components, 60)
    plans = learner.decide(states_of(components, 20, seed=777))
    assert np.mean([plan.strategy is Strategy.SIMILARITY for plan in plans]) >= 0.95


def test_policy_gradient_takes_a_step_every_few_conversations(components: Components) -> None:
    steps = []
    for size in (4, 16):
        learner = Rso(context_of(components, options={"width": 32, "update_every": size}))
        play_bandit(learner, components, 1)
        assert learner.optimizer is not None
        steps.append(int(next(iter(learner.optimizer.state.values()))["step"]))
    assert steps == [4, 1]


def test_batch_baseline_removes_what_all_conversations_earn_alike(components: Components) -> None:
    losses = {}
    for baseline in Baseline:
        options = {"width": 32, "entropy": 0.0, "baseline": baseline.value}
        learner = Rso(context_of(components, options=options))
        states = states_of(components, 8)
        learner.act(states)
        learner.observe([row.key for row in states.rows], [1.0] * 8, [True] * 8)
        losses[baseline] = learner.learn()["loss"]
    assert losses[Baseline.BATCH] == 0.0
    assert losses[Baseline.NONE] > 1.0


def test_entropy_bonus_keeps_the_policy_broader(components: Components) -> None:
    entropies = []
    for bonus in (0.0, 0.5):
        options = {"learning_rate": 3e-3, "entropy": bonus, "width": 32}
        learner = Rso(context_of(components, options=options))
        entropies.append(play_bandit(learner, components, 30)["entropy"])
    assert entropies[1] > entropies[0] + 0.1


def test_loss_is_the_papers(components: Components) -> None:
    """loss = -sum log pi R - beta (1/T) sum H, averaged over the batch's conversations."""
    options = {"baseline": "none", "returns": "sum", "entropy": 0.3, "width": 32}
    learner = Rso(context_of(components, options=options))
    states = states_of(components, 2)
    for rewards, over in (([1.0, 0.5], [False, True]), ([2.0], [True])):
        live = replace(states, rows=states.rows[: len(rewards)])
        learner.act(live)
        learner.observe([row.key for row in live.rows], rewards, over)
    episodes = list(learner._finished)
    assert learner.planner is not None
    with torch.inference_mode():
        expected = 0.0
        for episode in episodes:
            log_p = learner.planner.eval()(episode.inputs).log_softmax(1)
            taken = log_p[torch.arange(len(episode.inputs)), torch.tensor(episode.strategies)]
            entropy = -(log_p.exp() * log_p).sum(1).mean()
            returns = torch.from_numpy(discounted(episode.rewards, 0.99))
            expected += float(-(taken * returns).sum() - 0.3 * entropy)
    assert learner.learn()["loss"] == pytest.approx(expected / 2, rel=1e-5)


def test_without_a_corpus_the_warm_up_imitates_the_prior(components: Components) -> None:
    options = {"warm_up_share": 0.5, "width": 32, "warm_up_epochs": 4}
    learner = Rso(context_of(components, dialogues=960, options=options))
    for step in range(30):
        states = states_of(components, 16, seed=step)
        learner.act(states)
        learner.observe([row.key for row in states.rows], [0.0] * 16, [True] * 16)
        learner.learn()
    assert learner.planner is not None
    with torch.inference_mode():
        opening = planner_input([("seeker", "hello 1")], [])
        chances = learner.planner.eval()([opening]).softmax(1)[0].double().numpy()
    assert np.abs(chances - _prior_table()[0]).sum() / 2 < 0.15  # total variation; a uniform guess has 0.37


def test_prior_is_a_distribution_in_every_quarter() -> None:
    np.testing.assert_allclose(_prior_table().sum(axis=1), 1.0, atol=0.01)


def test_prior_is_what_humans_did(shared: Path) -> None:
    corpus = inspired.read(shared / "data" / "inspired", Split.TRAIN)
    counts = np.zeros((4, len(STRATEGIES)))
    for dialogue in corpus.dialogues:
        for place, turn in enumerate(dialogue.turns):
            quarter = min(3, 4 * place // len(dialogue.turns))
            counts[quarter, turn.decision.strategy.position] += 1
    np.testing.assert_allclose(_prior_table(), counts / counts.sum(axis=1, keepdims=True), atol=0.001)


def test_decisions_are_greedy_repeatable_and_without_dropout(components: Components) -> None:
    learner = Rso(context_of(components))
    states = states_of(components, 12)
    assert learner.decide(states) == learner.decide(states)


def test_sampling_is_a_switch_and_follows_the_probabilities(components: Components) -> None:
    learner = Rso(context_of(components, options={"deciding": "sampled", "width": 32}))
    states = states_of(components, 400)
    plans = learner.decide(states)
    assert plans == learner.decide(states)  # drawn from the conversation's own numbers
    used = np.bincount([plan.strategy.position for plan in plans if plan.strategy], minlength=14) / 400
    expected = learner._exact_chances(states).mean(axis=0)
    assert np.abs(used - expected).sum() / 2 < 0.12  # total variation
    greedy = Rso(context_of(components, options={"width": 32})).decide(states)
    assert len({plan.strategy for plan in greedy}) < len({plan.strategy for plan in plans})


def test_the_planner_decides_nothing_but_the_strategy(components: Components) -> None:
    for plan in Rso(context_of(components)).decide(states_of(components, 5)):
        assert (plan.act, plan.items, plan.attributes) == (None, None, None)


def test_resuming_from_a_checkpoint_changes_nothing(components: Components) -> None:
    options = {"width": 32}
    through, first = (Rso(context_of(components, options=options)) for _ in range(2))
    for learner in (through, first):
        play_bandit(learner, components, 3)
    resumed = Rso(first.context)
    resumed.load(*first.state())
    for learner in (through, resumed):
        play_bandit(learner, components, 3)
    assert through.planner is not None
    assert resumed.planner is not None
    for a, b in zip(through.planner.parameters(), resumed.planner.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_encoder_folder_of_ones_own_is_used(components: Components, tmp_path: Path) -> None:
    small = small_planner(TEXTS, 400, 32, 1, 64)
    small.encoder.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    learner = Rso(context_of(components, options={"encoder": str(tmp_path)}))
    learner.decide(states_of(components, 1))
    assert learner.planner is not None
    loaded = dict(learner.planner.encoder.named_parameters())
    for name, parameter in small.encoder.named_parameters():
        assert torch.equal(parameter, loaded[name])


def test_a_missing_encoder_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="no-such-folder") as caught:
        pretrained_planner("no-such-folder/at-all", 64)
    assert "\n" not in str(caught.value)


def save_encoder(folder: Path, **changes: object) -> Path:
    """A small BERT made on the spot, with its tokenizer."""
    planner = small_planner(TEXTS, 400, 32, 1, 64)
    planner.encoder.save_pretrained(folder)
    planner.tokenizer.save_pretrained(folder)
    if "dtype" in changes:
        planner.encoder.to(changes["dtype"]).save_pretrained(folder)
    return folder


def test_an_encoder_with_few_positions_or_half_precision_is_taken(tmp_path: Path) -> None:
    for name, changes in (("few", {}), ("half", {"dtype": torch.bfloat16})):
        planner = pretrained_planner(str(save_encoder(tmp_path / name, **changes)), max_tokens=96).eval()
        with torch.inference_mode():
            assert planner([PlannerInput("a long story " * 100), PlannerInput("hi")]).dtype == torch.float32


@pytest.mark.parametrize("missing", ["tokenizer*", "*.safetensors", "config.json"])
def test_an_incomplete_encoder_is_refused_before_a_run(tmp_path: Path, missing: str) -> None:
    folder = save_encoder(tmp_path / "encoder")
    for path in folder.glob(missing):
        path.unlink()
    with pytest.raises(InputError, match=r"arm\.rso\.encoder"):
        _start({"arm": {"rso": {"encoder": str(folder)}}})


def test_group_baseline_is_what_the_others_of_the_group_returned() -> None:
    returns = [np.array([3.0, 1.0]), np.array([1.0]), np.array([5.0, 5.0, 5.0])]
    first, second, alone = group_baselines([7, 7, 8], returns)
    np.testing.assert_allclose(first, [1.0, 3.0])  # the other one ended: the mean of all at that turn
    np.testing.assert_allclose(second, [3.0])
    np.testing.assert_allclose(alone, [3.0, 3.0, 5.0])


def test_mean_returns_credit_every_turn_with_the_conversations_mean(components: Components) -> None:
    learner = Rso(context_of(components, options={"returns": "mean", "width": 32}))
    np.testing.assert_allclose(learner._returns([1.0, 0.0, 0.5]), [0.5, 0.5, 0.5])
    longer = learner._returns([0.5] * 9)
    np.testing.assert_allclose(longer[0], 0.5)  # and not 4.5


def weights_after(components: Components, rounds: int = 4, **options: object) -> dict[str, torch.Tensor]:
    """The planner's parameters after some rounds of the bandit."""
    learner = Rso(context_of(components, options={"width": 32, "learning_rate": 1e-2, **options}))
    play_bandit(learner, components, rounds)
    assert learner.planner is not None
    return dict(learner.planner.state_dict())


def changed(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_only_what_is_tuned_changes(components: Components) -> None:
    before = weights_after(components, reinforce=False)
    classifier = {"classifier.weight", "classifier.bias"}
    assert changed(before, weights_after(components, tuned=Tuned.CLASSIFIER.value)) == classifier
    assert changed(before, weights_after(components, tuned=Tuned.ALL.value)) > classifier


def test_without_stage_two_the_planner_stays_as_it_was_warmed_up(components: Components) -> None:
    once, often = (weights_after(components, rounds, reinforce=False) for rounds in (1, 6))
    assert not changed(once, often)


def test_without_stage_two_training_ends_with_the_warm_up(components: Components, tmp_path: Path) -> None:
    config = components.config.model_copy(
        update={"train_dialogues": 64, "train_batch": 8, "arm": {"rso": {"width": 32, "reinforce": False}}}
    )
    parts = replace(components, config=config)
    learner = parts.policy("rso", 0, 64)
    assert isinstance(learner, Rso)
    assert not learner.settled
    folder = RunFolder.open(tmp_path / "run", config, "refuse")
    train(learner, "rso", 0, parts, folder)
    assert learner.settled
    assert learner.played == 16  # two batches for a warm-up of 13 conversations
    _, header = checkpoint.load(folder.checkpoint("rso", 0))
    assert header["finished"]


def test_classifier_and_whole_planner_take_the_same_first_gradient(components: Components) -> None:
    """Features kept from the acting pass are those that the learning pass would compute."""
    losses = []
    for tuned in Tuned:
        learner = Rso(context_of(components, options={"width": 32, "tuned": tuned.value, "baseline": "none"}))
        losses.append(play_bandit(learner, components, 1)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_divergence_term_keeps_the_planner_near_its_warm_up(components: Components) -> None:
    drifts = []
    for weight in (1e-9, 1.0):
        options = {"learning_rate": 1e-2, "entropy": 0.0, "width": 32, "kl": weight}
        learner = Rso(context_of(components, options=options))
        drifts.append(play_bandit(learner, components, 25)["kl"])
    assert drifts[1] < drifts[0] / 2
    assert drifts[0] > 0.05


@pytest.mark.parametrize("options", [{"kl": 0.1}, {"baseline": "value"}, {"tuned": "all"}])
def test_resuming_changes_nothing_whatever_is_learned(
    components: Components, options: dict[str, object]
) -> None:
    through, first = (Rso(context_of(components, options={"width": 32, **options})) for _ in range(2))
    for learner in (through, first):
        play_bandit(learner, components, 2)
    resumed = Rso(first.context)
    resumed.load(*first.state())
    assert play_bandit(through, components, 2) == play_bandit(resumed, components, 2)


def test_a_warmed_up_planner_is_gone_on_from(components: Components, tmp_path: Path) -> None:
    planner = small_planner(TEXTS, 400, 32, 1, 64).eval()
    path = tmp_path / "checkpoints" / "planner.safetensors"
    path.parent.mkdir()
    tensors, header = planner_state(planner)
    save_file(tensors, path, {"header": json.dumps(header)})
    for start in (tmp_path, path):
        learner = Rso(context_of(components, dialogues=100, options={"start": str(start)}))
        assert learner.warm_up_dialogues == 0
        learner.prepare()
        assert learner.planner is not None
        assert not changed(dict(planner.state_dict()), dict(learner.planner.state_dict()))
    with pytest.raises(InputError, match=r"arm\.rso\.start.*no such planner"):
        _start({"arm": {"rso": {"start": str(tmp_path / "nothing")}}})


def test_rewards_for_other_conversations_are_refused(components: Components) -> None:
    learner = Rso(context_of(components, options={"width": 32}))
    learner.act(states_of(components, 2))
    with pytest.raises(ValueError, match="other conversations"):
        learner.observe([1, 2], [0.0, 0.0], [True, True])


def test_training_conversations_are_held_in_groups_within_the_budget(components: Components) -> None:
    parts = replace(components, config=components.config.model_copy(update={"train_dialogues": 10}))
    sessions = _sessions(parts, rollouts=4, seed=0)
    assert [session.copy for session in sessions] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert len({session.key for session in sessions}) == 3
    assert _sessions(parts, 1, 0) == parts.world.sessions(Split.TRAIN, 10, 0)


def test_conversations_of_a_group_meet_the_same_replies_until_they_differ(components: Components) -> None:
    """Common random numbers: with equal decisions, equal conversations."""
    (session,) = components.world.sessions(Split.TRAIN, 1, 5)
    policy = Rso(context_of(components, options={"width": 32}))
    group = [replace(session, copy=copy) for copy in range(3)]
    first, *others = Conversations(components).hold(policy, group)
    assert all(other.dialogue.utterances() == first.dialogue.utterances() for other in others)
    learner = Rso(context_of(components, options={"width": 32}))
    explored = Conversations(components).hold(learner, group, learning=True)
    assert len(learner._finished) == 3
    lengths = [len(episode.dialogue.turns) for episode in explored]
    assert sorted(len(e.rewards) for e in learner._finished) == sorted(lengths)


def test_the_papers_settings_are_a_preset(components: Components) -> None:
    values = {"arms": "rso"}
    config = resolve(values, None, trained_alone(values, None, "rso-paper"))
    assert (config.limit, config.judge_samples, config.reward.signal) == (10, 10, Signal.PUBLISHED)
    assert config.train_batch == 1  # one conversation, one step
    assert config.experts_of("rso").retriever is Retrieval.SIMILARITY
    learner = Rso(context_of(components, options=config.settings("rso")))
    own = learner.config
    assert (own.returns, own.baseline, own.tuned) == (Returns.SUM, Baseline.NONE, Tuned.ALL)
    assert (own.rollouts, own.update_every, own.discount, own.kl) == (1, 1, 0.99, 0.0)
    assert own.labels is LabelMap.RSO
