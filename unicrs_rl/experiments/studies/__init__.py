"""The paper's experiments: one TOML file each, by name (see :mod:`unicrs_rl.experiments.study`)."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from unicrs_rl.errors import unknown

_SUFFIX = ".toml"


def names() -> tuple[str, ...]:
    """What there is."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX)))


def named_study(name: str) -> dict[str, Any]:
    """A study as its file has it.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in names():
        raise unknown("study", name, names())
    return tomllib.loads(resources.files(__package__).joinpath(name + _SUFFIX).read_text("utf-8"))
