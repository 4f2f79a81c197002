"""The door: ``unicrs-rl <verb> …``.

Wrong use and wrong input end with exit code 2 and one line on standard error, a judge that never scored with
3, a run that stopped and can be resumed with 4. Results go to standard output, progress to standard error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from unicrs_rl.errors import InputError, Stopped, Unjudged, unknown

if TYPE_CHECKING:  # what it takes to run is imported by the command that runs it
    from unicrs_rl.experiments.config import RunConfig
    from unicrs_rl.language.ledger import Budget

_BOX = re.compile(r"[╭╮╰╯│─]+|-{5,}")  # of dashes where the output cannot show the others
_UNREADABLE = re.compile(
    r"Error parsing (--[\w-]+): .*(?:instantiated from|for int\(\) with base 10:) (.+?)\.?(?: Got.*)?$"
)


def _opt(about: str, kind: str = "", default: str = "") -> Any:
    """Help of an option; ``kind`` is what its value is called and ``default`` what holds without it."""
    hint = f"(default: {default})" if default else ""
    return arg(help=about, metavar=kind or None, help_behavior_hint=hint)


Text: TypeAlias = str | None  # None: not given on the command line
Number: TypeAlias = int | None
Real: TypeAlias = float | None
Folder: TypeAlias = Path | None


@dataclasses.dataclass(frozen=True)
class Backend:
    """Which language model is used."""

    llm: Annotated[
        Text, _opt("language model backend: embedded, transformers or openai", "NAME", "embedded")
    ] = None
    model: Annotated[
        Text, _opt("its model: a folder or hub name (transformers), a name (openai)", "MODEL")
    ] = None
    base_url: Annotated[
        Text, _opt("where an OpenAI-compatible endpoint is", "URL", "https://api.openai.com/v1")
    ] = None


@dataclasses.dataclass(frozen=True)
class Settings(Backend):
    """What decides the result of a run; anything not given comes from --config, or is the default."""

    world: Annotated[Text, _opt("movies, redial, lastfm, or the PATH of a folder", "NAME|PATH", "movies")] = (
        None
    )
    data: Annotated[Folder, _opt("folder with the data of redial or lastfm", "DIR")] = None
    corpus: Annotated[
        Folder, _opt("INSPIRED folder: warms the rso planner up on human strategies", "DIR")
    ] = None
    train_dialogues: Annotated[
        Number, _opt("training conversations per arm and seed", "N", "2000; with the batched engine 6000")
    ] = None
    seeds: Annotated[Text, _opt("training seeds, separated by commas", "LIST", "0,1,2; of train 0")] = None
    user: Annotated[Text, _opt("simulated seekers: latent or mcr", "KIND", "latent")] = None
    judge: Annotated[Text, _opt("rubric (rules) or prompted (the language model)", "NAME", "rubric")] = None
    reject: Annotated[
        Text, _opt("what a 'no' does to the candidates: filter, penalty, none or noisy", "SWITCH", "filter")
    ] = None
    protocol: Annotated[
        Text, _opt("how mcr turns count: default (T turns) or unicorn-code (T - 1)", "SWITCH", "default")
    ] = None
    prior: Annotated[
        Text, _opt("prior over items: fitted, transe, popularity or uniform", "SWITCH", "fitted")
    ] = None
    noise: Annotated[
        Real, _opt("chance that an mcr seeker's answer is flipped (with --reject noisy)", "P", "0")
    ] = None
    config: Annotated[Folder, _opt("TOML file with settings; what is given here wins over it", "FILE")] = None


@dataclasses.dataclass(frozen=True)
class Output:
    """How a run is written."""

    resume: Annotated[bool, _opt("go on with a run that was interrupted")] = False
    force: Annotated[bool, _opt("replace the run folder if it exists; nothing else is deleted")] = False
    workers: Annotated[
        Number, _opt("processes; no effect on results", "N", "2, or 1 on one core or with a real model")
    ] = None
    json: Annotated[bool, _opt("print one JSON object instead of tables")] = False


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a real language model may cost."""

    budget_usd: Annotated[Real, _opt("stop before more is spent, by the price table", "USD", "no limit")] = (
        None
    )
    budget_tokens: Annotated[Number, _opt("stop before more tokens go in and out", "N", "no limit")] = None
    budget_calls: Annotated[Number, _opt("stop before more answers are asked for", "N", "no limit")] = None


