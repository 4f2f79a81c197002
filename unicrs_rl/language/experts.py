"""Which experts an arm works with. Each can be switched off or replaced, singly: that is the ablation.

The whole crew of the decomposed arm (RSO, arXiv 2509.26093) is the default, for every arm, so that arms
differ in what decides and in nothing else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Planning(StrEnum):
    """Who picks the strategy."""

    POLICY = "policy"
    """The arm's policy: RSO's Planner, or the unified policy (default)."""
    OFF = "off"
    """Nobody beforehand: that column of every plan is left to the Actor ("without Planner")."""


class Reading(StrEnum):
    """What the Preference Reasoner reads."""

    GLOBAL = "global"
    """The whole dialogue (default)."""
    LATEST = "latest"
    """Only the last exchange: a reasoner without the global view."""
    OFF = "off"
    """Nothing: the state holds no wish ("without Preference Reasoner")."""


class Retrieval(StrEnum):
    """What the Fact Retriever lays on the table."""

    GRAPH = "graph"
    """Items of highest posterior probability, and facts of the knowledge graph (default)."""
    SIMILARITY = "similarity"
    """Items by similarity of vectors to the seeker's history and stated wishes (the paper), and facts."""
    OFF = "off"
    """Items of the state and no facts: what is claimed comes from memory ("without Fact Retriever")."""


class Volunteering(StrEnum):
    """What the recommender tells unasked."""

    OFF = "off"
    """Nothing (default)."""
    ATTRIBUTE = "attribute"
    """With a question or small talk, one attribute of the likeliest item: the most informative that is
    still open. A seeker may take it up as if it had been asked, and so a turn asks two things."""


class Experts(BaseModel):
    """The crew of an arm: ``[experts]`` for all arms, ``[arm.NAME.experts]`` for one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    planner: Planning = Field(Planning.POLICY, description="who picks the strategy")
    reasoner: Reading = Field(Reading.GLOBAL, description="what is read of the dialogue")
    retriever: Retrieval = Field(Retrieval.GRAPH, description="where items and facts come from")
    actor: str = Field("actor", description="who acts and speaks")
    volunteer: Volunteering = Field(Volunteering.OFF, description="what is told unasked")

    @model_validator(mode="after")
    def _able_to_volunteer(self) -> Self:
        if self.volunteer is not Volunteering.OFF and (
            self.actor != "actor" or self.retriever is Retrieval.OFF
        ):
            raise ValueError("volunteer = 'attribute' needs actor = 'actor' and a retriever that is not off")
        return self
