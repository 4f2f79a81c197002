"""Real language models behind the door: a small network in a folder, and the same behind an endpoint.

The networks are made from a configuration and their tokenizers trained on the spot. One is left as it is
and babbles; one is trained for a second or two until it answers every prompt of the judge with one verdict.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving import network_of, save, tokenizer_of

from unicrs_rl.cli import main
from unicrs_rl.dialogue import Act, Decision, Dialogue, Reply, Strategy, Turn
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.world import World
from unicrs_rl.judging.prompted import JUDGE, PromptedJudge
from unicrs_rl.language.boundary import LanguageModel, LanguageModelConfig, Message, Prompt, Task
from unicrs_rl.language.openai_model import OpenAIModel
from unicrs_rl.language.transformers_model import Drawn, TransformersModel

VERDICT = '{"score": 4, "reason": "fine"}'
KEY = "sk-very-secret-0123456789"


class Words(Message):
    """An input that is nothing but a prompt."""

    text: str


class Says(Task[Words, Message]):
    """A task whose prompt is its input as it is."""

    def render(self, inputs: Words) -> str:
        return inputs.text


SAY = Says("say", Words, Message, max_tokens=8)


def prompts(*texts: str, samples: int = 1) -> list[Prompt[Words]]:
    return [Prompt(text, Words(text=text), sample) for text in texts for sample in range(samples)]


def dialogue_of(world: World, reply: str = "No.") -> Dialogue:
    """A conversation of two turns about the first item."""
    ask = Decision(Act.ASK, Strategy.OPINION_INQUIRY, (0,))
    offer = Decision(Act.RECOMMEND, Strategy.CREDIBILITY, items=(0, 1))
    turns = [
        Turn(ask, "What do you like?", Reply("Something funny.")),
        Turn(offer, "Try this.", Reply(reply)),
    ]
    return Dialogue("d", Reply("Hi there."), turns)


@pytest.fixture(scope="module")
def babbler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned nothing."""
    prompts = resources.files("unicrs_rl.language").joinpath("prompts")
    tokenizer = tokenizer_of(VERDICT, *(prompt.read_text("utf-8") for prompt in prompts.iterdir()))
    return save(tmp_path_factory.mktemp("models") / "babbler", network_of(tokenizer), tokenizer)


