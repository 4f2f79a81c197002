"""From traces to numbers: means, paired differences, costs and the verdict.

``results.json`` holds nothing that differs between two runs of the same configuration; what does
(seconds) is in ``timings.json``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from numpy.typing import NDArray

from unicrs_rl.errors import InputError, Unjudged
from unicrs_rl.experiments import realised
from unicrs_rl.experiments.comparisons import comparisons, rounded
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.controls.shortcut import shortcuts_among
from unicrs_rl.experiments.costs import seeker_calls
from unicrs_rl.experiments.realised import Met
from unicrs_rl.experiments.statistics import interval_of_arm, mean_over_seeds
from unicrs_rl.experiments.verdict import rests_on, verdict
from unicrs_rl.judging.metrics import METRICS, Persuasion, distinct, persuasion_case
from unicrs_rl.judging.prompted import PromptedJudge, prompt_version

SCHEMA_VERSION = 3

Values = dict[str, dict[str, NDArray[np.float64]]]
"""Arm -> metric -> ``[seeds, triples]``; NaN where a dialogue has no value."""
Lines = Mapping[int, Mapping[int, Mapping[str, Any]]]
"""Training seed -> index of the triple -> what is kept of the trace."""


def schema() -> dict[str, Any]:
    """The JSON schema of ``results.json``."""
    text = resources.files(__package__).joinpath("results.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def results(
    config: RunConfig,
    world: str,
    fingerprint: str,
    parameters: Mapping[str, int],
    traces: Iterable[Mapping[str, Any]],
    usage: Mapping[str, Mapping[str, Any]],
    broken_off: Mapping[str, Mapping[str, Any]],
    why: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``results.json``, checked against its schema.

    Args:
        world: its name.
        fingerprint: of the world.
        parameters: trainable parameters by arm.
        traces: of all conversations of the run.
        usage: what a dialogue took of the language model, by arm: for the recommender and the judge
            (``by_task``), and for the seeker (``seeker_by_task``).
        broken_off: how many conversations of an arm are missing because they broke off, and why.
        why: what the arms did differently; see :mod:`~unicrs_rl.experiments.why`.
    """
    by_arm: dict[str, dict[int, dict[int, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for line in traces:
        by_arm[line["arm"]][line["seed"]][line["index"]] = gist(line)
    values = {arm: values_of(by_arm[arm], config.dialogues) for arm in config.arms}
    compared = comparisons(config, values)
    steady = without_drift(by_arm, config.dialogues)
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "world": world,
        "world_fingerprint": fingerprint,
        "protocol": {
            "user": config.seekers_name,
            "seekers": realised.told(config.seekers),
            "turns": config.limit,
            "slate": config.slate,
            "reject": config.reject.value,
            "dialogues": config.dialogues,
            "train_dialogues": config.train_dialogues,
            "seeds": list(config.seeds),
            "language_model": config.model_name,
            "judge": config.judge,
            **_prompted(config),
            "reward": config.reward.signal.value,
        },
        "arms": {
            arm: _arm(by_arm[arm], values[arm], parameters[arm], usage[arm])
            | {"seekers": seekers_of(config, by_arm[arm], values[arm], steady.get(arm))}
            | ({"failed": dict(broken_off[arm])} if arm in broken_off else {})
            for arm in config.arms
        },
        "humans": realised.humans(config.seekers.table),
        "statistics": config.statistics.model_dump(mode="json"),
        "comparisons": compared,
        "verdict": verdict(
            config.arms,
            {arm: means(values[arm]) for arm in config.arms},
            compared,
            config.dialogues,
            _verdict_learns(config),
        ),
        "rests_on": rests_on(config, world),
        **(_again_without_drift(config, steady) if steady else {}),
        **({"why": dict(why)} if why else {}),
        **({"shortcut": shortcuts} if (shortcuts := _shortcuts(by_arm, config)) else {}),
    }
    jsonschema.validate(found, schema())
    return found


def _verdict_learns(config: RunConfig) -> bool:
    """Whether any of the two arms that the verdict is about is trained."""
    return any(map(config.trains, config.arms[:2]))


def _prompted(config: RunConfig) -> dict[str, Any]:
    """What else a prompted judge's scores hold under."""
    if config.judge != PromptedJudge.name:
        return {}
    return {"judge_version": prompt_version(), "judge_samples": config.judge_samples}


def gist(line: Mapping[str, Any]) -> dict[str, Any]:
    """What the results need of a trace; whole traces of a long run would not fit into memory."""
    calls = [call for turn in line["turns"] for call in turn["calls"]]
    judge_calls = [call for turn in line["turns"] for call in turn.get("judge_calls", ())]
    asked = list(seeker_calls(line))
    return {
        "metrics": line["metrics"],
        "outcome": line["outcome"],
        "intentions": line["intentions"],
        "said": [turn["utterance"] for turn in line["turns"]],
        "calls": len(calls),
        "tokens": _tokens(calls),
        "failed_calls": sum(bool(call["failure"]) for call in calls),
        "invented": sum(len(turn.get("invented", ())) for turn in line["turns"]),
        "judge_calls": len(judge_calls),
        "judge_tokens": _tokens(judge_calls),
        "judge_failures": failures_of_judge(line),
        "seeker_calls": len(asked),
        "seeker_tokens": _tokens(asked),
        "failed_seeker_calls": sum(bool(call["failure"]) for call in asked),
        "seeker": Met.of(line),
    }


def _tokens(calls: Iterable[Mapping[str, Any]]) -> int:
    return sum(call["tokens_in"] + call["tokens_out"] for call in calls)


def failures_of_judge(line: Mapping[str, Any]) -> list[str]:
    """Why the judge's calls in a trace failed, one entry for each that did."""
    calls = (call for turn in line["turns"] for call in turn.get("judge_calls", ()))
    return [call["failure"] for call in calls if call["failure"]]


def values_of(by_seed: Lines, dialogues: int) -> dict[str, NDArray[np.float64]]:
    """Metric -> ``[seeds, triples]`` of one arm."""
    table = {metric.name: np.full((len(by_seed), dialogues), np.nan) for metric in METRICS}
    for row, lines in enumerate(by_seed.values()):
        for index, line in lines.items():
            for name, column in table.items():
                value = line["metrics"][name]
                column[row, index] = np.nan if value is None else value
    return table


def means(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float | None]:
    """Mean of each metric over the triples that have a value; ``None`` where none has.

    Args:
        values: ``[seeds, triples]`` or ``[triples]``, by metric; trainings are averaged first.
    """
    found = {name: mean_over_seeds(np.atleast_2d(table)) for name, table in values.items()}
    return {name: None if np.isnan(v).all() else rounded(float(np.nanmean(v))) for name, v in found.items()}


def intervals(values: Mapping[str, NDArray[np.float64]]) -> dict[str, list[float] | None]:
    """95% interval of each metric's mean, other trainings covered; ``None`` with fewer than two triples."""
    found = {name: interval_of_arm(np.atleast_2d(table)) for name, table in values.items()}
    return {name: None if ends is None else [rounded(end) for end in ends] for name, ends in found.items()}


def counts(values: Mapping[str, NDArray[np.float64]]) -> dict[str, int]:
    """How many triples each metric's mean rests on."""
    return {name: int((~np.isnan(np.atleast_2d(table))).any(axis=0).sum()) for name, table in values.items()}


def _arm(
    by_seed: Lines,
    values: Mapping[str, NDArray[np.float64]],
    parameters: int,
    usage: Mapping[str, Any],
) -> dict[str, Any]:
    lines = [line for rows in by_seed.values() for line in rows.values()]
    corpora = [distinct(text for line in rows.values() for text in line["said"]) for rows in by_seed.values()]
    known = [corpus for corpus in corpora if corpus is not None]
    return {
        "metrics": means(values) | {"dist2_corpus": rounded(float(np.mean(known))) if known else None},
        "ci95": intervals(values),
        "counts": counts(values),
        "persuasion": {
            case.value: sum(persuasion_case(line["intentions"]) is case for line in lines)
            for case in Persuasion
        },
        "by_seed": {
            str(seed): means(values_of({seed: rows}, max(rows) + 1)) for seed, rows in sorted(by_seed.items())
        },
        "success_by_turn": _success_by_turn(lines),
        "cost": {
            "lm_calls_per_dialogue": rounded(sum(line["calls"] for line in lines) / len(lines)),
            "tokens_per_dialogue": rounded(sum(line["tokens"] for line in lines) / len(lines)),
            "failed_calls": sum(line["failed_calls"] for line in lines),
            "invented_names_per_dialogue": rounded(sum(line["invented"] for line in lines) / len(lines)),
            "judge_calls_per_dialogue": rounded(sum(line["judge_calls"] for line in lines) / len(lines)),
            "judge_tokens_per_dialogue": rounded(sum(line["judge_tokens"] for line in lines) / len(lines)),
            "failed_judge_calls": sum(len(line["judge_failures"]) for line in lines),
            "seeker_calls_per_dialogue": rounded(sum(line["seeker_calls"] for line in lines) / len(lines)),
            "seeker_tokens_per_dialogue": rounded(sum(line["seeker_tokens"] for line in lines) / len(lines)),
            "failed_seeker_calls": sum(line["failed_seeker_calls"] for line in lines),
            **usage,
            **_usd(usage),
            "parameters": parameters,
            "train_seconds": None,
        },
        "unscored": unscored(
            [line["metrics"]["judge"] for line in lines],
            (failure for line in lines for failure in line["judge_failures"]),
        ),
    }


def seekers_of(
    config: RunConfig,
    by_seed: Lines,
    values: Mapping[str, NDArray[np.float64]],
    steady: Mapping[str, NDArray[np.float64]] | None,
) -> dict[str, Any]:
    """What the seekers of an arm turned out to be, and what the arm did with those that did not drift.

    Args:
        steady: the values without dialogues that drifted; ``None`` where none did.
    """
    met = [line["seeker"] for rows in by_seed.values() for line in rows.values()]
    by_value = _by_value(config, by_seed, values)
    return {
        **realised.measured(met),
        **({} if steady is None else {"without_drift": _summary(steady)}),
        **({"sweeps": by_value} if by_value else {}),
    }


def _summary(values: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Means with intervals and counts; ``dialogues`` are triples with any value."""
    return {
        "dialogues": counts(values)["at"],
        "metrics": means(values),
        "ci95": intervals(values),
        "counts": counts(values),
    }


def without_drift(by_arm: Mapping[str, Lines], dialogues: int) -> Values:
    """The values of dialogues in which no seeker drifted, by arm; none where none drifted at all."""
    everything = (
        line["seeker"] for lines in by_arm.values() for rows in lines.values() for line in rows.values()
    )
    if not any(seeker.drifted for seeker in everything):
        return {}
    return {
        arm: values_of(
            {
                seed: {index: line for index, line in rows.items() if not line["seeker"].drifted}
                for seed, rows in lines.items()
            },
            dialogues,
        )
        for arm, lines in by_arm.items()
    }


def _shortcuts(by_arm: Mapping[str, Lines], config: RunConfig) -> dict[str, Any]:
    """How many successes of each arm were shortcuts, and its metrics without these dialogues."""
    found = {}
    for arm in config.arms:
        counted = shortcuts_among(line["outcome"] for rows in by_arm[arm].values() for line in rows.values())
        if counted is None:
            return {}
        others = {
            seed: {index: line for index, line in rows.items() if not line["outcome"].get("mentioned_before")}
            for seed, rows in by_arm[arm].items()
        }
        found[arm] = counted | {"without": _summary(values_of(others, config.dialogues))}
    return found


def _by_value(
    config: RunConfig, by_seed: Lines, values: Mapping[str, NDArray[np.float64]]
) -> dict[str, list[dict[str, Any]]]:
    """What was found at each value of each latent that was swept; a triple has the same in all trainings."""
    first = {index: line["seeker"].first for rows in by_seed.values() for index, line in rows.items()}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, setting in config.seekers.latents.items():
        for value in setting.sweep or ():
            at_it = [index for index, latents in first.items() if latents.get(name) == round(value, 4)]
            if at_it:
                some = {metric: table[:, sorted(at_it)] for metric, table in values.items()}
                found.setdefault(name, []).append({"value": value, **_summary(some)})
    return found


def _usd(usage: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """What a dialogue cost, if there is a price."""
    known = [task["usd"] for tasks in usage.values() for task in tasks.values() if "usd" in task]
    return {"usd_per_dialogue": rounded(sum(known))} if known else {}


def check_results(place: Path, found: Any) -> None:
    """Refuse what is not the content of a ``results.json``, of this or an earlier version.

    Args:
        place: the file, for the message.

    Raises:
        InputError: saying what is wrong.
    """
    problem = next(jsonschema.Draft202012Validator(schema()).iter_errors(found), None)
    if problem is not None:
        raise InputError(f"{place}: not the results of a run ({problem.message[:80]})")


def check_whole(traces: Path, held: Mapping[str, int], found: Mapping[str, Any]) -> None:
    """Refuse traces that lack dialogues which the results counted.

    Args:
        traces: the file, for the message.
        held: dialogues in it by arm.
        found: the content of ``results.json``.

    Raises:
        InputError: naming the first arm that has fewer.
    """
    for arm, entry in found["arms"].items():
        counted = sum(entry["persuasion"].values())
        if held.get(arm, 0) < counted:
            raise InputError(
                f"{traces}: has {held.get(arm, 0)} dialogues of {arm}, but results.json counts {counted}: "
                "some were lost; run the comparison again"
            )


def missing_dialogues(arms: Mapping[str, Mapping[str, Any]]) -> str | None:
    """In one line, which arms lack how many dialogues because they broke off; ``None`` where none does."""
    missing = {arm: entry["failed"] for arm, entry in arms.items() if "failed" in entry}
    if not missing:
        return None
    shares = ", ".join(f"{arm} {entry['dialogues']}" for arm, entry in missing.items())
    reason = next(iter(missing.values()))["commonest"]
    return f"Dialogues that broke off and are missing: {shares} ({reason}); --resume runs them again"


def unscored(scores: Sequence[float | None], failures: Iterable[str]) -> dict[str, Any]:
    """How many dialogues have no final score, of how many, and the commonest reason of a failed answer."""
    common = Counter(failures).most_common(1)
    return {
        "dialogues": sum(score is None for score in scores),
        "of": len(scores),
        "commonest": common[0][0] if common else "",
    }


def missing_scores(arms: Mapping[str, Mapping[str, Any]]) -> str | None:
    """In one line, which arms lack how many final scores and why; ``None`` where none is missing.

    Args:
        arms: what was found of each; those with ``unscored`` were judged.
    """
    unscored_by_arm = {arm: entry["unscored"] for arm, entry in arms.items() if "unscored" in entry}
    missing = {arm: entry for arm, entry in unscored_by_arm.items() if entry["dialogues"]}
    if not missing:
        return None
    shares = ", ".join(f"{arm} {entry['dialogues']} of {entry['of']}" for arm, entry in missing.items())
    reason = next((entry["commonest"] for entry in missing.values() if entry["commonest"]), "")
    why = f"; the commonest reason: {reason}" if reason else ""
    return f"Dialogues whose final judge score is missing: {shares}{why}"


def check_judged(arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Complain of arms whose conversations were judged but have not one score among them.

    Raises:
        Unjudged: saying which, and why.
    """
    silent = {
        arm: entry
        for arm, entry in arms.items()
        if "unscored" in entry and entry["unscored"]["dialogues"] == entry["unscored"]["of"]
    }
    if silent:
        raise Unjudged(
            f"the judge scored no dialogue of {', '.join(silent)}: what rests on it is missing there, "
            f"everything else holds. {missing_scores(silent)}"
        )


def _success_by_turn(lines: list[Mapping[str, Any]]) -> list[float]:
    """SR@t for every t, from 1 to the last turn of any conversation."""
    turns = [line["outcome"]["turn"] if line["outcome"]["success"] else np.inf for line in lines]
    last = max(line["outcome"]["turn"] for line in lines)
    return [rounded(float(np.mean(np.array(turns) <= t))) for t in range(1, last + 1)]


def _again_without_drift(config: RunConfig, steady: Values) -> dict[str, Any]:
    """The comparisons and the verdict once more, without the dialogues that drifted in either arm."""
    compared = comparisons(config, steady)
    found = {arm: means(steady[arm]) for arm in config.arms}
    return {
        "without_drift": {
            "comparisons": compared,
            "verdict": verdict(config.arms, found, compared, config.dialogues, _verdict_learns(config)),
        }
    }
