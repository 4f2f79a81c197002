"""Published systems as settings: one TOML file each, by name."""

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


def preset(name: str) -> dict[str, Any]:
    """The settings of a published system.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in names():
        raise unknown("preset", name, names())
    return tomllib.loads(resources.files(__package__).joinpath(name + _SUFFIX).read_text("utf-8"))
