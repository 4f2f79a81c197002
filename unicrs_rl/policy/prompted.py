"""The prompted baselines of the RSO paper: arms in which a language model decides, and nothing is learned.

Their policy leaves every column of a plan open; what tells them apart is who then decides: the Actor
and the other experts they work with (:mod:`~unicrs_rl.language.experts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import override

from unicrs_rl.dialogue import Plan
from unicrs_rl.graphs.states import States
from unicrs_rl.policy.base import Policy


class Prompted(Policy):
    """Leaves everything to the Actor."""

    complete: ClassVar[bool] = False

    @override
    def decide(self, states: States) -> list[Plan]:
        return [Plan()] * len(states)


class Llm(Prompted):
    """One prompt a turn decides everything, from the dialogue alone (QwenCRS, LlamaCRS of the RSO paper)."""

    experts: ClassVar[Mapping[str, str]] = {
        "planner": "off",
        "reasoner": "off",
        "retriever": "off",
        "actor": "single-prompt",
    }


class Intercrs(Prompted):
    """Recommendation interleaved with conversation, after iEvaLM (Wang et al., EMNLP 2023).

    There a text encoder embeds the conversation and retrieves the items nearest to it; nobody reads it
    before. Here an item's vector holds its names (genres, people, themes), and the conversation's those
    that the Preference Reasoner reads in it. It is therefore left on; unlike a text encoder it knows a
    refusal from a wish, which is to the arm's favour.
    """

    experts: ClassVar[Mapping[str, str]] = {
        "planner": "off",
        "retriever": "similarity",
        "actor": "interleaved",
    }


class Pccrs(Prompted):
    """Credible explanations, checked and refined, after PC-CRS (Qin et al., EMNLP Findings 2024)."""

    experts: ClassVar[Mapping[str, str]] = {"planner": "off", "actor": "credible"}
