"""Studies: several comparisons, and the tables and figures made of them.

A study is a TOML file: ``title``, ``about``, ``[settings]`` of all its runs, one ``[[run]]`` with a name
(and ``settings`` over those) for each comparison, one ``[[artifact]]`` for each set of tables and figures,
and one ``[[point]]`` for each arm that is a point of the grid. A run with ``checkpoints = "OTHER"`` trains
nothing: the arms are those of that run, and meet other seekers. Under ``crossed = true`` the arms of each run
also meet the seekers of every other, in runs called ``NAME-on-OTHER``.

It leaves a folder with ``study.toml`` (everything resolved: itself a study), ``runs/NAME`` (run folders as
``compare`` writes them), ``replays/`` (where an artifact asks for human replay), ``tables/``,
``figures/``, ``results.json`` and ``report.html``; the last four are made anew each time.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unicrs_rl.errors import InputError, explain, unknown
from unicrs_rl.experiments.artifacts import (
    KINDS,
    AnyArtifact,
    Finished,
    Made,
    Table,
    crossing,
    house_style,
)
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.compare import compare, read_input
from unicrs_rl.experiments.config import (
    OnExisting,
    RunConfig,
    Surface,
    over,
    read_settings,
    resolve,
)
from unicrs_rl.experiments.corpora import CORPORA
from unicrs_rl.experiments.human_replay import COLUMNS, Source, human_corpora, replay, replayed_split
from unicrs_rl.experiments.points import StudyPoint, check_stands
from unicrs_rl.experiments.report import render, warnings
from unicrs_rl.experiments.run_folder import (
    OF_STUDY,
    FileName,
    RunFolder,
    check_writable,
    holding,
    visible,
    what,
    writing,
)
from unicrs_rl.experiments.shipped import studies
from unicrs_rl.experiments.training import Progress
from unicrs_rl.language.ledger import NO_LIMIT, Budget
from unicrs_rl.policy.control import Control

SCHEMA_VERSION = 1
_SAID = {
    "missing": "is missing",
    "string_pattern_mismatch": "must be small letters, digits, '.' and '-', to be a file's name",
    "union_tag_not_found": "kind is missing",
}


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StudyRun(_Closed):
    """One comparison of a study: an entry ``[[run]]``."""

    name: FileName = Field(description="of its folder")
    label: str = Field("", description="what figures call it, if not by its name")
    settings: Mapping[str, Any] = Field(default={}, description="over those of the study")
    checkpoints: FileName | None = Field(None, description="an earlier run whose trained arms these are")
    points: tuple[FileName, ...] | None = Field(None, description="points that are arms here; None: all")


class Study(_Closed):
    """A study as its file has it."""

    name: str | None = Field(None, pattern=r"^[^/\\]+$", description="of the study; None: that of its file")
    title: str
    about: str = Field(description="what it is and what it rests on, for its report")
    settings: Mapping[str, Any] = Field(default={}, description="of all runs")
    crossed: bool = Field(False, description="whether the arms of each run meet the seekers of all others")
    point: tuple[StudyPoint, ...] = ()
    run: tuple[StudyRun, ...] = Field(min_length=1)
    artifact: tuple[AnyArtifact, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Plan:
    """A study that can be run.

    Attributes:
        configs: settings of its runs, resolved, by name.
    """

    name: str
    study: Study
    configs: Mapping[str, RunConfig]

    def toml(self) -> str:
        """The study with everything resolved; itself a study, which does the same."""
        runs = [
            run.model_copy(update={"settings": tomllib.loads(self.configs[run.name].toml())})
            for run in self.study.run
        ]
        changed = {"name": self.name, "settings": {}, "crossed": False, "run": tuple(runs)}
        whole = self.study.model_copy(update=changed)
        return tomli_w.dumps(whole.model_dump(mode="json", exclude_none=True))


@dataclass(frozen=True)
class Done:
    """A study that was run.

    Attributes:
        runs: by name.
        tables: of all artifacts, in order.
        findings: of all artifacts, in order.
        results: the content of ``results.json``.
    """

    runs: Mapping[str, Finished]
    tables: Sequence[Table]
    findings: Sequence[str]
    results: Mapping[str, Any]


def list_studies() -> list[dict[str, str]]:
    """Name, title and description of every study that comes with the package."""
    found = [(name, _parse(name, studies.read(name))) for name in studies.names()]
    return [{"name": name, "title": study.title, "about": study.about} for name, study in found]


def plan_study(which: str, values: Mapping[str, Any], file: Path | None = None) -> Plan:
    """A study with the settings of its runs.

    Args:
        which: its name, or the path of a TOML file (one that ends in ``.toml``).
        values: settings that win over those of the study, such as those of the command line.
        file: TOML file with settings between the two.

    Raises:
        InputError: naming the file, and the key, run, arm or metric at fault.
    """
    is_path = which.endswith(".toml")
    study = _parse(which, read_settings(Path(which)) if is_path else studies.read(which))
    if study.crossed:
        if "user" in values:
            raise InputError(f"--user {values['user']}: every run of {which} has seekers of its own")
        study = study.model_copy(update={"run": _crossed(study.run)})
    _check_points(which, study.point)
    configs: dict[str, RunConfig] = {}
    for run in study.run:
        place = f"{which}: run {run.name!r}"
        if run.name in configs:
            raise InputError(f"{which}: two runs are called {run.name!r}")
        with _at(place):
            settings = _with_points(over(study.settings, run.settings), _points_of(run, study.point))
        if run.checkpoints is not None:
            if run.checkpoints not in configs:
                raise InputError(f"{place}: checkpoints: {unknown('earlier run', run.checkpoints, configs)}")
            settings["trained_on"] = configs[run.checkpoints].met
        for name in settings:
            if name not in RunConfig.model_fields:
                raise InputError(f"{place}: {unknown('setting', name, RunConfig.model_fields)}")
        try:
            configs[run.name] = resolve(values, file, under=settings)
        except InputError:
            with _at(place):
                resolve({}, under=settings)  # whether the study itself is at fault
            raise
        for point in _points_of(run, study.point):
            with _at(place):
                check_stands(configs[run.name], point)
        if configs[run.name].surface is not Surface.TEXT:
            raise InputError(f"{place}: surface: a comparison is held in words")
        if run.checkpoints is not None:
            with _at(f"{place}: checkpoints"):
                _check_same(configs[run.checkpoints], configs[run.name])
    study = _labelled(study)
    _check_artifacts(which, study, configs)
    name = study.name or (Path(which).stem if is_path else which)
    return Plan(name, study, configs)


def unfinished(root: Path) -> Path:
    """The one folder of a study below ``root`` that was started and not finished.

    Raises:
        InputError: if there is none, or there are several.
    """
    found = [file.parent for file in sorted(root.glob("*/study.toml"))]
    open_ = [path for path in found if not StudyFolder(path).results.is_file()]
    if len(open_) != 1:
        said = (
            f"several unfinished studies ({', '.join(map(str, open_))})" if open_ else "no unfinished study"
        )
        raise InputError(f"study resume: {said} in {root}; name one, or its folder")
    return open_[0]


def _check_points(which: str, points: Sequence[StudyPoint]) -> None:
    """Each point has a name of its own, and can be had."""
    made = set()
    for point in points:
        if point.name in made:
            raise InputError(f"{which}: two points are called {point.name!r}")
        made.add(point.name)
        if why := point.where.impossible():
            raise InputError(f"{which}: point {point.name!r} is impossible: {why}")


def _points_of(run: StudyRun, points: Sequence[StudyPoint]) -> list[StudyPoint]:
    """The points that are arms of a run."""
    if run.points is None:
        return list(points)
    by_name = {point.name: point for point in points}
    for name in run.points:
        if name not in by_name:
            raise unknown("point", name, by_name)
    return [by_name[name] for name in run.points]


def _with_points(settings: Mapping[str, Any], points: Sequence[StudyPoint]) -> dict[str, Any]:
    """Settings of a run whose arms, besides those named, are points; what they set of an arm wins."""
    if not points:
        return dict(settings)
    tables = {point.arm: point.table for point in points}
    arms = dict.fromkeys((*settings.get("arms", ()), *tables))
    return over({"arm": tables}, settings) | {"arms": list(arms)}


def _labelled(study: Study) -> Study:
    """The study with what its points are called in the figures they are in, unless a figure has its own."""
    called = {point.arm: point.label for point in study.point if point.label}
    artifacts = []
    for artifact in study.artifact:
        mine = {arm: called[arm] for _, arm in artifact.needs if arm in called}
        artifacts.append(artifact.model_copy(update={"labels": {**mine, **artifact.labels}}))
    return study.model_copy(update={"artifact": tuple(artifacts)})


def _crossed(runs: Sequence[StudyRun]) -> tuple[StudyRun, ...]:
    """The runs, and their arms before the seekers of the others."""
    across = [
        StudyRun(
            name=crossing(run.name, other.name),
            label=f"{run.label or run.name} on {other.label or other.name}",
            settings=other.settings,
            checkpoints=run.name,
            points=run.points,
        )
        for run in runs
        for other in runs
        if run is not other
    ]
    return (*runs, *across)


_SAME = ("world", "data", "world_seed", "arms", "seeds", "arm", "experts", "embeddings", "limit", "slate")
"""What decides whether checkpoints fit, and whether arms are the same arms."""


def _check_same(trained: RunConfig, other: RunConfig) -> None:
    """A run can take up the checkpoints of another.

    Raises:
        InputError: naming the setting in which it cannot.
    """
    for name in _SAME:
        if getattr(trained, name) != getattr(other, name):
            raise InputError(f"the runs differ in {name!r}, so that these would be other arms")


def _parse(which: str, content: Mapping[str, Any]) -> Study:
    """A study checked for its form."""
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        complaint = error
    problem = complaint.errors()[0]
    path = problem["loc"]
    if problem["type"] == "extra_forbidden":
        place, known = _where(path[:-1])
        raise InputError(f"{which}: {place}{unknown('key', str(path[-1]), known)}")
    place, _ = _where(path)
    if problem["type"] == "union_tag_invalid":
        raise InputError(f"{which}: {place}{unknown('kind of artifact', problem['ctx']['tag'], KINDS)}")
    said = _SAID.get(problem["type"])
    raise InputError(f"{which}: {place}{said or explain(complaint)}")


_KEYS: Mapping[str, Sequence[str]] = {
    "run": list(StudyRun.model_fields),
    "point": list(StudyPoint.model_fields),
    "control": list(Control.model_fields),
}


def _where(path: Sequence[str | int]) -> tuple[str, Sequence[str]]:
    """Where something stands in a study's file, and the keys that can stand there."""
    said: list[str] = []
    known: Sequence[str] = list(Study.model_fields)
    for part in path:
        if isinstance(part, int):
            said[-1] += f" {part + 1}"
        elif part in KINDS and said and said[-1].startswith("artifact"):
            known = list(KINDS[part].model_fields)
        else:
            said.append(part)
            known = _KEYS.get(part, known)
    return ": ".join(said) + ": " if said else "", known