@dataclasses.dataclass(frozen=True)
class Compare(Limits, Output, Settings):
    """Train arms on the same seekers, evaluate them on the same held-out ones, and say who wins."""

    arms: Annotated[
        Text, _opt("arms to run, separated by commas", "LIST", "unified,rso,max-entropy,greedy,random")
    ] = None
    dialogues: Annotated[Number, _opt("held-out conversations per arm and training seed", "N", "400")] = None
    out: Annotated[Path, _opt("run folder to write", "DIR", "runs/compare")] = Path("runs/compare")


@dataclasses.dataclass(frozen=True)
class Train(Limits, Output, Settings):
    """Train an arm and keep its checkpoints."""

    arm: Annotated[str, _opt("arm to train: unified, unified-ppo, rso or rso-ppo", "NAME", "unified")] = (
        "unified"
    )
    reproduce: Annotated[
        Text, _opt("a published system: unicorn-code, unicorn-paper, ear, scpr or rso-paper", "NAME")
    ] = None
    stage: Annotated[
        Text, _opt("of rso: sft learns human strategies from --corpus, rl goes on", "sft|rl", "both")
    ] = None
    encoder: Annotated[
        Text, _opt("of rso's planner: small, minilm, or a Hugging Face folder or name", "NAME")
    ] = None
    planner: Annotated[
        Folder, _opt("run of --stage sft whose planner --stage rl goes on from", "RUN", "--out if it is one")
    ] = None
    labels: Annotated[
        Text, _opt("strategies that rso's planner tells apart: none (all 14), rso or inspired", "MAP", "none")
    ] = None
    turns: Annotated[
        Text, _opt("of --stage sft: utterance, or merged where a speaker goes on", "SWITCH", "utterance")
    ] = None
    out: Annotated[Path, _opt("run folder to write", "DIR", "runs/train")] = Path("runs/train")


@dataclasses.dataclass(frozen=True)
class Evaluate(Limits, Settings):
    """Evaluate a checkpoint, or an arm that needs no training, on held-out seekers."""

    run: Positional[
        Annotated[Folder, _opt("run folder made by train or compare, or one of its checkpoints", "RUN")]
    ] = None
    arm: Annotated[Text, _opt("arm to evaluate", "NAME", "the first in RUN that has a checkpoint")] = None
    split: Annotated[
        Literal["valid", "test"], _opt("which held-out conversations, or dialogues of --corpus", "", "test")
    ] = "test"
    dialogues: Annotated[Number, _opt("how many of them", "N", "every (seeker, target) pair once")] = None
    batch_size: Annotated[Number, _opt("held at once; no effect on results", "N", "128 or 512")] = None
    json: Annotated[bool, _opt("print one JSON object instead of a table")] = False


@dataclasses.dataclass(frozen=True)
class Read(Limits, Backend):
    """Measure how well a language model reads people: titles, and likes, in human dialogues."""

    corpus: Annotated[str, _opt("human dialogues that say what the seeker liked", "NAME", "redial")] = (
        "redial"
    )
    data: Annotated[Folder, _opt("folder with them", "DIR")] = None
    split: Annotated[
        Literal["train", "valid", "test"], _opt("which file of dialogues is read", "", "valid")
    ] = "valid"
    dialogues: Annotated[Number, _opt("how many of them, from the first on", "N", "all")] = None
    config: Annotated[Folder, _opt("TOML file with settings; what is given here wins over it", "FILE")] = None
    json: Annotated[bool, _opt("print one JSON object instead of tables")] = False


