"""One conversation as one line of JSON: everything that was decided, said, felt and paid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, repeat
from typing import Any

from unicrs_rl.dialogue import Call, Decision, Reply, Score, Turn, View
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import JudgeWhen
from unicrs_rl.experiments.controls.shortcut import mentioned_before
from unicrs_rl.experiments.conversation import Episode
from unicrs_rl.judging.metrics import measure
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.intentions import Belief

_RARE = ("resent", "cached", "dropped", "lost")
"""What is only told of a call where there is something to tell."""
_DECIMALS = 4


def trace(episode: Episode, arm: str, seed: int, components: Components) -> dict[str, Any]:
    """A conversation, ready for JSON: with its metrics, or, if it broke off, with the reason (``failed``)."""
    if episode.failure:
        return {**_held(episode, arm, seed, components), "failed": episode.failure}
    dialogue = episode.dialogue
    assert dialogue.outcome is not None
    outcome, wish = dialogue.outcome, episode.intentions
    intentions = None if wish is None else (wish.before, wish.after, wish.informed)
    score = dialogue.turns[-1].score  # the final one: where it is missing, no earlier one stands in for it
    held = _held(episode, arm, seed, components)
    ended = {
        "success": outcome.success,
        "turn": outcome.turn,
        "item": outcome.item,
        "rank": outcome.rank,
        "left": outcome.left,
    }
    mentioned = mentioned_before({**held, "outcome": ended}, components.world.catalogue.lexicon)
    return {
        **held,
        "intentions": intentions,
        "outcome": {**ended, "mentioned_before": mentioned},
        "metrics": measure(
            dialogue,
            episode.wanted,
            components.config.limit,
            None if score is None else score.value,
            _claims_right(components, dialogue.turns),
            intentions,
            components.config.reward.satisfied_above,
            episode.ratings,
        )
        | ({"judge_turn": None} if components.config.judge_when is JudgeWhen.END else {}),
    }


def _held(episode: Episode, arm: str, seed: int, components: Components) -> dict[str, Any]:
    """What happened, turn by turn."""
    return {
        "arm": arm,
        "seed": seed,
        "index": episode.session.index,
        "seeker": episode.session.seeker,
        "target": episode.session.target,
        "key": episode.session.key,
        "opening": _reply(episode.dialogue.opening),
        **_seeker_calls(episode.dialogue.opening),
        "turns": [
            _turn(turn, latents, components.judge.version) | _belief(belief) | changed
            for turn, latents, belief, changed in zip(
                episode.dialogue.turns,
                episode.latents[1:],
                episode.beliefs,
                _changes(episode.goals) if episode.goals else repeat({}, len(episode.beliefs)),
                strict=True,
            )
        ],
        "latents": episode.latents[0],
        **({"goal": _goal(episode.goals[0])} if episode.goals else {}),
        **({"ratings": dict(episode.ratings)} if episode.ratings else {}),
    }


def _belief(belief: Belief | None) -> dict[str, Any]:
    """What a seeker believed of an item after a turn, where it says."""
    if belief is None:
        return {}
    return {
        "belief": {
            "item": belief.item,
            "prior": round(belief.prior, _DECIMALS),
            "evidence": {kind: round(weight, _DECIMALS) for kind, weight in belief.evidence.items()},
            "posterior": round(belief.posterior, _DECIMALS),
        }
    }


def _changes(goals: Sequence[Goal]) -> Iterator[dict[str, Any]]:
    """What changed in a goal in each turn."""
    for before, after in pairwise(map(_goal, goals)):
        yield {"goal": {name: value for name, value in after.items() if value != before[name]}}


def _goal(goal: Goal) -> dict[str, Any]:
    """A goal as JSON has it."""
    return {
        "targets": list(goal.targets),
        "wants": sorted(goal.wants),
        "avoids": sorted(goal.avoids),
        "yes": sorted(goal.yes),
        "no": sorted(goal.no),
        "open": sorted(goal.open),
        "rejected": sorted(goal.rejected),
        "patience": round(goal.patience, _DECIMALS),
    }


def _claims_right(components: Components, turns: list[Turn]) -> list[list[bool]]:
    """Of each utterance of the recommender, for each claim in it, whether the knowledge graph agrees."""
    checker = components.claims
    return [[claim.right for claim in checker.claims(turn.utterance)] for turn in turns]


def _turn(turn: Turn, latents: dict[str, float], version: str | None) -> dict[str, Any]:
    return {
        **({"view": _view(turn.view)} if turn.view else {}),
        "decision": _decision(turn.decision),
        "scores": dict(turn.plan.scores) if turn.plan else {},
        "utterance": turn.utterance,
        "facts": [[fact.item, fact.relation, fact.value] for fact in turn.facts],
        "invented": list(turn.invented),
        "reply": _reply(turn.reply),
        "judge": None if turn.score is None else _score(turn.score, version),
        "reward": round(turn.reward, 6),
        "latents": latents,
        "calls": [_call(call) for call in turn.calls],
        **({"judge_calls": [_call(call) for call in turn.judge_calls]} if turn.judge_calls else {}),
        **_seeker_calls(turn.reply),
    }


def _view(view: View) -> dict[str, Any]:
    return {
        "entropy": round(view.entropy, _DECIMALS),
        "left": view.left,
        "confidence": round(view.confidence, _DECIMALS),
        "items": [[item, round(weight, _DECIMALS)] for item, weight in view.items],
        "questions": [
            [attribute, round(entropy, _DECIMALS), round(mass, _DECIMALS)]
            for attribute, entropy, mass in view.questions
        ],
        "wanted": list(view.wanted),
        "unwanted": list(view.unwanted),
    }


def _score(score: Score, version: str | None) -> dict[str, Any]:
    """A score; of a judge with a prompt also what it is the mean of."""
    found = {"score": score.value, "parts": dict(score.parts)}
    if version is None:
        return found
    return {
        **found,
        "spread": score.spread,
        "samples": score.samples,
        "failed": score.failed,
        "version": version,
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "task": call.task,
        "prompt": call.prompt,
        "tokens_in": call.tokens_in,
        "tokens_out": call.tokens_out,
        "seconds": round(call.seconds, 6),
        "retries": call.retries,
        "failure": call.failure,
        **{name: value for name in _RARE if (value := getattr(call, name))},
    }


def _seeker_calls(reply: Reply) -> dict[str, Any]:
    """What a reply took of a language model, where it took any."""
    return {"seeker_calls": [_call(call) for call in reply.calls]} if reply.calls else {}


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "act": decision.act.name.lower(),
        "strategy": decision.strategy.value,
        "attributes": list(decision.attributes),
        "items": list(decision.items),
        **({} if decision.told is None else {"told": decision.told}),
    }


def _reply(reply: Reply) -> dict[str, Any]:
    return {
        "text": reply.text,
        "liked": list(reply.liked),
        "disliked": list(reply.disliked),
        "open": list(reply.open),
        "accepted": reply.accepted,
        "rejected": list(reply.rejected),
        "left": reply.left,
        "withdrawn": list(reply.withdrawn),
        "behaviours": list(reply.behaviours),
        "drift": list(reply.drift),
    }
