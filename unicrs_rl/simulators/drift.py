"""Drift: where a seeker's reply strays from its goal, by comparing what it does and says with the goal.

The words are read by a language model or by rule (:mod:`~unicrs_rl.language.seeker_rules`); the comparison
here is deterministic. A change of mind that the seeker declares, and what a population does off the path
on purpose (``Reply.behaviours``), is no drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

from unicrs_rl.dialogue import Call, Decision, Reply
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.lexicon import Entity, Lexicon
from unicrs_rl.language.seeker_rules import SeekerWords, read_words
from unicrs_rl.language.seeker_tasks import SEEKER_READING, ReadingInput, ReadingOutput
from unicrs_rl.language.titles import places
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.wording import Behaviour


class Drift(StrEnum):
    """Ways of straying from a goal."""

    CONTRADICTION = "contradiction"
    """Answers against what it wants or said before, or says one thing and does another."""
    FORGOTTEN = "forgotten-constraint"
    """Does not care for what it demanded or refused, or asks for what it refused."""
    PREMATURE = "premature-acceptance"
    """Takes what was not offered, or something before anything that fits was."""
    IMPOSSIBLE = "impossible-acceptance"
    """Takes what it turned down, or what lacks what it wants."""
    ROLE_SWAP = "role-swap"
    """Talks like the recommender."""
    LEAK = "leak"
    """Names what it wants before the recommender did."""


COMPLAINTS = {
    Drift.CONTRADICTION: "It contradicts what you want or said before.",
    Drift.FORGOTTEN: "It forgets what you demanded or refused.",
    Drift.PREMATURE: "You took something although nothing that fits was offered.",
    Drift.IMPOSSIBLE: "You took what you had turned down, or what lacks what you want.",
    Drift.ROLE_SWAP: "You talked like the recommender; you are the seeker.",
    Drift.LEAK: "You named what you want.",
}
"""What a seeker is told that is asked again."""


def complaint(kinds: Iterable[str]) -> str:
    """What is wrong with a reply, to the seeker."""
    return " ".join(COMPLAINTS[Drift(kind)] for kind in kinds)


class DriftDetector:
    """Finds drift in batches of replies.

    Args:
        catalogue: what items have, and how they are called.
        model: who reads the words; ``None`` to read them by rule.
    """

    def __init__(self, catalogue: Catalogue, model: LanguageModel | None = None) -> None:
        self.catalogue = catalogue
        self.model = model

    def check(
        self,
        goals: Sequence[Goal],
        decisions: Sequence[Decision | None],
        utterances: Sequence[str],
        replies: Sequence[Reply],
    ) -> list[Reply]:
        """The same replies, each with its drift; with the calls that reading took, if a model reads.

        Args:
            goals: as they were before the reply, with everything heard till then.
            decisions: what is answered; ``None`` for an opening.
            utterances: the recommender's words, "" where there are none.
        """
        texts = [reply.text for reply in replies]
        read = self.read(goals, decisions, utterances, texts)
        return [
            replace(
                reply,
                drift=find_drift(self.catalogue, goal, decision, reply, words),
                calls=(*reply.calls, *calls),
            )
            for goal, decision, reply, (words, calls) in zip(goals, decisions, replies, read, strict=True)
        ]

    def check_words(
        self,
        goals: Sequence[Goal],
        decisions: Sequence[Decision],
        utterances: Sequence[str],
        texts: Sequence[str],
    ) -> list[Reply]:
        """Replies of which only the words are known: what they do is what the words say."""
        return [
            replace(reply, drift=find_drift(self.catalogue, goal, decision, reply, words), calls=calls)
            for goal, decision, text, (words, calls) in zip(
                goals, decisions, texts, self.read(goals, decisions, utterances, texts), strict=True
            )
            for reply in [_as_said(text, words, decision)]
        ]

    def read(
        self,
        goals: Sequence[Goal],
        decisions: Sequence[Decision | None],
        utterances: Sequence[str],
        texts: Sequence[str],
    ) -> list[tuple[SeekerWords, tuple[Call, ...]]]:
        """What words say, and the calls that it took to read them."""
        if self.model is None:
            return [(self._by_rule(*row), ()) for row in zip(goals, decisions, texts, strict=True)]
        return self._by_model(self.model, goals, decisions, utterances, texts)

    def _by_rule(self, goal: Goal, decision: Decision | None, text: str) -> SeekerWords:
        asked = () if decision is None else decision.attributes
        offered = () if decision is None else decision.items
        return read_words(self.catalogue.lexicon, text, asked, offered, tuple(sorted(goal.named)))

    def _by_model(
        self,
        model: LanguageModel,
        goals: Sequence[Goal],
        decisions: Sequence[Decision | None],
        utterances: Sequence[str],
        texts: Sequence[str],
    ) -> list[tuple[SeekerWords, tuple[Call, ...]]]:
        """Nothing counts as said where a reading failed; what is done is still compared with the goal."""
        items, attributes = self.catalogue.items, self.catalogue.attributes
        spoken = [place for place, text in enumerate(texts) if text]
        inputs = []
        for place in spoken:
            decision = decisions[place]
            inputs.append(
                ReadingInput(
                    noun=self.catalogue.noun,
                    recommender=utterances[place],
                    asked=[] if decision is None else [attributes[a] for a in decision.attributes],
                    offered=[] if decision is None else [items[i] for i in decision.items],
                    named=[items[item] for item in sorted(goals[place].named)],
                    seeker=texts[place],
                )
            )
        read: list[tuple[SeekerWords, tuple[Call, ...]]] = [(SeekerWords(), ())] * len(texts)
        for place, answer in zip(spoken, model.complete(SEEKER_READING, inputs), strict=True):
            said = SeekerWords() if answer.output is None else linked(self.catalogue.lexicon, answer.output)
            read[place] = (said, (answer.call,))
        return read


def _as_said(text: str, words: SeekerWords, decision: Decision) -> Reply:
    """What a reply does, by its words; one that takes no named item takes the only one offered."""
    taken = words.accepted
    if taken is None and words.accepts and len(decision.items) == 1:
        taken = decision.items[0]
    return Reply(text, words.liked, words.disliked, words.open, accepted=taken)


def linked(lexicon: Lexicon, output: ReadingOutput) -> SeekerWords:
    """A reading by name as one by id; names that the catalogue does not know are dropped."""

    def attributes(names: Iterable[str]) -> tuple[int, ...]:
        found = (lexicon.attribute_id(name) for name in names)
        return tuple(dict.fromkeys(index for index in found if index is not None))

    items = (lexicon.item_id(name) for name in output.items)
    return SeekerWords(
        liked=attributes(output.liked),
        disliked=attributes(output.disliked),
        open=attributes(output.open),
        accepts=output.accepts,
        accepted=None if output.accepted is None else lexicon.item_id(output.accepted),
        declines=output.declines,
        changes=output.changes_mind,
        anything=output.anything,
        swaps=output.role_swap,
        named=tuple(dict.fromkeys(item for item in items if item is not None)),
    )


def find_drift(
    catalogue: Catalogue, goal: Goal, decision: Decision | None, reply: Reply, words: SeekerWords
) -> tuple[Drift, ...]:
    """How a reply strays from the goal as it was before it.

    Args:
        decision: what it answers to; ``None`` for the opening.
        reply: what it does.
        words: what its words say.
    """
    asked = frozenset() if decision is None else frozenset(decision.attributes)
    heard = goal if decision is None else goal.hearing(decision.items)
    behaviours = frozenset(reply.behaviours)
    changed = words.changes or bool(reply.withdrawn) or Behaviour.CHANGED_MIND in behaviours
    talked_of = asked.union(reply.liked, reply.disliked, reply.open)
    held = not (changed or Behaviour.HEDGING in behaviours)
    found = {
        Drift.CONTRADICTION: _at_odds(decision, reply, words)
        or (held and _contradicts(goal, asked, reply, words)),
        Drift.FORGOTTEN: not (changed or Behaviour.INDIFFERENT in behaviours)
        and _forgets(goal, asked, reply, words),
        Drift.ROLE_SWAP: words.swaps,
        Drift.LEAK: any(
            _named(catalogue, item, reply.text, talked_of) for item in goal.targets if item not in heard.named
        ),
    }
    taking = _taking(catalogue, heard, decision, reply, words, changed)
    return tuple(kind for kind in Drift if found.get(kind) or kind is taking)


def _named(catalogue: Catalogue, item: int, text: str, said: frozenset[int]) -> bool:
    """Whether a text names an item: not another whose title holds this one's ("Ride Along 2"), and not an
    attribute of the same name that is being talked of.
    """
    others = [
        mention
        for mention in catalogue.lexicon.mentions(text)
        if mention.entity is Entity.ITEM and (mention.id != item or mention.namesake in said)
    ]
    return any(
        not any(
            m.start <= start and end <= m.end and (m.id == item or m.end - m.start > end - start)
            for m in others
        )
        for start, end in places(catalogue.items[item], text)
    )


def _at_odds(decision: Decision | None, reply: Reply, words: SeekerWords) -> bool:
    """Whether the words say the opposite of what is done."""
    affirmed, denied = set(reply.liked), set(reply.disliked)
    if (set(words.liked) - affirmed) & denied or (set(words.disliked) - denied) & affirmed:
        return True
    if decision is None or not decision.items:
        return False
    return words.declines if reply.accepted is not None else words.accepts and words.accepted is not None


def _contradicts(goal: Goal, asked: frozenset[int], reply: Reply, words: SeekerWords) -> bool:
    """Whether something wanted is denied, or something refused affirmed, in answer to a question."""
    liked = {*reply.liked, *words.liked}
    disliked = {*reply.disliked, *words.disliked}
    if disliked & goal.wished or liked & asked & goal.refused:
        return True
    strange = bool(goal.targets) and bool(goal.wants) and liked & asked - goal.wants
    return bool(strange)


def _forgets(goal: Goal, asked: frozenset[int], reply: Reply, words: SeekerWords) -> bool:
    """Whether a demand counts for nothing any more."""
    said = goal.yes | goal.no
    indifferent = {*reply.open, *words.open}
    if indifferent & said or ({*reply.liked, *words.liked} - asked) & goal.refused:
        return True
    return words.anything and not asked and bool(said)


def _taking(
    catalogue: Catalogue,
    goal: Goal,
    decision: Decision | None,
    reply: Reply,
    words: SeekerWords,
    changed: bool,
) -> Drift | None:
    """What is wrong with taking what is taken, if anything is."""
    if reply.accepted is None and not words.accepts:
        return None
    offered = () if decision is None else decision.items
    item = words.accepted if reply.accepted is None else reply.accepted
    if item is None and len(offered) == 1:
        item = offered[0]

    def fits(taken: int) -> bool:
        return goal.satisfied_by(taken, catalogue.attributes_of(taken).tolist())

    if item is None:
        return None if any(fits(one) for one in offered) else Drift.PREMATURE
    if item not in goal.named:
        return Drift.PREMATURE
    turned_down = item in goal.rejected and item not in goal.targets and not changed
    return None if fits(item) and not turned_down else Drift.IMPOSSIBLE
