"""Human dialogues as each side of them saw it: what simulators are trained on.

What a seeker is told holds attributes only. Its targets are the items that the recommender named first and
the seeker took; an item whose title, in any spelling, stands anywhere in the dialogue before that is none,
and a dialogue may be left without any. Dialogues of people who are asked for anything in the world's
validation or test split are held out, so that no arm is tested on conversations that a simulator was
trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.corpora import INSPIRED, REDIAL, Line, corpus_splits, items_in
from unicrs_rl.experiments.corpora import heard as seeker_line
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.readers import inspired, redial
from unicrs_rl.graphs.readers.inspired import Turns
from unicrs_rl.graphs.wishes import stands_in, wish_of, wishes_met
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.language.lexicon import Entity, Lexicon, Mention
from unicrs_rl.language.reading import Polarity, Reading, polarity, read_reply
from unicrs_rl.language.roles import (
    Chat,
    RecommenderAct,
    RecommenderMove,
    Role,
    SeekerAct,
    SeekerMove,
    done,
    heard,
    heard_by_seeker,
    placed,
    recommender_told,
    seeker_told,
)

_HELD_OUT = 10
"""Where a corpus comes as one file, every tenth dialogue is held out."""


@dataclass(frozen=True, slots=True)
class HumanTalk:
    """A human dialogue, and what became of it.

    Attributes:
        lines: of the two in turn; of the recommender's items only those that the seeker did not name before.
        taken: items that the seeker took, in the order of their first naming by the recommender.
        liked: further items that the seeker likes.
    """

    id: str
    lines: tuple[Line, ...]
    taken: tuple[int, ...]
    liked: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One side of a dialogue as a chat.

    Attributes:
        named_at: of each target of a seeker, the first message in which it stands; no message before that
            holds its title.
    """

    id: str
    chat: Chat
    named_at: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """What a simulator learns from, and what it is tried on."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    notes: tuple[str, ...] = ()


def read_examples(role: Role, folders: Mapping[str, Path], world: World) -> Examples:
    """The dialogues of corpora as one role saw them.

    Args:
        folders: of each corpus.
        world: whose catalogue the dialogues are linked to.

    Raises:
        InputError: if a corpus cannot be read, or nothing can be learned from it.
    """
    make = as_seeker if role is Role.SEEKER else as_recommender
    train: list[Example] = []
    held_out: list[Example] = []
    notes = []
    for name, folder in folders.items():
        parts = _READERS[name](folder, world)
        mine, theirs = ([made for talk in part if (made := make(talk, world.catalogue))] for part in parts)
        train += mine
        held_out += theirs
        total = sum(map(len, parts))
        left = total - len(mine) - len(theirs)
        notes.append(
            f"{name}: {len(mine)} dialogues to train on, {len(theirs)} held out"
            + (f", {left} left out, in which the {role} does nothing that can be learned" if left else "")
        )
    if not train or not held_out:
        raise InputError(
            f"--corpus {','.join(folders)}: {len(train)} dialogues to train a {role} on, {len(held_out)} to "
            "try it on; at least one of each is needed"
        )
    return Examples(tuple(train), tuple(held_out), tuple(notes))


def _read_redial(folder: Path, world: World) -> tuple[list[HumanTalk], list[HumanTalk]]:
    """Dialogues to train on, and held out."""
    asked = {world.seekers[who].id for split in (Split.VALID, Split.TEST) for who, _ in world.targets[split]}
    parts: tuple[list[HumanTalk], list[HumanTalk]] = ([], [])
    for split in corpus_splits(REDIAL, folder):
        catalogue, dialogues = redial.read_human(folder, split)
        same = catalogue.fingerprint == world.catalogue.fingerprint
        for number, dialogue in enumerate(dialogues):
            kept_apart = dialogue.seeker in asked if world.name == REDIAL else number % _HELD_OUT == 0
            lines = tuple(
                Line(m.by_seeker, m.text, m.items if same else items_in(m.text, world.catalogue.lexicon))
                for m in dialogue.messages
            )
            liked = dialogue.opinions.items() if same else ()
            talk = _talk(dialogue.id, lines, {item for item, opinion in liked if opinion})
            parts[kept_apart].append(talk)
    return parts


def _read_inspired(folder: Path, world: World) -> tuple[list[HumanTalk], list[HumanTalk]]:
    """The same; validation and test files are held out, or of a single file every tenth dialogue."""
    splits = corpus_splits(INSPIRED, folder)
    parts: tuple[list[HumanTalk], list[HumanTalk]] = ([], [])
    for split in splits:
        found = inspired.read(folder, split, world.catalogue.lexicon, Turns.MERGED).dialogues
        for number, dialogue in enumerate(found):
            kept_apart = number % _HELD_OUT == 0 if len(splits) == 1 else split is not Split.TRAIN
            lines = [seeker_line(dialogue.opening.text, world.catalogue.lexicon)]
            for turn in dialogue.turns:
                lines.append(Line(False, turn.utterance, turn.decision.items, turn.decision.strategy))
                lines.append(seeker_line(turn.reply.text, world.catalogue.lexicon))
            good = dialogue.outcome is not None and dialogue.outcome.success
            offered = [item for turn in dialogue.turns for item in turn.decision.items]
            talk = _talk(dialogue.id, tuple(lines), set(offered[-1:]) if good else set())
            parts[kept_apart].append(talk)
    return parts


_READERS = {REDIAL: _read_redial, INSPIRED: _read_inspired}


def _talk(name: str, said: Sequence[Line], liked: set[int]) -> HumanTalk:
    """A dialogue of alternating lines; who named a liked item first says whether it was taken or known."""
    lines = [
        Line(
            seeker,
            " ".join(line.text.strip() for line in run if line.text.strip()),
            tuple(dict.fromkeys(item for line in run for item in line.items)),
            next((line.strategy for line in reversed(run) if line.strategy), None),
        )
        for seeker, group in groupby((line for line in said if line.text.strip()), lambda line: line.seeker)
        for run in [list(group)]
    ]
    known: dict[int, bool] = {}
    for line in lines:
        for item in line.items:
            known.setdefault(item, line.seeker)
    taken = tuple(item for item, by_seeker in known.items() if item in liked and not by_seeker)
    fresh, seen = [], set[int]()
    for line in lines:
        fresh.append(
            line
            if line.seeker
            else Line(False, line.text, tuple(i for i in line.items if i not in seen), line.strategy)
        )
        seen |= set(line.items) if line.seeker else set()
    return HumanTalk(name, tuple(fresh), taken, tuple(sorted(liked - set(taken))))


def as_recommender(talk: HumanTalk, catalogue: Catalogue) -> Example | None:
    """The dialogue as the recommender saw it; ``None`` where it says nothing."""
    chat = [recommender_told(catalogue.noun)]
    for line in talk.lines:
        chat.append(heard(line.text) if line.seeker else done(_recommender_move(line, catalogue)))
    return Example(talk.id, chat) if any(not line.seeker for line in talk.lines) else None


def _recommender_move(line: Line, catalogue: Catalogue) -> RecommenderMove:
    lexicon = catalogue.lexicon
    mentions = lexicon.mentions(line.text)
    places = {item: place for place, item in enumerate(line.items, start=1)}
    words = _placed(line.text, mentions, places, catalogue)
    if line.items:
        titles = tuple(catalogue.items[item] for item in line.items)
        return RecommenderMove(RecommenderAct.RECOMMEND, line.strategy, titles, words=words)
    if "?" in line.text:
        about = tuple(catalogue.attributes[attribute] for attribute in _asked(line, lexicon))
        return RecommenderMove(RecommenderAct.ASK, line.strategy, about=about, words=words)
    return RecommenderMove(RecommenderAct.CHAT, line.strategy, words=words)


def as_seeker(talk: HumanTalk, catalogue: Catalogue) -> Example | None:
    """The dialogue as the seeker saw it, up to where it takes the last of its targets, if it has any.

    ``None`` where it wants nothing.
    """
    readings = dict(_readings(talk, catalogue.lexicon))
    if not readings:
        return None
    said = tuple(dict.fromkeys(a for reading in readings.values() for a in reading.liked))
    taken = _taken(talk, catalogue)
    targets = tuple(dict.fromkeys(taken.values()))
    liked = [item for item in (*talk.liked, *talk.taken) if item not in targets]
    wish = wish_of(catalogue, targets, liked, said)
    if not wish.wanted:
        return None
    chat = [seeker_told(catalogue.noun, wish)]
    last = max(taken, default=max(readings))
    named_at: dict[int, int] = {}
    offered: tuple[int, ...] = ()
    for at, line in enumerate(talk.lines[: last + 1]):
        if not line.seeker:
            offered = line.items
            for item in set(offered).intersection(targets):
                named_at.setdefault(item, len(chat))
            asked = sorted({catalogue.attributes[a] for a in _asked(line, catalogue.lexicon)})
            met = [wishes_met(catalogue, wish, item) for item in offered]
            chat.append(heard_by_seeker(line.text, met, {name: name in wish.wanted for name in asked}))
            continue
        place = offered.index(taken[at]) + 1 if at in taken else None
        leaves = at == last and not targets
        chat.append(done(_seeker_move(line, readings[at], offered, place, leaves, catalogue)))
    return Example(talk.id, chat, named_at)


def _readings(talk: HumanTalk, lexicon: Lexicon) -> Iterator[tuple[int, Reading]]:
    """What each line of the seeker says, with its place."""
    asked: tuple[int, ...] = ()
    offered: tuple[int, ...] = ()
    for at, line in enumerate(talk.lines):
        if line.seeker:
            yield at, read_reply(lexicon, line.text, asked, offered)
        else:
            asked, offered = _asked(line, lexicon), line.items


def _asked(line: Line, lexicon: Lexicon) -> tuple[int, ...]:
    """The attributes that the recommender asks about: those named in a question that offers nothing."""
    if line.items or "?" not in line.text:
        return ()
    found = (m.id for m in lexicon.mentions(line.text) if m.entity is Entity.ATTRIBUTE)
    return tuple(dict.fromkeys(found))


def _taken(talk: HumanTalk, catalogue: Catalogue) -> dict[int, int]:
    """The seeker's lines in which it takes an item, each straight after an offer of it, with the item."""
    found: dict[int, int] = {}
    for item in talk.taken:
        named = next(at for at, line in enumerate(talk.lines) if item in line.items)
        if any(stands_in(catalogue.items[item], line.text) for line in talk.lines[:named]):
            continue
        answers = [
            at
            for at, line in enumerate(talk.lines)
            if at and line.seeker and item in talk.lines[at - 1].items
        ]
        pleased = (at for at in answers if polarity(talk.lines[at].text) is Polarity.YES)
        if answers:
            found.setdefault(next(pleased, answers[0]), item)
    return found


