"""One computes while the others wait: the rule by which threads hold conversations at once.

A thread that holds conversations computes only while it has the floor, and gives it away while it waits
for a language model. So nothing that conversations share has to be safe for threads, and a server that
takes its time is asked by many at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")
_WAKE = 0.25
"""Seconds after which who waits looks up."""
_floor = threading.Lock()
_here = threading.local()


class Abandoned(Exception):
    """What a thread was working on is not wanted any more."""


def arrival(come: queue.SimpleQueue[T]) -> T:
    """The next thing that comes.

    An interrupt may reach another thread than the main one, which has to look up to hear of it.
    """
    while True:
        with suppress(queue.Empty):
            return come.get(timeout=_WAKE)


@contextmanager
def floor(abandoned: threading.Event) -> Iterator[None]:
    """Compute as one of several threads; blocks until the floor is free.

    Args:
        abandoned: set when the work is not wanted any more.
    """
    with _floor:
        _here.abandoned = abandoned
        try:
            yield
        finally:
            _here.abandoned = None


@contextmanager
def away() -> Iterator[None]:
    """Give the floor to others for a while; does nothing in a thread that does not have it.

    Raises:
        Abandoned: at the end, if the work is not wanted any more.
    """
    abandoned: threading.Event | None = getattr(_here, "abandoned", None)
    if abandoned is None:
        yield
        return
    _here.abandoned = None
    _floor.release()
    try:
        yield
    finally:
        _floor.acquire()
        _here.abandoned = abandoned
    if abandoned.is_set():
        raise Abandoned
