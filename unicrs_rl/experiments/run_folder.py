"""The folder a run leaves: what is in it, and who may write to it.

``config.toml``, ``provenance.json``, ``traces.jsonl``, ``checkpoints/``, ``tensorboard/``,
``results.json``, ``timings.json``, ``report.html``, ``dialogues.csv``, ``tables/``; with a real language
model ``answers.sqlite``, and ``failed.jsonl`` where conversations broke off; while running also ``parts/``
with the traces of each arm and seed, from which a killed run goes on.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

from filelock import FileLock, Timeout
from pydantic import Field

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.config import OnExisting, RunConfig, read_settings, resolve
from unicrs_rl.language.boundary import HOW

FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
"""A name that can be a file's."""
_RUN = (
    r"config\.toml|provenance\.json|(traces|failed)\.jsonl|results\.json|timings\.json|report\.html"
    r"|dialogues\.csv|tables/((results|costs|budgets|differences-[^/]+)\.(md|tex))?"
    r"|answers\.sqlite(\.broken-\d+)?(-wal|-shm)?"
    r"|parts/([^/]+-seed\d+(\.jsonl|\.failed\.jsonl|\.timing\.json))?"
    r"|checkpoints/((embeddings|[^/]+-seed\d+)\.safetensors)?"
    r"|tensorboard/([^/]+-seed\d+/(events\.out\.tfevents\.[^/]+)?)?"
)
"""Everything that a run writes, from its folder on; folders end in "/". Nothing else is ever deleted."""
_STUDY = (
    r"study\.toml|results\.json|report\.html|answers\.sqlite(\.broken-\d+)?(-wal|-shm)?|tables/([^/]+\.(csv|md))?|figures/([^/]+\.png)?"
    rf"|runs/([^/]+/({_RUN}|\.lock)?)?|replays/([^/]+\.json)?"
)
"""The same for a study, whose runs are folders of their own."""
_HALF_WRITTEN = re.compile(r"(?P<folder>|.*/)\.(?P<name>[^/]+)\.tmp")


class Settled(Protocol):
    """Settings of a run, resolved."""

    def toml(self) -> str:
        """Them as TOML."""
        ...


