"""The grid between the two systems: who decides each column, on what input, and how it learns.

Three switches make a point of the grid. *Control*: each of *when* (the act), *ask* (which attribute),
*recommend* (which items) and *strategy* is decided by the joint policy, by a policy of its own, by a rule
or by an expert. *Encoder*: what learned policies see. *Learner*: how they learn. ``unified`` and ``rso``
are two points; :data:`POINTS` names more.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Controller(StrEnum):
    """Who decides a column."""

    JOINT = "joint"
    """The joint policy: one network, one action, one gradient for all columns it has (default)."""
    OWN = "own"
    """A policy of its own, trained on the same conversations and rewards with no shared gradient."""
    RULE = "rule"
    """The best simple rule known: the fitted threshold, the most informative question, the likeliest
    items, the warmest strategies in turn."""
    EXPERT = "expert"
    """The prompted Actor, which fills what a plan leaves open."""


class Encoder(StrEnum):
    """What a learned policy sees of a conversation."""

    GRAPH = "graph"
    """The user-item-attribute graph (default)."""
    TEXT = "text"
    """The words so far, and the names of the candidates."""
    BOTH = "both"
    """Both, side by side."""


class Learning(StrEnum):
    """How a learned policy learns."""

    DQN = "dqn"
    """Double DQN with dueling heads (default)."""
    PPO = "ppo"
    """Proximal policy optimisation."""
    REINFORCE = "reinforce"
    """Policy gradient with an entropy bonus."""


COLUMNS = ("when", "ask", "recommend", "strategy")
LEARNED = frozenset({Controller.JOINT, Controller.OWN})


class Control(BaseModel):
    """Who decides what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: Controller = Field(Controller.JOINT, description="whether to ask, recommend or chat")
    ask: Controller = Field(Controller.JOINT, description="which attribute a question is about")
    recommend: Controller = Field(Controller.JOINT, description="which item heads a recommendation")
    strategy: Controller = Field(Controller.JOINT, description="in which manner")

    def of(self, *controllers: Controller) -> tuple[str, ...]:
        """The columns that any of these controllers decides."""
        return tuple(name for name in COLUMNS if getattr(self, name) in controllers)


class Point(BaseModel):
    """A point of the grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    control: Control = Field(default=Control())
    encoder: Encoder = Field(Encoder.GRAPH, description="what learned policies see")
    learner: Learning = Field(Learning.DQN, description="how they learn")

    @property
    def arm(self) -> str:
        """The registered arm that is this point: the systems' own where they are it, else ``grid``."""
        return _SYSTEMS.get((self.control, self.encoder, self.learner), "grid")

    def impossible(self, sociable: bool = True) -> str | None:
        """Why this point cannot be had; ``None`` where it can.

        Args:
            sociable: whether the seekers heed strategies.
        """
        control = self.control
        if not control.of(*LEARNED):
            return "nothing in it is learned; the arm max-entropy decides every column by rule"
        if control.when is Controller.EXPERT and (
            blind := [name for name in ("ask", "recommend") if getattr(control, name) in LEARNED]
        ):
            return (
                f"{' and '.join(blind)} cannot be learned where an expert decides when: the Actor picks the "
                "act after the policy, which would be credited with questions and lists that nobody saw"
            )
        if not sociable and control.of(*LEARNED) == ("strategy",):
            return "nothing is left to learn: these seekers heed no strategy"
        if not sociable and control.strategy is Controller.OWN:
            return "these seekers heed no strategy, so a policy of its own for it has nothing to learn"
        return None


_EXPERTS = Control(
    when=Controller.EXPERT, ask=Controller.EXPERT, recommend=Controller.EXPERT, strategy=Controller.OWN
)
_SYSTEMS: Mapping[tuple[Control, Encoder, Learning], str] = {
    (Control(), Encoder.GRAPH, Learning.DQN): "unified",
    (Control(), Encoder.GRAPH, Learning.PPO): "unified-ppo",
    (Control(), Encoder.GRAPH, Learning.REINFORCE): "unified-reinforce",
    (_EXPERTS, Encoder.TEXT, Learning.REINFORCE): "rso",
    (_EXPERTS, Encoder.TEXT, Learning.PPO): "rso-ppo",
}
_ALONE = Control(when=Controller.OWN, ask=Controller.OWN, recommend=Controller.OWN, strategy=Controller.OWN)

POINTS: Mapping[str, Point] = {
    "unified": Point(),
    "rso": Point(control=_EXPERTS, encoder=Encoder.TEXT, learner=Learning.REINFORCE),
    "without-strategy": Point(control=Control(strategy=Controller.RULE)),
    "timing-by-rule": Point(control=Control(when=Controller.RULE)),
    "four-isolated": Point(control=_ALONE),
    "graph-planner": Point(control=_EXPERTS, learner=Learning.REINFORCE),
    "unified-on-text": Point(encoder=Encoder.TEXT),
}
"""Points with names: ``grid@NAME`` is one of them."""