@pytest.fixture(scope="module")
def critic(tmp_path_factory: pytest.TempPathFactory, movies: World) -> Path:
    """A network that answers the judge's prompt for :func:`dialogue_of` with the verdict."""
    judge = PromptedJudge(movies.catalogue, Silent(), 1)
    text = JUDGE.render(judge._inputs(dialogue_of(movies)))
    tokenizer = tokenizer_of(text, VERDICT)
    network = network_of(tokenizer)
    chat = [{"role": "user", "content": text}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    question, answer = tokenizer(asked)["input_ids"], tokenizer(f"{VERDICT}<|end|>")["input_ids"]
    ids = torch.tensor([question + answer])
    labels = torch.tensor([[-100] * len(question) + answer])
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(300):
        loss = network(input_ids=ids, labels=labels).loss
        if loss < 0.003:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return save(tmp_path_factory.mktemp("models") / "critic", network, tokenizer)


class Silent(LanguageModel):
    """Never asked."""

    name = "silent"

    def generate(self, task: Task[Any, Any], prompts: Any) -> Any:
        raise AssertionError


def local(folder: Path, **settings: Any) -> TransformersModel:
    return TransformersModel(LanguageModelConfig(model=str(folder), **settings))


# --- transformers


def test_a_model_that_answers_in_format_is_a_judge(critic: Path, movies: World) -> None:
    judge = PromptedJudge(movies.catalogue, local(critic, temperature=0.5), samples=5)
    (judgement,) = judge.judge([dialogue_of(movies)])
    assert judgement.score is not None
    assert (judgement.score.value, judgement.score.samples, judgement.score.failed) == (4.0, 5, 0)
    assert judgement.score.spread == 0.0
    tokens = len(local(critic).tokenizer(f"{VERDICT}<|end|>")["input_ids"])
    assert [(call.task, call.tokens_out, call.failure) for call in judgement.calls] == [
        ("judge", tokens, "")
    ] * 5


def test_a_model_that_babbles_gives_no_score(babbler: Path, movies: World) -> None:
    judge = PromptedJudge(movies.catalogue, local(babbler, max_tokens=4), samples=3)
    (judgement,) = judge.judge([dialogue_of(movies)])
    assert judgement.score is None
    assert len(judgement.calls) == 3
    assert all(call.retries == 2 and "JSON" in call.failure for call in judgement.calls)


def test_samples_differ_and_a_seed_repeats_them(babbler: Path) -> None:
    asked = prompts("hello", "you there", samples=4)
    first, again = (local(babbler, temperature=1.0, seed=3).generate(SAY, asked) for _ in range(2))
    assert first == again
    assert len({raw.text for raw in first}) == len(first)
    assert local(babbler, temperature=1.0, seed=4).generate(SAY, asked) != first


def test_answers_do_not_depend_on_the_batch(babbler: Path) -> None:
    asked = prompts("a", "a somewhat longer prompt", "the longest prompt of all of these, by far", samples=2)
    together, apart = (local(babbler, temperature=1.0, batch_size=n).generate(SAY, asked) for n in (6, 1))
    assert together == apart


def test_without_temperature_it_is_the_likeliest_token_of_each_step(babbler: Path) -> None:
    """Against a plain loop over unpadded prompts: padding is on the left and masked."""
    model = local(babbler, temperature=0.0)
    assert model.deterministic
    texts = ("short", "a prompt that is longer than the other one")
    for raw, text in zip(model.generate(SAY, prompts(*texts)), texts, strict=True):
        ids = model.tokenizer(f"<|user|>{text}<|end|><|assistant|>")["input_ids"]
        made: list[int] = []
        while len(made) < SAY.max_tokens and model.tokenizer.eos_token_id not in made:
            with torch.no_grad():
                made.append(int(model.network(torch.tensor([ids + made])).logits[0, -1].argmax()))
        assert raw.text == model.tokenizer.decode(made, skip_special_tokens=True)
        assert (raw.tokens_in, raw.tokens_out) == (len(ids), len(made))


def test_a_deterministic_model_is_asked_once_for_all_samples(critic: Path, movies: World) -> None:
    judge = PromptedJudge(movies.catalogue, local(critic, temperature=0.0), samples=10)
    (judgement,) = judge.judge([dialogue_of(movies)])
    assert judgement.score is not None
    assert (judgement.score.value, judgement.score.samples, len(judgement.calls)) == (4.0, 1, 1)


def test_tokens_are_drawn_with_their_probabilities() -> None:
    share = np.array([0.5, 0.0, 0.3, 0.2])
    keys = np.arange(20_000, dtype=np.uint64)
    logits = torch.from_numpy(share).log().expand(len(keys), -1)
    kept = Drawn(keys, 3)(torch.zeros(len(keys), 3, dtype=torch.long), logits)
    assert bool(((kept == 0).sum(dim=1) == 1).all())
    found = np.bincount(kept.argmax(dim=1).numpy(), minlength=4) / len(keys)
    assert found[1] == 0
    assert found == pytest.approx(share, abs=0.015)  # four standard errors
    later = Drawn(keys, 3)(torch.zeros(len(keys), 4, dtype=torch.long), logits)
    assert not torch.equal(kept, later)


def test_a_prompt_longer_than_the_context_fails_at_once(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(VERDICT)
    model = local(save(tmp_path, network_of(tokenizer, room=48), tokenizer))
    short, long = model.complete(SAY, [Words(text="hi"), Words(text="hi " * 40)])
    assert short.call.tokens_out > 0
    assert (long.output, long.call.retries, long.call.tokens_out) == (None, 0, 0)
    assert long.call.failure == "the prompt and an answer of 8 tokens do not fit into the model's 48"


def without(what: str) -> Any:
    """What breaks a model's folder."""

    def break_it(folder: Path) -> None:
        for path in folder.glob(what):
            path.unlink()

    return break_it


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def torn_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shutil.rmtree, "there is no such folder"),
        (without("config.json"), "that folder lacks config.json"),
        (without("*.safetensors"), "that folder lacks weights (*.safetensors)"),
        (without("tokenizer*"), "that folder lacks a tokenizer (tokenizer.json)"),
        (without_template, "has no chat template"),
    ],
)
def test_a_folder_that_is_no_model_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, babbler: Path, damage: Any, says: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(babbler, model)
    damage(model)
    err = complaint(capsys, *compare(tmp_path, "--llm", "transformers", "--model", str(model)))
    assert says in err
    assert str(model) in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("user", ["lm-reference", "lm-free", "lm-latent"])
def test_a_seekers_model_without_chat_template_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, babbler: Path, user: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(babbler, model)
    without_template(model)
    err = complaint(
        capsys, *compare(tmp_path, "--user", user, "--llm", "transformers", "--model", str(model))
    )
    assert "has no chat template" in err
    assert not (tmp_path / "run").exists()