def _check_artifacts(which: str, study: Study, configs: Mapping[str, RunConfig]) -> None:
    """Everything that artifacts are made of has to be made by a run."""
    made = set()
    for artifact in study.artifact:
        with _at(f"{which}: artifact {artifact.name!r}"):
            if artifact.name in made:
                raise InputError("another artifact has this name")
            made.add(artifact.name)
            artifact.check()
            for run in artifact.replays:
                if run not in configs:
                    raise unknown("run", run, configs)
            for run, arm in artifact.needs:
                if run not in configs:
                    raise unknown("run", run, configs)
                if arm not in configs[run].arms:
                    raise InputError(f"run {run!r} has no such arm: {unknown('arm', arm, configs[run].arms)}")
            artifact.check_runs(configs)
            for arm in artifact.labels:
                if arm not in (arms := {arm for _, arm in artifact.needs}):
                    raise InputError(f"labels: {unknown('arm', arm, arms)}")


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say in complaints from within where the fault stands."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


class StudyFolder:
    """Paths of a study.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study_file = path / "study.toml"
        self.tables = path / "tables"
        self.figures = path / "figures"
        self.results = path / "results.json"
        self.report = path / "report.html"
        self.answers = path / "answers.sqlite"

    def run(self, name: str) -> Path:
        """The run folder of a run."""
        return self.path / "runs" / name

    def replay(self, run: str, corpus: str) -> Path:
        """Human dialogues replayed with the arms of a run."""
        return self.path / "replays" / f"{run}-{corpus}.json"

    @classmethod
    def open(cls, path: Path, plan: Plan, existing: OnExisting) -> StudyFolder:
        """Make a new folder, or take up an old one.

        Raises:
            InputError: if there is one and neither resuming nor replacing was asked for, if it belongs to
                another study, is no study's, holds something that no study wrote (when replacing), or
                cannot be written.
        """
        folder = cls(path)
        check_writable(path)
        if path.exists() and (not path.is_dir() or any(visible(path))):
            folder._check_existing(plan, existing)
            if existing == "force":
                with folder.locked():
                    writing(path, folder._empty)
        writing(path, lambda: folder._lay_out(plan))
        return folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone.

        Raises:
            InputError: if another one holds it.
        """
        with holding(self.path, "study"):
            yield

    def _check_existing(self, plan: Plan, existing: OnExisting) -> None:
        try:
            old = read_settings(self.study_file)
        except InputError:
            old = {}
        if not old.keys() >= {"title", "run", "artifact"}:
            raise InputError(f"{self.path}: exists and is not the folder of a study; choose another --out")
        if existing == "refuse":
            raise InputError(f"{self.path}: exists already; --resume goes on with it, --force replaces it")
        if existing == "force" and (foreign := OF_STUDY.foreign(self.path)):
            raise InputError(
                f"{self.path}: not replaced, because no study wrote {foreign!r} in it; "
                "move that away, or choose another --out"
            )
        if existing == "resume" and (changed := _changed(old, tomllib.loads(plan.toml()))):
            raise InputError(f"{self.path}: was started with another {changed}; it cannot be resumed")

    def _lay_out(self, plan: Plan) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.study_file, plan.toml())  # first: it makes the folder one to be resumed
        for place in (self.path / "runs", self.tables, self.figures):
            place.mkdir(exist_ok=True)

    def _empty(self) -> None:
        """Delete what studies write, but for answers; the file by which it is known as one last."""
        OF_STUDY.delete(self.path, lambda name: name == self.results.name)
        OF_STUDY.delete(
            self.path, lambda name: name != self.study_file.name and not name.startswith(self.answers.name)
        )
        self.study_file.unlink()


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """What, if anything, two studies differ in, in words."""
    runs = [{run["name"]: what(run.get("settings", {})) for run in study["run"]} for study in (old, new)]
    for name in sorted(runs[0].keys() ^ runs[1].keys()):
        return f"run {name!r}"
    for name, before in runs[0].items():
        now = runs[1][name]
        for setting in sorted({*before, *now}):
            if before.get(setting) != now.get(setting):
                return f"{setting!r} in run {name!r}"
    return next((repr(key) for key in sorted({*old, *new}) if old.get(key) != new.get(key)), None)


