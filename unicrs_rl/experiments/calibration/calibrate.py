"""From human dialogues to the coefficient table, and the check that its seekers behave as people do."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unicrs_rl import __version__
from unicrs_rl.dialogue import STRATEGIES, Dialogue
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.calibration import estimation, off_path
from unicrs_rl.experiments.calibration.check import SEEDS, Check, check
from unicrs_rl.experiments.calibration.estimation import Fitted, Progress
from unicrs_rl.experiments.calibration.ordinal import Matrix
from unicrs_rl.experiments.calibration.survey import Personality, Sample, personality, rated, sample
from unicrs_rl.experiments.corpora import INSPIRED, REDIAL, corpus_folders
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.readers import inspired, movies, redial
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.judging.diversity import measure_diversity
from unicrs_rl.simulators.effects import (
    PERCEPTS,
    SURVEY_TRAITS,
    Acceptance,
    EffectTable,
    Estimate,
    HumanDialogues,
    Perception,
    Provenance,
    Trait,
    Uses,
)
from unicrs_rl.simulators.settings import SeekerConfig

BOOTSTRAP = 200
ENOUGH = 100
"""Fewer rated dialogues say too little to estimate effects from."""
BASE, FIT = -6.0, 8.0
_FIT_SOURCE = (
    "assumed: an item that does not fit is taken once in 400, the target with 0.88; people were only "
    "offered what was meant to fit, so that their slope (human_fit) cannot say"
)
_WORLD = "movies"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes:
        table: the coefficients.
        check: of the table, if its effects were estimated here.
        catalogue: in which items and wishes were looked up: ``redial`` or ``movies``.
    """

    table: EffectTable
    check: Check | None
    catalogue: str

    def record(self) -> dict[str, Any]:
        """As JSON."""
        found = None
        if self.check is not None:
            found = asdict(self.check) | {
                "inside": self.check.inside,
                "significant": len(self.check.significant),
                "signs_right": sum(cell.sign_right for cell in self.check.significant),
                "passed": self.check.passed,
                "verdict": self.check.verdict(),
            }
        return {
            "table": self.table.model_dump(mode="json"),
            "check": found,
            "catalogue": self.catalogue,
        }


@dataclass(frozen=True)
class _Corpora:
    """What was read.

    Attributes:
        rated: INSPIRED's splits, each utterance a turn: strategies as they were annotated.
        heard: all dialogues by corpus, runs of recommender utterances taken together: the replies.
        catalogue: items and attributes were looked up in it.
        files: hash by corpus and name.
    """

    rated: tuple[inspired.Corpus, ...]
    heard: Mapping[str, tuple[Dialogue, ...]]
    catalogue: Catalogue
    catalogue_name: str
    files: Mapping[str, str]


def calibrate(
    corpora: str, data: Path | None, bootstrap: int, seed: int, progress: Progress, check_seeds: int = SEEDS
) -> Calibration:
    """Estimate a table, and check it.

    Args:
        corpora: names, separated by commas.
        data: where they are.
        bootstrap: resamples of dialogues for the intervals.
        seed: of folds and resamples.
        progress: told how far it is.
        check_seeds: replays that the check averages.

    Raises:
        InputError: naming the option or file at fault.
    """
    if bootstrap < 2:
        raise InputError(f"--bootstrap {bootstrap}: intervals need 2 resamples or more")
    found = _read(corpora, data)
    notes = list(inspired.doubts(found.rated))
    rated_dialogues = [d for corpus in found.rated for d in corpus.dialogues if rated(d)]
    traits = personality(found.rated)
    estimated = None
    if len(rated_dialogues) < ENOUGH:
        notes.append(_too_few(found, len(rated_dialogues)))
    else:
        if traits is None:
            notes.append("no seeker's personality is known: traits are those of the packaged table")
        estimated = sample(found.rated, traits, found.catalogue)
        left_out = sum(len(corpus.dialogues) for corpus in found.rated) - len(estimated)
        if left_out:
            notes.append(f"{left_out} dialogues without outcome or ratings left out of the effects")
    for note in notes:
        _log.warning(note)
    rest: dict[str, Any] = {
        "provenance": Provenance(
            command=(
                f"unicrs-rl calibrate --corpus {','.join(found.heard)} --data DIR "
                f"--bootstrap {bootstrap} --seed {seed}"
            ),
            version=__version__,
            corpora={name: len(dialogues) for name, dialogues in found.heard.items()},
            files=dict(found.files),
            seed=seed,
            bootstrap=bootstrap,
            notes=tuple(notes),
        ),
        "off_path": off_path.rates(found.heard),
        "human": {name: _human(name, dialogues) for name, dialogues in found.heard.items()},
    }
    if estimated is None:
        packaged = EffectTable.read()
        rest["human"] = packaged.human | rest["human"]
        return Calibration(packaged.model_copy(update=rest), None, found.catalogue_name)
    table = EffectTable(**_effects(estimated, traits, bootstrap, seed, progress), **rest)
    return Calibration(
        table, _checked(table, rated_dialogues, estimated, check_seeds, progress), found.catalogue_name
    )


def human_diversity(corpora: str, data: Path | None) -> dict[str, HumanDialogues]:
    """How varied the seekers of human dialogues are, by corpus, and nothing else of them.

    Args:
        corpora: names, separated by commas.
        data: where they are.

    Raises:
        InputError: naming the option or file at fault.
    """
    return {name: _human(name, dialogues) for name, dialogues in _read(corpora, data).heard.items()}


