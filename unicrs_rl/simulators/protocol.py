"""How turns are counted in multi-round conversational recommendation."""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """How turns are counted."""

    DEFAULT = "default"
    """T system turns; a declined list always leaves the candidates."""
    UNICORN_CODE = "unicorn-code"
    """The released code: the volunteered attribute counts as turn 1, so T - 1 system turns act and
    one more call ends the dialogue with the out-of-turns reward whatever it does; a declined list is
    removed only while more than ``slate`` candidates are left."""

    def acting(self, limit: int) -> int:
        """System turns that act, of T = ``limit``."""
        return limit - 1 if self is Protocol.UNICORN_CODE else limit
