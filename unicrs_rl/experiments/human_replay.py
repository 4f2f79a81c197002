"""Human replay: what would an arm have done where a human recommender spoke?

At every recommender turn of a human dialogue an arm decides, given what was said before: the same
perception, retrieval and Actor as where it meets simulated seekers
(:meth:`~unicrs_rl.experiments.conversation.Conversations.decide`), with the human recommender's turns in
the place of its own. Neither the turn itself nor anything after it is in its state, and nobody is told
when the dialogue ends: a dialogue that goes on beyond the turns allowed has one more turn to come. Nothing
is known of the seeker from before.

**What people did** is read off. *Items*: those that the recommender's words name. *Act*: recommend where
items are named; else ask, where the turn's strategy is one that elicits (INSPIRED) or its words hold a
question mark (ReDial, which has no labels); else chat. What is asked about are the attributes that such
words name. *Strategy*: INSPIRED's label; ReDial has none, so no agreement is measured there.

**Agreement** is the share of turns in which arm and human did the same. There is more than one good thing
to do at a turn, so it is no score of quality.

**Recall@k** is the share of the items that people recommended (each item of each turn once) among the
first k of the arm's ranking at that turn, whatever act the arm chose. A ranking has 50 places whatever
the slate is: first the list that the arm recommends, where it does; then the candidates of its Fact
Retriever; then all items by the posterior of its state; then, where wishes have left fewer than 50, the
others by the prior, without those turned down. An arm that names items from memory (``llm``) thus has its
own list first; one that recommends by the posterior (rules, ``unified`` but for the head of its list,
``rso``) has the posterior's ranking. ``recall_new`` is the same of items that nobody had mentioned before,
with those that were mentioned taken out of the rankings: repeating an item is easily right and helps
nobody (He et al., CIKM 2023).

**Baselines**: ``copy-mentioned`` ranks what was mentioned before, latest first, and nothing else;
``popularity`` ranks all items by their mentions in the corpus' train split (if another split is replayed
and that one is there) plus their likes in the world's training graph.

ReDial's world is read from the same files as its dialogues: the likes of half of its seekers make the
training graph. What concerns dialogues of the *other* seekers only is given apart (``unseen``).

Where ``copy-mentioned`` beats an arm at a Recall@k, ``beaten_by_copying`` says so, and a note warns.

Intervals are 95% percentile bootstrap intervals over dialogues. Where an arm has several checkpoints its
counts are averaged over training seeds first. A turn for which a language model gave no valid answer
counts for nothing, and is counted in ``failed_turns``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.dialogue import ELICITATION, Act, Decision, Dialogue, Reply, Strategy, Turn
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.components import Components, read_world
from unicrs_rl.experiments.config import RunConfig, read_settings, resolve
from unicrs_rl.experiments.controls.shortcut import beaten_by_copying, copying_warning
from unicrs_rl.experiments.conversation import Conversations, Episode, Move
from unicrs_rl.experiments.corpora import INSPIRED, REDIAL, Line, Talks, corpus_splits, read_talks
from unicrs_rl.experiments.costs import open_ledger
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.run_folder import RunFolder, check_writable, writing
from unicrs_rl.experiments.single import read_run
from unicrs_rl.experiments.training import Progress, restore
from unicrs_rl.graphs.readers.inspired import Turns
from unicrs_rl.graphs.readers.redial import GRAPH_FILES
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Session, Split, World
from unicrs_rl.language.ledger import NO_LIMIT, Budget
from unicrs_rl.language.lexicon import Entity, Lexicon
from unicrs_rl.policy.arms import learns
from unicrs_rl.policy.base import Learner, Policy

SCHEMA_VERSION = 1
CUTS = (1, 5, 10, 50)
"""The k of Recall@k."""
RULES = ("max-entropy", "greedy")
"""Arms that are replayed beside those of a run, unless others are named."""
COPY, POPULARITY = "copy-mentioned", "popularity"
_LONGEST = CUTS[-1]
_BATCH = 128
_RESAMPLES = 2_000
COLUMNS = (
    "turns",
    "act",
    "strategy",
    "targets",
    *(f"recall@{k}" for k in CUTS),
    "new",
    *(f"new recall@{k}" for k in CUTS),
)
"""What is counted in a dialogue: turns, those of the human's act and strategy; items that the human
recommended and those of them within the first k; the same of items that nobody had mentioned."""

Counts = NDArray[np.float64]
"""``[dialogues, columns]``."""


@dataclass(frozen=True, slots=True)
class HumanTurn:
    """A turn of a human recommender.

    Attributes:
        before: what was said before it, as the dialogue of somebody who always lets the other answer.
        decision: what the human did.
        mentioned: items that either has named before, latest first.
    """

    before: Dialogue
    decision: Decision
    mentioned: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Which human dialogues are replayed.

    Attributes:
        folder: of the corpus.
        limit: dialogues, from the first on; ``None`` for all.
        turns_are: what a recommender's turn is, where it says several utterances in a row.
    """

    corpus: str
    folder: Path
    split: Split = Split.VALID
    limit: int | None = None
    turns_are: Turns = Turns.MERGED


