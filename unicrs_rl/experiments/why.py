"""Why, not only who: what arms did differently, read off the turns of their traces.

``why`` of ``results.json``: what questions were worth, when an arm recommends, whether its manner depends
on the state, whether its heads pull against each other in training, how far it stays from a computed
optimum, and the conversations in which the first two arms differ most. See ``docs/why.md``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import fsum, log
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unicrs_rl.dialogue import STRATEGIES, Strategy
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.curves import Points, over_seeds
from unicrs_rl.experiments.planted import Truth, regret, solve
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.statistics import entropy
from unicrs_rl.graphs.planted import PROBLEMS, Problem

ENTROPY_BINS = tuple(float(bits) for bits in range(11))
"""Lower ends of the bins of posterior entropy, in bits; the last one is open."""
CONFIDENCE_BINS = tuple(tenths / 10 for tenths in range(10))
"""Lower ends of the bins of confidence."""
TOLD_NOTHING = 0.01
"""An answer after which the entropy fell by less, in bits, told nothing."""
RANKS = 5
"""Places of a question among the most informative that are told apart."""
PERMUTATIONS = 199
SHOWN = 10
"""Conversations in which two arms differ most."""
CURVE_POINTS = 100
PHASES = ("early", "middle", "late")
REPLIES = ("liked", "disliked", "none")
REJECTION = ("no", "yes")
_SEED = 20_200_219
_DECIMALS = 6

Interference: TypeAlias = Mapping[str, Mapping[int, Points]]
"""By arm and training seed, (training step, cosine between the gradients of two heads)."""
_DECIDED = ("act", "strategy", "attributes", "items", "told")
"""What decisions can differ in, as traces name it."""
_Decision: TypeAlias = tuple[Any, ...]
"""The values of :data:`_DECIDED`; ``None`` where a trace has none."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A question that was answered, and what the answer taught.

    Attributes:
        triple: index of the conversation's triple.
        turn: that asked, from 1.
        rank: place among the most informative, from 1; ``None`` beyond :data:`RANKS`.
        drop: of the entropy, in bits.
        expected: the question's own entropy, in bits; ``None`` where it was not listed.
        confidence_gain: rise of the mass of the list.
    """

    triple: int
    turn: int
    rank: int | None
    drop: float
    expected: float | None
    confidence_gain: float

    @property
    def told_nothing(self) -> float:
        return float(self.drop < TOLD_NOTHING)


@dataclass(frozen=True, slots=True)
class _Manner:
    """The strategy of a turn, with the state it was chosen in.

    Attributes:
        strategy: index into the fourteen.
        phase, last_reply, after_rejection: index into the feature's values; -1 where it has none.
    """

    dialogue: int
    strategy: int
    phase: int
    last_reply: int
    after_rejection: int


@dataclass(slots=True)
class _Seen:
    """What the traces of an arm say.

    Attributes:
        asked: turns that asked.
        ends: of each dialogue (index of its triple, whether it succeeded).
        lost: in a planted world, of each turn of each dialogue its act, and what it fell short of the best.
        sights: of each turn (entropy, confidence, whether it recommended).
    """

    asked: int = 0
    ends: list[tuple[int, bool]] = field(default_factory=list)
    lost: list[list[tuple[str, float]]] = field(default_factory=list)
    questions: list[_Question] = field(default_factory=list)
    sights: list[tuple[float, float, bool]] = field(default_factory=list)
    manners: list[_Manner] = field(default_factory=list)

    def add(self, line: Mapping[str, Any], limit: int, problem: Problem | None) -> None:
        """Take up a dialogue."""
        turns, dialogue = line["turns"], len(self.ends)
        for place, turn in enumerate(turns):
            act, view = turn["decision"]["act"], turn.get("view")
            before = turns[place - 1]["reply"] if place else None
            self.manners.append(_manner(dialogue, place, turn["decision"]["strategy"], before, limit))
            if view is not None:
                self.sights.append((view["entropy"], view["confidence"], act == "recommend"))
                self.asked += act == "ask"
        for place, (turn, after) in enumerate(pairwise(turns), start=1):
            if turn["decision"]["act"] == "ask" and "view" in turn and "view" in after:
                self.questions.append(_question(line["index"], place, turn, after["view"]))
        self.ends.append((line["index"], line["outcome"]["success"]))
        if problem is not None:
            acts = (turn["decision"]["act"] for turn in turns)
            self.lost.append(list(zip(acts, regret(problem, line), strict=True)))


def _manner(
    dialogue: int, place: int, strategy: str, before: Mapping[str, Any] | None, limit: int
) -> _Manner:
    phase = min(len(PHASES) - 1, place * len(PHASES) // limit)
    position = Strategy(strategy).position
    if before is None:
        return _Manner(dialogue, position, phase, -1, -1)
    reply = "liked" if before["liked"] else "disliked" if before["disliked"] else "none"
    return _Manner(dialogue, position, phase, REPLIES.index(reply), int(bool(before["rejected"])))


def _question(triple: int, place: int, turn: Mapping[str, Any], after: Mapping[str, Any]) -> _Question:
    view, asked = turn["view"], turn["decision"]["attributes"]
    ranked = [(rank, bits) for rank, (about, bits, _) in enumerate(view["questions"], 1) if about in asked]
    rank, expected = ranked[0] if ranked else (None, None)
    return _Question(
        triple,
        place,
        rank if rank is not None and rank <= RANKS else None,
        view["entropy"] - after["entropy"],
        expected,
        after["confidence"] - view["confidence"],
    )


def why(
    arms: Sequence[str],
    limit: int,
    traces: Iterable[Mapping[str, Any]],
    interference: Interference | None = None,
    problem: Problem | None = None,
) -> dict[str, Any]:
    """What ``results.json`` says under ``why``.

    Args:
        arms: in the order of the run; the first two are set against each other.
        limit: T, turns allowed.
        traces: of all conversations; those of earlier versions have no views, and say less.
        interference: what trainings noted.
        problem: of a planted world, whose optimum can be computed.
    """
    seen = {arm: _Seen() for arm in arms}
    talks: dict[str, dict[int, _Talk]] = {arm: {} for arm in arms[:2]}
    for line in traces:
        seen[line["arm"]].add(line, limit, problem)
        if line["arm"] in talks:
            talks[line["arm"]].setdefault(line["index"], _Talk.of(line))
    return {
        "arms": {
            arm: {
                **_of_views(found),
                "strategies": _strategies(found.manners),
                **_pulling((interference or {}).get(arm, {})),
                **({} if problem is None else {"regret": _regret(solve(problem), found)}),
            }
            for arm, found in seen.items()
        },
        "most_different": _most_different(*talks.values()) if len(talks) == 2 else [],
    }


def _of_views(seen: _Seen) -> dict[str, Any]:
    """What rests on views, where there are any."""
    if not seen.sights:
        return {}
    entropies, confidences, recommended = (np.array(column) for column in zip(*seen.sights, strict=True))
    return {
        "questions": _questions(seen),
        "timing": {
            "entropy": _binned(entropies, recommended, ENTROPY_BINS, None),
            "confidence": _binned(confidences, recommended, CONFIDENCE_BINS, 1.0),
        },
    }


def estimate(values: Sequence[float], groups: Sequence[int]) -> dict[str, Any]:
    """A mean with its 95% interval, values of one group taken as dependent.

    Least squares on a constant with standard errors clustered by group, and the t distribution with one
    degree of freedom less than there are groups.

    Returns:
        ``mean`` (``None`` without values), ``ci95`` (``None`` with fewer than two groups) and ``n``.
    """
    if not values:
        return {"mean": None, "ci95": None, "n": 0}
    found = {"mean": _round(fmean(values)), "ci95": None, "n": len(values)}
    if len(set(groups)) < 2:
        return found
    if min(values) == max(values):
        return found | {"ci95": [found["mean"]] * 2}
    from statsmodels.regression.linear_model import OLS  # late: takes a second to import

    fitted = OLS(np.asarray(values), np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": np.asarray(groups)}, use_t=True
    )
    return found | {"ci95": [_round(end) for end in fitted.conf_int()[0]]}


def _questions(seen: _Seen) -> dict[str, Any]:
    """What the answers to an arm's questions taught."""
    asked = seen.questions
    listed = [(q, q.expected) for q in asked if q.expected is not None]
    triples, of_listed = [q.triple for q in asked], [q.triple for q, _ in listed]
    by_rank: defaultdict[int | None, list[_Question]] = defaultdict(list)
    by_turn: defaultdict[int, list[_Question]] = defaultdict(list)
    for question in asked:
        by_rank[question.rank].append(question)
        by_turn[question.turn].append(question)
    ranks = sorted(by_rank.items(), key=lambda entry: entry[0] or RANKS + 1)
    return {
        "asked": seen.asked,
        "answered": len(asked),
        "drop": estimate([q.drop for q in asked], triples),
        "expected": estimate([expected for _, expected in listed], of_listed),
        "surplus": estimate([q.drop - expected for q, expected in listed], of_listed),
        "confidence_gain": estimate([q.confidence_gain for q in asked], triples),
        "told_nothing": estimate([q.told_nothing for q in asked], triples),
        "by_rank": [{"rank": rank, **_worth(those)} for rank, those in ranks],
        "by_turn": [{"turn": turn, **_worth(those)} for turn, those in sorted(by_turn.items())],
    }


