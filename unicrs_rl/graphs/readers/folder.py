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
    attributes = ["cuisine", "mood"] # default: columns of words, see below
    details = ["year"]               # facts that are told but never asked about
    separator = "|"

    [interactions]
    user = "user"
    item = "item"
    rating = "rating"
    liked_from = 4.0                 # default: above the middle of the ratings' range

Unless ``attributes`` names them, the attribute columns are those (but id, name and details) of text,
of yes and no, of several values, and of whole numbers with few distinct values (at most 50, and less
than half as many as there are rows); never fractions, dates, or numbers that differ from row to row.
A CSV column counts as numbers if every filled cell is one, so that both formats are read alike.

Seekers are split by :func:`~unicrs_rl.graphs.world.split_by_seeker`.
"""

from __future__ import annotations

import csv
import io
import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue, distinct_names
from unicrs_rl.graphs.readers.files import first_problem, folder, read_bytes, read_text
from unicrs_rl.graphs.world import Seeker, World, split_by_seeker

FEW_VALUES = 50
"""Whole numbers with more distinct values than this are no attributes unless they are named."""
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?", re.ASCII)
_TRUTH = {"true": 1.0, "false": 0.0}


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
        settings = WorldFile.model_validate(tomllib.loads(read_bytes(path).decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error})") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None
    if settings.items.attributes == []:
        raise InputError(f"{path}: items.attributes is empty; name a column, or leave the key out")
    return settings


def _table(root: Path, stem: str) -> Path:
    for ending in ("csv", "parquet"):
        if (root / f"{stem}.{ending}").is_file():
            return root / f"{stem}.{ending}"
    raise InputError(f"{root}: neither {stem}.csv nor {stem}.parquet is there")


class _Kind(Enum):
    """What a column holds."""

    TEXT = auto()
    TRUTH = auto()
    LIST = auto()
    WHOLE = auto()
    OTHER = auto()
    """Fractions, dates, and anything else that is no attribute by itself."""


@dataclass(frozen=True, slots=True)
class _Column:
    """The cells of a column, trimmed; a cell of a list column is a tuple."""

    kind: _Kind
    cells: Sequence[str | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table without its empty rows; ``rows`` are the rows' numbers in the file, the header's is 1."""

    path: Path
    rows: list[int]
    columns: dict[str, _Column]

    def column(self, name: str) -> _Column:
        """A column by its name.

        Raises:
            InputError: if there is none.
        """
        if name not in self.columns:
            raise InputError(f"{self.path}: no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    def optional(self, name: str) -> list[str]:
        """A column as text; empty cells are empty text."""
        return [", ".join(c) if isinstance(c, tuple) else c for c in self.column(name).cells]

    def filled(self, name: str) -> list[str]:
        """A column as text.

        Raises:
            InputError: if there is none, or a cell is empty.
        """
        cells = self.optional(name)
        for row, cell in zip(self.rows, cells, strict=True):
            if not cell:
                raise InputError(
                    f"{self.path}, row {row}, column {name!r}: the cell is empty or not a number"
                )
        return cells


def _read_table(path: Path) -> _Table:
    """A table with trimmed headers and cells.

    Raises:
        InputError: if it cannot be read, is ragged, or names a column twice.
    """
    header, rows, columns = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"{path}: column {name!r} is there {header.count(name)} times")
    kept = [place for place in range(len(rows)) if any(column.cells[place] for column in columns)]
    if len(kept) < len(rows):
        columns = [_Column(column.kind, [column.cells[place] for place in kept]) for column in columns]
    return _Table(path, [rows[place] for place in kept], dict(zip(header, columns, strict=True)))


def _read_parquet(path: Path) -> tuple[list[str], list[int], list[_Column]]:
    """Header, row numbers and columns."""
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]})") from None
    columns = [_typed(series) for series in table.iter_columns()]
    return [" ".join(name.split()) for name in table.columns], list(range(2, len(table) + 2)), columns


def _typed(series: pl.Series) -> _Column:
    """A column whose type the file tells; text is looked at as in a CSV."""
    if isinstance(series.dtype, pl.List | pl.Array):
        return _Column(_Kind.LIST, [_parts(cell or ()) for cell in series.to_list()])
    cells = [_text(value) for value in series.to_list()]
    if series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return _guessed(cells)
    if series.dtype == pl.Boolean:
        return _Column(_Kind.TRUTH, [cell.casefold() for cell in cells])
    return _Column(_Kind.WHOLE if series.dtype.is_integer() else _Kind.OTHER, cells)


def _read_csv(path: Path) -> tuple[list[str], list[int], list[_Column]]:
    """Header, row numbers and columns; blank lines count as rows and are left out later."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, skipinitialspace=True)
    records: list[list[str]] = []
    try:
        for record in reader:
            records.append([_text(cell) for cell in record])
    except csv.Error as error:
        raise InputError(
            f"{path}, row {len(records) + 1}: cannot be read as a table, is a quotation mark "
            f"unbalanced? ({error})"
        ) from None
    start = next((place for place, record in enumerate(records) if any(record)), None)
    if start is None:
        raise InputError(f"{path}: cannot be read as a table (it is empty)")
    header = _without_empty_end(records[start], 0)
    body = [_without_empty_end(record, len(header)) for record in records[start + 1 :]]
    for row, record in enumerate(body, start=start + 2):
        if len(record) > len(header):
            raise InputError(
                f"{path}, row {row}: cannot be read as a table "
                f"({len(record)} cells, but {len(header)} columns)"
            )
        record.extend([""] * (len(header) - len(record)))
    columns = [_guessed([record[place] for record in body]) for place in range(len(header))]
    return header, list(range(start + 2, len(records) + 1)), columns


def _without_empty_end(record: list[str], width: int) -> list[str]:
    """Spreadsheets write empty cells past the table's edge."""
    end = len(record)
    while end > width and not record[end - 1]:
        end -= 1
    return record[:end]


