"""A small language model made on the spot, the real server it is put behind, and a proxy with faults.

``tiny_model`` trains a network for less than a minute, until it answers the project's own prompts in format;
``serve`` puts a folder behind ``transformers serve`` on this machine; ``Proxy`` stands between a client
and that server (or a function that answers) and does to each request what its plan says.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Container, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.world import Split
from unicrs_rl.judging.prompted import JudgeInput, JudgeOutput, PromptedJudge
from unicrs_rl.language.boundary import LanguageModel, Message, Prompt, Raw, Task
from unicrs_rl.language.credible import CriticInput, CriticOutput, ExplanationInput, ExplanationOutput
from unicrs_rl.language.tasks import (
    ActorInput,
    ActorOutput,
    FactInput,
    FactOutput,
    PreferenceInput,
    PreferenceOutput,
)

# --- networks

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer_of(*texts: str, size: int = 1000) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template, trained on the texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    marks = ["<|end|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def network_of(tokenizer: PreTrainedTokenizerFast, room: int = 8192) -> LlamaForCausalLM:
    """An untrained network: two layers, 64 wide."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=room,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def save(folder: Path, network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Path:
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- a model that answers the project's prompts

ARMS = ("rso", "llm", "intercrs", "pccrs", "unified")
"""Arms whose conversations a tiny model is trained on: together they use every prompt."""


@dataclass(frozen=True)
class Asked:
    """A prompt as it was really rendered."""

    task: Task[Any, Any]
    inputs: Message
    text: str
    attempt: int


class Scribe(LanguageModel):
    """Keeps what a model is asked, and tears a quarter of its answers so that repairs are asked for too."""

    name = "scribe"
    deterministic = True

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.asked: list[Asked] = []

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        self.asked += [Asked(task, prompt.inputs, prompt.text, prompt.attempt) for prompt in prompts]
        raws = self.model.generate(task, prompts)
        return [
            replace(raw, text=raw.text[:30]) if prompt.attempt == 0 and prompt.key(0) % 4 == 0 else raw
            for prompt, raw in zip(prompts, raws, strict=True)
        ]


def conversations(components: Components, dialogues: int, split: Split = Split.TRAIN) -> list[Asked]:
    """All that the embedded model and the judge are asked in a few conversations of each of the ``ARMS``."""
    scribe = Scribe(components.model)
    judge = PromptedJudge(components.world.catalogue, scribe, 1)
    watched = replace(components, model=scribe, judge=judge)
    for arm in ARMS:
        sessions = components.world.sessions(split, dialogues, 0)
        Conversations(watched.of(arm)).hold(components.policy(arm, seed=0), sessions)
    return scribe.asked


def short_answer(asked: Asked, catalogue: Catalogue, rng: random.Random) -> str | None:
    """A short valid answer, or ``None`` where it would have to copy names from the prompt."""
    inputs = asked.inputs
    wishes = rng.sample(catalogue.attributes[:3], 1)
    titles = rng.sample(catalogue.items[:4], 1)
    output: Message
    match inputs:
        case PreferenceInput():
            output = PreferenceOutput(liked=wishes, mood=rng.choice(["positive", "neutral"]))
        case FactInput():
            output = FactOutput(chosen=[rng.randrange(min(3, len(inputs.facts)))] if inputs.facts else [])
        case ActorInput(act=None | "chat"):
            strategy = {} if inputs.strategy else {"strategy": rng.choice(list(inputs.strategies)[:3])}
            moves = [
                ActorOutput(act="chat", utterance="What else do you like?", **strategy),
                ActorOutput(act="ask", attributes=wishes, utterance="How about that?", **strategy),
                ActorOutput(act="recommend", items=titles, utterance="You will love it.", **strategy),
            ]
            allowed = [move for move in moves if asked.task.check(inputs, move) is None]
            output = rng.choice(allowed)
        case ExplanationInput():
            output = ExplanationOutput(strategy=rng.choice(list(inputs.strategies)[:3]))
        case CriticInput():
            output = CriticOutput(wrong=[])
        case JudgeInput():
            output = JudgeOutput(score=rng.randint(2, 5), reason="fine")
        case _:
            return None
    text = output.model_dump_json(exclude_unset=True)
    return text if asked.task.check(inputs, output) is None else None


