"""What a run survives: an endpoint's faults, a kill, a damaged file, a budget. Real sockets, the real SDK.

A proxy with nothing behind it answers as an obedient model would, and breaks what its plan says.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from serving import (
    FAULTS,
    Fault,
    Proxy,
    Request,
    content,
    dies,
    late,
    network_of,
    reset,
    save,
    shaped,
    status,
    tokenizer_of,
)

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError, Stopped
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.crowd import crowd
from unicrs_rl.graphs.world import Split
from unicrs_rl.language import breaker, openai_model
from unicrs_rl.language.answers import Answers, Kept, Spending
from unicrs_rl.language.boundary import Answer, LanguageModel, LanguageModelConfig, Message, Prompt, Task
from unicrs_rl.language.breaker import Breaker
from unicrs_rl.language.ledger import Budget, Ledger, Price, paid_by
from unicrs_rl.language.openai_model import OpenAIModel
from unicrs_rl.language.transformers_model import TransformersModel
from unicrs_rl.language.waiting import away
from unicrs_rl.policy.base import Learner

T = TypeVar("T")
KEY = "sk-marker-of-the-reliability-tests-0815"
SAID = '{"score": 3}'


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY_FILE", raising=False)
    for module, first, longest in ((openai_model, 0.02, 0.1), (breaker, 0.05, 0.2)):
        monkeypatch.setattr(module, "FIRST_PAUSE", first)
        monkeypatch.setattr(module, "LONGEST_PAUSE", longest)


class Words(Message):
    """An input that is nothing but a prompt."""

    text: str


class Lines(Message):
    """An input of which the oldest lines can be left out."""

    turns_in = "lines"
    lines: list[str]


class Verdict(Message):
    score: int


class Plain(Task[Any, Verdict]):
    """A task whose prompt is its input as it is."""

    def render(self, inputs: Words | Lines) -> str:
        return inputs.text if isinstance(inputs, Words) else "\n".join(inputs.lines)


GIVE = Plain("give", Words, Verdict, max_tokens=16)
SUM_UP = Plain("sum_up", Lines, Verdict, max_tokens=16)
ASKED = "Which one?!!"
"""As long as what is said: three tokens of four characters."""


@pytest.fixture
def canned() -> Iterator[Proxy]:
    with Proxy(answer=lambda _: SAID) as standing:
        yield standing


def remote(proxy: Proxy, **settings: Any) -> OpenAIModel:
    settings = {"model": "m", "base_url": proxy.base_url, "timeout": 20.0, **settings}
    return OpenAIModel(LanguageModelConfig(**settings))


def ask(model: LanguageModel, *texts: str) -> list[Answer[Verdict]]:
    return model.complete(GIVE, [Words(text=text) for text in texts or (ASKED,)])


def within(seconds: float, work: Callable[[], T]) -> T:
    """What a piece of work returns, which must not hang."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    assert found, "it raised"
    return found[0]


# --- one request, each fault

MALFORMED = ("content null", "content empty", "another language", "cut short")
HARMLESS = ("usage in strings", "no usage")
_FAULTS = [fault for fault in FAULTS.values() if not fault.delay] + [
    late(60),
    content('{"score": "very good"}', "a wrong type"),
    shaped(lambda envelope: envelope | {"usage": {"prompt_tokens": "many"}}, "usage in words"),
]


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.name)
def test_after_a_fault_the_answer_is_had(canned: Proxy, tmp_path: Path, fault: Fault) -> None:
    canned.plan(fault, numbers=0)
    model = remote(canned, retries=20, timeout=1.0 if fault.delay else 20.0)
    model.ledger = Ledger(answers=Answers(tmp_path / "answers.sqlite"))
    (answer,) = ask(model)
    assert answer.output == Verdict(score=3)
    assert not answer.call.failure
    again = fault.name in (*MALFORMED, "a wrong type")
    unharmed = fault.name in (*HARMLESS, "usage in words")
    assert answer.call.retries == again
    assert bool(answer.call.resent) == (not again and not unharmed)
    assert answer.call.resent <= 1 or fault.dead  # while it is gone, nobody counts the refused ones
    # What did not come through is not counted, what did is counted once.
    first, *others = canned.asked
    size = len(first.prompt) // 4 + 3
    if again:
        size += len(others[0].prompt) // 4 + 3
        assert "It is not valid" in others[0].prompt
    assert (answer.call.tokens_in + answer.call.tokens_out, model.ledger.total.tokens) == (size, size)
    assert model.ledger.total.calls == 1 + again
    assert model.ledger.total.resent == answer.call.resent
    assert len(others) == (0 if unharmed else 1)


@pytest.mark.parametrize("name", ["status 429, seconds", "status 429, date"])
def test_nobody_asks_before_the_time_that_the_server_wants(canned: Proxy, name: str) -> None:
    canned.plan(FAULTS[name], numbers=0)
    answers = ask(remote(canned, concurrency=1), "a", "b", "c")
    assert all(answer.output for answer in answers)
    assert sum(answer.call.resent for answer in answers) == 1
    limited, *others = canned.asked
    assert len(others) == 3
    assert min(request.began for request in others) - limited.ended >= 0.95


def test_being_limited_is_no_failure(canned: Proxy) -> None:
    """However often: it says that the endpoint is there. Only patience ends it."""
    canned.plan(status(429), times=30)
    (answer,) = ask(remote(canned, retries=1, patience=60))
    assert (answer.output, answer.call.resent) == (Verdict(score=3), 30)
    canned.plan(status(429))
    (answer,) = ask(remote(canned, retries=1, patience=0.5), "another")
    assert (answer.output, answer.call.lost) == (None, True)
    assert "too much at once" in answer.call.failure


def test_a_request_is_given_up_after_so_many_retries(canned: Proxy) -> None:
    canned.plan(status(502), where=lambda request: "worst" in request.prompt)
    bad, good = ask(remote(canned, retries=3), "the worst", "good")
    assert (bad.output, bad.call.lost, bad.call.resent, good.output) == (None, True, 3, Verdict(score=3))
    assert "502" in bad.call.failure
    assert Counter(request.prompt for request in canned.asked) == {"the worst": 4, "good": 1}


def test_one_prompt_that_always_fails_does_not_look_like_an_endpoint_that_is_gone(canned: Proxy) -> None:
    """Not even where it is the only one left and retried more often than a breaker stands."""
    canned.plan(status(500))
    (answer,) = ask(remote(canned, retries=breaker.FAILURES + 4, patience=1))
    assert (answer.call.lost, answer.call.resent) == (True, breaker.FAILURES + 4)


