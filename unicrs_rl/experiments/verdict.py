"""The verdict in plain words, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.judging.metrics import METRIC_BY_NAME
from unicrs_rl.simulators.settings import SeekerConfig

PRIMARY, SECONDARY = "sr@15", "at"
LEVEL = 0.05
_SET = {
    "pin": "pinned",
    "sweep": "swept",
    "normal": "drawn from a normal distribution",
    "uniform": "drawn evenly",
}
_WINS = {PRIMARY: "succeeds more often than", SECONDARY: "needs fewer turns than"}


def verdict(
    arms: Sequence[str],
    means: Mapping[str, Mapping[str, float | None]],
    comparisons: Sequence[Mapping[str, Any]],
    dialogues: int | None = None,
) -> str:
    """One sentence on the first two arms: who succeeds more often, and who needs fewer turns.

    A difference counts only where its interval is clear of zero and p is below 0.05.

    Args:
        dialogues: how many there should be; where fewer can be compared, that is said.
    """
    if len(arms) < 2:
        return f"Only {arms[0]} was run, so there is nothing to compare."
    a, b = arms[:2]
    parts = []
    undecided = []
    for name in (PRIMARY, SECONDARY):
        row = next((c for c in comparisons if (c["a"], c["b"], c["metric"]) == (a, b, name)), None)
        if row is None:
            continue
        if not detected(row):
            numbers = _numbers(name, means[a], means[b], row, dialogues)
            undecided.append(f"{METRIC_BY_NAME[name].title} ({numbers})")
            continue
        a_wins = (row["difference"] > 0) == METRIC_BY_NAME[name].higher_is_better
        title = METRIC_BY_NAME[name].title
        if a_wins:
            numbers = _numbers(name, means[a], means[b], row, dialogues)
            parts.append(f"{a} {_WINS[name]} {b} ({title}: {numbers})")
        else:
            numbers = _numbers(name, means[b], means[a], _turned(row), dialogues)
            parts.append(f"{b} {_WINS[name]} {a} ({title}: {numbers})")
    if undecided:
        parts.append(f"no difference detected between {a} and {b} in {' or '.join(undecided)}")
    if not parts:
        return f"Too few dialogues to compare {a} and {b}: no difference detected."
    sentence = f"{'; '.join(parts)}."
    return sentence if parts[0].startswith((a, b)) else f"{sentence[0].upper()}{sentence[1:]}"


def detected(comparison: Mapping[str, Any]) -> bool:
    """Whether a comparison's interval is clear of zero and its p-value below the level."""
    low, high = comparison["ci95"]
    return bool((low > 0 or high < 0) and comparison["p"] < LEVEL)


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
        "intervals are over dialogues and do not cover other training seeds."
    )


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
    digits = 2 if name == SECONDARY else 3
    some = dialogues is not None and row["dialogues"] < dialogues
    fewer = f", over the {row['dialogues']} of {dialogues} dialogues that both held" if some else ""
    return (
        f"{a[name]:.{digits}f} against {b[name]:.{digits}f}, difference "
        f"{row['difference']:+.{digits}f}, 95% interval {low:+.{digits}f} to {high:+.{digits}f}, "
        f"{p_text(row['p'])}{fewer}"
    )
