"""Worlds by name: ``movies``, ``redial``, ``lastfm``, the planted ones, or the path of a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

from unicrs_rl.errors import InputError
from unicrs_rl.graphs import planted
from unicrs_rl.graphs.readers import folder, movies, redial, unicorn_directory
from unicrs_rl.graphs.world import World
from unicrs_rl.registry import PlugIn, Registry

Maker = Callable[[Path | None, int], World]
"""(Data folder or ``None``, seed) -> world."""


def _plugged(plug: PlugIn) -> Maker:
    """A maker of another package."""
    found = plug.load()
    if not callable(found):
        raise plug.unfit("cannot be called with a data folder and a seed")

    @wraps(found)
    def make(data: Path | None, seed: int) -> World:
        world = found(data, seed)
        if not isinstance(world, World):
            raise plug.unfit("makes no unicrs_rl.graphs.world.World")
        return world

    return make


worlds: Registry[Maker] = Registry("world", _plugged)
"""Makers of worlds by name."""


@worlds.register("movies")
def _movies(data: Path | None, seed: int) -> World:
    """Embedded films with generated seekers; needs no data."""
    if data is not None:
        raise InputError(
            "world 'movies' is embedded and takes no --data; a folder of yours goes to --world PATH"
        )
    return movies.read(seed)


@worlds.register("redial")
def _redial(data: Path | None, seed: int) -> World:
    """ReDial's workers and its knowledge graph; needs --data."""
    return redial.read(data, seed)


@worlds.register("lastfm")
def _lastfm(data: Path | None, seed: int) -> World:
    """LastFM, LastFM* or Yelp as a UNICORN directory; needs --data."""
    return unicorn_directory.read(data, seed)


for _problem in planted.PROBLEMS.values():
    worlds.register(_problem.name)(planted.reader(_problem))


def make_world(name: str, data: Path | None = None, seed: int = 0) -> World:
    """The world of that name, or of the folder of that path.

    A path is a UNICORN directory or a folder with ``items.csv`` and ``interactions.csv``.

    Raises:
        InputError: if there is no such world, or its data is missing or broken.
    """
    path = Path(name)
    if name in worlds or not (path.is_dir() or path.parent != Path() or name.startswith((".", "~"))):
        return worlds[name](data, seed)
    path = path.expanduser()
    if not path.is_dir():
        raise InputError(f"{path}: no such folder (a world is movies, redial, lastfm or a folder)")
    if data is not None:
        raise InputError("--data belongs to a named world; --world PATH is the data already")
    if unicorn_directory.is_unicorn_directory(path):
        return unicorn_directory.read(path, seed, path.resolve().name)
    return folder.read(path, seed)
