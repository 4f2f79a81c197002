"""How many dialogues and training seeds detect a difference: ``unicrs-rl power``."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console

from unicrs_rl.cli.options import (
    Folder,
    Limits,
    Number,
    Real,
    Settings,
    Text,
    given_budget,
    given_settings,
    opt,
    progress_bars,
)
from unicrs_rl.errors import InputError

if TYPE_CHECKING:
    from unicrs_rl.experiments.power import Pilot

PILOT_DIALOGUES = 100


@dataclasses.dataclass(frozen=True)
class Power(Limits, Settings):
    """How many dialogues and training seeds detect a difference, from a pilot run."""

    study: Annotated[Text, opt("study that is to be run", "NAME|PATH.toml")] = None
    run: Annotated[tuple[Path, ...], opt("finished run folders that serve as pilots", "DIR")] = ()
    pilot: Annotated[
        Folder, opt("folder of the study's pilot; made where it is not there", "DIR", "runs/NAME-pilot")
    ] = None
    dialogues: Annotated[
        Number, opt("held-out conversations of a pilot that is made", "N", str(PILOT_DIALOGUES))
    ] = None
    difference: Annotated[
        Text,
        opt("to be detected: sizes for every primary metric, or METRIC=SIZE, separated by commas", "LIST"),
    ] = None
    metrics: Annotated[Text, opt("primary metrics, separated by commas", "LIST", "as declared")] = None
    power: Annotated[float, opt("chance to detect it", "P", "0.8")] = 0.8
    level: Annotated[Real, opt("chance of a false positive, over all comparisons", "P", "as declared")] = None
    numbers: Annotated[Text, opt("numbers of training seeds to think of", "LIST", "1,2,3,5,10")] = None
    workers: Annotated[Number, opt("processes that make a pilot", "N", "2, or 1 on one core")] = None
    json: Annotated[bool, opt("print one JSON object instead of tables")] = False


def run(verb: Power) -> None:
    """Read or make the pilots, and print what they say."""
    from unicrs_rl.experiments.config import StatisticsConfig
    from unicrs_rl.experiments.power import SEEDS, Pilot, Question, ask, parse_differences
    from unicrs_rl.experiments.power_tables import print_power
    from unicrs_rl.judging.metrics import METRIC_BY_NAME

    if (verb.study is None) == (not verb.run):
        raise InputError("power: name a study (--study NAME) or run folders (--run DIR), one of the two")
    if not 0 < verb.power < 1:
        raise InputError(f"--power {verb.power}: must be between 0 and 1")
    if verb.workers is not None and verb.workers < 1:
        raise InputError("--workers: at least 1 is needed")
    if verb.level is not None and not 0 < verb.level <= 0.05:
        raise InputError(f"--level {verb.level}: must be above 0 and at most 0.05")
    seeds = SEEDS if verb.numbers is None else _numbers(verb.numbers)
    chosen = None if verb.metrics is None else [name.strip() for name in verb.metrics.split(",")]
    for name in chosen or ():
        METRIC_BY_NAME[name]
    pilots = [Pilot.read(path) for path in verb.run] if verb.run else _pilots(verb)
    found = []
    for pilot in pilots:
        config = pilot.config
        if chosen is not None:
            rules = StatisticsConfig.model_validate(
                config.statistics.model_dump() | {"primary": tuple(dict.fromkeys(chosen))}
            )
            config = config.model_copy(update={"statistics": rules})
        sizes = parse_differences(verb.difference or "", config.statistics.primary)
        question = Question(sizes, verb.power, verb.level, seeds)
        found.append(ask(Pilot(pilot.name, config, pilot.values), question))
    if verb.json:
        print(json.dumps({"pilots": found}))
    else:
        console = Console()
        print_power(found, console if console.is_terminal else Console(width=200))


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--numbers {text}: whole numbers above 0, separated by commas")
    return tuple(dict.fromkeys(map(int, parts)))


def _pilots(verb: Power) -> list[Pilot]:
    """The runs of a study's pilot; a small one is made where there is none."""
    from unicrs_rl.experiments.compare import compare, default_workers
    from unicrs_rl.experiments.power import Pilot, difference
    from unicrs_rl.experiments.run_folder import RunFolder
    from unicrs_rl.experiments.study import StudyFolder, plan_study

    assert verb.study is not None
    given = given_settings(verb, dialogues=verb.dialogues or PILOT_DIALOGUES)
    plan = plan_study(verb.study, given, verb.config)
    whole = StudyFolder(Path("runs") / plan.name)
    if verb.pilot is None and all(
        RunFolder(whole.run(name)).results.is_file()
        and difference(RunFolder.read(whole.run(name))[1], config) is None
        for name, config in plan.configs.items()
    ):
        return [
            Pilot.read(whole.run(name), f"{plan.name}: {name}").of(config, whole.run(name))
            for name, config in plan.configs.items()
        ]
    folder = StudyFolder(verb.pilot or Path("runs") / f"{plan.name}-pilot")
    if RunFolder(folder.path).config_file.is_file():
        raise InputError(f"--pilot {folder.path}: is the folder of a run, not of a study; --run reads it")
    if folder.study_file.is_file() and not all(folder.run(name).is_dir() for name in plan.configs):
        raise InputError(f"--pilot {folder.path}: is the folder of another study, or of one not finished")
    pilots = []
    for name, config in plan.configs.items():
        of = next(one.checkpoints for one in plan.study.run if one.name == name)
        there = RunFolder(folder.run(name))
        if not there.results.is_file():
            print(
                f"unicrs-rl: no pilot in {there.path}; making one of {config.dialogues} dialogues, "
                f"{config.train_dialogues} training dialogues and {len(config.seeds)} training seeds",
                file=sys.stderr,
            )
            with progress_bars(quiet=verb.json) as progress:
                compare(
                    config,
                    there.path,
                    "resume" if there.path.exists() else "refuse",
                    verb.workers or default_workers(),
                    progress=progress,
                    budget=given_budget(verb, config),
                    trained=None if of is None else RunFolder(folder.run(of)),
                )
        pilots.append(Pilot.read(there.path, f"{plan.name}: {name}").of(config, there.path))
    return pilots