def test_torn_weights_are_one_clear_line(tmp_path: Path, babbler: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(babbler, model)
    torn_weights(model)
    with pytest.raises(InputError, match="model: cannot be loaded"):
        local(model).generate(SAY, prompts("hi"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--llm", "transfomers"), "did you mean transformers"),
        (("--llm", "transformers"), "which model? --model names a folder"),
        (
            ("--llm", "transformers", "--model", "nobody/nothing"),
            "neither a folder here nor a model of the hub",
        ),
        (("--model", "nobody/nothing"), "needs --llm transformers or --llm openai"),
        (("--llm", "openai"), "which model? --model gives the name"),
        (
            ("--llm", "openai", "--model", "m"),
            "no key for https://api.openai.com/v1; put it into OPENAI_API_KEY",
        ),
        (("--llm", "openai", "--model", "m", "--base-url", "nowhere"), "not a URL"),
        (
            ("--llm", "openai", "--model", "m", "--base-url", "http://me:pw@host/v1"),
            "does not belong into the URL",
        ),
        (
            ("--llm", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"),
            "http://127.0.0.1:9/v1: cannot be",
        ),
        (("--judge", "promted"), "--judge: unknown judge 'promted'; did you mean prompted"),
    ],
)
def test_wrong_use_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY_FILE", raising=False)
    assert says in complaint(capsys, *compare(tmp_path, *arguments))
    assert not (tmp_path / "run").exists()


def test_without_its_package_the_endpoint_backend_says_what_to_install(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    err = complaint(capsys, *compare(tmp_path, "--llm", "openai", "--model", "m"))
    assert "pip install 'unicrs-rl[openai]'" in err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("judge_samples = 0", "judge_samples: must be at least 1 (it is 0)"),
        ("[language_model]\ntemperature = -1", "language_model.temperature: must be at least 0.0 (it is -1"),
        ("[language_model]\nmodell = 'x'", "language_model.modell: there is no such setting"),
        ("[language_model]\napi_key = 'x'", "language_model.api_key: there is no such setting"),
    ],
)
def test_wrong_settings_are_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, settings: str, says: str
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(settings)
    assert says in complaint(capsys, *compare(tmp_path, "--config", str(config)))


def test_a_device_that_is_not_here_is_one_clear_line(babbler: Path) -> None:
    with pytest.raises(InputError, match="there is no device 'cudaa'"):
        local(babbler, device="cudaa")


# --- openai


@dataclass
class Server:
    """An endpoint that speaks chat completions, with a real model behind it.

    Attributes:
        model: who answers.
        refuses: parameters it does not take.
        counts_n: whether it knows ``n``.
        asked: the bodies of the requests.
    """

    model: TransformersModel
    key: str = KEY
    refuses: tuple[str, ...] = ()
    counts_n: bool = True
    fails_with: int | None = None
    says: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append(body)
        if self.fails_with is not None:
            return self.fails_with, {"error": {"message": self.says}}
        for name in self.refuses:
            if name in body:
                return 400, {"error": {"message": f"unsupported parameter: {name}", "param": name}}
        text = body["messages"][0]["content"]
        task = Says("say", Words, Message, max_tokens=body.get("max_tokens") or body["max_completion_tokens"])
        wanted = [
            Prompt(text, Words(text=text), body.get("seed", 0) + sample)
            for sample in range(body.get("n", 1) if self.counts_n else 1)
        ]
        raws = self.model.generate(task, wanted)
        choices = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": raw.text}}
            for i, raw in enumerate(raws)
        ]
        tokens_in, tokens_out = raws[0].tokens_in, sum(raw.tokens_out for raw in raws)
        return 200, {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": choices,
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "total_tokens": tokens_in + tokens_out,
            },
        }


@pytest.fixture
def server(critic: Path) -> Iterator[Server]:
    """The critic behind an endpoint on this machine."""
    behind = Server(local(critic, temperature=0.5))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"object": "list", "data": []})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(*behind.answer(body))

        def reply(self, status: int, content: dict[str, Any]) -> None:
            if behind.key not in (self.headers["Authorization"] or ""):
                status, content = 401, {"error": {"message": f"wrong key: {self.headers['Authorization']}"}}
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    behind.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield behind
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY_FILE", raising=False)