def test_what_is_paid_for_and_used_up_stops_the_run(canned: Proxy) -> None:
    body = json.dumps({"error": {"message": "no money", "code": "insufficient_quota"}}).encode()
    canned.plan(Fault("quota", status=429, body=body))
    with pytest.raises(Stopped, match=r"no money.*--resume"):
        ask(remote(canned))
    assert len(canned.asked) == 1


# --- several samples, and what a server does not take


def scores(body: dict[str, Any]) -> str:
    """A score that its prompt and seed decide."""
    return json.dumps({"score": zlib.crc32(f"{body['messages']}{body.get('seed')}".encode())})


def sampled(model: LanguageModel, samples: int) -> list[int | None]:
    (answers,) = model.sample(GIVE, [Words(text=ASKED)], samples)
    return [None if answer.output is None else answer.output.score for answer in answers]


def test_samples_come_at_once_where_the_server_knows_how(canned: Proxy) -> None:
    assert sampled(remote(canned), 5) == [3] * 5
    assert [request.body["n"] for request in canned.asked] == [5]


def test_samples_are_asked_for_again_where_fewer_come(canned: Proxy) -> None:
    canned.plan(shaped(lambda envelope: envelope | {"choices": envelope["choices"][:2]}))
    assert sampled(remote(canned), 5) == [3] * 5
    assert [request.body.get("n", 1) for request in canned.asked] == [5, 3, 1]


def test_samples_of_a_server_that_gives_one_have_seeds_of_their_own() -> None:
    with Proxy(answer=scores, counts_n=False) as proxy:
        first = sampled(remote(proxy, seed=1), 4)
        seeds = [request.body["seed"] for request in proxy.asked]
        assert len(set(first)) == len(set(seeds)) == 4
        assert all(0 <= seed < 2**31 for seed in seeds)
        assert sampled(remote(proxy, seed=1), 4) == first
        assert not set(sampled(remote(proxy, seed=2), 4)) & set(first)


def test_a_server_that_refuses_n_is_asked_for_one_at_a_time(canned: Proxy) -> None:
    canned.plan(status(400, said="only one completion choice is allowed"), where=lambda r: "n" in r.body)
    model = remote(canned)
    assert sampled(model, 3) == [3] * 3
    assert ["n" in request.body for request in canned.asked] == [True, False, False, False]
    assert all("response_format" in request.body for request in canned.asked)
    assert sampled(model, 2) == [3] * 2
    assert "n" not in canned.asked[-1].body  # it is remembered


def test_a_schema_that_is_refused_is_not_sent_again(canned: Proxy) -> None:
    canned.plan(status(400, said="cannot do that"), where=lambda r: "response_format" in r.body)
    model = remote(canned)
    assert [answer.output for answer in ask(model)] == [Verdict(score=3)]
    assert [answer.output for answer in ask(model, "another")] == [Verdict(score=3)]
    assert ["response_format" in request.body for request in canned.asked] == [True, False, False]


def test_a_refusal_of_one_prompt_costs_the_others_nothing(canned: Proxy) -> None:
    canned.plan(status(400, said="against our rules"), where=lambda r: "rude" in r.prompt)
    model = remote(canned)
    (rude,) = ask(model, "rude words")
    assert (rude.output, rude.call.lost) == (None, False)
    assert "against our rules" in rude.call.failure
    assert ask(model)[0].output == Verdict(score=3)
    assert "response_format" in canned.asked[-1].body


