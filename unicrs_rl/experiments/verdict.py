"""The verdict in plain words, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.judging.metrics import METRIC_BY_NAME
from unicrs_rl.simulators.settings import SeekerConfig

LEVEL = 0.05
_DECLARED = ("sr@15", "at")
"""Metrics that decided before results told which did."""
_SET = {
    "pin": "pinned",
    "sweep": "swept",
    "normal": "drawn from a normal distribution",
    "uniform": "drawn evenly",
}
_WINS = {
    "sr@5": "succeeds more often within 5 turns than",
    "sr@10": "succeeds more often within 10 turns than",
    "sr@15": "succeeds more often than",
    "at": "needs fewer turns than",
}


def verdict(
    arms: Sequence[str],
    means: Mapping[str, Mapping[str, float | None]],
    comparisons: Sequence[Mapping[str, Any]],
    dialogues: int | None = None,
    learned: bool = True,
) -> str:
    """One sentence on the first two arms, by the metrics that were declared primary.

    Where nothing was detected it says so, with the smallest difference that would have been: that no
    difference was found is not that there is none.

    Args:
        dialogues: how many there should be; where fewer can be compared, that is said.
        learned: whether either of the two is trained; of rules nothing is said of training seeds.
    """
    if len(arms) < 2:
        return f"Only {arms[0]} was run, so there is nothing to compare."
    a, b = arms[:2]
    rows = [
        row
        for row in comparisons
        if (row["a"], row["b"]) == (a, b) and row.get("primary", row["metric"] in _DECLARED)
    ]
    parts = []
    undecided = []
    for row in rows:
        name = row["metric"]
        title, wins = METRIC_BY_NAME[name].title, _WINS.get(name, "is better than")
        if not detected(row):
            numbers = _numbers(name, means[a], means[b], row, dialogues)
            least = _at_least(row, (means[a][name], means[b][name]), learned)
            undecided.append(f"{title} ({numbers}{least})")
        elif (row["difference"] > 0) == METRIC_BY_NAME[name].higher_is_better:
            numbers = _numbers(name, means[a], means[b], row, dialogues)
            parts.append(f"{a} {wins} {b} ({title}: {numbers}{_decided(row)})")
        else:
            numbers = _numbers(name, means[b], means[a], _turned(row), dialogues)
            parts.append(f"{b} {wins} {a} ({title}: {numbers}{_decided(row)})")
    if undecided:
        parts.append(f"no difference detected between {a} and {b} in {' or '.join(undecided)}")
    if not parts:
        return f"Too few dialogues to compare {a} and {b}: no difference detected."
    sentence = f"{'; '.join(parts)}{_declared(rows, comparisons)}."
    return sentence if parts[0].startswith((a, b)) else f"{sentence[0].upper()}{sentence[1:]}"


def detected(comparison: Mapping[str, Any]) -> bool:
    """Whether a comparison was decided: as results say, or by interval and p where they are older."""
    if "detected" in comparison:
        return bool(comparison["detected"])
    low, high = comparison["ci95"]
    return bool((low > 0 or high < 0) and comparison["p"] < LEVEL)


def deciding_p(comparison: Mapping[str, Any]) -> float:
    """The p-value that a comparison is decided by: Holm's where it is primary."""
    corrected = comparison.get("p_holm")
    return float(comparison["p"] if corrected is None else corrected)


def p_text(p: float) -> str:
    """A p-value as it is printed; a permutation test never shows it to be zero."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def rests_on(config: RunConfig, world: str) -> str:
    """What the verdict rests on, so that nobody reads more into it."""
    model = (
        "the embedded templates as language model"
        if config.llm == "embedded"
        else f"the language model {config.model_name}"
    )
    seeds = f"{len(config.seeds)} training seed{'s' if len(config.seeds) > 1 else ''}"
    return (
        f"Rests on simulated {seekers_named(config)} of the world {world}, {config.dialogues} held-out "
        f"dialogues with the same seeds for every arm, {config.train_dialogues} training dialogues and "
        f"{seeds} for each learning arm{_elsewhere(config)}, {model} and the {config.judge} judge; "
        f"{_covered(config)}."
    )


def _covered(config: RunConfig) -> str:
    """What intervals cover."""
    if not any(map(config.trains, config.arms)):
        return "intervals are over dialogues, and nothing was trained"
    if len(config.seeds) == 1:
        return "intervals are over dialogues and do not cover other training seeds"
    return "intervals are over dialogues and training seeds"


def _elsewhere(config: RunConfig) -> str:
    """Where arms were trained, if not on these seekers."""
    return "" if config.trained_on is None else f", trained on other seekers ({config.trained_on})"


def seekers_named(config: RunConfig) -> str:
    """The kind of the seekers, and in what they were set to be others than by default."""
    settings, default = config.seekers, SeekerConfig()
    said = []
    if settings.effects is not default.effects:
        said.append(f"effects {settings.effects.value}")
    if settings.table is not None:
        said.append("a coefficient table of one's own")
    if settings.off_path is not None:
        said.append("rates of one's own off the path")
    elif settings.population is not default.population:
        said.append(f"population {settings.population.value}")
    for name, setting in settings.latents.items():
        said.append(f"{name} {_SET[setting.kind]}")
    return f"{config.seekers_name} seekers" + (f" ({', '.join(said)})" if said else "")


def _turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison seen from the other arm."""
    low, high = row["ci95"]
    return {**row, "difference": -row["difference"], "ci95": [-high, -low]}


def _numbers(
    name: str,
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    row: Mapping[str, Any],
    dialogues: int | None,
) -> str:
    low, high = row["ci95"]
    digits = _digits(name)
    some = dialogues is not None and row["dialogues"] < dialogues
    fewer = f", over the {row['dialogues']} of {dialogues} dialogues that both held" if some else ""
    corrected = "" if row.get("p_holm") is None else "Holm "
    return (
        f"{a[name]:.{digits}f} against {b[name]:.{digits}f}, difference "
        f"{row['difference']:+.{digits}f}, 95% interval {low:+.{digits}f} to {high:+.{digits}f}, "
        f"{corrected}{p_text(deciding_p(row))}{fewer}"
    )


def _digits(name: str) -> int:
    return 2 if name == "at" else 3


def _at_least(row: Mapping[str, Any], means: Sequence[float | None], learned: bool) -> str:
    """How small a difference would have been found."""
    least = row.get("detectable")
    if least is None:
        return ""
    if least > max(1.0, *(mean or 0.0 for mean in means)):  # more than such means can differ
        few = "training seeds and dialogues" if learned else "dialogues"
        return f"; so few {few} would hardly have shown any"
    return f"; {least:.{_digits(row['metric'])}f} or more would have been detected with a chance of 80%"


def _decided(row: Mapping[str, Any]) -> str:
    """At which look."""
    seen = row.get("decided_at")
    return "" if seen is None else f", decided at {seen} dialogues"


def _declared(rows: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]) -> str:
    """What was declared to decide, and for how many comparisons it is corrected."""
    family = sum(row.get("primary", False) for row in comparisons)
    if not family:
        return ""
    titles = " and ".join(METRIC_BY_NAME[row["metric"]].title for row in rows)
    holm = f"p corrected by Holm for {family} comparison{'s' if family > 1 else ''}"
    covered = all(row["covers_seeds"] for row in rows)
    return (
        f" (declared primary: {titles}; {holm}{'' if covered else '; other training seeds are not covered'})"
    )
