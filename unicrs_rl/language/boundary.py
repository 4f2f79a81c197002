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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unicrs_rl import draws
from unicrs_rl.dialogue import Call
from unicrs_rl.language import templates
from unicrs_rl.language.answers import Kept, Spending
from unicrs_rl.language.ledger import Ledger
from unicrs_rl.language.waiting import away

RETRIES = 2


HOW = frozenset({"base_url", "device", "batch_size", "timeout", "concurrency", "retries", "patience"})
"""Settings that say how a model is reached, not which it is: they may change between a run's sessions."""


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
    concurrency: int = Field(32, ge=1, le=1024, description="openai: requests under way at once")
    retries: int = Field(5, ge=0, le=20, description="openai: how often a request is sent again")
    patience: float = Field(
        600.0, ge=0, description="openai: seconds that an endpoint may be gone before the run stops"
    )


class Message(BaseModel):
    """Base of all task inputs and outputs: closed, so that a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid")

    turns_in: ClassVar[str] = ""
    """The field that holds past turns, oldest first, of which some can be left out."""

    def shortened(self) -> Self | None:
        """The same without its oldest turn; ``None`` where only the latest is left, or none."""
        turns = getattr(self, self.turns_in) if self.turns_in else ()
        return self.model_copy(update={self.turns_in: turns[1:]}) if len(turns) > 1 else None


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

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""
        return self.outputs.model_json_schema()

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
        seconds: how long the answer took; ``None``: its share of the batch.
        resent: how often it was sent again because the endpoint failed.
        too_long: the prompt did not fit into the model's context (a failure).
        lost: the endpoint gave no answer (a failure).
        cached: it was had before.
    """

    text: str
    tokens_in: int
    tokens_out: int
    failure: str = ""
    seconds: float | None = None
    resent: int = 0
    too_long: bool = False
    lost: bool = False
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Answer(Generic[Out]):
    """A validated output, or ``None`` where the model failed; and what it cost.

    Attributes:
        refused: well-formed outputs that the task's check turned down.
    """

    output: Out | None
    call: Call
    refused: tuple[Out, ...] = ()


@dataclass(slots=True)
class _Wish(Generic[In, Out]):
    """An answer that is wanted, and what has been done for it so far."""

    prompt: Prompt[In]
    first: str
    """The prompt's text before any complaint."""
    call: Call
    refused: tuple[Out, ...] = ()

    def paid(self, raw: Raw, seconds: float) -> None:
        """Book one attempt."""
        call = self.call
        self.call = replace(
            call,
            tokens_in=call.tokens_in + raw.tokens_in,
            tokens_out=call.tokens_out + raw.tokens_out,
            seconds=call.seconds + (seconds if raw.seconds is None else raw.seconds),
            resent=call.resent + raw.resent,
            cached=call.cached + raw.cached,
            lost=raw.lost,
        )


