"""``unicrs-rl replay``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from unicrs_rl.cli.options import (
    Backend,
    Folder,
    Limits,
    Number,
    Text,
    given_budget,
    opt,
    progress_bars,
)


@dataclasses.dataclass(frozen=True)
class Replay(Limits, Backend):
    """Let arms decide where people did: agreement and recall at every recommender turn of human dialogues."""

    run: Positional[
        Annotated[Folder, opt("run folder made by train or compare, whose checkpoints arms take", "RUN")]
    ] = None
    arm: Annotated[
        Text, opt("arms, separated by commas", "LIST", "those trained in RUN, max-entropy and greedy")
    ] = None
    corpus: Annotated[str, opt("human dialogues: redial or inspired", "NAME", "redial")] = "redial"
    data: Annotated[Folder, opt("the corpus' folder, or one that holds corpora by their names", "DIR")] = None
    split: Annotated[
        Literal["train", "valid", "test"], opt("which file of dialogues is replayed", "", "valid")
    ] = "valid"
    dialogues: Annotated[Number, opt("how many of them, from the first on", "N", "all")] = None
    turns: Annotated[
        Literal["merged", "utterance"],
        opt("a recommender's turn: all it says in a row, or each utterance", "", "merged"),
    ] = "merged"
    world: Annotated[
        Text, opt("catalogue", "NAME|PATH", "that of RUN, else redial's if DIR has it, else movies")
    ] = None
    seed: Annotated[Number, opt("training seed of the arms", "N", "all that RUN has")] = None
    config: Annotated[Folder, opt("TOML file with settings; what is given here wins over it", "FILE")] = None
    out: Annotated[Folder, opt("folder to write results.json and turns.jsonl into", "DIR", "none")] = None
    force: Annotated[bool, opt("replace these two files where they exist")] = False
    json: Annotated[bool, opt("print one JSON object instead of a table")] = False


def run(verb: Replay) -> None:
    """Replay the dialogues, and print the measures."""
    from unicrs_rl.experiments.corpora import REDIAL, corpus_folders
    from unicrs_rl.experiments.human_replay import ReplayFolder, Source, default_arms, replay, replay_settings
    from unicrs_rl.graphs.readers.inspired import Turns
    from unicrs_rl.graphs.world import Split

    folder = corpus_folders(verb.corpus, verb.data, several=False)[verb.corpus]
    given = {name: value for name in ("world", "llm") if (value := getattr(verb, name)) is not None}
    model = {name: value for name in ("model", "base_url") if (value := getattr(verb, name)) is not None}
    given |= {"language_model": model} if model else {}
    redial = folder if verb.corpus == REDIAL or verb.data is None else verb.data / REDIAL
    where = replay_settings(given, verb.config, verb.run, redial)
    arms = tuple(dict.fromkeys(verb.arm.split(","))) if verb.arm is not None else default_arms(*where)
    source = Source(verb.corpus, folder, Split(verb.split), verb.dialogues, Turns(verb.turns))
    out = None if verb.out is None else ReplayFolder.open(verb.out, verb.force)
    with progress_bars(quiet=verb.json) as progress:
        budget = given_budget(verb, where[1])
        found = replay(where[1], arms, where[0], source, verb.seed, budget, progress, out)
    if verb.json:
        print(json.dumps(found.results))
        return
    console = Console()
    _print(found.results, console if console.is_terminal else Console(width=200))
    if verb.out is not None:
        console.print(f"\nEvery decision: {escape(str(verb.out / 'turns.jsonl'))}", highlight=False)


def _print(found: Mapping[str, Any], console: Console) -> None:
    """What was replayed, and a table of arms and baselines."""
    repeated, linking = found["already_mentioned"], found["linking"]
    titles = linking["titles"]
    lines = [
        f"{found['dialogues']} human dialogues ({found['corpus']}, {found['split']}), {found['turns']} turns "
        f"({found['turns_are']}), {found['targets']} recommended items of world {found['world']}",
        f"already mentioned: {_share(repeated, ' ')}",
        f"dialogues with an item of the world: {linking['dialogues']:.1%}"
        + ("" if titles is None else f"; titles found in it: {titles:.1%}"),
        f"popularity: {found['popularity_by']}",
        *found["notes"],
    ]
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(_table("all dialogues", found["arms"]))
    unseen = found.get("unseen")
    if unseen and unseen["arms"] and unseen["dialogues"] < found["dialogues"]:
        console.print(
            _table(f"the {unseen['dialogues']} of seekers that the world has not seen", unseen["arms"])
        )


def _table(title: str, arms: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    cuts = list(next(iter(arms.values()))["recall"])
    head = ["act agreement", "strategy agreement", *(f"R@{k}" for k in cuts), *(f"R@{k} new" for k in cuts)]
    table.add_column("")
    for name in head:
        table.add_column(name, justify="right")
    for arm, row in arms.items():
        shares = [row["act_agreement"], row["strategy_agreement"]]
        shares += [row["recall"][k] for k in cuts] + [row["recall_new"][k] for k in cuts]
        table.add_row(escape(arm), *(_share(share) for share in shares))
    return table


def _share(found: Mapping[str, Any] | None, between: str = "\n") -> str:
    """A share, and its interval."""
    if found is None:
        return "–"
    low, high = found["ci95"]
    return f"{found['value']:.3f}{between}[{low:.3f}, {high:.3f}]"
