"""How well drift is detected: precision and recall on replies that people have labelled.

A file holds one reply a line, as JSON. Names are those of the world's catalogue, or of a small catalogue
that the line brings along (``items``: the attributes of each item; ``noun``: what an item is called)::

    {"goal": {"wants": ["comedy"], "yes": ["comedy"]}, "asked": ["comedy"], "recommender": "A comedy?",
     "reply": "No, I never liked comedies.", "drift": ["contradiction"]}

A reply counts as drifting if its ``drift`` names a kind, whichever; the kinds are also counted singly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from unicrs_rl.dialogue import Act, Decision, Reply, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.costs import open_ledger
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.language.backends import language_models
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.ledger import NO_LIMIT, Budget
from unicrs_rl.language.lexicon import Entity
from unicrs_rl.simulators.drift import Drift, DriftDetector
from unicrs_rl.simulators.goals import Goal

T = TypeVar("T")


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelledGoal(_Closed):
    """What the seeker is after, by name; everything may be left out."""

    target: tuple[str, ...] = Field((), description="items that it wants; one may stand without brackets")
    wants: tuple[str, ...] = Field((), description="attributes that it wants; those of a target are added")
    avoids: tuple[str, ...] = Field((), description="attributes that it does not want")
    needs: float = Field(1.0, gt=0, le=1, description="share of its wishes that an item has to meet")
    yes: tuple[str, ...] = Field((), description="attributes that it has affirmed so far")
    no: tuple[str, ...] = Field((), description="attributes that it has denied so far")
    open: tuple[str, ...] = Field((), description="attributes that it has been indifferent to so far")
    rejected: tuple[str, ...] = Field((), description="items that it has turned down")

    @field_validator("target", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Deed(_Closed):
    """What the seeker does, by name, where it is known apart from the words."""

    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    accepted: str | None = None
    withdrawn: tuple[str, ...] = ()
    left: bool = False


class LabelledReply(_Closed):
    """A line of the file."""

    noun: str = Field("item", description="of a catalogue of its own: what an item is called")
    items: Mapping[str, tuple[str, ...]] | None = Field(
        None, description="a catalogue of its own: the attributes of each item; default: the world's"
    )
    goal: LabelledGoal = LabelledGoal()
    recommender: str = Field("", description="what the recommender has just said")
    asked: tuple[str, ...] = Field((), description="attributes that it has just asked about")
    offered: tuple[str, ...] = Field((), description="items that it has just offered")
    named: tuple[str, ...] = Field((), description="items that it named or offered before")
    reply: str = Field(description="the seeker's words")
    did: Deed | None = Field(None, description="what it does; default: what the words say")
    drift: tuple[Drift, ...] = Field(description="its kinds of drift; empty: it is clean")


class _Names:
    """Looks names of one line up."""

    def __init__(self, catalogue: Catalogue, place: str) -> None:
        self.catalogue, self.place = catalogue, place

    def items(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(self._known("item", name, self.catalogue.lexicon.item_id(name)) for name in names)

    def attributes(self, names: Iterable[str]) -> tuple[int, ...]:
        found = ((name, self.catalogue.lexicon.attribute_id(name)) for name in names)
        return tuple(self._known("attribute", name, index) for name, index in found)

    def _known(self, kind: str, name: str, index: int | None) -> int:
        if index is None:
            raise InputError(
                f"{self.place}: the catalogue has no {kind} {name!r}; choose --world, or give the line items"
            )
        return index


def read_labelled(path: Path) -> list[tuple[int, LabelledReply]]:
    """The replies of a file with their line numbers, from 1.

    Raises:
        InputError: if the file is missing, empty, or has a line that is no labelled reply.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; it should hold one labelled reply a line, as JSON")
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append((number, LabelledReply.model_validate_json(line)))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise InputError(f"{path}, line {number}: {where}: {first['msg']}") from None
    if not found:
        raise InputError(f"{path}: it holds no replies")
    return found


def measure_drift(config: RunConfig, path: Path, budget: Budget = NO_LIMIT) -> dict[str, Any]:
    """How well drift is detected in a file of labelled replies.

    Returns:
        ``{"file", "model", "replies", "drifting", "precision", "recall", "kinds": {kind: {"labelled",
        "found", "precision", "recall"}}, "wrong": [...], "failures"}``; ratios are ``None`` of nothing.

    Raises:
        InputError: if the file or the model cannot be used, or a name is unknown.
    """
    labelled = read_labelled(path)
    world = cache(lambda: make_world(config.world, config.data).catalogue)
    shared: dict[str, LanguageModel] = {}

    def model_for(catalogue: Catalogue) -> LanguageModel:
        """A real model is the same for all; the embedded one knows names, and so one catalogue."""
        key = catalogue.fingerprint if config.llm == "embedded" else config.llm
        if key not in shared:
            shared[key] = language_models[config.llm](config.language_model, catalogue.lexicon, None)
            shared[key].ledger = open_ledger(config, budget)
        return shared[key]

    checked: list[tuple[int, LabelledReply, Reply]] = []
    by_catalogue: dict[str, tuple[Catalogue, list[tuple[int, LabelledReply]]]] = {}
    for number, case in labelled:
        catalogue = world() if case.items is None else _catalogue(case)
        by_catalogue.setdefault(catalogue.fingerprint, (catalogue, []))[1].append((number, case))
    for catalogue, cases in by_catalogue.values():
        detector = DriftDetector(catalogue, model_for(catalogue))
        replies = _check(detector, [(f"{path}, line {number}", case) for number, case in cases])
        checked += [(*pair, reply) for pair, reply in zip(cases, replies, strict=True)]
    name = next(iter(shared.values())).name
    return {"file": path.name, "model": name} | _measures(sorted(checked, key=lambda row: row[0]))


