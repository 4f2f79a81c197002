"""The embedded language model: rules and templates behind the same door as a real model.

It has no weights, needs no download and answers in microseconds, always the same for the same
input. Its sizes in tokens are estimates (four characters each), so that the books show what the
same prompts would cost with a real model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unicrs_rl.language.boundary import LanguageModel, Message, Prompt, Raw, Task
from unicrs_rl.language.credible import (
    CRITIC,
    EXPLANATION_STRATEGY,
    REFINER,
    choose_explanation,
    criticise,
    refine,
)
from unicrs_rl.language.interleaved import INTERLEAVED, take_turns
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.memory import Memory
from unicrs_rl.language.reading import link_entities, read_dialogue
from unicrs_rl.language.seeker_tasks import SEEKER_FREE, SEEKER_LATENT, SEEKER_READING, SEEKER_REFERENCE
from unicrs_rl.language.seeker_words import answer_freely, answer_knowing, read_seeker, word_decided
from unicrs_rl.language.single_prompt import SINGLE_PROMPT, decide_alone
from unicrs_rl.language.tasks import ACTOR, ENTITY_LINKER, FACT_RETRIEVER, PREFERENCE_REASONER
from unicrs_rl.language.wording import act_and_speak, choose_facts

CHARACTERS_PER_TOKEN = 4


class EmbeddedModel(LanguageModel):
    """Answers each known task by a rule.

    Args:
        lexicon: the names of the world's items and attributes.
        memory: what it remembers of them where it is shown no facts.
    """

    name = "embedded"
    deterministic = True

    def __init__(self, lexicon: Lexicon, memory: Memory | None = None) -> None:
        self._rules: dict[str, Callable[[Any], Message]] = {
            PREFERENCE_REASONER.name: lambda inputs: read_dialogue(lexicon, inputs),
            ENTITY_LINKER.name: lambda inputs: link_entities(lexicon, inputs),
            FACT_RETRIEVER.name: choose_facts,
            ACTOR.name: lambda inputs: act_and_speak(inputs, memory),
            SINGLE_PROMPT.name: lambda inputs: decide_alone(lexicon, memory, inputs),
            INTERLEAVED.name: lambda inputs: take_turns(memory, inputs),
            EXPLANATION_STRATEGY.name: choose_explanation,
            CRITIC.name: lambda inputs: criticise(lexicon, inputs),
            REFINER.name: refine,
            SEEKER_REFERENCE.name: answer_knowing,
            SEEKER_FREE.name: answer_freely,
            SEEKER_LATENT.name: word_decided,
            SEEKER_READING.name: lambda inputs: read_seeker(lexicon, inputs),
        }

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """One answer for each prompt, by the task's rule.

        Raises:
            KeyError: for a task without a rule.
        """
        rule = self._rules[task.name] if task.rule is None else task.rule
        return [
            _raw(prompt.text, rule(prompt.inputs).model_dump_json(exclude_none=True)) for prompt in prompts
        ]


def _raw(prompt: str, answer: str) -> Raw:
    return Raw(answer, -(-len(prompt) // CHARACTERS_PER_TOKEN), -(-len(answer) // CHARACTERS_PER_TOKEN))