def _read(corpora: str, data: Path | None) -> _Corpora:
    folders = corpus_folders(corpora, data)
    heard: dict[str, tuple[Dialogue, ...]] = {}
    files: dict[str, str] = {}
    catalogue, name = movies.read_catalogue(), _WORLD
    if REDIAL in folders:
        world = redial.read(folders[REDIAL])
        catalogue, name = world.catalogue, REDIAL
        heard[REDIAL] = world.dialogues
        files |= _hashes(REDIAL, world.files)
    rated_splits: tuple[inspired.Corpus, ...] = ()
    if INSPIRED in folders:
        folder = folders[INSPIRED]
        splits = inspired.splits(folder)
        rated_splits = tuple(inspired.read(folder, split, catalogue.lexicon) for split in splits)
        merged = [inspired.read(folder, split, catalogue.lexicon, inspired.Turns.MERGED) for split in splits]
        heard[INSPIRED] = tuple(d for corpus in merged for d in corpus.dialogues)
        files |= _hashes(INSPIRED, inspired.files(folder))
    ordered = {corpus: heard[corpus] for corpus in folders}
    return _Corpora(rated_splits, ordered, catalogue, name, files)


def _hashes(corpus: str, files: Sequence[Path]) -> dict[str, str]:
    return {f"{corpus}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _too_few(found: _Corpora, count: int) -> str:
    answered = {question for corpus in found.rated for d in corpus.dialogues for question in d.survey}
    unanswered = [question for question in PERCEPTS.values() if question not in answered]
    if count:
        why = f"only {count} dialogues have an outcome and ratings ({ENOUGH} are needed)"
    elif answered and unanswered:
        plural = "" if len(unanswered) == 1 else "s"
        why = f"{inspired.PERCEPTIONS}: column{plural} {', '.join(unanswered)} missing or without ratings"
    else:
        missing = "; ".join(dict.fromkeys(note for corpus in found.rated for note in corpus.notes))
        why = f"{','.join(found.heard)} has no surveys{f' ({missing})' if missing else ''}"
    return f"{why}: the effects are those of the packaged table; only off-path rates and diversity are new"


def _human(corpus: str, dialogues: Sequence[Dialogue]) -> HumanDialogues:
    """Diversity; ReDial has no strategies, and so no entropy given them, and its questions are not marked."""
    found = measure_diversity(dialogues)
    if corpus == REDIAL:
        found = replace(found, response_entropy=None, act_mix={})
    return HumanDialogues(**asdict(found))


def _effects(
    estimated: Sample, traits: Personality | None, resamples: int, seed: int, progress: Progress
) -> dict[str, Any]:
    """The estimated sections of the table."""
    settings = estimation.choose(estimated, seed, progress)
    fitted = estimation.estimate(estimated, settings)
    low, high = estimation.bootstrap(estimated, settings, resamples, seed, progress)
    packaged = EffectTable.read() if traits is None else None
    n = len(estimated)
    return {
        "wear": settings.wear,
        "penalties": {"perception": settings.perception, "acceptance": settings.acceptance},
        "uses": {
            strategy: Uses(uses=int(count.sum()), dialogues=int((count > 0).sum()))
            for strategy, count in zip(STRATEGIES, estimated.uses.T, strict=True)
        },
        "perception": {
            name: _perception(name, k, n, fitted, low, high, packaged) for k, name in enumerate(PERCEPTS)
        },
        "residual": _rows(estimation.residual_correlation(estimated, fitted, settings.wear)),
        "acceptance": Acceptance(
            dialogues=n,
            base=BASE,
            fit=FIT,
            fit_source=_FIT_SOURCE,
            human_base=Estimate(fitted.base, low.base, high.base),
            human_fit=Estimate(fitted.fit, low.fit, high.fit),
            fit_dialogues=int((~np.isnan(estimated.fit)).sum()),
            percepts={name: Estimate(fitted.a[k], low.a[k], high.a[k]) for k, name in enumerate(PERCEPTS)},
            strategies={
                s: Estimate(fitted.delta[i], low.delta[i], high.delta[i]) for i, s in enumerate(STRATEGIES)
            },
        ),
    } | (_traits(traits) if traits is not None else _traits_of(packaged))


def _perception(
    name: str, k: int, dialogues: int, fitted: Fitted, low: Fitted, high: Fitted, packaged: EffectTable | None
) -> Perception:
    """One percept; traits from the packaged table where they are not known."""
    own = {
        trait: Estimate(fitted.gamma[j, k], low.gamma[j, k], high.gamma[j, k])
        for j, trait in enumerate(SURVEY_TRAITS)
    }
    cutpoints = fitted.cutpoints[k].tolist()
    return Perception(
        question=PERCEPTS[name],
        dialogues=dialogues,
        cutpoints=(cutpoints[0], cutpoints[1], cutpoints[2], cutpoints[3]),
        strategies={
            s: Estimate(fitted.beta[i, k], low.beta[i, k], high.beta[i, k]) for i, s in enumerate(STRATEGIES)
        },
        traits=own if packaged is None else packaged.perception[name].traits,
    )


def _traits(traits: Personality) -> dict[str, Any]:
    return {
        "traits": {
            name: Trait(
                survey=column, sign=sign, mean=traits.mean[j], sd=traits.sd[j], seekers=traits.seekers
            )
            for j, (name, (column, sign)) in enumerate(SURVEY_TRAITS.items())
        },
        "trait_correlation": _rows(traits.correlation),
    }


def _rows(matrix: Matrix) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def _traits_of(packaged: EffectTable | None) -> dict[str, Any]:
    table = packaged or EffectTable.read()
    return {"traits": table.traits, "trait_correlation": table.trait_correlation}


def _checked(
    table: EffectTable, dialogues: Sequence[Dialogue], estimated: Sample, seeds: int, progress: Progress
) -> Check:
    """The check of the table as it is written, digits and all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.toml"
        path.write_text(table.toml(), "utf-8")
        return check(dialogues, estimated, make_world(_WORLD), SeekerConfig(table=path), seeds, progress)