@dataclass(frozen=True)
class Replayed:
    """What a replay found.

    Attributes:
        results: the content of ``results.json``.
        counts: of each arm, averaged over its seeds.
    """

    results: dict[str, Any]
    counts: Mapping[str, Counts]


@dataclass(frozen=True)
class People:
    """The human dialogues that are replayed, in a world.

    Attributes:
        dialogues: the turns of each.
        popular: all items, most popular first.
        popular_by: what their popularity was counted in.
        unseen: whether the training graph knows nothing of the seeker, by dialogue, where it could.
    """

    talks: Talks
    turns_are: Turns
    dialogues: tuple[tuple[HumanTurn, ...], ...]
    popular: tuple[int, ...]
    popular_by: str
    unseen: NDArray[np.bool_] | None


class ReplayFolder:
    """The files of a replay: ``turns.jsonl``, a line for each decision, and, in the end, ``results.json``.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results.json"
        self.turns = folder / "turns.jsonl"

    @classmethod
    def open(cls, folder: Path, force: bool) -> ReplayFolder:
        """Make the folder, if it is not there.

        Raises:
            InputError: if there is a replay in it and it is not to be replaced, or it cannot be written.
        """
        opened = cls(folder)
        check_writable(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is no folder; choose another --out")
        for path in (opened.results, opened.turns):
            if path.exists() and not force:
                raise InputError(f"{path}: exists already; --force replaces it")
        writing(folder, lambda: folder.mkdir(parents=True, exist_ok=True))
        return opened

    def write(self, found: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> None:
        """Write both files whole."""
        write_atomically(self.turns, "".join(json.dumps(line) + "\n" for line in lines))
        write_atomically(self.results, json.dumps(found, indent=1, allow_nan=False) + "\n")


def replay_settings(
    given: Mapping[str, Any], file: Path | None, run: Path | None, redial: Path
) -> tuple[RunFolder | None, RunConfig]:
    """The run that arms come from, if any, and the settings they are replayed under.

    Without a run and a world of one's own: ReDial's, where its knowledge graph is at hand, else ``movies``.

    Args:
        given: settings that were given explicitly.
        file: TOML file with settings below those.
        redial: where ReDial may be.

    Raises:
        InputError: if there is no such run, or the settings are wrong.
    """
    own = {**(read_settings(file) if file else {}), **given}
    if run is not None and "world" not in own:
        return read_run(run, given, file)
    has_graph = all((redial / name).is_file() for name in GRAPH_FILES)
    world = own.get("world", REDIAL if has_graph else "movies")
    under = {"world": world} | ({"data": redial} if world == REDIAL else {})
    if run is None:
        return None, resolve(given, file, under)
    return read_run(run, {**({"data": redial} if world == REDIAL else {}), **given}, file)


def human_corpora(config: RunConfig) -> dict[str, Path]:
    """The human dialogues that settings name: ReDial's as the world, INSPIRED's as the corpus."""
    found = {REDIAL: config.data if config.world == REDIAL else None, INSPIRED: config.corpus}
    return {corpus: folder for corpus, folder in found.items() if folder is not None}


def replayed_split(corpus: str, folder: Path) -> Split:
    """What is replayed unless somebody says: valid if it is there, else test, else train."""
    there = corpus_splits(corpus, folder)
    return next(split for split in (Split.VALID, Split.TEST, Split.TRAIN) if split in there)


def default_arms(folder: RunFolder | None, config: RunConfig) -> tuple[str, ...]:
    """The arms of a run that have a checkpoint, and two rules."""
    trained: tuple[str, ...] = ()
    if folder is not None:
        trained = tuple(arm for arm in config.arms if _trained(folder, arm, config))
    return tuple(dict.fromkeys((*trained, *RULES)))


def replay(
    config: RunConfig,
    arms: Sequence[str],
    run: RunFolder | None,
    source: Source,
    seed: int | None = None,
    budget: Budget = NO_LIMIT,
    progress: Progress = lambda *_: None,
    folder: ReplayFolder | None = None,
) -> Replayed:
    """Replay human dialogues with arms.

    Args:
        run: whose checkpoints learning arms take.
        source: the human dialogues.
        seed: the training seed of checkpoints, and of arms that draw; ``None``: all that the run has.
        budget: what may be spent on the language model.
        folder: where results and every decision are to be written.

    Raises:
        InputError: if something is wrong with the input.
        Stopped: if a budget is used up, or an endpoint is gone.
    """
    seeds = {arm: _seeds(arm, config, run, seed) for arm in arms}
    world = read_world(config)
    people = read_people(world, source)
    components = shared_components(config, world, run, progress, keep=False)
    components.model.ledger = open_ledger(config, budget, None if run is None else run.answers, resumed=False)
    tallies: dict[str, list[_Tally]] = {}
    for arm in arms:
        tallies[arm] = [_Tally(people, arm, one, world) for one in seeds[arm]]
        for tally, one in zip(tallies[arm], seeds[arm], strict=True):
            policy = components.policy(arm, one)
            if isinstance(policy, Learner) and config.trains(arm):
                assert run is not None
                restore(policy, run.checkpoint(arm, one), components)
            tell = _telling(f"replay {arm} seed {one}", people, progress)
            tally.count(_decisions(policy, arm, components, people, tell))
    found = _results(people, world, config, tallies)
    if folder is not None:
        folder.write(found, (line for each in tallies.values() for tally in each for line in tally.lines))
    return Replayed(found, {arm: _averaged(each) for arm, each in tallies.items()})


def read_people(world: World, source: Source) -> People:
    """The dialogues of a split, turn by turn, linked to a world.

    Raises:
        InputError: if they cannot be read, or no recommender speaks in them.
    """
    corpus, folder, lexicon = source.corpus, source.folder, world.catalogue.lexicon
    if source.limit is not None and source.limit < 1:
        raise InputError(f"--dialogues: at least 1 is needed (it is {source.limit})")
    talks = read_talks(corpus, folder, source.split, lexicon)
    if not talks.talks:
        raise InputError(f"{folder}: in none of the dialogues of {source.split} does a recommender speak")
    talks = replace(talks, talks=talks.talks[: source.limit])
    dialogues = tuple(
        tuple(human_turns(talk.id, talk.lines, source.turns_are, lexicon, talks.labelled))
        for talk in talks.talks
    )
    likes = np.asarray(world.interactions.sum(axis=0), dtype=np.int64).ravel()
    popular_by = f"likes in the training graph of {world.name}"
    if source.split is not Split.TRAIN and Split.TRAIN in corpus_splits(corpus, folder):
        earlier = read_talks(corpus, folder, Split.TRAIN, lexicon)
        np.add.at(likes, [item for talk in earlier.talks for line in talk.lines for item in line.items], 1)
        popular_by = f"mentions in {corpus} train plus {popular_by}"
    popular = tuple(np.argsort(-likes, kind="stable").tolist())
    return People(talks, source.turns_are, dialogues, popular, popular_by, _unseen(world, talks))


def _unseen(world: World, talks: Talks) -> NDArray[np.bool_] | None:
    """Which dialogues are of seekers that the training graph has no like of; only ReDial's could have."""
    if talks.corpus != REDIAL or world.name != REDIAL:
        return None
    known = {world.seekers[index].id for index in np.unique(world.likes[:, 0]).tolist()}
    return np.array([talk.seeker not in known for talk in talks.talks], dtype=bool)


def human_turns(
    name: str, lines: Iterable[Line], turns_are: Turns, lexicon: Lexicon, labelled: bool
) -> Iterator[HumanTurn]:
    """The recommender's turns of a human dialogue, each with what was before it.

    Utterances of one person in a row are one turn. Under ``Turns.UTTERANCE`` each of the recommender's is
    decided by itself, and what it has said since the seeker spoke is history: said, and not yet answered.
    """
    opening = Reply()
    past: list[Turn] = []
    mentioned: dict[int, None] = {}

    def mention(some: Iterable[Line]) -> None:
        for item in (item for line in some for item in line.items):
            mentioned.pop(item, None)
            mentioned[item] = None

    for seeker, together in groupby(lines, key=lambda line: line.seeker):
        run = list(together)
        if seeker:
            reply = Reply(_said(run))
            if past:
                past[-1] = replace(past[-1], reply=reply)
            else:
                opening = reply
            mention(run)
            continue
        parts = [run] if turns_are is Turns.MERGED else [[line] for line in run]
        for place, part in enumerate(parts):
            unanswered = run[:place] if turns_are is Turns.UTTERANCE else []
            before = [*past, Turn(Decision(Act.CHAT, _strategy(unanswered)), _said(unanswered), Reply())]
            yield HumanTurn(
                Dialogue(name, opening, before if unanswered else past.copy()),
                _decision(part, lexicon, labelled),
                tuple(reversed(mentioned)),
            )
            mention(part)
        past.append(Turn(_decision(run, lexicon, labelled), _said(run), Reply()))


