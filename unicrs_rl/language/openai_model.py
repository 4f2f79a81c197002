"""The ``openai`` backend: any endpoint that speaks OpenAI's chat completions (vLLM, Ollama, hosted).

Requests are under way at once, up to a bound, on an event loop of their own. One that fails (a time-out,
a lost connection, 429, 5xx, an answer that is none) is sent again after a pause that doubles, with jitter,
or that the server asks for; a :class:`~unicrs_rl.language.breaker.Breaker` keeps requests from an endpoint
that is gone. What is not answered in the end is lost, and costs the conversation it was for.

The key comes from the environment variable ``OPENAI_API_KEY`` or from the file that
``OPENAI_API_KEY_FILE`` names. It is in no setting, and is blanked out of whatever a server says.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import random
import re
import threading
import time
import weakref
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from unicrs_rl.errors import InputError, Stopped
from unicrs_rl.language.boundary import LanguageModel, LanguageModelConfig, Prompt, Raw, Task
from unicrs_rl.language.breaker import FAILURES, Breaker
from unicrs_rl.language.ledger import CHARACTERS_PER_TOKEN
from unicrs_rl.language.waiting import arrival

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_Come: TypeAlias = "queue.SimpleQueue[tuple[int, Raw] | None]"
KEY, KEY_FILE = "OPENAI_API_KEY", "OPENAI_API_KEY_FILE"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a request is sent again: doubled each time, and drawn from the upper half."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OPTIONAL = ("response_format", "seed", "top_p", "temperature", "max_tokens")
"""Parameters that some servers refuse, and that an answer can be had without."""
_TOO_LONG = (
    "context_length",
    "context length",
    "context window",
    "context size",
    "too long",
    "maximum number of tokens",
    "max_new_tokens",
    "input length",
    "reduce the length",
)
"""What servers say of a prompt that does not fit."""
_SHORTEST_KEY = 8
"""Characters; what is shorter is a placeholder, and may be a word of an answer."""
_TURNED_AWAY, _OFTEN = (403, 404, 406, 451), 8
"""Statuses that may be about one prompt only, and after how many of them in a row they are not."""
_TOO_LARGE, _UNPAID, _QUOTA = 413, 402, "insufficient_quota"
_TRANSIENT = (408, 409, 425)
"""Statuses below 500 that may be others the next time."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)


