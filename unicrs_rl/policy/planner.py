"""The Planner's network: a text encoder and a classifier over strategies.

The text of a state is the dialogue so far, newest words last, followed by the turn's number and the
strategies used. The encoder is any Hugging Face encoder by folder or name, or (``small``, the
default) a small Transformer made from a config with a tokenizer trained on the text at hand, which
needs no download.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.utils import logging

from unicrs_rl.dialogue import STRATEGIES, Dialogue, State, Strategy
from unicrs_rl.errors import InputError

SMALL = "small"
_RESERVED = 2
"""Positions that RoBERTa and its kin number before the first token."""
_PADDING, _UNKNOWN = "[PAD]", "[UNK]"


def state_text(utterances: Sequence[tuple[str, str]], strategies: Sequence[Strategy]) -> str:
    """A state in words. The tail is what survives when a long dialogue is cut."""
    lines = [f"{speaker}: {text}" for speaker, text in utterances]
    used = ", ".join(strategy.value for strategy in strategies[-3:]) or "none"
    return "\n".join([*lines, f"turn {len(strategies) + 1}, used: {used}"])


def text_of(state: State) -> str:
    """:func:`state_text` of a policy's state."""
    return state_text(state.utterances, [decision.strategy for decision in state.decisions])


def corpus_samples(dialogues: Iterable[Dialogue]) -> list[tuple[str, int]]:
    """Supervised samples (text before the turn, index of the strategy) from labelled dialogues."""
    samples = []
    for dialogue in dialogues:
        lines = [("seeker", dialogue.opening.text)] if dialogue.opening.text else []
        used: list[Strategy] = []
        for turn in dialogue.turns:
            samples.append((state_text(lines, used), turn.decision.strategy.position))
            used.append(turn.decision.strategy)
            lines.append(("recommender", turn.utterance))
            if turn.reply.text:
                lines.append(("seeker", turn.reply.text))
    return samples


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the texts; deterministic."""
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocabulary, len(alphabet) + 2),
        special_tokens=[_PADDING, _UNKNOWN],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return wrap_tokenizer(tokenizer)


def wrap_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A trained tokenizer with the interface of the pretrained ones."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_PADDING, unk_token=_UNKNOWN)


class Planner(nn.Module):
    """Strategy logits of texts: encoder, mean over tokens, dropout, linear layer.

    Args:
        encoder: a Hugging Face encoder; its output has ``last_hidden_state``.
        tokenizer: the one that belongs to it.
        max_tokens: longer texts lose their beginning.
        dropout: before the classifier; active only in training mode.
    """

    def __init__(self, encoder: nn.Module, tokenizer: Any, max_tokens: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.tokenizer.truncation_side = "left"
        self.tokenizer.padding_side = "right"
        self.max_tokens = max_tokens
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, len(STRATEGIES))

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """Logits ``[texts, strategies]``; padding has no influence."""
        tokens = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        hidden = self.encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None].to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        logits: torch.Tensor = self.classifier(self.dropout(pooled))
        return logits


def small_planner(texts: Iterable[str], vocabulary: int, width: int, layers: int, max_tokens: int) -> Planner:
    """A planner with an encoder from config and a tokenizer trained on the texts."""
    return small_planner_with(train_tokenizer(texts, vocabulary), width, layers, max_tokens)


def small_planner_with(
    tokenizer: PreTrainedTokenizerFast, width: int, layers: int, max_tokens: int
) -> Planner:
    """A planner with an encoder from config for a given tokenizer."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        intermediate_size=2 * width,
        max_position_embeddings=max_tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Planner(BertModel(config, add_pooling_layer=False), tokenizer, max_tokens)


def check_encoder(name: str) -> None:
    """Look whether there is a Hugging Face encoder of that folder or name, before a run starts.

    Raises:
        ValueError: if not.
    """
    try:
        AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"encoder {name!r} cannot be loaded: {reason}") from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(f"encoder {name!r} has no tokenizer")
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ValueError(f"encoder {name!r} has no weights")


def pretrained_planner(name: str, max_tokens: int) -> Planner:
    """A planner on a Hugging Face encoder, by folder or name, in single precision.

    Texts are cut to what the encoder can take, if that is less than ``max_tokens``.

    Raises:
        InputError: if it cannot be loaded.
    """
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        encoder = AutoModel.from_pretrained(name).float()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"encoder {name!r} cannot be loaded: {reason}") from None
    positions = getattr(encoder.config, "max_position_embeddings", None) or max_tokens + _RESERVED
    longest = min(max_tokens, positions - _RESERVED, tokenizer.model_max_length)
    return Planner(encoder, tokenizer, longest)
