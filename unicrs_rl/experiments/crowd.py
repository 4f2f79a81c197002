"""Work done by many threads of which one computes at a time: what is waited for is waited for at once."""

from __future__ import annotations

import contextvars
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from unicrs_rl.language.waiting import Abandoned, arrival, floor

_SWITCH = 0.0005
"""Seconds after which Python lets another thread run, instead of 0.005: who talks to a server has little to
do but often, and each time would wait that long for whoever computes."""
T = TypeVar("T")
R = TypeVar("R")


def crowd(worker: Callable[[], Callable[[T], R]], tasks: Sequence[T], threads: int) -> Iterator[R]:
    """Results of tasks as they come.

    Args:
        worker: makes what does a task; called once in every thread.
        threads: how many tasks may be waiting at once.

    Raises:
        Exception: what a task raised; the others end as soon as they have what they are waiting for.
    """
    waiting = iter(tasks)
    come: queue.SimpleQueue[tuple[R | None, BaseException | None]] = queue.SimpleQueue()
    abandoned = threading.Event()
    computing, patience = torch.get_num_threads(), sys.getswitchinterval()

    def work() -> None:
        torch.set_num_threads(computing)  # a setting of each thread
        try:
            with floor(abandoned):
                do = worker()
                for task in waiting:  # one iterator for all: only who has the floor takes from it
                    come.put((do(task), None))
        except Abandoned:
            pass
        except BaseException as error:  # noqa: BLE001  it is raised where the results are waited for
            come.put((None, error))

    crew = [
        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
        for _ in range(min(threads, len(tasks)))
    ]
    sys.setswitchinterval(_SWITCH)
    for thread in crew:
        thread.start()
    try:
        for _ in tasks:
            result, error = arrival(come)
            if error is not None:
                abandoned.set()
                for thread in crew:  # what is on its way is paid for, and to be kept
                    thread.join()
                raise error
            yield result  # type: ignore[misc]
    finally:
        abandoned.set()
        sys.setswitchinterval(patience)
