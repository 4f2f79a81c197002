"""``train --stage sft`` and ``evaluate --corpus``: end to end, killed and resumed, and on bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from unicrs_rl import draws
from unicrs_rl.cli import main
from unicrs_rl.dialogue import STRATEGIES, LabelMap, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint, supervised
from unicrs_rl.experiments.supervised import (
    SupervisedConfig,
    evaluate_planner,
    resolve_supervised,
    train_planner,
)
from unicrs_rl.graphs.readers import inspired
from unicrs_rl.graphs.readers.inspired import Turns
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.imitation import Lexical, agreement
from unicrs_rl.policy.planner import Planner, corpus_samples, load_planner, new_planner
from unicrs_rl.policy.warm_up import ClassWeights, WarmUp, WarmUpConfig, class_weights, predict

CUES = [
    ("something funny please", "Opinion Inquiry"),
    ("who plays in it?", "credibility"),
    ("I cannot decide", "Encouragement"),
    ("hello there", "offer_help"),
    ("I only like crime", "Preference Confirmation"),
]
"""What a seeker says, and the strategy with which the recommender then answers."""
QUICK: dict[str, Any] = {
    "encoder": "small",
    "width": 32,
    "layers": 1,
    "vocabulary": 300,
    "max_tokens": 32,
    "warm_up": {"epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "classifier_learning_rate": 3e-3},
}


def dialogue(name: str, seed: int, turns: int = 5) -> dict[str, Any]:
    """A dialogue in which the strategy follows from the seeker's last word."""
    rng = np.random.default_rng(seed)
    said = []
    for turn, cue in enumerate(rng.integers(len(CUES), size=turns)):
        words, strategy = CUES[cue]
        said.append({"speaker": "SEEKER", "text": f"{words} {turn}", "strategy": "NaN"})
        said.append({"speaker": "RECOMMENDER", "text": f"Fine {turn}.", "strategy": strategy})
    return {"dialog_id": name, "dialog": said}


def write(path: Path, dialogues: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(each) for each in dialogues) + "\n")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with train and valid, beside one that holds nothing but the test split."""
    folder = tmp_path / "talk"
    folder.mkdir()
    write(folder / "inspired-train.jsonl", [dialogue(f"t{i}", i) for i in range(60)])
    write(folder / "inspired-valid.jsonl", [dialogue(f"v{i}", 1000 + i) for i in range(12)])
    apart = tmp_path / "apart"
    apart.mkdir()
    write(apart / "inspired-test.jsonl", [dialogue(f"x{i}", 2000 + i) for i in range(9)])
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The quick settings as a file."""
    import tomli_w

    path = tmp_path / "quick.toml"
    path.write_text(tomli_w.dumps(QUICK))
    return path


def quick(corpus: Path, **more: Any) -> SupervisedConfig:
    return resolve_supervised(QUICK | {"corpus": corpus} | more)


def untrained(config: SupervisedConfig, texts: list[str]) -> Planner:
    """The planner that a run of this configuration begins with."""
    return new_planner(config, texts, draws.key("planner", config.seed))


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def sft(corpus: Path, settings: Path, out: Path, *more: str) -> list[str]:
    return [
        *("train", "--arm", "rso", "--stage", "sft", "--corpus", "inspired", "--data", str(corpus)),
        *("--encoder", "small", "--config", str(settings), "--out", str(out), *more),
    ]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, _, err = call(capsys, *arguments)
    assert code == 2
    (line,) = err.splitlines()
    return line