def _worth(questions: Sequence[_Question]) -> dict[str, Any]:
    """Means over some questions."""
    expected = [q.expected for q in questions if q.expected is not None]
    return {
        "n": len(questions),
        "drop": _round(fmean(q.drop for q in questions)),
        "expected": _round(fmean(expected)) if expected else None,
        "confidence_gain": _round(fmean(q.confidence_gain for q in questions)),
        "told_nothing": _round(fmean(q.told_nothing for q in questions)),
    }


def _binned(
    values: NDArray[np.float64], recommended: NDArray[np.bool_], lows: Sequence[float], top: float | None
) -> list[dict[str, Any]]:
    """How often a list was recommended, by bins of what was believed; empty bins left out."""
    places = np.digitize(values, lows) - 1
    found = []
    for place, (low, high) in enumerate(zip(lows, (*lows[1:], top), strict=True)):
        inside = recommended[places == place]
        if len(inside):
            test = stats.binomtest(int(inside.sum()), len(inside))
            ends = test.proportion_ci(method="wilson")
            found.append(
                {
                    "low": low,
                    "high": high,
                    "n": len(inside),
                    "recommended": test.k,
                    "share": _round(test.statistic),
                    "ci95": [_round(ends.low), _round(ends.high)],
                }
            )
    return found


