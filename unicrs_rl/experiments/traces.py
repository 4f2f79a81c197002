"""One conversation as one line of JSON: everything that was decided, said, felt and paid."""

from __future__ import annotations

from typing import Any

from unicrs_rl.dialogue import Decision, Reply, Turn
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Episode
from unicrs_rl.judging.metrics import measure


def trace(episode: Episode, arm: str, seed: int, components: Components) -> dict[str, Any]:
    """A finished conversation with its metrics, ready for JSON."""
    dialogue, session = episode.dialogue, episode.session
    assert dialogue.outcome is not None
    outcome, wish = dialogue.outcome, episode.intentions
    intentions = None if wish is None else (wish.before, wish.after, wish.informed)
    score = episode.score.value if episode.score else None
    return {
        "arm": arm,
        "seed": seed,
        "index": session.index,
        "seeker": session.seeker,
        "target": session.target,
        "key": session.key,
        "opening": _reply(dialogue.opening),
        "turns": [
            _turn(turn, latents) for turn, latents in zip(dialogue.turns, episode.latents[1:], strict=True)
        ],
        "latents": episode.latents[0],
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
            score,
            _claims_right(components, dialogue.turns),
            intentions,
            components.config.reward.satisfied_above,
        ),
    }


def _claims_right(components: Components, turns: list[Turn]) -> list[bool]:
    """For each factual claim of the recommender, whether the knowledge graph agrees."""
    checker = components.claims
    return [claim.right for turn in turns for claim in checker.claims(turn.utterance)]


def _turn(turn: Turn, latents: dict[str, float]) -> dict[str, Any]:
    return {
        "decision": _decision(turn.decision),
        "scores": dict(turn.plan.scores) if turn.plan else {},
        "utterance": turn.utterance,
        "facts": [[fact.item, fact.relation, fact.value] for fact in turn.facts],
        "reply": _reply(turn.reply),
        "judge": None if turn.score is None else {"score": turn.score.value, "parts": dict(turn.score.parts)},
        "reward": round(turn.reward, 6),
        "latents": latents,
        "calls": [
            {
                "task": call.task,
                "prompt": call.prompt,
                "tokens_in": call.tokens_in,
                "tokens_out": call.tokens_out,
                "seconds": round(call.seconds, 6),
                "retries": call.retries,
                "failure": call.failure,
            }
            for call in turn.calls
        ],
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
