"""The ``openai`` backend: any endpoint that speaks OpenAI's chat completions (vLLM, Ollama, hosted).

The key comes from the environment variable ``OPENAI_API_KEY`` or from the file that
``OPENAI_API_KEY_FILE`` names. It is in no setting, and is blanked out of whatever a server says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from unicrs_rl.errors import InputError
from unicrs_rl.language.boundary import LanguageModel, LanguageModelConfig, Prompt, Raw, Task

KEY, KEY_FILE = "OPENAI_API_KEY", "OPENAI_API_KEY_FILE"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OPTIONAL = ("response_format", "seed", "top_p", "temperature", "max_tokens")
"""Parameters that some servers refuse, and that an answer can be had without."""


class OpenAIModel(LanguageModel):
    """A model behind an endpoint.

    The JSON schema of the answer is sent as ``response_format`` where the server takes it; the prompt
    says it anyway. Several samples are asked for with ``n``, and again where a server gives fewer.

    Args:
        settings: which model, where, and how it samples.

    Raises:
        InputError: if the model has no name, there is no key, or nobody answers at the URL.
    """

    name = "openai"

    def __init__(self, settings: LanguageModelConfig) -> None:
        if not settings.model:
            raise InputError("--llm openai: which model? --model gives the name it has at the endpoint")
        self.settings = settings
        self.deterministic = settings.temperature == 0
        self._key = _key(settings.base_url)
        self._client = openai.OpenAI(
            api_key=self._key, base_url=settings.base_url, timeout=settings.timeout, max_retries=2
        )
        self._refused: set[str] = set()
        self._check()

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """Answers; a prompt that the server refuses is a failure.

        Raises:
            InputError: if the server cannot be reached, or refuses the key or the model.
        """
        return [
            raw
            for _, same in groupby(prompts, key=lambda prompt: (prompt.text, prompt.attempt))
            for raw in self._answers(task, list(same))
        ]

    def _answers(self, task: Task[Any, Any], prompts: list[Prompt[Any]]) -> Iterator[Raw]:
        """Answers to samples of one prompt: as many as the server gives at once, until there are enough."""
        done = 0
        while done < len(prompts):
            reply = self._ask(task, prompts[done], len(prompts) - done)
            if isinstance(reply, str):
                yield from (Raw("", 0, 0, reply) for _ in prompts[done:])
                return
            choices = reply.choices[: len(prompts) - done]
            used = reply.usage
            tokens_in, tokens_out = (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
            for place, choice in enumerate(choices):
                # What came in is counted once, what came out evenly, so that sums are exact.
                share = tokens_out // len(choices) + (place < tokens_out % len(choices))
                yield Raw(choice.message.content or "", 0 if place else tokens_in, share)
            done += len(choices)

    def _ask(self, task: Task[Any, Any], prompt: Prompt[Any], n: int) -> ChatCompletion | str:
        """One request; or why the server does not want to answer this prompt."""
        while True:
            try:
                reply = self._client.chat.completions.create(
                    model=self.settings.model,
                    messages=[{"role": "user", "content": prompt.text}],
                    n=n,
                    **self._parameters(task, prompt),
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if self._do_without(str(error)):
                    continue
                return f"refused by the server: {self._said(error)}"
            except openai.APIError as error:
                raise self._trouble(error) from None
            if not isinstance(reply, ChatCompletion) or not reply.choices:
                raise InputError(
                    f"--base-url {self.settings.base_url}: what answers there does not speak "
                    "chat completions (most URLs end in /v1)"
                )
            return reply

    def _parameters(self, task: Task[Any, Any], prompt: Prompt[Any]) -> dict[str, Any]:
        settings = self.settings
        budget = settings.max_tokens or task.max_tokens
        schema = {"name": task.name, "schema": task.outputs.model_json_schema()}
        wanted = {
            "response_format": {"type": "json_schema", "json_schema": schema},
            "seed": prompt.key(settings.seed) % 2**31,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": budget,
        }
        given = {name: value for name, value in wanted.items() if name not in self._refused}
        # OpenAI's newer models take the budget under another name only.
        return given if "max_tokens" in given else given | {"max_completion_tokens": budget}

    def _do_without(self, complaint: str) -> bool:
        """Whether there is a parameter left that the refusal may be about; it is not sent any more."""
        named = [name for name in _OPTIONAL if name in complaint]
        left = [name for name in (*named, "response_format") if name not in self._refused]
        self._refused.update(left[:1])
        return bool(left)

    def _check(self) -> None:
        """See whether anybody answers; which models there are, not every server knows.

        Raises:
            InputError: if nobody does, or the key is refused.
        """
        try:
            self._client.models.list()
        except (openai.APIConnectionError, openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._trouble(error) from None
        except (openai.APIError, ValueError):
            return

    def _trouble(self, error: openai.APIError) -> InputError:
        """In one line, what is wrong with the endpoint."""
        url, model = self.settings.base_url, self.settings.model
        match error:
            case openai.APITimeoutError():
                seconds = f"{self.settings.timeout:g} seconds"
                said = f"no answer within {seconds}; language_model.timeout sets how long to wait"
            case openai.APIConnectionError():
                said = f"cannot be reached ({self._said(error.__cause__ or error)})"
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                said = f"refuses the key in {KEY} or {KEY_FILE}"
            case openai.NotFoundError():
                said = f"does not know the model {model!r}, or is not where chat completions are (.../v1)"
            case _:
                said = f"gave up: {self._said(error)}"
        return InputError(f"--base-url {url}: {said}")

    def _said(self, error: BaseException) -> str:
        """The first line of a message, without the key."""
        said = str(error).strip().split("\n", 1)[0][:200]
        return said.replace(self._key, "***")


def _key(base_url: str) -> str:
    """The key of the endpoint; one on this machine needs none.

    Raises:
        InputError: if there is none, or the URL is not one.
    """
    url = urlsplit(base_url)
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
