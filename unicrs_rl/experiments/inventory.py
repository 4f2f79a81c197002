"""What is there: worlds with their sizes, versions, extras, data."""

from __future__ import annotations

import os
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unicrs_rl.experiments.provenance import versions
from unicrs_rl.graphs.readers.unicorn_directory import is_unicorn_directory
from unicrs_rl.graphs.world import World
from unicrs_rl.graphs.worlds import make_world, worlds

EXTRAS = {
    "dgl": "dgl",
    "ray": "ray",
    "app": "streamlit",
    "docs": "sphinx",
    "dev": "pytest",
}
"""Extra -> the package by whose presence it is recognised."""


def world_sizes(name: str | None, data: Path | None) -> list[dict[str, Any]]:
    """Name and sizes of the worlds; those that need data and were not given it say so.

    Raises:
        InputError: if the world asked for cannot be read.
    """
    if name is not None:
        return [_sizes(make_world(name, data))]
    rows: list[dict[str, Any]] = []
    for each in worlds:
        if each == "movies":
            rows.append(_sizes(make_world(each)))
        else:
            about = (worlds[each].__doc__ or "").strip()
            rows.append(
                {"name": each, "about": about, "sizes": f"worlds --world {each} --data DIR reads them"}
            )
    rows.append(
        {"name": "PATH", "about": "a folder with items.csv and interactions.csv, or a UNICORN directory"}
    )
    return rows


def _sizes(world: World) -> dict[str, Any]:
    catalogue = world.catalogue
    kinds = sorted(set(catalogue.kinds))
    return {
        "name": world.name,
        "items": catalogue.n_items,
        "attributes": {kind: catalogue.kinds.count(kind) for kind in kinds},
        "relations": list(catalogue.relations),
        "facts": len(catalogue.edges),
        "seekers": len(world.seekers),
        "graph likes": len(world.likes),
        "conversations": {split.value: len(pairs) for split, pairs in world.targets.items()},
        "dialogues": len(world.dialogues),
        "fingerprint": world.fingerprint,
        "notes": list(world.notes),
    }


def examine(data: Path | None) -> dict[str, dict[str, str]]:
    """Versions, extras and data found."""
    return {
        "versions": versions(),
        "extras": {extra: _extra(package) for extra, package in EXTRAS.items()},
        "machine": {"cores": str(os.cpu_count()), "torch device": _device()},
        "data": _data(data),
    }


def _extra(package: str) -> str:
    if find_spec(package) is None:
        return "not installed"
    return f"{package} {metadata.version(package)}"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _data(root: Path | None) -> dict[str, str]:
    """Data sets recognised in a folder and one level below it."""
    if root is None:
        return {"movies": "embedded", "others": "doctor --data DIR looks for them in a folder"}
    if not root.is_dir():
        return {"movies": "embedded", str(root): "no such folder"}
    found = {"movies": "embedded"}
    for path in [root, *sorted(child for child in root.iterdir() if child.is_dir())]:
        kind = _recognise(path)
        if kind:
            found[str(path)] = kind
    return found


def _recognise(path: Path) -> str | None:
    if is_unicorn_directory(path):
        return "UNICORN directory (world lastfm)"
    if (path / "kg.json").is_file() and (path / "id2info.json").is_file():
        return "ReDial (world redial)"
    if any(path.glob("inspired-*.jsonl")) or (path / "dev.tsv").is_file():
        return "INSPIRED (corpus)"
    if any((path / f"items.{ending}").is_file() for ending in ("csv", "parquet")):
        return "a catalogue (world PATH)"
    return None