def _check(detector: DriftDetector, cases: Sequence[tuple[str, LabelledReply]]) -> list[Reply]:
    """The replies of one catalogue with the drift found in them."""
    goals, decisions, deeds = [], [], []
    for place, case in cases:
        names = _Names(detector.catalogue, place)
        goals.append(_goal(names, case))
        decisions.append(
            Decision(
                Act.RECOMMEND if case.offered else Act.ASK if case.asked else Act.CHAT,
                Strategy.NO_STRATEGY,
                names.attributes(case.asked),
                names.items(case.offered),
            )
        )
        deeds.append(None if case.did is None else _deed(names, case.did, case.reply))
    utterances = [case.recommender for _, case in cases]
    done = {row: deed for row, deed in enumerate(deeds) if deed is not None}
    only_said = [row for row in range(len(cases)) if row not in done]

    def of(values: Sequence[T], rows: Iterable[int]) -> list[T]:
        return [values[row] for row in rows]

    checked = detector.check(of(goals, done), of(decisions, done), of(utterances, done), list(done.values()))
    words = [case.reply for _, case in cases]
    read = detector.check_words(
        of(goals, only_said), of(decisions, only_said), of(utterances, only_said), of(words, only_said)
    )
    found = dict(zip((*done, *only_said), (*checked, *read), strict=True))
    return [found[row] for row in range(len(cases))]


def _goal(names: _Names, case: LabelledReply) -> Goal:
    goal = case.goal
    targets = names.items(goal.target)
    wants = {*names.attributes(goal.wants)}
    wants |= {a for target in targets for a in names.catalogue.attributes_of(target).tolist()}
    said = [m.id for m in names.catalogue.lexicon.mentions(case.recommender) if m.entity is Entity.ITEM]
    return Goal(
        targets=targets,
        wants=frozenset(wants),
        avoids=frozenset(names.attributes(goal.avoids)),
        needs=goal.needs,
        yes=frozenset(names.attributes(goal.yes)),
        no=frozenset(names.attributes(goal.no)),
        open=frozenset(names.attributes(goal.open)),
        named=frozenset((*names.items(case.named), *names.items(goal.rejected), *said)),
        rejected=frozenset(names.items(goal.rejected)),
    )


def _deed(names: _Names, deed: Deed, text: str) -> Reply:
    return Reply(
        text=text,
        liked=names.attributes(deed.liked),
        disliked=names.attributes(deed.disliked),
        open=names.attributes(deed.open),
        accepted=None if deed.accepted is None else names.items((deed.accepted,))[0],
        withdrawn=names.attributes(deed.withdrawn),
        left=deed.left,
    )


def _catalogue(case: LabelledReply) -> Catalogue:
    """The small catalogue that a line brings along."""
    items = dict(case.items or {})
    facts = [
        (index, "tag", "tag", attribute)
        for index, attributes in enumerate(items.values())
        for attribute in attributes
    ]
    return Catalogue.build(case.noun, list(items), facts)


def _measures(checked: Sequence[tuple[int, LabelledReply, Reply]]) -> dict[str, Any]:
    drifting = [(bool(case.drift), bool(reply.drift)) for _, case, reply in checked]
    kinds = {}
    for kind in Drift:
        pairs = [(kind in case.drift, kind in reply.drift) for _, case, reply in checked]
        kinds[kind.value] = {
            "labelled": sum(labelled for labelled, _ in pairs),
            "found": sum(found for _, found in pairs),
            **_ratios(pairs),
        }
    return {
        "replies": len(checked),
        "drifting": sum(labelled for labelled, _ in drifting),
        "found": sum(found for _, found in drifting),
        **_ratios(drifting),
        "kinds": kinds,
        "wrong": [
            {"line": number, "reply": case.reply, "labelled": list(case.drift), "found": list(reply.drift)}
            for number, case, reply in checked
            if set(case.drift) != set(reply.drift)
        ],
        "failures": sum(bool(call.failure) for _, _, reply in checked for call in reply.calls),
    }


def _ratios(pairs: Sequence[tuple[bool, bool]]) -> dict[str, float | None]:
    """Precision and recall of (labelled, found) pairs."""
    hits = sum(labelled and found for labelled, found in pairs)
    labelled, found = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return {
        "precision": round(hits / found, 4) if found else None,
        "recall": round(hits / labelled, 4) if labelled else None,
    }
