"""The repository itself: its layout, its promises, and what must not be in it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> list[Path]:
    """Files that git tracks; outside a checkout, nothing."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("needs a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_rooms_stand_at_the_root_as_links() -> None:
    for room in ("graphs", "policy", "simulators", "experiments"):
        assert (ROOT / room).is_symlink()
        assert (ROOT / room).readlink() == Path("unicrs_rl") / room


def test_what_a_repository_needs_is_there() -> None:
    names = (
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "Makefile",
        "constraints.txt",
    )
    for name in (*names, "unicrs_rl/py.typed", ".ci/run"):
        assert (ROOT / name).is_file()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_extras_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"dgl", "ray", "app", "docs", "dev"} <= set(project["optional-dependencies"])


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text()
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pins.splitlines() if "==" in line
    }
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name = re.split(r"[<>=!;\[ ]", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in pinned
    assert "torch==2.13.0" in pins


def test_ci_calls_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), flags=re.M)


def test_nothing_of_this_machine_is_in_the_repository() -> None:
    traces = re.compile(r"/(?:home|root|Users|work|farm)/|/tmp/|@[\w.]+\.(?:local|internal)\b")
    for path in tracked():
        if path.suffix in {".csv", ".txt"} or path.is_symlink() or path == Path(__file__).resolve():
            continue
        found = traces.search(path.read_text("utf-8", "replace"))
        assert found is None, f"{path}: {found}"


def test_no_pickle_is_used() -> None:
    for path in (ROOT / "unicrs_rl").rglob("*.py"):
        assert not re.search(r"import pickle|torch\.(?:save|load)\(", path.read_text()), path


def test_no_data_set_is_copied(shared: Path) -> None:
    names = {path.name for path in (shared / "data").rglob("*") if path.is_file()} - {"README.md"}
    assert not names & {path.name for path in tracked()}
