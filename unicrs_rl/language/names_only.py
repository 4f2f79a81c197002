"""Constrained decoding: in one field of its action a model can name nothing but what there is.

A language model of few parameters makes titles up. In the field, each next token is therefore one that
continues a name of the catalogue, or ends it: tokens are looked up in a prefix tree of all names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import LogitsProcessor

_COMPLETE = -1
"""Marks a node of the tree in which a name is complete; no token has this id."""


class NamesOnly:
    """The names that a field may hold.

    Args:
        tokenizer: of the model.
        field: what stands before the names, up to its colon.
        names: of which it may hold any, apart by ``" ; "``.
    """

    def __init__(self, tokenizer: Any, field: str, names: Iterable[str]) -> None:
        def tokens(text: str) -> list[int]:
            found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
            return found

        self._field, self._separator, self._newline = tokens(f" {field}:"), tokens(" ;"), tokens("\n")[0]
        self._tree: dict[int, Any] = {}
        for name in names:
            node = self._tree
            for token in tokens(f" {name}"):
                node = node.setdefault(token, {})
            node[_COMPLETE] = {}

    def after(self, start: int) -> LogitsProcessor:
        """The constraint on answers to prompts of this (padded) length."""
        return _Constraint(self, start)

    def allowed(self, made: list[int]) -> set[int] | None:
        """Tokens that may come next in an answer; ``None``: any."""
        place = _last(made, self._field)
        if place is None or self._newline in made[:place]:
            return None
        node, rest = self._tree, made[place:]
        while rest:
            if rest[0] in node:
                node, rest = node[rest[0]], rest[1:]
                continue
            head = rest[: len(self._separator)]
            if head != self._separator[: len(head)]:
                return None  # the field is over
            if len(head) < len(self._separator):
                return {self._separator[len(head)]}
            node, rest = self._tree, rest[len(head) :]
        ends = {self._separator[0], self._newline} if _COMPLETE in node else set()
        return {token for token in node if token != _COMPLETE} | ends


class _Constraint(LogitsProcessor):  # type: ignore[misc]
    """Leaves to each row only the tokens that may come next."""

    def __init__(self, names: NamesOnly, start: int) -> None:
        self.names, self.start = names, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores, minus infinity where a token is not allowed: ``[batch, vocabulary]``."""
        for row, made in enumerate(input_ids[:, self.start :].tolist()):
            allowed = self.names.allowed(made)
            if allowed is not None:
                barred = torch.ones_like(scores[row], dtype=torch.bool)
                barred[sorted(allowed)] = False
                scores[row] = scores[row].masked_fill(barred, -torch.inf)
        return scores


def _last(tokens: list[int], part: list[int]) -> int | None:
    """The place behind the last occurrence of a part."""
    for start in range(len(tokens) - len(part), -1, -1):
        if tokens[start : start + len(part)] == part:
            return start + len(part)
    return None
