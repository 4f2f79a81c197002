"""One conversation as one line of JSON: everything that was decided, said, felt and paid."""

from __future__ import annotations

from typing import Any

from unicrs_rl.dialogue import Call, Decision, Reply, Score, Turn
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import JudgeWhen
from unicrs_rl.experiments.conversation import Episode
from unicrs_rl.judging.metrics import measure

_RARE = ("resent", "cached", "dropped", "lost")
"""What is only told of a call where there is something to tell."""


def trace(episode: Episode, arm: str, seed: int, components: Components) -> dict[str, Any]:
    """A conversation, ready for JSON: with its metrics, or, if it broke off, with the reason (``failed``)."""
    if episode.failure:
        return {**_held(episode, arm, seed, components), "failed": episode.failure}
    dialogue, session = episode.dialogue, episode.session
    assert dialogue.outcome is not None
    outcome, wish = dialogue.outcome, episode.intentions
    intentions = None if wish is None else (wish.before, wish.after, wish.informed)
    score = dialogue.turns[-1].score  # the final one: where it is missing, no earlier one stands in for it
    return {
        **_held(episode, arm, seed, components),
        "intentions": intentions,
        "outcome": {
            "success": outcome.success,
            "turn": outcome.turn,
            "item": outcome.item,
            "rank": outcome.rank,
            "left": outcome.left,
        },
        "metrics": measure(
            dialogue,
            session.target,
            components.config.limit,
            None if score is None else score.value,
            _claims_right(components, dialogue.turns),
            intentions,
            components.config.reward.satisfied_above,
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
        "turns": [
            _turn(turn, latents, components.judge.version)
            for turn, latents in zip(episode.dialogue.turns, episode.latents[1:], strict=True)
        ],
        "latents": episode.latents[0],
    }


def _claims_right(components: Components, turns: list[Turn]) -> list[list[bool]]:
    """Of each utterance of the recommender, for each claim in it, whether the knowledge graph agrees."""
    checker = components.claims
    return [[claim.right for claim in checker.claims(turn.utterance)] for turn in turns]


def _turn(turn: Turn, latents: dict[str, float], version: str | None) -> dict[str, Any]:
    return {
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


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "act": decision.act.name.lower(),
        "strategy": decision.strategy.value,
        "attributes": list(decision.attributes),
        "items": list(decision.items),
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
    }
