"""The transfer study: arms trained on one kind of seekers before another, and what becomes of the verdict."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import INTERACTIONS, ITEMS
from scipy import stats

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.artifacts.transfer import Transfer, crossing, kendall, spearman
from unicrs_rl.experiments.run_folder import OF_STUDY
from unicrs_rl.experiments.study import Plan, plan_study, run_study

STUDY = """
title = "Two kinds of seekers"
about = "On a small catalogue."
crossed = true

[settings]
world = "WORLD"
CORPUS
arms = ["unified", "max-entropy", "greedy"]
train_dialogues = 16
dialogues = 10
seeds = [0, 1]
recommend_above = 0.3
embeddings = { epochs = 1 }
slate = 2

[[run]]
name = "mcr"
settings = { user = "mcr" }

[[run]]
name = "latent"
label = "latent ones"
settings = { user = "latent" }

[[artifact]]
kind = "transfer"
name = "transfer"
title = "Transfer"
runs = ["mcr", "latent"]
arms = ["unified", "max-entropy", "greedy"]
replayed = 3
"""
PEOPLE = "dialog_id\tspeaker\ttext\texpert_label\n" + "".join(
    f"{name}\tSEEKER\tI want {taste} .\t\n{name}\tRECOMMENDER\tTry {place} .\tpersonal_opinion\n"
    for name, taste, place in (
        ("a", "thai", "Blue Door"),
        ("b", "italian", "Old Mill"),
        ("c", "french", "Sea View"),
        ("d", "vegan", "Old Mill"),
    )
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small catalogue, and people who talk about it."""
    root = tmp_path_factory.mktemp("places")
    for name in ("bistros", "people"):
        (root / name).mkdir()
    (root / "bistros" / "items.csv").write_text(ITEMS)
    (root / "bistros" / "interactions.csv").write_text(INTERACTIONS)
    for name in ("train.tsv", "dev.tsv"):
        (root / "people" / name).write_text(PEOPLE)
    return root


def study(places: Path, file: Path, people: bool = True) -> Plan:
    """The study of this test, with or without human dialogues."""
    corpus = f'corpus = "{places / "people"}"' if people else ""
    file.write_text(STUDY.replace("WORLD", str(places / "bistros")).replace("CORPUS", corpus))
    return plan_study(str(file), {})


@pytest.fixture(scope="module")
def done(places: Path) -> Path:
    """The study's folder, to be copied."""
    run_study(study(places, places / "study.toml"), places / "out")
    return places / "out"


@pytest.fixture
def finished(tmp_path: Path, done: Path) -> Path:
    """A finished study to do things to."""
    shutil.copytree(done, tmp_path / "out")
    return tmp_path / "out"


def products(out: Path) -> dict[str, bytes]:
    """What is made of the runs, but for the report, which tells seconds."""
    files = [out / "results.json", *(out / "tables").iterdir(), *(out / "figures").iterdir()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def tables(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())["artifacts"]["transfer"]["tables"]
    return found


def test_rank_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (20, 6)).astype(float), rng.integers(0, 5, (20, 6)).astype(float)
    for row, (tau, rho) in enumerate(zip(kendall(a, b), spearman(a, b), strict=True)):
        assert tau == pytest.approx(stats.kendalltau(a[row], b[row]).statistic)
        assert rho == pytest.approx(stats.spearmanr(a[row], b[row]).statistic)
    flat = np.zeros((1, 6))
    assert np.isnan(kendall(flat, a[:1])).all()
    assert np.isnan(spearman(flat, a[:1])).all()


def test_every_run_meets_the_seekers_of_all_others(places: Path, tmp_path: Path) -> None:
    plan = study(places, tmp_path / "study.toml")
    assert list(plan.configs) == ["mcr", "latent", "mcr-on-latent", "latent-on-mcr"]
    crossed = plan.configs["mcr-on-latent"]
    assert (crossed.user, crossed.trained_on) == ("latent", "mcr")
    assert crossed.switches == plan.configs["mcr"].switches  # what it believes was made for those
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(plan.toml())
    again = plan_study(str(resolved), {})
    assert again.configs == plan.configs
    assert again.toml() == plan.toml()


def test_arms_of_another_run_are_not_trained_again(done: Path) -> None:
    for trained, met in (("mcr", "latent"), ("latent", "mcr")):
        own, other = done / "runs" / trained, done / "runs" / crossing(trained, met)
        names = sorted(path.name for path in (own / "checkpoints").iterdir())
        assert "unified-seed1.safetensors" in names
        for name in names:
            assert (own / "checkpoints" / name).read_bytes() == (other / "checkpoints" / name).read_bytes()
        assert not any((other / "tensorboard").iterdir())  # where learning curves would be
        said = json.loads((other / "results.json").read_text())["rests_on"]
        assert f"trained on other seekers ({trained})" in said


