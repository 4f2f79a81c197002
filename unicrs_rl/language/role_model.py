"""A causal language model that plays one role of a conversation, and the file it is kept in.

Small ones are made from nothing, with a tokenizer of their own; big ones are somebody's instruction-tuned
model, of which only a low-rank adapter is trained (LoRA, Hu et al., ICLR 2022).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from jinja2 import TemplateError
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from unicrs_rl import draws
from unicrs_rl.dialogue import Call
from unicrs_rl.errors import InputError
from unicrs_rl.language.boundary import RETRIES, LanguageModelConfig
from unicrs_rl.language.names_only import NamesOnly
from unicrs_rl.language.players import model_file
from unicrs_rl.language.roles import OTHER, OWN, SYSTEM, Chat, Role, heard
from unicrs_rl.language.transformers_model import Drawn, TransformersModel, control_tokens, spelt_out

Move = TypeVar("Move")

SMALL = "small"
"""The name of the model that is made from nothing."""
MOST_PARAMETERS = 10_000_000
"""Of a small model."""
IGNORED = -100
"""Label of a token that is not the role's own: nothing is learned of it."""
BUDGET = 64
"""Tokens that an action and its words may take."""
_PAD, _END = "<|pad|>", "<|end|>"
_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_TEMPERATURE, _TOP_P = 0.7, 0.9


