"""The Fact Retriever: lays candidates and facts of the knowledge graph on the table for a turn.

Candidates are the items of highest posterior; embedding similarity between the seeker and the items
enters through the prior (:mod:`~unicrs_rl.graphs.prior`), so retrieval and belief cannot disagree.
Facts are the knowledge graph's statements about the item in focus; a language model then chooses
which of them are worth telling. :class:`~unicrs_rl.language.experts.Retrieval` has the other ways.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unicrs_rl.dialogue import Call, Fact, Grounding, Plan
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.states import States
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.experts import Retrieval, Volunteering
from unicrs_rl.language.tasks import FACT_RETRIEVER, FactInput

FACTS_TOLD = 3
"""Facts handed to the Actor in a turn, at most."""


class FactRetriever:
    """Expert that grounds a turn in the knowledge graph.

    Args:
        model: chooses the facts worth telling.
        catalogue: the knowledge graph.
        retrieval: where items and facts come from.
        volunteer: whether there is to be something to tell unasked.
    """

    def __init__(
        self,
        model: LanguageModel,
        catalogue: Catalogue,
        retrieval: Retrieval = Retrieval.GRAPH,
        volunteer: Volunteering = Volunteering.OFF,
    ) -> None:
        self.model = model
        self.catalogue = catalogue
        self.retrieval = retrieval
        self.volunteer = volunteer

    def ground(self, states: States, plans: Sequence[Plan]) -> list[Grounding]:
        """Candidates and facts for each conversation of a batch.

        The confidence is always the state's: how sure the belief is of its own candidates.
        """
        items = self.candidates(states)
        if self.retrieval is Retrieval.OFF:
            return [self._grounding(states, row, items[row], None, None) for row in range(len(states))]
        facts = [self._facts(plan, row) for plan, row in zip(plans, items, strict=True)]
        inputs = [self._inputs(states, row, about) for row, about in enumerate(facts)]
        answers = self.model.complete(FACT_RETRIEVER, inputs)
        chosen = [
            () if answer.output is None else tuple(dict.fromkeys(answer.output.chosen)) for answer in answers
        ]
        told = [
            tuple(facts[row][index] for index in indices[:FACTS_TOLD]) for row, indices in enumerate(chosen)
        ]
        return [
            self._grounding(states, row, items[row], told[row], answers[row].call)
            for row in range(len(states))
        ]

    def candidates(self, states: States) -> list[tuple[int, ...]]:
        """Items worth recommending in each conversation, best first, at most the states' slate."""
        if self.retrieval is Retrieval.SIMILARITY:
            return self._similar(states)
        return [_listed(row)[: states.slate] for row in states.items.tolist()]

    def _grounding(
        self,
        states: States,
        row: int,
        items: tuple[int, ...],
        facts: tuple[Fact, ...] | None,
        call: Call | None,
    ) -> Grounding:
        return Grounding(
            items=items,
            attributes=_listed(states.attributes[row].tolist()),
            confidence=float(states.confidence[row]),
            facts=facts,
            call=call,
            unasked=self._unasked(states, row, items),
        )

    def _unasked(self, states: States, row: int, items: tuple[int, ...]) -> tuple[Fact, ...]:
        """What the likeliest item has of the open questions, best first, and was not told before."""
        if self.volunteer is Volunteering.OFF or not items:
            return ()
        before = {decision.told for decision in states.rows[row].decisions}
        facts = {fact.value: fact for fact in self.catalogue.facts_about(items[0])}
        names = self.catalogue.attributes
        open_ = [a for a in _listed(states.attributes[row].tolist()) if a not in before]
        return tuple(facts[names[attribute]] for attribute in open_ if names[attribute] in facts)

    def _similar(self, states: States) -> list[tuple[int, ...]]:
        """Items by ``cos(v, h + sum of p liked - sum of p disliked)``, without those known or turned down.

        An item's vector ``v`` holds the TF-IDF weights of its attributes, ``h`` is the mean of the
        history's, and ``p`` the axis of an attribute: what a text encoder would make of the same names.
        TransE's vectors will not do: there an attribute is near ``v + r``, not near ``v``.
        """
        content = self.catalogue.content
        found = []
        for state in states.rows:
            known = state.preferences
            wish = np.zeros(self.catalogue.n_attributes)
            if state.history:
                wish += content[list(state.history)].mean(axis=0)
            wish[list(known.liked)] += 1.0
            wish[list(known.disliked)] -= 1.0
            scores = content @ wish
            scores[[*state.history, *known.rejected_items]] = -np.inf
            best = np.argsort(-scores, kind="stable")[: states.slate]
            found.append(tuple(best[scores[best] > -np.inf].tolist()))
        return found

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