def _loss(network: LlamaForCausalLM, rows: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
    """Cross-entropy of the answers' tokens; padding on the right is behind all that counts."""
    width = max(len(question) + len(answer) for question, answer in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    counts = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (question, answer) in enumerate(rows):
        end = len(question) + len(answer)
        ids[row, :end] = torch.tensor(question + answer)
        counts[row, len(question) : end] = True
    hidden = network.model(input_ids=ids).last_hidden_state
    logits = network.lm_head(hidden[:, :-1][counts[:, 1:]])
    return torch.nn.functional.cross_entropy(logits, ids[counts])


def tiny_model(folder: Path, components: Components, dialogues: int = 12, steps: int = 600) -> Path:
    """Train a network to answer the project's prompts, and save it.

    It learns the last lines of a prompt, cut at random, so that the length does not matter.

    Args:
        components: of the world whose conversations it is asked about.
    """
    rng = random.Random(0)
    catalogue = components.world.catalogue
    asked = conversations(components, dialogues)
    answered = [(one.task.name, one.text, short_answer(one, catalogue, rng)) for one in asked]
    lessons = [(task, prompt, answer) for task, prompt, answer in answered if answer is not None]
    tokenizer = tokenizer_of(*(prompt + answer for _, prompt, answer in lessons), size=2000)
    network = network_of(tokenizer)
    encoded: dict[str, list[tuple[list[int], list[int]]]] = {}
    for task, prompt, answer in lessons:
        question = tokenizer(f"<|user|>{prompt}<|end|><|assistant|>")["input_ids"]
        encoded.setdefault(task, []).append((question, tokenizer(f"{answer}<|end|>")["input_ids"]))
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        seen = round(32 * 16 ** rng.random())
        rows = [rng.choice(encoded[rng.choice(list(encoded))]) for _ in range(16)]
        loss = _loss(network, [(question[-seen:], answer) for question, answer in rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    # A server samples only where this says so.
    network.generation_config = GenerationConfig(do_sample=True, eos_token_id=tokenizer.eos_token_id)
    return save(folder, network, tokenizer)


# --- the real server

START = 180.0
"""Seconds that a server may take to answer for the first time; it needs 10 to 16 on an idle core."""


@contextmanager
def serve(folder: Path, room: Path) -> Iterator[str]:
    """``transformers serve`` with the model of a folder, on this machine and a free port.

    The folder's path is the name the model has there.

    Args:
        room: an empty folder for the server's cache and log.

    Yields:
        The base URL, with its ``/v1``.

    Raises:
        RuntimeError: if it does not start, with the end of its log.
    """
    program = Path(sys.executable).with_name("transformers")
    (room / "hub").mkdir(parents=True)  # without it /v1/models fails
    log = room / "server.log"
    port = _free_port()
    where = ("--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    command = [str(program), "serve", str(folder), *where]
    own = {
        "HF_HOME": str(room),
        "HF_HUB_CACHE": str(room / "hub"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")} | own
    with log.open("wb") as lines:
        process = subprocess.Popen(
            command, stdout=lines, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        _wait_for(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _end(process)


def _wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    state = "still silent" if process.poll() is None else f"ended with {process.returncode}"
    tail = log.read_text("utf-8", errors="replace")[-2000:]
    raise RuntimeError(
        f"`transformers serve` is {state}; it needs the extra 'dev' (transformers[serving]). Its log:\n{tail}"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with all it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- the proxy


@dataclass(frozen=True)
class Fault:
    """What befalls a request; the makers below say it in fewer words.

    Attributes:
        delay: seconds before anything comes back.
        status: answered instead of the upstream's, with ``body``.
        retry_after: seconds for the header ``Retry-After``.
        as_date: whether that header holds a date.
        body: sent instead of the upstream's; ``type``: what it is declared to be.
        change: makes another JSON value of the upstream's answer.
        share: of the answer's body that is sent before the connection is lost; ``None``: all of it.
        reset: the connection is lost by a reset, else it is closed.
        dead: seconds for which the endpoint is gone, with all its connections, from this request on.
    """

    name: str
    delay: float = 0.0
    status: int = 200
    retry_after: float | None = None
    as_date: bool = False
    body: bytes | None = None
    type: str = "application/json"
    change: Callable[[dict[str, Any]], Any] | None = None
    share: float | None = None
    reset: bool = False
    dead: float | None = None


def late(seconds: float) -> Fault:
    """The true answer, later."""
    return Fault(f"late {seconds:g} s", delay=seconds)


def reset(share: float = 0.0) -> Fault:
    """The connection is reset before the answer, or after a share of its body."""
    return Fault(f"reset at {share:g}", share=share, reset=True)


def torn(share: float = 0.5) -> Fault:
    """The connection is closed after a share of the answer's body."""
    return Fault(f"torn at {share:g}", share=share)


def status(code: int, retry_after: float | None = None, as_date: bool = False, said: str = "busy") -> Fault:
    """Another status, with an error as OpenAI words it and maybe ``Retry-After``."""
    body = json.dumps({"error": {"message": said, "type": "server_error", "code": code}}).encode()
    return Fault(f"status {code}", status=code, retry_after=retry_after, as_date=as_date, body=body)


def says(body: bytes, name: str = "says", type: str = "application/json") -> Fault:
    """A 200 with any body."""
    return Fault(name, body=body, type=type)


def shaped(change: Callable[[dict[str, Any]], Any], name: str = "shaped") -> Fault:
    """The true answer's JSON, changed."""
    return Fault(name, change=change)


def content(new: Any, name: str = "content", finish_reason: str | None = None) -> Fault:
    """A valid envelope with other content: a value, or what a function makes of the true text."""

    def change(envelope: dict[str, Any]) -> dict[str, Any]:
        for choice in envelope["choices"]:
            message = choice["message"]
            message["content"] = new(message["content"]) if callable(new) else new
            choice["finish_reason"] = finish_reason or choice["finish_reason"]
        return envelope

    return Fault(name, change=change)


def cut_short(share: float = 0.5) -> Fault:
    """The answer ran out of tokens: its JSON is cut off."""
    return content(lambda text: text[: int(len(text) * share)], "cut short", finish_reason="length")


def dies(seconds: float) -> Fault:
    """The endpoint is gone, in the middle of this request, and comes back."""
    return Fault(f"dies for {seconds:g} s", dead=seconds)


def _usage_in_words(envelope: dict[str, Any]) -> dict[str, Any]:
    return envelope | {"usage": {name: str(count) for name, count in envelope["usage"].items()}}


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        late(0.3),
        reset(),
        reset(0.5),
        torn(0.0),
        torn(0.5),
        status(429),
        replace(status(429, retry_after=1), name="status 429, seconds"),
        replace(status(429, retry_after=1, as_date=True), name="status 429, date"),
        status(500),
        status(502),
        status(503),
        says(b"", "empty body"),
        says(b"<html>Bad gateway</html>", "HTML", "text/html"),
        says(b"{'choices': [", "not JSON"),
        says(b"[]", "a list"),
        shaped(lambda envelope: envelope | {"choices": None}, "choices null"),
        shaped(lambda envelope: envelope | {"choices": []}, "no choices"),
        shaped(_usage_in_words, "usage in strings"),
        shaped(lambda envelope: envelope | {"usage": None}, "no usage"),
        content(7, "content a number"),
        content(None, "content null"),
        content("", "content empty"),
        content("Es tut mir leid, dabei kann ich nicht helfen.", "another language"),
        cut_short(),
        dies(0.3),
    )
}
"""One of each kind, by name."""


@dataclass
class Request:
    """A request as the proxy saw it.

    Attributes:
        number: of this POST, from 0 in order of arrival; -1 for other methods.
        body: its JSON.
        began: when it was read, by :func:`time.monotonic`; ``ended``: when its answer was sent.
        fault: what befell it, by name; empty if nothing did.
        status: answered; 0 if nothing was.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    began: float
    ended: float = 0.0
    fault: str = ""
    status: int = 0

    @property
    def task(self) -> str:
        """The task that its answer's schema is of, where it has one."""
        name: str = self.body.get("response_format", {}).get("json_schema", {}).get("name", "")
        return name

    @property
    def prompt(self) -> str:
        text: str = self.body["messages"][-1]["content"]
        return text


@dataclass
class Rule:
    """Which requests a fault befalls: those whose number is among ``numbers`` and of which ``where`` is true.

    Attributes:
        times: how often at most.
    """

    fault: Fault
    numbers: Container[int] | None
    where: Callable[[Request], bool]
    times: float

    def befalls(self, request: Request) -> bool:
        """Whether it does; that is counted."""
        hit = (
            self.times > 0
            and (self.numbers is None or request.number in self.numbers)
            and self.where(request)
        )
        self.times -= hit
        return hit


class Proxy:
    """Stands on 127.0.0.1 between a client and a server, and does to each request what its plan says.

    A context manager; it lives in a thread of its own. Only POSTs are counted and have faults. The first
    rule that befalls a request counts, and a request that none does is passed on as it is.

    Args:
        upstream: base URL of the server behind it.
        answer: answers instead of a server: from a request's JSON, the content of one choice.
        delay: seconds that every answer takes longer.
        counts_n: whether ``answer`` is asked for as many choices as ``n`` says.
    """

    def __init__(
        self,
        upstream: str = "",
        answer: Callable[[dict[str, Any]], str] | None = None,
        delay: float = 0.0,
        counts_n: bool = True,
    ) -> None:
        assert bool(upstream) != (answer is not None), "either a server or a function answers"
        self.upstream = urlsplit(upstream)
        self.answer = answer
        self.delay = delay
        self.counts_n = counts_n
        self.requests: list[Request] = []
        self.at_once = 0
        """POSTs under way at the same time, at most."""
        self._rules: list[Rule] = []
        self._under_way = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._return: asyncio.Task[None] | None = None
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def asked(self) -> list[Request]:
        """The POSTs, in order of arrival."""
        return [request for request in self.requests if request.number >= 0]

    def plan(
        self,
        fault: Fault,
        numbers: int | Container[int] | None = None,
        where: Callable[[Request], bool] = lambda _: True,
        times: float = math.inf,
    ) -> None:
        """Let a fault befall requests: by number (from 0), by what is in them, or every one."""
        self._rules.append(Rule(fault, (numbers,) if isinstance(numbers, int) else numbers, where, times))

    def forget(self) -> None:
        """Drop all rules and all that was recorded; numbers start at 0 again."""
        self._rules.clear()
        self.requests.clear()
        self.at_once = 0

    def die(self) -> None:
        """Reset every connection and refuse new ones, until :meth:`revive`."""
        self._do(self._die())

    def revive(self) -> None:
        """Listen again, at the same port."""
        self._do(self._listen())

    def __enter__(self) -> Self:
        self._thread.start()
        self.revive()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=1024)
            self._port = self._server.sockets[0].getsockname()[1]

    async def _die(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            _reset(writer)

    async def _listen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen()

    async def _leave(self) -> None:
        await self._die()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after another."""
        self._open.add(writer)
        # A client that gives up, or that is cut off here, ends its connection and nothing else.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                await self._handle(reader, writer)
        self._open.discard(writer)
        writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        raw = await reader.readexactly(int(_headers(head).get("content-length", 0)))
        method, path, _ = head.split(" ", 2)
        posted = method == "POST"
        request = Request(
            number=len(self.asked) if posted else -1,
            method=method,
            path=path,
            headers=_headers(head),
            body=json.loads(raw) if posted else {},
            began=time.monotonic(),
        )
        self.requests.append(request)
        self._under_way += posted
        self.at_once = max(self.at_once, self._under_way)
        try:
            await self._reply(request, head, raw, writer)
        finally:
            self._under_way -= posted
            request.ended = request.ended or time.monotonic()

    async def _reply(self, request: Request, head: str, raw: bytes, writer: asyncio.StreamWriter) -> None:
        fault = next((r.fault for r in self._rules if request.number >= 0 and r.befalls(request)), Fault(""))
        request.fault = fault.name
        if fault.dead is not None:
            await self._die()
            self._return = self._loop.create_task(self._listen_after(fault.dead))
            return
        await asyncio.sleep(fault.delay + self.delay * (request.number >= 0))
        if fault.body is not None:
            code, body = fault.status, fault.body
        elif fault.reset and not fault.share:
            code, body = 0, b""
        else:
            code, body = await self._truth(request, head, raw)
        if fault.change is not None:
            body = json.dumps(fault.change(json.loads(body))).encode()
        request.status, request.ended = code, time.monotonic()
        await _send(writer, code, body, fault)

    async def _truth(self, request: Request, head: str, raw: bytes) -> tuple[int, bytes]:
        """The status and the body that the server, or the function, answers."""
        if self.answer is None:
            return await _forward(self.upstream, head, raw)
        if request.number < 0:
            return 200, json.dumps({"object": "list", "data": []}).encode()
        wanted = request.body.get("n") or 1 if self.counts_n else 1
        contents = [self.answer(request.body) for _ in range(wanted)]
        return 200, json.dumps(_envelope(request, contents)).encode()


def _headers(head: str) -> dict[str, str]:
    """Headers by name in small letters."""
    lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    return {name.lower(): value.strip() for name, _, value in lines}


async def _forward(upstream: SplitResult, head: str, raw: bytes) -> tuple[int, bytes]:
    """Pass a request on; 502 if nobody is there."""
    method, path, _ = head.split(" ", 2)
    own = {
        name: value
        for name, value in _headers(head).items()
        if name not in ("host", "connection", "accept-encoding")
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in own.items())
    # HTTP/1.0, so that the answer is neither chunked nor followed by another.
    line = f"{method} {upstream.path + path.removeprefix('/v1')} HTTP/1.0\r\nhost: {upstream.netloc}\r\n"
    try:
        reader, writer = await asyncio.open_connection(upstream.hostname, upstream.port)
        writer.write(f"{line}{fields}\r\n".encode("latin-1") + raw)
        reply = await reader.read()
        writer.close()
        began, _, body = reply.partition(b"\r\n\r\n")
        return int(began.split(b" ", 2)[1]), body
    except (OSError, IndexError):
        return 502, b'{"error": {"message": "nobody behind the proxy"}}'


async def _send(writer: asyncio.StreamWriter, code: int, body: bytes, fault: Fault) -> None:
    if fault.reset and not fault.share:
        _reset(writer)
        return
    head = f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\nContent-Type: {fault.type}\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    if fault.retry_after is not None:
        when = datetime.now(UTC) + timedelta(seconds=fault.retry_after + 1)  # dates have whole seconds
        wait = format_datetime(when, usegmt=True) if fault.as_date else f"{fault.retry_after:g}"
        head += f"Retry-After: {wait}\r\n"
    sent = body if fault.share is None else body[: int(len(body) * fault.share)]
    writer.write(f"{head}\r\n".encode("latin-1") + sent)
    await writer.drain()
    if fault.reset:
        _reset(writer)
    elif fault.share is not None:
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without a farewell: the other side sees ``ECONNRESET``."""
    linger = struct.pack("ii", 1, 0)
    with suppress(OSError):  # lost already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def _envelope(request: Request, contents: Sequence[str]) -> dict[str, Any]:
    """A chat completion; a token is taken for four characters."""
    tokens_in, tokens_out = len(request.prompt) // 4, sum(len(text) // 4 for text in contents)
    return {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion",
        "created": 0,
        "model": request.body.get("model", ""),
        "choices": [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(contents)
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }
