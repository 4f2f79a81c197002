"""INSPIRED (Hayati et al., EMNLP 2020): human dialogues with a strategy label on every recommender utterance.

A corpus, not a world. A folder holds ``inspired-{train,valid,test}.jsonl`` or the original
release's ``{train,dev,test}.tsv``; with them, where present, the outcome of each dialogue
(``list_of_dialog_ids_with_movie_id_all.tsv``) and the seeker's ratings of the recommender
(``seeker_partner_perception.tsv``), which are linked through the *recommender's* survey
(``rec_survey_link.tsv``, in the original release ``rec_demographic.tsv``): dialogue ->
``rec_survey_id`` -> (seeker, recommender) -> ratings. Joining on ``seek_survey_id`` links wrong rows.
The seeker's own answers about itself (``seeker_personality.tsv``) hang on the seeker of the same pair.

The original release keeps dialogues in ``data/dialog_data`` and surveys in ``data/survey_data``: the
folder may be the release's root, its ``data`` or its ``dialog_data``, or one that holds all files.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from unicrs_rl.dialogue import ELICITATION, Act, Decision, Dialogue, Outcome, Reply, Strategy, Turn
from unicrs_rl.errors import InputError, unknown
from unicrs_rl.graphs.readers.files import first_problem, folder, read_json_lines, read_text
from unicrs_rl.graphs.world import Split
from unicrs_rl.language.lexicon import Entity, Lexicon

_FILES = {
    Split.TRAIN: ("inspired-train.jsonl", "train.tsv"),
    Split.VALID: ("inspired-valid.jsonl", "dev.tsv"),
    Split.TEST: ("inspired-test.jsonl", "test.tsv"),
}
_OUTCOMES = "list_of_dialog_ids_with_movie_id_all.tsv"
PERCEPTIONS = "seeker_partner_perception.tsv"
"""The table of the seekers' ratings."""
_SURVEY_LINKS = ("rec_survey_link.tsv", "rec_demographic.tsv")
_PERSONALITY = "seeker_personality.tsv"
BIG_FIVE = ("Extrovert", "Agreeable", "Conscientious", "Neurotic", "Open")
"""The personality questions that are read: means of three answers, 1 to 5."""
_RATINGS = {
    "strongly disagree": 1.0,
    "disagree": 2.0,
    "neither agree nor disagree": 3.0,
    "agree": 4.0,
    "strongly agree": 5.0,
}
_NO_LABEL = {"", "nan", "none"}
"""How tables and JSON write that there is no label, case aside."""
_NO_RATINGS = {"seeker_survey_id", "role", "seeker_id", "case", "recommender_id"}
_PLACES = (".", "dialog_data", "survey_data", "data/dialog_data", "data/survey_data", "../survey_data")
"""Where files are looked for, seen from the folder given; the first place that has a file counts."""
ACCEPTED = "accept_rating_good"
"""The outcome that counts as success: the seeker took the movie and rated it well."""


class Turns(StrEnum):
    """What a recommender turn is, where a speaker sends several utterances in a row."""

    UTTERANCE = "utterance"
    """Each utterance (default): every label is kept."""
    MERGED = "merged"
    """All of them in one: the label is that of the last utterance that has a strategy, which is what
    the seeker then answers; No Strategy only if none has one."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who a human seeker is.

    Attributes:
        id: one person may hold several dialogues.
        personality: answers by question of :data:`BIG_FIVE`; empty if the person gave none.
    """

    id: str
    personality: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """Human dialogues, and how well they could be linked.

    Attributes:
        dialogues: in file order.
        mentions: titles the release itself marks in the text (TSV only).
        linked_mentions: of these, those found in the catalogue.
        linked_dialogues: dialogues with at least one item of the catalogue in the recommender's words.
        with_outcome: dialogues whose outcome is known.
        with_survey: dialogues whose seeker's ratings are known.
        with_case: dialogues whose outcome stands both in the list and, as ``case``, with the ratings.
        other_case: of these, those in which the two disagree: signs of a wrong link.
        without_turns: dialogues left out because the recommender says nothing in them.
        seekers: who the seeker of a dialogue is, by the dialogue's id, as far as it is known.
        notes: what was not there or could not be linked, for people.
    """

    dialogues: tuple[Dialogue, ...]
    mentions: int = 0
    linked_mentions: int = 0
    linked_dialogues: int = 0
    with_outcome: int = 0
    with_survey: int = 0
    with_case: int = 0
    other_case: int = 0
    without_turns: int = 0
    seekers: Mapping[str, Person] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def linking_rate(self) -> float:
        """Share of dialogues in whose recommender's words at least one item is found.

        Defined alike for both forms of the release, so that the same dialogues have the same rate.
        """
        return self.linked_dialogues / len(self.dialogues) if self.dialogues else 0.0

    @property
    def title_linking_rate(self) -> float | None:
        """Share of the titles that the release marks that are in the catalogue.

        ``None`` where no title is marked, as in the JSON form.
        """
        return self.linked_mentions / self.mentions if self.mentions else None


@dataclass(frozen=True, slots=True)
class _Survey:
    """What a seeker said afterwards: ratings by question, and the outcome (empty: not in the table)."""

    ratings: Mapping[str, float]
    case: str


@dataclass(frozen=True, slots=True)
class _Line:
    dialogue: str
    seeker: bool
    text: str
    label: str
    titles: tuple[str, ...]
    place: str


def splits(data: Path) -> list[Split]:
    """The splits whose dialogues are in a folder."""
    return [split for split, names in _FILES.items() if _find(data, *names) is not None]


def files(data: Path) -> list[Path]:
    """The files of the corpus that are in a folder: dialogues, outcomes, links, ratings, personality."""
    groups = (*_FILES.values(), (_OUTCOMES,), _SURVEY_LINKS, (PERCEPTIONS,), (_PERSONALITY,))
    return [path for names in groups if (path := _find(data, *names)) is not None]


def read(
    data: Path | None, split: Split, lexicon: Lexicon | None = None, turns: Turns = Turns.UTTERANCE
) -> Corpus:
    """Read a split of the corpus.

    Args:
        data: the folder: the original release's root, its ``data``, its ``dialog_data``, or any folder
            that holds the files.
        split: which part.
        lexicon: names of a world; links the titles that are mentioned to its items.
        turns: whether consecutive utterances of the recommender are turns of their own.

    Raises:
        InputError: naming the file, the line and the field at fault.
    """
    root = folder(data, "inspired")
    path = _find(root, *_FILES[split])
    if path is None:
        raise InputError(
            f"{root}: none of {', '.join(_FILES[split])} is there, nor in dialog_data or data/dialog_data"
        )
    lines = _read_json(path) if path.suffix == ".jsonl" else _read_tsv(path)
    by_dialogue: dict[str, list[_Line]] = {}
    for line in lines:
        by_dialogue.setdefault(line.dialogue, []).append(line)
    if not by_dialogue:
        raise InputError(f"{path}: no dialogues")
    _check_labels(path, lines)
    outcomes, surveys, people = _read_outcomes(root), _read_surveys(root), _read_people(root)
    spoken = {name: rows for name, rows in by_dialogue.items() if not all(line.seeker for line in rows)}
    dialogues = tuple(
        _dialogue(name, rows if turns is Turns.UTTERANCE else _merged(rows), lexicon, outcomes, surveys)
        for name, rows in spoken.items()
    )
    told = [outcomes[name] for name in spoken if name in outcomes]
    cases = [(label, surveys[survey].case) for label, survey in told if survey in surveys]
    agreeing = [label == case for label, case in cases if label and case]
    titles = [title for line in lines for title in line.titles]
    linked = sum(lexicon is not None and lexicon.item_id(title) is not None for title in titles)
    corpus = Corpus(
        dialogues=dialogues,
        mentions=len(titles),
        linked_mentions=linked,
        linked_dialogues=sum(any(turn.decision.items for turn in d.turns) for d in dialogues),
        with_outcome=sum(d.outcome is not None for d in dialogues),
        with_survey=sum(bool(d.survey) for d in dialogues),
        with_case=len(agreeing),
        other_case=agreeing.count(False),
        without_turns=len(by_dialogue) - len(spoken),
        seekers={
            name: people[survey] for name in spoken if (survey := outcomes.get(name, ("", ""))[1]) in people
        },
    )
    return replace(corpus, notes=(*_notes(root, corpus), *doubts([corpus])))


def doubts(corpora: Sequence[Corpus]) -> tuple[str, ...]:
    """What speaks against the links of dialogues to ratings, over several splits; for people."""
    other, known = sum(c.other_case for c in corpora), sum(c.with_case for c in corpora)
    if not other:
        return ()
    return (
        f"the surveys' own outcome (case) disagrees with the dialogue's on {other} of {known}: "
        "are they linked rightly?",
    )


def _find(root: Path, *names: str) -> Path | None:
    """The first of the files that is there, in any of the places."""
    return next((root / p / n for p in _PLACES for n in names if (root / p / n).is_file()), None)


def _notes(root: Path, corpus: Corpus) -> tuple[str, ...]:
    """What the corpus lacks: a table that is missing, or dialogues that it does not know."""
    notes = []
    count = len(corpus.dialogues)
    if corpus.without_turns:
        plural = "" if corpus.without_turns == 1 else "s"
        notes.append(f"{corpus.without_turns} dialogue{plural} without recommender turns left out")
    if _find(root, _OUTCOMES) is None:
        notes.append(f"no outcomes and no ratings: {_OUTCOMES} is not there")
    elif corpus.with_outcome < count:
        notes.append(f"{count - corpus.with_outcome} of {count} dialogues without outcome")
    missing = [" or ".join(names) for names in ((PERCEPTIONS,), _SURVEY_LINKS) if _find(root, *names) is None]
    if missing:
        notes.append(f"no ratings: {' and '.join(missing)} not there")
    elif _find(root, _OUTCOMES) is not None and corpus.with_survey < count:
        notes.append(f"{count - corpus.with_survey} of {count} dialogues without the seeker's ratings")
    return tuple(notes)


class _Utterance(BaseModel):
    speaker: Literal["SEEKER", "RECOMMENDER"]
    text: str
    strategy: str | None = None


class _Record(BaseModel):
    dialog_id: str
    dialog: list[_Utterance]


def _read_json(path: Path) -> list[_Line]:
    lines = []
    for number, record in read_json_lines(path):
        place = f"{path}, line {number}"
        try:
            dialogue = _Record.model_validate(record)
        except ValidationError as error:
            raise InputError(f"{place}: {first_problem(error)}") from None
        for count, said in enumerate(dialogue.dialog, start=1):
            seeker, here = said.speaker == "SEEKER", f"{place}, utterance {count}"
            lines.append(_Line(dialogue.dialog_id, seeker, said.text, said.strategy or "", (), here))
    return lines