def _said(lines: Iterable[Line]) -> str:
    return " ".join(line.text for line in lines)


def _strategy(lines: Sequence[Line]) -> Strategy:
    """The label of the last utterance that has a strategy; see :class:`Turns`."""
    named = [line.strategy for line in lines if line.strategy not in (None, Strategy.NO_STRATEGY)]
    return named[-1] or Strategy.NO_STRATEGY if named else Strategy.NO_STRATEGY


def _decision(lines: Sequence[Line], lexicon: Lexicon, labelled: bool) -> Decision:
    """What a recommender did; see the module's description."""
    strategy = _strategy(lines)
    items = tuple(dict.fromkeys(item for line in lines for item in line.items))
    if items:
        return Decision(Act.RECOMMEND, strategy, items=items)
    if not (strategy in ELICITATION if labelled else "?" in _said(lines)):
        return Decision(Act.CHAT, strategy)
    named = (mention for line in lines for mention in lexicon.mentions(line.text))
    asked = dict.fromkeys(mention.id for mention in named if mention.entity is Entity.ATTRIBUTE)
    return Decision(Act.ASK, strategy, attributes=tuple(asked))


def _trained(folder: RunFolder, arm: str, config: RunConfig) -> tuple[int, ...]:
    """The seeds of an arm that a run has checkpoints of."""
    return tuple(seed for seed in config.seeds if folder.checkpoint(arm, seed).is_file())


def _seeds(arm: str, config: RunConfig, run: RunFolder | None, seed: int | None) -> tuple[int, ...]:
    """The seeds that an arm is replayed with.

    Raises:
        InputError: if it learns and there is no checkpoint.
    """
    if not (learns(arm) and config.trains(arm)):
        return (config.seeds[0] if seed is None else seed,)
    if run is None:
        raise InputError(f"--arm {arm}: it learns; give the run folder with its checkpoint")
    there = _trained(run, arm, config)
    found = there if seed is None else tuple(one for one in there if one == seed)
    if not found:
        which = "" if seed is None else f" and --seed {seed}"
        raise InputError(f"{run.path}: no checkpoint of arm {arm!r}{which}")
    return found


def _telling(what: str, people: People, progress: Progress) -> Callable[[int], None]:
    total = sum(map(len, people.dialogues))
    return lambda done: progress(what, done, total)


@dataclass(frozen=True, slots=True)
class _Decided:
    """What an arm did at a human turn: where, what, and its ranking of the items."""

    dialogue: int
    turn: HumanTurn
    move: Move
    ranking: Iterator[int]
    failed: bool


def _decisions(
    policy: Policy, arm: str, components: Components, people: People, tell: Callable[[int], None]
) -> Iterator[_Decided]:
    """What an arm does at every turn, a batch at a time."""
    own = components.of(arm)
    config = own.config.model_copy(update={"user": "mcr"})  # nobody is going to answer
    stranger = Session(0, "", -1, (), 0)
    prior = components.prior.log_scores([stranger])
    by_prior = np.argsort(-prior[0], kind="stable")
    numbered = [(index, turn) for index, turns in enumerate(people.dialogues) for turn in turns]

    def turns_allowed(entry: tuple[int, HumanTurn]) -> int:
        return max(config.limit, len(entry[1].before.turns) + 2)  # two, so that none is the last

    done = 0
    for allowed, group in groupby(sorted(numbered, key=turns_allowed), key=turns_allowed):
        table = Conversations(replace(own, config=config.model_copy(update={"limit": allowed})))
        entries = list(group)
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            episodes = [
                Episode(replace(stranger, key=draws.key("replay", turn.before.id)), turn.before)
                for _, turn in batch
            ]
            states, read, _, moves = table.decide(policy, episodes, prior.repeat(len(batch), axis=0))
            retrieved = own.retriever.candidates(replace(states, slate=_LONGEST))
            for row, ((index, turn), move) in enumerate(zip(batch, moves, strict=True)):
                ranking = _ranking(states, row, (*move.decision.items, *retrieved[row]), by_prior)
                calls = (*move.calls, *filter(None, read[row : row + 1]))
                yield _Decided(index, turn, move, ranking, any(call.failure for call in calls))
            done += len(batch)
            tell(done)


def _ranking(states: States, row: int, first: Iterable[int], by_prior: NDArray[np.int64]) -> Iterator[int]:
    """All items, best first, each once; see the module's description."""
    start, stop = states.offsets[row : row + 2]
    heaviest = np.argsort(-states.values[start:stop], kind="stable")
    turned_down = states.rows[row].preferences.rejected_items
    ranked = dict.fromkeys(first)
    ranked |= dict.fromkeys(states.candidates[start:stop][heaviest].tolist())
    ranked |= dict.fromkeys(item for item in by_prior.tolist() if item not in turned_down)
    return iter(ranked)


