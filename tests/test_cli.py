"""The command line: help for newcomers, JSON for machines, one clear line for wrong use."""

from __future__ import annotations

import dataclasses
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from unicrs_rl.cli import main
from unicrs_rl.cli.options import Settings, given_settings
from unicrs_rl.experiments.config import OPTIONS, resolve

VERBS = ("compare", "train", "evaluate", "report", "worlds", "doctor")
TINY = ("--train-dialogues", "16", "--seeds", "0", "--workers", "1")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that must fail with 2."""
    code, _, err = call(capsys, *arguments)
    assert code == 2, err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("unicrs-rl: ")
    return err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = call(capsys, verb, "--help")
    assert code == 0
    assert "--json" in out
    assert "None" not in out


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("--help",), ()):
        code, out, _ = call(capsys, *arguments)
        assert code == 0
        assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compar",), "did you mean compare"),
        (("compare", "--dialoges", "3"), "did you mean --dialogues"),
        (("compare", "--dialogues", "x"), "--dialogues"),
        (("compare", "--dialogues", "0"), "--dialogues: must be at least 1 (it is 0)"),
        (("compare", "--dialogues", "-3"), "--dialogues: must be at least 1 (it is -3)"),
        (("compare", "--train-dialogues", "-1"), "--train-dialogues: must be at least 0 (it is -1)"),
        (("compare", "--world", "movie"), "did you mean movies"),
        (("compare", "--arms", "unifed,rso"), "did you mean unified"),
        (("compare", "--arms", "unified,unified"), "--arms: the same entry twice (it is 'unified,unified')"),
        (("compare", "--arms", ""), "--arms: at least one is needed"),
        (("compare", "--seeds", "a"), "--seeds: must be a whole number (it is 'a')"),
        (("compare", "--user", "latnt"), "--user: unknown user simulator 'latnt'; did you mean latent"),
        (("compare", "--llm", "embeded"), "did you mean embedded"),
        (
            ("compare", "--reject", "maybe"),
            "--reject: must be 'filter', 'penalty', 'none' or 'noisy' (it is 'maybe')",
        ),
        (("compare", "--world", "redial"), "--data"),
        (("compare", "--world", "redial", "--data", "/no/such/place"), "/no/such/place"),
        (("compare", "--world", "/no/such/place"), "/no/such/place"),
        (("compare", "--world", "movies", "--data", "."), "embedded"),
        (("compare", "--config", "/no/such/file.toml"), "/no/such/file.toml"),
        (("compare", "--resume", "--force"), "exclude"),
        (("compare", "--workers", "0"), "workers"),
        (("train", "--arm", "rsoo"), "--arm: unknown arm 'rsoo'; did you mean rso"),
        (("evaluate",), "run folder"),
        (("evaluate", "/no/such/run"), "/no/such/run"),
        (("evaluate", "--arm", "unified"), "learns"),
        (("evaluate", "--arm", "greedy", "--dialogues", "0"), "--dialogues: must be at least 1 (it is 0)"),
        (("evaluate", "/no/such/checkpoints/rso-seed0.safetensors"), "no such checkpoint"),
        (("evaluate", "/no/such/embeddings.safetensors"), "ARM-seedN.safetensors"),
        (("evaluate", "--arm", "greedy", "--split", "tset"), "split"),
        (("report", "/no/such/run"), "/no/such/run"),
        (("worlds", "--world", "redail"), "did you mean redial"),
        (("worlds", "--data", "/no/such/place"), "/no/such/place"),
        (("worlds", "--data", "."), "no world found"),
        (("doctor", "--data", "/no/such/place"), "/no/such/place"),
    ],
)
def test_wrong_use_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in complaint(capsys, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("dialoges = 3", "did you mean dialogues"),
        ("dialogues = 'many'", "settings.toml: dialogues: must be a whole number (it is 'many')"),
        ("user = 'latnt'", "settings.toml: user: unknown user simulator 'latnt'"),
        ("dialogues = ", "TOML"),
        ("[reward]\nsignal = 'both'", "settings.toml: reward.signal: must be "),
        ("[embeddings]\ndimension = 3", "settings.toml: embeddings.dimension: there is no such setting"),
        ("[arm.unifed]\nk = 3", "settings.toml: unknown arm 'unifed'; did you mean unified"),
        ("[arm.unified]\nkk = 3", "kk"),
        ("[arm.rso]\nwidth = 7", "width"),
    ],
)
def test_a_wrong_config_file_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, says: str
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(content)
    out = tmp_path / "run"
    assert says in complaint(capsys, "compare", "--config", str(config), "--out", str(out))
    assert not out.exists()


def test_command_line_wins_over_the_config_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('arms = ["greedy", "random"]\ndialogues = 30\n[embeddings]\nepochs = 1\n')
    out = tmp_path / "run"
    code, text, _ = call(
        capsys, "compare", "--config", str(config), "--dialogues", "4", "--out", str(out), "--json", *TINY
    )
    assert code == 0
    found = json.loads(text)
    assert found["protocol"]["dialogues"] == 4
    assert list(found["arms"]) == ["greedy", "random"]


def test_compare_prints_table_verdict_and_what_it_rests_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, text, _ = call(
        capsys, "compare", "--arms", "unified,rso,greedy", "--dialogues", "6", "--out", str(out), *TINY
    )
    assert code == 0
    for word in (
        "SR@15",
        "AT",
        "hDCG",
        "Recall@5",
        "Rec-SR",
        "Conv-SR",
        "WI",
        "PRS",
        "Cred",
        "Dist-2",
        "Judge",
    ):
        assert word in text
    for word in ("LM calls", "tokens", "seconds to train", "95% interval", "Rests on", "report.html"):
        assert word in text


def test_json_output_holds_the_training_seconds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, text, err = call(
        capsys, "compare", "--arms", "unified,greedy", "--dialogues", "4", "--out", str(out), "--json", *TINY
    )
    assert code == 0
    assert err == ""
    printed, stored = json.loads(text), json.loads((out / "results.json").read_text())
    assert printed["arms"]["unified"]["cost"]["train_seconds"] > 0
    assert stored["arms"]["unified"]["cost"]["train_seconds"] is None
    assert json.loads((out / "timings.json").read_text())["jobs"]["unified-seed0"]["train_seconds"] > 0


def test_train_then_evaluate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, text, _ = call(capsys, "train", "--arm", "rso", "--out", str(run), "--json", *TINY)
    assert code == 0
    assert json.loads(text)["checkpoints"] == ["checkpoints/rso-seed0.safetensors"]
    code, text, _ = call(capsys, "evaluate", str(run), "--dialogues", "5", "--json")
    found = json.loads(text)
    assert (code, found["arm"], found["dialogues"]) == (0, "rso", 5)
    for name in ("sr@5", "sr@10", "sr@15", "at", "hdcg", "turns_per_second", "ci95"):
        assert name in found


def test_evaluation_of_a_checkpoint_on_another_world_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path
) -> None:
    run = tmp_path / "run"
    assert call(capsys, "train", "--arm", "unified", "--out", str(run), *TINY)[0] == 0
    assert "another world" in complaint(capsys, "evaluate", str(run), "--world", str(bistros))


def test_a_broken_checkpoint_is_one_clear_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call(capsys, "train", "--arm", "unified", "--out", str(run), *TINY)[0] == 0
    checkpoint = run / "checkpoints" / "unified-seed0.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert "unified-seed0.safetensors" in complaint(capsys, "evaluate", str(run), "--dialogues", "2")


def test_rules_are_evaluated_without_training(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(
        capsys, "evaluate", "--arm", "max-entropy", "--user", "mcr", "--dialogues", "20", "--json"
    )
    assert code == 0
    assert json.loads(text)["sr@15"] > 0.5


def test_a_checkpoint_is_evaluated_by_its_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ("--train-dialogues", "16", "--seeds", "0,3", "--workers", "1")
    assert call(capsys, "train", "--arm", "unified", "--out", str(run), *settings)[0] == 0
    checkpoint = str(run / "checkpoints" / "unified-seed3.safetensors")
    code, text, _ = call(capsys, "evaluate", checkpoint, "--dialogues", "4", "--json")
    found = json.loads(text)
    assert (code, found["arm"], found["seed"]) == (0, "unified", 3)
    assert "of arm 'unified'" in complaint(capsys, "evaluate", checkpoint, "--arm", "rso")


def test_a_run_is_taken_up_from_another_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths given from where one stood when the run was started hold from everywhere."""
    monkeypatch.chdir(bistros.parent)
    run = tmp_path / "run"
    settings = ("--arms", "greedy,random", "--dialogues", "4", "--out", str(run), *TINY)
    assert call(capsys, "compare", "--world", bistros.name, *settings)[0] == 0
    elsewhere = tmp_path / "else" / "where"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert call(capsys, "evaluate", str(run), "--arm", "greedy", "--dialogues", "2")[0] == 0
    assert call(capsys, "compare", "--world", f"../../{bistros.name}", "--resume", *settings)[0] == 0
    assert str(tmp_path) not in (run / "results.json").read_text()