def run_study(
    plan: Plan,
    out: Path,
    existing: OnExisting = "refuse",
    workers: int = 1,
    progress: Progress = lambda *_: None,
    budget: Budget = NO_LIMIT,
) -> Done:
    """Run what is not yet run, and make all tables and figures from the run folders.

    Args:
        budget: what may be spent on language models, by all runs together.

    Raises:
        InputError: before anything is written, if something is wrong with the input.
        Stopped: if a budget is used up, an endpoint is gone, or no dialogue of an arm could be held.
    """
    for config in plan.configs.values():
        read_input(config)
    folder = StudyFolder.open(out, plan, existing)
    with folder.locked():
        for done, run in enumerate(plan.study.run):
            progress("runs", done, len(plan.configs))
            compare(
                plan.configs[run.name],
                folder.run(run.name),
                "resume",
                workers,
                progress=_named(run.name, plan, progress),
                budget=budget,
                answers=folder.answers,
                trained=None if run.checkpoints is None else RunFolder(folder.run(run.checkpoints)),
            )
        progress("runs", len(plan.configs), len(plan.configs))
        _replay_people(folder, plan, progress, budget)
        return write_artifacts(folder, plan)


def _replay_people(folder: StudyFolder, plan: Plan, progress: Progress, budget: Budget) -> None:
    """Let the arms of runs decide in human dialogues, where an artifact asks for it and there are any."""
    asked = {run: n for artifact in plan.study.artifact for run, n in artifact.replays.items()}
    for name, limit in asked.items():
        config = plan.configs[name]
        for corpus, place in human_corpora(config).items():
            path = folder.replay(name, corpus)
            if path.is_file():
                continue
            source = Source(corpus, place, replayed_split(corpus, place), limit)
            found = replay(
                config,
                config.arms,
                RunFolder(folder.run(name)),
                source,
                budget=budget,
                progress=_named(name, plan, progress),
            )
            path.parent.mkdir(exist_ok=True)
            kept = {
                **found.results,
                "columns": COLUMNS,
                "counts": {a: c.tolist() for a, c in found.counts.items()},
            }
            write_atomically(path, json.dumps(kept) + "\n")


