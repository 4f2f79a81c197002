"""The one door to language models: typed tasks in, validated answers out.

A :class:`Task` is a prompt template with an input and an output model. A backend only turns
prompts into raw text (:meth:`LanguageModel.generate`); rendering, validation, retries and the
books are kept here, the same for every backend. A malformed answer is asked for again with the
validation error, at most twice, and is then a recorded failure, never a guess.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import jinja2
from pydantic import BaseModel, ConfigDict, ValidationError

from unicrs_rl.dialogue import Call
from unicrs_rl.registry import Registry

RETRIES = 2


class Message(BaseModel):
    """Base of all task inputs and outputs: closed, so that a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid")


In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.language", "prompts"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701  prompts are plain text
)


@dataclass(frozen=True)
class Task(Generic[In, Out]):
    """A typed use of a language model; its prompt is ``prompts/<name>.jinja``.

    Args:
        check: says what is wrong with a well-formed output for this input, or ``None``.
    """

    name: str
    inputs: type[In]
    outputs: type[Out]
    check: Callable[[In, Out], str | None] = lambda _inputs, _output: None

    @cached_property
    def _template(self) -> jinja2.Template:
        return _TEMPLATES.get_template(f"{self.name}.jinja")

    def render(self, inputs: In) -> str:
        """The prompt for an input."""
        return self._template.render({name: getattr(inputs, name) for name in self.inputs.model_fields})


@dataclass(frozen=True, slots=True)
class Prompt(Generic[In]):
    """A rendered prompt with the input it was made from."""

    text: str
    inputs: In


@dataclass(frozen=True, slots=True)
class Raw:
    """What a backend returned: text (JSON is expected) and its size in tokens."""

    text: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Answer(Generic[Out]):
    """A validated output, or ``None`` where the model failed; and what it cost."""

    output: Out | None
    call: Call


class LanguageModel(ABC):
    """A backend behind the door."""

    name: str

    @abstractmethod
    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """Raw answers to a batch of prompts, in order."""

    def complete(self, task: Task[In, Out], batch: Sequence[In]) -> list[Answer[Out]]:
        """Answer a batch of inputs; order is kept and failures are answers with no output."""
        prompts = [Prompt(task.render(inputs), inputs) for inputs in batch]
        answers: list[Answer[Out] | None] = [None] * len(batch)
        spent = [(0, 0, 0.0)] * len(batch)
        pending = dict(enumerate(prompts))
        for attempt in range(RETRIES + 1):
            if not pending:
                break
            started = time.perf_counter()
            raws = self.generate(task, list(pending.values()))
            seconds = (time.perf_counter() - started) / len(pending)
            again: dict[int, Prompt[In]] = {}
            for (index, prompt), raw in zip(pending.items(), raws, strict=True):
                tokens_in, tokens_out, time_so_far = spent[index]
                spent[index] = (tokens_in + raw.tokens_in, tokens_out + raw.tokens_out, time_so_far + seconds)
                output, problem = _validate(task, prompt.inputs, raw.text)
                if problem and attempt < RETRIES:
                    again[index] = Prompt(_repair(prompts[index].text, raw.text, problem), prompt.inputs)
                    continue
                call = Call(task.name, _hash(prompts[index].text), *spent[index], attempt, problem)
                answers[index] = Answer(output, call)
            pending = again
        return [answer for answer in answers if answer is not None]


def _validate(task: Task[In, Out], inputs: In, text: str) -> tuple[Out | None, str]:
    """The output, or ``None`` and what is wrong with the text."""
    try:
        output = task.outputs.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        return None, f"{'.'.join(map(str, first['loc'])) or 'answer'}: {first['msg']}"
    problem = task.check(inputs, output)
    return (None, problem) if problem else (output, "")


def _repair(prompt: str, answer: str, problem: str) -> str:
    return (
        f"{prompt}\n\nYour last answer was:\n{answer}\n\nIt is not valid: {problem}. Answer again, JSON only."
    )


def _hash(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


language_models: Registry[Callable[..., LanguageModel]] = Registry("language model")
"""Backends by name; a maker takes the world's lexicon."""