def test_a_named_world_stays_a_name_beside_a_folder_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "redial").mkdir()
    assert resolve({"world": "redial"}).world == "redial"
    assert resolve({"world": "./redial", "corpus": "talk"}).model_dump(include={"world", "corpus"}) == {
        "world": str(tmp_path / "redial"),
        "corpus": tmp_path / "talk",
    }


def test_messages_know_the_options_of_the_command_line() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)} | {"arms", "dialogues"}
    of_tables = {"model", "base_url", "effects", "effects_table", "population", "latent", "recsim"}
    assert set(OPTIONS) == fields - {"config", *of_tables}


def test_force_does_not_replace_the_folder_of_its_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("dialogues = 5\n")
    arguments = ("compare", "--config", str(config), "--out", str(tmp_path), "--force")
    assert "--config" in complaint(capsys, *arguments)
    assert config.read_text() == "dialogues = 5\n"


def test_training_a_rule_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "rule" in complaint(capsys, "train", "--arm", "greedy", "--out", str(out))
    assert not out.exists()


def test_a_missing_corpus_is_found_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for verb in ("compare", "train"):
        out = tmp_path / verb
        assert "nowhere" in complaint(capsys, verb, "--corpus", "nowhere", "--out", str(out))
        assert not out.exists()


def test_a_config_file_changes_an_evaluation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, config = tmp_path / "run", tmp_path / "settings.toml"
    assert call(capsys, "train", "--arm", "unified", "--out", str(run), *TINY)[0] == 0
    config.write_text("limit = 3\n")
    code, text, _ = call(capsys, "evaluate", str(run), "--config", str(config), "--dialogues", "5", "--json")
    assert code == 0
    assert json.loads(text)["at"] <= 3
    config.write_text("[arm.unified]\ndim = 64\n")
    assert "other settings" in complaint(capsys, "evaluate", str(run), "--config", str(config))


