"""What was answered before, on disk: nothing that was paid for is asked for twice.

One sqlite file. An answer is found by the hash of all that it depends on (model, messages, sampling
parameters, seed, sample), so the file serves as long as those stay the same. Each answer is written as
soon as it is there, with a checksum; what does not match its checksum is no answer. A file that is no
longer a database is set aside and a new one begun.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unicrs_rl.errors import InputError

_LOG = logging.getLogger(__name__)
_VERSION = 1
_AT_ONCE = 500
"""Keys looked up in one query; sqlite bounds them."""
_TABLES = f"""
CREATE TABLE answers (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
    seconds REAL NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE spending (
    payer TEXT NOT NULL, task TEXT NOT NULL, calls INTEGER NOT NULL, tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL, seconds REAL NOT NULL, resent INTEGER NOT NULL, cached INTEGER NOT NULL,
    usd REAL NOT NULL, PRIMARY KEY (payer, task)
) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
_FIND = "SELECT key, text, tokens_in, tokens_out, seconds, checksum FROM answers WHERE key IN"
_BESIDE = ("-wal", "-shm")
"""Files that sqlite keeps beside its own."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was had before, with what it cost then."""

    text: str
    tokens_in: int
    tokens_out: int
    seconds: float

    @property
    def checksum(self) -> int:
        """Of all of it, so that a flipped bit is noticed."""
        whole = f"{self.text}\0{self.tokens_in}\0{self.tokens_out}\0{self.seconds!r}"
        return zlib.crc32(whole.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Spending:
    """What was asked of a language model for one payer and task, and what it cost.

    Attributes:
        calls: answers had from the model; those from this file are in ``cached``.
        resent: requests sent again because the endpoint failed.
        usd: by the price table; 0 without one.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    resent: int = 0
    cached: int = 0
    usd: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(*(getattr(self, name) + getattr(other, name) for name in Spending.__slots__))

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.tokens_in + self.tokens_out


_BOOK = """
INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (payer, task) DO UPDATE SET
calls = calls + excluded.calls, tokens_in = tokens_in + excluded.tokens_in,
tokens_out = tokens_out + excluded.tokens_out, seconds = seconds + excluded.seconds,
resent = resent + excluded.resent, cached = cached + excluded.cached, usd = usd + excluded.usd
"""


class Answers:
    """The file of answers, and of what they cost.

    Args:
        path: of the file; it is made if there is none.

    Raises:
        InputError: if there is a file that cannot be read or written, or comes from a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = self._open()

    def find(self, keys: Sequence[str]) -> dict[str, Kept]:
        """Those of the answers that are known."""
        found: dict[str, Kept] = {}
        with self._reading() as file:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = file.execute(f"{_FIND} ({marks})", some)
                for key, text, tokens_in, tokens_out, seconds, checksum in rows:
                    kept = Kept(text, tokens_in, tokens_out, seconds)
                    if kept.checksum == checksum:
                        found[key] = kept
                    else:
                        _LOG.warning("%s: an answer is damaged; it is asked for again", self.path)
        return found

    def keep(self, key: str, answer: Kept, payer: str, task: str, cost: Spending) -> None:
        """Write an answer and what it cost, both or neither."""
        with self._reading() as file:
            file.execute("BEGIN IMMEDIATE")
            file.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                (key, answer.text, answer.tokens_in, answer.tokens_out, answer.seconds, answer.checksum),
            )
            _book(file, payer, task, cost)
            file.execute("COMMIT")

    def book(self, payer: str, task: str, cost: Spending) -> None:
        """Write what something cost that is no answer to be kept."""
        with self._reading() as file:
            _book(file, payer, task, cost)

    def spending(self) -> dict[tuple[str, str], Spending]:
        """All that was spent, by payer and task, over all runs that used this file."""
        rows: list[tuple[str, str, int, int, int, float, int, int, float]] = []
        with self._reading() as file:
            rows = file.execute("SELECT * FROM spending ORDER BY payer, task").fetchall()
        return {row[:2]: Spending(*row[2:]) for row in rows}

    def begin_anew(self) -> None:
        """Forget what was spent, not what was answered."""
        with self._reading() as file:
            file.execute("DELETE FROM spending")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The file, for one thread at a time; if it turns out to be broken, a new one for the next.

        Raises:
            InputError: if it cannot be read or written.
        """
        with self._lock:
            try:
                yield self._file
            except sqlite3.OperationalError as error:  # full disk, read-only, locked for too long
                raise InputError(f"{self.path}: cannot be used ({error})") from None
            except sqlite3.DatabaseError as error:
                self._file.close()
                self._file = self._replaced(error)

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._connect()
        except sqlite3.OperationalError as error:
            raise InputError(f"{self.path}: cannot be used ({error})") from None
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            return self._replaced(error)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be used ({error.strerror or error})") from None

    def _connect(self) -> sqlite3.Connection:
        """Open the file, and see that it is whole.

        Raises:
            sqlite3.DatabaseError: if it is not.
            InputError: if it is of another version.
        """
        file = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
        file.text_factory = _text
        try:
            (state,) = file.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            (version,) = file.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and (version != _VERSION or not {"answers", "spending"} <= tables):
                raise InputError(f"{self.path}: is no file of answers of this version; choose another one")
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")
            if not tables:
                file.executescript(_TABLES)
        except BaseException:
            file.close()
            raise
        return file

    def _replaced(self, error: Exception) -> sqlite3.Connection:
        """A new file instead of a broken one, with what could be read of that."""
        aside = self._set_aside(error)
        file = self._connect()
        answers, spending = _rows(aside, "answers"), _rows(aside, "spending")
        whole = [row for row in answers if len(row) == 6 and Kept(*row[1:5]).checksum == row[5]]
        if not spending:  # what was answered was paid for by somebody
            costs = (Spending(1, row[2], row[3], row[4]) for row in whole)
            total = sum(costs, Spending())
            spending = [("", "", *(getattr(total, name) for name in Spending.__slots__))]
        file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", whole)
        file.executemany("INSERT OR REPLACE INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", spending)
        _LOG.warning("%s: %d answers could be saved from %s", self.path, len(whole), aside.name)
        return file

    def _set_aside(self, error: Exception) -> Path:
        """Rename a broken file, and say so."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.broken-{number}")).exists():
            number += 1
        self.path.rename(aside)
        for ending in _BESIDE:
            beside = self.path.with_name(self.path.name + ending)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + ending))
        _LOG.warning("%s: is broken (%s); set aside as %s, a new one is begun", self.path, error, aside.name)
        return aside


def _rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    """What can be read of a table in a broken file, up to the damage."""
    found: list[tuple[Any, ...]] = []
    with closing(sqlite3.connect(path)) as file:
        file.text_factory = _text
        try:
            for row in file.execute(f"SELECT * FROM {table}"):  # noqa: S608  our own names
                found.append(row)  # one by one: what comes before the damage counts
        except sqlite3.DatabaseError:
            _LOG.debug("%s: table %s ends in damage", path, table)
    return found


def _text(stored: bytes) -> str:
    """Text, also where it is damaged: its checksum tells."""
    return stored.decode("utf-8", "replace")


def _book(file: sqlite3.Connection, payer: str, task: str, cost: Spending) -> None:
    values = [getattr(cost, name) for name in Spending.__slots__]
    file.execute(_BOOK, (payer, task, *values))