@dataclasses.dataclass(frozen=True)
class Bench(Settings):
    """Measure turns a second and peak memory of the batched engine, with a rule and with a policy."""

    arms: Annotated[Text, _opt("arms to measure", "LIST", "max-entropy,unified")] = None
    threads: Annotated[Number, _opt("threads to compute with", "N", "1")] = None
    json: Annotated[bool, _opt("print one JSON object instead of a table")] = False


@dataclasses.dataclass(frozen=True)
class Study(Limits, Output, Settings):
    """Run one of the RSO paper's experiments, or your own, with its tables and figures."""

    name: Positional[
        Annotated[Text, _opt("study to run, or a TOML file; without one, list them", "NAME|PATH.toml")]
    ] = None
    list: Annotated[bool, _opt("list the studies there are")] = False
    dialogues: Annotated[
        Number, _opt("held-out conversations per arm and training seed", "N", "as the study says")
    ] = None
    out: Annotated[Folder, _opt("folder to write", "DIR", "runs/NAME")] = None


@dataclasses.dataclass(frozen=True)
class Report:
    """Rebuild report.html from a run folder."""

    run: Positional[Annotated[Path, _opt("run folder made by compare or train", "RUN")]]
    json: Annotated[bool, _opt("print one JSON object")] = False


@dataclasses.dataclass(frozen=True)
class Worlds:
    """List the worlds with their sizes; with --world, read one; with --data alone, those in a folder."""

    world: Annotated[Text, _opt("one world only: its name, or the PATH of a folder", "NAME|PATH")] = None
    data: Annotated[Folder, _opt("folder with the world's data, or to look for worlds in", "DIR")] = None
    corpus: Annotated[Folder, _opt("INSPIRED folder: how well its dialogues link to the world", "DIR")] = None
    json: Annotated[bool, _opt("print one JSON object")] = False


@dataclasses.dataclass(frozen=True)
class Strategies:
    """List the conversational strategies, with category and meaning, and the maps between label sets."""

    json: Annotated[bool, _opt("print one JSON object")] = False


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Say which versions, optional extras and data are found."""

    data: Annotated[Folder, _opt("folder to look for data in", "DIR")] = None
    json: Annotated[bool, _opt("print one JSON object")] = False


_VERBS: dict[str, type] = {
    "compare": Compare,
    "train": Train,
    "evaluate": Evaluate,
    "read": Read,
    "bench": Bench,
    "study": Study,
    "report": Report,
    "worlds": Worlds,
    "strategies": Strategies,
    "doctor": Doctor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")  # our own line says what could not be had
    try:
        verb = _parse(sys.argv[1:] if arguments is None else list(arguments))
        _RUN[type(verb)](verb)
    except InputError as error:
        print(f"unicrs-rl: {error}", file=sys.stderr)
        return 2
    except Unjudged as error:
        print(f"unicrs-rl: {error}", file=sys.stderr)
        return 3
    except Stopped as error:
        print(f"unicrs-rl: {error}", file=sys.stderr)
        return 4
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
    kinds = [Annotated[kind, subcommand(name, description=kind.__doc__)] for name, kind in _VERBS.items()]
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


def _settings(verb: Settings, **more: Any) -> dict[str, Any]:
    """The settings that were given, without those that were not."""
    given = {f.name: getattr(verb, f.name) for f in dataclasses.fields(Settings) if f.name != "config"}
    found = {name: value for name, value in (given | more).items() if value is not None}
    model = {name: found.pop(name) for name in ("model", "base_url") if name in found}
    return found | ({"language_model": model} if model else {})


def _existing(verb: Compare | Train | Study, out: Path) -> Literal["refuse", "resume", "force"]:
    if verb.resume and verb.force:
        raise InputError("--resume and --force exclude each other")
    if verb.force and verb.config and verb.config.resolve().is_relative_to(out.resolve()):
        raise InputError(
            f"--config {verb.config}: lies in the folder that --force replaces; choose another --out"
        )
    return "resume" if verb.resume else "force" if verb.force else "refuse"


def _workers(verb: Output) -> int:
    from unicrs_rl.experiments.compare import default_workers

    if verb.workers is not None and verb.workers < 1:
        raise InputError("--workers: at least 1 is needed")
    return verb.workers or default_workers()


def _budget(verb: Limits, *configs: RunConfig) -> Budget:
    """What may be spent.

    Raises:
        InputError: if nothing can be, or a limit is none.
    """
    from unicrs_rl.language.embedded import EmbeddedModel
    from unicrs_rl.language.ledger import Budget, Price

    for limit in ("usd", "tokens", "calls"):
        value = getattr(verb, f"budget_{limit}")
        if value is None:
            continue
        if not value > 0:
            raise InputError(f"--budget-{limit}: must be above 0 (it is {value})")
        if all(config.llm == EmbeddedModel.name for config in configs):
            raise InputError(f"--budget-{limit}: the embedded language model costs nothing; it needs --llm")
    for config in configs if verb.budget_usd is not None else ():
        model = config.language_model.model
        if config.llm == EmbeddedModel.name or config.price != Price():
            continue
        raise InputError(
            f'--budget-usd: there is no price for {model!r}; in the file of --config, [prices."{model}"] '
            "gives input and output in USD for a million tokens"
        )
    return Budget(verb.budget_usd, verb.budget_tokens, verb.budget_calls)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Any]:
    """A function (what, done, total) that draws progress bars on standard error."""
    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if not tasks:  # not before, so that a complaint about the input stands alone
            bars.start()
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    log = logging.getLogger("unicrs_rl")
    told = _Told(bars.console if not quiet else Console(stderr=True))
    log.addHandler(told)
    try:
        yield show
    finally:
        log.removeHandler(told)
        if tasks:
            bars.stop()


class _Told(logging.Handler):
    """Prints what happens on the way above the progress bars."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(escape(f"unicrs-rl: {record.getMessage()}"), highlight=False, soft_wrap=True)


