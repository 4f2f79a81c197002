"""The readers: every file format becomes the same kind of world, and nothing real is lost on the way."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from unicrs_rl.dialogue import Act, Decision, Strategy
from unicrs_rl.experiments.inventory import world_sizes
from unicrs_rl.graphs.readers import folder, inspired, redial, unicorn_directory
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.language.lexicon import Lexicon


def dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def names_of(world: World, item: int) -> set[str]:
    return {world.catalogue.attributes[attribute] for attribute in world.catalogue.attributes_of(item)}


# --- ReDial ---


MOVIES = {"Alpha  (1999)": 0, "Beta (2001)": 1, "Bare (2002)": 2, "drama": 3, "horror": 4, "Ada Poe": 5}


def redial_folder(root: Path) -> Path:
    """Two movies with facts and one without; six workers, one with an empty form."""
    dump(root / "entity2id.json", MOVIES)
    dump(root / "relation2id.json", {"genre": 0, "star": 1, "director": 2})
    kinds = {"drama": "genre", "horror": "genre", "Ada Poe": "person"}
    dump(root / "entity2type.json", {name: kinds.get(name, "movie") for name in MOVIES})
    dump(root / "kg.json", {"0": [[0, 3], [1, 5], [2, 5]], "1": [[0, 4], [0, 3]], "2": []})
    dump(root / "item_ids.json", [0, 1, 2])
    ids = {"10": "Alpha  (1999)", "11": "Beta (2001)", "12": "Bare (2002)"}
    dump(root / "id2info.json", {movie: {"name": name} for movie, name in ids.items()})
    likes = {movie: {"suggested": 0, "seen": 1, "liked": 1} for movie in ("10", "11", "12", "99")}
    records: list[dict[str, Any]] = [
        record(f"c{worker}", worker, likes, [(worker, "Hi"), (900, "Try @10")]) for worker in (1, 2, 3, 4, 6)
    ]
    changed = {"10": {"suggested": 0, "seen": 0, "liked": 0}, "11": {"suggested": 0, "seen": 2, "liked": 2}}
    talk = [
        (1, "Hello"),
        (900, "Seen @11 or @77 ?"),
        (900, "Or @10 ?"),
        (1, "No."),
        (1, "What else?"),
        (900, "Hm"),
    ]
    records.append(record("again", 1, changed, talk))
    records.append(record("empty", 5, [], []))
    text = "\n".join(json.dumps(each) for each in records)
    (root / "train_data.jsonl").write_text(text + "\n\n")
    return root


def record(name: str, worker: int, answers: object, messages: list[tuple[int, str]]) -> dict[str, Any]:
    spoken = [{"senderWorkerId": sender, "text": text} for sender, text in messages]
    return {
        "conversationId": name,
        "initiatorWorkerId": worker,
        "initiatorQuestions": answers,
        "messages": spoken,
    }


@pytest.fixture
def small_redial(tmp_path: Path) -> World:
    return redial.read(redial_folder(tmp_path))


@pytest.fixture(scope="module")
def real_redial(shared: Path) -> World:
    return redial.read(shared / "data" / "redial")


def test_redial_keeps_relation_types(small_redial: World) -> None:
    catalogue = small_redial.catalogue
    edges = {
        (catalogue.items[item], catalogue.relations[relation], catalogue.attributes[attribute])
        for item, relation, attribute in catalogue.edges.tolist()
    }
    assert edges == {
        ("Alpha (1999)", "genre", "drama"),
        ("Alpha (1999)", "star", "Ada Poe"),
        ("Alpha (1999)", "director", "Ada Poe"),
        ("Beta (2001)", "genre", "horror"),
        ("Beta (2001)", "genre", "drama"),
    }
    assert dict(zip(catalogue.attributes, catalogue.kinds, strict=True)) == {
        "drama": "genre",
        "horror": "genre",
        "Ada Poe": "person",
    }


def test_redial_takes_double_spaces_out_of_titles_and_the_year_as_a_detail(small_redial: World) -> None:
    assert small_redial.catalogue.items == ("Alpha (1999)", "Beta (2001)")
    assert small_redial.catalogue.details["year"] == ("1999", "2001")


def test_redial_seekers_are_workers_and_a_later_answer_wins(small_redial: World) -> None:
    seekers = {seeker.id: seeker for seeker in small_redial.seekers}
    assert set(seekers) == {"1", "2", "3", "4", "5", "6"}
    assert (seekers["2"].liked, seekers["2"].disliked, seekers["2"].seen) == ((0, 1), (), (0, 1))
    assert (seekers["1"].liked, seekers["1"].disliked) == ((1,), (0,))
    assert (seekers["5"].liked, seekers["5"].disliked, seekers["5"].seen) == ((), (), ())


def test_redial_notes_what_was_left_out(small_redial: World) -> None:
    assert "1 movies without any fact left out" in small_redial.notes
    assert "10 answers about movies outside the knowledge graph left out" in small_redial.notes


def test_redial_dialogue_joins_messages_of_one_speaker_into_turns(small_redial: World) -> None:
    dialogue = next(d for d in small_redial.dialogues if d.id == "again")
    assert dialogue.utterances() == [
        ("seeker", "Hello"),
        ("recommender", "Seen Beta (2001) or a movie ? Or Alpha (1999) ?"),
        ("seeker", "No. What else?"),
        ("recommender", "Hm"),
    ]
    assert [turn.decision for turn in dialogue.turns] == [
        Decision(Act.RECOMMEND, Strategy.NO_STRATEGY, items=(1, 0)),
        Decision(Act.CHAT, Strategy.NO_STRATEGY),
    ]


def test_redial_reads_all_released_parts(tmp_path: Path, small_redial: World) -> None:
    shutil.copy(tmp_path / "train_data.jsonl", tmp_path / "test_data.jsonl")
    world = redial.read(tmp_path)
    assert len(world.dialogues) == 2 * len(small_redial.dialogues)
    assert {path.name for path in world.files} >= {"train_data.jsonl", "test_data.jsonl", "kg.json"}


def test_redial_form_that_is_null_is_empty(tmp_path: Path, small_redial: World) -> None:
    path = tmp_path / "train_data.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    lines[-1]["initiatorQuestions"] = None
    path.write_text("\n".join(json.dumps(line) for line in lines))
    assert redial.read(tmp_path).seekers == small_redial.seekers


def test_redial_reads_a_part_once_under_either_name(tmp_path: Path, small_redial: World) -> None:
    shutil.copy(tmp_path / "train_data.jsonl", tmp_path / "train_data_dbpedia.jsonl")
    assert redial.read(tmp_path).dialogues == small_redial.dialogues
    (tmp_path / "train_data.jsonl").unlink()
    world = redial.read(tmp_path)
    assert world.dialogues == small_redial.dialogues
    assert tmp_path / "train_data_dbpedia.jsonl" in world.files


def test_real_redial_has_the_sizes_of_the_data_readme(real_redial: World) -> None:
    catalogue = real_redial.catalogue
    assert catalogue.n_items == 6576
    assert Counter(catalogue.kinds) == {"genre": 28, "person": 18026}
    assert set(catalogue.relations) == {"genre", "star", "director", "writer"}
    assert len(real_redial.seekers) == 271
    assert len(real_redial.dialogues) == 1000


def test_real_redial_keeps_every_fact(real_redial: World, shared: Path) -> None:
    graph = json.loads((shared / "data" / "redial" / "kg.json").read_text())
    assert len(real_redial.catalogue.edges) == len(
        {(m, *edge) for m, edges in graph.items() for edge in edges}
    )


def test_real_redial_keeps_every_like(real_redial: World, shared: Path) -> None:
    """Counted once more by the titles in the files: the last answer of a worker about a title."""
    root = shared / "data" / "redial"
    info = json.loads((root / "id2info.json").read_text())
    entities = json.loads((root / "entity2id.json").read_text())
    last: dict[tuple[str, str], int] = {}
    for line in (root / "valid_data.jsonl").read_text().splitlines():
        entry = json.loads(line)
        for movie, answer in dict(entry["initiatorQuestions"]).items():
            if info.get(movie, {}).get("name") in entities and answer["liked"] < 2:
                title = " ".join(info[movie]["name"].split())
                last[str(entry["initiatorWorkerId"]), title] = answer["liked"]
    expected = {pair for pair, liked in last.items() if liked}
    items = real_redial.catalogue.items
    assert {(seeker.id, items[item]) for seeker in real_redial.seekers for item in seeker.liked} == expected


def test_real_redial_reads_a_known_movie(real_redial: World) -> None:
    shining = real_redial.catalogue.items.index("The Shining (1980)")
    assert {"horror", "Jack Nicholson", "Stanley Kubrick"} <= names_of(real_redial, shining)


# --- UNICORN directory ---


TRAIN = {"0": [0, 1, 2, 3], "1": [1, 2, 3, 4], "2": [0, 2, 4, 0]}


def unicorn_folder(
    root: Path, tag_file: str, tags: dict[str, int], item_file: str = "item_dict.json"
) -> Path:
    """Five items, three users; user 2 has no entry in the user file."""
    graph, reviews = root / "Graph_generate_data", root / "UI_Interaction_data"
    features = ([0], [0, 1], [1, 2, 1], [2], [3, 0])
    dump(graph / item_file, {str(i): {"feature_index": f, "busi_id": 7} for i, f in enumerate(features)})
    dump(graph / tag_file, tags)
    dump(graph / "user_dict.json", {"0": {"friends": [1], "like": [0]}, "1": {"friends": [0, 2], "like": []}})
    dump(reviews / "review_dict_train.json", TRAIN)
    dump(reviews / "review_dict_valid.json", {"0": [4]})
    dump(reviews / "review_dict_test.json", {"1": [0], "2": [1, 3]})
    return root


def lastfm_star(root: Path) -> Path:
    return unicorn_folder(root, "original_tag_map.json", {"13": 0, "18": 1, "73": 2, "79": 3})


def yelp(root: Path) -> Path:
    second = {"Pizza": 0, "Thai": 1, "Vegan": 2, "Bars": 3}
    unicorn_folder(root, "second-layer_oringinal_tag_map.json", second, "item_dict-original_tag.json")
    dump(root / "Graph_generate_data" / "first-layer_merged_tag_map.json", {"Food": 0, "Night": 1})
    dump(root / "Graph_generate_data" / "2-layer taxonomy.json", {"Food": [0, 1, 2], "Night": [3]})
    return root


@pytest.fixture(scope="module")
def lastfm(shared: Path) -> World:
    return unicorn_directory.read(shared / "data" / "lastfm")


def test_lastfm_star_directory_is_read(tmp_path: Path) -> None:
    world = unicorn_directory.read(lastfm_star(tmp_path))
    catalogue = world.catalogue
    assert (catalogue.n_items, catalogue.n_attributes, len(world.seekers)) == (5, 4, 3)
    assert catalogue.attributes == ("tag 0", "tag 1", "tag 2", "tag 3")
    assert catalogue.attributes_of(2).tolist() == [1, 2]
    assert catalogue.noun == "artist"
    assert catalogue.taxonomy == {}


def test_names_of_the_merged_tags_are_not_put_on_original_tags(tmp_path: Path) -> None:
    root = lastfm_star(tmp_path)
    dump(root / "ID_map_info" / "tag_reverse_map.json", {"0": {"real_id": [13], "real_name": ["chillout"]}})
    assert unicorn_directory.read(root).catalogue.attributes[0] == "tag 0"


def test_yelp_directory_keeps_both_layers_of_attributes(tmp_path: Path) -> None:
    catalogue = unicorn_directory.read(yelp(tmp_path), name="yelp").catalogue
    assert catalogue.noun == "business"
    assert catalogue.attributes == ("Pizza", "Thai", "Vegan", "Bars")
    assert catalogue.taxonomy == {"Food": (0, 1, 2), "Night": (3,)}
    assert catalogue.attributes_of(4).tolist() == [0, 3]


def test_yelp_is_told_by_its_attributes_not_by_its_item_file(tmp_path: Path) -> None:
    graph = yelp(tmp_path) / "Graph_generate_data"
    (graph / "item_dict-original_tag.json").rename(graph / "item_dict.json")
    (graph / "second-layer_oringinal_tag_map.json").rename(graph / "second-layer_original_tag_map.json")
    dump(graph / "merged_tag_map.json", {"1": 0, "2": 1, "3": 2, "4": 3, "5": 4})
    catalogue = unicorn_directory.read(tmp_path).catalogue
    assert catalogue.noun == "business"
    assert catalogue.attributes == ("Pizza", "Thai", "Vegan", "Bars")
    other = lastfm_star(tmp_path / "other") / "Graph_generate_data"
    (other / "item_dict.json").rename(other / "item_dict-original_tag.json")
    assert unicorn_directory.read(tmp_path / "other").catalogue.noun == "artist"


@pytest.mark.parametrize(
    "layers",
    [
        {"Food": ["Pizza", " thai", 2], "Night": ["Bars"]},
        {"0": [0, 1, 2, 2], "1": [3]},
        {"Food": ["0", "1", "2"], "Night": ["3"]},
    ],
)
def test_yelp_taxonomy_is_by_name_or_by_id(tmp_path: Path, layers: dict[str, list[object]]) -> None:
    dump(yelp(tmp_path) / "Graph_generate_data" / "2-layer taxonomy.json", layers)
    catalogue = unicorn_directory.read(tmp_path).catalogue
    assert catalogue.taxonomy == {"Food": (0, 1, 2), "Night": (3,)}


def test_unicorn_held_out_pairs_are_taken_out_of_training(tmp_path: Path) -> None:
    reviews = lastfm_star(tmp_path) / "UI_Interaction_data"
    before = unicorn_directory.read(tmp_path)
    dump(reviews / "review_dict_train.json", {**TRAIN, "0": [*TRAIN["0"], 4], "1": [*TRAIN["1"], 0]})
    dump(reviews / "review_dict_valid.json", {"0": [4], "1": [0]})
    world = unicorn_directory.read(tmp_path)
    assert np.array_equal(world.likes, before.likes)
    assert world.targets == before.targets
    assert world.notes[2:] == (
        "1 valid interactions that a later split holds, too, left out",
        "2 train interactions that a later split holds, too, left out",
    )


def test_unicorn_users_need_not_be_in_every_split(tmp_path: Path) -> None:
    """A user without interactions in a split may stand there with an empty list, or not at all."""
    reviews = lastfm_star(tmp_path) / "UI_Interaction_data"
    dump(reviews / "review_dict_train.json", {**TRAIN, "3": []})
    dump(reviews / "review_dict_valid.json", {"0": [4], "1": [], "4": []})
    world = unicorn_directory.read(tmp_path)
    assert world.targets[Split.VALID] == [(0, 4)]
    assert [seeker.liked for seeker in world.seekers[3:]] == [(), ()]
    assert world.notes[0] == "3 users have no entry in user_dict.json"


def test_unicorn_repeated_interactions_and_attributes_count_once(tmp_path: Path) -> None:
    reviews = lastfm_star(tmp_path) / "UI_Interaction_data"
    before = unicorn_directory.read(tmp_path)
    dump(reviews / "review_dict_test.json", {"1": [0, 0], "2": [1, 3, 1]})
    world = unicorn_directory.read(tmp_path)
    assert world.targets == before.targets
    assert world.notes[1:] == (
        "1 interactions that review_dict_train.json repeats within a user's list count once",
        "2 interactions that review_dict_test.json repeats within a user's list count once",
    )
    assert world.catalogue.attributes_of(2).tolist() == [1, 2]


def test_a_unicorn_directory_is_recognised_by_its_path(tmp_path: Path) -> None:
    root = yelp(tmp_path / "yelp")
    assert make_world(str(root)).name == "yelp"
    assert make_world(str(root)).catalogue.taxonomy


def test_unicorn_splits_are_the_benchmarks_own(tmp_path: Path) -> None:
    world = unicorn_directory.read(lastfm_star(tmp_path))
    assert world.targets[Split.VALID] == [(0, 4)]
    assert world.targets[Split.TEST] == [(1, 0), (2, 1), (2, 3)]


def test_unicorn_training_interactions_are_graph_or_target_never_both(tmp_path: Path) -> None:
    world = unicorn_directory.read(lastfm_star(tmp_path))
    graph = [(user, item) for user, item in world.likes.tolist()]
    expected = {(int(user), item) for user, items in TRAIN.items() for item in items}
    assert len(graph) + len(world.targets[Split.TRAIN]) == len(expected) == 11
    assert {*graph, *world.targets[Split.TRAIN]} == expected


@pytest.mark.parametrize("split", list(Split))
def test_unicorn_history_is_what_the_training_graph_and_earlier_splits_hold(
    tmp_path: Path, split: Split
) -> None:
    world = unicorn_directory.read(lastfm_star(tmp_path))
    earlier = {Split.TRAIN: [], Split.VALID: [Split.TRAIN], Split.TEST: [Split.TRAIN, Split.VALID]}[split]
    known = [*world.likes.tolist(), *(pair for one in earlier for pair in world.targets[one])]
    for session in world.sessions(split, None, 0):
        expected = {item for owner, item in known if owner == int(session.seeker)}
        assert set(session.history) == expected
        assert session.target not in expected


def test_unicorn_friends_are_pairs_and_missing_users_are_noted(tmp_path: Path) -> None:
    world = unicorn_directory.read(lastfm_star(tmp_path))
    assert world.friends.tolist() == [[0, 1], [1, 2]]
    assert world.notes[0] == "1 users have no entry in user_dict.json"


def test_real_lastfm_has_the_sizes_of_the_data_readme(lastfm: World) -> None:
    assert len(lastfm.seekers) == 1801
    assert (lastfm.catalogue.n_items, lastfm.catalogue.n_attributes) == (7432, 33)
    assert len(lastfm.likes) + sum(len(pairs) for pairs in lastfm.targets.values()) == 76_693
    assert lastfm.notes == ("2 users have no entry in user_dict.json",)
    assert lastfm.catalogue.attributes[:2] == ("chillout", "electronic")


def test_real_lastfm_test_split_is_untouched(lastfm: World, shared: Path) -> None:
    path = shared / "data" / "lastfm" / "UI_Interaction_data" / "review_dict_test.json"
    released = {(int(user), item) for user, items in json.loads(path.read_text()).items() for item in items}
    assert set(lastfm.targets[Split.TEST]) == released


# --- a folder of one's own ---


def same(one: World, other: World) -> bool:
    equal_graph = bool(np.array_equal(one.likes, other.likes))
    return (
        one.catalogue.fingerprint == other.catalogue.fingerprint
        and one.seekers == other.seekers
        and equal_graph
    )


def test_folder_reads_names_attributes_and_kinds(bistros: Path) -> None:
    world = folder.read(bistros)
    catalogue = world.catalogue
    assert (world.name, catalogue.noun) == ("bistros", "restaurant")
    assert catalogue.items[:2] == ("Blue Door", "Golden Fork")
    assert names_of(world, 0) == {"thai", "vegan", "quiet"}
    kinds = dict(zip(catalogue.attributes, catalogue.kinds, strict=True))
    assert kinds["italian"] == "cuisine"
    assert kinds["romantic"] == "mood"
    assert catalogue.relations == ("cuisine", "mood")


def test_folder_likes_are_ratings_above_the_middle(bistros: Path) -> None:
    """User 0 rates items 1, 2, 3 with 5 and item 4 with 1."""
    seeker = next(s for s in folder.read(bistros).seekers if s.id == "u0")
    assert (seeker.liked, seeker.disliked, seeker.seen) == ((0, 1, 2), (3,), (0, 1, 2, 3))


def test_folder_without_world_toml_is_called_after_itself(bistros: Path) -> None:
    (bistros / "world.toml").unlink()
    world = folder.read(bistros)
    assert (world.name, world.catalogue.noun) == ("bistros", "item")


@pytest.mark.parametrize("tables", [("items",), ("interactions",), ("items", "interactions")])
def test_folder_reads_parquet_like_csv(bistros: Path, tables: tuple[str, ...]) -> None:
    before = folder.read(bistros)
    for stem in tables:
        pl.read_csv(bistros / f"{stem}.csv").write_parquet(bistros / f"{stem}.parquet")
        (bistros / f"{stem}.csv").unlink()
    assert same(folder.read(bistros), before)


N_PLATES = 120
PLATES = pl.DataFrame(
    {
        "id": range(N_PLATES),
        "name": [f"Plate {index}" for index in range(N_PLATES)],
        "cuisine": [("thai", "french", "greek")[index % 3] for index in range(N_PLATES)],
        "mood": pl.Series([("quiet", "lively")[index % 2] for index in range(N_PLATES)]).cast(pl.Categorical),
        "size": pl.Series(["small", "large"] * 60, dtype=pl.Enum(["small", "large"])),
        "vegan": [index % 4 == 0 for index in range(N_PLATES)],
        "stars": [None if index == 7 else index % 5 for index in range(N_PLATES)],
        "price": [4.0 + index % 2 for index in range(N_PLATES)],
        "calories": range(300, 300 + N_PLATES),
        "codes": [str(9 * index) for index in range(N_PLATES)],
        "opened": pl.Series(["2020-01-31"] * N_PLATES).str.to_date(),
    }
)


def test_parquet_and_csv_agree_on_what_an_attribute_is(bistros: Path) -> None:
    PLATES.write_csv(bistros / "items.csv")
    csv_world = folder.read(bistros)
    (bistros / "items.csv").unlink()
    PLATES.write_parquet(bistros / "items.parquet")
    parquet_world = folder.read(bistros)
    assert set(csv_world.catalogue.kinds) == {"cuisine", "mood", "size", "vegan", "stars"}
    assert same(csv_world, parquet_world)


@pytest.mark.parametrize("values", [[[1, 2], [3]], [["thai", " thai "], ["greek"]]])
def test_lists_of_anything_are_attributes(bistros: Path, values: list[list[object]]) -> None:
    items = {"id": range(1, 7), "name": list("abcdef"), "tags": values * 3}
    (bistros / "items.csv").unlink()
    pl.DataFrame(items).write_parquet(bistros / "items.parquet")
    catalogue = folder.read(bistros).catalogue
    assert set(catalogue.attributes) == {str(part).strip() for cell in values for part in cell}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_true_and_false_are_ratings(bistros: Path, ending: str) -> None:
    before = folder.read(bistros)
    table = pl.read_csv(bistros / "interactions.csv").with_columns(pl.col("rating") > 3)
    (bistros / "interactions.csv").unlink()
    if ending == "csv":
        table.write_csv(bistros / "interactions.csv")
    else:
        table.write_parquet(bistros / "interactions.parquet")
    assert same(folder.read(bistros), before)


def test_blank_lines_and_blanks_around_cells_are_ignored(bistros: Path) -> None:
    before = folder.read(bistros)
    for stem in ("items", "interactions"):
        path = bistros / f"{stem}.csv"
        path.write_text("\n" + path.read_text().replace(",", " , ") + "\n,,\n   \n\n")
    assert same(folder.read(bistros), before)


def test_spellings_of_one_attribute_are_merged(bistros: Path) -> None:
    text = (bistros / "items.csv").read_text().replace("2,Golden Fork,italian", "2,Golden Fork,ITALIAN")
    (bistros / "items.csv").write_text(text)
    world = folder.read(bistros)
    assert "italian" in world.catalogue.attributes
    assert "ITALIAN" not in world.catalogue.attributes
    assert names_of(world, 1) == {"italian", "lively"}


SETTINGS = """
[world]
name = "plates"
noun = "dish"
[items]
id = "code"
name = "label"
attributes = ["cuisine"]
details = ["since"]
separator = "/"
[interactions]
user = "guest"
item = "dish"
rating = "stars"
liked_from = 3.0
"""
DISHES = (
    "code,label,cuisine,since,remark\na,Soup,thai/vegan,1990,x\nb,Stew,french,,y\nc,Cake,french/vegan,2001,\n"
)
MEALS = "guest,dish,stars\n" + "".join(f"g{guest},a,3\ng{guest},b,2.9\ng{guest},c,10\n" for guest in range(8))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_world_toml_names_the_columns(tmp_path: Path, ending: str) -> None:
    for stem, text in (("items", DISHES), ("interactions", MEALS)):
        (tmp_path / f"{stem}.csv").write_text(text)
        if ending == "parquet":
            pl.read_csv(tmp_path / f"{stem}.csv").write_parquet(tmp_path / f"{stem}.parquet")
            (tmp_path / f"{stem}.csv").unlink()
    (tmp_path / "world.toml").write_text(SETTINGS)
    world = make_world(str(tmp_path))
    assert (world.name, world.catalogue.noun) == ("plates", "dish")
    assert world.catalogue.items == ("Soup", "Stew", "Cake")
    assert world.catalogue.attributes == ("french", "thai", "vegan")
    assert names_of(world, 0) == {"thai", "vegan"}
    assert world.catalogue.details["since"] == ("1990", "unknown", "2001")
    assert (world.seekers[0].liked, world.seekers[0].disliked) == ((0, 2), (1,))


def test_interactions_without_ratings_are_likes(bistros: Path) -> None:
    table = pl.read_csv(bistros / "interactions.csv").drop("rating")
    table.write_csv(bistros / "interactions.csv")
    seeker = next(s for s in folder.read(bistros).seekers if s.id == "u0")
    assert (seeker.liked, seeker.disliked) == ((0, 1, 2, 3), ())


def test_a_name_that_two_columns_share_is_told_apart(bistros: Path) -> None:
    text = (bistros / "items.csv").read_text().replace("romantic", "french")
    (bistros / "items.csv").write_text(text)
    assert {"french (cuisine)", "french (mood)"} <= set(folder.read(bistros).catalogue.attributes)


def test_two_items_of_one_name_are_told_apart(bistros: Path) -> None:
    text = (bistros / "items.csv").read_text().replace("Sea View", "Old Mill")
    (bistros / "items.csv").write_text(text)
    world = folder.read(bistros)
    assert world.catalogue.items[2::3] == ("Old Mill", "Old Mill #2")
    assert names_of(world, 5) == {"french", "italian", "romantic"}


def test_conversations_run_on_a_folder(bistros: Path) -> None:
    world = make_world(str(bistros))
    sessions = world.sessions(Split.TEST, 5, 0)
    assert len(sessions) == 5
    assert all(session.target not in session.history for session in sessions)


# --- INSPIRED ---


UTTERANCES = [
    ("RECOMMENDER", "Hi!", "no_strategy"),
    ("RECOMMENDER", "What do you like?", "Opinion Inquiry"),
    ("SEEKER", "Comedies.", ""),
    ("SEEKER", "Old ones.", ""),
    ("RECOMMENDER", "I love QUOTATION_MARKThe Red ShoesQUOTATION_MARK a lot", "personal_opinion"),
    ("SEEKER", "I'll watch it", ""),
    ("RECOMMENDER", "Do!", "Encouragement"),
]


def outcome_files(root: Path, links: str) -> None:
    """Dialogue d1 belongs to recommender survey r1; its seeker survey id points at somebody else's row."""
    rows = {
        "list_of_dialog_ids_with_movie_id_all.tsv": [
            ("dialog_id", "rec_survey_id", "seek_survey_id", "fine_label", "movie_id"),
            ("d1", "r1", "s2", "accept_rating_good", "xSPLIT139"),
            ("d2", "r2", "s1", "reject", "y"),
        ],
        links: [
            ("rec_survey_id", "recommender_id", "seeker_id"),
            ("r1", "user_0", "user_1"),
            ("r2", "user_2", "user_3"),
        ],
        "seeker_partner_perception.tsv": [
            ("seeker_survey_id", "role", "seeker_id", "case", "warm", "boring", "recommender_id"),
            ("s1", "SEEKER", "user_1", "accept_rating_good", "Strongly agree", "Strongly disagree", "user_0"),
            ("s2", "SEEKER", "user_3", "reject", "Disagree", "Neither agree nor disagree", "user_2"),
        ],
    }
    for name, table in rows.items():
        with (root / name).open("w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows(table)


def inspired_jsonl(root: Path) -> Path:
    said = [{"speaker": who, "text": text, "strategy": label} for who, text, label in UTTERANCES]
    lines = [{"dialog_id": "d1", "dialog": said}, {"dialog_id": "d2", "dialog": said[2:]}]
    (root / "inspired-train.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return root


def inspired_tsv(root: Path) -> Path:
    rows = [("dialog_id", "speaker", "text", "movies", "expert_label")]
    for dialogue, utterances in (("d1", UTTERANCES), ("d2", UTTERANCES[2:])):
        for who, text, label in utterances:
            titles = "The Red  Shoes (1948);No Such Film (2050)" if "Red" in text else ""
            rows.append((dialogue, who, text, titles, label))
    with (root / "train.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(rows)
    return root


def films() -> Lexicon:
    return Lexicon("movie", ["The Red Shoes (1948)", "Emma (2020)"], ["comedy"], ["genre"])


@pytest.mark.parametrize("write", [inspired_jsonl, inspired_tsv])
def test_inspired_reads_labels_in_both_spellings(tmp_path: Path, write: Any) -> None:
    dialogue = inspired.read(write(tmp_path), Split.TRAIN).dialogues[0]
    assert [turn.decision.strategy for turn in dialogue.turns] == [
        Strategy.NO_STRATEGY,
        Strategy.OPINION_INQUIRY,
        Strategy.PERSONAL_OPINION,
        Strategy.ENCOURAGEMENT,
    ]


@pytest.mark.parametrize("write", [inspired_jsonl, inspired_tsv])
def test_inspired_joins_what_the_seeker_says_in_a_row_and_restores_quotes(tmp_path: Path, write: Any) -> None:
    first, second = inspired.read(write(tmp_path), Split.TRAIN).dialogues
    assert first.utterances() == [
        ("recommender", "Hi!"),
        ("recommender", "What do you like?"),
        ("seeker", "Comedies. Old ones."),
        ("recommender", 'I love "The Red Shoes" a lot'),
        ("seeker", "I'll watch it"),
        ("recommender", "Do!"),
    ]
    assert second.opening.text == "Comedies. Old ones."


@pytest.mark.parametrize("write", [inspired_jsonl, inspired_tsv])
def test_inspired_links_titles_and_reads_the_act_off(tmp_path: Path, write: Any) -> None:
    corpus = inspired.read(write(tmp_path), Split.TRAIN, films())
    acts = [turn.decision.act for turn in corpus.dialogues[0].turns]
    assert acts == [Act.CHAT, Act.ASK, Act.RECOMMEND, Act.CHAT]
    assert corpus.dialogues[0].turns[2].decision.items == (0,)
    assert corpus.linked_dialogues == 2


def test_inspired_linking_rate_is_the_same_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "tsv").mkdir()
    lines = inspired.read(inspired_jsonl(tmp_path / "json"), Split.TRAIN, films())
    table = inspired.read(inspired_tsv(tmp_path / "tsv"), Split.TRAIN, films())
    assert lines.linking_rate == table.linking_rate == 1.0
    assert (lines.title_linking_rate, table.title_linking_rate) == (None, 0.5)
    assert inspired.read(tmp_path / "tsv", Split.TRAIN).linking_rate == 0.0


SURVEYS = ("list_of_dialog_ids_with_movie_id_all.tsv", "seeker_partner_perception.tsv", "rec_demographic.tsv")


@pytest.mark.parametrize("place", [".", "data", "data/dialog_data"])
def test_inspired_original_release_is_read_as_published(tmp_path: Path, place: str) -> None:
    dialogues, surveys = tmp_path / "data" / "dialog_data", tmp_path / "data" / "survey_data"
    dialogues.mkdir(parents=True)
    surveys.mkdir()
    inspired_tsv(dialogues)
    outcome_files(surveys, "rec_demographic.tsv")
    corpus = inspired.read(tmp_path / place, Split.TRAIN)
    assert (len(corpus.dialogues), corpus.with_outcome, corpus.with_survey) == (2, 2, 2)
    assert corpus.notes == ()


@pytest.mark.parametrize("name", SURVEYS)
def test_inspired_says_which_table_is_missing(tmp_path: Path, name: str) -> None:
    outcome_files(inspired_tsv(tmp_path), "rec_demographic.tsv")
    (tmp_path / name).unlink()
    notes = inspired.read(tmp_path, Split.TRAIN).notes
    assert len(notes) == 1
    assert name in notes[0]


def test_inspired_counts_dialogues_without_outcome(tmp_path: Path) -> None:
    outcome_files(inspired_tsv(tmp_path), "rec_demographic.tsv")
    path = tmp_path / SURVEYS[0]
    path.write_text("".join(line for line in path.open() if not line.startswith("d2")))
    assert inspired.read(tmp_path, Split.TRAIN).notes == (
        "1 of 2 dialogues without outcome",
        "1 of 2 dialogues without the seeker's ratings",
    )


@pytest.mark.parametrize("links", ["rec_survey_link.tsv", "rec_demographic.tsv"])
def test_inspired_survey_is_linked_through_the_recommenders_survey(tmp_path: Path, links: str) -> None:
    outcome_files(inspired_jsonl(tmp_path), links)
    first, second = inspired.read(tmp_path, Split.TRAIN).dialogues
    assert first.survey == {"warm": 5.0, "boring": 1.0}
    assert second.survey == {"warm": 2.0, "boring": 3.0}


def test_inspired_outcome_counts_as_success_only_with_a_good_rating(tmp_path: Path) -> None:
    outcome_files(inspired_jsonl(tmp_path), "rec_survey_link.tsv")
    first, second = inspired.read(tmp_path, Split.TRAIN).dialogues
    assert first.outcome is not None
    assert (first.outcome.success, first.outcome.label, first.outcome.turn) == (True, "accept_rating_good", 4)
    assert second.outcome is not None
    assert (second.outcome.success, second.outcome.label, second.outcome.turn) == (False, "reject", 2)


def test_inspired_is_read_without_its_survey_files(tmp_path: Path) -> None:
    corpus = inspired.read(inspired_jsonl(tmp_path), Split.TRAIN)
    assert (len(corpus.dialogues), corpus.with_outcome, corpus.with_survey) == (2, 0, 0)


def test_real_inspired_has_900_dialogues_with_the_known_outcomes(shared: Path) -> None:
    parts = [inspired.read(shared / "data" / "inspired", split) for split in (Split.TRAIN, Split.VALID)]
    dialogues = [dialogue for part in parts for dialogue in part.dialogues]
    assert len(dialogues) == 900
    assert Counter(d.outcome.label for d in dialogues if d.outcome) == {
        "accept_rating_good": 481,
        "accept_others": 262,
        "accept_uninterested": 107,
        "accept_rating_mod": 39,
        "reject": 11,
    }
    assert {turn.decision.strategy for d in dialogues for turn in d.turns} == set(Strategy)


def test_real_inspired_surveys_belong_to_their_dialogues(shared: Path) -> None:
    """Where ratings are linked rightly, the survey's own ``case`` is the dialogue's outcome, every time."""
    root = shared / "data" / "inspired"
    with (root / "seeker_partner_perception.tsv").open() as file:
        perceptions = list(csv.DictReader(file, delimiter="\t"))
    scale = ("Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree")
    corpus = inspired.read(root, Split.VALID)
    assert corpus.with_survey == corpus.with_outcome == 99
    for dialogue in corpus.dialogues:
        assert dialogue.outcome is not None
        assert len(dialogue.survey) >= 15
        cases = {
            row["case"]
            for row in perceptions
            if all(row[question] == scale[int(rating) - 1] for question, rating in dialogue.survey.items())
        }
        assert dialogue.outcome.label in cases


def test_real_perceptions_go_with_acceptance_as_measured(shared: Path) -> None:
    """Spearman's rho of the data README; wrongly linked surveys would leave chance."""
    root = shared / "data" / "inspired"
    dialogues = [d for split in (Split.TRAIN, Split.VALID) for d in inspired.read(root, split).dialogues]
    for question, expected in (("warm", 0.148), ("competent", 0.192), ("boring", -0.151)):
        pairs = [
            (d.survey[question], d.outcome.success) for d in dialogues if d.outcome and question in d.survey
        ]
        assert len(pairs) >= 895
        assert spearmanr(*zip(*pairs, strict=True)).statistic == pytest.approx(expected, abs=0.0006)


def test_surveys_that_tell_another_outcome_are_doubted(tmp_path: Path) -> None:
    """The survey's own ``case`` is the dialogue's outcome, unless ratings are linked to the wrong one."""
    outcome_files(inspired_jsonl(tmp_path), "rec_survey_link.tsv")
    right = inspired.read(tmp_path, Split.TRAIN)
    assert (right.with_case, right.other_case, right.notes) == (2, 0, ())
    path = tmp_path / inspired.PERCEPTIONS
    whole = path.read_text()
    path.write_text(whole.replace("reject", "accept_others"))
    assert inspired.read(tmp_path, Split.TRAIN).notes == (
        "the surveys' own outcome (case) disagrees with the dialogue's on 1 of 2: are they linked rightly?",
    )
    (row,) = [row for row in world_sizes(None, None, tmp_path) if "corpus" in row]
    assert "disagrees with the dialogue's on 1 of 2" in row["corpus"]["train"]["notes"][0]
    path.write_text(whole.replace("case", "ending").replace("reject", "accept_others"))
    assert inspired.read(tmp_path, Split.TRAIN).notes == ()


def test_ratings_off_the_scale_are_left_out(tmp_path: Path) -> None:
    """A few rows of the release carry another question's answer ("Not sure")."""
    outcome_files(inspired_jsonl(tmp_path), "rec_survey_link.tsv")
    path = tmp_path / "seeker_partner_perception.tsv"
    path.write_text(path.read_text().replace("Strongly disagree", "Not sure"))
    assert inspired.read(tmp_path, Split.TRAIN).dialogues[0].survey == {"warm": 5.0}


def test_original_tsv_release_reads_like_the_json_lines(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "inspired"
    for name in ("dev.tsv", "list_of_dialog_ids_with_movie_id_all.tsv", "seeker_partner_perception.tsv"):
        (tmp_path / name).symlink_to(source / name)
    (tmp_path / "rec_demographic.tsv").symlink_to(source / "rec_survey_link.tsv")
    original = {dialogue.id: dialogue for dialogue in inspired.read(tmp_path, Split.VALID).dialogues}
    ours = {dialogue.id: dialogue for dialogue in inspired.read(source, Split.VALID).dialogues}
    assert original == ours


def test_real_titles_are_linked_to_redial(shared: Path, real_redial: World, tmp_path: Path) -> None:
    catalogue = real_redial.catalogue
    lexicon = Lexicon(catalogue.noun, catalogue.items, catalogue.attributes, catalogue.kinds)
    (tmp_path / "dev.tsv").symlink_to(shared / "data" / "inspired" / "dev.tsv")
    corpus = inspired.read(tmp_path, Split.VALID, lexicon)
    assert corpus.mentions > 500
    assert corpus.title_linking_rate == corpus.linked_mentions / corpus.mentions
    assert 0.4 < corpus.title_linking_rate < 0.6  # "Frozen 2" is not "Frozen"
    lines = inspired.read(shared / "data" / "inspired", Split.VALID, lexicon)
    assert lines.linking_rate == corpus.linking_rate > 0.5
