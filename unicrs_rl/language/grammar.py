"""The grammar of the embedded Actor's sentences: lines with alternatives, walked without repeats.

A line such as ``"So you want [{liked}|a good match]."`` stands for several sentences: ``[a|b]`` is one of
the alternatives, which may be nested. Each conversation walks the lines of a section in an order of its
own, one a turn, so that no line comes back before all the others had their turn and nobody has to look
up what was said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import Any

from unicrs_rl import draws
from unicrs_rl.language import phrases

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Form:
    """One of the sentences that a line stands for.

    Attributes:
        slots: what must be known to say it.
    """

    text: str
    slots: frozenset[str]


SILENCE = Form("", frozenset())


def expand(line: str) -> tuple[str, ...]:
    """The sentences that a line stands for, each once: one for every choice of its alternatives."""
    match = _ALTERNATIVES.search(line)
    if match is None:
        return (line,)
    before, after = line[: match.start()], line[match.end() :]
    options = match[1].split("|")
    return tuple(dict.fromkeys(text for option in options for text in expand(f"{before}{option}{after}")))


@cache
def forms(*section: str) -> tuple[tuple[Form, ...], ...]:
    """The lines of a section of the Actor's phrases, each with the sentences that it stands for.

    Raises:
        KeyError: there is no such section.
    """
    lines: Any = phrases.load(__package__, "actor_phrases.toml")
    for name in section:
        lines = lines[name]
    return tuple(tuple(Form(text, frozenset(_SLOT.findall(text))) for text in expand(line)) for line in lines)


def pick(lines: Sequence[Sequence[Form]], filled: frozenset[str], key: int, step: int, purpose: str) -> Form:
    """The sentence that a conversation says at a step of its walk through some lines.

    Of the sentences that a line stands for, those count that need no slot but the ``filled`` ones, and of
    these the ones that say most. A line without any gives way to the next; :data:`SILENCE` if all do.

    Args:
        key: of the conversation.
        step: any consecutive steps, as many as there are lines, come to different lines.
        purpose: tells walks through different lines apart.
    """
    count, strides = len(lines), _strides(len(lines))
    first, stride = divmod(draws.pick(key, 0, purpose, count * len(strides)), len(strides))
    start = first + step * strides[stride]
    for place in range(start, start + count):
        usable = [form for form in lines[place % count] if form.slots <= filled]
        if usable:
            if len(usable) == 1:
                return usable[0]
            most = max(len(form.slots) for form in usable)
            fullest = [form for form in usable if len(form.slots) == most]
            return fullest[draws.pick(key, step, f"{purpose} form", len(fullest))]
    return SILENCE


@cache
def _strides(count: int) -> tuple[int, ...]:
    """The strides by which a walk round ``count`` places comes to all of them."""
    return tuple(stride for stride in range(1, count + 1) if gcd(stride, count) == 1)
