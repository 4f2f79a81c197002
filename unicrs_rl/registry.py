"""Names to makers: worlds, arms, metrics, seekers and language models are all found here by name.

Some registries are open: another package enters something of its own under an entry point of their group
(``unicrs_rl.arms``, ``unicrs_rl.metrics``, ``unicrs_rl.worlds``), and it is found by its name like the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Generic, TypeVar

from unicrs_rl.errors import InputError, unknown

T = TypeVar("T")
OPEN = {"arm": "unicrs_rl.arms", "metric": "unicrs_rl.metrics", "world": "unicrs_rl.worlds"}
"""Kinds of things that other packages may add, and the groups of entry points for it."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class PlugIn:
    """Something that another package registered.

    Attributes:
        kind: of thing it is: ``arm``, ``metric`` or ``world``.
        package: the package and its version.
    """

    kind: str
    name: str
    package: str
    entry: metadata.EntryPoint

    def load(self) -> object:
        """What is registered.

        Raises:
            InputError: naming the package, if it cannot be imported.
        """
        try:
            return self.entry.load()
        except Exception as error:  # another package's module may raise anything
            raise self.unfit(f"cannot be imported ({in_short(error)})") from error

    def unfit(self, why: str) -> InputError:
        """The complaint that it is of no use."""
        return InputError(
            f"{self.kind} {self.name!r} of package {self.package}: {self.entry.value} {why}; "
            "repair or uninstall that package"
        )


def in_short(error: Exception) -> str:
    """Class and first line of what another package's code raised."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def plug_ins(kind: str) -> list[PlugIn]:
    """What other packages registered of a kind, in the order of packages and names; nothing is imported.

    Raises:
        InputError: naming the package, if a name cannot be part of a file's, or two packages use the same.
    """
    found: dict[str, PlugIn] = {}
    known = metadata.entry_points(group=OPEN[kind])
    for entry in sorted(known, key=lambda entry: (_package(entry), entry.name)):
        plug = PlugIn(kind, entry.name, _package(entry), entry)
        if not _NAME.fullmatch(entry.name):
            raise InputError(
                f"{kind} {entry.name!r} of package {plug.package}: a name is of small letters, digits, "
                "'.', '_' and '-'"
            )
        if entry.name in found:
            raise _clash(plug, f"package {found[entry.name].package} has one")
        found[entry.name] = plug
    return list(found.values())


def _package(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "unknown package"


def _clash(plug: PlugIn, other: str) -> InputError:
    return InputError(
        f"{plug.kind} {plug.name!r} of package {plug.package}: {other} of this name already; "
        "rename it there, or uninstall that package"
    )


class Registry(Mapping[str, T], Generic[T]):
    """A table of named entries that answers a miss with "did you mean".

    Args:
        kind: what an entry is called in messages.
        adopt: makes an entry of what another package registered; ``None`` where none can.
        reserved: names that no other package may use, because they mean something else beside the entries'.
    """

    def __init__(
        self, kind: str, adopt: Callable[[PlugIn], T] | None = None, reserved: Collection[str] = ()
    ) -> None:
        self.kind = kind
        self._adopt = adopt
        self._reserved = reserved
        self._entries: dict[str, T] = {}
        self._outside: dict[str, PlugIn] | None = None

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters what it decorates under ``name``.

        Raises:
            ValueError: if the name is taken.
        """

        def enter(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        """The entry called ``name``.

        Raises:
            InputError: if there is none, or it is another package's and broken.
        """
        outside = self._plugged()
        if name in outside and self._adopt is not None:
            return self._adopt(outside[name])
        if name not in self._entries:
            raise unknown(self.kind, name, self)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._plugged()

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self._plugged()

    def __len__(self) -> int:
        return len(self._entries) + len(self._plugged())

    def _plugged(self) -> Mapping[str, PlugIn]:
        """Entries of other packages, looked up once.

        Raises:
            InputError: if one has the name of an entry of ours, or a reserved one.
        """
        if self._outside is None:
            found = [] if self._adopt is None else plug_ins(self.kind)
            for plug in found:
                if plug.name in self._entries:
                    raise _clash(plug, "unicrs-rl itself has one")
                if plug.name in self._reserved:
                    raise _clash(plug, "unicrs-rl itself writes a column")
            self._outside = {plug.name: plug for plug in found}
        return self._outside