class _Tally:
    """Counts what an arm does against what people did.

    Attributes:
        counts: ``[dialogues, columns]``.
        acts: ``[acts]`` of the arm.
        failed: turns without a valid answer.
        lines: every decision, for ``turns.jsonl``.
    """

    def __init__(self, people: People, arm: str, seed: int, world: World) -> None:
        self.people, self.arm, self.seed, self.world = people, arm, seed, world
        self.counts: Counts = np.zeros((len(people.dialogues), len(COLUMNS)))
        self.acts: Counts = np.zeros(len(Act))
        self.failed = 0
        self.lines: list[dict[str, Any]] = []

    def count(self, decided: Iterable[_Decided]) -> None:
        """Count decisions."""
        for one in decided:
            if one.failed:
                self.failed += 1
                continue
            did, human = one.move.decision, one.turn.decision
            self.acts[did.act] += 1
            row = self.counts[one.dialogue]
            row[:3] += 1, did.act == human.act, did.strategy is human.strategy
            ranks = self.recall(row, one.turn, list(islice(one.ranking, _LONGEST + len(one.turn.mentioned))))
            self.lines.append(self._line(one, ranks))

    def recall(self, row: Counts, turn: HumanTurn, ranking: Sequence[int]) -> dict[int, int]:
        """Count where the human's items stand in a ranking; their ranks, from 1."""
        mentioned = set(turn.mentioned)
        fresh = [item for item in ranking if item not in mentioned][:_LONGEST]
        ranks = {item: place for place, item in enumerate(ranking[:_LONGEST], start=1)}
        of_new = {item: place for place, item in enumerate(fresh, start=1)}
        targets = turn.decision.items
        new = [item for item in targets if item not in mentioned]
        row[3:] += _hits(targets, ranks) + _hits(new, of_new)
        return {item: ranks[item] for item in targets if item in ranks}

    def _line(self, one: _Decided, ranks: Mapping[int, int]) -> dict[str, Any]:
        names = self.world.catalogue
        did, human = one.move.decision, one.turn.decision
        return {
            "arm": self.arm,
            "seed": self.seed,
            "dialogue": one.turn.before.id,
            "turn": len(one.turn.before.turns),
            "act": did.act.name.lower(),
            "strategy": did.strategy.value,
            "attributes": [names.attributes[attribute] for attribute in did.attributes],
            "items": [names.items[item] for item in did.items],
            "utterance": one.move.utterance,
            "human": {
                "act": human.act.name.lower(),
                "strategy": human.strategy.value if self.people.talks.labelled else None,
                "items": {names.items[item]: ranks.get(item) for item in human.items},
                "mentioned_before": [names.items[i] for i in human.items if i in one.turn.mentioned],
            },
        }


def _hits(targets: Sequence[int], ranks: Mapping[int, int]) -> list[int]:
    """How many targets there are, and how many are within the first k of each of :data:`CUTS`."""
    places = [ranks.get(item, _LONGEST + 1) for item in targets]
    return [len(places), *(sum(place <= k for place in places) for k in CUTS)]


def _averaged(tallies: Sequence[_Tally]) -> Counts:
    """The counts of an arm, averaged over its seeds."""
    mean: Counts = np.mean([tally.counts for tally in tallies], axis=0)
    return mean


def _baselines(people: People, world: World) -> dict[str, Counts]:
    """Rankings that need no arm."""
    found = {}
    for name in (COPY, POPULARITY):
        tally = _Tally(people, name, 0, world)
        for index, turns in enumerate(people.dialogues):
            for turn in turns:
                ranking = turn.mentioned if name == COPY else people.popular[: _LONGEST + len(turn.mentioned)]
                tally.recall(tally.counts[index], turn, ranking)
        found[name] = tally.counts
    return found


