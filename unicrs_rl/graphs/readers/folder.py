"""A user's own catalogue: any domain, two tables and an optional ``world.toml``.

``items.csv`` or ``items.parquet`` has an id, a name and attribute columns; a cell may hold several
values separated by ``|``. ``interactions.csv`` or ``.parquet`` has a user, an item and, if wanted,
a rating. ``world.toml`` says what is called what; every key is optional:

.. code-block:: toml

    [world]
    name = "bistros"
    noun = "restaurant"              # what an item is called in a sentence

    [items]
    id = "id"
    name = "name"
    attributes = ["cuisine", "mood"] # default: every text column but id and name
    details = ["year"]               # facts that are told but never asked about
    separator = "|"

    [interactions]
    user = "user"
    item = "item"
    rating = "rating"
    liked_from = 4.0                 # default: above the middle of the ratings' range

Seekers are split by :func:`~unicrs_rl.graphs.world.split_by_seeker`.
"""

from __future__ import annotations

import math
import tomllib
from collections import defaultdict
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue, distinct
from unicrs_rl.graphs.readers.files import first_problem, folder, read_bytes
from unicrs_rl.graphs.world import Seeker, World, split_by_seeker


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WorldSection(_Section):
    """``[world]``"""

    name: str | None = None
    noun: str = "item"


class ItemsSection(_Section):
    """``[items]``"""

    id: str = "id"
    name: str = "name"
    attributes: list[str] | None = None
    details: list[str] = []
    separator: str = Field("|", min_length=1)


class InteractionsSection(_Section):
    """``[interactions]``"""

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    liked_from: float | None = None


class WorldFile(_Section):
    """``world.toml``"""

    world: WorldSection = WorldSection()
    items: ItemsSection = ItemsSection()
    interactions: InteractionsSection = InteractionsSection()


def read(path: Path, seed: int = 0) -> World:
    """Read a folder with a catalogue of the user's own.

    Raises:
        InputError: naming the file, the row (the header is row 1) and the column at fault.
    """
    root = folder(path, str(path))
    settings = _read_settings(root / "world.toml")
    items_file, interactions_file = _table(root, "items"), _table(root, "interactions")
    catalogue, ids = _read_items(items_file, settings)
    seekers = _read_seekers(interactions_file, settings.interactions, ids)
    name = settings.world.name or root.resolve().name
    likes, targets = split_by_seeker(name, seekers, seed)
    files = [items_file, interactions_file]
    if (root / "world.toml").is_file():
        files.append(root / "world.toml")
    return World(name, catalogue, tuple(seekers), likes, targets, files=tuple(files))


def _read_settings(path: Path) -> WorldFile:
    if not path.is_file():
        return WorldFile()
    try:
        return WorldFile.model_validate(tomllib.loads(read_bytes(path).decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error})") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None


def _table(root: Path, stem: str) -> Path:
    for ending in ("csv", "parquet"):
        if (root / f"{stem}.{ending}").is_file():
            return root / f"{stem}.{ending}"
    raise InputError(f"{root}: neither {stem}.csv nor {stem}.parquet is there")


def _read_table(path: Path) -> pl.DataFrame:
    """A table as it is (parquet) or with every cell as text (CSV)."""
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]})") from None


def _column(table: pl.DataFrame, path: Path, name: str) -> list[str]:
    """A column as text, every cell filled."""
    if name not in table.columns:
        raise InputError(f"{path}: no column {name!r}; there are {', '.join(table.columns)}")
    cells = [_text(value) for value in table[name]]
    for row, cell in enumerate(cells, start=2):
        if not cell:
            raise InputError(f"{path}, row {row}, column {name!r}: the cell is empty or not a number")
    return cells