def _compare(verb: Compare) -> None:
    from unicrs_rl.experiments.compare import compare
    from unicrs_rl.experiments.config import resolve
    from unicrs_rl.experiments.costs import with_timings
    from unicrs_rl.experiments.results import check_judged
    from unicrs_rl.experiments.tables import print_results

    config = resolve(_settings(verb, arms=verb.arms, dialogues=verb.dialogues), verb.config)
    with _progress(quiet=verb.json) as progress:
        found, timings = compare(
            config,
            verb.out,
            _existing(verb, verb.out),
            workers=_workers(verb),
            progress=progress,
            budget=_budget(verb, config),
        )
    merged = with_timings(found, timings)
    if verb.json:
        print(json.dumps(merged))
    else:
        console = Console()
        print_results(merged, console if console.is_terminal else Console(width=200))
        report = escape(str(verb.out / "report.html"))
        console.print(f"\nThe report: {report}", highlight=False, soft_wrap=True)
    check_judged(found["arms"])


def _train(verb: Train) -> None:
    from unicrs_rl.experiments.compare import train_arm
    from unicrs_rl.experiments.config import resolve, trained_alone

    if verb.stage not in (None, "sft", "rl"):
        raise unknown("stage", verb.stage, ("sft", "rl"))
    if verb.stage == "sft":
        _train_planner(verb)
        return
    verb = _after_warm_up(verb)
    settings = _settings(verb, arms=verb.arm) | _planner_settings(verb)
    under = trained_alone(settings, verb.config, verb.reproduce)
    config = resolve(settings, verb.config, under, called={"arms": "--arm"})
    with _progress(quiet=verb.json) as progress:
        existing, budget = _existing(verb, verb.out), _budget(verb, config)
        made = train_arm(config, verb.out, existing, _workers(verb), progress, budget)
    if verb.json:
        print(json.dumps(made))
    else:
        for name in made["checkpoints"]:
            print(verb.out / name)
    if made["unscored"]:
        raise Unjudged(f"the judge gave no score in the training of {', '.join(made['unscored'])}")


