"""ReDial (Li et al., NeurIPS 2018) with the knowledge graph released with iEvaLM.

A folder with ``entity2id.json``, ``entity2type.json``, ``relation2id.json``, ``kg.json``,
``item_ids.json``, ``id2info.json`` and any of ``{train,valid,test}_data.jsonl`` (or, where that is
not there, ``{train,valid,test}_data_dbpedia.jsonl``, as iEvaLM calls them). Seekers are the workers
who asked for movies; what they liked, disliked and had seen is their own answer to the release's
form (``initiatorQuestions``). They are split by seeker, see
:func:`~unicrs_rl.graphs.world.split_by_seeker`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from unicrs_rl.dialogue import Act, Decision, Dialogue, Reply, Strategy, Turn
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue, distinct_names
from unicrs_rl.graphs.readers.files import folder, read_json, read_json_lines
from unicrs_rl.graphs.world import Seeker, Split, World, split_by_seeker

DIALOGUE_FILES = tuple(
    (f"{split}_data.jsonl", f"{split}_data_dbpedia.jsonl") for split in ("train", "valid", "test")
)
"""Names of each part's file; the first that is there is read, for both hold the same dialogues."""
GRAPH_FILES = (
    "entity2id.json",
    "entity2type.json",
    "relation2id.json",
    "kg.json",
    "item_ids.json",
    "id2info.json",
)
_MENTION = re.compile(r"@(\d+)")
_YEAR = re.compile(r"\((\d{4})\)\s*$")
_NO_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
_LIKED, _DISLIKED, _SEEN = 1, 0, 1  # the form's codes; 2 means "did not say"


class _Movie(BaseModel):
    """What the reader needs of a movie's record in ``id2info.json``."""

    name: str


def read(data: Path | None, seed: int = 0) -> World:
    """Read a ReDial folder.

    Raises:
        InputError: naming the file at fault.
    """
    root = folder(data, "redial")
    _check_graph_files(root)
    catalogue, item_of_entity, dropped = _read_knowledge_graph(root)
    item_of_movie = _movie_ids(root, item_of_entity)
    files = _dialogue_files(root)
    records = [(path, number, record) for path in files for number, record in read_json_lines(path)]
    seekers, unknown = _read_seekers(records, item_of_movie)
    dialogues = tuple(
        _read_dialogue(path, number, record, item_of_movie, catalogue.items)
        for path, number, record in records
    )
    likes, targets = split_by_seeker("redial", seekers, seed)
    notes = [f"{len(dialogues)} human dialogues read"]
    if dropped:
        notes.append(f"{dropped} movies without any fact left out")
    if unknown:
        notes.append(f"{unknown} answers about movies outside the knowledge graph left out")
    return World(
        name="redial",
        catalogue=catalogue,
        seekers=tuple(seekers),
        likes=likes,
        targets=targets,
        dialogues=dialogues,
        notes=tuple(notes),
        files=(*(root / name for name in GRAPH_FILES), *files),
    )


def splits(data: Path) -> list[Split]:
    """The splits whose dialogues are in a folder."""
    return [
        split
        for split, names in zip(Split, DIALOGUE_FILES, strict=True)
        if any((data / name).is_file() for name in names)
    ]


@dataclass(frozen=True, slots=True)
class HumanMessage:
    """One message as people wrote it, and what the release links in it."""

    by_seeker: bool
    text: str
    """Every ``@id`` replaced by the movie's title with its year: "The Shining (1980)"."""
    yearless: str
    """The same without the years, as people write titles: "The Shining"."""
    items: tuple[int, ...]
    """Movies that an ``@id`` names."""
    attributes: tuple[int, ...]
    """Genres and people that the release found in it (``entity``)."""
    named: int = 0
    """Movies that an ``@id`` names, of the catalogue or not."""


@dataclass(frozen=True, slots=True)
class HumanDialogue:
    """A human dialogue message by message, and the seeker's own form about its movies."""

    id: str
    messages: tuple[HumanMessage, ...]
    opinions: Mapping[int, bool | None]
    """Movies the form asks about: liked, not liked, or ``None`` where the seeker did not say."""
    seeker: str = ""
    """Who asks for movies."""


