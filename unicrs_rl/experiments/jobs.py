"""Training and evaluating each arm with each seed, in this process or in several.

A job is one (arm, seed). Jobs share nothing but the run folder's embeddings, so they may run in any
order and in parallel with the same results. Every process computes on one thread: small batches get
slower with more, and results stay the same on every machine with the same libraries.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch

from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.components import Components, build, read_world
from unicrs_rl.experiments.config import RunConfig, resolve
from unicrs_rl.experiments.evaluation import BATCH, evaluate_into
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.timing import fit_recommend_above
from unicrs_rl.experiments.training import Progress, train
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.ledger import paid_by
from unicrs_rl.policy.base import Learner

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """One arm with one training seed."""

    arm: str
    seed: int


def plan(config: RunConfig) -> list[Job]:
    """The jobs of a run; arms that learn nothing run once, with the first seed."""
    jobs = []
    for arm in config.arms:
        jobs += [Job(arm, seed) for seed in (config.seeds if config.trains(arm) else config.seeds[:1])]
    return jobs


def run_job(
    job: Job,
    components: Components,
    folder: RunFolder,
    evaluating: bool,
    batch_size: int = BATCH,
    progress: Progress = lambda *_: None,
) -> None:
    """Train (if the arm learns) and evaluate, going on where a killed run stopped."""
    config = components.config
    policy = components.policy(job.arm, job.seed, config.train_dialogues, progress)
    if isinstance(policy, Learner) and config.trains(job.arm):
        with paid_by(job.arm):
            seconds = train(policy, job.arm, job.seed, components, folder, progress)
        folder.note_seconds(job.arm, job.seed, "train_seconds", seconds)
    if evaluating:
        sessions = components.world.sessions(Split.TEST, config.dialogues, config.evaluation_seed)
        evaluate_into(folder, policy, job.arm, job.seed, components, sessions, progress, batch_size)


def shared_components(
    config: RunConfig,
    world: World,
    folder: RunFolder | None,
    progress: Progress = lambda *_: None,
    keep: bool = True,
) -> Components:
    """The components of a run, with its folder's embeddings if it has any, else trained (and kept there)."""
    torch.set_num_threads(1)
    if folder is not None and folder.embeddings.is_file():
        tensors, header = checkpoint.load(folder.embeddings, world.fingerprint)
        known = config.recommend_above or header["recommend_above"]
        return build(config, world, Embeddings.from_tensors(tensors), known)
    components = build(config, world, progress=lambda done, total: progress("node embeddings", done, total))
    fitted = config.recommend_above or fit_recommend_above(components, progress)
    if folder is not None and keep:
        header = {"world": world.fingerprint, "recommend_above": fitted}
        checkpoint.save(folder.embeddings, components.embeddings.tensors(), header)
    return components.recommending_above(fitted)


def run_jobs(
    jobs: Sequence[Job],
    components: Components,
    folder: RunFolder,
    workers: int,
    evaluating: bool = True,
    batch_size: int = BATCH,
    progress: Progress = lambda *_: None,
) -> None:
    """Run jobs, in this process if ``workers`` is 1 or there is a real language model, which they share."""
    if workers <= 1 or len(jobs) <= 1 or components.config.llm != EmbeddedModel.name:
        for job in jobs:
            run_job(job, components, folder, evaluating, batch_size, progress)
        return
    context = multiprocessing.get_context("spawn")
    news: Queue[tuple[str, int, int]] = context.Queue()
    settings = (folder.path, news, evaluating, batch_size, os.getpid())
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start_worker, settings) as pool:
        waiting = {pool.submit(_work, job) for job in jobs}
        try:
            while waiting:
                finished, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
                while not news.empty():
                    progress(*news.get())
                for future in finished:
                    future.result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process died (out of memory?); --resume goes on, --workers 1 needs less"
            ) from None
        except BaseException:  # also an interrupt: no worker may go on by itself
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


_worker: dict[str, Any] = {}
"""What a worker process keeps between its jobs."""


def _start_worker(
    path: Path, news: Queue[tuple[str, int, int]], evaluating: bool, batch_size: int, parent: int
) -> None:
    """Prepare a worker process: the components are built once."""
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    folder = RunFolder(path)
    config = resolve({}, folder.config_file)
    components = shared_components(config, read_world(config), folder)
    report: Callable[[str, int, int], None] = lambda *update: news.put(update)  # noqa: E731
    _worker.update(
        components=components, folder=folder, evaluating=evaluating, batch_size=batch_size, progress=report
    )


def _work(job: Job) -> None:
    run_job(job, **_worker)


def _follow_parent(parent: int) -> None:
    """End this process when the parent is gone, so that a killed run leaves nobody writing."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
