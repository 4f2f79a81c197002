"""``unicrs-rl train-simulator``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from unicrs_rl.cli.options import Existing, Folder, Number, Real, Text, on_existing, opt, progress_bars


@dataclasses.dataclass(frozen=True)
class TrainSimulator(Existing):
    """Train a seeker or a recommender on human dialogues by itself (after Interplay)."""

    role: Annotated[Literal["seeker", "recommender"], opt("which side of the dialogues it learns")] = "seeker"
    corpus: Annotated[Text, opt("redial, inspired, or both, separated by commas", "NAMES", "redial")] = None
    data: Annotated[Folder, opt("folder of the corpus, or with one folder for each", "DIR")] = None
    world: Annotated[
        Text, opt("whose titles the dialogues are linked to", "NAME", "redial where it is there, else movies")
    ] = None
    model: Annotated[
        Text, opt("small, or the folder or hub name of a causal language model", "MODEL", "small")
    ] = None
    epochs: Annotated[Number, opt("times that every dialogue is learned from", "N", "4")] = None
    steps: Annotated[Number, opt("at most so many updates", "N")] = None
    learning_rate: Annotated[Real, opt("at its highest", "RATE", "0.002; with a MODEL 0.0002")] = None
    batch_size: Annotated[Number, opt("sequences in an update", "N", "8")] = None
    seed: Annotated[Number, opt("of weights, order and dropout", "N", "0")] = None
    config: Annotated[Folder, opt("TOML file with settings; what is given here wins over it", "FILE")] = None
    out: Annotated[Folder, opt("run folder to write", "DIR", "runs/ROLE")] = None
    json: Annotated[bool, opt("print one JSON object")] = False


_OURS = ("config", "out", "resume", "force", "json")


def run(verb: TrainSimulator) -> None:
    """Do it."""
    from unicrs_rl.experiments.interplay.finetuning import resolve_simulator, train_simulator

    given: dict[str, Any] = {f.name: getattr(verb, f.name) for f in dataclasses.fields(verb)}
    settings = {name: value for name, value in given.items() if name not in _OURS and value is not None}
    config = resolve_simulator(settings, verb.config)
    out = verb.out or Path("runs") / verb.role
    with progress_bars(quiet=verb.json) as progress:
        found = train_simulator(config, out, on_existing(verb, out), progress)
    if verb.json:
        print(json.dumps(found))
        return
    train, valid = found["train"], found["valid"]
    for note in found["notes"]:
        print(note)
    print(f"{found['parameters']} parameters, {found['trained_parameters']} of them trained")
    print(f"{found['steps']} updates on {train['dialogues']} dialogues ({train['own_tokens']} own tokens)")
    low, high = valid["ci95"]["perplexity"]
    print(f"{valid['dialogues']} held-out dialogues")
    print(f"perplexity {valid['perplexity']:.2f} [{low:.2f}, {high:.2f}]")
    print(out / "checkpoints" / "model.safetensors")