def read_human(data: Path | None, split: Split = Split.VALID) -> tuple[Catalogue, tuple[HumanDialogue, ...]]:
    """The dialogues of one split as people wrote them, with the catalogue that their movies are in.

    Raises:
        InputError: naming the file, and the line, at fault.
    """
    root = folder(data, "redial")
    _check_graph_files(root)
    catalogue, item_of_entity, _ = _read_knowledge_graph(root)
    item_of_movie = _movie_ids(root, item_of_entity)
    names = [f"{split}_data.jsonl", f"{split}_data_dbpedia.jsonl"]
    path = next((root / name for name in names if (root / name).is_file()), None)
    if path is None:
        raise InputError(f"{root}: neither {names[0]} nor {names[1]} is there; choose another --split")
    attributes = {name: index for index, name in enumerate(catalogue.attributes)}
    dialogues = tuple(
        _read_human_dialogue(path, number, record, item_of_movie, catalogue.items, attributes)
        for number, record in read_json_lines(path)
    )
    if not dialogues:
        raise InputError(f"{path}: there is no dialogue in it")
    return catalogue, dialogues


def _read_human_dialogue(
    path: Path,
    number: int,
    record: dict[str, Any],
    item_of_movie: dict[str, int],
    items: tuple[str, ...],
    attributes: dict[str, int],
) -> HumanDialogue:
    listed = record.get("movieMentions") or {}  # an empty one comes as a list
    if not isinstance(listed, dict):
        raise InputError(f"{path}, line {number}: field movieMentions: an object is expected")
    titles = {movie: " ".join(title.split()) for movie, title in listed.items() if isinstance(title, str)}

    def title(match: re.Match[str]) -> str:
        return titles.get(match[1]) or _title(match[1], item_of_movie, items)

    if "initiatorWorkerId" not in record:
        raise InputError(f"{path}, line {number}: field initiatorWorkerId is missing")
    messages = tuple(
        HumanMessage(
            by_seeker=message.get("senderWorkerId") == record["initiatorWorkerId"],
            text=_MENTION.sub(title, message["text"]),
            yearless=_MENTION.sub(lambda match: _NO_YEAR.sub("", title(match)), message["text"]),
            items=_known(_MENTION.findall(message["text"]), item_of_movie),
            attributes=_known(message.get("entity") or [], attributes),
            named=len(set(_MENTION.findall(message["text"]))),
        )
        for message in _messages(path, number, record)
    )
    opinions = {
        item_of_movie[movie]: {_LIKED: True, _DISLIKED: False}.get(answer.get("liked", 2))
        for movie, answer in _answers(path, number, record).items()
        if movie in item_of_movie
    }
    name = str(record.get("conversationId", f"{path.stem}-{number}"))
    return HumanDialogue(name, messages, opinions, str(record["initiatorWorkerId"]))


def _known(names: Iterable[str], ids: Mapping[str, int]) -> tuple[int, ...]:
    """Ids of the names that have one, each once."""
    return tuple(dict.fromkeys(ids[name] for name in names if name in ids))


def _check_graph_files(root: Path) -> None:
    """The dialogues' original release comes without these files; say where they come from."""
    missing = [name for name in GRAPH_FILES if not (root / name).is_file()]
    if missing:
        raise InputError(
            f"{root / missing[0]}: No such file; the knowledge graph released with iEvaLM "
            f"({', '.join(GRAPH_FILES)}) must be placed beside the dialogues"
        )


def _dialogue_files(root: Path) -> list[Path]:
    parts = [[root / name for name in names if (root / name).is_file()] for names in DIALOGUE_FILES]
    files = [present[0] for present in parts if present]
    if not files:
        expected = ", ".join(name for names in DIALOGUE_FILES for name in names)
        raise InputError(f"{root}: none of {expected} is there")
    return files


def _read_knowledge_graph(root: Path) -> tuple[Catalogue, dict[str, int], int]:
    """The catalogue, the item id of each movie entity by name, and how many movies had no fact."""
    entity_ids = read_json(root / "entity2id.json", dict[str, int])
    types = read_json(root / "entity2type.json", dict[str, str])
    relations = {index: name for name, index in read_json(root / "relation2id.json", dict[str, int]).items()}
    graph = read_json(root / "kg.json", dict[str, list[tuple[int, int]]])
    movies = read_json(root / "item_ids.json", list[int])
    names = {index: name for name, index in entity_ids.items()}
    kept = [entity for entity in movies if graph.get(str(entity)) and entity in names]
    if not kept:
        raise InputError(f"{root / 'item_ids.json'}: no movie has a fact in kg.json")
    facts = []
    for item, entity in enumerate(kept):
        for relation, tail in graph[str(entity)]:
            if relation not in relations or tail not in names:
                raise InputError(
                    f"{root / 'kg.json'}: entity {entity} has the edge [{relation}, {tail}], "
                    "which relation2id.json or entity2id.json do not know"
                )
            name = names[tail]
            facts.append((item, relations[relation], types.get(name, "entity"), " ".join(name.split())))
    titles = distinct_names([" ".join(names[entity].split()) for entity in kept])
    years = tuple(match[1] if (match := _YEAR.search(title)) else "unknown" for title in titles)
    # Entities have ids of their own: Sabu, the actor, and SABU, the director, are two people.
    catalogue = Catalogue.build("movie", titles, facts, {"year": years}, merge_spellings=False)
    return catalogue, {names[entity]: item for item, entity in enumerate(kept)}, len(movies) - len(kept)


