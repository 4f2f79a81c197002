"""The Preference Reasoner: reads the dialogue so far into :class:`Preferences`, the same for every arm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from unicrs_rl.dialogue import Call, Dialogue, Preferences, Reply
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.experts import Reading
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.reading import fold
from unicrs_rl.language.tasks import PREFERENCE_REASONER, Exchange, PreferenceInput, PreferenceOutput


class PreferenceReasoner:
    """Expert that turns words into preferences through a language model.

    Args:
        model: who reads.
        lexicon: links the names in the model's answer to ids; names it does not know are dropped.
        reading: how much of the dialogue is read.
    """

    def __init__(self, model: LanguageModel, lexicon: Lexicon, reading: Reading = Reading.GLOBAL) -> None:
        self.model = model
        self.lexicon = lexicon
        self.reading = reading

    def perceive(self, dialogues: Sequence[Dialogue]) -> list[tuple[Preferences, Call | None]]:
        """Read each dialogue afresh; a reading that failed is empty, and so is one that is switched off."""
        if self.reading is Reading.OFF:
            return [(Preferences(), None)] * len(dialogues)
        answers = self.model.complete(PREFERENCE_REASONER, [self._inputs(dialogue) for dialogue in dialogues])
        return [
            (Preferences() if answer.output is None else self._link(answer.output, dialogue), answer.call)
            for answer, dialogue in zip(answers, dialogues, strict=True)
        ]

    def _inputs(self, dialogue: Dialogue) -> PreferenceInput:
        items, attributes = self.lexicon.items, self.lexicon.attributes
        latest = self.reading is Reading.LATEST and dialogue.turns
        return PreferenceInput(
            noun=self.lexicon.noun,
            opening="" if latest else dialogue.opening.text,
            exchanges=[
                Exchange(
                    recommender=turn.utterance,
                    asked=[attributes[attribute] for attribute in turn.decision.attributes],
                    offered=[items[item] for item in turn.decision.items],
                    seeker=turn.reply.text,
                )
                for turn in (dialogue.turns[-1:] if latest else dialogue.turns)
            ],
        )

    def _link(self, output: PreferenceOutput, dialogue: Dialogue) -> Preferences:
        """The names as ids: an attribute under one heading, items turned down only if offered.

        An item that the seeker speaks against need not have been offered to be turned down.
        """
        liked = _ids(self.lexicon.attribute_id, output.liked)
        disliked = _ids(self.lexicon.attribute_id, output.disliked, liked)
        offered = {item for turn in dialogue.turns for item in turn.decision.items}
        rejected = tuple(i for i in _ids(self.lexicon.item_id, output.rejected_items) if i in offered)
        return Preferences(
            liked=liked,
            disliked=disliked,
            open=_ids(self.lexicon.attribute_id, output.open, (*liked, *disliked)),
            liked_items=_ids(self.lexicon.item_id, output.liked_items),
            rejected_items=(*rejected, *_ids(self.lexicon.item_id, output.disliked_items, rejected)),
            mood=output.mood,
            summary=output.summary,
        )


def perceive_acts(opening: Reply, replies: Sequence[Reply]) -> Preferences:
    """Preferences at the semantic surface: straight from the seeker's acts, without words."""
    liked, disliked, open_ = fold((opening, *replies))
    rejected = tuple(dict.fromkeys(item for reply in replies for item in reply.rejected))
    return Preferences(liked, disliked, open_, rejected_items=rejected)


def _ids(
    resolve: Callable[[str], int | None], names: Iterable[str], other_than: Sequence[int] = ()
) -> tuple[int, ...]:
    found = (resolve(name) for name in names)
    return tuple(dict.fromkeys(index for index in found if index is not None and index not in other_than))
