"""Supervised fine-tuning of a simulator: cross-entropy on the role's own turns, and nothing else.

A run leaves ``config.toml``, ``provenance.json``, ``checkpoints/model.safetensors``, ``results.json`` and
``timings.json``. What happens between two checkpoints depends only on the first of them, so a killed run
that is taken up again ends at the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.nn import functional

from unicrs_rl import draws
from unicrs_rl.errors import InputError, explain, unknown
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.config import OnExisting, Seed, read_settings
from unicrs_rl.experiments.corpora import REDIAL, corpus_folders
from unicrs_rl.experiments.interplay.examples import Example, read_examples
from unicrs_rl.experiments.provenance import check_corpus_unchanged, corpus_provenance
from unicrs_rl.experiments.run_folder import Belongings, RunFolder
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import World
from unicrs_rl.graphs.worlds import make_world, worlds
from unicrs_rl.language.players import model_file
from unicrs_rl.language.role_model import (
    IGNORED,
    MOST_PARAMETERS,
    SMALL,
    Lesson,
    LoraSettings,
    RoleModel,
    SmallConfig,
    Vocabulary,
)
from unicrs_rl.language.roles import Role
from unicrs_rl.policy.base import Tensors, load_optimizer, named, optimizer_tensors, under

CHECKPOINTS = 20
"""Checkpoints in the course of a training."""
_RESAMPLES = 2_000
_SPAN = 16
"""Batches whose lessons are sorted by length, so that little is padded."""


class SimulatorConfig(BaseModel):
    """Everything that decides the result of ``train-simulator``; ``config.toml`` is this, resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role = Field(description="which side of the dialogues it learns")
    corpus: str = Field(description="names of human corpora, separated by commas")
    data: Path = Field(description="folder of the corpus, or with one folder for each")
    world: str = Field(description="whose catalogue the dialogues are linked to")
    world_seed: Seed = Field(0, description="of the world's splits: whose dialogues are held out")
    model: str = Field(SMALL, description="small, or the folder or hub name of a causal language model")
    seed: Seed = Field(0, description="of weights, order and dropout")
    epochs: int = Field(4, ge=1, description="times that every dialogue is learned from")
    steps: int | None = Field(None, ge=1, description="at most so many updates")
    batch_size: int = Field(8, ge=1, description="sequences in an update")
    learning_rate: float = Field(2e-3, gt=0, description="at its highest; of LoRA about a tenth does")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of the updates in which it rises")
    weight_decay: float = Field(0.05, ge=0)
    context: int = Field(512, ge=128, description="longest sequence in tokens")
    small: SmallConfig = Field(default=SmallConfig())
    lora: LoraSettings = Field(default=LoraSettings())

    def toml(self) -> str:
        """This configuration as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def resolve_simulator(values: Mapping[str, Any], file: Path | None = None) -> SimulatorConfig:
    """A configuration from explicit values over those of a TOML file over the defaults.

    Raises:
        InputError: naming the option, or the file and the setting, at fault.
    """
    settings: dict[str, Any] = read_settings(file) if file else {}
    for name in settings:
        if name not in SimulatorConfig.model_fields:
            raise InputError(f"{file}: {unknown('setting', name, SimulatorConfig.model_fields)}")
    settings |= values
    for name in ("corpus", "data"):
        if name in settings and not isinstance(settings[name], str | Path):
            raise InputError(f"{file}: {name}: must be text")
    data = Path(settings["data"]).expanduser().resolve() if "data" in settings else None
    settings |= {"corpus": ",".join(corpus_folders(settings.get("corpus", REDIAL), data)), "data": data}
    settings.setdefault("world", REDIAL if _knowledge_graph(settings["data"]) else "movies")
    if settings.get("model", SMALL) != SMALL:
        settings.setdefault("learning_rate", 2e-4)
    try:
        config = SimulatorConfig.model_validate(settings)
    except ValidationError as error:
        path = [str(part) for part in error.errors()[0]["loc"]]
        place = f"--{path[0]}" if path[0] in values else f"{file}: {'.'.join(path)}" if file else path[0]
        raise InputError(f"{place}: {explain(error)}") from None
    if config.model == SMALL and config.small.parameters() > MOST_PARAMETERS:
        raise InputError(
            f"small: {config.small.parameters()} parameters are more than {MOST_PARAMETERS}; "
            "make it smaller, or choose a pretrained --model"
        )
    places = {name: Path(getattr(config, name)).expanduser() for name in ("model", "world")}
    there = {
        name: str(place.resolve())
        for name, place in places.items()
        if place.is_dir() and getattr(config, name) not in (SMALL, *worlds)
    }
    return config.model_copy(update=there)


def _knowledge_graph(data: Path) -> Path | None:
    """Where ReDial's catalogue lies, if it is there."""
    return next((place for place in (data / REDIAL, data) if (place / "kg.json").is_file()), None)


