"""How often 95% intervals cover the truth, and how often nothing is called something.

Usage: python benchmarks/interval_coverage.py

Two arms without any difference are simulated many times, from the model of
unicrs_rl.experiments.statistics.seeds: an effect of each training, one of each dialogue (shared by the
arms, and one of each arm by itself), and a rest; as they are (normal) or as successes (0/1, eight in ten).
For each layout it prints, in percent, the coverage of

    ours      compare_arms: BCa over dialogues, widened for training seeds where there are several
    boot      the plain hierarchical bootstrap: seeds and dialogues drawn with replacement, percentiles
    blind     t over dialogues of the means over seeds, as if these were all the seeds there are

and the false positives of ours (p below 0.05), with twice their standard error. A rule is trained once.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unicrs_rl.experiments.statistics import compare_arms, hierarchical_interval

SHARED, OWN, REST = 1.0, 0.5, 0.7
"""Standard deviations of the effects of dialogues, of dialogues on an arm, and of the rest."""
SUCCESS = 0.8
DRAWS = 500


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000, metavar="N", help="for each layout")
    parser.add_argument("--seeds", default="1,2,3,5", help="trainings of each arm, with commas; 1: rules")
    parser.add_argument("--dialogues", default="50,100,400", help="with commas")
    parser.add_argument("--between", default="0,0.1,0.3,1", help="standard deviations between trainings")
    parser.add_argument("--against", default="itself,rule", help="with what a trained arm is compared")
    parser.add_argument("--kinds", default="normal,0/1")
    parser.add_argument("--no-bootstrap", action="store_true", help="leave 'boot' out")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def arm(
    rng: np.random.Generator, shared: NDArray[np.float64], seeds: int, between: float, kind: str
) -> NDArray[np.float64]:
    """Values of an arm: ``[seeds, dialogues]``; of a rule with ``seeds`` 0, one row."""
    rows, dialogues = max(1, seeds), len(shared)
    own = between if seeds else 0.0
    # a rule lacks the variation between trainings, which its rest makes up for, or successes would differ
    rest = REST if seeds else np.hypot(REST, between)
    latent = shared + OWN * rng.standard_normal(dialogues) + own * rng.standard_normal((rows, 1))
    values: NDArray[np.float64] = latent + rest * rng.standard_normal((rows, dialogues))
    if kind == "normal":
        return values
    threshold = stats.norm.isf(SUCCESS) * np.sqrt(SHARED**2 + OWN**2 + between**2 + REST**2)
    return np.where(values > threshold, 1.0, 0.0)


def trial(
    asked: argparse.Namespace, kind: str, seeds: int, against: str, dialogues: int, between: float
) -> dict[str, float]:
    """One layout."""
    rng = np.random.default_rng((dialogues, seeds, int(between * 1000), against == "rule", kind == "normal"))
    covered = {"ours": 0, "boot": 0, "blind": 0}
    positive, widths = 0, []
    for _ in range(asked.trials):
        shared = SHARED * rng.standard_normal(dialogues)
        trained = 0 if seeds == 1 else seeds
        a = arm(rng, shared, trained, between, kind)
        b = arm(rng, shared, 0 if against == "rule" else trained, between, kind)
        found = compare_arms(a, b, (trained > 1, trained > 1 and against != "rule"))
        assert found is not None
        covered["ours"] += found.low <= 0 <= found.high
        positive += found.p < 0.05
        widths.append(found.high - found.low)
        blind = stats.ttest_1samp(a.mean(axis=0) - b.mean(axis=0), 0.0).confidence_interval()
        covered["blind"] += blind.low <= 0 <= blind.high
        if not asked.no_bootstrap:
            drawn = hierarchical_interval(a, b, DRAWS, seed=int(rng.integers(2**31)))
            assert drawn is not None
            covered["boot"] += drawn[0] <= 0 <= drawn[1]
    rates = {name: 100 * count / asked.trials for name, count in covered.items()}
    share = positive / asked.trials
    error = 200 * np.sqrt(share * (1 - share) / asked.trials)
    return rates | {"positive": 100 * share, "error": float(error), "width": float(np.median(widths))}


def main(arguments: list[str] | None = None) -> None:
    asked = options(arguments)
    rows = []
    if not asked.json:
        print("| values | arms | seeds | dialogues | between seeds | ours | boot | blind | false positives |")
        print("|---" * 9 + "|")
    for kind in asked.kinds.split(","):
        for seeds in map(int, asked.seeds.split(",")):
            for against in asked.against.split(",") if seeds > 1 else ["rule"]:
                for dialogues in map(int, asked.dialogues.split(",")):
                    for between in map(float, asked.between.split(",") if seeds > 1 else ["0"]):
                        found = trial(asked, kind, seeds, against, dialogues, between)
                        place = (kind, against if seeds > 1 else "rules", seeds, dialogues, between)
                        names = ("values", "against", "seeds", "dialogues", "between")
                        rows.append(dict(zip(names, place, strict=True)) | found)
                        if not asked.json:
                            rates = (f"{found[name]:.1f}" for name in ("ours", "boot", "blind"))
                            positive = f"{found['positive']:.1f} ± {found['error']:.1f}"
                            print(f"| {' | '.join((*map(str, place), *rates, positive))} |", flush=True)
    if asked.json:
        json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
