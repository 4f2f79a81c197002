"""A real model behind a real server, driven end to end; and the proxy between, fault by fault."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from serving import (
    FAULTS,
    Asked,
    Fault,
    Proxy,
    conversations,
    cut_short,
    dies,
    late,
    reset,
    says,
    serve,
    status,
    torn,
)

from unicrs_rl.cli import main
from unicrs_rl.experiments.components import Components
from unicrs_rl.graphs.world import Split
from unicrs_rl.language.boundary import LanguageModelConfig
from unicrs_rl.language.openai_model import OpenAIModel

KEY = "sk-marker-of-the-served-run-4711"
SAID = '{"score": 3, "reason": "fair"}'


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY_FILE", raising=False)


def fetched(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON that a plain client gets."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        found: dict[str, Any] = json.load(reply)
        return found


def asks(model: str, text: str = "Which movie?", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 24, **more}


# --- the server


@pytest.mark.slow
def test_the_server_lists_its_models_and_answers(served: str, tiny_model: Path) -> None:
    assert fetched(f"{served}/models")["object"] == "list"
    found = fetched(f"{served}/chat/completions", asks(str(tiny_model)))
    assert found["choices"][0]["message"]["content"].startswith("{")
    assert 0 < found["usage"]["completion_tokens"] <= 24


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with [1-9].*Its log:.*nothing-here"):  # noqa: SIM117
        with serve(tmp_path / "nothing-here", tmp_path / "room"):
            pass


def is_free(asked: Asked) -> bool:
    """Whether no names from the prompt have to be repeated, which a network this small cannot do."""
    return getattr(asked.inputs, "act", None) in (None, "chat") and asked.task.name != "refiner"


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_the_model_answers_each_task_in_format(
    proxy: Proxy, tiny_model: Path, components: Components
) -> None:
    """On prompts of conversations that it was not trained on, over the wire."""
    by_task: dict[str, list[Asked]] = defaultdict(list)
    for one in conversations(components, 2, Split.TEST):
        if is_free(one) and one.attempt == 0:
            by_task[one.task.name].append(one)
    assert set(by_task) >= {"preference_reasoner", "fact_retriever", "actor", "single_prompt", "judge"}
    model = OpenAIModel(LanguageModelConfig(model=str(tiny_model), base_url=proxy.base_url, max_tokens=64))
    calls = []
    for task, asked in by_task.items():
        answers = model.complete(asked[0].task, [one.inputs for one in asked[:12]])
        valid = sum(answer.output is not None for answer in answers)
        print(f"{task}: {valid} of {len(answers)} in format")
        assert valid >= len(answers) / 2, (task, Counter(answer.call.failure for answer in answers))
        calls += [answer.call for answer in answers]
    assert len(proxy.asked) == sum(call.retries + 1 for call in calls)
    assert Counter(request.task for request in proxy.asked).keys() == by_task.keys()
    assert all(request.status == 200 for request in proxy.asked)


SETTINGS = """
limit = 3
recommend_above = 0.3

[embeddings]
epochs = 1

[language_model]
max_tokens = 48

[arm.rso]
width = 32
rollouts = 1
baseline = "none"
"""


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_head_to_head_with_a_real_model(
    proxy: Proxy, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, run = tmp_path / "settings.toml", tmp_path / "run"
    settings.write_text(SETTINGS)
    size = ("--dialogues", "4", "--train-dialogues", "4", "--seeds", "0", "--workers", "1")
    model = ("--llm", "openai", "--model", str(tiny_model), "--base-url", proxy.base_url)
    ground = ("--world", "movies", "--arms", "rso,llm", "--judge", "rubric", "--config", str(settings))
    code = main(["compare", *ground, *model, *size, "--out", str(run)])
    captured = capsys.readouterr()
    assert code == 0, captured.err

    lines = [json.loads(line) for line in (run / "traces.jsonl").read_text().splitlines()]
    assert Counter(line["arm"] for line in lines) == {"rso": 4, "llm": 4}
    calls = [call for line in lines for turn in line["turns"] for call in turn["calls"]]
    valid = Counter(call["task"] for call in calls if not call["failure"])
    print(f"in format, of {Counter(call['task'] for call in calls)}: {valid}")
    assert set(valid) >= {"preference_reasoner", "fact_retriever", "actor", "single_prompt"}
    assert all(call["tokens_in"] > 0 and call["tokens_out"] > 0 for call in calls)
    spoken = {turn["utterance"] for line in lines for turn in line["turns"]}
    assert "What else do you like?" in spoken
    asked = Counter(request.task for request in proxy.asked)
    for task in valid:  # what was answered before, word for word, may come from the cache
        sent = sum(call["retries"] + 1 - call.get("cached", 0) for call in calls if call["task"] == task)
        assert asked[task] >= max(sent, 1)

    assert "tiny" in json.loads((run / "results.json").read_text())["protocol"]["language_model"]
    assert (run / "report.html").stat().st_size > 10_000
    assert all(KEY in request.headers["authorization"] for request in proxy.asked)
    for path in run.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in captured.out + captured.err


# --- the proxy, seen by a plain client


@pytest.fixture
def canned() -> Iterator[Proxy]:
    """A proxy with nothing behind it."""
    with Proxy(answer=lambda _: SAID) as standing:
        yield standing


def post(proxy: Proxy, timeout: float = 10.0, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body that a client with no repairs of its own gets."""
    url = urlsplit(proxy.base_url)
    client = http.client.HTTPConnection(str(url.hostname), url.port, timeout=timeout)
    try:
        client.request("POST", "/v1/chat/completions", json.dumps(asks("m", **more)))
        reply = client.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        client.close()