def _named(name: str, plan: Plan, progress: Progress) -> Progress:
    """Progress that says of which run it is, where there are several."""
    if len(plan.configs) == 1:
        return progress
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def write_artifacts(folder: StudyFolder, plan: Plan) -> Done:
    """Make tables, figures, results and report from the run folders alone."""
    runs = {}
    for run in plan.study.run:
        there = RunFolder(folder.run(run.name))
        replays = {
            corpus: there.read_json(path)
            for corpus in CORPORA
            if (path := folder.replay(run.name, corpus)).is_file()
        }
        found = there.read_json(there.results)
        runs[run.name] = Finished(run.name, run.label or run.name, there, found, replays)
    made: dict[str, Made] = {}
    with house_style():
        for artifact in plan.study.artifact:
            made[artifact.name] = artifact.make(runs)
    OF_STUDY.delete(folder.path, lambda name: name.startswith(("tables/", "figures/")))
    for place in (folder.tables, folder.figures):
        place.mkdir(exist_ok=True)
    for one in made.values():
        for table in one.tables:
            write_atomically(folder.tables / f"{table.name}.csv", table.csv)
            write_atomically(folder.tables / f"{table.name}.md", table.markdown)
        for picture in one.pictures:
            write_atomically(folder.figures / f"{picture.name}.png", picture.png)
    found = _results(plan, runs, made)
    write_atomically(folder.results, json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_atomically(folder.report, _page(folder, plan, runs, made))
    return Done(
        runs,
        [table for one in made.values() for table in one.tables],
        [finding for one in made.values() for finding in one.findings],
        found,
    )


def _results(plan: Plan, runs: Mapping[str, Finished], made: Mapping[str, Made]) -> dict[str, Any]:
    kept = ("world", "world_fingerprint", "protocol", "rests_on")
    return {
        "schema_version": SCHEMA_VERSION,
        "study": plan.name,
        "title": plan.study.title,
        "runs": {name: {key: run.found[key] for key in kept} for name, run in runs.items()},
        "artifacts": {
            artifact.name: {
                "kind": artifact.kind,
                "title": artifact.title,
                "findings": list(made[artifact.name].findings),
                "tables": {table.name: list(table.rows) for table in made[artifact.name].tables},
                "figures": {p.name: p.caption for p in made[artifact.name].pictures},
            }
            for artifact in plan.study.artifact
        },
    }


def _page(folder: StudyFolder, plan: Plan, runs: Mapping[str, Finished], made: Mapping[str, Made]) -> str:
    """The report: one file that opens without network."""
    charts = {name: shown for one in made.values() for name, shown in one.charts.items()}
    return render(
        "study.html.jinja",
        charts,
        name=plan.name,
        study=plan.study,
        runs=runs,
        made=made,
        image=lambda picture: base64.b64encode(picture.png).decode(),
        config=folder.study_file.read_text("utf-8"),
        provenance={name: run.folder.read_json(run.folder.provenance) for name, run in runs.items()},
        timings={name: run.folder.read_json(run.folder.timings) for name, run in runs.items()},
        selected_on_test=False,
        learning=[],
        unreadable=[],
        warned={name: warnings(run.found, run.replays) for name, run in runs.items()},
    )
