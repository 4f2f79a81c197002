"""The head-to-head: train every arm on the same seekers, evaluate all on the same triples, decide."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from unicrs_rl.errors import InputError, Stopped
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.budgets import budgets, parameters
from unicrs_rl.experiments.components import (
    Components,
    read_corpus,
    read_language_model,
    read_world,
    starting_points,
)
from unicrs_rl.experiments.config import OnExisting, RunConfig, Surface
from unicrs_rl.experiments.costs import open_ledger, spent, taken
from unicrs_rl.experiments.evaluation import BATCH
from unicrs_rl.experiments.exports import write_exports
from unicrs_rl.experiments.jobs import Job, plan, run_jobs, shared_components
from unicrs_rl.experiments.provenance import changed_file, provenance
from unicrs_rl.experiments.report import write_report
from unicrs_rl.experiments.results import results
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.training import Progress
from unicrs_rl.experiments.why import interference_in, solved, why
from unicrs_rl.graphs.world import World
from unicrs_rl.language.ledger import NO_LIMIT, Budget
from unicrs_rl.policy.arms import learns


def default_workers() -> int:
    """Processes to use unless told otherwise: the cores there are, at most two."""
    return min(2, os.cpu_count() or 1)


def compare(
    config: RunConfig,
    out: Path,
    existing: OnExisting = "refuse",
    workers: int = 1,
    batch_size: int = BATCH,
    progress: Progress = lambda *_: None,
    budget: Budget = NO_LIMIT,
    answers: Path | None = None,
    trained: RunFolder | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the comparison into a run folder.

    Args:
        budget: what may be spent on the language model.
        answers: file of its answers, if several runs share one; ``None``: the run's own.
        trained: a finished run whose arms these are, so that nothing is trained here.
        workers: processes; results do not depend on it.
        batch_size: conversations held at once in evaluation; results do not depend on it.
        progress: told of the work as (what, done, total).

    Returns:
        The contents of ``results.json`` and ``timings.json``.

    Raises:
        InputError: before anything is written, if something is wrong with the input.
        Stopped: if a budget is used up, an endpoint is gone, or no dialogue of an arm could be held.
    """
    if config.surface is not Surface.TEXT:
        raise InputError(f"surface: a comparison is held in words; '{config.surface}' is for single arms")
    folder, world, origin = _open(config, out, existing)
    with folder.locked():
        if folder.results.is_file() and folder.traces.is_file() and not folder.failed.is_file():
            return _take_up_finished(folder)
        started = time.perf_counter()
        folder.write_json(folder.provenance, origin)
        if trained is not None:
            _take_over(trained, folder, plan(config))
        components = shared_components(config, world, folder, progress)
        components.model.ledger = ledger = open_ledger(config, budget, answers or folder.answers)
        if ledger and existing == "force":
            ledger.begin_anew()
        jobs = plan(config)
        run_jobs(jobs, components, folder, workers, batch_size=batch_size, progress=progress)
        return _finish(folder, components, jobs, time.perf_counter() - started)


def train_arm(
    config: RunConfig,
    out: Path,
    existing: OnExisting,
    workers: int,
    progress: Progress = lambda *_: None,
    budget: Budget = NO_LIMIT,
) -> dict[str, Any]:
    """Train arms into a run folder without evaluating them.

    Returns:
        Seconds of training by job, the checkpoints made, the report, and the jobs in which the judge
        gave no score at all.

    Raises:
        InputError: before anything is written, if something is wrong with the input.
        Stopped: if a budget is used up, or an endpoint is gone.
    """
    for arm in config.arms:
        if not learns(arm):
            raise InputError(f"arm {arm!r} is a rule and learns nothing; evaluate it with evaluate --arm")
    folder, world, origin = _open(config, out, existing)
    if folder.results.is_file():
        raise InputError(f"{out}: a finished comparison, in which there is nothing left to train")
    with folder.locked():
        folder.write_json(folder.provenance, origin)
        components = shared_components(config, world, folder, progress)
        components.model.ledger = ledger = open_ledger(config, budget, folder.answers)
        if ledger and existing == "force":
            ledger.begin_anew()
        jobs = plan(config)
        run_jobs(jobs, components, folder, workers, evaluating=False, progress=progress)
        timings = {"jobs": _job_seconds(folder, jobs)} | ({"spent": spent(ledger)} if ledger else {})
        folder.write_json(folder.timings, timings)
        made = [folder.checkpoint(job.arm, job.seed) for job in jobs]
        files = [str(path.relative_to(folder.path)) for path in made if path.is_file()]
        write_report(folder)
        unscored = [path.stem for path in made if _unscored(path)]
        return timings | {
            "run": str(folder.path),
            "checkpoints": files,
            "report": folder.report.name,
            "unscored": unscored,
        }


def _take_over(trained: RunFolder, folder: RunFolder, jobs: list[Job]) -> None:
    """Make the checkpoints of a finished run, and its embeddings with the threshold, those of another."""
    made = [(trained.checkpoint(job.arm, job.seed), folder.checkpoint(job.arm, job.seed)) for job in jobs]
    for there, here in [(trained.embeddings, folder.embeddings), *made]:
        if there.is_file():  # rules have none
            checkpoint.write_atomically(here, there.read_bytes())


