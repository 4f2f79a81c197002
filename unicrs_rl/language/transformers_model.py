"""The ``transformers`` backend: any causal language model in a local folder, or by its hub name.

Every answer's random numbers are addressed by its prompt, its sample and the seed, so that it does not
depend on what else is answered at the same time (but for rounding: padding changes the last digits of
the logits). Works offline with ``HF_HUB_OFFLINE=1``; loading runs no code of the model's repository.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)
from transformers.utils import logging

from unicrs_rl import draws
from unicrs_rl.errors import InputError
from unicrs_rl.language.boundary import LanguageModel, LanguageModelConfig, Prompt, Raw, Task

_WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json")
_END = 2**20
"""Bytes of each end of a file that tell it from another."""
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


class TransformersModel(LanguageModel):
    """A causal language model with a chat template. Its weights are loaded at the first prompt.

    Args:
        settings: which model, and how it samples.

    Raises:
        InputError: if there is no such model, or it lacks its weights, tokenizer or chat template.
    """

    name = "transformers"

    def __init__(self, settings: LanguageModelConfig) -> None:
        if not settings.model:
            raise InputError("--llm transformers: which model? --model names a folder, or one of the hub")
        self.settings = settings
        self.deterministic = settings.temperature == 0
        self.device = _device(settings.device)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        _check_folder(settings.model)
        self.tokenizer: Any = _tokenizer(settings.model)
        self.seed = settings.seed
        self._special = control_tokens(self.tokenizer)

    @cached_property
    def identity(self) -> str:  # type: ignore[override]
        """The model by what is in its folder, and how it samples."""
        settings = self.settings
        which = Path(settings.model).name if Path(settings.model).is_dir() else settings.model
        how = f"{settings.temperature} {settings.top_p} {settings.dtype}"
        return f"transformers {which} {fingerprint(settings.model)} {how}"

    @cached_property
    def network(self) -> Any:
        """The network, in evaluation mode on its device.

        Raises:
            InputError: if it cannot be loaded.
        """
        dtype = self.settings.dtype
        try:
            network = AutoModelForCausalLM.from_pretrained(self.settings.model, dtype=dtype)
            rows, words = network.get_input_embeddings().num_embeddings, len(self.tokenizer)
            if words > rows:
                raise ValueError(f"its tokenizer has {words} tokens, its network {rows}")
            return network.to(self.device).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{self.settings.model}: cannot be loaded ({_first_line(error)})") from None

    def longest(self, task: Task[Any, Any]) -> int:
        """Tokens that an answer may have."""
        return self.settings.max_tokens or task.max_tokens

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        """Answers, ``batch_size`` prompts at a time; a prompt longer than the context is a failure."""
        given = dict(self.answers(task, prompts))
        return [given[place] for place in range(len(prompts))]

    def answers(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> Iterator[tuple[int, Raw]]:
        """The same, a batch at a time, of prompts of about equal length: padding costs as much as words."""
        size, budget = self.settings.batch_size, self.longest(task)
        places = sorted(range(len(prompts)), key=lambda place: -len(prompts[place].text))
        for start in range(0, len(places), size):
            batch = places[start : start + size]
            yield from zip(batch, self._batch([prompts[place] for place in batch], budget), strict=True)

    def _batch(self, prompts: Sequence[Prompt[Any]], budget: int) -> list[Raw]:
        texts = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": self._special.sub(spelt_out, prompt.text)}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # for the templates that know it: thoughts would use the budget up
            )
            for prompt in prompts
        ]
        tokens: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        room = getattr(self.network.config, "max_position_embeddings", None)
        fits = [row for row, ids in enumerate(tokens) if room is None or len(ids) + budget <= room]
        too_long = f"the prompt and an answer of {budget} tokens do not fit into the model's {room}"
        raws = [Raw("", 0, 0, too_long, too_long=True) for _ in tokens]
        if fits:
            answers = self._answer([tokens[row] for row in fits], [prompts[row] for row in fits], budget)
            for row, answer in zip(fits, answers, strict=True):
                text = self.tokenizer.decode(answer, skip_special_tokens=True)
                raws[row] = Raw(text, len(tokens[row]), len(answer))
        return raws

    @torch.inference_mode()
    def _answer(
        self, tokens: list[list[int]], prompts: Sequence[Prompt[Any]], budget: int
    ) -> list[list[int]]:
        """New tokens of each prompt, up to and with the end of its answer."""
        longest = max(map(len, tokens))
        ends = self._ends
        pad = self.tokenizer.pad_token_id
        pad = pad if pad is not None else next(iter(ends), 0)  # masked, so any token will do
        padded = torch.tensor([[pad] * (longest - len(ids)) + ids for ids in tokens], device=self.device)
        mask = torch.tensor(
            [[0] * (longest - len(ids)) + [1] * len(ids) for ids in tokens], device=self.device
        )
        made = self.network.generate(
            input_ids=padded,
            attention_mask=mask,
            generation_config=GenerationConfig(
                max_new_tokens=budget,
                do_sample=False,
                num_beams=1,
                pad_token_id=pad,
                bos_token_id=self.tokenizer.bos_token_id,
                eos_token_id=sorted(ends) or None,
            ),
            logits_processor=self._sampling(prompts, longest),
        )
        return [_upto(row, ends) for row in made[:, longest:].tolist()]

    def _sampling(self, prompts: Sequence[Prompt[Any]], start: int) -> LogitsProcessorList:
        """Temperature and nucleus, then one token drawn; nothing where the likeliest is taken."""
        settings = self.settings
        if settings.temperature == 0:
            return LogitsProcessorList()
        steps = [TemperatureLogitsWarper(settings.temperature)]
        if settings.top_p < 1:
            steps.append(TopPLogitsWarper(settings.top_p))
        keys = np.array([prompt.key(settings.seed) for prompt in prompts], dtype=np.uint64)
        return LogitsProcessorList([*steps, Drawn(keys, start)])

    @cached_property
    def _ends(self) -> frozenset[int]:
        """Tokens that end an answer, by the tokenizer and by the model."""
        told = self.network.generation_config.eos_token_id
        ends = told if isinstance(told, list) else [told]
        return frozenset(end for end in (*ends, self.tokenizer.eos_token_id) if end is not None)


class Drawn(LogitsProcessor):  # type: ignore[misc]
    """Leaves one token to each row: drawn by inverting the cumulated probabilities.

    Args:
        keys: of each row's random numbers, ``[batch]``.
        start: length of the padded prompts.
    """

    def __init__(self, keys: np.ndarray[Any, np.dtype[np.uint64]], start: int) -> None:
        self.keys = keys
        self.start = start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores that are minus infinity but at the drawn token: ``[batch, vocabulary]``."""
        drawn = draws.uniform(self.keys, input_ids.shape[1] - self.start, "token")
        mass = scores.double().softmax(dim=-1).cumsum(dim=-1)
        # The total is one but for rounding; scaled by it, no draw falls behind the last token.
        level = torch.from_numpy(drawn).to(mass)[:, None] * mass[:, -1:]
        token = torch.searchsorted(mass, level, right=True)
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