def test_the_matrix_holds_what_the_runs_found(done: Path) -> None:
    rows = tables(done)["transfer"]
    assert len(rows) == 3 * 2 * 4  # arms, trained on, met (people too, by two measures)
    for row in rows:
        if row["met"] in ("mcr", "latent"):
            run = done / "runs" / crossing(row["trained_on"], row["met"]) / "results.json"
            arm = json.loads(run.read_text())["arms"][row["arm"]]
            assert row["mean"] == pytest.approx(arm["metrics"]["sr@15"], abs=1e-6)
        else:
            replayed = json.loads((done / "replays" / f"{row['trained_on']}-inspired.json").read_text())
            assert replayed["dialogues"] == 3
            arm = replayed["arms"][row["arm"]]
            found = arm["act_agreement"] if row["metric"] == "act agreement" else arm["recall_new"]["10"]
            assert row["mean"] == pytest.approx(found["value"], abs=1e-4)
        assert row["low"] <= row["mean"] <= row["high"]


def test_ranks_verdicts_and_the_finding(done: Path) -> None:
    found = tables(done)
    assert len(found["transfer-ranks"]) == 6  # pairs of mcr, latent ones, people by two measures
    for row in found["transfer-ranks"]:
        for name in ("kendall_home", "spearman_home", "kendall_all", "spearman_all"):
            assert row[name] is None or -1 <= row[name] <= 1
    assert [row["seekers"] for row in found["transfer-verdicts"]] == [
        "mcr",
        "latent ones",
        "people (inspired): act agreement",
        "people (inspired): Recall@10 of new items",
    ]
    finding, people = json.loads((done / "results.json").read_text())["artifacts"]["transfer"]["findings"]
    assert people.startswith("In human dialogues, ")
    assert finding in (done / "report.html").read_text()
    assert (done / "figures" / "transfer.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("led", "said"),
    [
        (
            {"rso": ["a"], "unified": ["b"], "": []},
            "does not survive a change of seekers: rso leads with a, unified",
        ),
        (
            {"rso": ["a"], "unified": [], "": ["b", "c"]},
            "in part: rso leads with a; with b and c no difference",
        ),
        (
            {"rso": [], "unified": ["a", "b"], "": []},
            "survives the change of seekers: unified leads with all",
        ),
        ({"rso": [], "unified": [], "": ["a", "b"]}, "there is no verdict that could survive"),
    ],
)
def test_the_verdict_on_the_verdict(led: dict[str, list[str]], said: str) -> None:
    artifact = Transfer(kind="transfer", name="t", title="T", runs=("a", "b"), arms=("rso", "unified"))
    assert said in artifact._survives(led)


def test_what_a_kill_left_unfinished_is_taken_up(places: Path, finished: Path) -> None:
    """A crossing without results, its checkpoints half there, and a replay that is missing."""
    before = products(finished)
    broken = finished / "runs" / "latent-on-mcr"
    for name in ("results.json", "traces.jsonl", "timings.json", "report.html"):
        (broken / name).unlink()
    (broken / "checkpoints" / "unified-seed1.safetensors").unlink()
    (finished / "replays" / "mcr-inspired.json").unlink()
    shutil.rmtree(finished / "tables")
    run_study(study(places, places / "study.toml"), finished, "resume")
    assert products(finished) == before
    assert OF_STUDY.foreign(finished) is None  # --force would replace all of it


def test_without_human_dialogues_their_column_is_left_out(places: Path, tmp_path: Path) -> None:
    done = run_study(study(places, tmp_path / "study.toml", people=False), tmp_path / "out")
    assert {row["met"] for row in tables(tmp_path / "out")["transfer"]} == {"mcr", "latent"}
    assert "No human dialogues: their columns are left out." in done.findings
    assert not (tmp_path / "out" / "replays").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'name = "latent"',
            'name = "latent"\ncheckpoints = "mrc"',
            "unknown earlier run 'mrc'; did you mean mcr?",
        ),
        (
            'settings = { user = "latent" }',
            'settings = { user = "latent", seeds = [5] }',
            "the runs differ in 'seeds', so that these would be other arms",
        ),
        ('runs = ["mcr", "latent"]', 'runs = ["mcr", "latnt"]', "unknown run"),
        ('runs = ["mcr", "latent"]', 'runs = ["mcr"]', "runs: at least two are needed"),
        ("replayed = 3", 'metric = "dist2_corpus"', "'dist2_corpus' is of a whole corpus"),
        ("replayed = 3", 'metric = "sr@51"', "unknown metric 'sr@51'"),
    ],
)
def test_a_wrong_study_is_refused(places: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "study.toml"
    study(places, file)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=re.escape(said)):
        plan_study(str(file), {})


def test_the_study_that_comes_with_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_study("transfer", {})
    assert len(plan.configs) == 25
    assert main(["study", "show", "transfer"]) == 0
    assert capsys.readouterr().out == plan.toml()
    for wrong, said in (
        (["study", "run", "transfer", "--user", "mcr"], "every run of transfer has seekers of its own"),
        (["study", "show"], "name a study"),
        (["study", "run", "transfr"], "did you mean transfer?"),
        (["study", "transfer", "rso-main"], "one study at a time"),
    ):
        assert main(wrong) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
