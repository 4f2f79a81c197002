"""Errors a user can act on: one line saying what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import ValidationError


class InputError(Exception):
    """Wrong use or wrong input. The command line prints it as one line and exits with 2."""


class Unjudged(Exception):
    """A run that ended and kept everything, but whose judge never scored. One line; exit code 3."""


class Stopped(Exception):
    """A run that came to a halt and kept everything, so that --resume goes on. One line; exit code 4."""


class Failed(Exception):
    """Controls that did not find what they have to. One line; exit code 1."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An :class:`InputError` for a name that is not registered, with the nearest known names."""
    options = sorted(known)
    close = get_close_matches(name, options, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(options)}"
    return InputError(f"unknown {kind} {name!r}; {hint}")


_SAID = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table of settings",
    "enum": "must be {expected}",
    "extra_forbidden": "there is no such setting",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "mapping_type": "must be a table of settings",
    "model_type": "must be a table of settings",
    "string_type": "must be text",
    "too_short": "at least one is needed",
    "value_error": "{error}",
}
"""What pydantic complains of, in the words of somebody who has never heard of pydantic."""


def explain(error: ValidationError) -> str:
    """The first complaint about a setting, with the value it is about."""
    problem = error.errors()[0]
    words = _SAID.get(problem["type"])
    said = words.format(**problem.get("ctx", {})) if words else problem["msg"]
    given = problem["input"]
    if isinstance(given, list | tuple):
        given = ",".join(map(str, given))
    if problem["type"] == "extra_forbidden" or not isinstance(given, str | int | float) or given == "":
        return said
    return f"{said} (it is {given!r:.50})"
