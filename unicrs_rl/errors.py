"""Errors a user can act on: one line saying what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