def remote(server: Server, **settings: Any) -> OpenAIModel:
    return OpenAIModel(LanguageModelConfig(model="critic", base_url=server.url, **settings))


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("counts_n", [True, False])
def test_an_endpoint_judges(server: Server, movies: World, counts_n: bool) -> None:
    server.counts_n = counts_n
    judge = PromptedJudge(movies.catalogue, remote(server), samples=4)
    (judgement,) = judge.judge([dialogue_of(movies)])
    assert judgement.score is not None
    assert (judgement.score.value, judgement.score.samples, judgement.score.failed) == (4.0, 4, 0)
    assert len(server.asked) == (1 if counts_n else 4)
    assert len({body["seed"] for body in server.asked}) == len(server.asked)
    assert server.asked[0]["n"] == 4
    schema = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert set(schema["properties"]) == {"score", "reason"}
    tokens = len(server.model.tokenizer(f"{VERDICT}<|end|>")["input_ids"])
    assert [call.tokens_out for call in judgement.calls] == [tokens] * 4
    paid = [call.tokens_in > 0 for call in judgement.calls]
    assert paid == ([True, False, False, False] if counts_n else [True] * 4)


@pytest.mark.usefixtures("key")
def test_what_a_server_does_not_take_is_left_out(server: Server, movies: World) -> None:
    server.refuses = ("response_format", "max_tokens", "seed", "temperature", "top_p")
    model = remote(server)
    (judgement,) = PromptedJudge(movies.catalogue, model, samples=2).judge([dialogue_of(movies)])
    assert judgement.score is not None
    assert set(server.asked[-1]) == {"model", "messages", "n", "max_completion_tokens"}
    asked = len(server.asked)
    PromptedJudge(movies.catalogue, model, samples=2).judge([dialogue_of(movies)])
    assert len(server.asked) == asked + 1  # it is remembered


@pytest.mark.usefixtures("key")
def test_a_prompt_that_is_refused_is_a_failure_and_no_more(server: Server) -> None:
    server.fails_with, server.says = 400, f"not nice of {KEY}"
    (answer,) = remote(server).complete(SAY, [Words(text="hi")])
    assert (answer.output, answer.call.retries) == (None, 0)
    assert "refused by the server" in answer.call.failure
    assert "not nice of ***" in answer.call.failure


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("status", "says"),
    [
        (404, "does not know the model 'critic'"),
        (403, "refuses the key in OPENAI_API_KEY"),
    ],
)
def test_an_endpoint_in_trouble_is_one_clear_line(server: Server, status: int, says: str) -> None:
    server.fails_with, server.says = status, f"no luck with {KEY}\nsecond line"
    with pytest.raises(InputError, match=says) as caught:
        remote(server).complete(SAY, [Words(text="hi")])
    assert server.url in str(caught.value)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(("status", "says"), [(503, "gave up: .*503"), (429, "too much at once")])
def test_what_is_not_answered_is_lost(server: Server, status: int, says: str) -> None:
    server.fails_with, server.says = status, f"no luck with {KEY}\nsecond line"
    (answer,) = remote(server, retries=0, patience=0).complete(SAY, [Words(text="hi")])
    assert answer.output is None
    assert answer.call.lost
    assert re.search(says, answer.call.failure)
    assert KEY not in answer.call.failure
    assert "\n" not in answer.call.failure


@pytest.mark.usefixtures("key")
def test_what_does_not_speak_chat_completions_is_one_clear_line(server: Server) -> None:
    server.fails_with, server.says = 200, "hello"
    with pytest.raises(InputError, match="does not speak chat completions"):
        remote(server, retries=1).complete(SAY, [Words(text="hi")])


def test_the_key_may_be_in_a_file(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = tmp_path / "key"
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(file))
    with pytest.raises(InputError, match="OPENAI_API_KEY_FILE: cannot be read"):
        remote(server)
    file.write_text(f"{KEY}\n")
    assert remote(server).complete(SAY, [Words(text="hi")])[0].call.tokens_in > 0


def test_a_wrong_key_is_refused_without_showing_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with pytest.raises(InputError, match="refuses the key") as caught:
        remote(server)
    assert "sk-wrong" not in str(caught.value)


def test_an_endpoint_of_this_machine_needs_no_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY_FILE", raising=False)
    server.key = ""
    assert remote(server).complete(SAY, [Words(text="hi")])[0].call.tokens_in > 0


# --- whole runs


SETTINGS = """
judge = "prompted"
judge_samples = 2
limit = 2
arms = "max-entropy,random"
dialogues = 3
train_dialogues = 0
seeds = "0"
recommend_above = 0.3

[embeddings]
epochs = 1

[language_model]
max_tokens = 4
"""