def _results(
    people: People, world: World, config: RunConfig, tallies: Mapping[str, Sequence[_Tally]]
) -> dict[str, Any]:
    """The content of ``results.json``."""
    talks = people.talks
    baselines = _baselines(people, world)
    counts = {arm: _averaged(each) for arm, each in tallies.items()} | baselines
    targets, new = (baselines[COPY][:, COLUMNS.index(name)] for name in ("targets", "new"))
    repeated = np.stack([targets - new, targets], axis=1)
    everywhere = resampled(len(targets))
    human = [turn.decision for turns in people.dialogues for turn in turns]
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "corpus": talks.corpus,
        "split": str(talks.split),
        "world": world.name,
        "world_fingerprint": world.fingerprint,
        "turns_are": str(people.turns_are),
        "language_model": config.model_name,
        "dialogues": len(people.dialogues),
        "turns": len(human),
        "targets": int(targets.sum()),
        "already_mentioned": estimate(everywhere @ repeated),
        "linking": {
            "dialogues": round(float((targets > 0).mean()), 4),
            "titles": None if not talks.titles else round((talks.linked or 0) / talks.titles, 4),
        },
        "popularity_by": people.popular_by,
        "human": {
            "acts": _counted(decision.act.name.lower() for decision in human),
            "strategies": _counted(d.strategy.value for d in human) if talks.labelled else None,
        },
        "arms": _rows(counts, talks.labelled, everywhere),
    }
    for arm, each in tallies.items():
        acts = np.mean([tally.acts for tally in each], axis=0)
        found["arms"][arm] |= {
            "acts": {act.name.lower(): round(float(acts[act]), 2) for act in Act},
            "failed_turns": sum(tally.failed for tally in each),
            "seeds": [tally.seed for tally in each],
        }
    if people.unseen is not None:
        some = {arm: rows[people.unseen] for arm, rows in counts.items()}
        n = int(people.unseen.sum())
        found["unseen"] = {
            "dialogues": n,
            "arms": _rows(some, talks.labelled, resampled(n)) if n else {},
        }
    beaten = beaten_by_copying(recall_of(found["arms"]), COPY, (POPULARITY,))
    warning = copying_warning(beaten, COPY)
    notes = [*_notes(people, world), *([warning] if warning else [])]
    return found | {"beaten_by_copying": beaten, "notes": notes}


def recall_of(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Recall of each arm and baseline by k; ``None`` where nothing was to be recalled."""
    return {
        arm: {k: share and share["value"] for k, share in row["recall"].items()} for arm, row in arms.items()
    }


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _notes(people: People, world: World) -> list[str]:
    notes = []
    if not any(turn.decision.items for turns in people.dialogues for turn in turns):
        notes.append(
            f"human recommenders name nothing that world {world.name} has: recall is not measured; "
            "another --world may have it"
        )
    if not people.talks.labelled:
        notes.append(f"{people.talks.corpus} has no strategy labels: strategy agreement is not measured")
    if people.unseen is not None and not people.unseen.all():
        notes.append(
            f"the training graph holds likes of the seekers of {int((~people.unseen).sum())} of "
            f"{len(people.unseen)} dialogues; 'unseen' leaves these dialogues out"
        )
    return notes


def _rows(counts: Mapping[str, Counts], labelled: bool, drawn: Counts) -> dict[str, Any]:
    """The measures of each arm and baseline."""
    return {arm: _row(drawn @ rows, labelled) for arm, rows in counts.items()}


def _row(totals: Counts, labelled: bool) -> dict[str, Any]:
    """The measures of one, from its counts under each weighting of the dialogues ``[1 + B, columns]``."""

    def share(part: str, whole: str) -> dict[str, Any] | None:
        return estimate(totals[:, [COLUMNS.index(part), COLUMNS.index(whole)]])

    return {
        "act_agreement": share("act", "turns"),
        "strategy_agreement": share("strategy", "turns") if labelled else None,
        "recall": {str(k): share(f"recall@{k}", "targets") for k in CUTS},
        "recall_new": {str(k): share(f"new recall@{k}", "new") for k in CUTS},
    }


def resampled(dialogues: int) -> Counts:
    """How often each dialogue counts: once each, then in every bootstrap resample, ``[1 + B, dialogues]``."""
    rng = np.random.default_rng(draws.key("replay intervals"))
    drawn = rng.multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=_RESAMPLES)
    return np.vstack([np.ones(dialogues), drawn])


def estimate(totals: Counts) -> dict[str, Any] | None:
    """A share with its interval, from ``[1 + B, 2]`` counts of part and whole; ``None`` of nothing."""
    whole = totals[:, 1]
    if not whole[0]:
        return None
    shares = np.divide(totals[:, 0], whole, out=np.full(len(whole), np.nan), where=whole > 0)
    low, high = np.nanpercentile(shares[1:], [2.5, 97.5])
    return {
        "value": round(float(shares[0]), 4),
        "ci95": [round(float(low), 4), round(float(high), 4)],
        "n": round(float(whole[0])),
    }
