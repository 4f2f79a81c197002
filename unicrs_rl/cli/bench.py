"""``unicrs-rl bench``."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from unicrs_rl.cli.options import (
    Number,
    Settings,
    Text,
    given_settings,
    opt,
    progress_bars,
)
from unicrs_rl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Bench(Settings):
    """Measure turns a second and peak memory of the batched engine, with a rule and with a policy."""

    arms: Annotated[Text, opt("arms to measure", "LIST", "max-entropy,unified")] = None
    threads: Annotated[Number, opt("threads to compute with", "N", "1")] = None
    json: Annotated[bool, opt("print one JSON object instead of a table")] = False


def run(verb: Bench) -> None:
    """Measure, and print the speeds."""
    from unicrs_rl.experiments.bench import bench
    from unicrs_rl.experiments.config import resolve

    arms = tuple(verb.arms.split(",")) if verb.arms is not None else ("max-entropy", "unified")
    if verb.user not in (None, "mcr"):
        raise InputError(f"--user {verb.user}: bench measures the batched engine, which has mcr seekers")
    config = resolve(
        given_settings(verb, arms=arms), verb.config, under={"user": "mcr", "surface": "semantic"}
    )
    threads = 1 if verb.threads is None else verb.threads
    if threads < 1:
        raise InputError(f"--threads: must be at least 1 (it is {threads})")
    with progress_bars(quiet=verb.json) as progress:
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
