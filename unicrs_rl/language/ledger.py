"""What language models cost, and what they may cost: prices, budgets and the books."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from unicrs_rl.errors import Stopped
from unicrs_rl.language.answers import Answers, Kept, Spending

CHARACTERS_PER_TOKEN = 4
"""By which the size of a prompt is guessed before it is known."""
_payer: ContextVar[str] = ContextVar("payer", default="")


class Price(BaseModel):
    """What a model costs, in US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(0.0, ge=0, description="USD for a million tokens of prompts")
    output: float = Field(0.0, ge=0, description="USD for a million tokens of answers")

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend, earlier sessions of it included; ``None``: no limit."""

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None

    def exceeded_by(self, spent: Spending) -> str | None:
        """Which limit so much would go beyond, if any."""
        limits = (("calls", self.calls), ("tokens", self.tokens), ("usd", self.usd))
        return next(
            (name for name, limit in limits if limit is not None and getattr(spent, name) > limit), None
        )


NO_LIMIT = Budget()


@contextmanager
def paid_by(payer: str) -> Iterator[None]:
    """Whom what is asked within is charged to: an arm."""
    token = _payer.set(payer)
    try:
        yield
    finally:
        _payer.reset(token)


def payer() -> str:
    """Whom what is asked now is charged to."""
    return _payer.get()


@dataclass
class Ledger:
    """The books of a run.

    Args:
        price: of the model.
        budget: what may be spent.
        answers: where what is answered and spent is written, so that a resumed run knows of it.
        resumed: what was spent before, by those who used ``answers``, counts.
    """

    price: Price = field(default_factory=Price)
    budget: Budget = NO_LIMIT
    answers: Answers | None = None
    resumed: bool = True
    spent: defaultdict[tuple[str, str], Spending] = field(default_factory=lambda: defaultdict(Spending))
    """By payer and task; of earlier sessions too, if resumed."""
    _reserved: Spending = field(default=Spending(), init=False)
    _under_way: set[str] = field(default_factory=set, init=False)
    _change: threading.Condition = field(default_factory=threading.Condition, init=False)

    def __post_init__(self) -> None:
        if self.answers is not None and self.resumed:
            self.spent.update(self.answers.spending())

    @property
    def total(self) -> Spending:
        """All that was spent."""
        return sum(self.spent.values(), Spending())

    def begin_anew(self) -> None:
        """Forget what was spent before."""
        self.spent.clear()
        if self.answers is not None:
            self.answers.begin_anew()

    def estimate(self, characters: int, tokens_out: int) -> Spending:
        """What an answer will cost, at most, as far as one can tell before."""
        tokens_in = -(-characters // CHARACTERS_PER_TOKEN)
        return Spending(
            calls=1, tokens_in=tokens_in, tokens_out=tokens_out, usd=self.price.usd(tokens_in, tokens_out)
        )

    def claim(self, keys: Sequence[str]) -> list[int]:
        """The places of those answers that nobody else asks for now, each once; waits until there is one.

        They are to be given back with :meth:`disclaim`. So the same answer is not paid for twice because
        two conversations want it at the same time.
        """
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        with self._change:
            while True:
                free = sorted(place for key, place in first.items() if key not in self._under_way)
                if free:
                    self._under_way.update(keys[place] for place in free)
                    return free
                self._change.wait()

    def disclaim(self, keys: Iterable[str]) -> None:
        """Let others ask for these answers."""
        with self._change:
            self._under_way.difference_update(keys)
            self._change.notify_all()

    def reserve(self, estimates: Sequence[Spending]) -> int:
        """How many of some answers, from the first on, can be asked for now; waits until one can.

        What is reserved is to be given back with :meth:`settle` or :meth:`release`.

        Raises:
            Stopped: if the budget has no room for the first.
        """
        if self.budget == NO_LIMIT:
            return len(estimates)
        with self._change:
            while True:
                granted = 0
                for estimate in estimates:
                    if self.budget.exceeded_by(self.total + self._reserved + estimate):
                        break
                    self._reserved += estimate
                    granted += 1
                if granted:
                    return granted
                limit = self.budget.exceeded_by(self.total + estimates[0])
                if limit is not None:
                    raise Stopped(self._reached(limit))
                self._change.wait()  # others have reserved more than they will need

    def settle(self, key: str, kept: Kept, task: str, estimate: Spending, resent: int) -> None:
        """Write an answer, and what it cost instead of what was reserved for it."""
        usd = self.price.usd(kept.tokens_in, kept.tokens_out)
        cost = Spending(1, kept.tokens_in, kept.tokens_out, kept.seconds, resent, 0, usd)
        with self._change:
            if self.answers is not None:
                self.answers.keep(key, kept, payer(), task, cost)
            self.spent[payer(), task] += cost
        self.release(estimate)

    def release(self, estimate: Spending) -> None:
        """Give back what was reserved for an answer that was not had, or is settled."""
        if self.budget == NO_LIMIT:
            return
        with self._change:
            self._reserved += _minus(estimate)
            if not self._reserved.calls:  # what rounding leaves of the dollars
                self._reserved = Spending()
            self._change.notify_all()

    def note(self, task: str, cost: Spending) -> None:
        """Book what is no new answer: those found on disk, and requests in vain."""
        with self._change:
            if self.answers is not None:
                self.answers.book(payer(), task, cost)
            self.spent[payer(), task] += cost

    def by_payer(self) -> Mapping[str, Mapping[str, Spending]]:
        """What was spent, by payer and task."""
        table: defaultdict[str, dict[str, Spending]] = defaultdict(dict)
        for (who, task), cost in sorted(self.spent.items()):
            table[who][task] = cost
        return table

    def _reached(self, limit: str) -> str:
        budget = getattr(self.budget, limit)
        spent = getattr(self.total, limit)
        said = f"{spent:.4f} of {budget:g} USD" if limit == "usd" else f"{spent:,} of {budget:,} {limit}"
        return (
            f"--budget-{limit}: {said} are spent and the next answer would go beyond; everything is kept, "
            "and with a larger budget the same command goes on (a run with --resume)"
        )


def _minus(cost: Spending) -> Spending:
    return Spending(*(-getattr(cost, name) for name in Spending.__slots__))