def _planner_settings(verb: Train) -> dict[str, Any]:
    """Options of the rso arm as settings."""
    if verb.turns is not None:
        raise InputError(f"--turns {verb.turns}: is for --stage sft")
    own = {name: value for name in ("encoder", "labels") if (value := getattr(verb, name)) is not None}
    for option in ("stage", "planner", *own):
        if not verb.arm.startswith("rso") and getattr(verb, option) is not None:
            raise InputError(f"--{option}: is for --arm rso, not {verb.arm!r}")
    if verb.planner is not None and verb.corpus is not None:
        raise InputError("--planner: has learned from a corpus already; leave --corpus out")
    if verb.stage == "rl" and verb.planner is None and verb.corpus is None and verb.config is None:
        raise InputError(
            "--stage rl: goes on from a warmed-up planner; --planner RUN names a run of --stage sft, and "
            "--corpus DIR warms one up at the start (without --stage, a prior does)"
        )
    if verb.planner is not None and own:
        raise InputError(f"--{next(iter(own))}: the planner of --planner has its own")
    if verb.planner is not None:
        own["start"] = str(verb.planner)
    return {"arm": {verb.arm: own}} if own else {}


def _after_warm_up(verb: Train) -> Train:
    """``--stage rl`` with the folder of a supervised run for ``--out`` goes on from it, in ``OUT/rl``."""
    from unicrs_rl.experiments.supervised import is_supervised

    if verb.stage != "rl" or verb.planner is not None or not is_supervised(verb.out):
        return verb
    return dataclasses.replace(verb, planner=verb.out, out=verb.out / "rl")


def _train_planner(verb: Train) -> None:
    """Stage 1 of rso by itself, which has a corpus and no world."""
    from unicrs_rl.experiments.supervised import corpus_folder, resolve_supervised, train_planner

    if verb.arm != "rso":
        raise InputError(f"--stage sft: is for --arm rso, not {verb.arm!r}")
    if verb.planner is not None:
        raise InputError("--planner: --stage sft makes a new planner; --stage rl goes on from one")
    given = _settings(verb, reproduce=verb.reproduce)
    for name in given:
        if name not in ("corpus", "data", "seeds"):
            raise InputError(f"--{name.replace('_', '-')}: --stage sft has no use for it")
    corpus = corpus_folder(verb.corpus, verb.data)
    values = {"corpus": corpus, "seed": verb.seeds}
    values |= {name: getattr(verb, name) for name in ("encoder", "labels", "turns")}
    config = resolve_supervised({k: v for k, v in values.items() if v is not None}, verb.config)
    with _progress(quiet=verb.json) as progress:
        found = train_planner(config, verb.out, _existing(verb, verb.out), progress)
    if verb.json:
        print(json.dumps(found))
        return
    for split in ("train", "valid"):
        part = found[split]
        print(f"{split}: {part['samples']} samples of {part['dialogues']} dialogues")
        print("  " + ", ".join(f"{name} {count}" for name, count in part["class_counts"].items()))
        print("".join(f"  {note}\n" for note in part["notes"]), end="")
    _print_agreement(found["valid"])
    print(verb.out / "checkpoints" / "planner.safetensors")


def _print_agreement(found: dict[str, Any]) -> None:
    """How often the planner and the baselines choose as people did."""
    for name, part in {"planner": found, **found["baselines"]}.items():
        for measure, (low, high) in part["ci95"].items():
            print(f"{name:>10}  {measure:<9} {part[measure]:.4f}  [{low:.4f}, {high:.4f}]")


