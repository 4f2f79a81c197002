"""Human replay: what an arm sees of a human dialogue, what is counted, and what the command says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import lexicon_of

from unicrs_rl.cli import main
from unicrs_rl.dialogue import Act, Decision, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.corpora import Line, corpus_folders, corpus_splits, read_talks
from unicrs_rl.experiments.human_replay import (
    COLUMNS,
    CUTS,
    HumanTurn,
    People,
    Source,
    default_arms,
    estimate,
    human_turns,
    read_people,
    replay,
    replay_settings,
    resampled,
)
from unicrs_rl.graphs.readers.inspired import Turns
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.language.lexicon import Lexicon

HEADER = "dialog_id\tutt_id\tspeaker\tturn_id\ttext\tmovies\texpert_label\n"
SETTINGS: dict[str, Any] = {"recommend_above": 0.3, "embeddings": {"epochs": 1}}


def said(speaker: str, text: str, label: str = "no_strategy", dialogue: str = "d1") -> str:
    seeker = speaker == "SEEKER"
    return f"{dialogue}\t1\t{speaker}\t1\t{text}\t\t{'' if seeker else label}\n"


def titles(lexicon: Lexicon, count: int) -> list[str]:
    """Titles that a text names without fail, by item id."""
    clear = [
        item
        for item, name in enumerate(lexicon.items)
        if [m.id for m in lexicon.mentions(f"I saw {name} .")] == [item]
    ]
    return [lexicon.items[item] for item in clear[:count]]


@pytest.fixture(scope="session")
def lex(movies: World) -> Lexicon:
    return lexicon_of(movies.catalogue)


@pytest.fixture
def corpus(tmp_path: Path, lex: Lexicon) -> Path:
    """An INSPIRED folder of two test dialogues in the original release's form."""
    a, b, c = titles(lex, 3)
    root = tmp_path / "inspired"
    root.mkdir()
    lines = [
        said("RECOMMENDER", "Hello! What do you like?", "experience_inquiry"),
        said("SEEKER", f"I want a comedy. I saw {a} ."),
        said("RECOMMENDER", "I see.", "acknowledgment"),
        said("RECOMMENDER", f"You could watch {b} .", "personal_opinion"),
        said("SEEKER", "No, not that one."),
        said("RECOMMENDER", f"Then watch {a} or {c} ."),
        said("SEEKER", "Yes, great."),
        said("RECOMMENDER", f"Have fun with {c} .", "encouragement"),
        said("SEEKER", "Hi, a drama please.", dialogue="d2"),
        said("RECOMMENDER", f"Watch {c} .", "credibility", "d2"),
    ]
    (root / "test.tsv").write_text(HEADER + "".join(lines))
    return root


def turns_of(lines: list[Line], lexicon: Lexicon, how: Turns = Turns.MERGED) -> list[HumanTurn]:
    return list(human_turns("d", lines, how, lexicon, labelled=True))


def test_folders_of_corpora(tmp_path: Path, corpus: Path) -> None:
    assert corpus_folders("inspired", corpus) == {"inspired": corpus}
    assert corpus_folders("inspired", tmp_path) == {"inspired": corpus}
    assert corpus_splits("inspired", corpus) == [Split.TEST]
    for names, data, said_ in (
        ("inspird", tmp_path, "did you mean inspired"),
        ("inspired,inspired", tmp_path, "named twice"),
        ("inspired", None, "--data DIR"),
        ("inspired", tmp_path / "nowhere", "no such folder"),
        ("redial", tmp_path, "no dialogues of corpus 'redial'"),
        ("redial,inspired", tmp_path, "no dialogues of corpus 'redial'"),
    ):
        with pytest.raises(InputError, match=said_):
            corpus_folders(names, data)