def _text(value: object) -> str:
    """A cell as trimmed text; empty for missing values and NaN, however they are written."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = " ".join(str(value).split())
    return "" if text.casefold() in {"nan", "null", "none"} else text


def _read_items(path: Path, settings: WorldFile) -> tuple[Catalogue, dict[str, int]]:
    section = settings.items
    table = _read_table(path)
    ids = _column(table, path, section.id)
    names = _column(table, path, section.name)
    _check_unique(path, section.id, ids)
    if not ids:
        raise InputError(f"{path}: no items")
    columns = section.attributes or [
        name
        for name in table.columns
        if name not in {section.id, section.name, *section.details}
        and table.schema[name] in (pl.String, pl.Categorical, pl.List(pl.String))
    ]
    for column in columns:
        if column in {"item", "user"}:  # these are other nodes of the graph
            raise InputError(f"{path}: an attribute column cannot be called {column!r}; rename it")
    facts = [
        (item, column, column, value)
        for column in columns
        for item, values in enumerate(_values(table, path, column, section.separator))
        for value in values
    ]
    bare = set(range(len(ids))) - {fact[0] for fact in facts}
    if bare:
        item = min(bare)
        searched = ", ".join(columns) or "any column"
        raise InputError(f"{path}, row {item + 2}: item {ids[item]!r} has no attributes in {searched}")
    details = {
        column: tuple(cell or "unknown" for cell in _optional(table, path, column))
        for column in section.details
    }
    catalogue = Catalogue.build(settings.world.noun, distinct(names), facts, details)
    return catalogue, {name: index for index, name in enumerate(ids)}


def _values(table: pl.DataFrame, path: Path, name: str, separator: str) -> list[list[str]]:
    """The values of an attribute column, several to a cell: a list (parquet), or text with separators."""
    if isinstance(table.schema.get(name), pl.List):
        cells = [[_text(part) for part in cell or ()] for cell in table[name].to_list()]
    else:
        cells = [[_text(part) for part in cell.split(separator)] for cell in _optional(table, path, name)]
    return [[value for value in dict.fromkeys(cell) if value] for cell in cells]


def _optional(table: pl.DataFrame, path: Path, name: str) -> list[str]:
    if name not in table.columns:
        raise InputError(f"{path}: no column {name!r}; there are {', '.join(table.columns)}")
    return [_text(value) for value in table[name]]


def _check_unique(path: Path, column: str, cells: list[str]) -> None:
    first: dict[str, int] = {}
    for row, cell in enumerate(cells, start=2):
        if cell in first:
            raise InputError(f"{path}, row {row}, column {column!r}: {cell!r} is also in row {first[cell]}")
        first[cell] = row


def _read_seekers(path: Path, section: InteractionsSection, ids: dict[str, int]) -> list[Seeker]:
    table = _read_table(path)
    users = _column(table, path, section.user)
    items = _column(table, path, section.item)
    if not users:
        raise InputError(f"{path}: no interactions")
    for row, item in enumerate(items, start=2):
        if item not in ids:
            raise InputError(
                f"{path}, row {row}, column {section.item!r}: item {item!r} is not in the items table"
            )
    if section.rating in table.columns or "rating" in section.model_fields_set:
        ratings = _ratings(path, section.rating, _column(table, path, section.rating))
    else:
        ratings = [1.0] * len(users)
    middle = (min(ratings) + max(ratings)) / 2
    flat = section.liked_from is None and min(ratings) == max(ratings)
    liked: dict[str, dict[int, bool]] = defaultdict(dict)
    for user, item, rating in zip(users, items, ratings, strict=True):
        threshold = section.liked_from
        liked[user][ids[item]] = flat or (rating > middle if threshold is None else rating >= threshold)
    return [
        Seeker(
            id=user,
            liked=tuple(sorted(item for item, good in opinions.items() if good)),
            disliked=tuple(sorted(item for item, good in opinions.items() if not good)),
            seen=tuple(sorted(opinions)),
        )
        for user, opinions in sorted(liked.items())
    ]


def _ratings(path: Path, column: str, cells: list[str]) -> list[float]:
    ratings = []
    for row, cell in enumerate(cells, start=2):
        try:
            ratings.append(float(cell))
        except ValueError:
            raise InputError(f"{path}, row {row}, column {column!r}: {cell!r} is not a number") from None
        if not math.isfinite(ratings[-1]):
            raise InputError(f"{path}, row {row}, column {column!r}: {cell!r} is not a finite number")
    return ratings