def _evaluate_planner(verb: Evaluate, run: Path) -> None:
    from unicrs_rl.experiments.supervised import corpus_folder, evaluate_planner
    from unicrs_rl.graphs.world import Split

    given = _settings(verb, config=verb.config, dialogues=verb.dialogues, batch_size=verb.batch_size)
    for name in given:
        if name not in ("corpus", "data"):
            option = name.replace("_", "-")
            raise InputError(f"--{option}: {run} holds a planner of --stage sft, which has no use for it")
    if verb.arm not in (None, "rso"):
        raise InputError(f"--arm {verb.arm}: {run} holds a planner of arm 'rso'")
    found = evaluate_planner(run, corpus_folder(verb.corpus, verb.data), Split(verb.split))
    if verb.json:
        print(json.dumps(found))
        return
    print(f"{found['split']}: {found['samples']} samples of {found['dialogues']} dialogues")
    print(f"{found['protocol']}; encoder {found['encoder']}, label map {found['labels']}")
    print("".join(f"{note}\n" for note in found["notes"]), end="")
    _print_agreement(found)


def _evaluate(verb: Evaluate) -> None:
    from unicrs_rl.experiments.results import check_judged
    from unicrs_rl.experiments.single import choose, evaluate_arm
    from unicrs_rl.experiments.supervised import is_supervised
    from unicrs_rl.graphs.world import Split

    if verb.run is not None and is_supervised(verb.run):
        _evaluate_planner(verb, verb.run)
        return
    contender = choose(_settings(verb), verb.config, verb.run, verb.arm)
    with _progress(quiet=verb.json) as progress:
        budget = _budget(verb, contender.config)
        found = evaluate_arm(contender, Split(verb.split), verb.dialogues, verb.batch_size, progress, budget)
    if verb.json:
        print(json.dumps(found))
    else:
        _print_metrics(found)
    check_judged({found["arm"]: found})


def _print_metrics(found: dict[str, Any]) -> None:
    """What an evaluation found, line by line: means with their intervals and, if not all, their dialogues."""
    from unicrs_rl.experiments.results import missing_scores

    missing = missing_scores({found["arm"]: found})
    rest = {name: value for name, value in found.items() if name not in ("ci95", "counts", "unscored")}
    for name, value in rest.items():
        shown = "–" if value is None else f"{value:.4f}" if isinstance(value, float) else value
        spread = "  [{:.4f}, {:.4f}]".format(*found["ci95"][name]) if found["ci95"].get(name) else ""
        count = found["counts"].get(name, found["dialogues"])
        print(f"{name:>22}  {shown}{spread}{'' if count == found['dialogues'] else f'  (n={count})'}")
    if missing:
        print(f"{missing}.")


def _read(verb: Read) -> None:
    from unicrs_rl.experiments.config import resolve
    from unicrs_rl.experiments.reading import read_people
    from unicrs_rl.experiments.tables import print_reading

    given = {f.name: getattr(verb, f.name) for f in dataclasses.fields(Backend)} | {"data": verb.data}
    found = {name: value for name, value in given.items() if value is not None}
    model = {name: found.pop(name) for name in ("model", "base_url") if name in found}
    config = resolve(
        found | {"world": verb.corpus} | ({"language_model": model} if model else {}), verb.config
    )
    with _progress(quiet=verb.json) as progress:
        measured = read_people(config, verb.split, verb.dialogues, _budget(verb, config), progress)
    if verb.json:
        print(json.dumps(measured))
    else:
        console = Console()
        print_reading(measured, console if console.is_terminal else Console(width=200))


def _bench(verb: Bench) -> None:
    from unicrs_rl.experiments.bench import bench
    from unicrs_rl.experiments.config import resolve

    arms = tuple(verb.arms.split(",")) if verb.arms is not None else ("max-entropy", "unified")
    if verb.user not in (None, "mcr"):
        raise InputError(f"--user {verb.user}: bench measures the batched engine, which has mcr seekers")
    config = resolve(_settings(verb, arms=arms), verb.config, under={"user": "mcr", "surface": "semantic"})
    threads = 1 if verb.threads is None else verb.threads
    if threads < 1:
        raise InputError(f"--threads: must be at least 1 (it is {threads})")
    with _progress(quiet=verb.json) as progress:
        found = bench(config, arms, threads, progress)
    if verb.json:
        print(json.dumps(found))
        return
    for arm, speeds in found.pop("arms").items():
        for batch, speed in speeds.items():
            print(f"{arm:>14}  batch {batch:>5}  {speed['turns_per_second']:>10,.0f} turns/s", end="")
            print(f"  {speed['episodes_per_second']:>9,.0f} episodes/s")
    for name, value in found.items():
        print(f"{name:>22}  {value}")


