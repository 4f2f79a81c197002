"""The embedded language model: rules and templates behind the same door as a real model.

It has no weights, needs no download and answers in microseconds, always the same for the same
input. Its sizes in tokens are estimates (four characters each), so that the books show what the
same prompts would cost with a real model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unicrs_rl.language.boundary import LanguageModel, Message, Prompt, Raw, Task, language_models
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.reading import read_dialogue
from unicrs_rl.language.tasks import ACTOR, FACT_RETRIEVER, PREFERENCE_REASONER
from unicrs_rl.language.wording import act_and_speak, choose_facts

CHARACTERS_PER_TOKEN = 4


@language_models.register("embedded")
class EmbeddedModel(LanguageModel):
    """Answers each known task by a rule.

    Args:
        lexicon: the names of the world's items and attributes.
    """

    name = "embedded"

    def __init__(self, lexicon: Lexicon) -> None:
        self._rules: dict[str, Callable[[Any], Message]] = {
            PREFERENCE_REASONER.name: lambda inputs: read_dialogue(lexicon, inputs),
            FACT_RETRIEVER.name: choose_facts,
            ACTOR.name: act_and_speak,
        }

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """One answer for each prompt, by the task's rule.

        Raises:
            KeyError: for a task without a rule.
        """
        rule = self._rules[task.name]
        return [_raw(prompt.text, rule(prompt.inputs).model_dump_json()) for prompt in prompts]


def _raw(prompt: str, answer: str) -> Raw:
    return Raw(answer, -(-len(prompt) // CHARACTERS_PER_TOKEN), -(-len(answer) // CHARACTERS_PER_TOKEN))
