"""Why, not only who: figures of what ``why`` in ``results.json`` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unicrs_rl.experiments.figures import GREY, Shown, colour, dash, empty_figure, symbol
from unicrs_rl.experiments.report.share_map import share_map
from unicrs_rl.experiments.verdict import p_text

_FEATURES = {
    "phase": ("phase", "phase of the dialogue"),
    "last_reply": ("reply", "last reply"),
    "after_rejection": ("refusal", "after a rejected list"),
}
"""Features of the state: in a column's head, and in a sentence."""
_MARKED = 20
"""Points of a curve up to which each is marked."""
_SHOWN_TURNS = 15
Arms = Mapping[str, Mapping[str, Any]]


def why_figures(arms: Arms, order: Sequence[str]) -> dict[str, Shown]:
    """The figures there is something to show in, by name.

    Args:
        arms: ``why.arms`` of the results; of every arm only what there is.
        order: all arms of the run; their places give the colours.
    """
    whole: dict[str, Callable[[Arms, Sequence[str]], Shown | None]] = {
        "why-questions": lambda some, _: _questions(some),
        "why-turns": _by_turn,
        "why-entropy": lambda some, places: _timing(some, places, "entropy"),
        "why-confidence": lambda some, places: _timing(some, places, "confidence"),
        "why-interference": _interference,
        "why-regret": _regret,
    }
    made = {name: shown for name, make in whole.items() if (shown := make(arms, order)) is not None}
    for arm, entry in arms.items():
        if (shown := _strategies(arm, entry)) is not None:
            made[f"why-strategies-{order.index(arm)}"] = shown
    return made


def _questions(arms: Arms) -> Shown | None:
    """Bits learned by a question against those expected."""
    found = {arm: entry["questions"] for arm, entry in arms.items() if _answered(entry)}
    if not found:
        return None
    figure = empty_figure("What a question is worth", "bits per question", "")
    for name, title in (("expected", "expected"), ("drop", "learned")):
        some = [one[name] for one in found.values()]
        figure.add_bar(
            x=[one["mean"] for one in some],
            y=list(found),
            name=title,
            orientation="h",
            marker={"color": GREY, "pattern": {"shape": "/" if title == "expected" else ""}},
            error_x=_errors(some),
        )
    figure.update_layout(barmode="group", height=130 + 52 * len(found))
    figure.update_yaxes(autorange="reversed")
    silent = "; ".join(
        f"{arm} {one['told_nothing']['mean']:.0%} of {one['answered']:,}" for arm, one in found.items()
    )
    return Shown(
        figure,
        "Expected: the entropy of the questions asked; learned: by how much the answers lowered the entropy "
        "of the posterior over items. Bars: 95% intervals, clustered by triple. Questions that told nothing: "
        f"{silent}.",
    )


def _answered(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("questions", {}).get("answered"))


def _by_turn(arms: Arms, order: Sequence[str]) -> Shown | None:
    found = {arm: entry["questions"]["by_turn"] for arm, entry in arms.items() if _answered(entry)}
    if not any(found.values()):
        return None
    figure = empty_figure("What questions are worth by turn", "turn", "bits learned")
    for arm, rows in found.items():
        some = [row for row in rows if row["turn"] <= _SHOWN_TURNS and row["drop"] is not None]
        figure.add_scatter(
            x=[row["turn"] for row in some],
            y=[row["drop"] for row in some],
            text=[f"n = {row['n']:,}" for row in some],
            **_line(arm, order),
        )
    figure.update_xaxes(dtick=1)
    figure.update_layout(showlegend=True)
    return Shown(
        figure,
        "Mean drop in entropy of the questions asked in each turn; turns with few questions are noisy.",
    )


def _timing(arms: Arms, order: Sequence[str], by: str) -> Shown | None:
    """Share of turns that recommend, by what was believed before."""
    found = {arm: rows for arm, entry in arms.items() if (rows := entry.get("timing", {}).get(by))}
    if not found:
        return None
    what, x = {
        "entropy": ("entropy", "entropy of the posterior over items, bits"),
        "confidence": ("confidence", "posterior mass of the list"),
    }[by]
    figure = empty_figure(f"When an arm recommends, by {what}", x, "share of turns")
    for arm, rows in found.items():
        figure.add_scatter(
            x=[_middle(row, rows) for row in rows],
            y=[row["share"] for row in rows],
            text=[f"n = {row['n']:,}" for row in rows],
            error_y={
                "array": [row["ci95"][1] - row["share"] for row in rows],
                "arrayminus": [row["share"] - row["ci95"][0] for row in rows],
                "thickness": 1,
            },
            **_line(arm, order),
        )
    figure.update_yaxes(range=[-0.02, 1.02])
    turned = (
        "Low entropy: the item is as good as known. A timing that heeds what is known falls to the right."
        if by == "entropy"
        else "A timing by a threshold jumps from 0 to 1; a flat line does not heed the belief."
    )
    return Shown(figure, f"{turned} Bars: 95% intervals of the share in each bin.")


