"""How acts and strategies pull a shared encoder, and how many gradient steps a training took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_rso import context_of as rso_context
from test_rso import play_bandit
from test_unified import context_of, states_of
from torch.optim.optimizer import register_optimizer_step_post_hook

from unicrs_rl import draws
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.training import train
from unicrs_rl.policy.base import Learner
from unicrs_rl.policy.graph_actions import ActionLearner
from unicrs_rl.policy.interference import Interference, cosine
from unicrs_rl.policy.rso import Rso
from unicrs_rl.policy.rso_ppo import RsoPpo
from unicrs_rl.policy.unified import Unified
from unicrs_rl.policy.unified_ppo import UnifiedPpo
from unicrs_rl.policy.unified_reinforce import UnifiedReinforce

Joint = Unified | UnifiedPpo | UnifiedReinforce
LEARNERS: list[tuple[Callable[..., Joint], dict[str, Any]]] = [
    (Unified, {"warm_up_turns": 40, "steps_per_turn": 0.1, "batch_size": 16, "capacity": 128}),
    (UnifiedPpo, {"rollout_turns": 32, "imitate_turns": 40, "batch_size": 16, "epochs": 2}),
    (UnifiedReinforce, {"update_every": 8, "imitate_turns": 40, "imitate_steps": 2}),
]
EVERY_LEARNER = pytest.mark.parametrize(("kind", "options"), LEARNERS, ids=["dqn", "ppo", "reinforce"])


def learner_of(
    components: Components, kind: Callable[..., Joint], options: dict[str, Any], **changes: Any
) -> Joint:
    small = {"dim": 8, "heads": 2, "k": 5, "interference_every": 2}
    sociable = changes.pop("sociable", True)
    return kind(context_of(components, sociable=sociable, options=small | options | changes))


def play(
    learner: ActionLearner, components: Components, rounds: int, first: int = 0
) -> list[dict[str, float]]:
    """Batches of sixteen conversations of one turn, paid at random but always the same."""
    curves = []
    for step in range(first, first + rounds):
        states = states_of(components, 16, seed=step)
        keys = [draws.key(step, key) for key in states.past.keys.tolist()]
        states.past.keys[:] = keys
        learner.explore(states)
        earned = np.random.default_rng(step).random(16)
        learner.observe(states.past.keys.tolist(), earned.tolist(), [True] * 16)
        curves.append(learner.learn())
    return curves


@pytest.fixture
def steps_taken() -> Iterator[dict[torch.optim.Optimizer, int]]:
    """Steps of every optimizer, as torch itself sees them."""
    taken: dict[torch.optim.Optimizer, int] = {}

    def count(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        taken[optimizer] = taken.get(optimizer, 0) + 1

    handle = register_optimizer_step_post_hook(count)
    yield taken
    handle.remove()


# -- the cosine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("pull", "expected"), [(2.0, 1.0), (-0.5, -1.0)])
def test_heads_on_one_parameter_pull_with_or_against_each_other(pull: float, expected: float) -> None:
    shared = torch.tensor([3.0], requires_grad=True)
    acts, manners = shared * 1.0, shared * 4.0
    assert cosine((acts + pull * manners).sum(), acts, manners, [shared]) == pytest.approx(expected)


def test_the_cosine_by_hand() -> None:
    """acts = w . (1, 0), manners = w . (3, 4), loss = acts^2 - manners at w = (2, 1): (4, 0) and (-3, -4)."""
    w = torch.tensor([2.0, 1.0], requires_grad=True)
    acts, manners = w @ torch.tensor([1.0, 0.0]), w @ torch.tensor([3.0, 4.0])
    assert cosine(acts.square() - manners, acts, manners, [w]) == pytest.approx(-12 / (4 * 5))


def test_heads_with_parameters_of_their_own_do_not_interfere() -> None:
    one, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    acts, manners = one.sum(), other.sum()
    assert cosine(acts * manners, acts, manners, [one, other]) == 0.0


def test_a_silent_head_has_no_cosine() -> None:
    w = torch.ones(2, requires_grad=True)
    acts, manners = w.sum(), (2 * w).sum()
    assert cosine(acts.square(), acts, manners, [w]) is None
    assert cosine(acts + 0 * manners, acts, manners, [w]) is None


def test_what_comes_back_through_the_heads_is_the_whole_gradient(components: Components) -> None:
    """Of the trunk of a Q-network, once the value head's is added: nothing is left out or counted twice."""
    learner = learner_of(components, *LEARNERS[0])
    assert isinstance(learner, Unified)
    network = learner.network
    graphs = learner.space.graphs(states_of(components, 8))
    heads = network.heads(graphs)
    loss = network.values(*heads, graphs.mask)[graphs.mask].square().sum()
    sides = []
    for head in heads:
        (pull,) = torch.autograd.grad(loss, head, retain_graph=True)
        found = torch.autograd.grad(
            head, network.shared, pull, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        sides.append(found)
    flat = [torch.cat([part.flatten() for part in side]) for side in sides]
    assert cosine(loss, heads[1], heads[2], network.shared) == pytest.approx(
        float(torch.cosine_similarity(flat[1], flat[2], 0)), abs=1e-5
    )
    loss.backward()
    for parameter, *parts in zip(network.shared, *sides, strict=True):
        whole = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(sum(parts), whole, rtol=1e-3, atol=1e-3)
    own = {id(p) for head in (network.value, network.candidate, network.manner) for p in head.parameters()}
    assert {id(p) for p in network.parameters()} - own == {id(p) for p in network.shared}


# -- in training --------------------------------------------------------------------------------


@EVERY_LEARNER
def test_measuring_changes_nothing(
    components: Components, kind: Callable[..., Joint], options: dict[str, Any]
) -> None:
    looked = learner_of(components, kind, options, interference_every=1)
    blind = learner_of(components, kind, options, interference_every=0)
    curves, others = play(looked, components, 6), play(blind, components, 6)
    assert looked.interference.series
    assert not blind.interference.series
    one, other = looked.state()[0], blind.state()[0]
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [{k: v for k, v in numbers.items() if k != "interference"} for numbers in curves] == others


@EVERY_LEARNER
def test_the_series_is_kept_and_taken_up(
    components: Components, kind: Callable[..., Joint], options: dict[str, Any]
) -> None:
    through, resumed = (learner_of(components, kind, options) for _ in range(2))
    curves = play(through, components, 6)
    tensors, header = through.state()
    resumed.load({name: tensor.clone() for name, tensor in tensors.items()}, header)
    more = play(through, components, 3, first=6)
    assert play(resumed, components, 3, first=6) == more
    series = through.interference.series
    assert resumed.interference.series == series
    assert header["interference"] == series[: len(header["interference"])]
    steps = [step for step, _ in series]
    assert steps == sorted(set(steps))
    assert all(step % 2 == 0 and step <= through.gradient_steps for step in steps)
    assert all(-1 <= found <= 1 for _, found in series)
    told = [numbers["interference"] for numbers in (*curves, *more) if "interference" in numbers]
    assert min(found for _, found in series) <= min(told)
    assert max(told) <= max(found for _, found in series)


@EVERY_LEARNER
def test_with_one_manner_there_is_none(
    components: Components, kind: Callable[..., Joint], options: dict[str, Any]
) -> None:
    learner = learner_of(components, kind, options, sociable=False)
    curves = play(learner, components, 6)
    assert learner.gradient_steps > 0
    assert learner.state()[1]["interference"] == []
    assert not any("interference" in numbers for numbers in curves)


def test_curves_tell_the_mean_of_what_is_new() -> None:
    looks = Interference(every=1)
    w = torch.ones(1, requires_grad=True)
    for step, pull in enumerate((1.0, 1.0, -1.0)):
        acts, manners = w.sum(), (2 * w).sum()
        looks.look(step, acts + pull * manners, acts, manners, [w])
        looks.look(step, acts + pull * manners, acts, manners, [w])  # the same step once more
    assert looks.news() == {"interference": pytest.approx(1 / 3)}
    assert looks.news() == {}
    assert looks.series == [(0, 1.0), (1, 1.0), (2, -1.0)]


# -- gradient steps -----------------------------------------------------------------------------


@EVERY_LEARNER
def test_gradient_steps_are_those_of_the_optimizer(
    components: Components,
    steps_taken: dict[torch.optim.Optimizer, int],
    kind: Callable[..., Joint],
    options: dict[str, Any],
) -> None:
    learner = learner_of(components, kind, options)
    for first in range(6):
        play(learner, components, 1, first)
        assert learner.gradient_steps == steps_taken.get(learner.optimizer, 0)
    assert learner.gradient_steps > 0
    assert (0 < learner.warm_up_steps < learner.gradient_steps) == (kind is not Unified)
    deciding = learner_of(components, kind, options)
    deciding.load(*learner.state(resumable=False))
    assert deciding.gradient_steps == learner.gradient_steps
    assert deciding.warm_up_steps == learner.warm_up_steps


@pytest.mark.parametrize("kind", [Rso, RsoPpo])
def test_gradient_steps_of_a_planner(
    components: Components, steps_taken: dict[torch.optim.Optimizer, int], kind: type[Rso]
) -> None:
    options = {"width": 32, "layers": 1, "warm_up_share": 0.25, "max_tokens": 16}
    learner = kind(rso_context(components, dialogues=64, options=options))
    play_bandit(learner, components, 1)
    assert learner.warm_up_steps == learner.gradient_steps == sum(steps_taken.values()) > 0
    play_bandit(learner, components, 3)
    assert learner.optimizer is not None
    assert learner.gradient_steps == learner.warm_up_steps + steps_taken[learner.optimizer]
    other = kind(rso_context(components, dialogues=64, options=options))
    other.load(*learner.state())
    assert (other.gradient_steps, other.warm_up_steps) == (learner.gradient_steps, learner.warm_up_steps)


@pytest.mark.parametrize("user", ["latent", "mcr"])
def test_a_checkpoint_tells_all_steps_of_the_training(
    components: Components, tmp_path: Path, user: str, steps_taken: dict[torch.optim.Optimizer, int]
) -> None:
    """Whichever checkpoint is kept; and only where there are strategies can they interfere."""
    arm = {"dim": 8, "heads": 2, "warm_up_turns": 16, "batch_size": 8, "interference_every": 1}
    surface = "semantic" if user == "mcr" else "text"
    config = resolve(
        {"user": user, "surface": surface, "train_dialogues": 32, "train_batch": 16, "arm": {"unified": arm}}
        | {"arms": "unified"}
    )
    shared = build(config, components.world, components.embeddings)
    learner = shared.policy("unified", 0, 32)
    assert isinstance(learner, Learner)
    folder = RunFolder(tmp_path / "run")
    train(learner, "unified", 0, shared, folder)
    _, header = checkpoint.load(folder.checkpoint("unified", 0))
    assert header["gradient_steps"] == max(steps_taken.values()) > 0
    assert header["learner"]["stepped"] <= header["gradient_steps"]
    assert bool(header["learner"]["interference"]) == (user == "latent")
