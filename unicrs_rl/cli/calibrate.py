"""``unicrs-rl calibrate``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unicrs_rl.cli.options import Folder, opt, progress_bars
from unicrs_rl.errors import InputError

if TYPE_CHECKING:
    from unicrs_rl.experiments.calibration.calibrate import Calibration
    from unicrs_rl.experiments.calibration.check import Cell
    from unicrs_rl.simulators.effects import Estimate


@dataclasses.dataclass(frozen=True)
class Calibrate:
    """Fit the latent seeker to human dialogues, and check that it answers strategies as people do."""

    corpus: Annotated[str, opt("human dialogues: inspired, redial, or both", "LIST", "inspired")] = "inspired"
    data: Annotated[Folder, opt("their folder, or one with a subfolder for each", "DIR")] = None
    out: Annotated[Folder, opt("file for the coefficient table, for --effects-table", "FILE.toml")] = None
    bootstrap: Annotated[int, opt("resamples of dialogues for the intervals", "N", "200")] = 200
    seed: Annotated[int, opt("of resamples and folds", "N", "0")] = 0
    json: Annotated[bool, opt("print one JSON object instead of tables")] = False


def run(verb: Calibrate) -> None:
    """Estimate, write, and print."""
    from unicrs_rl.experiments.calibration.calibrate import calibrate
    from unicrs_rl.experiments.checkpoint import write_atomically

    if verb.out is not None and verb.out.suffix != ".toml":
        raise InputError(f"--out {verb.out}: a file whose name ends in .toml is expected")
    if verb.out is not None and not verb.out.parent.is_dir():
        raise InputError(f"--out {verb.out}: there is no folder {verb.out.parent}")
    with progress_bars(quiet=verb.json) as progress:
        found = calibrate(verb.corpus, verb.data, verb.bootstrap, verb.seed, progress)
    if verb.out is not None:
        write_atomically(verb.out, found.table.toml())
    if verb.json:
        print(json.dumps(found.record()))
        return
    console = Console()
    _print(found, console if console.is_terminal else Console(width=200), verb.out)


def _print(found: Calibration, console: Console, out: Path | None) -> None:
    table = found.table
    dialogues = ", ".join(f"{count} of {name}" for name, count in table.provenance.corpora.items())
    console.print(f"Human dialogues: {dialogues}; items looked up in {found.catalogue}", highlight=False)
    if found.check is not None:
        _print_effects(found, console)
    _print_rates(found, console)
    if found.check is not None:
        _print_check(found, console)
    if out is not None:
        console.print(f"\nThe table: {escape(str(out))}", highlight=False, soft_wrap=True)


def _print_effects(found: Calibration, console: Console) -> None:
    table = found.table
    shown = Table(
        title=(
            "Effect of an effective use: percepts in standard deviations, accepting in log-odds\n"
            f"the n-th use counts {table.wear:g}^(n-1); ridge penalties "
            f"{table.penalties['perception']:g} and {table.penalties['acceptance']:g}"
        )
    )
    shown.add_column("strategy")
    for heading in ("uses", "dialogues", *table.perception, "accepting"):
        shown.add_column(heading, justify="right")
    for strategy, uses in table.uses.items():
        effects = [percept.strategies[strategy] for percept in table.perception.values()]
        accepting = table.acceptance.strategies[strategy]
        shown.add_row(
            strategy.value,
            str(uses.uses),
            str(uses.dialogues),
            *(_interval(e) for e in (*effects, accepting)),
        )
    for trait in table.traits:
        effects = [percept.traits[trait] for percept in table.perception.values()]
        shown.add_row(f"{trait} (per sd)", "", "", *(_interval(e) for e in effects), "")
    console.print(shown)
    acceptance = table.acceptance
    for name, slope in acceptance.percepts.items():
        console.print(f"  {name} on accepting: {_interval(slope)}", highlight=False)
    console.print(
        f"  fit of the item on accepting: {_interval(acceptance.human_fit)} "
        f"({acceptance.fit_dialogues} of {acceptance.dialogues} dialogues name an item and a wish; "
        f"the simulator's own {acceptance.fit:g} is assumed)",
        highlight=False,
    )


def _print_rates(found: Calibration, console: Console) -> None:
    shown = Table(title="Off the path of question and answer")
    for heading in ("behaviour", "rate (95% interval)", "per", "found"):
        shown.add_column(heading)
    for name, rate in found.table.off_path.items():
        hits = ", ".join(f"{corpus} {rate.hits[corpus]}/{rate.of[corpus]}" for corpus in rate.of)
        value, low, high = rate.rate
        shown.add_row(name, f"{value:.4f} \\[{low:.4f}, {high:.4f}]", rate.per, hits)
    console.print(shown)
    for name, human in found.table.human.items():
        entropy = (
            "" if human.response_entropy is None else f", H(reply|strategy) {human.response_entropy:.2f}"
        )
        console.print(
            f"  {name}: {human.length:.1f} turns (sd {human.length_sd:.1f}), "
            f"Dist-4 {human.dist4 or 0:.3f}{entropy}",
            highlight=False,
        )


def _print_check(found: Calibration, console: Console) -> None:
    check = found.check
    assert check is not None
    shown = Table(
        title=(
            "Spearman correlations: human [95% interval] / simulated; * human p < 0.05, ! outside\n"
            f"{check.dialogues} strategy sequences, mean of {check.seeds} replays; accepted "
            f"{check.accepted[0]:.3f} / {check.accepted[1]:.3f} "
            f"(items chosen to that end, mean fit {check.fit:.2f})"
        )
    )
    shown.add_column("turns of this strategy")
    measures = list(dict.fromkeys(cell.measure for cell in check.cells))
    for measure in measures:
        shown.add_column(measure, justify="right")
    for of in dict.fromkeys(cell.of for cell in check.cells):
        shown.add_row(of, *(_cell(cell) for cell in check.cells if cell.of == of))
    console.print(shown)
    for cell in check.perception:
        console.print(f"  {cell.of} against acceptance: {_cell(cell)}", highlight=False)
    console.print(
        f"  inside in a single replay, whose dice count too: {check.inside_once:.1%}", highlight=False
    )
    console.print(f"\nThe check is {check.verdict()}.", highlight=False, soft_wrap=True)


def _cell(cell: Cell) -> str:
    mark = ("*" if cell.p < 0.05 else " ") + (" " if cell.inside else "!")
    return f"{cell.human:+.3f} \\[{cell.low:+.3f}, {cell.high:+.3f}] / {cell.simulated:+.3f}{mark}"


def _interval(estimate: Estimate) -> str:
    value, low, high = estimate
    return f"{value:+.3f} \\[{low:+.3f}, {high:+.3f}]"
