"""The Fact Retriever: lays candidates and facts of the knowledge graph on the table for a turn.

Candidates are the items of highest posterior; embedding similarity between the seeker and the items
enters through the prior (:mod:`~unicrs_rl.graphs.prior`), so retrieval and belief cannot disagree.
Facts are the knowledge graph's statements about the item in focus; a language model then chooses
which of them are worth telling.
"""

from __future__ import annotations

from collections.abc import Sequence

from unicrs_rl.dialogue import Fact, Grounding, Plan
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.states import States
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.tasks import FACT_RETRIEVER, FactInput

FACTS_TOLD = 3
"""Facts handed to the Actor in a turn, at most."""


class FactRetriever:
    """Expert that grounds a turn in the knowledge graph.

    Args:
        model: chooses the facts worth telling.
        catalogue: the knowledge graph.
    """

    def __init__(self, model: LanguageModel, catalogue: Catalogue) -> None:
        self.model = model
        self.catalogue = catalogue

    def ground(self, states: States, plans: Sequence[Plan]) -> list[Grounding]:
        """Candidates and facts for each conversation of a batch."""
        items = [_listed(row)[: states.slate] for row in states.items.tolist()]
        facts = [self._facts(plan, row) for plan, row in zip(plans, items, strict=True)]
        inputs = [self._inputs(states, row, about) for row, about in enumerate(facts)]
        answers = self.model.complete(FACT_RETRIEVER, inputs)
        chosen = [() if answer.output is None else tuple(answer.output.chosen) for answer in answers]
        return [
            Grounding(
                items=items[row],
                attributes=_listed(states.attributes[row].tolist()),
                confidence=float(states.confidence[row]),
                facts=tuple(facts[row][index] for index in chosen[row][:FACTS_TOLD]),
                call=answers[row].call,
            )
            for row in range(len(states))
        ]

    def _facts(self, plan: Plan, candidates: tuple[int, ...]) -> tuple[Fact, ...]:
        """Statements about the item in focus: the one to be recommended, else the likeliest."""
        focus = (plan.items or candidates)[:1]
        return self.catalogue.facts_about(focus[0]) if focus else ()

    def _inputs(self, states: States, row: int, facts: tuple[Fact, ...]) -> FactInput:
        known = states.rows[row].preferences
        return FactInput(
            noun=self.catalogue.noun,
            preferences=known.summary,
            liked=[self.catalogue.attributes[attribute] for attribute in known.liked],
            facts=[(self.catalogue.items[fact.item], fact.relation, fact.value) for fact in facts],
            limit=FACTS_TOLD,
        )


def _listed(ids: Sequence[int]) -> tuple[int, ...]:
    """Ids without the padding."""
    return tuple(index for index in ids if index >= 0)