def compare(tmp_path: Path, *arguments: str) -> tuple[str, ...]:
    return ("compare", "--out", str(tmp_path / "run"), "--workers", "1", *arguments)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that must fail with 2."""
    code, _, err = call(capsys, *arguments)
    assert code == 2, err
    assert len(err.splitlines()) == 1, err
    return err


def test_a_judge_that_never_answers_in_format_costs_its_metrics_only(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path, babbler: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    chosen = ("--llm", "transformers", "--model", str(babbler), "--config", str(settings))
    code, out, err = call(capsys, *compare(tmp_path, "--world", str(bistros), *chosen))
    assert code == 3
    last = err.splitlines()[-1]
    assert last.startswith("unicrs-rl: the judge scored no dialogue of max-entropy, random")
    assert "commonest reason: answer: Invalid JSON" in last
    assert "missing" in out
    run = tmp_path / "run"
    found = json.loads((run / "results.json").read_text())
    traces = [json.loads(line) for line in (run / "traces.jsonl").read_text().splitlines()]
    assert len(traces) == 6
    for arm in found["arms"].values():
        assert (arm["metrics"]["judge"], arm["metrics"]["conv_sr"]) == (None, None)
        assert (arm["counts"]["judge"], arm["counts"]["conv_sr"], arm["counts"]["sr@15"]) == (0, 0, 3)
        assert (arm["unscored"]["dialogues"], arm["unscored"]["of"]) == (3, 3)
        assert arm["cost"]["failed_judge_calls"] > 0
    for line in traces:
        for turn in line["turns"]:
            assert turn["judge"] is None
            assert [call["task"] for call in turn["judge_calls"]] == ["judge", "judge"]
            assert all(call["failure"] for call in turn["judge_calls"])
            assert all(call["task"] != "judge" for call in turn["calls"])
    assert found["protocol"]["language_model"] == "transformers babbler"
    assert found["protocol"]["judge_version"] == "2"
    assert "is missing" in (run / "report.html").read_text()
    assert call(capsys, *compare(tmp_path, "--world", str(bistros), *chosen, "--resume"))[0] == 3

    alone = ("evaluate", "--arm", "random", "--world", str(bistros), "--dialogues", "2", *chosen)
    code, out, err = call(capsys, *alone, "--json")
    assert code == 3
    evaluated = json.loads(out)
    assert (evaluated["judge"], evaluated["counts"]["judge"], evaluated["counts"]["at"]) == (None, 0, 2)
    assert "scored no dialogue of random" in err


def test_a_training_that_was_never_judged_says_so_and_keeps_its_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path, babbler: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        SETTINGS + "[arm.rso]\nwidth = 32\nwarm_up_share = 0.0\nrollouts = 1\nbaseline = 'none'\n"
    )
    chosen = ("--llm", "transformers", "--model", str(babbler), "--config", str(settings))
    run = tmp_path / "trained"
    size = ("--train-dialogues", "2", "--seeds", "0", "--workers", "1", "--out", str(run))
    code, _, err = call(capsys, "train", "--arm", "rso", "--world", str(bistros), *chosen, *size)
    assert code == 3
    assert err.splitlines()[-1].startswith("unicrs-rl: the judge gave no score in the training of rso-seed0")
    assert (run / "checkpoints" / "rso-seed0.safetensors").is_file()


def test_a_seed_makes_the_same_bytes_with_a_real_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path, babbler: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS.replace("max-entropy,", ""))
    found = []
    for name in ("a", "b"):
        chosen = ("--llm", "transformers", "--model", str(babbler), "--config", str(settings))
        call(capsys, *compare(tmp_path / name, "--world", str(bistros), *chosen))
        found.append((tmp_path / name / "run" / "results.json").read_bytes())
    assert found[0] == found[1]


@pytest.mark.usefixtures("key")
def test_the_key_is_nowhere_in_a_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path, server: Server
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    chosen = ("--llm", "openai", "--model", "critic", "--base-url", server.url, "--config", str(settings))
    code, out, err = call(capsys, *compare(tmp_path, "--world", str(bistros), *chosen))
    assert code in (0, 3)
    assert server.asked
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in out + err


def test_the_embedded_model_judges_by_rule_once_a_turn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    chosen = ("--world", str(bistros), "--config", str(settings), "--json")
    code, out, err = call(capsys, *compare(tmp_path, *chosen))
    assert (code, err) == (0, "")
    traces = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    for arm, found in json.loads(out)["arms"].items():
        assert found["counts"]["judge"] == 3
        turns = [turn for line in traces if line["arm"] == arm for turn in line["turns"]]
        assert found["cost"]["judge_calls_per_dialogue"] == pytest.approx(len(turns) / 3)
        assert found["cost"]["failed_judge_calls"] == 0
        for turn in turns:
            assert turn["judge"]["score"] in (1, 2, 3, 4, 5)
            assert (turn["judge"]["samples"], turn["judge"]["version"]) == (1, "2")
