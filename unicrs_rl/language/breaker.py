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
TOLD_FROM = 10.0
"""Seconds that an endpoint asks to wait from which on it is said."""
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
        self.answers = 0
        """How often it has answered so far: what was found out before the last time is out of date."""
        self._failures = 0
        self._who: set[int] = set()
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
        """Let nobody pass for a while, because the endpoint asked for it.

        Raises:
            Stopped: if that is longer than anybody will wait.
        """
        if seconds > self.patience + LONGEST_PAUSE:
            raise Stopped(
                f"{self.endpoint}: wants nothing to be asked for {seconds:.0f} seconds, longer than "
                f"language_model.patience ({self.patience:g}); everything is kept, --resume goes on"
            )
        if seconds > TOLD_FROM and self._next < self._clock() + seconds / 2:
            _LOG.warning("%s: asks to wait %.0f seconds; waiting", self.endpoint, seconds)
        self._next = max(self._next, self._clock() + seconds)

    def answered(self) -> None:
        """Note that the endpoint answered."""
        self.answers += 1
        if self._gone_since is not None:
            _LOG.warning("%s: is back after %.0f seconds", self.endpoint, self._clock() - self._gone_since)
            self._next = self._clock()
        self.well()
        self._gone_since, self._pause = None, FIRST_PAUSE

    def well(self) -> None:
        """Forget the failures: they say nothing against the endpoint."""
        self._failures = 0
        self._who.clear()

    def failed(self, why: str, who: int | None = None) -> bool:
        """Note that it did not.

        Args:
            who: tells the requests apart that fail; ``None``: one that did not fail before.

        Returns:
            Whether there were enough failures, but all of few requests, which may be at fault themselves.
        """
        self._failures += 1
        self._who.add(self._failures if who is None else who)
        if self._failures < self.most or self._gone_since is not None:
            return False
        if len(self._who) < FAILURES:
            return True
        self.trip(why, self.answers)
        return False

    def trip(self, why: str, answers: int) -> None:
        """Count the endpoint as gone, unless it does already: several may find it out at once.

        Args:
            answers: ``answers`` when it was last seen to be gone; if it has answered since, it is back.
        """
        if self._gone_since is not None or self.answers > answers:
            return
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
