"""The door: ``unicrs-rl <verb> …``.

Wrong use and wrong input end with exit code 2 and one line on standard error, a judge that never scored with
3, a run that stopped and can be resumed with 4, controls that failed with 1. Results go to standard output,
progress to standard error.

Each verb is a module: a dataclass of its options, and ``run``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from unicrs_rl.cli import (
    bench,
    calibrate,
    compare,
    controls,
    doctor,
    drift,
    evaluate,
    interplay,
    population,
    power,
    read,
    replay,
    report,
    strategies,
    study,
    train,
    train_simulator,
    worlds,
)
from unicrs_rl.errors import Failed, InputError, Stopped, Unjudged, unknown

_BOX = re.compile(r"[╭╮╰╯│─]+|-{5,}")  # of dashes where the output cannot show the others
_UNREADABLE = re.compile(
    r"Error parsing (--[\w-]+): .*(?:instantiated from|for int\(\) with base 10:) (.+?)\.?(?: Got.*)?$"
)

_CODES: dict[type[Exception], int] = {Failed: 1, InputError: 2, Unjudged: 3, Stopped: 4}
"""Exit codes of what ends a command with one line."""
_VERBS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "compare": (compare.Compare, compare.run),
    "train": (train.Train, train.run),
    "evaluate": (evaluate.Evaluate, evaluate.run),
    "read": (read.Read, read.run),
    "replay": (replay.Replay, replay.run),
    "population": (population.Population, population.run),
    "power": (power.Power, power.run),
    "drift": (drift.Drift, drift.run),
    "train-simulator": (train_simulator.TrainSimulator, train_simulator.run),
    "interplay": (interplay.Interplay, interplay.run),
    "bench": (bench.Bench, bench.run),
    "controls": (controls.Controls, controls.run),
    "calibrate": (calibrate.Calibrate, calibrate.run),
    "study": (study.Study, study.run),
    "report": (report.Report, report.run),
    "worlds": (worlds.Worlds, worlds.run),
    "strategies": (strategies.Strategies, strategies.run),
    "doctor": (doctor.Doctor, doctor.run),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")  # our own line says what could not be had
    try:
        verb = _parse(sys.argv[1:] if arguments is None else list(arguments))
        next(run for kind, run in _VERBS.values() if type(verb) is kind)(verb)
    except tuple(_CODES) as error:
        print(f"unicrs-rl: {error}", file=sys.stderr)
        return next(code for kind, code in _CODES.items() if isinstance(error, kind))
    except KeyboardInterrupt:
        print("unicrs-rl: interrupted; --resume goes on", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output went away
        sys.stdout = None
        return 0
    return 0


def _parse(arguments: list[str]) -> Any:
    """The verb and its options.

    Raises:
        InputError: for wrong use.
        SystemExit: after printing help.
    """
    if arguments in (["--version"], ["-V"]):
        from unicrs_rl import __version__

        print(f"unicrs-rl {__version__}")
        raise SystemExit(0)
    if not arguments:
        arguments = ["--help"]
    if not arguments[0].startswith("-") and arguments[0] not in _VERBS:
        raise unknown("command", arguments[0], _VERBS)
    kinds = [
        Annotated[kind, subcommand(name, description=kind.__doc__)] for name, (kind, _) in _VERBS.items()
    ]
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                union,
                config=(FlagCreatePairsOff, OmitSubcommandPrefixes, OmitArgPrefixes),
                prog="unicrs-rl",
                description="Unified and decomposed conversational recommenders, tested head to head.",
                args=arguments,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_one_line(complaint.getvalue())) from None


def _one_line(text: str) -> str:
    """The complaint of the argument parser without its frame and its second thoughts."""
    lines = [_BOX.sub(" ", line).strip() for line in text.splitlines()]
    said = [line for line in lines[1:] if line and not line.startswith("For full helptext")]
    hint = "see unicrs-rl --help"
    for position, line in enumerate(said):
        if line.startswith("Perhaps you meant") and position + 1 < len(said):
            hint = f"did you mean {said[position + 1].split()[0]}?"
            said = said[:position]
            break
        if line.startswith("Argument helptext"):
            said = said[:position]
            break
    if len(said) > 1 and said[0].startswith("Missing from"):
        said = [f"{said[1].split()[0]} is missing"]
    sentence = " ".join(said) or "wrong use"
    unreadable = _UNREADABLE.match(sentence)
    if unreadable:
        sentence = f"{unreadable[1]}: {unreadable[2].strip('[]')} is not a valid value"
    return f"{sentence}; {hint}"
