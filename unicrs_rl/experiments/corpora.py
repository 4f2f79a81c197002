"""Human dialogues by name: which corpora there are, where each lies, and what was said in them.

``--corpus NAMES --data DIR``: names separated by commas; DIR is the corpus' own folder, or a folder with one
subfolder for each corpus, called by its name (``DIR/redial``, ``DIR/inspired``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unicrs_rl.dialogue import Strategy
from unicrs_rl.errors import InputError, unknown
from unicrs_rl.graphs.readers import inspired, redial
from unicrs_rl.graphs.world import Split
from unicrs_rl.language.lexicon import Entity, Lexicon

REDIAL = "redial"
INSPIRED = "inspired"

_SPLITS: Mapping[str, Callable[[Path], list[Split]]] = {
    REDIAL: redial.splits,
    INSPIRED: inspired.splits,
}
CORPORA: tuple[str, ...] = tuple(_SPLITS)


def corpus_folders(names: str, data: Path | None, several: bool = True) -> dict[str, Path]:
    """The folder of each corpus, in the order of the names.

    Args:
        names: separated by commas.
        data: the folder of the only corpus, or one that holds the corpora by their names.
        several: whether more than one makes sense.

    Raises:
        InputError: if a corpus is unknown or named twice, no folder is given, or a corpus is not in it.
    """
    listed = [name.strip() for name in names.split(",")]
    if len(listed) > 1 and not several:
        raise InputError(f"--corpus {names}: one corpus at a time")
    for name in listed:
        if name not in CORPORA:
            raise unknown("corpus", name, CORPORA)
        if listed.count(name) > 1:
            raise InputError(f"--corpus {names}: {name!r} is named twice")
    if data is None:
        raise InputError(f"--corpus {names}: give the folder with --data DIR")
    if not data.is_dir():
        raise InputError(f"--data {data}: no such folder")
    return {name: _folder(name, data) for name in listed}


def corpus_splits(name: str, folder: Path) -> list[Split]:
    """The splits of a corpus whose dialogues are in its folder."""
    return _SPLITS[name](folder)


def _folder(name: str, data: Path) -> Path:
    """Where a corpus lies: a folder of its name wins over the folder itself."""
    for place in (data / name, data):
        if place.is_dir() and corpus_splits(name, place):
            return place
    raise InputError(f"--data {data}: no dialogues of corpus {name!r}, neither there nor in {data / name}")


@dataclass(frozen=True, slots=True)
class Line:
    """What a person says in one utterance, or in all of them before the other speaks.

    Attributes:
        items: of a world, that it names, in order, each once.
        strategy: the label of a recommender's utterance; ``None`` where nobody labelled it.
    """

    seeker: bool
    text: str
    items: tuple[int, ...] = ()
    strategy: Strategy | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """A human dialogue, utterance by utterance.

    Attributes:
        seeker: who asks for items, where the corpus says so.
    """

    id: str
    lines: tuple[Line, ...]
    seeker: str = ""


@dataclass(frozen=True)
class Talks:
    """The dialogues of a split, linked to a world.

    Attributes:
        titles: that the release marks in the recommender's words; ``None`` where it marks none.
        linked: of these, those that the world has.
    """

    corpus: str
    split: Split
    talks: tuple[Talk, ...]
    titles: int | None = None
    linked: int | None = None

    @property
    def labelled(self) -> bool:
        """Whether recommenders' utterances carry strategy labels."""
        return self.corpus == INSPIRED


def read_talks(corpus: str, folder: Path, split: Split, lexicon: Lexicon) -> Talks:
    """The dialogues of a split in which a recommender speaks.

    Args:
        folder: of the corpus.
        lexicon: names of the world that items are linked to.

    Raises:
        InputError: naming the file, and the line, at fault.
    """
    if split not in (there := corpus_splits(corpus, folder)):
        known = " and ".join(map(str, there)) or "none"
        raise InputError(f"--split {split}: not in {folder}; corpus {corpus!r} has {known} there")
    return _READERS[corpus](folder, split, lexicon)


def _read_inspired(folder: Path, split: Split, lexicon: Lexicon) -> Talks:
    """INSPIRED: items are those whose titles the words have."""
    found = inspired.read(folder, split, lexicon)
    talks = []
    for dialogue in found.dialogues:
        lines = [heard(dialogue.opening.text, lexicon)]
        for turn in dialogue.turns:
            lines.append(Line(False, turn.utterance, turn.decision.items, turn.decision.strategy))
            lines.append(heard(turn.reply.text, lexicon))
        talks.append(Talk(dialogue.id, tuple(line for line in lines if line.text or not line.seeker)))
    marked = found.mentions > 0
    return Talks(
        INSPIRED,
        split,
        tuple(talks),
        found.mentions if marked else None,
        found.linked_mentions if marked else None,
    )


def heard(text: str, lexicon: Lexicon) -> Line:
    """A seeker's words."""
    return Line(True, text, items_in(text, lexicon))


def items_in(text: str, lexicon: Lexicon) -> tuple[int, ...]:
    """The items that a text names, in order, each once."""
    items = (mention.id for mention in lexicon.mentions(text) if mention.entity is Entity.ITEM)
    return tuple(dict.fromkeys(items))


def _read_redial(folder: Path, split: Split, lexicon: Lexicon) -> Talks:
    """ReDial: items are those that an ``@id`` names."""
    catalogue, dialogues = redial.read_human(folder, split)
    ids = {item: lexicon.item_id(title) for item, title in enumerate(catalogue.items)}
    talks = []
    titles = linked = 0
    for dialogue in dialogues:
        lines = []
        for message in dialogue.messages:
            items = tuple(here for item in message.items if (here := ids[item]) is not None)
            lines.append(Line(message.by_seeker, message.text, items))
            if not message.by_seeker:
                titles, linked = titles + message.named, linked + len(items)
        if any(not line.seeker for line in lines):
            talks.append(Talk(dialogue.id, tuple(lines), dialogue.seeker))
    return Talks(REDIAL, split, tuple(talks), titles, linked)


_READERS: Mapping[str, Callable[[Path, Split, Lexicon], Talks]] = {
    REDIAL: _read_redial,
    INSPIRED: _read_inspired,
}
