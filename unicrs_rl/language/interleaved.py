"""Recommendation interleaved with conversation: questions and recommendations take turns (iEvaLM)."""

from __future__ import annotations

from typing import ClassVar

from unicrs_rl.language.actor import Actor, actors
from unicrs_rl.language.boundary import Task
from unicrs_rl.language.memory import Memory
from unicrs_rl.language.tasks import ActorInput, ActorOutput, check_action
from unicrs_rl.language.wording import act_warmly, next_act

INTERLEAVED = Task("interleaved", ActorInput, ActorOutput, check_action)


@actors.register("interleaved")
class Interleaved(Actor):
    """Actor that is told to interleave; it chooses among the candidates that were retrieved."""

    task: ClassVar[Task[ActorInput, ActorOutput]] = INTERLEAVED


def take_turns(memory: Memory | None, inputs: ActorInput) -> ActorOutput:
    """The embedded model's answer: ask, recommend, ask, recommend; recommend where nothing is left to ask."""
    its_turn = inputs.turn % 2 == 1 or inputs.turn + 1 == inputs.limit
    act = next_act(its_turn, bool(inputs.candidate_items), bool(inputs.candidate_attributes))
    return act_warmly(inputs, act, memory)
