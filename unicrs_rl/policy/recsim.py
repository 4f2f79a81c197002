"""The recommender that was trained on human dialogues by itself, after Interplay (Ramos et al., 2026).

``recsim`` is what ``train-simulator --role recommender`` made: a language model that has the dialogue and
nothing else. It commits to an action, with a strategy and titles, and words it; nothing is read, believed
or looked up for it. It can only offer titles of the catalogue (:mod:`~unicrs_rl.language.names_only`), and
does so from memory: of what it never met in its training it knows the name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import Act, Call, Decision, Plan, State
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.states import States
from unicrs_rl.language.players import player
from unicrs_rl.language.roles import (
    Chat,
    RecommenderAct,
    RecommenderMove,
    Role,
    done,
    heard,
    named,
    recommender_told,
    unnamed,
)
from unicrs_rl.policy.base import ArmContext, Policy

if TYPE_CHECKING:
    from unicrs_rl.language.lexicon import Lexicon
    from unicrs_rl.language.role_model import RoleModel

_ACTS = {
    RecommenderAct.ASK: Act.ASK,
    RecommenderAct.RECOMMEND: Act.RECOMMEND,
    RecommenderAct.CHAT: Act.CHAT,
}
_NAMES = {act: name for name, act in _ACTS.items()}


class RecsimConfig(BaseModel):
    """Settings of ``[arm.recsim]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Path | None = Field(None, description="run of train-simulator --role recommender")


class Recsim(Policy):
    """Decides and words everything by a trained recommender.

    Raises:
        InputError: if no run is given, or it is none of a recommender about this catalogue.
    """

    Config: ClassVar[type[BaseModel]] = RecsimConfig
    complete: ClassVar[bool] = False
    experts: ClassVar[Mapping[str, str]] = {"reasoner": "off", "retriever": "off", "actor": "verbatim"}

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        model = _player(context.options or {}, context.catalogue)
        self.recommender = TrainedRecommender(model, context.catalogue.lexicon, context.seed)

    @override
    @classmethod
    def check(cls, settings: Mapping[str, Any], catalogue: Catalogue) -> None:
        _player(settings, catalogue)

    @override
    def decide(self, states: States) -> list[Plan]:
        return self.recommender.plans(states.rows)


class TrainedRecommender:
    """Plays the recommender.

    Args:
        model: that plays it.
        lexicon: names of its catalogue.
        seed: of its draws.
    """

    def __init__(self, model: RoleModel, lexicon: Lexicon, seed: int = 0) -> None:
        from unicrs_rl.language.names_only import NamesOnly  # late: imports transformers

        self.model, self.lexicon, self.seed = model, lexicon, seed
        self._titles = NamesOnly(model.tokenizer, "items", lexicon.items)

    def plans(self, rows: Sequence[State]) -> list[Plan]:
        """A plan with its words for each conversation, from what was said and done in it."""
        chats = [self._chat(state) for state in rows]
        keys = [draws.key(state.key, "recsim", self.seed, state.turn, state.copy) for state in rows]
        played = self.model.play(chats, keys, lambda _, text: RecommenderMove.read(text), self._titles)
        return [self._plan(move, call) for move, call in played]

    def _chat(self, state: State) -> Chat:
        """The conversation as the recommender sees it."""
        chat = [recommender_told(self.lexicon.noun)]
        decisions = iter(state.decisions)
        for speaker, text in state.utterances:
            chat.append(heard(text) if speaker == "seeker" else done(self._move(next(decisions), text)))
        return chat

    def _move(self, decision: Decision, text: str) -> RecommenderMove:
        """A past turn as the model would have written it."""
        titles = tuple(self.lexicon.items[item] for item in decision.items)
        act = _NAMES[decision.act]
        return RecommenderMove(
            RecommenderAct.CHAT if act is RecommenderAct.RECOMMEND and not titles else act,
            decision.strategy,
            titles,
            tuple(self.lexicon.attributes[attribute] for attribute in decision.attributes),
            unnamed(text, titles),
        )

    def _plan(self, move: RecommenderMove | None, call: Call) -> Plan:
        """A move by id; an offer that the catalogue does not have, or a question about nothing, is chat."""
        if move is None:
            return Plan(calls=(call,))
        items, strange = _linked(self.lexicon.item_id, move.items)
        asked, odd = _linked(self.lexicon.attribute_id, move.about)
        act = _ACTS[move.act] if items or asked else Act.CHAT
        return Plan(
            strategy=move.strategy,
            act=act,
            attributes=asked if act is Act.ASK else (),
            items=items if act is Act.RECOMMEND else (),
            words=named(move.words, move.items),
            calls=(call,),
            invented=(*strange, *odd),
        )


def _player(settings: Mapping[str, Any], catalogue: Catalogue) -> RoleModel:
    """The recommender of the arm's settings.

    Raises:
        InputError: if there is none, or it does not fit.
    """
    config = RecsimConfig.model_validate(settings)
    if config.run is None:
        raise InputError(
            "arm 'recsim': which recommender? --recsim RUN names a run of train-simulator --role recommender"
        )
    return player(config.run, Role.RECOMMENDER, catalogue.fingerprint)


def _linked(
    resolve: Callable[[str], int | None], names: Iterable[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The ids of names, each once and in order, and the names that have none."""
    found = {name: resolve(name) for name in names}
    ids = dict.fromkeys(index for index in found.values() if index is not None)
    return tuple(ids), tuple(name for name, index in found.items() if index is None)