def test_turns_alternate_and_hold_what_was_before(corpus: Path, lex: Lexicon) -> None:
    talks = read_talks("inspired", corpus, Split.TEST, lex)
    a, b, c = (lex.item_id(title) for title in titles(lex, 3))
    first, second, third, last = turns_of(list(talks.talks[0].lines), lex)
    assert first.before.turns == []
    assert first.before.opening.text == ""
    assert first.decision.act is Act.ASK
    assert [turn.reply.text[:15] for turn in second.before.turns] == ["I want a comedy"]
    assert second.decision.strategy is Strategy.PERSONAL_OPINION  # of "I see." and the offer, the latter
    assert second.decision.items == (b,)
    assert second.mentioned == (a,)
    assert third.before.turns[-1].decision.items == (b,)
    assert third.before.turns[-1].reply.text == "No, not that one."
    assert third.mentioned == (b, a)  # latest first
    assert third.decision.items == (a, c)
    assert last.mentioned[0] == c


def test_utterances_in_a_row_are_history_that_nobody_has_answered(corpus: Path, lex: Lexicon) -> None:
    talks = read_talks("inspired", corpus, Split.TEST, lex)
    turns = turns_of(list(talks.talks[0].lines), lex, Turns.UTTERANCE)
    assert [turn.decision.strategy for turn in turns[:3]] == [
        Strategy.EXPERIENCE_INQUIRY,
        Strategy.ACKNOWLEDGMENT,
        Strategy.PERSONAL_OPINION,
    ]
    seen, offered = turns[1].before, turns[2].before
    assert len(offered.turns) == len(seen.turns) + 1
    assert offered.turns[-1].utterance == "I see."
    assert offered.turns[-1].reply.text == ""
    assert not offered.turns[-1].decision.items  # else silence would count as turning it down


def test_what_was_asked_is_read_off(movies: World, lex: Lexicon) -> None:
    genre = next(a for a, kind in enumerate(movies.catalogue.kinds) if kind == "genre")
    name = lex.attributes[genre]
    asking = Line(False, f"Do you like {name} ?", strategy=Strategy.OPINION_INQUIRY)
    (turn,) = turns_of([asking], lex)
    assert (turn.decision.act, turn.decision.attributes) == (Act.ASK, (genre,))
    bare = [Line(False, f"Do you like {name} ?"), Line(True, "no"), Line(False, "I see.")]
    acts = [turn.decision.act for turn in human_turns("d", bare, Turns.MERGED, lex, labelled=False)]
    assert acts == [Act.ASK, Act.CHAT]


def decided(corpus: Path, run: str | None = None) -> list[dict[str, Any]]:
    """The lines of ``turns.jsonl`` of two rules and a prompted arm."""
    out = corpus.parent / f"out{len(list(corpus.parent.iterdir()))}"
    arguments = [
        "replay",
        "--corpus",
        "inspired",
        "--data",
        str(corpus),
        "--split",
        "test",
        "--world",
        "movies",
    ]
    file = corpus.parent / "settings.toml"
    file.write_text("recommend_above = 0.3\nembeddings = { epochs = 1 }\n")
    arguments += ["--arm", "max-entropy,llm", "--config", str(file), "--out", str(out), "--json"]
    assert main(arguments + ([run] if run else [])) == 0
    return [json.loads(line) for line in (out / "turns.jsonl").read_text().splitlines()]


def test_nothing_of_the_future_is_seen(corpus: Path, lex: Lexicon) -> None:
    """Whatever is said from a turn on, the turn itself included, decisions up to it are the same."""
    before = decided(corpus)
    file = corpus / "test.tsv"
    lines = file.read_text().splitlines(keepends=True)
    changed = [
        *lines[:6],
        said("RECOMMENDER", "Bye."),
        said("SEEKER", "I want horror!"),
        lines[3],
        *lines[9:],
    ]
    file.write_text("".join(changed))
    after = decided(corpus)
    for arm in ("max-entropy", "llm"):
        old = [line for line in before if (line["arm"], line["dialogue"]) == (arm, "d1")]
        new = [line for line in after if (line["arm"], line["dialogue"]) == (arm, "d1")]
        for one, other in zip(old[:3], new[:3], strict=True):
            for part in ("act", "strategy", "attributes", "items", "utterance"):
                assert one[part] == other[part]
        assert old[2]["human"] != new[2]["human"]
        assert old[3]["utterance"] != new[3]["utterance"]  # and later on it does hear what is said