def test_trains_and_evaluates_end_to_end(
    capsys: pytest.CaptureFixture[str], corpus: Path, settings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, text, err = call(capsys, *sft(corpus, settings, out))
    assert code == 0, err
    assert "Opinion Inquiry" in text  # class counts are printed
    assert {p.name for p in out.iterdir() if not p.name.startswith(".")} == {
        *("config.toml", "provenance.json", "checkpoints", "results.json", "timings.json"),
    }
    apart = ("--corpus", "inspired", "--data", str(corpus.parent / "apart"), "--split", "test", "--json")
    code, text, _ = call(capsys, "evaluate", str(out), *apart)
    found = json.loads(text)
    assert code == 0
    assert (found["samples"], found["dialogues"], found["split"]) == (45, 9, "test")
    assert found["accuracy"] > 0.9  # the words decide, and planner and word counts find it out
    assert found["baselines"]["tf-idf"]["accuracy"] > 0.9
    assert found["baselines"]["majority"]["accuracy"] < 0.5
    for name in ("accuracy", "macro_f1", "top3"):
        low, high = found["ci95"][name]
        assert low <= found[name] <= high
    assert sum(found["class_counts"].values()) == 45


def test_evaluation_is_that_of_the_training_run(corpus: Path, tmp_path: Path) -> None:
    made = train_planner(quick(corpus), tmp_path / "run", "refuse")
    found = evaluate_planner(tmp_path / "run", None, Split.VALID)
    assert {name: found[name] for name in made["valid"]} == made["valid"]
    best = made["epochs"][made["best_epoch"] - 1]
    assert best["macro_f1"] == max(epoch["macro_f1"] for epoch in made["epochs"])
    assert found["macro_f1"] == pytest.approx(best["macro_f1"], abs=1e-6)


def test_evaluation_is_greedy_and_without_dropout(corpus: Path, tmp_path: Path) -> None:
    train_planner(quick(corpus), tmp_path / "run", "refuse")
    torch.manual_seed(1)
    first = evaluate_planner(tmp_path / "run", None, Split.VALID)
    torch.manual_seed(2)
    assert evaluate_planner(tmp_path / "run", None, Split.VALID) == first
    planner = load_planner(tmp_path / "run" / "checkpoints" / "planner.safetensors")
    assert not any(module.training for module in planner.modules())


def test_a_checkpoint_is_the_planner_without_its_encoders_files(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = train_planner(quick(corpus, labels="rso"), out, "refuse")
    planner = load_planner(out / "checkpoints" / "planner.safetensors")
    samples = corpus_samples(inspired.read(corpus, Split.VALID).dialogues, LabelMap.RSO)
    logits = predict(planner, [seen for seen, _ in samples])
    found = agreement(logits, torch.tensor([label for _, label in samples]))
    assert found.accuracy == pytest.approx(made["valid"]["accuracy"], abs=1e-6)
    assert planner.labels is LabelMap.RSO
    assert (logits.argmax(1) != Strategy.PREFERENCE_CONFIRMATION.position).all()


def test_equal_seeds_give_equal_bytes_and_others_do_not(corpus: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_planner(quick(corpus, seed=seed), tmp_path / name, "refuse")
    a, b, c = ((tmp_path / name) for name in "abc")
    for file in ("results.json", "checkpoints/planner.safetensors", "checkpoints/baselines.safetensors"):
        assert (a / file).read_bytes() == (b / file).read_bytes()
    file = "checkpoints/planner.safetensors"
    assert (a / file).read_bytes() != (c / file).read_bytes()


def test_a_killed_run_resumes_to_the_same_bytes(corpus: Path, settings: Path, tmp_path: Path) -> None:
    settings.write_text(settings.read_text().replace("epochs = 6", "epochs = 12\npatience = 12"))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "unicrs_rl.cli", *sft(corpus, settings, killed)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not (killed / "parts" / "warm-up.safetensors").is_file():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (killed / "results.json").exists()
    assert main(sft(corpus, settings, killed, "--resume")) == 0
    assert main(sft(corpus, settings, whole)) == 0
    for file in ("results.json", "checkpoints/planner.safetensors", "checkpoints/baselines.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes()
    assert not (killed / "parts").exists()


def test_training_ends_early_and_keeps_the_best_epoch(corpus: Path) -> None:
    config = quick(corpus, warm_up=QUICK["warm_up"] | {"epochs": 30, "patience": 1})
    samples = corpus_samples(inspired.read(corpus, Split.TRAIN).dialogues)
    planner = untrained(config, [seen.text for seen, _ in samples])
    course = WarmUp(planner, samples, samples[:40], config.warm_up, seed=0)
    history = course.fit()
    assert len(history) < 30
    assert course.best == len(history) - 2
    logits = predict(planner, [seen for seen, _ in samples[:40]])
    labels = torch.tensor([label for _, label in samples[:40]])
    assert agreement(logits, labels).macro_f1 == history[course.best]["macro_f1"]


def test_the_loss_is_cross_entropy(corpus: Path) -> None:
    """Eq. 6, weighted and smoothed as PyTorch defines it."""
    samples = corpus_samples(inspired.read(corpus, Split.TRAIN).dialogues)[:20]
    planner = untrained(quick(corpus), [seen.text for seen, _ in samples]).eval()
    for kind, smoothing in ((ClassWeights.NONE, 0.0), (ClassWeights.SQRT, 0.0), (ClassWeights.NONE, 0.1)):
        config = WarmUpConfig(class_weights=kind, label_smoothing=smoothing, frozen_layers=0)
        course = WarmUp(planner, samples, (), config, seed=0)
        labels = torch.tensor([label for _, label in samples])
        expected = torch.nn.functional.cross_entropy(
            planner([seen for seen, _ in samples]),
            labels,
            weight=class_weights(labels.tolist(), kind),
            label_smoothing=smoothing,
        )
        torch.testing.assert_close(course._loss(samples), expected)


def test_class_weights_follow_the_frequency() -> None:
    labels = [0] * 90 + [1] * 10
    plain, root, inverse = (class_weights(labels, kind) for kind in ClassWeights)
    assert plain[0] == plain[1] == 1
    assert float(root[1] / root[0]) == pytest.approx(3)
    assert float(inverse[1] / inverse[0]) == pytest.approx(9)
    for weights in (root, inverse):
        assert float(weights[labels].mean()) == pytest.approx(1)


def test_adjustment_favours_rare_strategies(corpus: Path) -> None:
    samples = corpus_samples(inspired.read(corpus, Split.TRAIN).dialogues)
    rare = [s for s in samples if s[1] == Strategy.OFFER_HELP.position][:3]
    common = [s for s in samples if s[1] == Strategy.CREDIBILITY.position][:30]
    biases = []
    for share in (0.0, 0.5):
        planner = untrained(quick(corpus), [seen.text for seen, _ in samples])
        WarmUp(planner, common + rare, (), WarmUpConfig(adjustment=share, frozen_layers=0), seed=0).fit()
        biases.append(planner.classifier.bias.detach())
    change = biases[1] - biases[0]
    gap = float(change[Strategy.OFFER_HELP.position] - change[Strategy.CREDIBILITY.position])
    assert gap == pytest.approx(0.5 * np.log(10), rel=1e-4)


def test_frozen_layers_stay_as_they_are(corpus: Path) -> None:
    config = quick(corpus, layers=2, warm_up=QUICK["warm_up"] | {"epochs": 1, "frozen_layers": 1})
    samples = corpus_samples(inspired.read(corpus, Split.TRAIN).dialogues)
    planner = untrained(config, [seen.text for seen, _ in samples])
    before = {name: p.detach().clone() for name, p in planner.named_parameters()}
    WarmUp(planner, samples, (), config.warm_up, seed=0).fit()
    moved = {name for name, p in planner.named_parameters() if not torch.equal(p, before[name])}
    assert not any("word_embeddings" in name or "layer.0." in name for name in moved)
    assert any("layer.1." in name for name in moved)
    assert "classifier.weight" in moved


def test_agreement_is_scikit_learns() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(200, len(STRATEGIES)), torch.randint(0, 9, (200,))
    found = agreement(logits, labels)
    guessed = logits.argmax(1)
    assert found.accuracy == pytest.approx(float((guessed == labels).float().mean()))
    assert found.macro_f1 == pytest.approx(f1_score(labels, guessed, average="macro"))
    ranked = logits.argsort(1, descending=True)[:, :3]
    assert found.top3 == pytest.approx(float((ranked == labels[:, None]).any(1).float().mean()))


def test_the_word_baseline_outlives_its_fit(corpus: Path) -> None:
    samples = corpus_samples(inspired.read(corpus, Split.TRAIN).dialogues)
    inputs = [seen for seen, _ in samples[:30]]
    fitted = Lexical.fit(samples)
    again = Lexical.load(*fitted.state())
    torch.testing.assert_close(again.logits(inputs), fitted.logits(inputs), rtol=0, atol=0)


def test_merged_turns_take_the_last_real_strategy(tmp_path: Path) -> None:
    said = [
        ("RECOMMENDER", "Hi.", "No Strategy"),
        ("RECOMMENDER", "I love this one.", "Personal Opinion"),
        ("RECOMMENDER", "Really.", "No Strategy"),
        ("SEEKER", "Fine.", "NaN"),
        ("RECOMMENDER", "Bye.", "No Strategy"),
    ]
    lines = [{"speaker": who, "text": text, "strategy": label} for who, text, label in said]
    write(tmp_path / "inspired-train.jsonl", [{"dialog_id": "d", "dialog": lines}])
    (single,) = inspired.read(tmp_path, Split.TRAIN).dialogues
    (merged,) = inspired.read(tmp_path, Split.TRAIN, turns=Turns.MERGED).dialogues
    assert len(single.turns) == 4
    first, second = merged.turns
    assert (first.decision.strategy, first.utterance) == (
        Strategy.PERSONAL_OPINION,
        "Hi. I love this one. Really.",
    )
    assert first.reply.text == "Fine."
    assert second.decision.strategy is Strategy.NO_STRATEGY


def test_a_dialogue_without_recommender_is_left_out_and_counted(corpus: Path, tmp_path: Path) -> None:
    alone = {"dialog_id": "alone", "dialog": [{"speaker": "SEEKER", "text": "Anyone?", "strategy": "NaN"}]}
    write(corpus / "inspired-valid.jsonl", [alone, *(dialogue(f"v{i}", i) for i in range(5))])
    made = train_planner(quick(corpus), tmp_path / "run", "refuse")
    assert made["valid"]["dialogues"] == 5
    assert any(note.startswith("1 dialogue without recommender turns") for note in made["valid"]["notes"])
    write(corpus / "inspired-valid.jsonl", [alone])
    with pytest.raises(InputError, match=r"inspired-valid\.jsonl.*does the recommender speak"):
        train_planner(quick(corpus), tmp_path / "other", "refuse")
    assert not (tmp_path / "other").exists()


def relabel(line: dict[str, Any], label: str) -> dict[str, Any]:
    said = [
        each | ({"strategy": label} if each["speaker"] == "RECOMMENDER" else {}) for each in line["dialog"]
    ]
    return line | {"dialog": said}


def test_unlabelled_corpora_and_unknown_labels_are_one_clear_line(
    capsys: pytest.CaptureFixture[str], corpus: Path, settings: Path, tmp_path: Path
) -> None:
    path, out = corpus / "inspired-train.jsonl", tmp_path / "run"
    good = [dialogue(f"t{i}", i) for i in range(3)]
    write(path, [relabel(each, "NaN") for each in good])
    assert "no recommender utterance has a strategy label" in complaint(capsys, *sft(corpus, settings, out))
    bare = dialogue("bare", 9)
    bare["dialog"][3]["strategy"] = None
    write(path, [*good, bare])
    line = complaint(capsys, *sft(corpus, settings, out))
    assert "line 4, utterance 4: the recommender's utterance has no strategy label" in line
    write(path, [*good, relabel(dialogue("odd", 9), "Encouragment")])
    line = complaint(capsys, *sft(corpus, settings, out))
    assert "line 4, utterance 2: unknown strategy label 'Encouragment'; did you mean Encouragement" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: drop(a, "--corpus", "--data"), "--corpus inspired --data DIR"),
        (lambda a: drop(a, "--data"), "--corpus inspired: give its folder with --data DIR"),
        (lambda a: [*a, "--world", "movies"], "--world: --stage sft has no use for it"),
        (lambda a: ["unified" if part == "rso" else part for part in a], "--stage sft: is for --arm rso"),
        (lambda a: [*a, "--labels", "ros"], "--labels: must be 'none', 'rso' or 'inspired'"),
        (lambda a: [*a, "--turns", "joined"], "--turns: must be 'utterance' or 'merged'"),
        (lambda a: [*a, "--seeds", "0,1"], "--seeds: must be a whole number"),
        (lambda a: ["no-such-encoder" if part == "small" else part for part in a], "no-such-encoder"),
    ],
)
def test_wrong_use_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    corpus: Path,
    settings: Path,
    tmp_path: Path,
    change: Callable[[list[str]], list[str]],
    said: str,
) -> None:
    assert said in complaint(capsys, *change(sft(corpus, settings, tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def drop(arguments: list[str], *options: str) -> list[str]:
    kept = list(arguments)
    for option in options:
        place = kept.index(option)
        del kept[place : place + 2]
    return kept


def test_what_cannot_be_evaluated_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], corpus: Path, settings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train_planner(quick(corpus), out, "refuse")
    assert "inspired-test.jsonl" in complaint(capsys, "evaluate", str(out), "--split", "test")
    assert "train" in complaint(capsys, "evaluate", str(out), "--split", "train")
    assert "no use for it" in complaint(capsys, "evaluate", str(out), "--world", "movies")
    (out / "checkpoints" / "planner.safetensors").write_bytes(b"nothing")
    assert "not a planner" in complaint(capsys, "evaluate", str(out), "--split", "valid")
    (out / "results.json").unlink()
    assert "not finished" in complaint(capsys, "evaluate", str(out), "--split", "valid")


def test_a_run_folder_is_neither_overwritten_nor_mixed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = train_planner(quick(corpus), out, "refuse")
    with pytest.raises(InputError, match="exists already"):
        train_planner(quick(corpus), out, "refuse")
    assert train_planner(quick(corpus), out, "resume") == made
    with pytest.raises(InputError, match="another 'seed'"):
        train_planner(quick(corpus, seed=1), out, "resume")
    (out / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"mine\.txt"):
        train_planner(quick(corpus, seed=1), out, "force")
    (out / "mine.txt").unlink()
    assert train_planner(quick(corpus, seed=1), out, "force")["seed"] == 1


def test_a_changed_corpus_is_not_resumed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_planner(quick(corpus), out, "refuse")
    (out / "results.json").unlink()
    write(corpus / "inspired-train.jsonl", [dialogue(f"n{i}", 77 + i) for i in range(60)])
    with pytest.raises(InputError, match="corpus changed"):
        train_planner(quick(corpus), out, "resume")


def test_reinforcement_goes_on_from_a_warmed_up_run(
    corpus: Path, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "planner"
    assert call(capsys, *sft(corpus, settings, run))[0] == 0
    rl = (
        "train",
        "--arm",
        "rso",
        "--stage",
        "rl",
        "--world",
        "movies",
        "--train-dialogues",
        "8",
        "--seeds",
        "0",
    )
    assert call(capsys, *rl, "--planner", str(run), "--out", str(tmp_path / "rl"))[0] == 0
    assert call(capsys, *rl, "--out", str(run))[0] == 0
    told, beside = (
        checkpoint.load(out / "checkpoints" / "rso-seed0.safetensors")[0]
        for out in (tmp_path / "rl", run / "rl")
    )
    warmed_up = load_planner(run / "checkpoints" / "planner.safetensors").state_dict()
    for name, tensor in warmed_up.items():
        assert torch.equal(told[f"planner.{name}"], beside[f"planner.{name}"])
        reinforced = not torch.equal(told[f"planner.{name}"], tensor)
        assert reinforced == name.startswith("classifier.")
    code, out, _ = call(capsys, "evaluate", str(run / "rl"), "--dialogues", "8", "--json")
    assert (code, json.loads(out)["arm"]) == (0, "rso")
    (run / "checkpoints" / "planner.safetensors").rename(tmp_path / "elsewhere.safetensors")
    moved, out, _ = call(capsys, "evaluate", str(run / "rl"), "--dialogues", "8", "--json")
    assert (moved, json.loads(out)["arm"]) == (0, "rso")  # what it learned is in its own checkpoint
    (run / "checkpoints" / "planner.safetensors").write_bytes(b"another planner")
    assert "the data changed" in complaint(capsys, *rl, "--out", str(run), "--resume")
    assert "goes on from a warmed-up planner" in complaint(capsys, *rl, "--out", str(tmp_path / "other"))
    assert "makes a new planner" in complaint(capsys, *sft(corpus, settings, run, "--planner", str(run)))
    assert "the planner of --planner has its own" in complaint(
        capsys, *rl, "--planner", str(run), "--labels", "rso", "--out", str(tmp_path / "other")
    )
    assert "no such planner" in complaint(
        capsys, *rl, "--planner", str(tmp_path / "nowhere"), "--out", str(tmp_path / "other")
    )


def test_planner_options_of_another_arm_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--encoder", "small"), ("--labels", "rso"), ("--stage", "rl")):
        assert f"{option}: is for --arm rso" in complaint(capsys, "train", option, value)


def test_strategies_lists_table_one_and_the_maps(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "strategies", "--json")
    found = json.loads(text)
    assert code == 0
    assert len(found["strategies"]) == 13
    assert len({entry["raw"] for entry in found["labels"]}) == 14
    assert {Strategy.parse(e["raw"]) for e in found["labels"]} == set(STRATEGIES)
    assert {name: len(each["labels"]) for name, each in found["maps"].items()} == {
        "none": 14,
        "rso": 13,
        "inspired": 13,
    }
    assert found["maps"]["rso"]["merged"] == {"Preference Confirmation": "Transparency"}
    assert found["maps"]["inspired"]["merged"] == {"Transparency": "Offer Help"}
    kinds = {entry["name"]: entry["category"] for entry in found["labels"]}
    assert [n for n, kind in kinds.items() if kind == "preference elicitation"] == [
        *("Experience Inquiry", "Opinion Inquiry")
    ]
    assert kinds["No Strategy"] == "none"
    assert all(entry["description"] for entry in found["labels"])


def test_majority_on_inspired_is_the_published_figure(shared: Path) -> None:
    labels = [
        label
        for _, label in corpus_samples(inspired.read(shared / "data" / "inspired", Split.VALID).dialogues)
    ]
    assert len(labels) == 1860
    assert labels.count(Strategy.CREDIBILITY.position) / len(labels) == pytest.approx(0.148, abs=0.0005)


@pytest.mark.slow
def test_a_small_planner_beats_the_commonest_strategy_on_inspired(shared: Path) -> None:
    """One epoch on a third of the training dialogues, judged on all of ``valid``."""
    config = quick(
        shared / "data" / "inspired", width=64, max_tokens=48, warm_up={"epochs": 1, "adjustment": 0}
    )
    train, valid = (
        supervised.read_labelled(config.corpus, split, config.turns, config.labels)
        for split in (Split.TRAIN, Split.VALID)
    )
    samples = [sample for sample, whose in zip(train.samples, train.dialogue, strict=True) if whose < 270]
    planner = untrained(config, [seen.text for seen, _ in samples])
    WarmUp(planner, samples, (), config.warm_up, seed=0).fit()
    found = agreement(predict(planner, valid.inputs), valid.labels)
    assert found.accuracy > 0.148 + 0.05
    assert found.top3 > 0.422 + 0.05