def _strategies(manners: Sequence[_Manner]) -> dict[str, Any]:
    """How the manner depends on each feature of the state."""
    columns = {
        "phase": (PHASES, [manner.phase for manner in manners]),
        "last_reply": (REPLIES, [manner.last_reply for manner in manners]),
        "after_rejection": (REJECTION, [manner.after_rejection for manner in manners]),
    }
    dialogues = np.array([manner.dialogue for manner in manners], dtype=np.int64)
    strategies = np.array([manner.strategy for manner in manners], dtype=np.int64)
    found = {}
    for name, (values, column) in columns.items():
        feature = np.array(column, dtype=np.int64)
        there = feature >= 0
        table = _table(strategies[there], feature[there], len(values))
        found[name] = {
            "values": list(values),
            "table": {
                strategy.value: row
                for strategy, row in zip(STRATEGIES, table.tolist(), strict=True)
                if any(row)
            },
            "n": int(there.sum()),
            **_dependence(strategies[there], feature[there], dialogues[there], len(values)),
        }
    return found


def _table(strategies: NDArray[np.int64], feature: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Turns by strategy and value of a feature: ``[14, width]``."""
    cells = np.bincount(strategies * width + feature, minlength=len(STRATEGIES) * width)
    return cells.reshape(len(STRATEGIES), width)


def _dependence(
    strategies: NDArray[np.int64], feature: NDArray[np.int64], dialogues: NDArray[np.int64], width: int
) -> dict[str, float | None]:
    """Mutual information of strategy and feature in bits, beside what chance alone finds.

    Args:
        strategies, feature, dialogues: ``[turns]``; dialogues ascend.
    """
    if not len(strategies) or np.ptp(strategies) == 0 or np.ptp(feature) == 0:
        return {"bits": 0.0, "by_chance": 0.0, "p": None}
    rng = np.random.default_rng(_SEED)
    codes = strategies.astype(np.float64)

    def shuffled(size: tuple[int, ...]) -> NDArray[np.float64]:
        """The strategies, permuted among the turns of the same dialogue: sorting keeps dialogues apart."""
        return np.stack([codes[np.argsort(dialogues + rng.random(size[1]))] for _ in range(size[0])])

    table = _table(strategies, feature, width).astype(np.float64)
    apart = entropy(table.sum(axis=0)) + entropy(table.sum(axis=1))

    def bits(sample: NDArray[np.float64]) -> float:
        """``I = H(strategy) + H(feature) - H(both)``; permutations leave the first two as they are."""
        together = entropy(_table(sample.astype(np.int64), feature, width).ravel().astype(np.float64))
        return max(0.0, float(apart - together) / log(2.0))

    test = stats.monte_carlo_test(
        codes, shuffled, bits, n_resamples=PERMUTATIONS, batch=10, alternative="greater"
    )
    return {
        "bits": _round(float(test.statistic)),
        "by_chance": _round(float(test.null_distribution.mean())),
        "p": _round(float(test.pvalue)),
    }


def interference_in(
    folder: RunFolder, arms: Iterable[str], seeds: Iterable[int]
) -> dict[str, dict[int, Points]]:
    """What the trainings of a run noted of how the gradients of two heads agree.

    Raises:
        InputError: if a checkpoint cannot be read.
    """
    found: dict[str, dict[int, Points]] = {}
    for arm in arms:
        for seed in seeds:
            path = folder.checkpoint(arm, seed)
            if path.is_file():
                _, header = checkpoint.load(path)
                learner = header["learner"]
                parts = (learner, *learner.get("parts", {}).values())  # of several, one has both heads
                noted = (part["interference"] for part in parts if part.get("interference"))
                points: list[tuple[int, float]] = next(noted, [])
                if points:
                    found.setdefault(arm, {})[seed] = [(int(step), float(cosine)) for step, cosine in points]
    return found


def _pulling(runs: Mapping[int, Points]) -> dict[str, Any]:
    """How far two heads pulled their encoder the same way; nothing where nothing was noted."""
    if not runs:
        return {}
    values = [cosine for points in runs.values() for _, cosine in points]
    seeds = [seed for seed, points in runs.items() for _ in points]
    band = over_seeds(runs.values())
    parts = np.array_split(np.arange(len(band.steps)), min(CURVE_POINTS, len(band.steps)))
    curve = [[band.steps[part[-1]], _round(float(np.take(band.mean, part).mean()))] for part in parts]
    return {"interference": {**estimate(values, seeds), "seeds": len(runs), "curve": curve}}


def solved(config: RunConfig, world: str) -> Problem | None:
    """The problem of a planted world, where it is met as its optimum is computed."""
    problem = PROBLEMS.get(world)
    if problem is None or (config.user, config.slate, config.limit) != ("planted", 1, problem.limit):
        return None
    return problem


def _regret(known: Truth, seen: _Seen) -> dict[str, Any]:
    """What an arm's decisions lost against the best possible ones, in chances of success."""
    by_turn: defaultdict[int, list[float]] = defaultdict(list)
    by_act: defaultdict[str, list[float]] = defaultdict(list)
    for talk in seen.lost:
        for turn, (act, lost) in enumerate(talk, start=1):
            by_turn[turn].append(lost)
            by_act[act].append(lost)
    whole = [fsum(lost for _, lost in talk) for talk in seen.lost]
    return {
        "optimum": _round(known.joint),
        "decomposed": _round(known.decomposed),
        "regret": estimate(whole, [triple for triple, _ in seen.ends]),
        "share": _round(fmean(success for _, success in seen.ends) / known.joint),
        "by_turn": [
            {"turn": turn, "n": len(lost), "lost": _round(fmean(lost))}
            for turn, lost in sorted(by_turn.items())
        ],
        "by_act": {
            act: {"n": len(lost), "lost": _round(fmean(lost))} for act, lost in sorted(by_act.items())
        },
    }


@dataclass(frozen=True, slots=True)
class _Talk:
    """A conversation as it is set beside another on the same triple."""

    arm: str
    seed: int
    index: int
    hdcg: float
    turns: int
    success: bool
    decisions: tuple[_Decision, ...]

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> _Talk:
        decisions = (turn["decision"] for turn in line["turns"])
        return cls(
            line["arm"],
            line["seed"],
            line["index"],
            line["metrics"]["hdcg"],
            len(line["turns"]),
            line["outcome"]["success"],
            tuple(tuple(decision.get(name) for name in _DECIDED) for decision in decisions),
        )

    @property
    def told(self) -> dict[str, Any]:
        return {
            "arm": self.arm,
            "seed": self.seed,
            "index": self.index,
            "hdcg": _round(self.hdcg),
            "turns": self.turns,
            "success": self.success,
        }


def _most_different(a: Mapping[int, _Talk], b: Mapping[int, _Talk]) -> list[dict[str, Any]]:
    """Conversations on the same triple, by the gap in hDCG, then in turns, then in order."""

    def gap(index: int) -> tuple[float, int, int]:
        one, other = a[index], b[index]
        return -abs(one.hdcg - other.hdcg), -abs(one.turns - other.turns), index

    found = []
    for index in sorted(a.keys() & b.keys(), key=gap)[:SHOWN]:
        turn, columns = _parting(a[index].decisions, b[index].decisions)
        found.append(
            {"index": index, "a": a[index].told, "b": b[index].told, "parts_at": turn, "parts_in": columns}
        )
    return found


def _parting(a: Sequence[_Decision], b: Sequence[_Decision]) -> tuple[int | None, list[str]]:
    """The first turn, from 1, in which two arms decide differently, and what; ``None`` if they never do."""
    for turn, (one, other) in enumerate(zip(a, b, strict=False), start=1):
        if one != other:
            return turn, [name for name, x, y in zip(_DECIDED, one, other, strict=True) if x != y]
    return (None, []) if len(a) == len(b) else (min(len(a), len(b)) + 1, [])


def _round(value: float) -> float:
    return round(float(value), _DECIMALS) + 0.0  # + 0.0: no negative zeros