def _guessed(cells: list[str]) -> _Column:
    """A column of text, whose kind shows in its filled cells."""
    filled = [cell for cell in cells if cell]
    if not filled:
        return _Column(_Kind.TEXT, cells)
    if all(cell.casefold() in _TRUTH for cell in filled):
        return _Column(_Kind.TRUTH, [cell.casefold() for cell in cells])
    if all(_WHOLE.fullmatch(cell) for cell in filled):
        return _Column(_Kind.WHOLE, cells)
    if all(_NUMBER.fullmatch(cell) for cell in filled):
        return _Column(_Kind.OTHER, [_text(float(cell)) if cell else "" for cell in cells])
    return _Column(_Kind.OTHER if all(_DATE.fullmatch(cell) for cell in filled) else _Kind.TEXT, cells)


def _text(value: object) -> str:
    """A cell as trimmed text; empty for missing values and NaN, however they are written."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = " ".join(str(value).split())
    return "" if text.casefold() in {"nan", "null", "none"} else text


def _parts(values: Sequence[object]) -> tuple[str, ...]:
    """Several values of one cell, each once."""
    return tuple(dict.fromkeys(text for text in map(_text, values) if text))


def _read_items(path: Path, settings: WorldFile) -> tuple[Catalogue, dict[str, int]]:
    section = settings.items
    table = _read_table(path)
    ids, names = table.filled(section.id), table.filled(section.name)
    _check_unique(table, section.id, ids)
    if not ids:
        raise InputError(f"{path}: no items")
    columns = section.attributes or _attribute_columns(table, section)
    for column in columns:
        if column in {"item", "user"}:  # these are other nodes of the graph
            raise InputError(f"{path}: an attribute column cannot be called {column!r}; rename it")
    facts = [
        (item, column, column, value)
        for column in columns
        for item, values in enumerate(_values(table, column, section.separator))
        for value in values
    ]
    bare = set(range(len(ids))) - {fact[0] for fact in facts}
    if bare:
        item = min(bare)
        searched = ", ".join(columns)
        raise InputError(
            f"{path}, row {table.rows[item]}: item {ids[item]!r} has no attributes in {searched}"
        )
    details = {
        column: tuple(cell or "unknown" for cell in table.optional(column)) for column in section.details
    }
    catalogue = Catalogue.build(settings.world.noun, distinct_names(names), facts, details)
    return catalogue, {name: index for index, name in enumerate(ids)}


def _attribute_columns(table: _Table, section: ItemsSection) -> list[str]:
    """The columns that are attributes if the settings name none; see the module's docstring.

    Raises:
        InputError: if there is none.
    """
    others = {section.id, section.name, *section.details, ""}
    names = [name for name, column in table.columns.items() if name not in others and _is_attribute(column)]
    if not names:
        raise InputError(
            f"{table.path}: no column is an attribute by itself (text, yes or no, lists, few whole numbers); "
            "name some under [items] attributes in world.toml"
        )
    return names


def _is_attribute(column: _Column) -> bool:
    if column.kind is _Kind.WHOLE:
        distinct_values = len({cell for cell in column.cells if cell})
        return distinct_values <= FEW_VALUES and 2 * distinct_values < len(column.cells)
    return column.kind is not _Kind.OTHER


def _values(table: _Table, name: str, separator: str) -> list[tuple[str, ...]]:
    """The values of an attribute column, several to a cell: a list (parquet), or text with separators."""
    cells = table.column(name).cells
    return [cell if isinstance(cell, tuple) else _parts(cell.split(separator)) for cell in cells]


def _check_unique(table: _Table, column: str, cells: list[str]) -> None:
    first: dict[str, int] = {}
    for row, cell in zip(table.rows, cells, strict=True):
        if cell in first:
            raise InputError(
                f"{table.path}, row {row}, column {column!r}: {cell!r} is also in row {first[cell]}"
            )
        first[cell] = row


def _read_seekers(path: Path, section: InteractionsSection, ids: dict[str, int]) -> list[Seeker]:
    table = _read_table(path)
    users, items = table.filled(section.user), table.filled(section.item)
    if not users:
        raise InputError(f"{path}: no interactions")
    for row, item in zip(table.rows, items, strict=True):
        if item not in ids:
            raise InputError(
                f"{path}, row {row}, column {section.item!r}: item {item!r} is not in the items table"
            )
    if section.rating in table.columns or "rating" in section.model_fields_set:
        ratings = _ratings(table, section.rating)
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


def _ratings(table: _Table, column: str) -> list[float]:
    """Ratings as numbers; true is 1 and false is 0."""
    cells = table.filled(column)
    numbers = {cell: _rating(cell) for cell in set(cells)}
    ratings = [numbers[cell] for cell in cells]
    for row, cell, rating in zip(table.rows, cells, ratings, strict=True):
        if not math.isfinite(rating):
            problem = "not a number" if math.isnan(rating) else "not a finite number"
            raise InputError(f"{table.path}, row {row}, column {column!r}: {cell!r} is {problem}")
    return ratings


def _rating(cell: str) -> float:
    """A filled cell as a number, NaN if it is none."""
    if cell.casefold() in _TRUTH:
        return _TRUTH[cell.casefold()]
    return float(cell) if _NUMBER.fullmatch(cell) else math.nan