def content_of(body: bytes) -> Any:
    return json.loads(body)["choices"][0]["message"]["content"]


def test_without_a_plan_the_answer_comes_as_it_is(canned: Proxy) -> None:
    code, _, body = post(canned, n=3)
    assert code == 200
    assert [choice["message"]["content"] for choice in json.loads(body)["choices"]] == [SAID] * 3
    canned.counts_n = False
    assert len(json.loads(post(canned, n=3)[2])["choices"]) == 1
    assert [request.number for request in canned.asked] == [0, 1]
    assert canned.asked[0].body == asks("m", n=3)
    assert [(request.fault, request.status) for request in canned.asked] == [("", 200)] * 2
    assert fetched(f"{canned.base_url}/models") == {"object": "list", "data": []}
    assert (canned.requests[-1].method, len(canned.asked)) == ("GET", 2)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (reset(), ConnectionResetError),
        (reset(0.5), (ConnectionResetError, http.client.IncompleteRead)),
        (torn(0.0), http.client.IncompleteRead),
        (torn(0.5), http.client.IncompleteRead),
        (dies(5.0), ConnectionResetError),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_connections_are_lost(canned: Proxy, fault: Fault, error: Any) -> None:
    canned.plan(fault)
    with pytest.raises(error):
        post(canned)
    assert [request.fault for request in canned.asked] == [fault.name]


def test_a_torn_answer_has_its_beginning(canned: Proxy) -> None:
    whole = post(canned)[2]
    canned.plan(torn(0.5))
    with pytest.raises(http.client.IncompleteRead) as caught:
        post(canned)
    assert len(whole) // 2 - 1 <= len(caught.value.partial) <= len(whole) // 2 + 1


def test_late_answers(canned: Proxy) -> None:
    canned.plan(late(0.4), numbers=0)
    canned.plan(late(60), numbers=1)
    assert content_of(post(canned)[2]) == SAID
    assert canned.asked[0].ended - canned.asked[0].began >= 0.4
    with pytest.raises(TimeoutError):
        post(canned, timeout=0.2)


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_other_statuses(canned: Proxy, code: int) -> None:
    canned.plan(status(code, said="not now"))
    found, headers, body = post(canned)
    assert (found, json.loads(body)["error"]["message"]) == (code, "not now")
    assert "retry-after" not in headers
    assert canned.asked[0].status == code


def test_retry_after_in_seconds_and_as_a_date(canned: Proxy) -> None:
    canned.plan(status(429, retry_after=2), numbers=0)
    canned.plan(status(429, retry_after=2, as_date=True), numbers=1)
    assert post(canned)[1]["retry-after"] == "2"
    when = parsedate_to_datetime(post(canned)[1]["retry-after"])
    assert 1 < (when - datetime.now(UTC)).total_seconds() <= 3


def test_bodies_that_are_no_answer(canned: Proxy) -> None:
    for name in ("empty body", "HTML", "not JSON", "a list"):
        canned.forget()
        canned.plan(FAULTS[name])
        code, headers, body = post(canned)
        assert code == 200
        assert headers["content-type"] == ("text/html" if name == "HTML" else "application/json")
        if name == "a list":
            assert json.loads(body) == []
        else:
            with pytest.raises(json.JSONDecodeError):
                json.loads(body)


