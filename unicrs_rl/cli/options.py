"""What the verbs share: options, and what is made of them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from tyro.conf import UseAppendAction, arg

from unicrs_rl.errors import InputError

if TYPE_CHECKING:  # what it takes to run is imported by the command that runs it
    from unicrs_rl.experiments.config import RunConfig
    from unicrs_rl.language.ledger import Budget


def opt(about: str, kind: str = "", default: str = "") -> Any:
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
        Text, opt("language model backend: embedded, transformers or openai", "NAME", "embedded")
    ] = None
    model: Annotated[
        Text, opt("its model: a folder or hub name (transformers), a name (openai)", "MODEL")
    ] = None
    base_url: Annotated[
        Text, opt("where an OpenAI-compatible endpoint is", "URL", "https://api.openai.com/v1")
    ] = None


@dataclasses.dataclass(frozen=True)
class Settings(Backend):
    """What decides the result of a run; anything not given comes from --config, or is the default."""

    world: Annotated[Text, opt("movies, redial, lastfm, or the PATH of a folder", "NAME|PATH", "movies")] = (
        None
    )
    data: Annotated[Folder, opt("folder with the data of redial or lastfm", "DIR")] = None
    corpus: Annotated[Folder, opt("INSPIRED folder: warms the rso planner up on human strategies", "DIR")] = (
        None
    )
    train_dialogues: Annotated[
        Number, opt("training conversations per arm and seed", "N", "2000; with the batched engine 6000")
    ] = None
    seeds: Annotated[Text, opt("training seeds, separated by commas", "LIST", "0,1,2; of train 0")] = None
    user: Annotated[
        Text,
        opt("seekers: latent, mcr, lm-reference, lm-free, lm-latent or interplay:RUN", "KIND", "latent"),
    ] = None
    effects: Annotated[
        Text, opt("of strategies on latent seekers: human, strong (5 times) or none", "SWITCH", "human")
    ] = None
    effects_table: Annotated[Folder, opt("coefficients written by calibrate", "FILE", "packaged")] = None
    population: Annotated[
        Text, opt("plain, or holistic: seekers leave the path as people do", "NAME", "plain")
    ] = None
    latent: Annotated[
        UseAppendAction[tuple[str, ...]],
        opt(
            "a hidden variable: a number pins it, or sweep:A,B,… normal:MEAN,SD uniform:LOW,HIGH; repeatable",
            "NAME=VALUE",
        ),
    ] = ()
    recsim: Annotated[Folder, opt("of arm recsim: run of train-simulator --role recommender", "RUN")] = None
    judge: Annotated[Text, opt("rubric (rules) or prompted (the language model)", "NAME", "rubric")] = None
    reject: Annotated[
        Text, opt("what a 'no' does to the candidates: filter, penalty, none or noisy", "SWITCH", "filter")
    ] = None
    protocol: Annotated[
        Text, opt("how mcr turns count: default (T turns) or unicorn-code (T - 1)", "SWITCH", "default")
    ] = None
    prior: Annotated[
        Text, opt("prior over items: fitted, transe, popularity or uniform", "SWITCH", "fitted")
    ] = None
    noise: Annotated[
        Real, opt("chance that an mcr seeker's answer is flipped (with --reject noisy)", "P", "0")
    ] = None
    config: Annotated[Folder, opt("TOML file with settings; what is given here wins over it", "FILE")] = None


@dataclasses.dataclass(frozen=True)
class Existing:
    """What to do where the run folder is there already."""

    resume: Annotated[bool, opt("go on with a run that was interrupted")] = False
    force: Annotated[bool, opt("replace the run folder if it exists; nothing else is deleted")] = False


@dataclasses.dataclass(frozen=True)
class Output(Existing):
    """How a run is written."""

    workers: Annotated[
        Number, opt("processes; no effect on results", "N", "2, or 1 on one core or with a real model")
    ] = None
    json: Annotated[bool, opt("print one JSON object instead of tables")] = False


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a real language model may cost."""

    budget_usd: Annotated[Real, opt("stop before more is spent, by the price table", "USD", "no limit")] = (
        None
    )
    budget_tokens: Annotated[Number, opt("stop before more tokens go in and out", "N", "no limit")] = None
    budget_calls: Annotated[Number, opt("stop before more answers are asked for", "N", "no limit")] = None


def given_settings(verb: Settings, **more: Any) -> dict[str, Any]:
    """The settings that were given, without those that were not.

    Raises:
        InputError: if a hidden variable is set in a way that cannot be read.
    """
    given = {f.name: getattr(verb, f.name) for f in dataclasses.fields(Settings) if f.name != "config"}
    found = {name: value for name, value in (given | more).items() if value is not None}
    model = {name: found.pop(name) for name in ("model", "base_url") if name in found}
    seekers = given_seekers(verb)
    for name in ("effects", "effects_table", "population", "latent"):
        found.pop(name, None)
    if (run := found.pop("recsim", None)) is not None:
        found["arm"] = {**found.get("arm", {}), "recsim": {"run": str(run)}}
    tables = {"language_model": model, "seekers": seekers}
    return found | {name: table for name, table in tables.items() if table}


def given_seekers(verb: Settings) -> dict[str, Any]:
    """What was given of the table ``[seekers]``."""
    from unicrs_rl.simulators.settings import parse_latent

    try:
        settings = [parse_latent(text) for text in verb.latent]
    except ValueError as error:
        raise InputError(f"--latent {error}") from None
    latents = dict(settings)
    for name in latents:
        if sum(name == other for other, _ in settings) > 1:
            raise InputError(
                f"--latent {name}: given more than once; one value after the other is sweep:A,B,…"
            )
    given = {
        "effects": verb.effects,
        "table": verb.effects_table,
        "population": verb.population,
        "latents": latents or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def on_existing(verb: Existing, out: Path) -> Literal["refuse", "resume", "force"]:
    """What to do where the run folder is there already.

    Raises:
        InputError: if it is to be both resumed and replaced, or holds the file of settings.
    """
    if verb.resume and verb.force:
        raise InputError("--resume and --force exclude each other")
    config: Path | None = getattr(verb, "config", None)
    if verb.force and config and config.resolve().is_relative_to(out.resolve()):
        raise InputError(f"--config {config}: lies in the folder that --force replaces; choose another --out")
    return "resume" if verb.resume else "force" if verb.force else "refuse"


def worker_count(verb: Output) -> int:
    """Processes to use.

    Raises:
        InputError: if it is less than one.
    """
    from unicrs_rl.experiments.compare import default_workers

    if verb.workers is not None and verb.workers < 1:
        raise InputError("--workers: at least 1 is needed")
    return verb.workers or default_workers()


def given_budget(verb: Limits, *configs: RunConfig) -> Budget:
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
def progress_bars(quiet: bool) -> Iterator[Any]:
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