def _device(wanted: str) -> torch.device:
    """The device of a setting.

    Raises:
        InputError: if there is no such device here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"language_model.device: there is no device {wanted!r} here; try 'cpu'") from None
    return device


def _check_folder(model: str) -> None:
    """Say what a folder lacks.

    Raises:
        InputError: if it is meant for a folder and there is none, or it is not that of a model.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith((".", "~")):
            raise InputError(f"--model {model}: there is no such folder{_near(folder)}")
        return
    for what, patterns in (
        ("config.json", ("config.json",)),
        ("weights (*.safetensors)", _WEIGHTS),
        ("a tokenizer (tokenizer.json)", _TOKENIZERS),
    ):
        if not any(next(folder.glob(pattern), None) for pattern in patterns):
            raise InputError(f"--model {model}: that folder lacks {what}")


def _near(folder: Path) -> str:
    """A hint at a folder of almost the same name."""
    beside = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
    near = get_close_matches(folder.name, beside, n=1, cutoff=0.6)
    return f"; did you mean {folder.parent / near[0]}?" if near else ""


def fingerprint(model: str) -> str:
    """Of the files of a model's folder: 16 hex digits of their names, sizes and ends. Empty of a hub name.

    Whole weights would take a minute to read; two models differ at both ends of a file.
    """
    folder = Path(model)
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(_END))
            file.seek(max(0, size - _END))
            digest.update(file.read(_END))
    return digest.hexdigest()[:16]


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Finds what the tokenizer would take for one of its control tokens."""
    marks = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len, reverse=True)
    return re.compile("|".join(re.escape(mark) for mark in marks if len(mark) > 1) or r"(?!)")


def spelt_out(match: re.Match[str]) -> str:
    """A control token as the letters it is written with."""
    return f"{match[0][0]} {match[0][1:]}"


def _tokenizer(model: str) -> Any:
    """The tokenizer of a model.

    Raises:
        InputError: if there is none, or it has no chat template.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    except (OSError, ValueError) as error:
        if not Path(model).is_dir():
            raise InputError(
                f"--model {model}: neither a folder here nor a model of the hub ({_first_line(error)})"
                + _near(Path(model))
            ) from None
        raise InputError(f"--model {model}: its tokenizer cannot be read ({_first_line(error)})") from None
    if tokenizer.chat_template is None:
        raise InputError(
            f"--model {model}: has no chat template, so it cannot be asked; take an instruction-tuned model"
        )
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "Hello."}], tokenize=False)
    except TemplateError as error:
        raise InputError(
            f"--model {model}: its chat template cannot be used ({_first_line(error)})"
        ) from None
    return tokenizer


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:200].rstrip(". ")


def _upto(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """Tokens up to and with the first that ends the answer."""
    place = next((place for place, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tokens[: place + 1]