class Belongings:
    """What we write into a folder of some kind, by name: only that is ever deleted.

    Args:
        pattern: of names from the folder on; folders end in "/".
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def __contains__(self, name: str) -> bool:
        """Whether we write files or folders of this name, which may be one of a half-written file."""
        return self._pattern.fullmatch(_HALF_WRITTEN.sub(r"\g<folder>\g<name>", name)) is not None

    def foreign(self, folder: Path) -> str | None:
        """The first entry that is not ours, if any. Hidden ones are neither counted nor deleted."""
        return next(
            (name for name, path in self._walk(folder) if name not in self and is_visible(path)), None
        )

    def delete(self, folder: Path, chosen: Callable[[str], bool]) -> None:
        """Delete those of our files and emptied folders that are chosen by their names."""
        for name, path in list(self._walk(folder)):
            if name not in self or not chosen(name):
                continue
            if not name.endswith("/"):
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()

    def _walk(self, folder: Path, above: str = "") -> Iterator[tuple[str, Path]]:
        """All entries with their names from the folder on, a folder after what is in it.

        Folders that we do not write, and links, are not entered.
        """
        for path in sorted(folder.iterdir()):
            name = above + path.name
            if path.is_dir() and not path.is_symlink():
                name += "/"
                if name in self:
                    yield from self._walk(path, name)
            yield name, path


OF_RUN, OF_STUDY = Belongings(_RUN), Belongings(_STUDY)


@contextmanager
def holding(path: Path, who: str) -> Iterator[None]:
    """Hold a folder for this process alone.

    Raises:
        InputError: if another one of its kind holds it.
    """
    try:
        with FileLock(path / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"{path}: another {who} is writing to this folder") from None


class RunFolder:
    """Paths and whole-file writes of a run.

    Args:
        path: the folder.
    """

    belongings: ClassVar[Belongings] = OF_RUN
    resolved: ClassVar[frozenset[str]] = frozenset({"world", "world_seed", "evaluation_seed", "train_batch"})
    """Settings that every run's ``config.toml`` has, and hardly one written by hand has all of."""
    charted: ClassVar[bool] = True
    """Whether the curves of trainings are kept in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.toml"
        self.provenance = path / "provenance.json"
        self.traces = path / "traces.jsonl"
        self.failed = path / "failed.jsonl"
        self.answers = path / "answers.sqlite"
        self.results = path / "results.json"
        self.timings = path / "timings.json"
        self.report = path / "report.html"
        self.dialogues = path / "dialogues.csv"
        self.tables = path / "tables"
        self.parts = path / "parts"
        self.curves = path / "tensorboard"
        self.embeddings = path / "checkpoints" / "embeddings.safetensors"

    def checkpoint(self, arm: str, seed: int) -> Path:
        """Checkpoint of an arm trained with a seed."""
        return self.path / "checkpoints" / f"{arm}-seed{seed}.safetensors"

    def tensorboard(self, arm: str, seed: int) -> Path:
        """Learning curves of an arm and seed."""
        return self.curves / f"{arm}-seed{seed}"

    def part(self, arm: str, seed: int) -> Path:
        """Traces of an arm and seed while the run is going on."""
        return self.parts / f"{arm}-seed{seed}.jsonl"

    def part_failed(self, arm: str, seed: int) -> Path:
        """Conversations of an arm and seed that broke off."""
        return self.parts / f"{arm}-seed{seed}.failed.jsonl"

    def part_timing(self, arm: str, seed: int) -> Path:
        """Seconds spent on an arm and seed so far."""
        return self.parts / f"{arm}-seed{seed}.timing.json"

    def seconds(self, arm: str, seed: int) -> dict[str, float]:
        """Seconds spent on an arm and seed so far, by what they were spent on."""
        path = self.part_timing(arm, seed)
        known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        return known

    def note_seconds(self, arm: str, seed: int, what: str, seconds: float) -> None:
        """Set what was spent on an arm and seed."""
        known = self.seconds(arm, seed) | {what: round(seconds, 3)}
        write_atomically(self.part_timing(arm, seed), json.dumps(known))

    @classmethod
    def open(cls, path: Path, config: Settled, existing: OnExisting) -> Self:
        """Make a new run folder, or take up an old one.

        Raises:
            InputError: if there is a folder and neither resuming nor replacing was asked for, if it
                belongs to other settings, is no run folder, holds something that no run wrote (when
                replacing), or cannot be written.
        """
        folder = cls(path)
        check_writable(path)
        if path.exists() and (not path.is_dir() or any(visible(path))):
            folder._check_existing(config, existing)
            if existing == "force":
                with folder.locked():
                    writing(path, folder._empty)
        writing(path, lambda: folder._lay_out(config))
        return folder

    @classmethod
    def read(cls, path: Path) -> tuple[RunFolder, RunConfig]:
        """An existing run folder and its configuration.

        Raises:
            InputError: if it is none.
        """
        folder = cls(path)
        if not folder.config_file.is_file():
            raise InputError(f"{path}: not a run folder (there is no config.toml in it)")
        return folder, resolve({}, folder.config_file)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone.

        Raises:
            InputError: if another run holds it.
        """
        with holding(self.path, "run"):
            yield

    def write_json(self, path: Path, value: Any) -> None:
        """Write JSON, keys in their order (arms as they were asked for), whole or not at all."""
        write_atomically(path, json.dumps(value, indent=1, allow_nan=False) + "\n")

    def read_traces(self) -> Iterator[dict[str, Any]]:
        """The dialogues of a finished run.

        Raises:
            InputError: if there are none, or a line is broken.
        """
        if not self.traces.is_file():
            raise InputError(f"{self.path}: the run is not finished (there is no traces.jsonl in it)")
        with self.traces.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise InputError(f"{self.traces}, line {number}: not valid JSON") from None

    def read_json(self, path: Path) -> Any:
        """JSON of a file of this folder.

        Raises:
            InputError: if it is missing or broken.
        """
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None

    def _check_existing(self, config: Settled, existing: OnExisting) -> None:
        if not self._is_run():
            raise InputError(f"{self.path}: exists and is not a run folder; choose another --out")
        if existing == "refuse":
            raise InputError(f"{self.path}: exists already; --resume goes on with it, --force replaces it")
        if existing == "force" and (foreign := self.belongings.foreign(self.path)):
            raise InputError(
                f"{self.path}: not replaced, because {foreign!r} in it is not what this kind of run writes; "
                "move that away, or choose another --out"
            )
        if existing == "resume":
            old = what(tomllib.loads(self.config_file.read_text("utf-8")))
            new = what(tomllib.loads(config.toml()))
            changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
            if changed and changed[0] not in old:
                raise InputError(
                    f"{self.path}: was started without the setting {changed[0]!r}, maybe by an earlier "
                    "version; it cannot be resumed"
                )
            if changed:
                raise InputError(
                    f"{self.path}: was started with another {changed[0]!r}; it cannot be resumed"
                )

    def _lay_out(self, config: Settled) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config_file, config.toml())  # first: it makes the folder one to be resumed
        if not self.results.is_file():
            self.parts.mkdir(exist_ok=True)
        self.embeddings.parent.mkdir(exist_ok=True)
        if self.charted:
            self.curves.mkdir(exist_ok=True)

    def _is_run(self) -> bool:
        """Whether a run was started here, and not just a ``config.toml`` of somebody's put here."""
        try:
            return read_settings(self.config_file).keys() >= self.resolved
        except InputError:
            return False

    def _empty(self) -> None:
        """Delete what runs write, but for what a language model answered, which was paid for.

        The results go first, so that what a kill leaves does not look finished, and the configuration
        last, so that it still looks like a run.
        """
        self.belongings.delete(self.path, lambda name: name == self.results.name)
        self.belongings.delete(
            self.path, lambda name: name != self.config_file.name and not name.startswith(self.answers.name)
        )
        self.config_file.unlink()

    def tidy(self) -> None:
        """Delete what only a run that is going on needs."""
        self.belongings.delete(
            self.path, lambda name: name.startswith("parts/") or _HALF_WRITTEN.fullmatch(name) is not None
        )


def what(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that do not say what a run is, but how it reaches its language model."""
    model = {name: value for name, value in settings.get("language_model", {}).items() if name not in HOW}
    return {name: value for name, value in settings.items() if name != "prices"} | {"language_model": model}


def visible(path: Path) -> Iterator[Path]:
    """What is in a folder; a lock or a half-written file of ours does not count."""
    return filter(is_visible, path.iterdir())


def is_visible(path: Path) -> bool:
    """Whether an entry is neither a lock nor half-written."""
    return not path.name.startswith(".")


def check_writable(path: Path) -> None:
    """Refuse a folder marked read-only, also for an administrator, who could write there all the same."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    marked = there.is_dir() and not there.stat().st_mode & 0o222
    if marked or not os.access(there, os.W_OK):
        raise InputError(f"{path}: cannot be written (read-only)")


def writing(path: Path, step: Any) -> None:
    """Do something to the file system; say in one line what went wrong."""
    try:
        step()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