def _read_tsv(path: Path) -> list[_Line]:
    lines = []
    for number, row in enumerate(_rows(path), start=2):
        place = f"{path}, line {number}"
        for key in ("dialog_id", "speaker", "text", "expert_label"):
            if row.get(key) is None:
                raise InputError(f"{place}: column {key} is missing")
        titles = tuple(" ".join(t.split()) for t in (row.get("movies") or "").split(";") if t.strip())
        if row["speaker"] not in ("SEEKER", "RECOMMENDER"):
            raise InputError(f"{place}, column speaker: {row['speaker']!r} is neither SEEKER nor RECOMMENDER")
        seeker = row["speaker"] == "SEEKER"
        lines.append(_Line(row["dialog_id"], seeker, row["text"], row["expert_label"], titles, place))
    return lines


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a table, which must have these columns."""
    table = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t")
    try:
        missing = set(columns) - set(table.fieldnames or ())
        if missing:
            raise InputError(f"{path}: column {min(missing)} is missing")
        return list(table)
    except csv.Error as error:
        raise InputError(f"{path}, line {table.line_num + 1}: not a table ({error})") from None


def _check_labels(path: Path, lines: Sequence[_Line]) -> None:
    """Every recommender utterance has a label.

    Raises:
        InputError: if one has not; if none has, if nobody but seekers speaks.
    """
    ours = [line for line in lines if not line.seeker]
    if not ours:
        raise InputError(f"{path}: in none of its dialogues does the recommender speak")
    bare = [line for line in ours if line.label.strip().casefold() in _NO_LABEL]
    if len(bare) == len(ours):
        raise InputError(f"{path}: no recommender utterance has a strategy label; INSPIRED's own files do")
    if bare:
        raise InputError(f"{bare[0].place}: the recommender's utterance has no strategy label")


def _merged(lines: Sequence[_Line]) -> list[_Line]:
    """Each run of recommender utterances as one; see :class:`Turns`."""
    found: list[_Line] = []
    for seeker, run in groupby(lines, key=lambda line: line.seeker):
        said = list(run)
        if seeker:
            found += said
            continue
        named = [line for line in said if _strategy(line) is not Strategy.NO_STRATEGY]
        found.append(
            replace(
                (named or said)[-1],
                text=" ".join(line.text for line in said),
                titles=tuple(title for line in said for title in line.titles),
            )
        )
    return found


def _dialogue(
    name: str,
    lines: Sequence[_Line],
    lexicon: Lexicon | None,
    outcomes: Mapping[str, tuple[str, str]],
    surveys: Mapping[str, _Survey],
) -> Dialogue:
    """A turn for each recommender utterance; what the seeker says next is its reply.

    The act is read off: items named -> recommend, an eliciting strategy -> ask, else chat.
    """
    dialogue = Dialogue(id=name)
    heard: list[str] = []
    said: tuple[Decision, str] | None = None
    for line in lines:
        text = " ".join(line.text.replace("QUOTATION_MARK", '"').split())
        if line.seeker:
            heard.append(text)
            continue
        _close(dialogue, said, heard)
        heard = []
        said = (_decision(line, text, lexicon), text)
    _close(dialogue, said, heard)
    label, survey = outcomes.get(name, ("", ""))
    dialogue.survey = surveys[survey].ratings if survey in surveys else {}
    if label:
        dialogue.outcome = Outcome(label == ACCEPTED, len(dialogue.turns), label=label)
    return dialogue


def _close(dialogue: Dialogue, said: tuple[Decision, str] | None, heard: list[str]) -> None:
    reply = Reply(" ".join(heard))
    if said is None:
        dialogue.opening = reply
    else:
        dialogue.turns.append(Turn(*said, reply))


def _decision(line: _Line, text: str, lexicon: Lexicon | None) -> Decision:
    strategy = _strategy(line)
    mentions = lexicon.mentions(text) if lexicon is not None else ()
    items = tuple(dict.fromkeys(mention.id for mention in mentions if mention.entity is Entity.ITEM))
    act = Act.RECOMMEND if items else Act.ASK if strategy in ELICITATION else Act.CHAT
    return Decision(act, strategy, items=items)


def _strategy(line: _Line) -> Strategy:
    try:
        return Strategy.parse(line.label)
    except ValueError:
        known = [spelling for each in Strategy for spelling in (each.value, each.spelling)]
        raise InputError(f"{line.place}: {unknown('strategy label', line.label, known)}") from None


def _read_outcomes(root: Path) -> dict[str, tuple[str, str]]:
    """Dialogue -> (outcome, the recommender's survey)."""
    path = _find(root, _OUTCOMES)
    if path is None:
        return {}
    rows = _rows(path, "dialog_id", "fine_label", "rec_survey_id")
    return {row["dialog_id"]: (row["fine_label"], row["rec_survey_id"]) for row in rows}


def _read_surveys(root: Path) -> dict[str, _Survey]:
    """The recommender's survey -> the seeker's ratings of the recommender, 1 to 5, and its outcome."""
    links, path = _find(root, *_SURVEY_LINKS), _find(root, PERCEPTIONS)
    if links is None or path is None:
        return {}
    pair = ("seeker_id", "recommender_id")
    given = {
        (row[pair[0]], row[pair[1]]): _Survey(_ratings(row), row.get("case") or "")
        for row in _rows(path, *pair)
    }
    pairs = {
        row["rec_survey_id"]: (row[pair[0]], row[pair[1]]) for row in _rows(links, "rec_survey_id", *pair)
    }
    return {survey: given[who] for survey, who in pairs.items() if who in given}


def _read_people(root: Path) -> dict[str, Person]:
    """The recommender's survey -> who the seeker was."""
    links, path = _find(root, *_SURVEY_LINKS), _find(root, _PERSONALITY)
    if links is None:
        return {}
    rows = [] if path is None else _rows(path, "User_ID", *BIG_FIVE)
    answers = {row["User_ID"]: _personality(path, number, row) for number, row in enumerate(rows, start=2)}
    return {
        row["rec_survey_id"]: Person(row["seeker_id"], answers.get(row["seeker_id"], {}))
        for row in _rows(links, "rec_survey_id", "seeker_id")
    }


def _personality(path: Path | None, number: int, row: Mapping[str, Any]) -> dict[str, float]:
    """One person's answers; who left one out has none."""
    given = {question: row[question] for question in BIG_FIVE}
    if any(answer is None or answer.strip().casefold() in _NO_LABEL for answer in given.values()):
        return {}
    found = {}
    for question, answer in given.items():
        try:
            found[question] = float(answer)
        except ValueError:
            found[question] = math.nan
        if not 1 <= found[question] <= 5:
            raise InputError(f"{path}, line {number}, column {question}: {answer!r} is no number from 1 to 5")
    return found


def _ratings(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        question: _RATINGS[answer.casefold()]
        for question, answer in row.items()
        if question not in _NO_RATINGS and isinstance(answer, str) and answer.casefold() in _RATINGS
    }