def _study(verb: Study) -> None:
    from unicrs_rl.experiments.results import check_judged
    from unicrs_rl.experiments.study import list_studies, plan_study, run_study
    from unicrs_rl.experiments.tables import print_tables

    if verb.name is None or verb.list:
        _print_studies(list_studies(), verb.json)
        return
    plan = plan_study(verb.name, _settings(verb, dialogues=verb.dialogues), verb.config)
    out = verb.out or Path("runs") / plan.name
    existing = _existing(verb, out)
    if existing == "force" and Path(verb.name).resolve().is_relative_to(out.resolve()):
        raise InputError(f"{verb.name}: lies in the folder that --force replaces; choose another --out")
    with _progress(quiet=verb.json) as progress:
        budget = _budget(verb, *plan.configs.values())
        done = run_study(plan, out, existing, _workers(verb), progress, budget)
    if verb.json:
        print(json.dumps(done.results))
    else:
        console = Console()
        print_tables(done.tables, console if console.is_terminal else Console(width=200))
        console.print(f"\nThe report: {escape(str(out / 'report.html'))}", highlight=False, soft_wrap=True)
    for run in done.runs.values():
        check_judged(run.found["arms"])


def _print_studies(studies: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"studies": studies}))
        return
    for study in studies:
        print(f"{study['name']:>15}  {study['title']}")


def _report(verb: Report) -> None:
    from unicrs_rl.experiments.report import write_report
    from unicrs_rl.experiments.run_folder import RunFolder

    folder, _ = RunFolder.read(verb.run)
    write_report(folder)
    print(json.dumps({"report": str(folder.report)}) if verb.json else folder.report)


def _worlds(verb: Worlds) -> None:
    from unicrs_rl.experiments.inventory import world_sizes

    rows = world_sizes(verb.world, verb.data, verb.corpus)
    if verb.json:
        print(json.dumps({"worlds": rows}))
        return
    for row in rows:
        print(row.pop("name"))
        for name, value in row.items():
            print(f"  {name}: {'; '.join(value) if isinstance(value, list) else value}")


def _strategies(verb: Strategies) -> None:
    from unicrs_rl.experiments.inventory import strategies

    found = strategies()
    if verb.json:
        print(json.dumps(found))
        return
    print("Strategies (RSO, Table I)")
    for entry in found["strategies"]:
        print(f"  {entry['name']:<23}  {entry['category']:<22}  {entry['description']}")
    print("Labels of INSPIRED")
    for entry in found["labels"]:
        print(f"  {entry['name']:<23}  {entry['raw']}")
    print("Label maps")
    for name, label_map in found["maps"].items():
        merged = ", ".join(f"{label} -> {target}" for label, target in label_map["merged"].items())
        print(f"  {name:<8}  {len(label_map['labels'])} labels  {merged or 'all as they are'}")


def _doctor(verb: Doctor) -> None:
    from unicrs_rl.experiments.inventory import examine

    found = examine(verb.data)
    if verb.json:
        print(json.dumps(found))
        return
    for section, entries in found.items():
        print(section)
        for name, value in entries.items():
            print(f"  {name}: {value}")


_RUN: dict[type, Any] = {
    Compare: _compare,
    Train: _train,
    Evaluate: _evaluate,
    Read: _read,
    Bench: _bench,
    Study: _study,
    Report: _report,
    Worlds: _worlds,
    Strategies: _strategies,
    Doctor: _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
