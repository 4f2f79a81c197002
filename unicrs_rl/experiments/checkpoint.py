"""Checkpoints: safetensors with a JSON header, written whole or not at all. No pickle anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from unicrs_rl.errors import InputError


def write_atomically(path: Path, data: str | bytes) -> None:
    """Replace a file's content in one step; a reader sees the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    os.replace(temporary, path)


def save(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Write a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    owned = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, serialise(owned, metadata={"header": json.dumps(header)}))


def load(path: Path, world: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of a checkpoint.

    Args:
        world: fingerprint of the world it must belong to.

    Raises:
        InputError: if it cannot be read, holds numbers that are not finite, or belongs to another world.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["header"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint of unicrs-rl ({error})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"{path}: {name} holds numbers that are not finite")
    if world is not None and header.get("world") != world:
        raise InputError(
            f"{path}: belongs to another world (fingerprint {header.get('world')}, this world has {world})"
        )
    return tensors, header
