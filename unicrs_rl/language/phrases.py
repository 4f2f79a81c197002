"""Sentence templates, kept as TOML files beside the code that speaks them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from unicrs_rl import draws


@cache
def load(package: str, name: str) -> dict[str, Any]:
    """A package's phrase file."""
    return tomllib.loads(resources.files(package).joinpath(name).read_text("utf-8"))


def choose(lines: list[str], key: int, turn: int, purpose: str) -> str:
    """One of several lines, always the same for the same conversation, turn and purpose."""
    return lines[draws.pick(key, turn, purpose, len(lines))]


def listing(names: list[str], last: str = "and") -> str:
    """Names as an English list."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"