def test_envelopes_of_the_wrong_shape(canned: Proxy) -> None:
    found = {}
    for name in ("choices null", "no choices", "usage in strings", "no usage"):
        canned.forget()
        canned.plan(FAULTS[name])
        found[name] = json.loads(post(canned)[2])
    assert found["choices null"]["choices"] is None
    assert found["no choices"]["choices"] == []
    assert isinstance(found["usage in strings"]["usage"]["prompt_tokens"], str)
    assert found["no usage"]["usage"] is None


def test_contents_that_are_no_answer(canned: Proxy) -> None:
    wanted = {"content a number": 7, "content null": None, "content empty": ""}
    for name, content in wanted.items():
        canned.forget()
        canned.plan(FAULTS[name])
        assert content_of(post(canned)[2]) == content
    canned.forget()
    canned.plan(FAULTS["another language"])
    assert "{" not in content_of(post(canned)[2])


def test_an_answer_that_ran_out_of_tokens(canned: Proxy) -> None:
    canned.plan(cut_short(0.5))
    body = post(canned)[2]
    assert content_of(body) == SAID[: len(SAID) // 2]
    assert json.loads(body)["choices"][0]["finish_reason"] == "length"


def test_a_plan_by_number_by_content_and_by_count(canned: Proxy) -> None:
    canned.plan(status(500), numbers=1)
    canned.plan(status(502), where=lambda request: "worst" in request.prompt)
    canned.plan(status(503), numbers=range(3, 9), times=2)
    texts = ["first", "second", "the worst", "fourth", "the worst of all", "sixth", "seventh"]
    codes = [post(canned, messages=[{"role": "user", "content": text}])[0] for text in texts]
    assert codes == [200, 500, 502, 503, 502, 503, 200]
    schema = {"type": "json_schema", "json_schema": {"name": "judge", "schema": {}}}
    canned.forget()
    canned.plan(says(b""), where=lambda request: request.task == "judge")
    assert [post(canned, response_format=schema)[2], content_of(post(canned)[2])] == [b"", SAID]


def test_an_endpoint_that_is_gone_comes_back(canned: Proxy) -> None:
    canned.die()
    with pytest.raises(ConnectionRefusedError):
        post(canned)
    canned.revive()
    assert post(canned)[0] == 200
    canned.plan(dies(0.5), numbers=1)
    with pytest.raises(ConnectionResetError):
        post(canned)
    with pytest.raises(ConnectionRefusedError):
        post(canned)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            assert post(canned)[0] == 200
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    assert [request.fault for request in canned.asked] == ["", "dies for 0.5 s", ""]


def test_a_death_ends_what_is_under_way(canned: Proxy) -> None:
    canned.plan(late(60), numbers=0)
    canned.plan(dies(0.2), numbers=1)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(post, canned)
        while not canned.asked:
            time.sleep(0.01)
        with pytest.raises(ConnectionResetError):
            post(canned)
        with pytest.raises(ConnectionResetError):
            waiting.result(timeout=30)


def test_many_at_once() -> None:
    everyone = threading.Barrier(24)
    with Proxy(answer=lambda body: str(len(body["messages"][0]["content"])), delay=0.5) as slow:

        def one(size: int) -> str:
            everyone.wait(timeout=30)
            return str(content_of(post(slow, messages=[{"role": "user", "content": "x" * size}])[2]))

        with ThreadPoolExecutor(24) as clients:
            assert list(clients.map(one, range(24))) == [str(size) for size in range(24)]
        assert slow.at_once == 24
        assert len(slow.asked) == 24


def test_a_connection_is_kept_and_nothing_is_left_behind() -> None:
    with Proxy(answer=lambda _: SAID) as standing:
        url = urlsplit(standing.base_url)
        client = http.client.HTTPConnection(str(url.hostname), url.port, timeout=10)
        for _ in range(3):
            client.request("POST", "/v1/chat/completions", json.dumps(asks("m")))
            assert content_of(client.getresponse().read()) == SAID
        standing.plan(late(60))
        client.request("POST", "/v1/chat/completions", json.dumps(asks("m")))
        while len(standing.asked) < 4:
            time.sleep(0.01)
    with pytest.raises(ConnectionResetError):
        client.getresponse()
    assert not [thread for thread in threading.enumerate() if thread.name == "proxy"]
    with pytest.raises(ConnectionRefusedError):
        post(standing)


def test_nobody_behind_the_proxy(canned: Proxy) -> None:
    gone = canned.base_url
    canned.die()
    with Proxy(gone) as before:
        assert post(before)[0] == 502
