"""TOML files that come with the package, each called by its name."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from unicrs_rl.errors import unknown

_SUFFIX = ".toml"


@dataclass(frozen=True)
class Shipped:
    """The files of a folder.

    Args:
        kind: what one of them is called in messages.
        package: the folder.
    """

    kind: str
    package: str

    def names(self) -> tuple[str, ...]:
        """What there is."""
        files = resources.files(self.package).iterdir()
        return tuple(sorted(f.name.removesuffix(_SUFFIX) for f in files if f.name.endswith(_SUFFIX)))

    def read(self, name: str) -> dict[str, Any]:
        """What a file says, unchecked.

        Raises:
            InputError: if there is none of that name.
        """
        if name not in self.names():
            raise unknown(self.kind, name, self.names())
        return tomllib.loads(resources.files(self.package).joinpath(name + _SUFFIX).read_text("utf-8"))


presets = Shipped("preset", "unicrs_rl.experiments.presets")
"""Published systems as settings."""
studies = Shipped("study", "unicrs_rl.experiments.studies")
"""The experiments of the RSO paper (:mod:`unicrs_rl.experiments.study`)."""
