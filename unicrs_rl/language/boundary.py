"""The one door to language models: typed tasks in, validated answers out.

A :class:`Task` is a prompt template with an input and an output model. A backend only turns
prompts into raw text (:meth:`LanguageModel.generate`); rendering, validation, retries and the
books are kept here, the same for every backend. A malformed answer is asked for again with the
validation error, at most twice, and is then a recorded failure, never a guess. An answer is one JSON
object; a code fence or prose around it is tolerated, but nothing is ever read from the prose.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unicrs_rl import draws
from unicrs_rl.dialogue import Call
from unicrs_rl.language import templates

RETRIES = 2


class LanguageModelConfig(BaseModel):
    """Which model a backend talks to, and how it samples. The embedded model needs none of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("", description="transformers: folder or hub name; openai: the model's name")
    base_url: str = Field(
        "https://api.openai.com/v1", description="openai: where the endpoint is, with its /v1"
    )
    temperature: float = Field(0.7, ge=0, le=2, description="of sampling; 0: always the likeliest token")
    top_p: float = Field(0.95, gt=0, le=1, description="samples from the likeliest tokens of this mass")
    max_tokens: int | None = Field(
        None, ge=1, description="longest answer, for all tasks; None: each task's own"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of sampling")
    device: str = Field("auto", description="transformers: cpu, cuda, ...; auto: a GPU where there is one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="transformers: of the weights; auto: as they are stored"
    )
    batch_size: int = Field(16, ge=1, description="transformers: prompts answered at once")
    timeout: float = Field(120.0, gt=0, description="openai: seconds to wait for an answer")


class Message(BaseModel):
    """Base of all task inputs and outputs: closed, so that a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid")


In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

@dataclass(frozen=True)
class Task(Generic[In, Out]):
    """A typed use of a language model; its prompt is ``prompts/<name>.jinja``.

    Args:
        check: says what is wrong with a well-formed output for this input, or ``None``.
        max_tokens: longest answer.
        rule: how the embedded model answers, where it has no rule of its own for the task.
    """

    name: str
    inputs: type[In]
    outputs: type[Out]
    check: Callable[[In, Out], str | None] = lambda _inputs, _output: None
    max_tokens: int = 384
    rule: Callable[[In], Out] | None = None

    def render(self, inputs: In) -> str:
        """The prompt for an input."""
        return templates.render(self.name, {name: getattr(inputs, name) for name in self.inputs.model_fields})


@dataclass(frozen=True, slots=True)
class Prompt(Generic[In]):
    """A rendered prompt with the input it was made from.

    Attributes:
        sample: which of several answers to the same prompt is wanted, from 0.
        attempt: how often this answer was malformed before.
    """

    text: str
    inputs: In
    sample: int = 0
    attempt: int = 0

    def key(self, seed: int) -> int:
        """A 63-bit key of the random numbers of its answer, whatever batch it is answered in."""
        return draws.key(seed, self.text, self.sample, self.attempt)


@dataclass(frozen=True, slots=True)
class Raw:
    """What a backend returned: text (JSON is expected) and its size in tokens.

    Attributes:
        failure: why there is no text, where asking again would not help.
    """

    text: str
    tokens_in: int
    tokens_out: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Out]):
    """A validated output, or ``None`` where the model failed; and what it cost."""

    output: Out | None
    call: Call


class LanguageModel(ABC):
    """A backend behind the door."""

    name: str

    deterministic: bool = False
    """Whether the same prompt always has the same answer, so that one call counts for all samples."""

    @abstractmethod
    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """Raw answers to a batch of prompts, in order.

        Raises:
            InputError: if the model cannot be used at all.
        """

    def complete(self, task: Task[In, Out], batch: Sequence[In]) -> list[Answer[Out]]:
        """Answer a batch of inputs; order is kept and failures are answers with no output."""
        return [answers[0] for answers in self.sample(task, batch, 1)]

    def sample(self, task: Task[In, Out], batch: Sequence[In], samples: int) -> list[list[Answer[Out]]]:
        """Several answers to each input, each validated and asked for again by itself.

        Args:
            samples: answers wanted of each; a deterministic model gives one.

        Returns:
            For each input, in order, its answers.
        """
        each = range(1 if self.deterministic else samples)
        first = [Prompt(task.render(inputs), inputs, sample) for inputs in batch for sample in each]
        answers: list[Answer[Out] | None] = [None] * len(first)
        spent = [(0, 0, 0.0)] * len(first)
        pending = dict(enumerate(first))
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
                output, problem = (
                    (None, raw.failure) if raw.failure else _validate(task, prompt.inputs, raw.text)
                )
                if problem and not raw.failure and attempt < RETRIES:
                    text = _repair(first[index].text, raw.text, problem)
                    again[index] = Prompt(text, prompt.inputs, prompt.sample, attempt + 1)
                    continue
                call = Call(task.name, _hash(first[index].text), *spent[index], attempt, problem)
                answers[index] = Answer(output, call)
            pending = again
        found = [answer for answer in answers if answer is not None]
        return [found[start : start + len(each)] for start in range(0, len(found), len(each))]


def _validate(task: Task[In, Out], inputs: In, text: str) -> tuple[Out | None, str]:
    """The output, or ``None`` and what is wrong with the text."""
    start, end = _object(text)
    if start == end:
        return None, "answer: Invalid JSON (it has to hold one JSON object, whole)"
    try:
        output = task.outputs.model_validate_json(text[start:end])
    except ValidationError as error:
        first = error.errors()[0]
        return None, f"{'.'.join(map(str, first['loc'])) or 'answer'}: {first['msg']}"
    problem = task.check(inputs, output)
    return (None, problem) if problem else (output, "")


def _object(text: str) -> tuple[int, int]:
    """Where the only JSON object of a text is, ``[start, end)``; empty if it has none, a broken one, or two.

    Nothing is looked for inside a broken object: what is whole there may be a part of the answer only.
    """
    start = text.find("{")
    if start < 0:
        return 0, 0
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return 0, 0
    return (0, 0) if "{" in text[end:] else (start, end)


def _repair(prompt: str, answer: str, problem: str) -> str:
    return (
        f"{prompt}\n\nYour last answer was:\n{answer}\n\nIt is not valid: {problem}. Answer again, JSON only."
    )


def _hash(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]