def _movie_ids(root: Path, item_of_entity: dict[str, int]) -> dict[str, int]:
    """Item id by ReDial's own movie id."""
    info = read_json(root / "id2info.json", dict[str, _Movie])
    return {
        movie: item_of_entity[record.name] for movie, record in info.items() if record.name in item_of_entity
    }


def _answers(path: Path, number: int, record: dict[str, Any]) -> dict[str, dict[str, int]]:
    """The seeker's answers to the form by movie id; an empty form comes as a list or as null."""
    answers = record.get("initiatorQuestions", "missing")
    if answers is None or answers == []:
        return {}
    if not isinstance(answers, dict) or not all(isinstance(value, dict) for value in answers.values()):
        raise InputError(f"{path}, line {number}: field initiatorQuestions: an object per movie is expected")
    return answers


def _read_seekers(
    records: Iterable[tuple[Path, int, dict[str, Any]]], item_of_movie: dict[str, int]
) -> tuple[list[Seeker], int]:
    """Seekers by worker id, and how many answers concerned unknown movies.

    A later answer about the same movie replaces an earlier one.
    """
    opinions: dict[str, dict[int, int]] = defaultdict(dict)
    seen: dict[str, set[int]] = defaultdict(set)
    unknown = 0
    for path, number, record in records:
        if "initiatorWorkerId" not in record:
            raise InputError(f"{path}, line {number}: field initiatorWorkerId is missing")
        worker = str(record["initiatorWorkerId"])
        opinions.setdefault(worker, {})
        for movie, answer in _answers(path, number, record).items():
            if movie not in item_of_movie:
                unknown += 1
                continue
            item = item_of_movie[movie]
            if answer.get("liked") in (_LIKED, _DISLIKED):
                opinions[worker][item] = answer["liked"]
            if answer.get("seen") == _SEEN:
                seen[worker].add(item)
    seekers = [
        Seeker(
            id=worker,
            liked=tuple(sorted(item for item, liked in opinion.items() if liked == _LIKED)),
            disliked=tuple(sorted(item for item, liked in opinion.items() if liked == _DISLIKED)),
            seen=tuple(sorted(seen[worker])),
        )
        for worker, opinion in sorted(opinions.items(), key=lambda pair: (len(pair[0]), pair[0]))
    ]
    return seekers, unknown


def _read_dialogue(
    path: Path, number: int, record: dict[str, Any], item_of_movie: dict[str, int], titles: tuple[str, ...]
) -> Dialogue:
    """A human dialogue as turns: each run of the recommender's messages and the answer to it."""
    dialogue = Dialogue(id=str(record.get("conversationId", f"{path.stem}-{number}")))
    seeker = record["initiatorWorkerId"]
    said: list[str] = []
    items: list[int] = []
    answer: list[str] = []

    def close() -> None:
        if said:
            act = Act.RECOMMEND if items else Act.CHAT
            decision = Decision(act, Strategy.NO_STRATEGY, items=tuple(dict.fromkeys(items)))
            dialogue.turns.append(Turn(decision, " ".join(said), Reply(" ".join(answer))))
        elif answer:
            dialogue.opening = Reply(" ".join(answer))
        for part in (said, items, answer):
            part.clear()

    for message in _messages(path, number, record):
        mentioned = [item_of_movie[m] for m in _MENTION.findall(message["text"]) if m in item_of_movie]
        text = _MENTION.sub(lambda match: _title(match[1], item_of_movie, titles), message["text"])
        if message.get("senderWorkerId") == seeker:
            answer.append(text)
            continue
        if answer:
            close()
        said.append(text)
        items.extend(mentioned)
    close()
    return dialogue


def _messages(path: Path, number: int, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a dialogue, each with its text."""
    messages = record.get("messages", [])
    if not isinstance(messages, list):
        raise InputError(f"{path}, line {number}: field messages: a list is expected")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("text"), str):
            raise InputError(f"{path}, line {number}: a message without text")
    return messages


def _title(movie: str, item_of_movie: dict[str, int], titles: tuple[str, ...]) -> str:
    return titles[item_of_movie[movie]] if movie in item_of_movie else "a movie"