def test_what_is_counted(corpus: Path, movies: World) -> None:
    _, config = replay_settings(SETTINGS | {"world": "movies"}, None, None, corpus)
    found = replay(config, ("greedy",), None, Source("inspired", corpus, Split.TEST))
    results, counts = found.results, found.counts["greedy"]
    assert results["dialogues"] == 2
    assert results["turns"] == 5
    assert results["targets"] == 5  # b; a, c; c; and c in the other dialogue
    assert results["already_mentioned"]["value"] == pytest.approx(2 / 5)  # a, and c the second time
    assert results["human"]["acts"] == {"ask": 1, "recommend": 4}
    assert results["arms"]["greedy"]["act_agreement"]["value"] == pytest.approx(4 / 5)
    assert results["arms"]["greedy"]["acts"] == {"ask": 0.0, "recommend": 5.0, "chat": 0.0}
    copied = results["arms"]["copy-mentioned"]
    assert [copied["recall"][str(k)]["value"] for k in CUTS] == pytest.approx([1 / 5, 2 / 5, 2 / 5, 2 / 5])
    assert [copied["recall_new"][str(k)]["value"] for k in CUTS] == [0.0] * 4
    assert copied["recall_new"]["1"]["n"] == 3
    assert copied["act_agreement"] is None
    assert counts.shape == (2, len(COLUMNS))
    assert np.all(np.diff(counts[:, COLUMNS.index("recall@1") : COLUMNS.index("new")], axis=1) >= 0)
    people = read_people(movies, Source("inspired", corpus, Split.TEST))
    likes = np.asarray(movies.interactions.sum(axis=0)).ravel()
    assert list(people.popular) == sorted(range(movies.catalogue.n_items), key=lambda i: (-likes[i], i))


