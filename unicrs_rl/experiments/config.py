"""Settings of a run: one closed model, from the command line, a TOML file, or both."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from unicrs_rl.errors import InputError, explain, unknown
from unicrs_rl.experiments import planted
from unicrs_rl.experiments.shipped import presets
from unicrs_rl.experiments.statistics.families import Family
from unicrs_rl.graphs.belief import Reject, Scoring
from unicrs_rl.graphs.candidates import AskScore, Question, Switches
from unicrs_rl.graphs.embeddings import EmbeddingConfig
from unicrs_rl.graphs.planted import PROBLEMS
from unicrs_rl.graphs.prior import PriorKind
from unicrs_rl.graphs.worlds import worlds
from unicrs_rl.judging.judges import judges
from unicrs_rl.judging.metrics import METRIC_BY_NAME, METRICS, SATISFIED_ABOVE
from unicrs_rl.judging.reward import Signal
from unicrs_rl.language.actor import actors
from unicrs_rl.language.backends import language_models
from unicrs_rl.language.boundary import LanguageModelConfig
from unicrs_rl.language.experts import Experts, Planning, Volunteering
from unicrs_rl.language.ledger import Price
from unicrs_rl.policy.arms import check_settings, given, kind, learns, policy_class
from unicrs_rl.policy.control import POINTS, Encoder, Point
from unicrs_rl.simulators.populations import seeker_kind
from unicrs_rl.simulators.protocol import Protocol
from unicrs_rl.simulators.settings import Effects, Population, SeekerConfig

DEFAULT_ARMS = ("unified", "rso", "max-entropy", "greedy", "random")

OPTIONS = (
    "world",
    "data",
    "corpus",
    "arms",
    "dialogues",
    "train_dialogues",
    "seeds",
    "user",
    "llm",
    "judge",
    "reject",
    "protocol",
    "prior",
    "noise",
)
"""Settings that the command line has an option for, which messages then name."""
_SEEKER_OPTIONS: dict[tuple[str, ...], str] = {
    ("seekers", "effects"): "--effects",
    ("seekers", "table"): "--effects-table",
    ("seekers", "population"): "--population",
    ("seekers", "latents"): "--latent",
}
"""Those of a table."""

MCR_DIALOGUES, MCR_BATCH = 6000, 64
"""Training conversations of an arm that is trained alone with the batched engine, and how many at once."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RewardConfig(_Closed):
    """What learners are rewarded with."""

    signal: Signal = Field(Signal.SHARED, description="shared by both arms, or each paper's own")
    judge_weight: float = Field(0.5, ge=0, description="weight of the change of the judge's score (shared)")
    rapport_weight: float = Field(
        0.0,
        ge=0,
        description="weight of how much better the seeker rates the recommender at the end of a dialogue",
    )
    satisfied_above: float = Field(
        SATISFIED_ABOVE,
        ge=1,
        le=5,
        description="tau of Conv-SR; under the published signal an RSO training dialogue ends above it",
    )


class StatisticsConfig(_Closed):
    """How a comparison is decided. Written down before it is run."""

    primary: tuple[str, ...] = Field(
        ("sr@15", "at"), min_length=1, description="metrics that decide, corrected for their number (Holm)"
    )
    family: Family = Field(
        Family.PAIR,
        description="comparisons that decide on each of them: pair (of the first two arms), first (of the "
        "first arm with every other) or all",
    )
    level: float = Field(
        0.05, gt=0, le=0.05, description="chance of a false positive over all of them; intervals are at 95%"
    )
    looks: int = Field(
        1, ge=1, le=20, description="how often the held-out dialogues are looked at, at equal steps"
    )

    @field_validator("primary")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("the same metric twice")
        return value


class Surface(StrEnum):
    """Where training conversations are held."""

    TEXT = "text"
    """In words: said, read, grounded and judged, as they are evaluated (default)."""
    SEMANTIC = "semantic"
    """As acts only, in the batched engine: thousands of turns a second, for ``mcr`` seekers and arms
    that decide every column. Nobody judges, so the reward is the task's."""


