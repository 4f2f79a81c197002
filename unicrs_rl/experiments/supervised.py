"""Stage 1 of the decomposed arm by itself: a planner learns human strategies, and is compared with people.

A run leaves ``config.toml``, ``provenance.json``, ``checkpoints/planner.safetensors`` (what stage 2 starts
from), ``checkpoints/baselines.safetensors``, ``results.json`` and ``timings.json``. Samples are counted by
recommender turn; a dialogue belongs to one split as a whole, and is the unit of every interval.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, LabelMap
from unicrs_rl.errors import InputError, explain, unknown
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.config import OnExisting, Seed, read_settings
from unicrs_rl.experiments.provenance import check_corpus_unchanged, corpus_provenance
from unicrs_rl.experiments.run_folder import Belongings, RunFolder
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.readers import inspired
from unicrs_rl.graphs.readers.inspired import Turns
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.imitation import Lexical, Majority, accuracy, in_shortlist, macro_f1
from unicrs_rl.policy.planner import (
    MINILM,
    SMALL,
    Planner,
    PlannerInput,
    Sample,
    check_encoder,
    corpus_samples,
    load_planner,
    minilm_installed,
    new_planner,
    planner_state,
)
from unicrs_rl.policy.warm_up import WarmUp, WarmUpConfig, predict

CORPUS = "inspired"
MEASURES = ("accuracy", "macro_f1", "top3")
_RESAMPLES = 2_000
_OPTIONS = {"seed": "seeds"}
"""Options that are not called as their setting."""
_FROM_NOTHING = {"epochs": 3, "learning_rate": 1e-3, "frozen_layers": 0}
"""What holds for an encoder without pretrained weights, unless set otherwise."""


class SupervisedConfig(BaseModel):
    """Everything that decides the result of ``train --stage sft``; ``config.toml`` is this, resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Literal["sft"] = "sft"
    corpus: Path = Field(description="INSPIRED folder")
    encoder: str = Field(description="small, minilm, or a Hugging Face encoder by folder or name")
    labels: LabelMap = Field(LabelMap.NONE, description="which strategies are told apart")
    turns: Turns = Field(Turns.UTTERANCE, description="whether consecutive utterances are one turn")
    seed: Seed = Field(0, description="of weights, order and dropout")
    max_tokens: int = Field(64, ge=8, description="longer texts lose their beginning")
    width: int = Field(64, ge=32, multiple_of=32, description="of the small encoder")
    layers: int = Field(2, ge=1, description="of the small encoder")
    vocabulary: int = Field(1500, ge=300, description="of the small encoder's tokenizer")
    warm_up: WarmUpConfig = Field(default=WarmUpConfig())

    def toml(self) -> str:
        """This configuration as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json"))


def resolve_supervised(values: Mapping[str, Any], file: Path | None = None) -> SupervisedConfig:
    """A configuration from explicit values over those of a TOML file over the defaults.

    Raises:
        InputError: naming the option, or the file and the setting, at fault.
    """
    settings: dict[str, Any] = read_settings(file) if file else {}
    for name in settings:
        if name not in SupervisedConfig.model_fields:
            raise InputError(
                f"{file}: {unknown('setting of stage sft', name, SupervisedConfig.model_fields)}"
            )
    settings |= values
    if "corpus" not in settings:
        raise InputError("--stage sft: needs human dialogues; give --corpus inspired --data DIR")
    settings.setdefault("encoder", MINILM if minilm_installed() else SMALL)
    own = settings.get("warm_up", {})
    if settings["encoder"] == SMALL and isinstance(own, Mapping):
        settings["warm_up"] = _FROM_NOTHING | dict(own)
    try:
        config = SupervisedConfig.model_validate(settings)
    except ValidationError as error:
        path = [str(part) for part in error.errors()[0]["loc"]]
        place = (
            f"--{_OPTIONS.get(path[0], path[0])}"
            if path[0] in values
            else f"{file}: {'.'.join(path)}"
            if file
            else path[0]
        )
        raise InputError(f"{place}: {explain(error)}") from None
    if config.encoder != SMALL:
        try:
            check_encoder(config.encoder)
        except ValueError as error:
            raise InputError(f"--encoder: {error}") from None
    update: dict[str, Any] = {"corpus": config.corpus.expanduser().resolve()}
    if Path(config.encoder).is_dir() and config.encoder not in (SMALL, MINILM):
        update["encoder"] = str(Path(config.encoder).resolve())
    return config.model_copy(update=update)


def corpus_folder(corpus: Path | None, data: Path | None) -> Path | None:
    """The folder that ``--corpus`` (``inspired``, or a folder) and ``--data`` mean together.

    Raises:
        InputError: if ``inspired`` is given without its folder, or a folder twice.
    """
    if corpus is None or (str(corpus) == CORPUS and data is not None):
        return data
    if data is not None:
        raise InputError(f"--corpus {corpus}: with --data DIR the corpus is called by its name: {CORPUS}")
    if not corpus.is_dir():
        hint = "give its folder with --data DIR" if str(corpus) == CORPUS else "no such folder"
        raise InputError(f"--corpus {corpus}: {hint}")
    return corpus


class PlannerFolder(RunFolder):
    """The folder of a supervised run."""

    belongings: ClassVar[Belongings] = Belongings(
        r"config\.toml|provenance\.json|results\.json|timings\.json|parts/(warm-up\.safetensors)?"
        r"|checkpoints/((planner|baselines)\.safetensors)?"
    )
    resolved: ClassVar[frozenset[str]] = frozenset({"stage", "corpus", "encoder", "warm_up"})
    charted: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.planner = path / "checkpoints" / "planner.safetensors"
        self.baselines = path / "checkpoints" / "baselines.safetensors"
        self.warm_up = self.parts / "warm-up.safetensors"


def is_supervised(run: Path) -> bool:
    """Whether a folder is that of a supervised run."""
    return PlannerFolder(run)._is_run()


@dataclass(frozen=True)
class Labelled:
    """The labelled states of a split.

    Attributes:
        samples: of all dialogues, in order.
        dialogue: which dialogue each is from, ``[samples]``.
        notes: what was left out.
    """

    samples: list[Sample]
    dialogue: NDArray[np.int64]
    notes: tuple[str, ...]

    @property
    def inputs(self) -> list[PlannerInput]:
        """What the planner sees."""
        return [seen for seen, _ in self.samples]

    @property
    def labels(self) -> torch.Tensor:
        """What people chose: ``[samples]``."""
        return torch.tensor([label for _, label in self.samples])

    def counts(self, labels: LabelMap) -> dict[str, int]:
        """Samples by strategy."""
        found = torch.bincount(self.labels, minlength=len(STRATEGIES)).tolist()
        return {strategy.value: found[strategy.position] for strategy in labels.strategies}


def read_labelled(corpus: Path, split: Split, turns: Turns, labels: LabelMap) -> Labelled:
    """The labelled states of a split.

    Raises:
        InputError: if the corpus cannot be read, or has no labels.
    """
    read = inspired.read(corpus, split, turns=turns)
    groups = [corpus_samples([dialogue], labels) for dialogue in read.dialogues]
    return Labelled(
        samples=[sample for group in groups for sample in group],
        dialogue=np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
        notes=read.notes if read.without_turns else (),
    )


def train_planner(
    config: SupervisedConfig, out: Path, existing: OnExisting, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Stage 1 into a run folder, going on after the last whole epoch of a killed run.

    Returns:
        The contents of ``results.json``.

    Raises:
        InputError: before anything is written, if something is wrong with the input.
    """
    train, valid = (
        read_labelled(config.corpus, split, config.turns, config.labels)
        for split in (Split.TRAIN, Split.VALID)
    )
    origin = corpus_provenance(config.corpus)
    folder = PlannerFolder.open(out, config, existing)
    if existing == "resume":
        check_corpus_unchanged(folder, origin)
    with folder.locked():
        if folder.results.is_file():
            folder.tidy()
            return dict(folder.read_json(folder.results))
        folder.write_json(folder.provenance, origin)
        torch.set_num_threads(1)
        started = time.perf_counter()
        majority = Majority(torch.bincount(train.labels, minlength=len(STRATEGIES)).tolist())
        lexical = Lexical.fit(train.samples)
        tensors, header = lexical.state()
        checkpoint.save(folder.baselines, tensors, header | {"counts": majority.counts.int().tolist()})
        texts = [seen.text for seen in train.inputs]
        planner = new_planner(config, texts, draws.key("planner", config.seed))
        history, best, earlier = _warm_up(planner, train, valid, config, folder, progress)
        found = _results(config, train, valid, history, best, _measures(planner, majority, lexical, valid))
        state, header = planner_state(planner)
        about = {"encoder": config.encoder, "seed": config.seed, "turns": config.turns.value}
        about["valid"] = {name: found["valid"][name] for name in MEASURES}
        checkpoint.save(folder.planner, state, header | about)
        seconds = earlier + time.perf_counter() - started
        folder.write_json(folder.timings, {"total_seconds": round(seconds, 3)})
        folder.write_json(folder.results, found)
        folder.tidy()
        return found