def test_without_a_known_item_agreement_is_measured_and_recall_is_not(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "test.tsv").write_text(
        HEADER + said("SEEKER", "Hi") + said("RECOMMENDER", "What do you like?", "opinion_inquiry")
    )
    arguments = ["--corpus", "inspired", "--data", str(corpus), "--split", "test", "--world", "movies"]
    assert main(["replay", *arguments, "--arm", "max-entropy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    row = found["arms"]["max-entropy"]
    assert row["act_agreement"]["value"] == 1.0
    assert row["strategy_agreement"]["n"] == 1
    assert set(row["recall"].values()) == set(row["recall_new"].values()) == {None}
    assert found["already_mentioned"] is None
    assert found["targets"] == found["linking"]["dialogues"] == 0
    assert sum("name nothing that world movies has" in note for note in found["notes"]) == 1
    assert main(["replay", *arguments, "--arm", "max-entropy"]) == 0
    shown = capsys.readouterr().out
    assert "name nothing that world movies has: recall is not measured" in shown
    assert "already mentioned: –" in shown


def test_rankings_have_fifty_places_and_begin_with_the_list(corpus: Path, lex: Lexicon) -> None:
    """The human's items that the arm lists have the rank of their place in the list."""
    for line in decided(corpus):
        for title, rank in line["human"]["items"].items():
            if title in line["items"]:
                assert rank == line["items"].index(title) + 1
            assert rank is None or 1 <= rank <= 50


def test_everything_is_within_reach_of_a_world_of_fifty(corpus: Path, bistros: Path) -> None:
    """With no more items than places every ranking is complete: nothing is lost to filters."""
    (corpus / "test.tsv").write_text(
        HEADER
        + said("SEEKER", "I want italian, no, not italian. thai")
        + said("RECOMMENDER", "Go to Golden Fork .")
        + said("SEEKER", "I do not like Golden Fork .")
        + said("RECOMMENDER", "Try the Red Lantern , or the Sea View .")
    )
    settings = SETTINGS | {"world": str(bistros)}
    _, config = replay_settings(settings, None, None, corpus)
    found = replay(config, ("max-entropy", "intercrs"), None, Source("inspired", corpus, Split.TEST))
    for arm in ("max-entropy", "intercrs"):
        assert found.results["arms"][arm]["recall"]["50"]["value"] == 1.0


def test_the_mean_of_a_share_is_that_of_all_items(corpus: Path) -> None:
    counts = np.array([[1.0, 1.0], [0.0, 3.0]])
    found = estimate(resampled(2) @ counts)
    assert found is not None
    assert found["value"] == 0.25
    assert found["ci95"] == [0.0, 1.0]
    assert estimate(resampled(2) @ np.zeros((2, 2))) is None


def test_equal_runs_write_equal_bytes(corpus: Path) -> None:
    decided(corpus)
    decided(corpus)
    one, other = sorted(corpus.parent.glob("out*"))
    for name in ("results.json", "turns.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_the_arms_of_a_run(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run's checkpoints decide; both seeds are averaged, and one can be asked for."""
    run = tmp_path / "run"
    file = tmp_path / "run.toml"
    file.write_text("recommend_above = 0.3\nembeddings = { epochs = 1 }\n")
    arguments = ["train", "--arm", "unified", "--train-dialogues", "16", "--seeds", "0,1", "--workers", "1"]
    assert main([*arguments, "--config", str(file), "--out", str(run), "--json"]) == 0
    capsys.readouterr()
    replayed = [
        "replay",
        str(run),
        "--corpus",
        "inspired",
        "--data",
        str(corpus),
        "--split",
        "test",
        "--json",
    ]
    assert main(replayed) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["arms"]) == ["unified", "max-entropy", "greedy", "copy-mentioned", "popularity"]
    assert found["arms"]["unified"]["seeds"] == [0, 1]
    singles = []
    for seed in ("0", "1"):
        assert main([*replayed, "--arm", "unified", "--seed", seed]) == 0
        singles.append(json.loads(capsys.readouterr().out)["arms"]["unified"]["act_agreement"]["value"])
    assert found["arms"]["unified"]["act_agreement"]["value"] == pytest.approx(sum(singles) / 2, abs=1e-4)
    assert main([*replayed, "--arm", "unified", "--seed", "7"]) == 2
    assert "no checkpoint of arm 'unified' and --seed 7" in capsys.readouterr().err
    assert main([*replayed, "--arm", "rso"]) == 2
    assert "no checkpoint of arm 'rso'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--corpus", "inspird"], "unknown corpus 'inspird'; did you mean inspired?"),
        (["--corpus", "redial,inspired"], "one corpus at a time"),
        (["--split", "valid"], "--split valid: not in"),
        (["--arm", "unified"], "--arm unified: it learns; give the run folder with its checkpoint"),
        (["--arm", "gredy"], "unknown arm 'gredy'; did you mean greedy"),
        (["--dialogues", "0"], "--dialogues: at least 1 is needed (it is 0)"),
        (["--world", "nowhere"], "unknown world 'nowhere'"),
        (["/nowhere"], "/nowhere: not a run folder"),
    ],
)
def test_wrong_use_is_one_line(
    corpus: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    base = {"--corpus": "inspired", "--data": str(corpus), "--split": "test", "--world": "movies"}
    given = dict(zip(arguments[::2], arguments[1::2], strict=True)) if len(arguments) > 1 else {}
    if arguments == ["/nowhere"]:
        del base["--world"]
    flat = [part for pair in (base | given).items() for part in pair]
    assert main(["replay", *(arguments if len(arguments) == 1 else []), *flat]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_damaged_dialogues_are_one_line(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "replay",
        "--corpus",
        "inspired",
        "--data",
        str(corpus),
        "--split",
        "test",
        "--world",
        "movies",
    ]
    file = corpus / "test.tsv"
    whole = file.read_text()
    for text, complaint in (
        (whole.replace("personal_opinion", "personal_opinon"), "unknown strategy label 'personal_opinon'"),
        (whole.replace("SEEKER", "NOBODY"), "neither SEEKER nor RECOMMENDER"),
        (HEADER, "no dialogues"),
        (HEADER + said("SEEKER", "Hi"), "in none of its dialogues does the recommender speak"),
    ):
        file.write_text(text)
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert complaint in error
        assert error.count("\n") == 1


def test_results_are_not_overwritten(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decided(corpus)
    (out,) = corpus.parent.glob("out*")
    capsys.readouterr()
    arguments = [
        "replay",
        "--corpus",
        "inspired",
        "--data",
        str(corpus),
        "--split",
        "test",
        "--out",
        str(out),
    ]
    assert main(arguments) == 2
    assert "exists already; --force replaces it" in capsys.readouterr().err


def test_rules_are_replayed_unless_others_are_named() -> None:
    _, config = replay_settings({"world": "movies"}, None, None, Path("nowhere"))
    assert default_arms(None, config) == ("max-entropy", "greedy")


def test_inspired_as_it_is(shared: Path) -> None:
    """Both forms of the release give the same; most targets are new, more than 15% are not."""
    folder = shared / "data" / "inspired"
    given = SETTINGS | {"world": "movies"}
    _, config = replay_settings(given, None, None, shared / "data" / "redial")
    found = replay(config, ("greedy",), None, Source("inspired", folder, limit=40)).results
    assert found["already_mentioned"]["value"] > 0.15
    assert found["popularity_by"].startswith("mentions in inspired train")
    row = found["arms"]["greedy"]
    assert row["strategy_agreement"]["n"] == found["turns"]
    assert found["arms"]["copy-mentioned"]["recall"]["50"]["value"] == found["already_mentioned"]["value"]
    assert found["arms"]["copy-mentioned"]["recall_new"]["50"]["value"] == 0.0


def decisions_by_dialogue(people: People) -> dict[str, list[Decision]]:
    """The files have the dialogues in different orders."""
    found = zip(people.talks.talks, people.dialogues, strict=True)
    return {talk.id: [turn.decision for turn in turns] for talk, turns in found}


def test_both_forms_of_inspired_are_the_same_dialogues(shared: Path, tmp_path: Path, movies: World) -> None:
    source = shared / "data" / "inspired"
    shutil.copy(source / "dev.tsv", tmp_path / "test.tsv")
    shutil.copy(source / "inspired-valid.jsonl", tmp_path / "inspired-valid.jsonl")
    table = read_people(movies, Source("inspired", tmp_path, Split.TEST))
    lines = read_people(movies, Source("inspired", tmp_path, Split.VALID))
    assert decisions_by_dialogue(table) == decisions_by_dialogue(lines)
    assert table.talks.titles is not None
    assert lines.talks.titles is None


def test_redial_as_it_is(shared: Path, tmp_path: Path) -> None:
    """A test split in ReDial's own form, in its own world; no strategy labels, which is said."""
    source, folder = shared / "data" / "redial", tmp_path / "redial"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path.resolve())
    with (source / "valid_data.jsonl").open() as lines:
        (folder / "test_data.jsonl").write_text("".join(next(lines) for _ in range(60)))
    run, config = replay_settings(SETTINGS, None, None, folder)
    assert run is None
    assert config.world == "redial"
    found = replay(config, ("greedy",), None, Source("redial", folder, Split.TEST)).results
    assert found["dialogues"] == 60
    assert found["arms"]["greedy"]["strategy_agreement"] is None
    assert any("no strategy labels" in note for note in found["notes"])
    assert 0 < found["unseen"]["dialogues"] < 60
    assert found["linking"]["titles"] > 0.95
    recall = found["arms"]["greedy"]["recall"]
    assert recall["1"]["value"] <= recall["5"]["value"] <= recall["10"]["value"] <= recall["50"]["value"]
    assert recall["50"]["value"] > 0.05


def test_redial_in_which_no_recommender_speaks_is_one_line(shared: Path, tmp_path: Path) -> None:
    source, folder = shared / "data" / "redial", tmp_path / "redial"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path.resolve())
    with (source / "valid_data.jsonl").open() as lines:
        dialogue = json.loads(next(lines))
    seeker = dialogue["initiatorWorkerId"]
    dialogue["messages"] = [said for said in dialogue["messages"] if said["senderWorkerId"] == seeker]
    (folder / "test_data.jsonl").write_text(json.dumps(dialogue) + "\n")
    _, config = replay_settings(SETTINGS | {"world": "movies"}, None, None, folder)
    with pytest.raises(InputError, match="in none of the dialogues of test does a recommender speak"):
        replay(config, ("greedy",), None, Source("redial", folder, Split.TEST))
