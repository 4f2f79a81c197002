"""Where a run comes from: versions, commit, data and machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import unicrs_rl
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.graphs.world import World
from unicrs_rl.language.players import model_file
from unicrs_rl.registry import OPEN, plug_ins
from unicrs_rl.simulators.populations import seeker_kind

PACKAGES = (
    "torch",
    "torch-geometric",
    "numpy",
    "scipy",
    "transformers",
    "scikit-learn",
    "tokenizers",
    "gymnasium",
    "pydantic",
)


def versions() -> dict[str, str]:
    """Versions of Python, of this package, of libraries that results depend on, and of what is plugged in."""
    found = {"python": platform.python_version(), "unicrs-rl": unicrs_rl.__version__}
    plugged = dict(plug.package.rsplit(" ", 1) for kind in OPEN for plug in plug_ins(kind))
    return found | {name: metadata.version(name) for name in PACKAGES} | plugged


def commit() -> str | None:
    """The commit of the source tree this package runs from, or ``None`` where there is none.

    A trailing ``+`` says that the tree had changes.
    """
    root = Path(unicrs_rl.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def provenance(config: RunConfig, world: World, starts: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """Everything about the origin of a run that its configuration does not say.

    Data files are named from the folder of their data on, so that the same data has the same names
    on every machine.

    Args:
        starts: files that trainings start from, by arm.
    """
    return {
        "versions": versions(),
        "commit": commit(),
        "world": {"name": world.name, "fingerprint": world.fingerprint},
        "data": _hashes(world.files, config.data or Path(config.world)),
        "corpus": _hashes(_corpus_files(config.corpus), config.corpus) if config.corpus else {},
        "starts": {arm: _sha256(path) for arm, path in (starts or {}).items()},
        "weights": _weights(config),
        "simulators": _recommenders(config),
        "seekers": _seeker_files(config),
        "machine": _machine(),
    }


def _weights(config: RunConfig) -> dict[str, str]:
    """Fingerprint of the language model's folder, if it has one."""
    model = config.language_model.model
    if config.llm != "transformers" or not Path(model).is_dir():
        return {}
    from unicrs_rl.language.transformers_model import fingerprint  # late: imports transformers

    return {Path(model).name: fingerprint(model)}


def _seeker_files(config: RunConfig) -> dict[str, str]:
    """What seekers are made from beside the world: their coefficients, and files of their own."""
    name, _, argument = config.user.partition(":")
    own = {f"{name}: {path.name}": path for path in seeker_kind(config.user).files(argument)}
    table = config.seekers.table
    files = own | ({f"effects: {table.name}": table} if table else {})
    return {called: _sha256(path) for called, path in files.items() if path.is_file()}


def _recommenders(config: RunConfig) -> dict[str, str]:
    """Hash of the weights of each trained simulator that takes part as an arm."""
    runs = {arm: str(config.settings(arm).get("run", "")) for arm in config.arms}
    files = {who: model_file(Path(run)) for who, run in runs.items() if run}
    return {who: _sha256(path) for who, path in files.items() if path.is_file()}


def corpus_provenance(corpus: Path) -> dict[str, Any]:
    """The same for a run that has a corpus and no world."""
    return {
        "versions": versions(),
        "commit": commit(),
        "corpus": _hashes(_corpus_files(corpus), corpus),
        "machine": _machine(),
    }


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def changed_file(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first data file, if any, in which the origins of two runs differ."""
    for kind in ("data", "corpus", "starts", "weights", "seekers"):
        old, new = before.get(kind, {}), now.get(kind, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return str(name)
    return None


def check_corpus_unchanged(folder: RunFolder, now: Mapping[str, Any]) -> None:
    """Look whether the corpus of a run to be resumed is the one it was started with.

    Raises:
        InputError: naming the file that is not.
    """
    if not folder.provenance.is_file():
        return
    changed = changed_file(folder.read_json(folder.provenance), now)
    if changed is not None:
        raise InputError(
            f"{folder.path}: the corpus changed since this run was started ({changed}); use --force"
        )


def _corpus_files(corpus: Path) -> list[Path]:
    """The files that a corpus may be read from."""
    return sorted(path for path in corpus.iterdir() if path.suffix in (".jsonl", ".tsv") and path.is_file())


def _hashes(files: Iterable[Path], root: Path) -> dict[str, str]:
    """SHA-256 by the file's name from the data's folder on."""
    return {path.relative_to(root).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