def _seeker_move(
    line: Line,
    reading: Reading,
    offered: tuple[int, ...],
    place: int | None,
    leaves: bool,
    catalogue: Catalogue,
) -> SeekerMove:
    places = {item: number for number, item in enumerate(offered, start=1)}
    words = _placed(line.text, catalogue.lexicon.mentions(line.text, offered), places, catalogue)
    wants, unwanted = (
        tuple(catalogue.attributes[a] for a in some) for some in (reading.liked, reading.disliked)
    )
    if place is not None:
        act = SeekerAct.ACCEPT
    elif leaves:
        act = SeekerAct.LEAVE
    elif offered:
        act = SeekerAct.REJECT
    else:
        act = SeekerAct.INFORM if wants or unwanted else SeekerAct.CHAT
    return SeekerMove(act, wants, unwanted, place, words)


def _placed(text: str, mentions: Sequence[Mention], places: Mapping[int, int], catalogue: Catalogue) -> str:
    """A text with the places of items instead of their titles, of which the year belongs to the title."""
    spans = []
    for mention in mentions:
        if mention.entity is Entity.ITEM and mention.id in places:
            title = catalogue.items[mention.id]
            end = mention.start + len(title) if text.startswith(title, mention.start) else mention.end
            spans.append((mention.start, end, places[mention.id]))
    return placed(text, spans)