class SmallConfig(BaseModel):
    """The small model: a Llama of this size, made from nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocabulary: int = Field(3000, ge=300, description="of its tokenizer, which is trained on the dialogues")
    width: int = Field(160, ge=16, multiple_of=16, description="of its hidden states")
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width: must be a multiple of twice the heads ({2 * self.heads})")
        return self

    def parameters(self) -> int:
        """How many it has, with embeddings that serve input and output."""
        attention, feed_forward, norms = 4 * self.width**2, 9 * self.width**2, 2 * self.width
        layer = attention + feed_forward + norms
        return self.vocabulary * self.width + self.layers * layer + self.width


class LoraSettings(BaseModel):
    """The adapter of a big model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1, description="scale of the adapter, over its rank")
    dropout: float = Field(0.05, ge=0, lt=1)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that a model talks of: those of a world's catalogue.

    Attributes:
        world: what the world is called.
        fingerprint: of its catalogue; two models can talk if it is the same.
    """

    world: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """Tokens to learn from.

    Attributes:
        tokens: ids.
        labels: the same where they are the role's own, else :data:`IGNORED`.
    """

    tokens: tuple[int, ...]
    labels: tuple[int, ...]


class RoleModel:
    """Plays a role.

    Args:
        role: which.
        vocabulary: whose names it talks of.
        network: a causal language model.
        tokenizer: its own, with a chat template.
        context: longest conversation in tokens; longer ones lose their beginning.
        base: the pretrained model that the network adapts; empty of a small one.
        lora: its adapter's settings.
    """

    def __init__(
        self,
        role: Role,
        vocabulary: Vocabulary,
        network: Any,
        tokenizer: Any,
        context: int,
        base: str = "",
        lora: LoraSettings | None = None,
    ) -> None:
        self.role, self.vocabulary = role, vocabulary
        self.network, self.tokenizer = network, tokenizer
        self.context = context
        self.base, self.lora = base, lora
        self._control = control_tokens(tokenizer)
        self._end = tokenizer.eos_token

    @classmethod
    def small(
        cls,
        role: Role,
        vocabulary: Vocabulary,
        texts: Iterable[str],
        size: SmallConfig,
        context: int,
        seed: int,
    ) -> Self:
        """A model that has learned nothing yet, with a tokenizer trained on texts."""
        tokenizer = _train_tokenizer(texts, size.vocabulary)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.width,
            intermediate_size=3 * size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = LlamaForCausalLM(config)
        return cls(role, vocabulary, network, tokenizer, context)

    @classmethod
    def adapted(
        cls, role: Role, vocabulary: Vocabulary, base: str, lora: LoraSettings, context: int, seed: int
    ) -> Self:
        """A pretrained model, by folder or hub name, with a new adapter.

        Raises:
            InputError: if there is no such model, it has no chat template, or peft is not installed.
        """
        if find_spec("peft") is None:
            raise InputError(
                f"--model {base}: needs the extra 'simulators': pip install 'unicrs-rl[simulators]'"
            )
        from peft import LoraConfig, get_peft_model  # late: takes seconds

        model = TransformersModel(LanguageModelConfig(model=base))
        network = model.network
        if model.tokenizer.eos_token is None:
            raise InputError(f"--model {base}: its tokenizer has no token that ends an answer")
        settings = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = get_peft_model(network, settings)
        room = getattr(network.config, "max_position_embeddings", None) or context
        adapted = cls(role, vocabulary, network, model.tokenizer, min(context, room), base, lora)
        try:
            adapted._rendered([{"role": SYSTEM, "content": "."}])
        except TemplateError as error:
            raise InputError(f"--model {base}: its chat template cannot be used ({error})") from None
        return adapted

    def weights(self) -> dict[str, torch.Tensor]:
        """What is trained: all of a small model, of a big one its adapter."""
        trained = {name for name, weight in self.network.named_parameters() if weight.requires_grad}
        return {name: value for name, value in self.network.state_dict().items() if name in trained}

    def take(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take up :meth:`weights`.

        Raises:
            ValueError: if they are another model's.
        """
        own = self.weights()
        if own.keys() != weights.keys() or any(own[n].shape != weights[n].shape for n in own):
            raise ValueError("the weights are of another model")
        self.network.load_state_dict(weights, strict=False)

    def header(self) -> dict[str, Any]:
        """Everything else that :meth:`load` needs."""
        about: dict[str, Any] = {
            "role": self.role.value,
            "world": self.vocabulary.world,
            "catalogue": self.vocabulary.fingerprint,
            "context": self.context,
            "base": self.base,
        }
        if self.lora is not None:
            return about | {"lora": self.lora.model_dump()}
        return about | {
            "config": self.network.config.to_diff_dict(),
            "tokenizer": self.tokenizer.backend_tokenizer.to_str(),
        }

    @classmethod
    def load(cls, run: Path, role: Role, catalogue: str) -> Self:
        """The model of a run of ``train-simulator``, for talking.

        Args:
            role: that it must play.
            catalogue: fingerprint of the catalogue that it must talk of.

        Raises:
            InputError: if there is none, it plays the other role, or its dialogues were of another catalogue.
        """
        header, weights = _read(run)
        if header["role"] != role:
            raise InputError(f"{run}: plays the {header['role']}; a run of --role {role} is needed")
        if header["catalogue"] != catalogue:
            raise InputError(
                f"{run}: talks of the catalogue of world {header['world']!r} (fingerprint "
                f"{header['catalogue']}), not of this one ({catalogue}); choose its world with --world and "
                "--data, or train another with train-simulator"
            )
        try:
            return cls._restored(header, weights)
        except InputError as error:
            raise InputError(f"{run}: {error}") from None
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _broken(run, error) from None

    @classmethod
    def _restored(cls, header: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Self:
        role, context = Role(header["role"]), int(header["context"])
        vocabulary = Vocabulary(header["world"], header["catalogue"])
        if header["base"]:
            lora = LoraSettings.model_validate(header["lora"])
            model = cls.adapted(role, vocabulary, header["base"], lora, context, seed=0)
        else:
            tokenizer = _wrapped(Tokenizer.from_str(header["tokenizer"]))
            with torch.random.fork_rng(devices=[]):
                network = LlamaForCausalLM(LlamaConfig(**header["config"]))
            model = cls(role, vocabulary, network, tokenizer, context)
        model.take(weights)
        model.network.eval()
        return model

    def sequences(self, chat: Chat) -> list[Lesson]:
        """A conversation as tokens to learn the role's own messages from.

        One sequence, where the chat template leaves earlier messages as they were and all fits into the
        context; else several, of which later ones begin later.
        """
        found: list[Lesson] = []
        tokens: list[int] = []
        labels: list[int] = []
        text, dropped = "", 0
        for place, message in enumerate(chat):
            if message["role"] != OWN:
                continue
            answer = self._tokens(self._clean(message["content"]) + self._end)
            prompt = self._rendered(_without(chat[:place], dropped))
            more = self._tokens(prompt[len(text) :]) if prompt.startswith(text) else None
            if more is None or len(tokens) + len(more) + len(answer) > self.context:
                _keep(found, tokens, labels)
                tokens, labels = [], []
                dropped, prompt, more = self._shortened(chat[:place], self.context // 2, dropped)
            tokens += [*more, *answer]
            labels += [*[IGNORED] * len(more), *answer]
            text = prompt + self._clean(message["content"]) + self._end
        _keep(found, tokens, labels)
        return [Lesson(one.tokens[: self.context], one.labels[: self.context]) for one in found]

    def _shortened(self, chat: Chat, room: int, dropped: int = 0) -> tuple[int, str, list[int]]:
        """The messages without as many of the oldest as need be: how many, as text, and as tokens."""
        while True:
            text = self._rendered(_without(chat, dropped))
            tokens = self._tokens(text)
            if len(tokens) <= room or dropped + 1 >= len(chat) - 1:
                return dropped, text, tokens
            dropped += 1

    def play(
        self,
        chats: Sequence[Chat],
        keys: Sequence[int],
        read: Callable[[int, str], Move],
        names: NamesOnly | None = None,
        budget: int = BUDGET,
    ) -> list[tuple[Move | None, Call]]:
        """What the role does next in each conversation; asked again where it is malformed, twice at most.

        Args:
            keys: of the random numbers of each answer; they do not depend on the batch.
            read: a move from the place of its conversation and the text.
            names: that a field of the action may hold, where it may not hold any.
            budget: tokens of an answer, at most.

        Returns:
            Of each, the move, or ``None`` where none was valid, and what it took.

        Raises:
            ValueError: never out of ``read``: what it says is wrong is the failure of the call.
        """
        room = self.context - budget
        prompts = [self._shortened(chat, room)[2][-room:] for chat in chats]
        task = f"interplay_{self.role}"
        blank = [Call(task, _hash(prompt), 0, 0, 0.0) for prompt in prompts]
        found: list[tuple[Move | None, Call]] = [(None, call) for call in blank]
        pending = list(range(len(chats)))
        for attempt in range(RETRIES + 1):
            if not pending:
                break
            started = time.perf_counter()
            drawn = [draws.key(keys[place], "played", attempt) for place in pending]
            answers = self._answers([prompts[place] for place in pending], drawn, budget, names)
            seconds = (time.perf_counter() - started) / len(pending)
            for place, answer in zip(pending, answers, strict=True):
                move, problem = _move(read, place, self.tokenizer.decode(answer, skip_special_tokens=True))
                call = found[place][1]
                found[place] = (
                    move,
                    replace(
                        call,
                        tokens_in=call.tokens_in + len(prompts[place]),
                        tokens_out=call.tokens_out + len(answer),
                        seconds=call.seconds + seconds,
                        retries=attempt,
                        failure=problem,
                    ),
                )
            pending = [place for place in pending if found[place][0] is None]
        return found

    @torch.inference_mode()
    def _answers(
        self, prompts: Sequence[list[int]], keys: Sequence[int], budget: int, names: NamesOnly | None
    ) -> list[list[int]]:
        longest = max(map(len, prompts))
        end = self.tokenizer.eos_token_id
        pad = end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        padded = torch.tensor([[pad] * (longest - len(ids)) + ids for ids in prompts])
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
        steps = [TemperatureLogitsWarper(_TEMPERATURE), TopPLogitsWarper(_TOP_P)]
        steps.append(Drawn(np.array(keys, dtype=np.uint64), longest))
        if names is not None:
            steps.insert(0, names.after(longest))
        made = self.network.generate(
            input_ids=padded.to(self.network.device),
            attention_mask=mask.to(self.network.device),
            generation_config=GenerationConfig(
                max_new_tokens=budget, do_sample=False, num_beams=1, pad_token_id=pad, eos_token_id=end
            ),
            logits_processor=LogitsProcessorList(steps),
        )
        rows: list[list[int]] = made[:, longest:].tolist()
        return [row[: row.index(end)] if end in row else row for row in rows]

    def _rendered(self, chat: Chat) -> str:
        """Messages as text, up to where the role speaks next."""
        turns = _alternating(chat) if self.base else chat
        clean = [{**message, "content": self._clean(message["content"])} for message in turns]
        text: str = self.tokenizer.apply_chat_template(
            clean, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return text

    def _clean(self, words: str) -> str:
        """Words in which nothing looks like a control token of the tokenizer."""
        return self._control.sub(spelt_out, words)

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens


def _hash(prompt: Sequence[int]) -> str:
    return hashlib.sha256(json.dumps(list(prompt)).encode()).hexdigest()[:16]


def _move(read: Callable[[int, str], Move], place: int, text: str) -> tuple[Move | None, str]:
    """A move from its text, or what is wrong with it."""
    try:
        return read(place, text), ""
    except ValueError as error:
        return None, str(error)


def _read(run: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and weights of a run's model.

    Raises:
        InputError: if it is not there, or cannot be read.
    """
    path = model_file(run)
    if not path.is_file():
        if (run / "parts").is_dir():
            raise InputError(f"{run}: its model is not finished; train-simulator --resume goes on")
        raise InputError(f"{run}: no run of train-simulator (there is no checkpoints/{path.name} in it)")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["header"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        missing = {"role", "catalogue", "world", "base", "context"} - set(header)
        if missing:
            raise ValueError(f"its header lacks {min(missing)!r}")
        if not all(torch.isfinite(weight).all() for weight in weights.values()):
            raise ValueError("it holds numbers that are not finite")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _broken(run, error) from None
    return header, weights


def _broken(run: Path, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0]
    return InputError(f"{model_file(run)}: not a model that train-simulator made ({reason})")


def _keep(found: list[Lesson], tokens: list[int], labels: list[int]) -> None:
    if tokens:
        found.append(Lesson(tuple(tokens), tuple(labels)))


def _alternating(chat: Chat) -> Chat:
    """A conversation in which the other side speaks between any two messages of the role, if only "..."."""
    turns: Chat = []
    for message in chat:
        if message["role"] == OWN and turns[-1:] and turns[-1]["role"] != OTHER:
            turns.append(heard("..."))
        turns.append(message)
    return turns if turns[-1]["role"] == OTHER else [*turns, heard("...")]


def _without(chat: Chat, dropped: int) -> Chat:
    """A conversation without its oldest messages; what the role is told stays."""
    return [*chat[:1], *chat[1 + dropped :]]


def _train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer with our chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [_PAD, _END, *(f"<|{role}|>" for role in (SYSTEM, OTHER, OWN))]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
