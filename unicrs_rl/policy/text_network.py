"""The text encoder: what a learned policy makes of the words of a conversation.

The last words of the dialogue, each utterance behind a mark of who spoke and in which strategy, go
through a small Transformer; a candidate is the mean of the vectors of its name's words:

``summary = mean_i E(w)_i``, ``candidate_c = mean_{w in name(c)} e_w``

The same word vectors ``e`` stand for what was said and for what could be offered. Nothing is downloaded
and nothing fitted before the training: which words are told apart depends on the catalogue's names and on
the language's common words alone.

It does not see the graph: neither its edges nor its vectors. The belief state's numbers (posterior masses,
entropies, the turn) reach the heads beside it as they do beside the graph encoder, because perception and
retrieval are the same for all arms.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unicrs_rl.dialogue import STRATEGIES, State
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.language.lexicon import tokenize
from unicrs_rl.language.phrases import COMMON_WORDS

_NOTHING = 0
"""The token of an empty place."""
_SEEKER, _RECOMMENDER = 1, 2
_STRATEGIES = 3
"""The first of the strategies' tokens."""
_BUCKETS = _STRATEGIES + len(STRATEGIES)
"""The first token of words that are not told apart one by one."""
_N_BUCKETS = 256
_KNOWN = _BUCKETS + _N_BUCKETS
"""The first token of a word of its own."""
_NAME = 12
"""Words of a name that count."""


class Words:
    """The words that a text encoder tells apart, as tokens.

    Args:
        catalogue: whose names are read. The language's common words have tokens of their own, then the
            words that most names have; all others share 256 tokens by a hash.
        vocabulary: words of names with a token of their own, at most.
        length: L, tokens of a dialogue that are kept, the newest.

    Attributes:
        names: ``[items + attributes, *]`` tokens of each name, 0 behind its end.
        size: how many tokens there are.
    """

    def __init__(self, catalogue: Catalogue, vocabulary: int, length: int) -> None:
        names = [tokenize(name)[:_NAME] for name in (*catalogue.items, *catalogue.attributes)]
        counts = Counter(word for name in names for word in name if word not in COMMON_WORDS)
        commonest = sorted(counts, key=lambda word: (-counts[word], word))[:vocabulary]
        known = (*sorted(COMMON_WORDS), *commonest)
        self.length = length
        self.size = _KNOWN + len(known)
        self._known = {word: token for token, word in enumerate(known, start=_KNOWN)}
        self._read = lru_cache(maxsize=65_536)(self._tokens_of)
        self.names = np.full((len(names), max(1, max(map(len, names), default=0))), _NOTHING, dtype=np.int64)
        for row, name in enumerate(names):
            self.names[row, : len(name)] = [self.token(word) for word in name]

    def token(self, word: str) -> int:
        """The token of a word in small letters."""
        return self._known.get(word, _BUCKETS + zlib.crc32(word.encode()) % _N_BUCKETS)

    def tokens(self, rows: Sequence[State]) -> NDArray[np.int64]:
        """The last words of each dialogue: ``[b, L]``, the newest in the last place, 0 before the first."""
        tokens = np.full((len(rows), self.length), _NOTHING, dtype=np.int64)
        for row, state in enumerate(rows):
            said = self._said(state)[-self.length :]
            tokens[row, self.length - len(said) :] = said
        return tokens

    def _said(self, state: State) -> list[int]:
        """All of a dialogue; a recommender utterance has its strategy behind the mark of who spoke."""
        strategies = iter(state.decisions)
        said = []
        for speaker, text in state.utterances:
            if speaker == "seeker":
                said.append(_SEEKER)
            else:
                said.append(_RECOMMENDER)
                if (decision := next(strategies, None)) is not None:
                    said.append(_STRATEGIES + decision.strategy.position)
            said += self._read(text)
        return said

    def _tokens_of(self, text: str) -> tuple[int, ...]:
        return tuple(self.token(word) for word in tokenize(text))


def tokens_of(words: Words | None, rows: Sequence[State], b: int) -> NDArray[np.int64]:
    """The tokens of ``b`` states: ``[b, L]``, and ``[b, 0]`` where no words are read.

    Raises:
        InputError: if words are to be read and there are none.
    """
    if words is None:
        return np.zeros((b, 0), dtype=np.int64)
    if len(rows) != b:
        raise InputError(
            'encoder: "text" and "both" read words, and at the semantic surface nothing is said; set '
            'surface = "text", or encoder = "graph"'
        )
    return words.tokens(rows)


class TextEncoder(nn.Module):
    """A Transformer over the last words, and the names of the candidates.

    Args:
        words: that are told apart.
        dim: width of all vectors.
        layers: of the Transformer.
        heads: of its attention.
    """

    names: torch.Tensor

    def __init__(self, words: Words, dim: int, layers: int, heads: int) -> None:
        super().__init__()
        self.token = nn.Embedding(words.size, dim, padding_idx=_NOTHING)
        self.place = nn.Embedding(words.length, dim)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True)
            for _ in range(layers)
        )
        self.chat = nn.Parameter(torch.randn(dim))
        nobody = np.full_like(words.names[:1], _NOTHING)  # the last row, where -1 leads
        self.register_buffer(
            "names", torch.from_numpy(np.concatenate([words.names, nobody])), persistent=False
        )

    def forward(self, tokens: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Summaries of dialogues ``[b, dim]``, and their candidates ``[b, c + 1, dim]``, chat behind them.

        Args:
            tokens: ``[b, L]``.
            candidates: ``[b, c]`` item ids, or the number of items plus attribute ids; -1 for none.
        """
        names = self.names[candidates]
        listed = nn.functional.embedding_bag(
            names.flatten(0, 1), self.token.weight, mode="mean", padding_idx=_NOTHING
        )
        listed = listed.view(*candidates.shape, -1)
        chat = self.chat.expand(len(listed), 1, -1)
        return self._summarise(tokens), torch.cat([listed, chat], dim=1)

    def _summarise(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mean of the encoded tokens: ``[b, dim]``. Places that are empty in all dialogues are spared."""
        used = int((tokens != _NOTHING).any(0).sum()) or 1
        tokens = tokens[:, -used:]
        empty = tokens == _NOTHING
        empty[:, -1] = False  # a dialogue without words attends to one empty place
        encoded = self.token(tokens) + self.place.weight[-used:]
        for layer in self.layers:
            encoded = layer(encoded, src_key_padding_mask=empty)
        kept = (~empty)[:, :, None]
        summary: torch.Tensor = (encoded * kept).sum(1) / kept.sum(1)
        return summary
