"""A circuit breaker: after several failures in a row nobody asks any more until one has been answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from unicrs_rl.errors import Stopped

_LOG = logging.getLogger(__name__)
FAILURES = 8
"""Failures in a row after which an endpoint counts as gone, unless told otherwise."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two trials: doubled after each that fails."""


class Breaker:
    """Lets requests pass, one after the other while the endpoint is gone. For one event loop.

    Args:
        endpoint: its name in messages.
        patience: seconds it may be gone before it is given up.
        most: failures in a row, of whatever requests, after which it counts as gone.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        endpoint: str,
        patience: float,
        most: int = FAILURES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self.most = most
        self._clock = clock
        self._failures = 0
        self._gone_since: float | None = None
        self._pause = FIRST_PAUSE
        self._next = 0.0
        """When the next request may pass."""

    async def passage(self) -> None:
        """Wait until a request may be sent.

        Raises:
            Stopped: if the endpoint has been gone for too long.
        """
        while (wait := self._next - self._clock()) > 0:
            await asyncio.sleep(min(wait, LONGEST_PAUSE))
        if self._gone_since is None:
            return
        if self._clock() - self._gone_since > self.patience:
            raise Stopped(
                f"{self.endpoint}: did not come back within {self.patience:g} seconds; everything answered "
                "is kept, --resume goes on"
            )
        self._next = self._clock() + self._pause  # this one tries; the others wait for what comes of it
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def hold(self, seconds: float) -> None:
        """Let nobody pass for a while, because the endpoint asked for it."""
        self._next = max(self._next, self._clock() + seconds)

    def answered(self) -> None:
        """Note that the endpoint answered."""
        if self._gone_since is not None:
            _LOG.warning("%s: is back after %.0f seconds", self.endpoint, self._clock() - self._gone_since)
            self._next = self._clock()
        self._failures, self._gone_since, self._pause = 0, None, FIRST_PAUSE

    def failed(self, why: str) -> None:
        """Note that it did not."""
        self._failures += 1
        if self._failures >= self.most and self._gone_since is None:
            self._gone_since = self._clock()
            self._next = self._clock() + self._pause
            _LOG.warning(
                "%s: %d failures in a row (%s); pausing, and trying now and then for %g seconds",
                self.endpoint,
                self._failures,
                why,
                self.patience,
            )

    @property
    def open(self) -> bool:
        """Whether the endpoint counts as gone."""
        return self._gone_since is not None
