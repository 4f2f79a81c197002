"""Reading files with errors that name the file and the place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from unicrs_rl.errors import InputError

T = TypeVar("T")


def folder(path: Path | None, world: str) -> Path:
    """The data folder, checked to be there.

    Raises:
        InputError: if it was not given, or is no folder.
    """
    if path is None:
        raise InputError(f"world {world!r} needs its data: give the folder with --data DIR")
    if not path.is_dir():
        raise InputError(f"{path}: no such folder (data of {world!r})")
    return path


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        InputError: if it cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (utf-8: {error.reason} at byte {error.start})") from None


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints as ``place: message``."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    given = problem["input"]
    got = f" (it is {given!r})" if isinstance(given, str | int | float) and len(str(given)) < 50 else ""
    return f"{place}: {problem['msg']}{got}" if place else f"{problem['msg']}{got}"


def read_json(path: Path, kind: type[T]) -> T:
    """Parse and validate a JSON file.

    Raises:
        InputError: if it is missing, truncated or not of the expected shape.
    """
    try:
        return TypeAdapter(kind).validate_json(read_bytes(path))
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON-lines file with their line numbers, from 1; blank lines are skipped.

    Raises:
        InputError: if the file cannot be read or a line is not a JSON object.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not valid JSON ({error.msg})") from None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: an object is expected")
        yield number, record