def _unscored(path: Path) -> bool:
    """Whether a training was judged and never got a score."""
    if not path.is_file():
        return False
    _, header = checkpoint.load(path)
    return bool(header["unscored"] and header["done"])


def read_input(config: RunConfig) -> tuple[World, dict[str, Path]]:
    """The world, and the files that trainings start from, after a look at all else that a run will need.

    Raises:
        InputError: if something is missing or broken.
    """
    world = read_world(config)
    read_corpus(config)
    read_language_model(config, world)
    return world, starting_points(config)


def _open(config: RunConfig, out: Path, existing: OnExisting) -> tuple[RunFolder, World, dict[str, Any]]:
    """The run folder, the world, and where the run comes from.

    All input is read before the folder is touched, so that bad input leaves nothing behind.

    Raises:
        InputError: also if the data are not those that a run to be resumed was started with.
    """
    world, starts = read_input(config)
    origin = provenance(config, world, starts)
    folder = RunFolder.open(out, config, existing)
    if existing == "resume" and folder.provenance.is_file():
        changed = changed_file(folder.read_json(folder.provenance), origin)
        if changed is not None:
            raise InputError(
                f"{out}: the data changed since this run was started ({changed}); "
                "it cannot be resumed; --force starts it anew"
            )
    return folder, world, origin


def _take_up_finished(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a finished run found. A kill may have come before its report was made or its parts removed."""
    write_report(folder)
    write_exports(folder)
    folder.tidy()
    return folder.read_json(folder.results), folder.read_json(folder.timings)


def _finish(
    folder: RunFolder, components: Components, jobs: list[Job], seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Join the parts, compute the results and write the report.

    Raises:
        Stopped: if an arm has no dialogue, because all broke off.
    """
    config, ledger = components.config, components.model.ledger
    _join_parts(folder, jobs)
    used = taken(folder.read_traces())
    broken_off = _broken_off(folder)
    for arm in config.arms:
        if arm not in used:
            reason = broken_off[arm]["commonest"]
            raise Stopped(f"{folder.path}: no dialogue of {arm} was held ({reason}); --resume tries again")
    found = results(
        config,
        components.world.name,
        components.world.fingerprint,
        _parameters(folder, jobs),
        folder.read_traces(),
        {arm: use.per_dialogue(config.price) for arm, use in used.items()},
        broken_off,
        why(
            config.arms,
            config.limit,
            folder.read_traces(),
            interference_in(folder, config.arms, config.seeds),
            solved(config, components.world.name),
        ),
    )
    found["budgets"] = budgets(config, folder, found["arms"])
    timings = {
        "total_seconds": round(seconds, 3),
        "jobs": _job_seconds(folder, jobs),
        "language_model": {arm: use.on_the_way() for arm, use in used.items()},
        **({"spent": spent(ledger)} if ledger else {}),
    }
    folder.write_json(folder.timings, timings)
    folder.write_json(folder.results, found)  # makes the run a finished one; all else is made from it
    write_report(folder)
    write_exports(folder)
    if not broken_off:  # else their parts are what --resume goes on from
        folder.failed.unlink()  # not before the results are there, which it would make out of date
        folder.tidy()
    return found, timings


def _broken_off(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """How many dialogues of which arm broke off, and the commonest reason."""
    reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in folder.failed.read_text("utf-8").splitlines():
        told = json.loads(line)
        reasons[told["arm"]][told["failed"]] += 1
    return {
        arm: {"dialogues": counted.total(), "commonest": counted.most_common(1)[0][0]}
        for arm, counted in reasons.items()
    }


def _join_parts(folder: RunFolder, jobs: list[Job]) -> None:
    """All traces in one file, in the order of the jobs; so, too, those of dialogues that broke off."""
    _join(folder.traces, [folder.part(job.arm, job.seed) for job in jobs])
    failed = [folder.part_failed(job.arm, job.seed) for job in jobs]
    _join(folder.failed, [path for path in failed if path.is_file()])


def _join(whole: Path, parts: list[Path]) -> None:
    """The lines of several files in one, each file's in the order of their dialogues."""
    temporary = whole.with_name(f".{whole.name}.tmp")
    with temporary.open("wb") as joined:
        for part in parts:
            lines: list[bytes] = part.read_bytes().splitlines(keepends=True)
            lines.sort(key=_index)
            joined.writelines(lines)
    os.replace(temporary, whole)


def _index(line: bytes) -> int:
    return int(json.loads(line)["index"])


def _parameters(folder: RunFolder, jobs: list[Job]) -> dict[str, int]:
    """Trainable parameters by arm, counted in the checkpoints."""
    found: dict[str, int] = {}
    for job in jobs:
        path = folder.checkpoint(job.arm, job.seed)
        if not path.is_file():
            found[job.arm] = 0
            continue
        found[job.arm] = parameters(checkpoint.load(path)[0])
    return found


def _job_seconds(folder: RunFolder, jobs: list[Job]) -> dict[str, Any]:
    """Seconds of each job as the parts recorded them."""
    spent = {f"{job.arm}-seed{job.seed}": folder.seconds(job.arm, job.seed) for job in jobs}
    return {name: seconds for name, seconds in spent.items() if seconds}