class LanguageModel(ABC):
    """A backend behind the door."""

    name: str

    deterministic: bool = False
    """Whether the same prompt always has the same answer, so that one call counts for all samples."""

    identity: str = ""
    """What its answers depend on besides the prompt and the draw: which model, and how it samples."""

    concurrency: int = 1
    """Requests it has under way at once; conversations are held at once to keep them busy."""

    seed: int = 0
    """Of sampling."""

    ledger: Ledger | None = None
    """The books of the run, with what was answered before; ``None``: nothing is kept."""

    @abstractmethod
    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """Raw answers to a batch of prompts, in order.

        Raises:
            InputError: if the model cannot be used at all.
        """

    def answers(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> Iterator[tuple[int, Raw]]:
        """The same as they come, each with the place of its prompt.

        Raises:
            InputError: if the model cannot be used at all.
            Stopped: if it can no longer be used.
        """
        yield from enumerate(self.generate(task, prompts))

    def longest(self, task: Task[Any, Any]) -> int:
        """Tokens that an answer may have."""
        return task.max_tokens

    def complete(self, task: Task[In, Out], batch: Sequence[In]) -> list[Answer[Out]]:
        """Answer a batch of inputs; order is kept and failures are answers with no output."""
        return [answers[0] for answers in self.sample(task, batch, 1)]

    def sample(self, task: Task[In, Out], batch: Sequence[In], samples: int) -> list[list[Answer[Out]]]:
        """Several answers to each input, each validated and asked for again by itself.

        A prompt that does not fit into the model's context is shortened by its oldest turns.

        Args:
            samples: answers wanted of each; a deterministic model gives one.

        Returns:
            For each input, in order, its answers.

        Raises:
            InputError: if the model cannot be used at all.
            Stopped: if a budget is used up, or an endpoint is gone for good.
        """
        each = range(1 if self.deterministic else samples)
        wishes: list[_Wish[In, Out]] = []
        for inputs in batch:
            text = task.render(inputs)
            blank = Call(task.name, _hash(text), 0, 0, 0.0)
            wishes += [_Wish(Prompt(text, inputs, sample), text, blank) for sample in each]
        answers: list[Answer[Out] | None] = [None] * len(wishes)
        pending = list(range(len(wishes)))
        while pending:
            started = time.perf_counter()
            raws = self._raws(task, [wishes[index].prompt for index in pending])
            seconds = (time.perf_counter() - started) / len(pending)
            for index, raw in zip(pending, raws, strict=True):
                wishes[index].paid(raw, seconds)
                answers[index] = _settled(task, wishes[index], raw)
            pending = [index for index in pending if answers[index] is None]
        found = [answer for answer in answers if answer is not None]
        return [found[start : start + len(each)] for start in range(0, len(found), len(each))]

    def _raws(self, task: Task[Any, Any], prompts: list[Prompt[Any]]) -> list[Raw]:
        """Answers in order: those that were had before, and those that the model gives now."""
        if self.ledger is None:
            with away():
                given = dict(self.answers(task, prompts))
            return [given[place] for place in range(len(prompts))]
        with away():
            return self._kept_raws(self.ledger, task, prompts)

    def _kept_raws(self, ledger: Ledger, task: Task[Any, Any], prompts: list[Prompt[Any]]) -> list[Raw]:
        """The same, where answers are kept and paid for."""
        keys = [self._key(task, prompt) for prompt in prompts]
        raws: dict[int, Raw] = {}
        while missing := [place for place in range(len(prompts)) if place not in raws]:
            mine = [missing[row] for row in ledger.claim([keys[place] for place in missing])]
            try:
                raws |= self._found(ledger, task, {place: keys[place] for place in mine})
                raws |= self._bought(ledger, task, prompts, keys, [p for p in mine if p not in raws])
            finally:
                ledger.disclaim(keys[place] for place in mine)
        return [raws[place] for place in range(len(prompts))]

    def _found(self, ledger: Ledger, task: Task[Any, Any], keys: Mapping[int, str]) -> dict[int, Raw]:
        """Those answers that were had before, by their places."""
        known = {} if ledger.answers is None else ledger.answers.find(list(keys.values()))
        raws = {
            place: Raw(kept.text, kept.tokens_in, kept.tokens_out, seconds=kept.seconds, cached=True)
            for place, key in keys.items()
            if (kept := known.get(key)) is not None
        }
        if raws:
            ledger.note(task.name, Spending(cached=len(raws)))
        return raws

    def _bought(
        self,
        ledger: Ledger,
        task: Task[Any, Any],
        prompts: list[Prompt[Any]],
        keys: Sequence[str],
        missing: list[int],
    ) -> dict[int, Raw]:
        """New answers to the prompts at these places, as far as the budget reaches, each kept at once."""
        raws: dict[int, Raw] = {}
        while missing:
            estimates = [ledger.estimate(len(prompts[place].text), self.longest(task)) for place in missing]
            granted = ledger.reserve(estimates)
            now, missing = missing[:granted], missing[granted:]
            started, open_ = time.perf_counter(), set(range(granted))
            try:
                for row, raw in self.answers(task, [prompts[place] for place in now]):
                    share = (time.perf_counter() - started) / granted if raw.seconds is None else raw.seconds
                    raws[now[row]] = raw
                    open_.remove(row)
                    if raw.failure:
                        ledger.release(estimates[row])
                        ledger.note(task.name, Spending(resent=raw.resent))
                    else:
                        kept = Kept(raw.text, raw.tokens_in, raw.tokens_out, round(share, 6))
                        ledger.settle(keys[now[row]], kept, task.name, estimates[row], raw.resent)
            finally:
                for row in open_:
                    ledger.release(estimates[row])
        return raws

    def _key(self, task: Task[Any, Any], prompt: Prompt[Any]) -> str:
        """Of all that an answer depends on."""
        parts = (self.identity, self.longest(task), self.seed, prompt.text, prompt.sample, prompt.attempt)
        return hashlib.sha256(json.dumps([task.name, task.schema, *parts]).encode()).hexdigest()


def _settled(task: Task[In, Out], wish: _Wish[In, Out], raw: Raw) -> Answer[Out] | None:
    """The answer, or ``None`` where it is to be asked for again, with another prompt."""
    prompt = wish.prompt
    if raw.too_long and (shorter := prompt.inputs.shortened()) is not None:
        wish.call = replace(wish.call, dropped=wish.call.dropped + 1)
        wish.first = task.render(shorter)
        wish.prompt = Prompt(wish.first, shorter, prompt.sample, prompt.attempt)
        return None
    if raw.failure:
        return Answer(None, replace(wish.call, failure=raw.failure), wish.refused)
    output, problem = _validate(task, prompt.inputs, raw.text)
    if not problem:
        return Answer(output, wish.call, wish.refused)
    if output is not None:
        wish.refused += (output,)
    if prompt.attempt == RETRIES:
        return Answer(None, replace(wish.call, failure=problem), wish.refused)
    wish.call = replace(wish.call, retries=wish.call.retries + 1)
    text = _repair(wish.first, raw.text, problem)
    wish.prompt = Prompt(text, prompt.inputs, prompt.sample, prompt.attempt + 1)
    return None


def _validate(task: Task[In, Out], inputs: In, text: str) -> tuple[Out | None, str]:
    """The output, where the text is one, and what is wrong with it."""
    start, end = _object(text)
    if start == end:
        return None, "answer: Invalid JSON (it has to hold one JSON object, whole)"
    try:
        output = task.outputs.model_validate_json(text[start:end])
    except ValidationError as error:
        first = error.errors()[0]
        return None, f"{'.'.join(map(str, first['loc'])) or 'answer'}: {first['msg']}"
    return output, task.check(inputs, output) or ""


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
        f"{prompt}\n\nYour last answer, as a JSON string, was:\n{templates.literal(answer)}\n\n"
        f"It is not valid: {templates.plain(problem)}. Answer again, JSON only."
    )


def _hash(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]
