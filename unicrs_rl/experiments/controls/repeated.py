"""The shortcut audit: what successes and recall are worth that only repeat what was said.

Simulated seekers must not name what they want before it is on a list; how often arms succeed with items
that were mentioned before is told of a finished run; and in human dialogues arms are held against a
baseline that repeats what was named (:mod:`.shortcut`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import read_world
from unicrs_rl.experiments.controls.finding import Finding, Size
from unicrs_rl.experiments.controls.shortcut import (
    Mentioned,
    beaten_by_copying,
    copying_warning,
    mentioned_before,
    shortcuts_among,
)
from unicrs_rl.experiments.controls.stage import stages
from unicrs_rl.experiments.corpora import REDIAL, corpus_folders
from unicrs_rl.experiments.evaluation import evaluate
from unicrs_rl.experiments.human_replay import (
    COPY,
    POPULARITY,
    Source,
    default_arms,
    recall_of,
    replay,
    replay_settings,
    replayed_split,
)
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import Split

CONTROL = "shortcut"
DIALOGUES = {Size.SMALL: 20, Size.FULL: 200}
REPLAYED = {Size.SMALL: 20, Size.FULL: None}
"""Human dialogues of each corpus; ``None``: all."""


def shortcut(
    size: Size,
    run: Path | None = None,
    corpora: str | None = None,
    data: Path | None = None,
    progress: Progress = lambda *_: None,
) -> list[Finding]:
    """Run the shortcut audit.

    Args:
        run: folder of a finished comparison.
        corpora: human dialogues, separated by commas.
        data: folder of these, or one that holds them by their names.

    Raises:
        InputError: if one of these is missing or broken.
    """
    folders = {} if corpora is None else corpus_folders(corpora, data)
    found = [] if run is None else list(of_run(run))
    found += _discreet(DIALOGUES[size], progress)
    for corpus, folder in folders.items():
        found.append(copied(corpus, folder, run, REPLAYED[size], progress))
    return found


def _discreet(count: int, progress: Progress) -> Iterator[Finding]:
    """Whether simulated seekers keep to themselves what they want."""
    by_kind = stages({"limit": 8})
    for done, (kind, components) in enumerate(by_kind.items()):
        progress("shortcut: simulated seekers", done + 1, len(by_kind))
        sessions = components.world.sessions(Split.TEST, count, 0)
        rule = components.policy("max-entropy", 0)
        held = [line for batch in evaluate(rule, "max-entropy", 0, components, sessions) for line in batch]
        told = shortcuts_among(line["outcome"] for line in held)
        assert told is not None  # these traces are of this version
        named = told["by"][Mentioned.SEEKER]
        yield Finding(
            CONTROL,
            f"{kind} seekers",
            "none names what it accepts before it is on a list",
            f"{named} of {told['successes']} successes",
            named == 0 if told["successes"] else None,
            told,
        )


def of_run(run: Path) -> Iterator[Finding]:
    """How many successes of each arm of a finished run were with items that had been mentioned.

    It is told, not judged: what is too much depends on what the seekers are like.

    Raises:
        InputError: if it is no run folder, or has no dialogues.
    """
    folder, config = RunFolder.read(run)
    if not folder.traces.is_file():
        raise InputError(f"{run}: no finished comparison (there is no traces.jsonl in it)")
    lexicon = read_world(config).catalogue.lexicon
    outcomes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in folder.read_traces():  # from the words, so that runs of earlier versions can be looked at
        mentioned = mentioned_before(line, lexicon)
        outcomes[line["arm"]].append({**line["outcome"], "mentioned_before": mentioned})
    for arm, ended in outcomes.items():
        told = shortcuts_among(ended)
        assert told is not None
        without = [outcome for outcome in ended if outcome["mentioned_before"] is None]
        rates = [fmean(o["success"] for o in some) if some else 0.0 for some in (ended, without)]
        already = sum(told["by"].values())
        yield Finding(
            CONTROL,
            f"{run.name}: {arm}",
            "told: successes with an item that was mentioned before",
            f"{already} of {told['successes']}; rate of success {rates[0]:.3f}, "
            f"{rates[1]:.3f} over the {len(without)} other dialogues",
            None,
            {**told, "success": round(rates[0], 6), "without": round(rates[1], 6)},
        )


def copied(
    corpus: str, folder: Path, run: Path | None, limit: int | None, progress: Progress = lambda *_: None
) -> Finding:
    """Whether repeating what was named beats arms in human dialogues.

    It is told, not judged: where it does, recall is what is worth nothing, not the arm.

    Args:
        run: whose trained arms are replayed beside two rules.
        limit: dialogues; ``None``: all.

    Raises:
        InputError: if the dialogues or the run cannot be read.
    """
    where, config = replay_settings({}, None, run, folder if corpus == REDIAL else folder.parent / REDIAL)
    source = Source(corpus, folder, replayed_split(corpus, folder), limit)
    found = replay(config, default_arms(where, config), where, source, progress=progress).results
    recall = recall_of(found["arms"])
    beaten = beaten_by_copying(recall, COPY, (POPULARITY,))
    shares = "; ".join(
        f"{arm} {row['1']:.3f}, {row['10']:.3f}" for arm, row in recall.items() if row["1"] is not None
    )
    measured = found["targets"] > 0
    return Finding(
        CONTROL,
        f"copying in human dialogues: {corpus}",
        "told: whether copy-mentioned beats an arm",
        f"{copying_warning(beaten, COPY) or 'it beats none'}. Recall@1, @10: {shares}"
        if measured
        else "people recommend nothing that this world has: not measured",
        None,
        {"dialogues": found["dialogues"], "recall": recall, "beaten": beaten, "world": found["world"]},
    )