class JudgeWhen(StrEnum):
    """When conversations are judged in evaluation; in training it is after every turn, for the reward."""

    TURN = "turn"
    """After every turn (default): Judge/turn needs it."""
    END = "end"
    """After the last one: a fraction of a prompted judge's calls, and no Judge/turn."""


class TrainTargets(StrEnum):
    """What ``mcr`` seekers want in training conversations."""

    PRIOR = "prior"
    """Items drawn from the prior of each seeker (default): what a policy then meets is distributed as
    it believes, and there is always more of it."""
    INTERACTIONS = "interactions"
    """The training interactions themselves, as UNICORN does."""


class Selection(StrEnum):
    """Which checkpoint of an ``mcr`` training is kept."""

    VALID = "valid"
    """The one with the fewest mean turns on a sample of the validation split (default)."""
    TEST = "test"
    """The same on the *test* split: what UNICORN's code does. Its results are not held-out results."""
    LAST = "last"
    """The last one."""


class RunConfig(_Closed):
    """Everything that decides a run's result. ``config.toml`` of a run folder is this, resolved."""

    world: str = Field("movies", description="movies, redial, lastfm, or the path of a folder")
    data: Path | None = Field(None, description="folder with the named world's data")
    corpus: Path | None = Field(None, description="INSPIRED folder; warms the planner up on human strategies")
    arms: tuple[str, ...] = Field(DEFAULT_ARMS, min_length=1, description="arms to run, in order")
    dialogues: int = Field(400, ge=1, description="held-out conversations per arm and training seed")
    train_dialogues: int = Field(2000, ge=0, description="training conversations per learning arm and seed")
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1, description="training seeds")
    user: str = Field("latent", description="kind of simulated seeker")
    seekers: SeekerConfig = Field(default=SeekerConfig(), description="how the simulated seekers behave")
    trained_on: str | None = Field(
        None,
        description="kind of seekers that the arms were made for, where it is another: they come from "
        "another run's checkpoints, as in studies that cross seekers",
    )
    llm: str = Field("embedded", description="language model backend")
    judge: str = Field("rubric", description="judge")
    judge_samples: int = Field(
        10, ge=1, le=100, description="k, answers that the prompted judge's score averages"
    )
    judge_when: JudgeWhen = Field(JudgeWhen.TURN, description="when conversations are judged in evaluation")
    limit: int = Field(15, ge=1, le=100, description="T, system turns allowed")
    slate: int = Field(10, ge=1, le=50, description="items a recommendation shows")
    protocol: Protocol = Field(Protocol.DEFAULT, description="how turns are counted")
    reject: Reject = Field(Reject.FILTER, description="what a 'no' does to the candidates")
    scoring: Scoring = Field(Scoring.POSTERIOR, description="how candidates are weighed")
    ask: AskScore = Field(AskScore.WEIGHTED_ENTROPY, description="by what questions are ranked")
    question: Question = Field(Question.BINARY, description="what a question names")
    choices: int = Field(3, ge=2, le=20, description="attributes that a multi-choice question names")
    volunteered: bool = Field(
        True, description="weigh items by the chance that an mcr seeker volunteers just the attribute it did"
    )
    noise: float = Field(0.0, ge=0.0, lt=0.5, description="chance that an mcr seeker's answer is flipped")
    prior: PriorKind = Field(PriorKind.FITTED, description="prior over items")
    exclude_history: bool = Field(True, description="never recommend what the seeker is known to have")
    surface: Surface = Field(Surface.TEXT, description="where training conversations are held")
    train_targets: TrainTargets = Field(
        TrainTargets.PRIOR, description="what mcr seekers want in training conversations"
    )
    wish_temperature: float = Field(
        1.4,
        gt=0,
        le=100,
        description="flattens the prior that training targets are drawn from; 1 leaves it as it is",
    )
    select: Selection = Field(Selection.VALID, description="which checkpoint of an mcr training is kept")
    recommend_above: float | None = Field(
        None, gt=0, lt=1, description="confidence for recommending; None: fitted on the validation split"
    )
    train_batch: int = Field(16, ge=1, description="training conversations led at once")
    world_seed: Seed = Field(0, description="seed of splits, generated seekers and embeddings")
    evaluation_seed: Seed = Field(0, description="seed of the held-out conversations")
    misremembered: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of what the embedded model remembers of an item, without being shown facts, "
        "that is wrong (an assumption)",
    )
    embeddings: EmbeddingConfig = Field(default=EmbeddingConfig())
    language_model: LanguageModelConfig = Field(default=LanguageModelConfig())
    prices: Mapping[str, Price] = Field(
        default_factory=dict, description="by a language model's name, in USD for a million tokens"
    )
    experts: Experts = Field(default=Experts(), description="experts of every arm, unless an arm has its own")
    reward: RewardConfig = Field(default=RewardConfig())
    statistics: StatisticsConfig = Field(default=StatisticsConfig())
    arm: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict,
        description="settings of single arms, by arm name; of a variant, NAME@VARIANT, over those of NAME",
    )

    @field_validator("arms", "seeds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Lists may be written with commas."""
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("arms", "seeds")
    @classmethod
    def _distinct(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(value)) != len(value):
            raise ValueError("the same entry twice")
        return value

    @property
    def met(self) -> str:
        """The kind of seekers that the arms are made for."""
        return self.trained_on or self.user

    @property
    def switches(self) -> Switches:
        """How answers are believed and questions ranked.

        Only ``mcr`` seekers volunteer any attribute of their target with equal chance.
        """
        return Switches(
            reject=self.reject,
            scoring=self.scoring,
            ask=self.ask,
            question=self.question,
            choices=self.choices,
            volunteered=self.volunteered and self.met == "mcr",
            noise=self.noise,
        )

    def settings(self, arm: str) -> dict[str, Any]:
        """The settings of an arm; of a variant, over what its name gives it, over those of the arm."""
        both = over(over(self.arm.get(kind(arm), {}), given(arm)), self.arm.get(arm, {}))
        return {name: value for name, value in both.items() if name != "experts"}

    def experts_of(self, arm: str) -> Experts:
        """The experts an arm works with: its own settings over what it needs over those of all arms."""
        crew = {**self.experts.model_dump(), **policy_class(arm).experts}
        for name in (kind(arm), arm):
            crew |= self.arm.get(name, {}).get("experts", {})
        return Experts.model_validate(crew)

    def trains(self, arm: str) -> bool:
        """Whether an arm is to be trained: not if it learns strategies and its planner is switched off."""
        idle = self.experts_of(arm).planner is Planning.OFF and not policy_class(arm).complete
        return learns(arm) and not idle

    @property
    def model_name(self) -> str:
        """The language model as results call it: the backend and, without its folder, the model."""
        model = self.language_model.model
        return f"{self.llm} {Path(model).name if Path(model).is_dir() else model}".strip()

    @property
    def seekers_name(self) -> str:
        """The kind of seekers as results call it: without the folder of a run that it is made from."""
        name, colon, argument = self.user.partition(":")
        return f"{name}{colon}{Path(argument).name}" if colon else name

    @property
    def price(self) -> Price:
        """Of the language model; nothing where none is given."""
        return self.prices.get(self.language_model.model, Price())

    def toml(self) -> str:
        """This configuration as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


_REGISTRIES: dict[str, Any] = {"judge": judges, "llm": language_models}


def resolve(
    values: Mapping[str, Any],
    file: Path | None = None,
    under: Mapping[str, Any] | None = None,
    called: Mapping[str, str] | None = None,
) -> RunConfig:
    """A configuration from explicit values over those of a TOML file over the defaults.

    Paths become absolute, so that what a run stores holds in whatever directory a later command runs.

    Args:
        under: settings, such as those of an earlier run, that come below the file and above the defaults.
        called: what explicit values are called in messages, where that is not ``--`` and their name.

    Raises:
        InputError: naming the option, or the file and the setting, at fault.
    """
    settings = read_settings(file) if file else {}
    for name in settings:
        if name not in RunConfig.model_fields:
            raise InputError(f"{file}: {unknown('setting', name, RunConfig.model_fields)}")

    def place(*path: str) -> str:
        """Where a setting stands, as the user knows it."""
        if path[:2] in _SEEKER_OPTIONS and path[1] in values.get(path[0], {}):
            return _SEEKER_OPTIONS[path[:2]]
        if path[0] not in values:
            return ": ".join((*((str(file),) if path[0] in settings else ()), ".".join(path)))
        if len(path) > 1 or path[0] not in OPTIONS:
            return ".".join(path)
        return (called or {}).get(path[0], f"--{path[0].replace('_', '-')}")

    try:
        config = RunConfig.model_validate(_planted(over(over(under or {}, settings), values)))
    except ValidationError as error:
        path = [part for part in error.errors()[0]["loc"] if isinstance(part, str)]
        raise InputError(f"{place(*path)}: {explain(error)}") from None
    _check_names(config, place)
    with _at(place("experts", "actor")):
        actors[config.experts.actor]
    _check_together(config)
    with _at(str(file)) if "arm" in settings and "arm" not in values else nullcontext():
        for arm in config.arm:
            check_settings(arm, config.settings(arm))
        for arm in dict.fromkeys((*config.arm, *config.arms)):
            _check_experts(config, arm)
    _check_points(config)
    return _anchored(config)


def _planted(given: dict[str, Any]) -> dict[str, Any]:
    """In a planted world, what is given above the settings that the world is meant for."""
    return over(planted.settings(given["world"]), given) if given.get("world") in PROBLEMS else given


def over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Settings above others; in a table, such as ``[arm.unified]``, setting by setting."""
    both = {name: over(lower[name], value) for name, value in upper.items() if _tables(lower, name, value)}
    return {**lower, **upper, **both}


def _tables(lower: Mapping[str, Any], name: str, value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(lower.get(name), Mapping)


def _check_names(config: RunConfig, place: Callable[..., str]) -> None:
    """Everything that is called by a name has to be known by it."""
    for name, registry in _REGISTRIES.items():
        with _at(place(name)):
            registry[getattr(config, name)]
    with _at(place("user")):
        kind = seeker_kind(config.user)
    with _at(place("trained_on")):
        seeker_kind(config.met)
    for name in config.seekers.latents:
        with _at(place("seekers", "latents")):
            if not kind.hidden:
                raise InputError(f"{config.user} seekers have no hidden variables")
            if name not in kind.hidden:
                raise unknown("hidden variable", name, kind.hidden)
    for name, default in _OF_FEELING_SEEKERS.items():
        if not kind.hidden and getattr(config.seekers, name) != default:
            raise InputError(
                f"{place('seekers', name)}: {config.user} seekers know nothing of it; latent ones do"
            )
    list(METRICS)  # all are measured in every dialogue, so that none of another package may be broken
    for name in config.statistics.primary:
        with _at(place("statistics", "primary")):
            METRIC_BY_NAME[name]
    table = config.seekers.table
    if table is not None and not table.expanduser().is_file():
        raise InputError(
            f"{place('seekers', 'table')}: {table}: no such file; unicrs-rl calibrate writes one"
        )
    with _at(place("arms")):
        for arm in config.arms:
            policy_class(arm)
            _check_variant(config, arm)


def _check_variant(config: RunConfig, arm: str) -> None:
    """An arm that its name alone would make the same as another has to be meant so.

    A point of the grid whose name is misspelt would be all joint, and a variant without a table of its own
    is its arm once more, as when an arm is compared with itself.
    """
    name, _, variant = arm.partition("@")
    idle = [
        other.partition("@")[2]
        for other in config.arm
        if other not in config.arms and other.startswith(f"{name}@")
    ]
    if name == "grid":
        if given(arm) or any(switch in config.arm.get(arm, {}) for switch in Point.model_fields):
            return
        own = f'a point of your own needs a switch in [arm."{arm}"], such as encoder = "text"'
        if variant:
            raise InputError(f"{unknown('point', variant, {*POINTS, *idle})} ({own})")
        raise InputError(f"arm 'grid' is no point by itself; name one, as grid@{min(POINTS)} ({own})")
    if not variant or arm in config.arm:
        return
    points = [point for point, where in POINTS.items() if where.arm == "grid"]
    for system, others in ((name, idle), ("grid", points)):
        if close := get_close_matches(variant, others, n=1, cutoff=0.7):
            raise InputError(
                f"arm {arm!r} has no settings, so that it is {name} once more; "
                f"did you mean {system}@{close[0]}?"
            )


def _check_experts(config: RunConfig, arm: str) -> None:
    """The experts of an arm, which its own table may set."""
    for name in (kind(arm), arm):
        if not isinstance(config.arm.get(name, {}).get("experts", {}), Mapping):
            raise InputError(f'arm.{name}.experts: must be a table, such as {{ planner = "off" }}')
    try:
        with _at(f"arm.{arm}.experts.actor"):
            actors[config.experts_of(arm).actor]
    except ValidationError as error:
        name = ".".join(("arm", arm, "experts", *map(str, error.errors()[0]["loc"])))
        raise InputError(f"{name}: {explain(error)}") from None
    if (
        config.surface is Surface.SEMANTIC
        and config.experts_of(arm).volunteer is not Volunteering.OFF
        and arm in config.arms
    ):
        raise InputError(f"arm.{arm}.experts.volunteer: surface 'semantic' is without words to tell it in")


def _check_points(config: RunConfig) -> None:
    """Arms of the grid have to be possible before these seekers."""
    for arm in config.arms:
        made = policy_class(arm).Config
        if not issubclass(made, Point):
            continue
        check_settings(arm, config.settings(arm))
        if reason := made.model_validate(config.settings(arm)).impossible(seeker_kind(config.met).strategic):
            raise InputError(f"arm.{arm}: {reason}")
        if config.experts_of(arm).planner is Planning.OFF:
            raise InputError(
                f"arm.{arm}.experts.planner: 'off' is not for the grid; set control.strategy = \"expert\""
            )


_OF_FEELING_SEEKERS: dict[str, Any] = {
    "effects": Effects.HUMAN,
    "table": None,
    "population": Population.PLAIN,
    "off_path": None,
}
"""Settings of seekers that mean something only to those with hidden variables, with what holds elsewhere."""
_ENGINE_ONLY: dict[str, Any] = {
    "protocol": Protocol.DEFAULT,
    "scoring": Scoring.POSTERIOR,
    "question": Question.BINARY,
}
"""Switches that only the batched engine knows, with what holds elsewhere."""


def _check_together(config: RunConfig) -> None:
    """Settings that exclude each other."""
    if config.llm == "embedded" and config.language_model.model:
        raise InputError(
            f"--model {config.language_model.model}: needs --llm transformers or --llm openai; "
            "the embedded language model is no other"
        )
    if config.statistics.looks > max(1, config.dialogues // 2):
        raise InputError(
            f"statistics.looks: {config.statistics.looks} looks at {config.dialogues} dialogues; "
            "each needs two more to look at"
        )
    _check_seekers(config)
    if config.surface is Surface.SEMANTIC:
        _check_without_words(config)
        return
    for name, default in _ENGINE_ONLY.items():
        if getattr(config, name) is not default:
            raise InputError(
                f"{name}: '{getattr(config, name)}' needs the batched engine, which train, evaluate and "
                "bench use with --user mcr and an arm that decides everything"
            )
    if config.ask is AskScore.SIMILARITY:
        raise InputError("ask: 'similarity' needs the batched engine (--user mcr)")


def _check_without_words(config: RunConfig) -> None:
    """What the semantic surface is for."""
    if config.user != "mcr":
        raise InputError(f"surface: 'semantic' is for mcr seekers (the user is {config.user!r})")
    for arm in config.arms:
        if not policy_class(arm).complete:
            raise InputError(f"surface: 'semantic' is without words, which arm {arm!r} needs")
        if (seen := config.settings(arm).get("encoder")) in (Encoder.TEXT, Encoder.BOTH):
            raise InputError(
                f"arm.{arm}.encoder: {seen!r} reads words, and surface 'semantic' is without them; "
                'set surface = "text", or encoder = "graph"'
            )


def _check_seekers(config: RunConfig) -> None:
    """What only some kinds of seekers do."""
    if config.noise and config.user != "mcr":
        raise InputError(f"noise: {config.user} seekers do not answer with noise; only mcr seekers do")
    if config.reject is Reject.NOISY and not config.noise:
        raise InputError("reject: 'noisy' needs --noise above 0: without noise every answer is certain")
    if config.reject is Reject.NOISY and config.scoring is Scoring.UNICORN:
        raise InputError("reject: 'noisy' needs scoring 'posterior': UNICORN's scores are no chances")
    if config.reward.rapport_weight and not seeker_kind(config.user).rates:
        raise InputError(
            f"reward.rapport_weight: {config.user} seekers rate nobody, so there is no rapport to reward; "
            "latent ones do"
        )


def by_engine(values: Mapping[str, Any], file: Path | None, under: Mapping[str, Any]) -> bool:
    """Whether the conversations of single arms go to the batched engine: ``mcr`` seekers, complete arms.

    Raises:
        InputError: if an arm is unknown, or the file cannot be read.
    """
    settings = {**under, **(read_settings(file) if file else {}), **values}
    return settings.get("user") == "mcr" and all(policy_class(name).complete for name in _arms_in(settings))


def _arms_in(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The arms that unchecked settings name."""
    names = settings.get("arms", ())
    return tuple(part.strip() for part in names.split(",")) if isinstance(names, str) else tuple(names)


def trained_alone(values: Mapping[str, Any], file: Path | None, reproduce: str | None) -> dict[str, Any]:
    """Defaults of training by itself, below a file's settings: one seed, and the engine where it can be.

    Args:
        reproduce: a published system whose settings come above these defaults.

    Raises:
        InputError: if there is no such system, or it is not about the arm.
    """
    published = presets.read(reproduce) if reproduce is not None else {}
    for arm in _arms_in(values) if published else ():
        if arm not in published["arm"]:
            known = " and ".join(published["arm"])
            raise InputError(f"--reproduce {reproduce}: has settings for {known}, not for arm {arm!r}")
    defaults: dict[str, Any] = {"seeds": (0,)}
    if by_engine(values, file, published):
        defaults |= {"surface": "semantic", "train_dialogues": MCR_DIALOGUES, "train_batch": MCR_BATCH}
    return defaults | published


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say in complaints from within where the setting stands."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _anchored(config: RunConfig) -> RunConfig:
    """The same configuration, whatever the working directory is. A named world stays a name."""
    there = Path(config.world).expanduser()
    is_path = config.world not in worlds and there.is_dir()
    model = config.language_model
    weights = Path(model.model).expanduser()
    if model.model and weights.is_dir() and config.llm == "transformers":
        model = model.model_copy(update={"model": str(weights.resolve())})
    return config.model_copy(
        update={
            "world": str(there.resolve()) if is_path else config.world,
            "data": config.data and config.data.expanduser().resolve(),
            "corpus": config.corpus and config.corpus.expanduser().resolve(),
            "user": _anchored_user(config.user),
            "seekers": config.seekers.model_copy(
                update={"table": config.seekers.table and config.seekers.table.expanduser().resolve()}
            ),
            "arm": {name: _anchored_settings(own) for name, own in config.arm.items()},
            "language_model": model,
        }
    )


def _anchored_user(user: str) -> str:
    """A kind of seeker, its argument made absolute where that is a file or folder."""
    name, colon, argument = user.partition(":")
    there = Path(argument).expanduser()
    return f"{name}:{there.resolve()}" if colon and there.exists() else user


def _anchored_settings(own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an arm with whatever names a file or folder that is there made absolute."""
    paths = {
        name: str(there.resolve())
        for name in ("encoder", "start", "run")
        if name in own
        and own[name] not in tuple(Encoder)  # what a graph policy sees is no path, whatever lies about
        and (there := Path(str(own[name])).expanduser()).exists()
    }
    return {**own, **paths}


def read_settings(path: Path) -> dict[str, Any]:
    """What a TOML file sets, unchecked.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        if path.is_fifo():  # settings are read more than once, and a pipe would be empty the second time
            raise InputError(f"{path}: is a pipe; put the settings into a file")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error})") from None


OnExisting = Literal["refuse", "resume", "force"]
"""What to do where the run folder is there already."""
