"""Tables of what seekers turned out to be, for reports and terminals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unicrs_rl.judging.metrics import METRICS

_BEFORE_AND_AFTER = ("sr@15", "at", "hdcg", "wi", "prs", "judge")
"""Metrics that are shown with and without dialogues that drifted, and at each value of a sweep."""


@dataclass(frozen=True)
class SeekerTable:
    """A table of texts; the first column says what its rows are."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def seeker_tables(
    protocol: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]], humans: Mapping[str, Any]
) -> list[SeekerTable]:
    """All tables that there is something to show in.

    Args:
        protocol: how the seekers were set (``protocol.seekers`` of ``results.json``).
        arms: what they turned out to be with each arm, with the arm's ``metrics`` and ``ci95``.
        humans: diversity of human dialogues by corpus.
    """
    made = [_diversity(arms, humans), _latents(arms), _behaviours(protocol["rates"], arms), _drift(arms)]
    return [table for table in (*made, _without_drift(arms), *_sweeps(arms)) if table is not None]


def _diversity(arms: Mapping[str, Mapping[str, Any]], humans: Mapping[str, Any]) -> SeekerTable:
    columns = {f"humans ({name})": found for name, found in humans.items()}
    columns |= {arm: entry["seekers"]["diversity"] for arm, entry in arms.items()}
    found = list(columns.values())
    rows = [
        ["dialogues", *(f"{one['dialogues']:,}" for one in found)],
        ["turns, mean ± sd", *(f"{one['length']:.1f} ± {one['length_sd']:.1f}" for one in found)],
        ["Dist-4 of seekers' words", *(_number(one["dist4"]) for one in found)],
        ["the same per dialogue", *(_number(one["dist4_dialogue"]) for one in found)],
        ["response entropy, bits", *(_number(one["response_entropy"]) for one in found)],
    ]
    for mix, who in (("act_mix", "recommender"), ("reply_mix", "seeker")):
        for kind in dict.fromkeys(kind for one in found for kind in one[mix]):
            shares = (one[mix].get(kind) for one in found)
            rows.append([f"{who}: {kind}", *(_percent(share) for share in shares)])
    return SeekerTable(
        "Diversity, beside human dialogues",
        ["", *columns],
        rows,
        "Dist-4: distinct word 4-grams / all, over the first 5,000 of all seekers; response entropy: of the "
        "kind of reply, given the strategy.",
    )


def _latents(arms: Mapping[str, Mapping[str, Any]]) -> SeekerTable | None:
    names = dict.fromkeys(name for entry in arms.values() for name in entry["seekers"]["latents"])
    if not names:
        return None
    one = next(iter(arms.values()))["seekers"]["latents"]
    rows = [
        [
            name,
            _spread(one[name]["first"]),
            *(_spread(entry["seekers"]["latents"][name]["last"]) for entry in arms.values()),
        ]
        for name in names
    ]
    head = ["", "at first", *(f"at the end, {arm}" for arm in arms)]
    note = "Mean ± standard deviation over dialogues, and in brackets 5% and 95% quantiles."
    return SeekerTable("Hidden variables, as they were", head, rows, note)


def _behaviours(rates: Mapping[str, float], arms: Mapping[str, Mapping[str, Any]]) -> SeekerTable | None:
    done = [entry["seekers"]["behaviours"] for entry in arms.values()]
    if not any(rates.values()) and not any(any(some.values()) for some in done):
        return None
    rows = [
        [kind.replace("-", " "), _percent(rate), *(_percent(some[kind]) for some in done)]
        for kind, rate in rates.items()
    ]
    note = "Share of replies; of changing one's mind, share of dialogues."
    return SeekerTable("Off the path", ["", "set", *arms], rows, note)


def _drift(arms: Mapping[str, Mapping[str, Any]]) -> SeekerTable | None:
    found = [entry["seekers"]["drift"] for entry in arms.values()]
    if any(one is None for one in found):
        return None
    rows = [["dialogues that drift", *(_share(one) for one in found)]]
    for kind in sorted({kind for one in found for kind in one["per_dialogue"]}):
        counts = (one["per_dialogue"].get(kind, 0.0) for one in found)
        rows.append([f"{kind.replace('-', ' ')} / dialogue", *(f"{count:.3f}" for count in counts)])
    note = "Replies that were checked against the seeker's goal; in brackets 95% intervals."
    return SeekerTable("Drift", ["", *arms], rows, note)


def _without_drift(arms: Mapping[str, Mapping[str, Any]]) -> SeekerTable | None:
    if not any("without_drift" in entry["seekers"] for entry in arms.values()):
        return None
    rows = []
    for name, title in _shown_metrics():
        for label, parts in (
            (title, list(arms.values())),
            (f"{title}, without drift", [entry["seekers"]["without_drift"] for entry in arms.values()]),
        ):
            rows.append([label, *(_mean(part, name) for part in parts)])
    steady = (entry["seekers"]["without_drift"]["dialogues"] for entry in arms.values())
    rows.append(["dialogues without drift", *(str(count) for count in steady)])
    note = "Means with 95% intervals, over all dialogues and over those in which no reply drifted."
    return SeekerTable("With and without dialogues that drift", ["", *arms], rows, note)


def _sweeps(arms: Mapping[str, Mapping[str, Any]]) -> Iterator[SeekerTable]:
    swept = dict.fromkeys(name for entry in arms.values() for name in entry["seekers"].get("sweeps", {}))
    for latent in swept:
        rows = []
        columns = [
            {point["value"]: point for point in entry["seekers"]["sweeps"][latent]} for entry in arms.values()
        ]
        for value in dict.fromkeys(value for column in columns for value in column):
            for name, title in _shown_metrics():
                cells = (_mean(column[value], name) if value in column else "–" for column in columns)
                rows.append([f"{latent} {value:g}: {title}", *cells])
        note = "Means with 95% intervals over the dialogues with that value."
        yield SeekerTable(f"By value of {latent}", ["", *arms], rows, note)


def _shown_metrics() -> Iterable[tuple[str, str]]:
    return [(metric.name, metric.title) for metric in METRICS if metric.name in _BEFORE_AND_AFTER]


def _mean(part: Mapping[str, Any], metric: str) -> str:
    ends = part["ci95"].get(metric)
    return _number(part["metrics"][metric]) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["ci95"]
    return f"{_percent(found['share'])} [{_percent(low)}, {_percent(high)}]"


def _spread(found: Mapping[str, Any]) -> str:
    low, *_, high = found["quantiles"]
    return f"{found['mean']:+.2f} ± {found['sd']:.2f} [{low:+.2f}, {high:+.2f}]"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