class _Reply(BaseModel):
    """What we need of a chat completion; anything else is no answer."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None

    @field_validator("usage", mode="wrap")
    @classmethod
    def _readable(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> _Usage | None:
        """An answer is no worse for counts that cannot be read."""
        try:
            usage: _Usage | None = validate(value)
        except ValidationError:
            return None
        return usage


@dataclass(frozen=True, slots=True)
class _Fault:
    """A request that failed, and may not fail the next time.

    Attributes:
        wait: seconds the server asked to wait.
        limited: because too much was asked at once, which says nothing against the endpoint.
    """

    why: str
    wait: float | None = None
    limited: bool = False


@dataclass(frozen=True, slots=True)
class _Got:
    """What came of sending a request until it was answered or given up."""

    reply: _Reply | None
    seconds: float
    resent: int
    failure: str = ""
    too_long: bool = False
    lost: bool = False


class OpenAIModel(LanguageModel):
    """A model behind an endpoint.

    The JSON schema of the answer is sent as ``response_format`` where the server takes it; the prompt
    says it anyway. Several samples are asked for with ``n``, and again where a server gives fewer.

    Args:
        settings: which model, where, and how it samples.

    Raises:
        InputError: if the model has no name or is not known there, there is no key, or nobody answers at
            the URL.
    """

    name = "openai"

    def __init__(self, settings: LanguageModelConfig) -> None:
        if not settings.model:
            raise InputError("--llm openai: which model? --model gives the name it has at the endpoint")
        self.settings = settings
        self.deterministic = settings.temperature == 0
        self.identity = f"openai {settings.model} {settings.temperature} {settings.top_p}"
        self.concurrency = settings.concurrency
        self.seed = settings.seed
        self._secret = _key(settings.base_url)
        self._loop = _Loop()
        self._refused: set[str] = set()
        self._turned_away = 0
        self._spoke = self._guesses = False
        self._loop.run(self._connect())
        self._loop.run(self._check())

    def longest(self, task: Task[Any, Any]) -> int:
        """Tokens that an answer may have."""
        return self.settings.max_tokens or task.max_tokens

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """Answers; a prompt that the server refuses is a failure.

        Raises:
            InputError: if the server refuses the key or the model, or does not speak chat completions.
            Stopped: if it is gone for good.
        """
        given = dict(self.answers(task, prompts))
        return [given[place] for place in range(len(prompts))]

    def answers(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> Iterator[tuple[int, Raw]]:
        """The same as they come, each with the place of its prompt."""
        come: _Come = queue.SimpleQueue()
        together = self._loop.start(self._gather(task, prompts, come))
        try:
            while (news := arrival(come)) is not None:
                yield news
            together.result()
        finally:
            together.cancel()

    async def _gather(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]], come: _Come) -> None:
        """Ask for all at once, samples of one prompt together, and end with ``None``."""
        places = range(len(prompts))
        by_prompt = groupby(places, key=lambda place: (prompts[place].text, prompts[place].attempt))
        try:
            async with asyncio.TaskGroup() as group:
                for _, same in by_prompt:
                    group.create_task(self._samples(task, prompts, list(same), come))
        except BaseExceptionGroup as group_of_errors:
            raise group_of_errors.exceptions[0] from None
        finally:
            come.put(None)

    async def _samples(
        self,
        task: Task[Any, Any],
        prompts: Sequence[Prompt[Any]],
        places: list[int],
        come: _Come,
    ) -> None:
        """Samples of one prompt: as many as the server gives at once, until there are enough."""
        done = 0
        if "n" in self._refused and len(places) > 1:
            await asyncio.gather(*(self._samples(task, prompts, [place], come) for place in places))
            return
        while done < len(places):
            got = await self._ask(task, prompts[places[done]], len(places) - done)
            if got.reply is None:
                raw = Raw("", 0, 0, got.failure, got.seconds, got.resent, got.too_long, got.lost)
                for place in places[done:]:
                    come.put((place, raw))
                return
            choices = got.reply.choices[: len(places) - done]
            used = got.reply.usage or self._guessed(prompts[places[done]], choices)
            for number, choice in enumerate(choices):
                # What came in is counted once, what came out evenly, so that sums are exact.
                share = used.completion_tokens // len(choices)
                share += number < used.completion_tokens % len(choices)
                tokens_in = 0 if number else used.prompt_tokens
                resent = 0 if number else got.resent
                text = self._blanked(choice.message.content or "")
                raw = Raw(text, tokens_in, share, "", got.seconds, resent)
                come.put((places[done + number], raw))
            done += len(choices)
            if len(choices) == 1 and done < len(places):  # it does not know several: those left, all at once
                self._refused.add("n")
                await asyncio.gather(
                    *(self._samples(task, prompts, [place], come) for place in places[done:])
                )
                return

    async def _ask(self, task: Task[Any, Any], prompt: Prompt[Any], n: int) -> _Got:
        """Send one request until it is answered, refused, or given up."""
        resent, failures, waited = 0, 0, 0.0
        while True:
            async with self._slots:
                await self._breaker.passage()
                started = time.perf_counter()
                found = await self._send(task, prompt, n)
                seconds = time.perf_counter() - started
                known_gone = self._breaker.open
                answers = self._breaker.answers  # looking whether it is there takes time
                if not isinstance(found, _Fault):
                    self._breaker.answered()
                elif found.limited:
                    self._breaker.hold(found.wait or 0.0)
                elif self._breaker.failed(found.why, hash(prompt.text)):
                    if await self._there():
                        self._breaker.well()
                    else:
                        self._breaker.trip(found.why, answers)
            if isinstance(found, _Reply):
                return _Got(found, seconds, resent)
            if isinstance(found, _Got):
                return replace(found, seconds=seconds, resent=resent)
            failures += not (known_gone or self._breaker.open or found.limited)
            pause = _pause(failures + resent * found.limited, found.wait)
            waited += pause if found.limited else 0.0
            if waited > self.settings.patience or (failures > self.settings.retries and await self._there()):
                if not self._spoke and found.why.startswith(_NO_COMPLETION):
                    raise InputError(
                        f"--base-url {self.settings.base_url}: what answers there does not speak "
                        "chat completions (most URLs end in /v1)"
                    )
                return _Got(None, seconds, resent, f"no answer: {found.why}", lost=True)
            if failures > self.settings.retries and not self._breaker.open:
                self._breaker.trip(found.why, answers)  # it is not the request that is at fault
            resent += 1
            await asyncio.sleep(pause)

    async def _there(self) -> bool:
        """Whether the endpoint answers at all, so that failures are those of what it was asked."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._client.models.list()
        except (openai.APIConnectionError, openai.InternalServerError, TimeoutError):
            return False
        except (openai.APIError, ValueError, TypeError, AttributeError):
            pass  # it says something
        return True

    async def _send(self, task: Task[Any, Any], prompt: Prompt[Any], n: int) -> _Reply | _Got | _Fault:
        """Send a request once: the answer, a refusal of this prompt, or a fault."""
        without: set[str] = set()
        while True:
            try:
                async with asyncio.timeout(self.settings.timeout):
                    # By hand: the package's own method goes through a body it knows the types of, schema
                    # and all, at every call.
                    answer = await self._client.post(
                        "/chat/completions",
                        body={
                            "model": self.settings.model,
                            "messages": [{"role": "user", "content": prompt.text}],
                            **self._parameters(task, prompt, n, without),
                        },
                        cast_to=object,
                    )
                reply = _Reply.model_validate(answer)
            except TimeoutError:
                return _Fault(f"no answer within {self.settings.timeout:g} seconds")
            except openai.APIStatusError as error:
                said_no = self._refusal(error, n, without)
                if said_no is not None:
                    return said_no
            except openai.APIError as error:
                return self._fault(error)
            except ValueError as error:  # of ours, or what some versions of the package do not wrap
                where = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
                return _Fault(f"{_NO_COMPLETION} ({'.'.join(map(str, where)) or 'not JSON'})")
            else:
                self._refused |= without  # only now it is known that the refusal was not about the prompt
                self._spoke = True
                self._turned_away = 0
                return reply

    def _refusal(self, error: openai.APIStatusError, n: int, without: set[str]) -> _Got | _Fault | None:
        """What a status other than 200 means; ``None``: to be asked again, without one more parameter."""
        code, said = error.status_code, _told(error)
        bad = isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError)
        if code == _TOO_LARGE or (bad and any(sign in said for sign in _TOO_LONG)):
            return _Got(None, 0.0, 0, f"too long for the model: {self._said(error)}", too_long=True)
        if bad:
            without |= (left_out := self._to_leave_out(said, n, without))
            return None if left_out else _Got(None, 0.0, 0, f"refused by the server: {self._said(error)}")
        if self._spoke and code in _TURNED_AWAY and self._turned_away < _OFTEN:
            self._turned_away += 1  # one prompt may be the reason, as where a gateway moderates
            return _Got(None, 0.0, 0, f"no answer: {self._said(error)}", lost=True)
        return self._fault(error)

    def _fault(self, error: openai.APIError) -> _Fault:
        """What is wrong with the endpoint, if it may be well again.

        Raises:
            InputError: if it will not: it refuses the key or does not know the model.
            Stopped: if what is paid for is used up.
        """
        match error:
            case openai.APIStatusError() if error.status_code == _UNPAID or "insufficient_quota" in _told(
                error
            ):
                raise Stopped(f"--base-url {self.settings.base_url}: {self._said(error)}; --resume goes on")
            case openai.RateLimitError():
                return _Fault("asked for too much at once (429)", _retry_after(error), limited=True)
            case openai.APITimeoutError() | openai.APIConnectionError() | openai.InternalServerError():
                wait = _retry_after(error) if isinstance(error, openai.APIStatusError) else None
                return _Fault(self._trouble(error), wait)
            case openai.APIStatusError() if error.status_code in _TRANSIENT:
                return _Fault(self._trouble(error), _retry_after(error))
            case openai.APIResponseValidationError():
                return _Fault(f"{_NO_COMPLETION} (not JSON)")
            case _:
                raise InputError(f"--base-url {self.settings.base_url}: {self._trouble(error)}")

    def _parameters(
        self, task: Task[Any, Any], prompt: Prompt[Any], n: int, without: set[str]
    ) -> dict[str, Any]:
        settings, budget = self.settings, self.longest(task)
        schema = {"name": task.name, "schema": task.schema}
        wanted = {
            "response_format": {"type": "json_schema", "json_schema": schema},
            "seed": prompt.key(settings.seed) % 2**31,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": budget,
            **({"n": n} if n > 1 else {}),
        }
        given = {name: value for name, value in wanted.items() if name not in self._refused | without}
        # OpenAI's newer models take the budget under another name only.
        return given if "max_tokens" in given else given | {"max_completion_tokens": budget}

    def _to_leave_out(self, complaint: str, n: int, without: set[str]) -> set[str]:
        """The parameter that a refusal may be about, if there is one left."""
        named = [name for name in _OPTIONAL if name in complaint]
        several = ["n"] if n > 1 else []
        left = [p for p in (*named, *several, "response_format") if p not in self._refused | without]
        return set(left[:1])

    def _guessed(self, prompt: Prompt[Any], choices: Sequence[_Choice]) -> _Usage:
        """Tokens of a server that does not count them, so that a budget holds."""
        if not self._guesses:
            _LOG.warning(
                "--base-url %s: does not say how many tokens it takes; they are guessed, %d characters each",
                self.settings.base_url,
                CHARACTERS_PER_TOKEN,
            )
        self._guesses = True
        said = sum(len(choice.message.content or "") for choice in choices)
        return _Usage(
            prompt_tokens=-(-len(prompt.text) // CHARACTERS_PER_TOKEN),
            completion_tokens=-(-said // CHARACTERS_PER_TOKEN),
        )

    async def _connect(self) -> None:
        """Make what belongs to the event loop."""
        settings = self.settings
        self._slots = asyncio.Semaphore(settings.concurrency)
        # One prompt that always fails is no sign that the endpoint is gone.
        most = max(FAILURES, settings.retries + 2)
        self._breaker = Breaker(f"--base-url {settings.base_url}", settings.patience, most)
        self._client = openai.AsyncOpenAI(
            api_key=self._secret,
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=0,  # ours know of the breaker
            http_client=openai.DefaultAioHttpClient(),
        )
        self._loop.closing(self._client.close)

    async def _check(self) -> None:
        """See whether anybody answers, and knows the model; not every server says which ones it has.

        Raises:
            InputError: if nobody does, or the key or the model is refused.
        """
        url, model = self.settings.base_url, self.settings.model
        try:
            async with asyncio.timeout(self.settings.timeout):
                page = await self._client.models.list()
            known = [self._blanked(entry.id) for entry in page.data]
        except (openai.APIConnectionError, openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise InputError(f"--base-url {url}: {self._trouble(error)}") from None
        except TimeoutError:
            raise InputError(
                f"--base-url {url}: no answer within {self.settings.timeout:g} seconds"
            ) from None
        except (openai.APIError, ValueError, TypeError, AttributeError):
            return  # no list, or none that makes sense
        if model in known or not known:
            return
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._client.chat.completions.with_raw_response.create(
                    model=model, messages=[{"role": "user", "content": "Hello."}]
                )
        except (openai.NotFoundError, openai.BadRequestError):
            near = get_close_matches(model, known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known)[:10])}"
            raise InputError(f"--model {model}: not known at {url}; {hint}") from None
        except (openai.APIError, TimeoutError):
            return  # it will be seen when it is asked

    def _trouble(self, error: openai.APIError) -> str:
        """In a few words, what is wrong with the endpoint."""
        match error:
            case openai.APIConnectionError() if (deepest := _origin(error)) is not None:
                return f"cannot be reached ({self._said(deepest)})"
            case openai.APITimeoutError():
                seconds = f"{self.settings.timeout:g} seconds"
                return f"no answer within {seconds}; language_model.timeout sets how long to wait"
            case openai.APIConnectionError():
                return f"cannot be reached ({self._said(error.__cause__ or error)})"
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return f"refuses the key in {KEY} or {KEY_FILE}"
            case openai.NotFoundError():
                model = self.settings.model
                return f"does not know the model {model!r}, or is not where chat completions are (.../v1)"
            case _:
                return f"gave up: {self._said(error)}"

    def _said(self, error: BaseException) -> str:
        """The first line of a message, without the key."""
        said = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        return self._blanked(said)[:200]

    def _blanked(self, text: str) -> str:
        """The same without the key; a placeholder, which local servers take for one, is none."""
        if len(self._secret) < _SHORTEST_KEY:
            return text
        blanked = text.replace(self._secret, "***")
        hidden = "\\" in blanked and self._secret in _ESCAPED.sub(_unescaped, blanked)
        return "***" if hidden else blanked


_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")


def _unescaped(match: re.Match[str]) -> str:
    """A character that JSON writes with an escape."""
    return chr(int(match[1], 16)) if match[1] else match[2]


_NO_COMPLETION = "what came back is no chat completion"


class _Loop:
    """An event loop in a thread of its own, which ends with its owner."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="language model", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin something."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to its end."""
        return self.start(work).result()

    def closing(self, close: Any) -> None:
        """Call a coroutine function and end the loop when this object is no longer used."""
        weakref.finalize(self, _end, self._loop, close)


def _end(loop: asyncio.AbstractEventLoop, close: Any) -> None:
    if not loop.is_running():
        return
    asyncio.run_coroutine_threadsafe(_wind_up(close), loop).add_done_callback(
        lambda _: loop.call_soon_threadsafe(loop.stop)
    )


async def _wind_up(close: Any) -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # else it would take the end of its connection for a fault
    await close()


def _told(error: openai.APIError) -> str:
    """All that a server said, in small letters, with the codes that are not part of its message."""
    return f"{error} {error.code} {error.type} {error.param}".casefold()


def _origin(error: BaseException) -> OSError | None:
    """What the operating system says of a connection, which the client may call a time-out."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _pause(failures: int, wanted: float | None) -> float:
    """Seconds before a request is sent again."""
    longest = min(FIRST_PAUSE * 2 ** min(failures, 10), LONGEST_PAUSE)
    drawn = random.uniform(longest / 2, longest)
    return drawn if wanted is None else wanted + drawn / 10  # not all at once when the time has come


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds that a server asks to wait: a number, or until a date."""
    said = error.response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _key(base_url: str) -> str:
    """The key of the endpoint; one on this machine needs none.

    Raises:
        InputError: if there is none, or the URL is not one.
    """
    try:
        url = urlsplit(base_url)
        _ = url.port
    except ValueError as error:
        raise InputError(f"--base-url {base_url}: not a URL ({error})") from None
    if url.query or url.fragment:
        raise InputError(f"--base-url: has no query; a key belongs into {KEY}, where nothing writes it down")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InputError(f"--base-url {base_url}: not a URL (it starts with http:// or https://)")
    if url.username or url.password:
        raise InputError(f"--base-url: a key does not belong into the URL; put it into {KEY}")
    key = os.environ.get(KEY, "").strip()
    file = os.environ.get(KEY_FILE)
    if not key and file:
        try:
            key = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{KEY_FILE}: cannot be read ({type(error).__name__})") from None
    if not key and url.hostname in _LOOPBACK:
        return "no-key-needed"
    if not key:
        raise InputError(
            f"--llm openai: no key for {base_url}; put it into {KEY}, or the name of its file into {KEY_FILE}"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{KEY}: a key has one line of plain characters, this one has others")
    return key