def evaluate_planner(run: Path, corpus: Path | None, split: Split) -> dict[str, Any]:
    """How well a supervised run's planner and the baselines choose as people did, on a split.

    Args:
        corpus: INSPIRED folder, of which only the split is read; ``None``: the one trained on.

    Returns:
        ``accuracy``, ``macro_f1`` and ``top3`` with ``ci95``; the same of each of the ``baselines``;
        ``lead`` over the better-informed one; class counts and protocol.

    Raises:
        InputError: if the run is not finished, or the split cannot be read.
    """
    folder = PlannerFolder(run)
    if not folder.results.is_file():
        raise InputError(f"{run}: the run is not finished; train --stage sft --resume --out {run} goes on")
    config = SupervisedConfig.model_validate(tomllib.loads(folder.config_file.read_text("utf-8")))
    held_out = read_labelled(corpus or config.corpus, split, config.turns, config.labels)
    torch.set_num_threads(1)
    tensors, header = checkpoint.load(folder.baselines)
    majority, lexical = Majority(header["counts"]), Lexical.load(tensors, header)
    measured = _measures(load_planner(folder.planner), majority, lexical, held_out)
    return {"arm": "rso", "stage": "sft", "split": split.value, **_setting(config), **measured} | {
        "class_counts": held_out.counts(config.labels),
        "notes": list(held_out.notes),
    }


