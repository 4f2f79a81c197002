"""Trained simulators by their run folders, each loaded once: whoever plays with one plays with the same."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from unicrs_rl.language.roles import Role

if TYPE_CHECKING:
    from unicrs_rl.language.role_model import RoleModel


def model_file(run: Path) -> Path:
    """Where a run of ``train-simulator`` keeps its model."""
    return run / "checkpoints" / "model.safetensors"


def player(run: str | Path, role: Role, catalogue: str) -> RoleModel:
    """The model that a run of ``train-simulator`` made.

    Args:
        role: that it must play.
        catalogue: fingerprint of the catalogue that it must talk of.

    Raises:
        InputError: if there is none, it plays the other role, or its dialogues were of another catalogue.
    """
    place = Path(run).expanduser().resolve()
    path = model_file(place)
    made = path.stat().st_mtime_ns if path.is_file() else 0
    return _loaded(place, role, catalogue, made)


@lru_cache(maxsize=4)
def _loaded(run: Path, role: Role, catalogue: str, _made: int) -> RoleModel:
    """The same; a run that was made anew is loaded anew."""
    from unicrs_rl.language.role_model import RoleModel  # late: imports transformers

    return RoleModel.load(run, role, catalogue)