def test_a_catalogue_of_ones_own_is_compared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bistros: Path
) -> None:
    out = tmp_path / "run"
    code, text, _ = call(
        capsys, "compare", "--world", str(bistros), "--dialogues", "6", "--out", str(out), "--json", *TINY
    )
    assert code == 0
    assert json.loads(text)["world"] == "bistros"


def test_a_read_only_place_is_one_clear_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "sealed"
    place.mkdir()
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "read-only" in complaint(capsys, "compare", "--out", str(place / "run"))
    assert "read-only" in complaint(capsys, "compare", "--out", str(place))
    assert not list(place.iterdir())


def test_a_file_in_the_way_is_one_clear_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert str(tmp_path / "file") in complaint(capsys, "compare", "--out", str(tmp_path / "file" / "run"))
    assert str(tmp_path / "file") in complaint(capsys, "compare", "--out", str(tmp_path / "file"))


def test_worlds_lists_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "worlds", "--json")
    rows = {row["name"]: row for row in json.loads(text)["worlds"]}
    assert code == 0
    assert rows["movies"]["items"] >= 400
    assert {"movies", "redial", "lastfm", "PATH"} <= set(rows)


def test_worlds_reads_real_data(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    code, text, _ = call(
        capsys, "worlds", "--world", "lastfm", "--data", str(shared / "data" / "lastfm"), "--json"
    )
    (row,) = json.loads(text)["worlds"]
    assert code == 0
    assert (row["items"], row["attributes"], row["seekers"]) == (7432, {"tag": 33}, 1801)


def test_worlds_reads_those_in_a_folder(capsys: pytest.CaptureFixture[str], bistros: Path) -> None:
    for folder in (bistros, bistros.parent):
        code, text, _ = call(capsys, "worlds", "--data", str(folder), "--json")
        (row,) = json.loads(text)["worlds"]
        assert (code, row["name"], row["items"], row["use"]) == (0, "bistros", 6, f"--world {bistros}")


def test_worlds_report_how_well_a_corpus_links(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    code, text, _ = call(capsys, "worlds", "--corpus", str(shared / "data" / "inspired"), "--json")
    (row,) = json.loads(text)["worlds"]
    assert code == 0
    assert row["corpus"]["train"]["dialogues"] + row["corpus"]["valid"]["dialogues"] == 900
    assert 0.2 < row["corpus"]["train"]["linking rate"] < 1


def test_doctor_finds_versions_extras_and_data(capsys: pytest.CaptureFixture[str], bistros: Path) -> None:
    code, text, _ = call(capsys, "doctor", "--data", str(bistros.parent), "--json")
    found = json.loads(text)
    assert code == 0
    assert found["versions"]["torch"]
    assert set(found["extras"]) == {
        "dgl",
        "ray",
        "app",
        "offline-models",
        "openai",
        "simulators",
        "docs",
        "dev",
    }
    assert "catalogue" in found["data"][str(bistros)]


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("unicrs-rl")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unicrs-rl 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--effects", "strng"), "--effects: must be 'human', 'strong' or 'none'"),
        (("--population", "weird"), "--population: must be 'plain' or 'holistic'"),
        (("--latent", "patience"), "NAME=VALUE is expected"),
        (("--latent", "patience=sweep:1,a"), "NAME=VALUE is expected"),
        (("--latent", "patience=uniform:2,1"), "the lower end comes first"),
        (("--latent", "patience=normal:1"), "'patience=normal:1': normal needs two numbers, normal:MEAN,SD"),
        (("--latent", "patience=uniform:1,2,3"), "uniform needs two numbers, uniform:LOW,HIGH"),
        (("--latent", "patience=nan"), "'patience=nan': finite numbers are expected"),
        (("--latent", "patience=sweep:1,inf"), "finite numbers are expected"),
        (("--latent", "patience=1", "--latent", "patience=2"), "--latent patience: given more than once"),
        (("--latent", "patiance=1"), "did you mean patience?"),
        (("--user", "mcr", "--latent", "patience=1"), "mcr seekers have no hidden variables"),
        (("--user", "mcr", "--population", "holistic"), "--population: mcr seekers know nothing of it"),
        (("--user", "lm-free", "--effects", "strong"), "--effects: lm-free seekers know nothing of it"),
        (("--user", "mcr:x"), "take no argument"),
        (("--effects-table", "nowhere.toml"), "nowhere.toml: no such file"),
    ],
)
def test_wrong_seekers_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in complaint(capsys, "evaluate", "--arm", "max-entropy", *arguments)


def test_hidden_variables_come_from_the_command_line() -> None:
    verb = Settings(latent=("patience=1.5", "trust=sweep:-1,1"), effects="none")
    assert given_settings(verb)["seekers"] == {
        "effects": "none",
        "latents": {"patience": {"pin": 1.5}, "trust": {"sweep": [-1.0, 1.0]}},
    }