def _setting(config: SupervisedConfig) -> dict[str, Any]:
    """Under what numbers hold."""
    return {
        "encoder": config.encoder,
        "labels": config.labels.value,
        "turns": config.turns.value,
        "seed": config.seed,
        "protocol": f"INSPIRED, one sample per recommender {config.turns.value}, "
        f"{len(config.labels.strategies)} labels, dialogues kept whole, greedy",
    }


def _results(
    config: SupervisedConfig,
    train: Labelled,
    valid: Labelled,
    history: Sequence[Mapping[str, float]],
    best: int,
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "arm": "rso",
        "stage": "sft",
        **_setting(config),
        "train": {
            "samples": len(train.samples),
            "dialogues": len(set(train.dialogue.tolist())),
            "class_counts": train.counts(config.labels),
            "notes": list(train.notes),
        },
        "valid": dict(measured) | {"class_counts": valid.counts(config.labels), "notes": list(valid.notes)},
        "best_epoch": best + 1,
        "epochs": [{"epoch": count, **entry} for count, entry in enumerate(history, start=1)],
    }


def _warm_up(
    planner: Planner,
    train: Labelled,
    valid: Labelled,
    config: SupervisedConfig,
    folder: PlannerFolder,
    progress: Progress,
) -> tuple[list[dict[str, float]], int, float]:
    """Train the planner; the history, the best epoch, and the seconds that a killed run had spent."""
    course = WarmUp(
        planner,
        train.samples,
        valid.samples,
        config.warm_up,
        config.seed,
        lambda done, total: progress(f"warm up {config.encoder} seed {config.seed}", done, total),
    )
    earlier = 0.0
    if folder.warm_up.is_file():
        tensors, header = checkpoint.load(folder.warm_up)
        course.load(tensors, header)
        earlier = header["seconds"]
    started = time.perf_counter()

    def keep() -> None:
        tensors, header = course.state()
        spent = earlier + time.perf_counter() - started
        checkpoint.save(folder.warm_up, tensors, header | {"seconds": round(spent, 3)})

    history = course.fit(keep)
    return history, course.best, earlier


def _measures(planner: Planner, majority: Majority, lexical: Lexical, held_out: Labelled) -> dict[str, Any]:
    """Agreement of the planner and of both baselines with people, with intervals over dialogues."""
    inputs, labels = held_out.inputs, held_out.labels
    guesses = {
        "planner": predict(planner, inputs),
        "majority": majority.logits(inputs),
        "tf-idf": lexical.logits(inputs),
    }
    counted = _resampled(len(set(held_out.dialogue.tolist())))
    found = {
        name: _agreements(logits, labels, held_out.dialogue, counted) for name, logits in guesses.items()
    }

    def summary(values: NDArray[np.float64]) -> dict[str, Any]:
        low, high = np.percentile(values[1:], [2.5, 97.5], axis=0).round(6)
        return {name: round(float(v), 6) for name, v in zip(MEASURES, values[0], strict=True)} | {
            "ci95": {name: [float(low[i]), float(high[i])] for i, name in enumerate(MEASURES)}
        }

    return summary(found["planner"]) | {
        "baselines": {name: summary(found[name]) for name in ("majority", "tf-idf")},
        "lead": {name: summary(found["planner"] - found[name]) for name in ("majority", "tf-idf")},
        "samples": len(labels),
        "dialogues": counted.shape[1],
    }


def _resampled(dialogues: int) -> NDArray[np.float64]:
    """How often each dialogue counts: once each, then in every bootstrap resample, ``[1 + B, dialogues]``."""
    rng = np.random.default_rng(draws.key("agreement intervals"))
    drawn = rng.multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=_RESAMPLES)
    return np.vstack([np.ones(dialogues), drawn])


def _agreements(
    logits: torch.Tensor, labels: torch.Tensor, dialogue: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The :data:`MEASURES` under each weighting of the dialogues: ``[1 + B, measures]``."""
    count, size = weights.shape[1], len(STRATEGIES)
    confusions = np.zeros((count, size, size))
    np.add.at(confusions, (dialogue, labels.numpy(), logits.argmax(1).numpy()), 1)
    hits = np.bincount(dialogue, in_shortlist(logits, labels), minlength=count)
    turns = np.bincount(dialogue, minlength=count)
    weighted = (weights @ confusions.reshape(count, -1)).reshape(-1, size, size)
    shortlisted = (weights @ hits) / (weights @ turns)
    return np.stack([accuracy(weighted), macro_f1(weighted), shortlisted], axis=1)
