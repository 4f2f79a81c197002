"""Where a run comes from: versions, commit, data and machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import unicrs_rl
from unicrs_rl.graphs.world import World

PACKAGES = (
    "torch",
    "torch-geometric",
    "numpy",
    "scipy",
    "transformers",
    "tokenizers",
    "gymnasium",
    "pydantic",
)


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that results depend on."""
    found = {"python": platform.python_version(), "unicrs-rl": unicrs_rl.__version__}
    return found | {name: metadata.version(name) for name in PACKAGES}


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


def provenance(world: World) -> dict[str, Any]:
    """Everything about the origin of a run that its configuration does not say."""
    return {
        "versions": versions(),
        "commit": commit(),
        "world": {"name": world.name, "fingerprint": world.fingerprint},
        "data": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in world.files},
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }
