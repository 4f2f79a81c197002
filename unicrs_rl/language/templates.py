"""Prompts as text: templates in ``prompts/*.jinja``, filled with data that stays data.

Whatever a template prints is written as JSON, without being told to: a text in quotation marks, a list
in brackets. So no seeker's words and no title can begin a line, end a block or speak for someone else.
Besides what JSON escapes, so are (as ``\\uXXXX``, in JSON's own way) the signs that chat templates build
their control tokens from, characters that cannot be seen, and runs of dashes. Letters of any script stay
readable, and a model that copies a name gives that very name back. Two filters print without quotation
marks: ``plain`` our own words, ``bare`` what a world calls its items.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2

from unicrs_rl.errors import InputError

LONGEST_NOUN = 40
"""Characters of what items are called, at most."""
_NOUN_WORDS = 3
_RISKY = re.compile(
    r"[<>\[\]"  # <|im_end|>, </s>, <<SYS>>, [INST]
    r"\x00-\x1f\x7f-\x9f\u2028\u2029"  # control characters and line ends
    r"\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"  # unseen
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # unseen
    r"\ud800-\udfff]"  # halves of a character
)
_RUN = re.compile("(?<=---)-")
_NOT_BARE = re.compile(r"[^\w -]|_")
_quoted = json.JSONEncoder(ensure_ascii=False).encode


class Plain(str):
    """Text that is printed as it is."""

    __slots__ = ()


def literal(value: object) -> str:
    """A value as JSON on one line, with nothing in it that means anything to a chat template.

    Raises:
        TypeError: if JSON has no way to write it.
    """
    if isinstance(value, str):
        return _harmless(_quoted(value))
    if type(value) is int:
        return str(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(str(key))}: {literal(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    return _quoted(value)


def plain(text: str) -> Plain:
    """Words of our own (a strategy, its description), on one line and without quotation marks."""
    return Plain(_harmless(" ".join(text.split())))


def bare(noun: str) -> Plain:
    """What a world calls its items: letters, digits and hyphens of the first three words, 40 at most."""
    words = _NOT_BARE.sub(" ", noun).split()[:_NOUN_WORDS]
    return Plain(" ".join(words)[:LONGEST_NOUN].strip(" -") or "item")


def _harmless(text: str) -> str:
    text = _RISKY.sub(_escape, text)
    return _RUN.sub(_escape, text) if "----" in text else text


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _printed(value: object) -> object:
    """What a template prints for a value; what is missing is left for jinja to complain of."""
    return value if isinstance(value, Plain | jinja2.Undefined) else literal(value)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.language", "prompts"),
    undefined=jinja2.StrictUndefined,
    finalize=_printed,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701  prompts are plain text
)
_TEMPLATES.filters |= {"plain": plain, "bare": bare}


def render(name: str, variables: Mapping[str, Any]) -> str:
    """The prompt ``prompts/<name>.jinja`` with its variables filled in.

    Raises:
        InputError: if there is no such prompt, it is no template, or a variable of it is missing.
    """
    place = f"language/prompts/{name}.jinja"
    try:
        return _TEMPLATES.get_template(f"{name}.jinja").render(variables)
    except jinja2.UndefinedError as error:
        known = ", ".join(sorted(variables))
        raise InputError(f"{place}: {error.message}; the task gives {known}") from None
    except jinja2.TemplateNotFound:
        raise InputError(f"{place}: there is no such prompt; a task's prompt has the task's name") from None
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{place}, line {error.lineno}: {error.message}") from None
