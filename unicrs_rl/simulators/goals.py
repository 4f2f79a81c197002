"""What a seeker is after, and what it has said of it so far: the goal that its replies are held against."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from unicrs_rl.dialogue import Decision, Reply


@dataclass(frozen=True, slots=True)
class Goal:
    """A seeker's goal in one conversation, now.

    Attributes:
        targets: item ids that it wants; empty for a seeker that takes whatever satisfies it.
        wants: attribute ids that it wants.
        avoids: attribute ids that it does not want.
        needs: share of ``wants`` that an item has to have, where it is none of the targets.
        yes, no, open: attribute ids that it has affirmed, denied and been indifferent to.
        named: item ids that it was offered, or that the recommender named.
        rejected: item ids that it has turned down.
        patience: share of its patience that is left: 1 at first, 0 when it leaves.
    """

    targets: tuple[int, ...] = ()
    wants: frozenset[int] = frozenset()
    avoids: frozenset[int] = frozenset()
    needs: float = 1.0
    yes: frozenset[int] = frozenset()
    no: frozenset[int] = frozenset()
    open: frozenset[int] = frozenset()
    named: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    patience: float = 1.0

    @property
    def wished(self) -> frozenset[int]:
        """What it wants, and has said that it wants."""
        return self.wants | self.yes

    @property
    def refused(self) -> frozenset[int]:
        """What it does not want, or has said that it does not."""
        return (self.avoids | self.no) - self.wants

    def satisfied_by(self, item: int, attributes: Collection[int]) -> bool:
        """Whether an item with these attributes is what it is after: a target, or one that has enough of
        what it wants and nothing of what it refuses.
        """
        if item in self.targets:
            return True
        wished = self.wants or self.yes
        if not wished and self.targets:
            return False
        met = len(wished.intersection(attributes))
        return met >= self.needs * len(wished) - 1e-9 and not self.refused.intersection(attributes)

    def hearing(self, items: Iterable[int]) -> Goal:
        """The same after the recommender offered or named items."""
        return replace(self, named=self.named.union(items))

    def after(self, reply: Reply, decision: Decision | None = None) -> Goal:
        """The same after a reply; what is said later counts, and what is withdrawn is no wish any more."""
        liked, disliked = frozenset(reply.liked), frozenset(reply.disliked)
        answered = liked | disliked
        heard = self if decision is None else self.hearing(decision.items)
        return replace(
            heard,
            yes=(self.yes - disliked - frozenset(reply.withdrawn)) | liked,
            no=(self.no - liked) | disliked,
            open=(self.open | frozenset(reply.open)) - answered,
            rejected=(self.rejected | frozenset(reply.rejected)) - {reply.accepted},
        )

    def turned_to(self, targets: tuple[int, ...], wants: Iterable[int]) -> Goal:
        """The same after a change of mind: what it said counts as far as it agrees with the new wish."""
        new = frozenset(wants)
        return replace(self, targets=targets, wants=new, yes=self.yes & new, no=self.no - new)