def world_of(config: SimulatorConfig) -> World:
    """The world that the dialogues are linked to.

    Raises:
        InputError: if it cannot be read.
    """
    data = _knowledge_graph(config.data) or config.data if config.world == REDIAL else None
    return make_world(config.world, data, config.world_seed)


class SimulatorFolder(RunFolder):
    """The folder of a simulator's training."""

    belongings: ClassVar[Belongings] = Belongings(
        r"config\.toml|provenance\.json|results\.json|timings\.json|parts/(training\.safetensors)?"
        r"|checkpoints/(model\.safetensors)?"
    )
    resolved: ClassVar[frozenset[str]] = frozenset({"role", "corpus", "model", "small"})
    charted: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.model = model_file(path)
        self.training = self.parts / "training.safetensors"


def train_simulator(
    config: SimulatorConfig, out: Path, existing: OnExisting, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Train one role into a run folder, going on after the last checkpoint of a killed run.

    Returns:
        The contents of ``results.json``.

    Raises:
        InputError: before anything is written, if something is wrong with the input.
    """
    folders = corpus_folders(config.corpus, config.data)
    world = world_of(config)
    examples = read_examples(config.role, folders, world)
    vocabulary = Vocabulary(world.name, world.catalogue.fingerprint)
    model = _new_model(config, vocabulary, examples.train)
    origin = _provenance(folders, world)
    folder = SimulatorFolder.open(out, config, existing)
    if existing == "resume":
        check_corpus_unchanged(folder, origin)
    with folder.locked():
        if folder.results.is_file():
            folder.tidy()
            return dict(folder.read_json(folder.results))
        folder.write_json(folder.provenance, origin)
        torch.set_num_threads(1)
        course = _Course(config, model, examples.train, examples.held_out)
        spent = course.run(folder, progress)
        checkpoint.save(folder.model, model.weights(), model.header())
        found = _results(config, model, course, examples.notes)
        folder.write_json(folder.timings, {name: round(seconds, 3) for name, seconds in spent.items()})
        folder.write_json(folder.results, found)
        folder.tidy()
        return found


def _new_model(config: SimulatorConfig, vocabulary: Vocabulary, examples: Sequence[Example]) -> RoleModel:
    seed = draws.key("simulator", config.seed) % 2**31
    if config.model != SMALL:
        return RoleModel.adapted(config.role, vocabulary, config.model, config.lora, config.context, seed)
    texts = [message["content"] for example in examples for message in example.chat]
    return RoleModel.small(config.role, vocabulary, texts, config.small, config.context, seed)


def _provenance(folders: Mapping[str, Path], world: World) -> dict[str, Any]:
    """Where the run comes from; corpus files are named with their corpus."""
    each = {name: corpus_provenance(folder) for name, folder in folders.items()}
    origin = next(iter(each.values()))
    hashes = {f"{name}/{file}": of for name, one in each.items() for file, of in one["corpus"].items()}
    own = {"name": world.name, "fingerprint": world.fingerprint, "catalogue": world.catalogue.fingerprint}
    return origin | {"corpus": hashes, "world": own}


class _Course:
    """The course of a training: AdamW, a learning rate that rises and then falls as a cosine to nothing."""

    def __init__(
        self,
        config: SimulatorConfig,
        model: RoleModel,
        train: Sequence[Example],
        held_out: Sequence[Example],
    ) -> None:
        self.config, self.model = config, model
        self.train = _lessons(model, train)
        self.held_out = _lessons(model, held_out)
        self.lessons = [lesson for some in self.train for lesson in some]
        per_epoch = -(-len(self.lessons) // config.batch_size)
        self.per_epoch = per_epoch
        self.total = min(config.epochs * per_epoch, config.steps or config.epochs * per_epoch)
        weights = [weight for weight in model.network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            weights, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.step = 0
        self.losses: list[float] = []
        self.history: list[dict[str, float]] = []
        self.per_dialogue = np.zeros((0, 2))

    def run(self, folder: SimulatorFolder, progress: Progress) -> dict[str, float]:
        """Train to the end, with checkpoints; seconds spent, those of a killed run included."""
        clock = _Clock(self._take_up(folder))
        every = max(1, self.total // CHECKPOINTS)
        while self.step < self.total:
            epoch, place = divmod(self.step, self.per_epoch)
            for batch in self._batches(epoch)[place:]:
                self._learn(batch)
                progress(f"train {self.config.role}", self.step, self.total)
                ended = self.step % self.per_epoch == 0 or self.step == self.total
                if ended:
                    self._end_epoch()
                if self.step % every == 0 or ended:
                    self._keep(folder, clock.spent())
                if self.step == self.total:
                    break
        self.per_dialogue = self._try()
        return clock.spent()

    def _batches(self, epoch: int) -> list[list[Lesson]]:
        """The lessons of an epoch in seeded order, a batch of about equal lengths at a time."""
        size = self.config.batch_size
        rng = np.random.default_rng(draws.key("lessons", self.config.seed, epoch))
        order = rng.permutation(len(self.lessons))
        spans = [order[start : start + size * _SPAN] for start in range(0, len(order), size * _SPAN)]
        places = np.concatenate(
            [sorted(span, key=lambda place: len(self.lessons[place].tokens)) for span in spans]
        )
        batches = [places[start : start + size] for start in range(0, len(places), size)]
        return [[self.lessons[place] for place in batches[row]] for row in rng.permutation(len(batches))]

    def _learn(self, batch: Sequence[Lesson]) -> None:
        """One update on the mean loss over the role's own tokens."""
        config, network = self.config, self.model.network
        network.train()
        torch.manual_seed(draws.key("dropout", config.seed, self.step) % 2**31)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(self.step, self.total, config.warm_up)
        loss, count = _loss(network, batch)
        self.optimizer.zero_grad()
        (loss.sum() / count.sum()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        self.optimizer.step()
        self.losses.append(float(loss.sum().detach() / count.sum()))
        self.step += 1

    def _end_epoch(self) -> None:
        tried = self._try()
        self.history.append(
            {
                "step": self.step,
                "train_loss": round(math.fsum(self.losses) / len(self.losses), 6),
                "valid_loss": round(float(tried[:, 0].sum() / tried[:, 1].sum()), 6),
            }
        )
        self.losses = []

    @torch.inference_mode()
    def _try(self) -> NDArray[np.float64]:
        """Summed loss and own tokens of each held-out dialogue: ``[dialogues, 2]``."""
        self.model.network.eval()
        flat = [(row, lesson) for row, some in enumerate(self.held_out) for lesson in some]
        flat.sort(key=lambda pair: len(pair[1].tokens))
        found = np.zeros((len(self.held_out), 2))
        size = 2 * self.config.batch_size
        for start in range(0, len(flat), size):
            some = flat[start : start + size]
            loss, count = _loss(self.model.network, [lesson for _, lesson in some])
            rows = [row for row, _ in some]
            np.add.at(found, rows, torch.stack([loss, count], dim=1).double().cpu().numpy())
        return found

    def _keep(self, folder: SimulatorFolder, spent: Mapping[str, float]) -> None:
        tensors = self.model.weights() | named("optimizer.", optimizer_tensors(self.optimizer))
        header = {"step": self.step, "losses": self.losses, "history": self.history, "spent": dict(spent)}
        checkpoint.save(folder.training, tensors, header)

    def _take_up(self, folder: SimulatorFolder) -> dict[str, float]:
        """Go on from the last checkpoint, if there is one; the seconds spent before."""
        if not folder.training.is_file():
            return {}
        tensors, header = checkpoint.load(folder.training)
        moments: Tensors = under("optimizer.", tensors)
        self.model.take({name: t for name, t in tensors.items() if not name.startswith("optimizer.")})
        load_optimizer(self.optimizer, moments)
        self.step, self.losses, self.history = header["step"], header["losses"], header["history"]
        return dict(header["spent"])


class _Clock:
    """Seconds on the wall and of the processor, from those spent before."""

    def __init__(self, before: Mapping[str, float]) -> None:
        self._wall = time.perf_counter() - before.get("total_seconds", 0.0)
        self._processor = time.process_time() - before.get("processor_seconds", 0.0)

    def spent(self) -> dict[str, float]:
        return {
            "total_seconds": time.perf_counter() - self._wall,
            "processor_seconds": time.process_time() - self._processor,
        }


def _lessons(model: RoleModel, examples: Sequence[Example]) -> list[list[Lesson]]:
    """The lessons of each dialogue in which the role says something."""
    return [lessons for example in examples if (lessons := model.sequences(example.chat))]


def _loss(network: Any, batch: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross-entropy and number of own tokens of each lesson: ``[batch]`` each."""
    longest = max(len(lesson.tokens) for lesson in batch)
    tokens = torch.tensor([[*lesson.tokens, *[0] * (longest - len(lesson.tokens))] for lesson in batch])
    labels = torch.tensor([[*lesson.labels, *[IGNORED] * (longest - len(lesson.labels))] for lesson in batch])
    mask = torch.tensor([[1] * len(one.tokens) + [0] * (longest - len(one.tokens)) for one in batch])
    tokens, labels, mask = (table.to(network.device) for table in (tokens, labels, mask))
    logits = network(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1]
    own = labels[:, 1:] != IGNORED
    losses = functional.cross_entropy(logits[own].float(), labels[:, 1:][own], reduction="none")
    rows = torch.nonzero(own)[:, 0]
    summed = torch.zeros(len(batch), device=losses.device).index_add(0, rows, losses)
    return summed, own.sum(dim=1).float()


def _schedule(step: int, total: int, warm_up: float) -> float:
    """Share of the learning rate at an update."""
    rising = max(1, round(warm_up * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def _results(
    config: SimulatorConfig, model: RoleModel, course: _Course, notes: Sequence[str]
) -> dict[str, Any]:
    valid, ci95 = _perplexity(course.per_dialogue)
    return {
        "role": config.role.value,
        "model": Path(config.model).name,
        "corpus": config.corpus.split(","),
        "world": {"name": model.vocabulary.world, "catalogue": model.vocabulary.fingerprint},
        "seed": config.seed,
        "parameters": sum(weight.numel() for weight in model.network.parameters()),
        "trained_parameters": sum(weight.numel() for weight in model.weights().values()),
        "vocabulary": len(model.tokenizer),
        "train": _sizes(course.train),
        "valid": _sizes(course.held_out) | {"perplexity": valid, "ci95": {"perplexity": ci95}},
        "steps": course.step,
        "epochs": [{"epoch": count, **entry} for count, entry in enumerate(course.history, start=1)],
        "protocol": "perplexity of the role's own tokens (action and words), dialogues held out as a whole; "
        "interval: 2000 bootstrap resamples of dialogues",
        "notes": list(notes),
    }


def _sizes(lessons: Sequence[Sequence[Lesson]]) -> dict[str, int]:
    flat = [lesson for some in lessons for lesson in some]
    return {
        "dialogues": len(lessons),
        "sequences": len(flat),
        "tokens": sum(len(lesson.tokens) for lesson in flat),
        "own_tokens": sum(label != IGNORED for lesson in flat for label in lesson.labels),
    }


def _perplexity(per_dialogue: NDArray[np.float64]) -> tuple[float, list[float]]:
    """exp of the mean loss of a token, with a bootstrap interval over dialogues."""
    rng = np.random.default_rng(draws.key("perplexity interval"))
    n = len(per_dialogue)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)])
    sums = weights @ per_dialogue
    values = np.exp(sums[:, 0] / sums[:, 1])
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return round(float(values[0]), 4), [round(float(low), 4), round(float(high), 4)]