def _middle(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> float:
    """Of a bin; of an open one half the width of the first beyond its lower end."""
    if row["high"] is not None:
        return float(round((row["low"] + row["high"]) / 2, 4))
    closed = [one["high"] - one["low"] for one in rows if one["high"] is not None]
    return float(row["low"] + (closed[0] if closed else 1.0) / 2)


def _interference(arms: Arms, order: Sequence[str]) -> Shown | None:
    found = {arm: one for arm, entry in arms.items() if (one := entry.get("interference")) and one["curve"]}
    if not found:
        return None
    figure = empty_figure("Interference between heads over training", "training conversations", "cosine")
    for arm, one in found.items():
        line = _line(arm, order) | {"mode": "lines" if len(one["curve"]) > _MARKED else "lines+markers"}
        figure.add_scatter(
            x=[step for step, _ in one["curve"]], y=[cosine for _, cosine in one["curve"]], **line
        )
    figure.add_hline(y=0, line_width=1, line_dash="dot")
    means = "; ".join(f"{arm} {_estimate(one)}" for arm, one in found.items())
    return Shown(
        figure,
        "Cosine between the gradients of what the policy does and of its strategies, on the encoder they "
        f"share: below the dotted line they pull against each other. Mean over training: {means}.",
    )


def _regret(arms: Arms, order: Sequence[str]) -> Shown | None:
    found = {arm: one for arm, entry in arms.items() if (one := entry.get("regret"))}
    if not found:
        return None
    figure = empty_figure("Regret against the computed optimum", "optimal success rate minus achieved", "")
    some = [one["regret"] for one in found.values()]
    figure.add_scatter(
        x=[one["mean"] for one in some],
        y=list(found),
        name="regret",
        mode="markers",
        marker={"color": [colour(order.index(arm)) for arm in found], "size": 10},
        error_x=_errors(some),
        showlegend=False,
    )
    figure.add_vline(x=0, line_width=1, line_dash="dot")
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=130 + 40 * len(found))
    one = next(iter(found.values()))
    return Shown(
        figure,
        "Nearer to the dotted line is better. The best joint policy of this planted world succeeds in "
        f"{one['optimum']:.1%} of dialogues, the best decomposed one in {one['decomposed']:.1%}, computed "
        "exactly. Bars: 95% intervals.",
    )


def _strategies(arm: str, entry: Mapping[str, Any]) -> Shown | None:
    """Share of each strategy at each value of each feature of the state."""
    found = entry.get("strategies", {})
    if not any(one["n"] for one in found.values()):
        return None
    totals: dict[str, int] = {}
    for one in found.values():
        for name, counts in one["table"].items():
            totals[name] = totals.get(name, 0) + sum(counts)
    names = sorted(totals, key=lambda name: (-totals[name], name))
    columns, shares = [], []
    for feature, one in found.items():
        for place, value in enumerate(one["values"]):
            turns = sum(counts[place] for counts in one["table"].values())
            columns.append(f"{value}<br>{_FEATURES[feature][0]}")
            shares.append(
                [one["table"][name][place] / max(1, turns) if name in one["table"] else 0.0 for name in names]
            )
    figure = share_map(
        f"{arm}: strategy given the state", "", names, columns, list(zip(*shares, strict=True))
    )
    heeds = "; ".join(
        f"{_FEATURES[feature][1]} {one['bits']:.3f} bits, by chance {one['by_chance']:.3f}"
        f"{'' if one['p'] is None else ', ' + p_text(one['p'])}"
        for feature, one in found.items()
    )
    return Shown(
        figure,
        "Each column: shares of the strategies in turns of that state. Columns that look alike: the state is "
        f"not heeded. What strategy and state tell of each other: {heeds}.",
    )


def _line(arm: str, order: Sequence[str]) -> dict[str, Any]:
    place = order.index(arm)
    return {
        "name": arm,
        "mode": "lines+markers",
        "line": {"color": colour(place), "dash": dash(place)},
        "marker": {"symbol": symbol(place), "size": 7},
    }


def _errors(some: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Error bars of estimates; none where an estimate has no interval."""
    ends = [one["ci95"] or (one["mean"], one["mean"]) for one in some]
    return {
        "array": [high - one["mean"] for (_, high), one in zip(ends, some, strict=True)],
        "arrayminus": [one["mean"] - low for (low, _), one in zip(ends, some, strict=True)],
        "thickness": 1,
        "color": GREY,
    }


def _estimate(one: Mapping[str, Any]) -> str:
    span = "" if one["ci95"] is None else f" [{one['ci95'][0]:+.3f}, {one['ci95'][1]:+.3f}]"
    return f"{one['mean']:+.3f}{span}"