def test_tokens_that_a_server_does_not_count_are_guessed(
    canned: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Or a budget would never be reached."""
    canned.plan(FAULTS["no usage"])
    model = remote(canned)
    model.ledger = Ledger(budget=Budget(tokens=50), answers=Answers(tmp_path / "answers.sqlite"))
    with pytest.raises(Stopped, match="--budget-tokens"):
        ask(model, *map(str, range(100)))
    assert 0 < model.ledger.total.tokens <= 50
    assert caplog.text.count("they are guessed") == 1


# --- the key


def test_no_part_of_the_key_is_shown_where_a_message_is_cut(canned: Proxy) -> None:
    for start in range(120, 240, 3):
        canned.forget()
        canned.plan(status(400, said="x" * start + KEY))
        (answer,) = ask(remote(canned), f"prompt {start}")
        assert answer.call.failure
        assert KEY[:12] not in answer.call.failure, start


def test_a_placeholder_for_a_key_is_no_secret(canned: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local servers are given words like 'none', which answers have in them."""
    monkeypatch.setenv("OPENAI_API_KEY", "score")
    assert ask(remote(canned))[0].output == Verdict(score=3)


# --- prompts that do not fit


def test_the_oldest_turns_are_left_out_until_a_prompt_fits(canned: Proxy) -> None:
    said = "This model's maximum context length is 8 tokens. (context_length_exceeded)"
    canned.plan(status(400, said=said), where=lambda request: len(request.prompt) > 30)
    lines = [str(number) * 9 for number in range(6)]
    (answer,) = remote(canned).complete(SUM_UP, [Lines(lines=lines)])
    assert (answer.output, answer.call.dropped, answer.call.retries) == (Verdict(score=3), 3, 0)
    assert canned.asked[-1].prompt == "\n".join(lines[3:])
    (lost,) = remote(canned).complete(SUM_UP, [Lines(lines=["x" * 9, "y" * 40])])
    assert (lost.output, lost.call.dropped, lost.call.lost) == (None, 1, False)
    assert "too long for the model" in lost.call.failure


@pytest.mark.parametrize(
    "said",
    [
        "Error: the request exceeds the available context size. try increasing the context size",
        "inputs tokens + max_new_tokens is greater than the context length",
        "Input is too long for requested model.",
    ],
)
def test_servers_say_too_long_in_different_words(canned: Proxy, said: str) -> None:
    canned.plan(status(400, said=said), where=lambda request: len(request.prompt) > 30)
    (answer,) = remote(canned).complete(SUM_UP, [Lines(lines=["x" * 20, "y" * 20])])
    assert (answer.output, answer.call.dropped) == (Verdict(score=3), 1)


def test_the_same_with_a_network_of_little_room(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(SAID)
    folder = save(tmp_path, network_of(tokenizer, room=700), tokenizer)
    model = TransformersModel(LanguageModelConfig(model=str(folder), max_tokens=8))
    lines = [f"{number}" * 200 for number in range(6)]
    (answer,) = model.complete(SUM_UP, [Lines(lines=lines)])
    assert 3 <= answer.call.dropped <= 4  # it babbles, and a prompt with a complaint is longer
    assert answer.call.retries == 2
    assert 3 * 400 < answer.call.tokens_in < 3 * 700  # what did not fit was not read
    assert answer.call.tokens_out > 0
    (lost,) = model.complete(SUM_UP, [Lines(lines=["x" * 20, "y" * 900])])
    assert (lost.output, lost.call.dropped, lost.call.tokens_in) == (None, 1, 0)
    assert "do not fit" in lost.call.failure


# --- what was answered before


def books(path: Path, **more: Any) -> Ledger:
    return Ledger(answers=Answers(path), **more)


def test_what_was_answered_is_not_asked_again(canned: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    for _ in range(2):
        model, ledger = remote(canned), books(path)
        model.ledger = ledger
        assert [answer.output for answer in ask(model, "a", "b", "a")] == [Verdict(score=3)] * 3
        assert ledger.total.calls == 2
    assert sorted(request.prompt for request in canned.asked) == ["a", "b"]
    for change in ({"model": "n"}, {"temperature": 0.1}, {"top_p": 0.5}, {"seed": 1}, {"max_tokens": 9}):
        before = len(canned.asked)
        model = remote(canned, **change)
        model.ledger = books(path)
        ask(model, "a")
        assert len(canned.asked) == before + 1, change


def test_what_several_want_at_once_is_asked_for_once(tmp_path: Path) -> None:
    with Proxy(answer=scores, delay=0.3) as proxy:
        model = remote(proxy)
        model.ledger = books(tmp_path / "answers.sqlite")
        found: list[Verdict | None] = []
        threads = [
            threading.Thread(target=lambda: found.extend(answer.output for answer in ask(model, "a", "b")))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(request.prompt for request in proxy.asked) == ["a", "b"]
        assert len(found) == 12
        assert len(set(map(str, found))) == 2


def test_who_waits_for_an_answer_that_is_lost_asks_for_it(canned: Proxy, tmp_path: Path) -> None:
    canned.plan(replace(late(0.3), status=500, body=b"{}"), numbers=0)
    model = remote(canned, retries=0)
    model.ledger = books(tmp_path / "answers.sqlite")
    lost, had = ask(model, "a", "a")
    assert (lost.output, lost.call.lost, had.output) == (None, True, Verdict(score=3))


def _damage(path: Path, how: str) -> None:
    if how == "random bytes":
        path.write_bytes(os.urandom(20_000))
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        data = bytearray(path.read_bytes())
        data[4096:] = bytes(len(data) - 4096)
        path.write_bytes(bytes(data))


def _filled(path: Path, count: int = 200, size: int = 40) -> None:
    answers = Answers(path)
    for number in range(count):
        kept = Kept(f'{{"score": {number}}}' + "é" * size, 5, 5, 0.25)
        answers.keep(f"key {number}", kept, "arm", "task", Spending(1, 5, 5))
    answers.close()


@pytest.mark.parametrize("how", ["random bytes", "truncated", "zeroed pages"])
def test_a_broken_file_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    path = tmp_path / "answers.sqlite"
    for number in (1, 2):
        _filled(path)
        _damage(path, how)
        broken = path.read_bytes()
        answers = Answers(path)
        assert answers.find(["key 1"]) == {}
        answers.keep("key 1", Kept("x", 1, 1, 0.5), "arm", "task", Spending(1))
        assert list(answers.find(["key 1"])) == ["key 1"]
        answers.close()
        assert (tmp_path / f"answers.sqlite.broken-{number}").read_bytes() == broken
        assert caplog.text.count(f"set aside as answers.sqlite.broken-{number}") == 1
        path.unlink()


@pytest.mark.parametrize("flipped", [0x01, 0x80], ids=["another letter", "no text any more"])
def test_a_flipped_bit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture, flipped: int) -> None:
    path = tmp_path / "answers.sqlite"
    _filled(path)
    data = bytearray(path.read_bytes())
    data[data.index(b'{"score": 77}') + 2] ^= flipped
    path.write_bytes(bytes(data))
    answers = Answers(path)
    assert sorted(answers.find(["key 76", "key 77", "key 78"])) == ["key 76", "key 78"]
    assert "an answer is damaged" in caplog.text
    answers.keep("key 77", Kept("x", 1, 1, 0.5), "arm", "task", Spending(1))
    assert answers.find(["key 77"])["key 77"].text == "x"


def test_a_file_that_breaks_on_the_way_costs_what_was_in_it(
    canned: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.sqlite"
    _filled(path, 400, 10_000)  # more than sqlite keeps in memory
    model = remote(canned)
    model.ledger = books(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(path.stat().st_size - 100))
    texts = [str(number) for number in range(5)]
    for _ in range(2):
        assert all(answer.output for answer in ask(model, *texts))
    assert "set aside" in caplog.text
    asked = len(canned.asked)
    assert all(answer.output for answer in ask(model, *texts))
    assert len(canned.asked) == asked  # the new file serves


def _other_version(path: Path) -> None:
    _filled(path)
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")


def _other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE mine (x)")


@pytest.mark.parametrize("make", [_other_version, _other_tables, Path.mkdir])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "answers.sqlite"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        Answers(path)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


# --- the books

CHEAP = Spending(calls=1, tokens_in=10, tokens_out=10)


def test_who_finds_no_room_waits_until_others_give_it_back() -> None:
    ledger = Ledger(budget=Budget(tokens=50))
    assert ledger.reserve([CHEAP] * 5) == 2
    granted: list[int] = []
    waiting = threading.Thread(target=lambda: granted.append(ledger.reserve([CHEAP] * 3)), daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    ledger.settle("key", Kept("x", 3, 3, 0.0), "task", CHEAP, 0)  # took less than was reserved
    waiting.join(10)
    assert granted == [1]
    ledger.release(CHEAP)
    ledger.release(CHEAP)
    assert ledger.reserve([CHEAP] * 5) == 2
    ledger.settle("another", Kept("x", 20, 20, 0.0), "task", CHEAP, 0)  # took more
    ledger.release(CHEAP)
    with pytest.raises(Stopped, match=r"--budget-tokens: 46 of 50 tokens .*--resume"):
        ledger.reserve([CHEAP])


def test_a_budget_of_dollars_is_reached_exactly() -> None:
    """What rounding leaves of sums of dollars must not make anybody wait for ever."""
    for price in (0.1, 0.3, 0.7, 1.1):
        ledger = Ledger(Price(input=price, output=3 * price), Budget(usd=Price(input=price).usd(100, 0)))
        odd = [ledger.estimate(4 * size, 0) for size in (1, 3, 7, 33)]
        for _ in range(3):
            assert ledger.reserve(odd) == 4
            for estimate in reversed(odd):
                ledger.release(estimate)
        assert within(10, lambda ledger=ledger: ledger.reserve([ledger.estimate(400, 0)])) == 1  # type: ignore[misc]


def test_what_was_spent_is_charged_to_who_asked(canned: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    price = Price(input=1.0, output=10.0)
    model = remote(canned)
    model.ledger = books(path, price=price)
    with paid_by("this"):
        ask(model, "a", "b")
    with paid_by("that"):
        ask(model, "b")
    table = model.ledger.by_payer()
    this, that = table["this"]["give"], table["that"]["give"]
    assert (this.calls, that.calls, that.cached) == (2, 0, 1)
    assert model.ledger.total.usd == pytest.approx(price.usd(0, 6))
    again = books(path, price=price)
    assert again.by_payer() == table
    assert Ledger(answers=Answers(path), resumed=False).total == Spending()


# --- the breaker


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await _yield()


async def _yield() -> None:
    """Let others go on."""
    await asyncio.get_running_loop().run_in_executor(None, int)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("unicrs_rl.language.breaker.asyncio.sleep", found.sleep)
    monkeypatch.setattr(breaker, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE", 30.0)
    return found


def test_a_breaker_opens_tries_and_closes(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        gate = Breaker("there", 600, clock=clock)
        for _ in range(breaker.FAILURES - 1):
            gate.failed("refused")
        gate.answered()  # not in a row
        for _ in range(breaker.FAILURES - 1):
            gate.failed("refused")
        await gate.passage()
        assert (gate.open, clock.now) == (False, 0.0)
        gate.failed("refused")
        assert gate.open
        tried = []
        for _ in range(7):
            await gate.passage()
            tried.append(clock.now)
            gate.failed("refused")
        assert tried == [1, 2, 4, 8, 16, 32, 62]  # a pause of 1, then doubled, up to 30
        gate.answered()
        await gate.passage()
        assert (gate.open, clock.now) == (False, 62)

    asyncio.run(story())
    opened, back = caplog.messages
    assert "8 failures in a row (refused); pausing" in opened
    assert "is back after 62 seconds" in back


def test_a_breaker_gives_up(clock: Clock) -> None:
    async def story() -> None:
        gate = Breaker("there", 100, clock=clock)
        for _ in range(breaker.FAILURES):
            gate.failed("refused")
        said = r"there: did not come back within 100 seconds.*--resume"
        with pytest.raises(Stopped, match=said):  # noqa: PT012
            while True:
                await gate.passage()
                gate.failed("refused")
        assert 100 < clock.now <= 130 + 1

    asyncio.run(story())


def test_what_was_found_before_an_answer_does_not_open_a_breaker(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Looking whether an endpoint is there takes time, in which it may come back."""

    async def story() -> None:
        gate = Breaker("there", 600, clock=clock)
        looked_at = gate.answers
        gate.answered()
        gate.trip("refused", looked_at)
        assert not gate.open
        gate.trip("refused", gate.answers)
        assert gate.open

    asyncio.run(story())
    assert len(caplog.messages) == 1


def test_a_breaker_holds_everybody_for_as_long_as_was_asked(clock: Clock) -> None:
    async def story() -> None:
        gate = Breaker("there", 600, clock=clock)
        gate.hold(45)
        gate.hold(5)
        await asyncio.gather(*(gate.passage() for _ in range(3)))
        assert clock.now >= 45
        assert not gate.open

    asyncio.run(story())


# --- the crowd


def test_one_of_a_crowd_computes_and_all_wait_at_once() -> None:
    computing, waiting, most = [0], [0], [0]
    everyone = threading.Barrier(8)

    def worker() -> Callable[[int], int]:
        def do(task: int) -> int:
            computing[0] += 1
            assert computing[0] == 1
            time.sleep(0.001)
            computing[0] -= 1
            with away():
                if task < 8:
                    everyone.wait(30)  # passes only if all eight wait at the same time
                waiting[0] += 1
            most[0] = max(most[0], waiting[0])
            return task * task

        return do

    assert sorted(crowd(worker, range(40), 8)) == [task * task for task in range(40)]


def test_what_one_of_a_crowd_raises_is_raised_and_the_others_keep_what_they_wait_for() -> None:
    kept: list[int] = []
    under_way = threading.Barrier(4)
    failed = threading.Event()

    def do(task: int) -> int:
        with away():
            under_way.wait(30)
            if task == 2:
                failed.set()
                raise Stopped("enough")
            failed.wait(30)
            time.sleep(0.2)
            kept.append(task)
        return task

    def all_of_it() -> str:
        with pytest.raises(Stopped, match="enough"):
            list(crowd(lambda: do, range(100), 4))
        return "raised"

    assert within(30, all_of_it) == "raised"
    assert sorted(kept) == [0, 1, 3]


def test_who_stops_looking_at_a_crowd_is_not_held_up() -> None:
    forever = threading.Event()

    def do(task: int) -> int:
        with away():
            if task:
                forever.wait(60)
        return task

    def first() -> int:
        results: Any = crowd(lambda: do, range(10), 4)
        found: int = next(results)
        results.close()  # as an interrupt does
        return found

    assert within(20, first) == 0
    forever.set()


def test_away_does_nothing_where_nobody_has_the_floor() -> None:
    with away():
        assert ask is not None
    with pytest.raises(ZeroDivisionError), away():
        raise ZeroDivisionError


# --- whole runs

PLANNED = re.compile(r"(?:in this order|Ask about exactly): (\[.*\])")
SETTINGS = """
limit = 3
recommend_above = 0.3
train_batch = 4
seeds = "0"

[embeddings]
epochs = 1

[arm.rso]
width = 32
rollouts = 1
baseline = "none"
warm_up_share = 0.5

[language_model]
model = "m"
concurrency = 8
timeout = 30.0
retries = 2
"""
PRICES = "\n[prices.m]\ninput = 1.0\noutput = 10.0\n"


def obedient(body: dict[str, Any]) -> str:
    """What a model that does as it is told would answer; prompt and seed decide what it is free to choose."""
    task, prompt = body["response_format"]["json_schema"]["name"], body["messages"][-1]["content"]
    drawn = zlib.crc32(f"{prompt} {body['seed']}".encode())
    if task == "preference_reasoner":
        return json.dumps({"summary": "Something good.", "mood": ["neutral", "positive"][drawn % 2]})
    if task == "fact_retriever":
        return json.dumps({"chosen": [0]})
    if task == "judge":
        return json.dumps({"score": 2 + drawn % 4, "reason": "fine"})
    planned = PLANNED.search(prompt)
    names = json.loads(planned[1]) if planned else []
    act = "recommend" if "decided to recommend" in prompt else "ask" if "decided to ask" in prompt else "chat"
    kind = {"recommend": "items", "ask": "attributes"}.get(act)
    spoken = {} if "Speak with this strategy" in prompt else {"strategy": "Personal Opinion"}
    said = f"What about that, friend number {drawn % 1000}?"
    return json.dumps({"act": act, "utterance": said, **spoken, **({kind: names} if kind else {})})


@pytest.fixture
def endpoint() -> Iterator[Proxy]:
    with Proxy(answer=obedient) as standing:
        yield standing


def arguments(proxy: Proxy, out: Path, *more: str, settings: str = SETTINGS) -> list[str]:
    """Of a small comparison; what is said later wins."""
    file = out.parent / f"{out.name}.toml"
    out.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(settings)
    given = {"--arms": "max-entropy", "--dialogues": "12", "--train-dialogues": "0", "--out": str(out)}
    given |= {"--config": str(file), "--llm": "openai", "--base-url": proxy.base_url}
    flags = [option for option in more if option in ("--resume", "--force")]
    rest = [option for option in more if option not in flags]
    given |= dict(zip(rest[::2], rest[1::2], strict=True))
    return ["compare", "--json", *flags, *(word for pair in given.items() for word in pair)]


class Ended:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out = code, out
        self.lines = [line for line in err.splitlines() if line.startswith("unicrs-rl")]
        assert len(self.lines) == len(err.splitlines()), err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """A comparison in this process."""

    def start(proxy: Proxy, out: Path, *more: str, settings: str = SETTINGS) -> Ended:
        capsys.readouterr()
        code = main(arguments(proxy, out, *more, settings=settings))
        return Ended(code, *capsys.readouterr())

    return start


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of the same run without any trouble; each is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def find(*more: str, settings: str = SETTINGS) -> Path:
        if (settings, *more) not in made:
            out = tmp_path_factory.mktemp("undisturbed") / "run"
            with Proxy(answer=obedient) as proxy:
                assert main(arguments(proxy, out, *more, settings=settings)) == 0
            made[(settings, *more)] = out
        return made[(settings, *more)]

    return find


Undisturbed = Callable[..., Path]


def traces(out: Path, name: str = "traces.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def without_timing(out: Path) -> list[dict[str, Any]]:
    """The traces but for what depends on the moment."""
    lines = traces(out)
    for line in lines:
        for turn in line["turns"]:
            for call in (*turn["calls"], *turn.get("judge_calls", ())):
                for name in ("seconds", "resent", "cached"):
                    call.pop(name, None)
    return lines


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def assert_same(out: Path, reference: Path) -> None:
    assert (out / "results.json").read_bytes() == (reference / "results.json").read_bytes()
    assert without_timing(out) == without_timing(reference)
    assert not (out / "failed.jsonl").exists()
    assert not (out / "parts").exists()


def repeated(requests: Sequence[Request]) -> int:
    """How many requests were sent for something that had been asked before."""
    asked = Counter((str(request.body["messages"]), request.body["seed"]) for request in requests)
    return sum(asked.values()) - len(asked)


def one_opening(out: Path) -> tuple[str, int]:
    """The first words of one dialogue, which no other one has, and its index."""
    openings = Counter(line["opening"]["text"] for line in traces(out))
    return next(
        (line["opening"]["text"], line["index"])
        for line in traces(out)
        if openings[line["opening"]["text"]] == 1 and '"' not in line["opening"]["text"]
    )


JUDGED = SETTINGS.replace("limit = 3", 'limit = 2\njudge = "prompted"\njudge_samples = 2')


@pytest.mark.parametrize(
    ("settings", "task", "fault"),
    [
        (SETTINGS, "preference_reasoner", status(500)),
        (SETTINGS, "actor", reset()),
        (JUDGED, "judge", status(503)),
    ],
    ids=["reader", "actor", "judge"],
)
def test_a_fault_of_one_dialogue_costs_that_dialogue(
    endpoint: Proxy,
    tmp_path: Path,
    run: Run,
    undisturbed: Undisturbed,
    settings: str,
    task: str,
    fault: Fault,
) -> None:
    reference = undisturbed(settings=settings)
    opening, index = one_opening(reference)
    endpoint.plan(fault, where=lambda r: r.task == task and opening in r.prompt)
    out = tmp_path / "run"
    ended = run(endpoint, out, settings=settings)
    assert ended.code == 0, ended.lines
    (broken,) = traces(out, "failed.jsonl")
    assert broken["index"] == index
    assert broken["failed"].startswith(f"{task}: no answer")
    assert "metrics" not in broken
    kept = [line for line in without_timing(reference) if line["index"] != index]
    assert without_timing(out) == kept
    entry = results(out)["arms"]["max-entropy"]
    assert entry["failed"] == {"dialogues": 1, "commonest": broken["failed"]}
    assert entry["counts"]["at"] == 11
    assert "broke off" in (out / "report.html").read_text()

    endpoint.forget()
    ended = run(endpoint, out, "--resume", settings=settings)
    assert ended.code == 0, ended.lines
    assert endpoint.asked
    assert all(opening in request.prompt for request in endpoint.asked if request.task != "fact_retriever")
    assert_same(out, reference)


def test_the_table_says_what_is_missing(
    endpoint: Proxy, tmp_path: Path, undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    opening, _ = one_opening(undisturbed())
    endpoint.plan(status(500), where=lambda request: opening in request.prompt)
    words = [word for word in arguments(endpoint, tmp_path / "run") if word != "--json"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Dialogues that broke off and are missing: max-entropy 1 (" in said
    assert "--resume runs them again" in said


def test_a_kill_just_before_the_results_does_not_leave_old_ones(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that is resumed because a dialogue broke off."""
    from unicrs_rl.experiments import compare

    opening, _ = one_opening(undisturbed())
    endpoint.plan(status(500), where=lambda request: opening in request.prompt)
    assert run(endpoint, tmp_path / "run").code == 0
    endpoint.forget()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compare, "results", killed)
        assert run(endpoint, tmp_path / "run", "--resume").code == 130
    assert run(endpoint, tmp_path / "run", "--resume").code == 0
    assert_same(tmp_path / "run", undisturbed())


def test_where_no_dialogue_can_be_held_the_run_stops_and_can_be_resumed(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_model, "FAILURES", 10**6)  # else it counts as gone
    endpoint.plan(status(500), where=lambda request: request.task == "actor")
    ended = run(endpoint, tmp_path / "run")
    assert ended.code == 4
    (line,) = ended.lines
    assert "no dialogue of max-entropy was held (actor: no answer" in line
    assert "--resume" in line
    assert not (tmp_path / "run" / "results.json").exists()
    endpoint.forget()
    assert run(endpoint, tmp_path / "run", "--resume").code == 0
    assert_same(tmp_path / "run", undisturbed())


@pytest.mark.parametrize(
    ("code", "said"),
    [(401, "refuses the key"), (403, "refuses the key"), (404, "does not know the model")],
)
def test_a_refusal_on_the_way_stops_the_run_at_once(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed, code: int, said: str
) -> None:
    endpoint.plan(status(code, said=f"no luck with {KEY}"), numbers=range(20, 10**6))
    ended = run(endpoint, tmp_path / "run")
    assert ended.code == 2
    (line,) = ended.lines
    assert said in line
    assert endpoint.base_url in line
    assert KEY not in line
    refused = len(endpoint.asked) - 20
    assert 0 < refused <= 36  # what was asked for at that moment, and nothing after it
    answered = [request for request in endpoint.asked if request.status == 200]
    endpoint._rules.clear()
    assert run(endpoint, tmp_path / "run", "--resume").code == 0
    served = [request for request in endpoint.asked if request.status == 200]
    assert len(served) > len(answered) == 20
    assert repeated(served) == 0
    assert_same(tmp_path / "run", undisturbed())


def _wants_facts(request: Request) -> bool:
    return request.task in ("fact_retriever", "")  # refused with its schema, it is sent without


def test_refused_prompts_are_failed_calls_and_no_more(endpoint: Proxy, tmp_path: Path, run: Run) -> None:
    endpoint.plan(status(400, said="not nice"), where=_wants_facts)
    assert run(endpoint, tmp_path / "run").code == 0
    found = results(tmp_path / "run")["arms"]["max-entropy"]
    assert "failed" not in found
    assert found["cost"]["failed_calls"] == sum(len(line["turns"]) for line in traces(tmp_path / "run"))


def test_an_endpoint_that_dies_and_comes_back_is_waited_for(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed
) -> None:
    endpoint.plan(dies(3.0), numbers=30)
    ended = run(endpoint, tmp_path / "run")
    assert ended.code == 0, ended.lines
    opened, back = ended.lines[::2], ended.lines[1::2]
    assert len(opened) == len(back) >= 1
    assert all("failures in a row" in line for line in opened)
    assert all("is back after" in line for line in back)
    assert_same(tmp_path / "run", undisturbed())
    way = json.loads((tmp_path / "run" / "timings.json").read_text())
    assert sum(task["resent"] for task in way["language_model"]["max-entropy"]["tasks"].values()) >= 8


def test_an_endpoint_that_stays_away_stops_the_run(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed
) -> None:
    endpoint.plan(dies(10**6), numbers=30)
    impatient = SETTINGS + "patience = 1.0\n"
    ended = run(endpoint, tmp_path / "run", settings=impatient)
    assert ended.code == 4
    assert "failures in a row" in ended.lines[0]
    assert "did not come back within 1 seconds" in ended.lines[-1]
    assert len(ended.lines) == 2
    answered = {request.number for request in endpoint.asked if request.status == 200}
    endpoint.revive()
    endpoint._rules.clear()
    assert run(endpoint, tmp_path / "run", "--resume", settings=impatient).code == 0
    served = [request for request in endpoint.asked if request.status == 200]
    assert len(answered) >= 20
    assert repeated(served) <= 8  # answers that were on their way when it died
    assert_same(tmp_path / "run", undisturbed())


# --- kills


def start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "unicrs_rl.cli", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "after"),
    [
        (("--dialogues", "24"), 60),
        (("--arms", "rso,max-entropy", "--train-dialogues", "12", "--dialogues", "6"), 50),
        (("--arms", "unified,random", "--train-dialogues", "12", "--dialogues", "6"), 50),
    ],
    ids=["evaluation", "training of rso", "training of unified"],
)
def test_a_killed_run_repeats_no_call(
    tmp_path: Path, run: Run, undisturbed: Undisturbed, more: tuple[str, ...], after: int
) -> None:
    out = tmp_path / "run"
    with Proxy(answer=obedient, delay=0.05) as slow:
        process = start(arguments(slow, out, *more))
        wait_for(process, lambda: len(slow.asked) >= after)
        process.kill()
        process.communicate()
        first = list(slow.asked)
        assert not (out / "results.json").exists()
        slow.delay = 0.0
        assert run(slow, out, *more, "--resume").code == 0
        assert len(slow.asked) > len(first) >= after
        # Those under way, and those that had just come and were not yet written.
        assert repeated(slow.asked) <= 2 * 8
    assert_same(out, undisturbed(*more))


def test_an_interrupt_is_not_held_up_by_a_server_that_hangs(endpoint: Proxy, tmp_path: Path) -> None:
    endpoint.plan(late(600), numbers=range(12, 10**6))
    process = start(arguments(endpoint, tmp_path / "run"))
    wait_for(process, lambda: len(endpoint.asked) >= 20)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == 130
    assert err.decode().splitlines() == ["unicrs-rl: interrupted; --resume goes on"]


# --- order


def _is_of_step(step: int, request: Request) -> bool:
    return zlib.crc32(request.prompt.encode()) % 5 == step


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SETTINGS, JUDGED], ids=["rubric", "judged"])
def test_results_do_not_depend_on_when_answers_come(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed, settings: str
) -> None:
    for step in range(1, 5):
        endpoint.plan(late(step * 0.02), where=partial(_is_of_step, step))
    assert run(endpoint, tmp_path / "late", settings=settings).code == 0
    assert_same(tmp_path / "late", undisturbed(settings=settings))
    for concurrency in (1, 16):
        own = settings.replace("concurrency = 8", f"concurrency = {concurrency}")
        out = tmp_path / f"by {concurrency}"
        assert run(endpoint, out, settings=own).code == 0
        assert_same(out, undisturbed(settings=settings))


# --- the key


def test_the_key_is_nowhere_whatever_a_server_says(endpoint: Proxy, tmp_path: Path, run: Run) -> None:
    spoken = json.dumps({"act": "chat", "utterance": f"Is {KEY} yours?", "strategy": "Personal Opinion"})
    endpoint.plan(content(spoken), where=lambda r: r.task == "actor" and "decided to" not in r.prompt)
    endpoint.plan(status(500, said=f"{'x' * 150} {KEY}"), numbers=range(3, 8))
    endpoint.plan(status(400, said=f"your key {KEY}"), where=_wants_facts)
    endpoint.plan(content(f"no JSON, but {KEY}"), where=lambda r: r.number % 7 == 6)
    ended = run(endpoint, tmp_path / "run", "--arms", "max-entropy,rso,llm")
    assert ended.code == 0
    assert KEY not in ended.out + "".join(ended.lines)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY[:16].encode() not in path.read_bytes(), path
    answers = sqlite3.connect(tmp_path / "run" / "answers.sqlite").execute("SELECT text FROM answers")
    assert any("***" in text for (text,) in answers)


# --- budgets


@pytest.mark.parametrize(
    ("option", "limit", "more"),
    [("calls", "40", "1000000"), ("tokens", "20000", "100000000"), ("usd", "0.03", "1000")],
)
def test_a_budget_stops_the_run_and_a_larger_one_goes_on(
    endpoint: Proxy,
    tmp_path: Path,
    run: Run,
    undisturbed: Undisturbed,
    option: str,
    limit: str,
    more: str,
) -> None:
    settings, out = SETTINGS + PRICES, tmp_path / "run"
    reference = undisturbed(settings=settings)

    def limited(limit: str, *flags: str) -> Ended:
        words = (f"--budget-{option}", limit, *flags)
        return within(60, lambda: run(endpoint, out, *words, settings=settings))

    for flags in ((), ("--resume",)):
        asked = len(endpoint.asked)
        ended = limited(limit, *flags)
        assert ended.code == 4
        (line,) = ended.lines
        assert f"--budget-{option}: " in line
        assert "--resume" in line
        assert not flags or len(endpoint.asked) == asked
    sizes = [(len(r.prompt) // 4, len(obedient(r.body)) // 4) for r in endpoint.asked]
    usd = sum(size[0] + 10 * size[1] for size in sizes) / 1e6
    spent = {"calls": len(sizes), "tokens": sum(map(sum, sizes)), "usd": usd}[option]
    assert float(limit) / 2 < spent <= float(limit)
    assert limited(more, "--resume").code == 0
    assert repeated(endpoint.asked) == 0
    assert_same(out, reference)


def test_many_that_wait_for_a_budget_do_not_wait_for_ever(endpoint: Proxy, tmp_path: Path, run: Run) -> None:
    settings = SETTINGS.replace("concurrency = 8", "concurrency = 16") + PRICES
    words = ("--dialogues", "64", "--budget-usd", "0.05", "--budget-calls", "150")
    endpoint.plan(status(503), numbers=range(20, 30))
    endpoint.delay = 0.01
    ended = within(90, lambda: run(endpoint, tmp_path / "run", *words, settings=settings))
    assert ended.code == 4
    assert len([request for request in endpoint.asked if request.status == 200]) <= 150


def test_prices_and_what_was_spent_are_in_the_results(
    endpoint: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(
        endpoint,
        tmp_path / "run",
        *("--arms", "rso,max-entropy", "--train-dialogues", "8", "--dialogues", "6"),
        settings=SETTINGS + PRICES,
    )
    assert main([word for word in words if word != "--json"]) == 0
    assert "USD / dialogue" in capsys.readouterr().out
    found = results(tmp_path / "run")
    spent = json.loads((tmp_path / "run" / "timings.json").read_text())["spent"]
    assert set(spent) == {"rso", "max-entropy"}
    sent = Counter(request.task for request in endpoint.asked)
    booked = Counter(
        {task: sum(arm[task]["calls"] for arm in spent.values() if task in arm) for task in sent}
    )
    assert booked == sent
    tokens = sum(len(request.prompt) // 4 for request in endpoint.asked)
    assert sum(task["tokens_in"] for arm in spent.values() for task in arm.values()) == tokens
    for arm in ("rso", "max-entropy"):
        lines = [line for line in traces(tmp_path / "run") if line["arm"] == arm]
        calls = [call for line in lines for turn in line["turns"] for call in turn["calls"]]
        usd = sum(call["tokens_in"] + 10 * call["tokens_out"] for call in calls) / 1e6
        assert found["arms"][arm]["cost"]["usd_per_dialogue"] == pytest.approx(usd / 6, abs=2e-6)
    evaluated = found["arms"]["rso"]["cost"]["usd_per_dialogue"] * 6
    assert sum(task["usd"] for task in spent["rso"].values()) > 1.5 * evaluated  # training is in it


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("--budget-usd", "1"), SETTINGS, "there is no price for 'm'"),
        (("--budget-usd", "0"), SETTINGS + PRICES, "--budget-usd: must be above 0"),
        (("--budget-usd", "-1"), SETTINGS + PRICES, "--budget-usd"),
        (("--budget-usd", "nan"), SETTINGS + PRICES, "--budget-usd: must be above 0"),
        (("--budget-calls", "0"), SETTINGS, "--budget-calls: must be above 0"),
        (("--budget-tokens", "1.5"), SETTINGS, "--budget-tokens: '1.5' is not a valid value"),
    ],
)
def test_a_budget_that_is_none_is_one_clear_line(
    endpoint: Proxy, tmp_path: Path, run: Run, words: tuple[str, ...], settings: str, said: str
) -> None:
    ended = run(endpoint, tmp_path / "run", *words, settings=settings)
    assert ended.code == 2
    (line,) = ended.lines
    assert said in line
    assert not endpoint.asked
    assert not (tmp_path / "run").exists()


def test_the_embedded_model_needs_no_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--budget-calls", "5", "--out", str(tmp_path / "run")]) == 2
    assert "--budget-calls: the embedded language model costs nothing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


STUDY = """
title = "Two runs"
about = "With one budget."
[settings]
arms = ["max-entropy"]
dialogues = 6
seeds = [0]
recommend_above = 0.3
embeddings = { epochs = 1 }
llm = "openai"
language_model = { model = "m", base_url = "URL", concurrency = 4 }
[[run]]
name = "short"
[run.settings]
limit = 2
[[run]]
name = "long"
[run.settings]
limit = 3
[[artifact]]
kind = "numbers"
name = "numbers"
title = "Numbers"
run = "long"
arms = ["max-entropy"]
metrics = ["at"]
"""


def test_the_runs_of_a_study_share_a_budget_and_what_was_answered(
    endpoint: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.toml"
    file.write_text(STUDY.replace("URL", endpoint.base_url))
    words = ["study", str(file), "--json", "--out", str(tmp_path / "study")]
    assert main(words) == 0
    needed = len(endpoint.asked)
    assert repeated(endpoint.asked) == 0
    endpoint.forget()
    words[-1] = str(tmp_path / "limited")
    budget = ["--budget-calls", str(needed - 3)]
    capsys.readouterr()
    assert main(words + budget) == 4
    assert "--budget-calls" in capsys.readouterr().err
    assert len(endpoint.asked) == needed - 3
    assert (tmp_path / "limited" / "runs" / "short" / "results.json").is_file()
    assert main([*words, "--resume"]) == 0
    assert len(endpoint.asked) == needed
    whole, limited = (tmp_path / name / "results.json" for name in ("study", "limited"))
    assert whole.read_bytes() == limited.read_bytes()


# --- prompts that do not fit, in a run


def test_turns_left_out_are_told_in_traces_and_results(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed
) -> None:
    reader = "preference_reasoner"
    told = "maximum context length reached"
    longest = 0

    def first_turns(request: Request) -> bool:
        nonlocal longest
        if request.task == reader:
            longest = max(longest, len(request.prompt))
        return False

    endpoint.plan(status(500), where=first_turns)
    assert run(endpoint, tmp_path / "whole").code == 0
    endpoint.forget()
    endpoint.plan(status(400, said=told), where=lambda r: r.task == reader and len(r.prompt) > longest - 100)
    assert run(endpoint, tmp_path / "run").code == 0
    calls = [call for line in traces(tmp_path / "run") for turn in line["turns"] for call in turn["calls"]]
    dropped = sum(call.get("dropped", 0) for call in calls)
    assert dropped > 0
    by_task = results(tmp_path / "run")["arms"]["max-entropy"]["cost"]["by_task"]
    assert by_task[reader]["dropped"] == pytest.approx(dropped / 12, abs=1e-6)
    assert results(undisturbed())["arms"]["max-entropy"]["cost"]["by_task"][reader]["dropped"] == 0


# --- training


def test_a_training_dialogue_that_breaks_off_does_not_stop_the_run(
    endpoint: Proxy, tmp_path: Path, run: Run
) -> None:
    seen: list[str] = []
    words = ("--arms", "rso", "--train-dialogues", "8", "--dialogues", "4")

    def first(request: Request) -> bool:
        opening = re.search(r"seeker: (.*)", request.prompt)
        if request.task == "preference_reasoner" and opening and not seen:
            seen.append(opening[1])
        return bool(seen) and seen[0] in request.prompt and request.task == "preference_reasoner"

    endpoint.plan(status(500), where=first)
    ended = run(endpoint, tmp_path / "run", *words)
    assert ended.code == 0, ended.lines
    assert seen


def learned(components: Components, arm: str, broken: slice) -> tuple[bool, int]:
    """Whether a learner changed by what is left of a batch without those that broke off, and its turns."""
    options = {"unified": {"warm_up_turns": 1, "batch_size": 4}, "unified-ppo": {"rollout_turns": 1}}
    config = resolve({"arm": {arm: options.get(arm, {"warm_up_share": 0.0, "update_every": 1})}})
    learner = replace(components, config=config).policy(arm, 0, 8)
    assert isinstance(learner, Learner)
    sessions = components.world.sessions(Split.TRAIN, 6, 0)
    episodes = Conversations(components).hold(learner, sessions, learning=True)
    before = {name: tensor.clone() for name, tensor in learner.state(resumable=False)[0].items()}
    learner.forget({episode.session.key for episode in episodes[broken]})
    kept = [episode for episode in episodes if episode not in episodes[broken]]
    learner.learn()
    after = learner.state(resumable=False)[0]
    changed = before.keys() != after.keys() or any(not before[name].equal(after[name]) for name in before)
    return changed, sum(len(episode.dialogue.turns) for episode in kept)


@pytest.mark.parametrize("arm", ["unified", "unified-ppo", "rso", "rso-ppo"])
def test_nothing_is_learned_of_conversations_that_broke_off(components: Components, arm: str) -> None:
    some, turns = learned(components, arm, slice(0, 2))
    assert some
    assert turns > 0
    none, turns = learned(components, arm, slice(None))
    assert not none
    assert turns == 0


# --- what a hostile review found


def test_a_few_prompts_that_always_fail_do_not_stop_the_others(canned: Proxy) -> None:
    bad = ("worst", "worse", "bad")
    canned.plan(status(500), where=lambda request: any(word in request.prompt for word in bad))
    answers = ask(remote(canned, retries=4, patience=2), *(f"a {word} one" for word in bad), "good", "fine")
    assert [answer.call.lost for answer in answers] == [True, True, True, False, False]


def test_an_endpoint_that_is_gone_for_few_requests_is_noticed(canned: Proxy) -> None:
    """The list of models tells whether the endpoint or the few requests are at fault."""
    model = remote(canned, retries=3, patience=0.5)
    canned.die()
    with pytest.raises(Stopped, match="did not come back within"):
        ask(model, "one", "two")


def test_a_wait_that_is_longer_than_patience_stops_the_run(canned: Proxy) -> None:
    canned.plan(status(429, retry_after=100_000))
    with pytest.raises(Stopped, match=r"longer than language_model\.patience"):
        ask(remote(canned, patience=5))


@pytest.mark.parametrize("code", [403, 404, 451])
def test_a_prompt_that_is_turned_away_costs_its_dialogue_only(canned: Proxy, code: int) -> None:
    model = remote(canned)
    assert ask(model)[0].output is not None
    canned.plan(status(code, said="flagged"), where=lambda request: "rude" in request.prompt)
    rude, kind = ask(model, "a rude one", "a kind one")
    assert (rude.call.lost, rude.call.resent, kind.call.lost) == (True, 0, False)
    assert "flagged" in rude.call.failure
    canned.plan(status(code, said="flagged"))
    with pytest.raises(InputError):
        ask(model, *(f"number {number}" for number in range(20)))


@pytest.mark.parametrize("written", ["sk-SECRET\\/with", "\\u0073k-SECRET/with", "sk-SECRET/with"])
def test_the_key_is_blanked_however_it_is_escaped(
    canned: Proxy, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-SECRET/with")
    canned.plan(content(f'{{"score": 3, "reason": "{written}"}}', "echo"))
    raw = remote(canned).generate(GIVE, [Prompt(ASKED, Words(text=ASKED))])[0]
    assert "***" in raw.text
    assert "SECRET" not in raw.text


def test_a_url_with_a_query_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for url, says in (("http://127.0.0.1:9/v1?api-key=x", "has no query"), ("http://[::1/v1", "not a URL")):
        with pytest.raises(InputError, match=says):
            OpenAIModel(LanguageModelConfig(model="m", base_url=url))


def test_what_can_be_read_of_a_broken_file_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    answers = Answers(path)
    for number in range(400):
        kept = Kept("x" * 200, 1, 2, 0.5)
        answers.keep(f"{number:04}", kept, "rso", "actor", Spending(1, 1, 2, 0.5))
    answers.close()
    whole = bytearray(path.read_bytes())
    whole[-4096:-4000] = b"\xff" * 96
    path.write_bytes(whole)
    again = Answers(path)
    found = again.find([f"{number:04}" for number in range(400)])
    assert 0 < len(found) <= 400
    assert sum(again.spending().values(), Spending()).calls >= len(found)
    assert path.with_name("answers.sqlite.broken-1").exists()


def test_a_forced_run_keeps_what_was_paid_for(
    endpoint: Proxy, tmp_path: Path, run: Run, undisturbed: Undisturbed
) -> None:
    assert run(endpoint, tmp_path / "run").code == 0
    asked = len(endpoint.asked)
    assert run(endpoint, tmp_path / "run", "--force").code == 0
    assert len(endpoint.asked) == asked
    timings = json.loads((tmp_path / "run" / "timings.json").read_text())
    assert sum(task["calls"] for task in timings["spent"]["max-entropy"].values()) == 0
    assert_same(tmp_path / "run", undisturbed())
