"""The leak audit: nothing that a policy or a judge must not know reaches it.

Four things are looked at: decisions when what is hidden is exchanged (:mod:`.hidden`), whom training and
evaluation share and whether sessions give their target away (:mod:`.splits`), whether the judge knows whom
it judges (:mod:`.blind`), and what a probe finds in the inputs of the first turn (:mod:`.probe`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from unicrs_rl.dialogue import Dialogue
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.controls.blind import renamed, seen_through
from unicrs_rl.experiments.controls.finding import Finding, Size
from unicrs_rl.experiments.controls.hidden import (
    OTHERS,
    Compared,
    Exchange,
    compared,
    compared_in_engine,
    of_latents,
    of_target,
    seats,
)
from unicrs_rl.experiments.controls.learned import learned
from unicrs_rl.experiments.controls.probe import line_ups, probe
from unicrs_rl.experiments.controls.splits import overlap, telling_sessions
from unicrs_rl.experiments.controls.stage import KINDS, PLANTED, planted_stage, stages
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world, worlds
from unicrs_rl.judging.judges import judges
from unicrs_rl.policy.arms import arms, policy_class
from unicrs_rl.policy.base import Policy
from unicrs_rl.policy.control import POINTS

CONTROL = "leak"
EXCHANGES: Mapping[str, Exchange] = {"target": of_target, "latents": of_latents}
SILENT = ("mcr", "latent")
"""Those that are also met without words."""
PROBED = ("mcr", "latent")
LEVEL = 0.05
"""Chance that any of the probes raises a false alarm."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is looked at.

    Attributes:
        dialogues: held with each arm and kind of seekers, twice for each exchange.
        trained: conversations that learners are trained with before.
        limit: turns.
        line_ups: of the probe.
    """

    dialogues: int
    trained: int
    limit: int
    line_ups: int


EXTENTS = {Size.SMALL: Extent(8, 16, 5, 300), Size.FULL: Extent(100, 200, 15, 3000)}


def leak(
    size: Size,
    data: Path | None = None,
    progress: Progress = lambda *_: None,
    extent: Extent | None = None,
    kinds: Sequence[str] = (*KINDS, PLANTED),
) -> list[Finding]:
    """Run the leak audit.

    Args:
        data: folder that holds ``redial`` or ``lastfm``, whose splits are then looked at, too.
        extent: instead of the size's.
        kinds: of seekers, ``latent`` among them.

    Raises:
        InputError: if the data are broken.
    """
    extent = extent or EXTENTS[size]
    torch.set_num_threads(1)
    stage = Stage.of(extent, kinds)
    return [
        *_decisions(stage, progress),
        *_splits(data),
        *_blind(stage, progress),
        *_probes(stage, progress),
    ]


@dataclass(frozen=True)
class Stage:
    """What the audit needs of the product.

    Attributes:
        by_kind: the components for each kind of seekers.
        arms: that are audited.
        left_out: arms that are not, with the reason.
    """

    extent: Extent
    by_kind: Mapping[str, Components]
    arms: tuple[str, ...]
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, extent: Extent, kinds: Sequence[str]) -> Stage:
        """With these kinds of seekers, ``latent`` among them."""
        settings = {"limit": extent.limit, "train_dialogues": extent.trained}
        by_kind = stages(settings, [kind for kind in kinds if kind in KINDS])
        arms, left_out = _audited(by_kind["latent"].world)
        if PLANTED in kinds:
            by_kind[PLANTED] = planted_stage(extent.trained)
        return cls(extent, by_kind, arms, left_out)


def _audited(world: World) -> tuple[tuple[str, ...], dict[str, str]]:
    """The arms that can be had without anything else, and why the others cannot."""
    names = [name for name in arms if name != "grid"]
    names += [f"grid@{name}" for name, point in POINTS.items() if point.arm == "grid" and "grid" in arms]
    found, left_out = [], {}
    for name in names:
        try:
            policy_class(name).check({}, world.catalogue)
            found.append(name)
        except InputError as error:
            left_out[name] = str(error)
    return tuple(found), left_out


def _decisions(stage: Stage, progress: Progress) -> Iterator[Finding]:
    """Decisions when what is hidden is exchanged, for every arm and every kind of seekers."""
    made: dict[tuple[str, str, str], Policy] = {}
    for done, (kind, components) in enumerate(stage.by_kind.items()):
        progress("leak: what is hidden is exchanged", done + 1, len(stage.by_kind))
        world, met = components.world, components.config.met
        sessions, others = (world.sessions(Split.TEST, n, 0) for n in (stage.extent.dialogues, 5 * OTHERS))
        policies = {}
        for arm in stage.arms:
            point = POINTS.get(arm.partition("@")[2])
            if point is not None and point.impossible(sociable=met != "mcr") is not None:
                continue
            if (world.name, met, arm) not in made:
                made[world.name, met, arm] = learned(arm, 0, components)
            policies[arm] = made[world.name, met, arm]
        seekers = Conversations(components).seekers
        for what, exchange in EXCHANGES.items():
            pairs = seats(seekers, sessions, others, exchange)
            runs = {arm: compared(policy, components.of(arm), pairs) for arm, policy in policies.items()}
            yield exchanged(f"{kind} seekers, {what} exchanged", runs)
        if kind in SILENT:
            whole = {arm: policy for arm, policy in policies.items() if policy.complete}
            pairs = seats(seekers, sessions, others, of_target, words=False)
            runs = {arm: compared(policy, components, pairs, words=False) for arm, policy in whole.items()}
            yield exchanged(f"{kind} seekers without words, target exchanged", runs)
            if kind == "mcr":
                runs = {arm: compared_in_engine(policy, components, pairs) for arm, policy in whole.items()}
                yield exchanged("mcr seekers in the batched engine, target exchanged", runs)
    if stage.left_out:
        names = ", ".join(stage.left_out)
        yield Finding(CONTROL, "arms that were left out", "-", f"{names}: cannot be had without files", None)


def exchanged(check: str, runs: Mapping[str, Compared]) -> Finding:
    """What came of exchanging what is hidden, for several arms."""
    leaking = {arm: one.leaks for arm, one in runs.items() if one.leaks}
    decisions, later = sum(r.decisions for r in runs.values()), sum(r.later for r in runs.values())
    dialogues = sum(r.dialogues for r in runs.values())
    said = f"{len(runs)} arms, {decisions} decisions in {dialogues} pairs of dialogues, {later} after a reply"
    if leaking:
        arm, leaks = next(iter(leaking.items()))
        where = f"{arm} in dialogue {leaks[0][0]}, turn {leaks[0][1] + 1}"
        said += f"; LEAK: {', '.join(leaking)} (first: {where})"
    passed = None if not decisions else not leaking
    return Finding(
        CONTROL,
        f"decisions: {check}",
        "the same until a reply differs",
        said if decisions else "no two dialogues opened alike: nothing to compare",
        passed,
        {arm: asdict(one) for arm, one in runs.items()},
    )


def _splits(data: Path | None) -> Iterator[Finding]:
    """Whom training and evaluation share, in every world at hand."""
    for world in _worlds_at_hand(data):
        shared = overlap(world)
        if shared.by_interaction:
            expected = "no (seeker, item) pair and no random numbers shared (splits part interactions)"
        else:
            expected = "no seeker, no (seeker, item) pair and no random numbers shared"
        found = (
            f"shared: {shared.seekers} of {shared.people} seekers, {shared.pairs} pairs, {shared.keys} keys"
        )
        yield Finding(CONTROL, f"splits: {world.name}", expected, found, shared.clean, asdict(shared))
        telling = {split.value: telling_sessions(world, split, 500) for split in (Split.TRAIN, Split.TEST)}
        count = sum(map(len, telling.values()))
        yield Finding(
            CONTROL,
            f"sessions: {world.name}",
            "nothing told of a session follows from its target",
            f"{count} of {2 * 500} sessions changed when targets were dealt anew",
            count == 0,
            telling,
        )


def _worlds_at_hand(data: Path | None) -> Iterator[World]:
    """Every world that needs no data, and those whose data are there."""
    for name in worlds:
        there = None if data is None else data / name
        if there is not None and there.is_dir():
            yield make_world(name, there)
            continue
        try:
            found = make_world(name)
        except InputError:
            continue  # it needs data that are not here
        yield found


def _blind(stage: Stage, progress: Progress) -> Iterator[Finding]:
    """Whether a judge knows whose dialogue it scores."""
    components = stage.by_kind["latent"]
    sessions = components.world.sessions(Split.TEST, stage.extent.dialogues, 0)
    policies = {arm: learned(arm, 0, components) for arm in ("unified", "rso", "max-entropy", "llm")}
    dialogues: list[Dialogue] = []
    for arm, policy in policies.items():
        dialogues += [e.dialogue for e in Conversations(components.of(arm)).hold(policy, sessions)]
    for done, (name, make) in enumerate((name, judges[name]) for name in judges):
        progress("leak: judges", done + 1, len(tuple(judges)))
        judge = make(components.world.catalogue, components.model, 2)
        seen = seen_through(judge, dialogues)
        yield Finding(
            CONTROL,
            f"judge {name}: without names and plans, shuffled",
            "every score the same",
            f"{len(seen)} of {len(dialogues)} scores of {len(policies)} arms differ",
            not seen,
            {"dialogues": len(dialogues), "differing": seen},
        )
        judged = replace(components, judge=judge)
        differing, handed = [], []
        for arm, policy in policies.items():
            other, told = renamed(policy, arm, 0, judged, sessions)
            differing += [f"{arm} {index}" for index in other]
            handed += [arm] * told
        yield Finding(
            CONTROL,
            f"judge {name}: arms under another name",
            "the same dialogues and scores, and no name handed to the judge",
            f"{len(differing)} of {len(dialogues)} dialogues differ; {len(handed)} names handed over",
            not differing and not handed,
            {"differing": differing, "handed": handed},
        )


def _probes(stage: Stage, progress: Progress) -> Iterator[Finding]:
    """What a probe finds in the inputs of the first turn."""
    owned = stage.by_kind["latent"].world.catalogue.item_attributes.toarray().astype(bool)
    kinds = [kind for kind in PROBED if kind in stage.by_kind]
    for done, kind in enumerate(kinds):
        progress("leak: probes", done + 1, len(kinds))
        found = probe(line_ups(stage.by_kind[kind], stage.extent.line_ups), owned)
        yield Finding(
            CONTROL,
            f"probe: {kind} seekers, inputs of the first turn",
            f"AUC of targets among look-alikes 0.5: not above at p < {LEVEL}/{len(kinds)}",
            f"{found.auc:.3f} [{found.low:.3f}, {found.high:.3f}], p {found.p:.3f}, "
            f"{found.dialogues} line-ups (what history and opening tell honestly: {found.honest:.3f})",
            found.p >= LEVEL / len(kinds),
            {name: round(value, 6) for name, value in asdict(found).items()},
        )
