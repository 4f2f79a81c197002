"""Bad data: each fault is one clear line that names the file and the place, never a traceback or a guess."""

from __future__ import annotations

import csv
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from unicrs_rl.cli import main
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.embeddings import read_released
from unicrs_rl.graphs.readers import folder, inspired, redial, unicorn_directory
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world


def complaint(read: Callable[[], object], *parts: str) -> str:
    """The message of the :class:`InputError` that ``read`` must raise: one line with all ``parts``."""
    with pytest.raises(InputError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path: Path) -> None:
    """Truncate a file, as an interrupted download does."""
    path.write_bytes(path.read_bytes()[:-10])


# --- a folder of one's own ---


FIRST = "u0,1,5\nu0,2,5"


@pytest.mark.parametrize(
    ("line", "column", "cell"),
    [
        ("u0,2,NaN", "rating", ""),
        ("u0,nan,5", "item", ""),
        (",2,5", "user", ""),
        ("u0,2,", "rating", ""),
        ("u0,2,inf", "rating", "'inf'"),
        ("u0,2,good", "rating", "'good'"),
        ("u0,77,5", "item", "'77'"),
    ],
)
def test_a_bad_cell_in_interactions_is_named(bistros: Path, line: str, column: str, cell: str) -> None:
    replace(bistros / "interactions.csv", FIRST, f"u0,1,5\n{line}")
    complaint(lambda: folder.read(bistros), "interactions.csv, row 3", f"column {column!r}", cell)


def test_a_nan_in_parquet_interactions_is_named(bistros: Path) -> None:
    ratings = [5.0] * 48
    ratings[3] = float("nan")
    table = pl.read_csv(bistros / "interactions.csv").with_columns(rating=pl.Series(ratings))
    table.write_parquet(bistros / "interactions.parquet")
    (bistros / "interactions.csv").unlink()
    complaint(lambda: folder.read(bistros), "interactions.parquet, row 5", "column 'rating'")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (
            "5,Corner Table,french,quiet",
            "5,Corner Table,,",
            ("row 6", "'5'", "no attributes", "cuisine, mood"),
        ),
        ("5,Corner", "1,Corner", ("row 6", "column 'id'", "'1' is also in row 2")),
        ("Corner Table", "", ("row 6", "column 'name'")),
        ("5,Corner", "null,Corner", ("row 6", "column 'id'")),
        ("id,name", "key,name", ("no column 'id'", "key, name, cuisine, mood")),
        ("5,Corner Table,french,quiet", "5,Corner Table,french,quiet,x", ("cannot be read as a table",)),
    ],
)
def test_a_fault_in_items_is_named(bistros: Path, old: str, new: str, parts: tuple[str, ...]) -> None:
    replace(bistros / "items.csv", old, new)
    complaint(lambda: folder.read(bistros), "items.csv", *parts)


def test_a_missing_column_of_interactions_is_named(bistros: Path) -> None:
    replace(bistros / "interactions.csv", "user,", "guest,")
    complaint(lambda: folder.read(bistros), "interactions.csv: no column 'user'", "guest, item, rating")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ("[items]\nattributes = ['colour']", ("items.csv: no column 'colour'", "cuisine")),
        ("[items]\ndetails = ['year']", ("items.csv: no column 'year'",)),
        ("[interactions]\nitem = 'dish'", ("interactions.csv: no column 'dish'",)),
        ("[items]\nattribute = ['cuisine']", ("world.toml: items.attribute",)),
        ("[interactions]\nliked_from = 'much'", ("world.toml: interactions.liked_from", "number")),
        ("[world", ("world.toml: not valid TOML",)),
    ],
)
def test_a_fault_in_world_toml_is_named(bistros: Path, settings: str, parts: tuple[str, ...]) -> None:
    (bistros / "world.toml").write_text(settings)
    complaint(lambda: folder.read(bistros), *parts)


def test_an_unknown_rating_column_is_named(bistros: Path) -> None:
    (bistros / "world.toml").write_text("[interactions]\nrating = 'stars'")
    complaint(lambda: folder.read(bistros), "interactions.csv: no column 'stars'")


def test_an_empty_separator_is_refused(bistros: Path) -> None:
    (bistros / "world.toml").write_text("[items]\nseparator = ''")
    complaint(lambda: folder.read(bistros), "world.toml: items.separator")


@pytest.mark.parametrize("name", ["items.csv", "interactions.csv", "world.toml"])
def test_a_file_that_is_not_utf8_is_named(bistros: Path, name: str) -> None:
    path = bistros / name
    path.write_bytes(path.read_bytes() + "é".encode("latin-1"))
    complaint(lambda: folder.read(bistros), name, "utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "row"),
    [
        ("items.csv", "Golden Fork", '"Golden Fork', "row 3"),
        ("interactions.csv", "u0,2,5", '"u0,2,5', "row 3"),
        ("items.csv", "2,Golden Fork,italian,lively\n3,", '2,"Golden Fork,italian,lively\n3,"x" ', "row 3"),
    ],
)
def test_an_unbalanced_quote_is_blamed_on_its_file(
    bistros: Path, name: str, old: str, new: str, row: str
) -> None:
    replace(bistros / name, old, new)
    complaint(lambda: folder.read(bistros), f"{name}, {row}", "quotation mark")


@pytest.mark.parametrize(("name", "header"), [("items.csv", "cuisine"), ("interactions.csv", "user")])
def test_a_column_that_is_there_twice_is_named(bistros: Path, name: str, header: str) -> None:
    lines = (bistros / name).read_text().splitlines()
    lines = [f"{lines[0]}, {header} "] + [f"{line},x" for line in lines[1:]]
    (bistros / name).write_text("\n".join(lines))
    complaint(lambda: folder.read(bistros), name, f"column '{header}' is there 2 times")


def test_an_empty_list_of_attributes_is_refused(bistros: Path) -> None:
    (bistros / "world.toml").write_text("[items]\nattributes = []")
    complaint(lambda: folder.read(bistros), "world.toml: items.attributes is empty")


def test_a_catalogue_of_numbers_alone_is_refused(bistros: Path) -> None:
    table = pl.DataFrame({"id": range(1, 7), "name": list("abcdef"), "price": [1.5, 2, 3, 4, 5, 6]})
    table.write_csv(bistros / "items.csv")
    complaint(lambda: folder.read(bistros), "items.csv: no column is an attribute", "world.toml")


def test_blank_lines_do_not_shift_the_row_of_an_error(bistros: Path) -> None:
    replace(bistros / "interactions.csv", FIRST, "u0,1,5\n\n,,\nu0,2,good")
    complaint(lambda: folder.read(bistros), "interactions.csv, row 5", "'good'")


@pytest.mark.parametrize("stem", ["items", "interactions"])
def test_a_broken_parquet_file_is_named(bistros: Path, stem: str) -> None:
    pl.read_csv(bistros / f"{stem}.csv").write_parquet(bistros / f"{stem}.parquet")
    (bistros / f"{stem}.csv").unlink()
    cut(bistros / f"{stem}.parquet")
    complaint(lambda: folder.read(bistros), f"{stem}.parquet: cannot be read as a table")


def test_a_list_column_is_several_values(bistros: Path) -> None:
    table = pl.read_csv(bistros / "items.csv").with_columns(pl.col("cuisine").str.split("|"))
    table.write_parquet(bistros / "items.parquet")
    (bistros / "items.csv").unlink()
    (bistros / "world.toml").write_text("[items]\nattributes = ['cuisine']")
    assert set(folder.read(bistros).catalogue.attributes) == {"french", "italian", "thai", "vegan"}


@pytest.mark.parametrize("name", ["item", "user"])
def test_an_attribute_column_named_like_another_node_is_refused(bistros: Path, name: str) -> None:
    replace(bistros / "items.csv", "mood", name)
    complaint(lambda: folder.read(bistros), "items.csv", repr(name), "rename")


@pytest.mark.parametrize("stem", ["items", "interactions"])
def test_a_missing_table_is_named(bistros: Path, stem: str) -> None:
    (bistros / f"{stem}.csv").unlink()
    complaint(lambda: folder.read(bistros), f"neither {stem}.csv nor {stem}.parquet")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("items.csv", "", "cannot be read as a table"),
        ("items.csv", "id,name,cuisine\n", "no items"),
        ("interactions.csv", "user,item\n", "no interactions"),
    ],
)
def test_an_empty_table_is_named(bistros: Path, name: str, text: str, problem: str) -> None:
    (bistros / name).write_text(text)
    complaint(lambda: folder.read(bistros), f"{name}: {problem}")


def test_too_few_seekers_to_fill_the_splits(bistros: Path) -> None:
    (bistros / "interactions.csv").write_text("user,item\nann,1\nann,2\nbob,1\n")
    complaint(lambda: folder.read(bistros), "'bistros'", "1 seekers with two or more likes", "at least 4")


# --- folders that are not there ---


@pytest.mark.parametrize("name", ["redial", "lastfm"])
def test_a_world_that_needs_data_says_so(name: str, tmp_path: Path) -> None:
    complaint(lambda: make_world(name), repr(name), "--data")
    complaint(lambda: make_world(name, tmp_path / "nowhere"), "nowhere", "no such folder")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    complaint(lambda: make_world(str(tmp_path / "nowhere")), "nowhere", "no such folder")


def test_data_for_a_world_that_takes_none(bistros: Path) -> None:
    complaint(lambda: make_world("movies", bistros), "'movies'", "--data")
    complaint(lambda: make_world(str(bistros), bistros), "--data")


@pytest.mark.parametrize("split", list(Split))
def test_conversations_of_an_empty_split_are_refused(bistros: Path, split: Split) -> None:
    world = folder.read(bistros)
    world = dataclasses.replace(world, targets={**world.targets, split: []})
    complaint(lambda: world.sessions(split, 5, 0), "'bistros'", str(split), "the split is empty")


@pytest.mark.parametrize("count", [0, -3])
def test_no_dialogues_asked_for(bistros: Path, count: int) -> None:
    world = folder.read(bistros)
    complaint(lambda: world.sessions(Split.TEST, count, 0), f"{count} dialogues", "at least 1")


# --- ReDial ---


GRAPH_FILES = (
    "entity2id.json",
    "entity2type.json",
    "relation2id.json",
    "kg.json",
    "item_ids.json",
    "id2info.json",
)


@pytest.fixture
def small_redial(tmp_path: Path) -> Path:
    names = {"Alpha (1999)": 0, "Beta (2001)": 1, "drama": 2}
    kinds = {"Alpha (1999)": "movie", "Beta (2001)": "movie", "drama": "genre"}
    form = {movie: {"suggested": 0, "seen": 1, "liked": 1} for movie in ("10", "11")}
    contents: dict[str, object] = {
        "entity2id.json": names,
        "entity2type.json": kinds,
        "relation2id.json": {"genre": 0},
        "kg.json": {"0": [[0, 2]], "1": [[0, 2]]},
        "item_ids.json": [0, 1],
        "id2info.json": {"10": {"name": "Alpha (1999)"}, "11": {"name": "Beta (2001)"}},
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    lines = [
        {
            "initiatorWorkerId": worker,
            "initiatorQuestions": form,
            "messages": [{"senderWorkerId": worker, "text": "Hello"}],
        }
        for worker in range(4)
    ]
    (tmp_path / "valid_data.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    redial.read(tmp_path)
    return tmp_path


def change_line(path: Path, number: int, change: Callable[[Any], object]) -> None:
    """Change one object of a JSON-lines file; lines count from 1."""
    lines = path.read_text().split("\n")
    content = json.loads(lines[number - 1])
    change(content)
    lines[number - 1] = json.dumps(content)
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_redial_missing_and_truncated_files_are_named(small_redial: Path, name: str) -> None:
    cut(small_redial / name)
    complaint(lambda: redial.read(small_redial), f"{name}: Invalid JSON")
    (small_redial / name).unlink()
    complaint(lambda: redial.read(small_redial), f"{name}: No such file")


def test_redial_bare_original_release_is_told_what_is_missing(small_redial: Path) -> None:
    for name in GRAPH_FILES:
        (small_redial / name).unlink()
    complaint(lambda: redial.read(small_redial), *GRAPH_FILES, "released with iEvaLM", "beside the dialogues")


def test_redial_truncated_dialogues_are_named_with_their_line(small_redial: Path) -> None:
    cut(small_redial / "valid_data.jsonl")
    complaint(lambda: redial.read(small_redial), "valid_data.jsonl, line 4: not valid JSON")


def test_redial_nan_is_named_with_its_place(small_redial: Path) -> None:
    (small_redial / "item_ids.json").write_text("[0, NaN]")
    complaint(lambda: redial.read(small_redial), "item_ids.json: 1: ")


@pytest.mark.parametrize("edge", [[9, 2], [0, 99]])
def test_redial_dangling_edge_is_named(small_redial: Path, edge: list[int]) -> None:
    edit(small_redial / "kg.json", lambda graph: graph["1"].append(edge))
    complaint(lambda: redial.read(small_redial), "kg.json: entity 1", str(edge))


def test_redial_without_any_movie(small_redial: Path) -> None:
    (small_redial / "item_ids.json").write_text("[]")
    complaint(lambda: redial.read(small_redial), "item_ids.json", "no movie")


def test_redial_without_dialogues(small_redial: Path) -> None:
    (small_redial / "valid_data.jsonl").unlink()
    complaint(lambda: redial.read(small_redial), "valid_data.jsonl")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda line: line.pop("initiatorWorkerId"), "initiatorWorkerId is missing"),
        (lambda line: line.pop("initiatorQuestions"), "initiatorQuestions"),
        (lambda line: line.update(initiatorQuestions=[3]), "initiatorQuestions"),
        (lambda line: line.update(initiatorQuestions={"10": 1}), "initiatorQuestions"),
        (lambda line: line.update(messages=[{"senderWorkerId": 1}]), "a message without text"),
    ],
)
def test_redial_bad_dialogue_is_named_with_its_line(
    small_redial: Path, change: Callable[[Any], object], problem: str
) -> None:
    change_line(small_redial / "valid_data.jsonl", 2, change)
    complaint(lambda: redial.read(small_redial), "valid_data.jsonl, line 2", problem)


@pytest.mark.parametrize("messages", [None, 3, [{"senderWorkerId": 1, "text": None}]])
def test_redial_bad_messages_are_named_with_their_line(small_redial: Path, messages: object) -> None:
    change_line(small_redial / "valid_data.jsonl", 2, lambda line: line.update(messages=messages))
    complaint(lambda: redial.read(small_redial), "valid_data.jsonl, line 2")


def test_redial_dialogues_that_are_not_utf8_are_named(small_redial: Path) -> None:
    path = small_redial / "valid_data.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Hello", b"H\xe9llo", 1))
    complaint(lambda: redial.read(small_redial), "valid_data.jsonl", "utf-8")


# --- UNICORN directory ---


GRAPH = "Graph_generate_data"
REVIEWS = "UI_Interaction_data"


@pytest.fixture
def small_lastfm(tmp_path: Path) -> Path:
    contents: dict[str, object] = {
        f"{GRAPH}/item_dict.json": {str(item): {"feature_index": [item % 2]} for item in range(4)},
        f"{GRAPH}/original_tag_map.json": {"13": 0, "18": 1},
        f"{GRAPH}/user_dict.json": {"0": {"friends": [1], "like": [0]}, "1": {"friends": [0], "like": []}},
        f"{REVIEWS}/review_dict_train.json": {"0": [0, 1], "1": [1, 2]},
        f"{REVIEWS}/review_dict_valid.json": {"0": [2]},
        f"{REVIEWS}/review_dict_test.json": {"1": [3]},
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    unicorn_directory.read(tmp_path)
    return tmp_path


FILES = (
    *(f"{GRAPH}/{name}.json" for name in ("item_dict", "original_tag_map", "user_dict")),
    *(f"{REVIEWS}/review_dict_{split}.json" for split in Split),
)


@pytest.mark.parametrize("name", FILES)
def test_unicorn_missing_and_truncated_files_are_named(small_lastfm: Path, name: str) -> None:
    cut(small_lastfm / name)
    complaint(lambda: unicorn_directory.read(small_lastfm), f"{Path(name).name}: Invalid JSON")
    (small_lastfm / name).unlink()
    complaint(lambda: unicorn_directory.read(small_lastfm), Path(name).name)


@pytest.mark.parametrize("name", FILES)
def test_unicorn_file_that_is_not_utf8_is_named(small_lastfm: Path, name: str) -> None:
    path = small_lastfm / name
    path.write_bytes(path.read_bytes().replace(b'"', b'"\xe9', 1))
    complaint(lambda: unicorn_directory.read(small_lastfm), Path(name).name, "unicode")


@pytest.mark.parametrize("split", list(Split))
@pytest.mark.parametrize("content", ["{}", '{"0": []}'])
def test_unicorn_empty_split_is_named(small_lastfm: Path, split: Split, content: str) -> None:
    (small_lastfm / REVIEWS / f"review_dict_{split}.json").write_text(content)
    complaint(lambda: unicorn_directory.read(small_lastfm), f"review_dict_{split}.json", "the split is empty")


@pytest.mark.parametrize(
    ("name", "change", "parts"),
    [
        ("item_dict", lambda d: d["2"].update(feature_index=[]), ("item 2 has no attributes",)),
        ("item_dict", lambda d: d["2"].update(feature_index=[9]), ("item 2 has attribute 9", "0 to 1")),
        ("item_dict", lambda d: d["2"].update(feature_index=[0, -1]), ("item 2 has attribute -1", "0 to 1")),
        (
            "item_dict",
            lambda d: d["2"].update(feature_index=[10**30]),
            ("item 2 has attribute 1000", "0 to 1"),
        ),
        ("item_dict", lambda d: d["2"].update(feature_index=["1"]), ("item 2, feature_index, 0", "integer")),
        ("item_dict", lambda d: d["2"].pop("feature_index"), ("item 2, feature_index", "required")),
        ("item_dict", lambda d: d.update(x=d.pop("3")), ("item x:", "integer")),
        ("item_dict", lambda d: d.clear(), ("no items",)),
        ("item_dict", lambda d: d.update({"9": d.pop("3")}), ("without gaps",)),
        ("original_tag_map", lambda d: d.clear(), ("no attributes",)),
        ("original_tag_map", lambda d: d.update({"19": -1}), ("tag '19'", "-1")),
        ("original_tag_map", lambda d: d.update({"19": 10**12}), ("tag '19'", "1000000000000", "3 tags")),
        ("user_dict", lambda d: d["0"].update(friends=[55]), ("user 0 has the friend 55",)),
        ("user_dict", lambda d: d["1"].update(friends=[-3]), ("user 1 has the friend -3",)),
        ("user_dict", lambda d: d["1"].update(friends=[0.5]), ("user 1, friends, 0", "integer", "0.5")),
        ("user_dict", lambda d: d.update(bob={}), ("user bob:", "integer")),
        ("user_dict", lambda d: d.update({"-1": {}}), ("user -1:", "greater than or equal to 0")),
        ("user_dict", lambda d: d.update({"999999999": {}}), ("user 999999999 is out of range", "3 users")),
    ],
)
def test_unicorn_fault_in_the_graph_is_named(
    small_lastfm: Path, name: str, change: Callable[[Any], object], parts: tuple[str, ...]
) -> None:
    edit(small_lastfm / GRAPH / f"{name}.json", change)
    complaint(lambda: unicorn_directory.read(small_lastfm), f"{name}.json", *parts)


@pytest.mark.parametrize(
    ("split", "content", "parts"),
    [
        ("train", '{"0": [0, NaN]}', ("user 0, 1:", "integer")),
        ("train", '{"0": [0, 1.5]}', ("user 0, 1:", "integer", "1.5")),
        ("train", '{"0": [0, "1"]}', ("user 0, 1:", "integer", "'1'")),
        ("train", '{"0": [true]}', ("user 0, 0:", "integer")),
        ("train", '{"0": 1}', ("user 0:", "array")),
        ("train", "[[0, 1]]", ("object",)),
        ("valid", '{"0.5": [0]}', ("user 0.5:", "integer")),
        ("valid", '{"ann": [0]}', ("user ann:", "integer")),
        ("valid", '{"-1": [0]}', ("user -1:", "greater than or equal to 0")),
        ("valid", '{"4000000000": [0]}', ("user 4000000000 is out of range", "3 users")),
        ("test", '{"1": [4]}', ("user 1 has item 4", "0 to 3")),
        ("test", '{"1": [-1]}', ("user 1 has item -1",)),
        ("test", '{"1": [100000000000000000000]}', ("user 1 has item 100000000000000000000", "0 to 3")),
        ("test", '{"1": [3], "7": [0]}', ("user 7 has no interactions in review_dict_train.json",)),
        (
            "valid",
            '{"7": [0], "3": [1], "0": [2]}',
            ("user 3 has no interactions in review_dict_train.json; nor have 1 more",),
        ),
    ],
)
def test_unicorn_fault_in_interactions_is_named(
    small_lastfm: Path, split: str, content: str, parts: tuple[str, ...]
) -> None:
    (small_lastfm / REVIEWS / f"review_dict_{split}.json").write_text(content)
    complaint(lambda: unicorn_directory.read(small_lastfm), f"review_dict_{split}.json", *parts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (f"{GRAPH}/item_dict.json", '{"0": {"feature_index": [7]}}'),
        (f"{GRAPH}/item_dict.json", '{"0": {"feature_index": []}}'),
        (f"{REVIEWS}/review_dict_test.json", '{"9": [0]}'),
        (f"{REVIEWS}/review_dict_train.json", "{}"),
    ],
)
def test_the_command_prints_one_line_and_exits_with_2(
    small_lastfm: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    (small_lastfm / name).write_text(content)
    assert main(["worlds", "--world", str(small_lastfm)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"unicrs-rl: {small_lastfm / name}: ")
    assert printed.err.count("\n") == 1


def test_a_user_asked_about_with_an_empty_training_list_is_named(small_lastfm: Path) -> None:
    (small_lastfm / REVIEWS / "review_dict_train.json").write_text('{"0": [0, 1], "1": []}')
    complaint(
        lambda: unicorn_directory.read(small_lastfm),
        "review_dict_test.json: user 1 has no interactions in review_dict_train.json",
    )


def test_a_user_whose_training_interactions_are_all_held_out_is_named(small_lastfm: Path) -> None:
    (small_lastfm / REVIEWS / "review_dict_train.json").write_text('{"0": [0, 1], "1": [3]}')
    complaint(lambda: unicorn_directory.read(small_lastfm), "review_dict_test.json: user 1", "no later split")


def test_a_split_that_later_splits_leave_empty_is_named(small_lastfm: Path) -> None:
    (small_lastfm / REVIEWS / "review_dict_train.json").write_text('{"0": [2], "1": [3]}')
    complaint(
        lambda: unicorn_directory.read(small_lastfm),
        "review_dict_train.json: no usable interactions",
        "2 train interactions that a later split holds",
    )


def test_yelp_taxonomy_with_an_unknown_attribute_is_named(small_lastfm: Path) -> None:
    (small_lastfm / GRAPH / "2-layer taxonomy.json").write_text('{"Food": [0, 17]}')
    complaint(lambda: unicorn_directory.read(small_lastfm), "2-layer taxonomy.json", "'Food'", "17")
    (small_lastfm / GRAPH / "2-layer taxonomy.json").write_text('{"Food": ["Soup"]}')
    complaint(lambda: unicorn_directory.read(small_lastfm), "2-layer taxonomy.json", "'Food'", "'Soup'")


# --- released vectors ---


Arrays = dict[str, np.ndarray]


@pytest.fixture
def small_world(small_lastfm: Path) -> World:
    return unicorn_directory.read(small_lastfm)


def released(**changes: np.ndarray) -> Arrays:
    """Vectors that fit the small world: 2 users and 4 items, 2 attributes."""
    return {
        "user_item": np.arange(18, dtype=np.float64).reshape(6, 3),
        "attribute": np.ones((2, 3), dtype=np.float32),
        **changes,
    }


def test_released_vectors_are_taken_apart(tmp_path: Path, small_world: World) -> None:
    np.savez(tmp_path / "vectors.npz", **released())
    users, others = read_released(tmp_path / "vectors.npz", small_world)
    assert users.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert others.items[0].tolist() == [6, 7, 8]
    assert (others.items.shape, others.attributes.shape, others.dim) == ((4, 3), (2, 3), 3)
    assert {users.dtype, others.items.dtype, others.attributes.dtype} == {np.dtype(np.float32)}
    assert not others.likes.any()
    assert others.fold_in([[0, 2], []]).tolist() == [[9, 10, 11], [0, 0, 0]]


BROKEN = np.ones((6, 3))
BROKEN[4, 1] = np.nan


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        (released(user_item=np.ones((5, 3))), ("'user_item'", "(5, 3)", "2 users and 4 items", "(6, 3)")),
        (released(user_item=np.ones((4, 3))), ("'user_item'", "(4, 3)", "(6, 3)")),
        (released(attribute=np.ones((3, 3))), ("'attribute'", "(3, 3)", "2 attributes", "(2, 3)")),
        (released(attribute=np.ones((2, 4))), ("'user_item'", "(6, 3)", "'attribute'", "(2, 4)", "width")),
        (released(user_item=np.ones(18)), ("'user_item'", "(18,)")),
        (released(attribute=np.ones((2, 3, 1))), ("'attribute'", "(2, 3, 1)")),
        (released(attribute=np.ones((2, 0))), ("'attribute'", "(2, 0)")),
        (released(attribute=np.array(1.0)), ("'attribute'", "()")),
        (released(attribute=np.array([["a"], ["b"]])), ("'attribute'", "floating-point")),
        (released(user_item=np.ones((6, 3), dtype=int)), ("'user_item'", "floating-point")),
        (released(user_item=BROKEN), ("'user_item'", "(6, 3)", "row 4", "not finite")),
        (released(user_item=np.full((6, 3), 1e300)), ("'user_item'", "row 0", "not finite")),
        (released(user_item=np.array([[None]] * 6)), ("'user_item'", "Python objects")),
        ({"ui_emb": np.ones((6, 3))}, ("no array 'user_item'", "ui_emb")),
        ({"user_item": np.ones((6, 3))}, ("no array 'attribute'", "user_item")),
        ({}, ("no array 'user_item'", "none")),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_released_vectors_that_do_not_fit_are_named(
    tmp_path: Path, small_world: World, arrays: Arrays, parts: tuple[str, ...], save: Callable[..., None]
) -> None:
    save(tmp_path / "vectors.npz", **arrays)
    complaint(lambda: read_released(tmp_path / "vectors.npz", small_world), "vectors.npz", *parts)


@pytest.mark.parametrize(
    "damage", ["missing", "folder", "empty", "text", "pickle", "cut", "overwritten", "npy"]
)
def test_a_damaged_file_of_released_vectors_is_named(tmp_path: Path, small_world: World, damage: str) -> None:
    path = tmp_path / "vectors.npz"
    np.savez(path, **released())
    whole = path.read_bytes()
    middle = whole.index(b"user_item.npy") + 150
    contents = {
        "empty": b"",
        "text": b"0.1 0.2",
        "pickle": pickle.dumps({"ui_emb": [1.0]}),
        "cut": whole[:-40],
        "overwritten": whole[:middle] + b"\xff" * 20 + whole[middle + 20 :],
    }
    if damage in {"missing", "folder"}:
        path.unlink()
    if damage == "folder":
        path.mkdir()
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, np.ones((6, 3)))
    if damage in contents:
        path.write_bytes(contents[damage])
    complaint(lambda: read_released(path, small_world), "vectors.npz:")


# --- INSPIRED ---


OUTCOMES = "list_of_dialog_ids_with_movie_id_all.tsv"
LINKS = "rec_survey_link.tsv"
PERCEPTIONS = "seeker_partner_perception.tsv"
TABLES = {
    OUTCOMES: [("dialog_id", "rec_survey_id", "fine_label"), ("d1", "r1", "reject")],
    LINKS: [("rec_survey_id", "recommender_id", "seeker_id"), ("r1", "u0", "u1")],
    PERCEPTIONS: [("seeker_id", "recommender_id", "warm"), ("u1", "u0", "Agree")],
    "train.tsv": [
        ("dialog_id", "speaker", "text", "expert_label"),
        ("d1", "RECOMMENDER", "Hi", "no_strategy"),
    ],
}


@pytest.fixture
def small_inspired(tmp_path: Path) -> Path:
    """The same dialogue as the original table (train) and as JSON lines (valid)."""
    for name, rows in TABLES.items():
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows(rows)
    said = [{"speaker": "RECOMMENDER", "text": "Hi", "strategy": "no_strategy"}]
    lines = [{"dialog_id": name, "dialog": said} for name in ("d1", "d2")]
    (tmp_path / "inspired-valid.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    for split in (Split.TRAIN, Split.VALID):
        inspired.read(tmp_path, split)
    return tmp_path


def test_inspired_missing_split_is_named(small_inspired: Path) -> None:
    complaint(lambda: inspired.read(small_inspired, Split.TEST), "inspired-test.jsonl, test.tsv")
    complaint(lambda: inspired.read(small_inspired / "nowhere", Split.TEST), "nowhere", "no such folder")


def test_inspired_truncated_file_is_named_with_its_line(small_inspired: Path) -> None:
    cut(small_inspired / "inspired-valid.jsonl")
    complaint(
        lambda: inspired.read(small_inspired, Split.VALID), "inspired-valid.jsonl, line 2: not valid JSON"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda line: line.pop("dialog_id"), "dialog_id: Field required"),
        (lambda line: line.pop("dialog"), "dialog: Field required"),
        (lambda line: line["dialog"][0].pop("text"), "dialog.0.text: Field required"),
        (lambda line: line["dialog"][0].update(strategy="Magic"), "unknown strategy label 'Magic'"),
        (
            lambda line: line["dialog"][0].pop("strategy"),
            "the recommender's utterance has no strategy label",
        ),
    ],
)
def test_inspired_bad_dialogue_is_named_with_its_line(
    small_inspired: Path, change: Callable[[Any], object], problem: str
) -> None:
    change_line(small_inspired / "inspired-valid.jsonl", 2, change)
    complaint(lambda: inspired.read(small_inspired, Split.VALID), "inspired-valid.jsonl, line 2", problem)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.update(dialog=None),
        lambda line: line["dialog"][0].update(text=None),
        lambda line: line.update(dialog_id=["d1"]),
    ],
)
def test_inspired_field_of_the_wrong_type_is_named(
    small_inspired: Path, change: Callable[[Any], object]
) -> None:
    change_line(small_inspired / "inspired-valid.jsonl", 2, change)
    complaint(lambda: inspired.read(small_inspired, Split.VALID), "inspired-valid.jsonl, line 2")


def test_inspired_unknown_speaker_is_named(small_inspired: Path) -> None:
    change_line(
        small_inspired / "inspired-valid.jsonl", 2, lambda line: line["dialog"][0].update(speaker="PARROT")
    )
    complaint(lambda: inspired.read(small_inspired, Split.VALID), "inspired-valid.jsonl, line 2", "PARROT")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("expert_label", "label", ("line 2", "column expert_label")),
        ("no_strategy", "magic", ("line 2", "'magic'")),
        ("\tHi\tno_strategy", "", ("line 2", "column text")),
    ],
)
def test_inspired_fault_in_the_original_table_is_named(
    small_inspired: Path, old: str, new: str, parts: tuple[str, ...]
) -> None:
    replace(small_inspired / "train.tsv", old, new)
    complaint(lambda: inspired.read(small_inspired, Split.TRAIN), "train.tsv", *parts)


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VALID])
def test_inspired_empty_file_is_named(small_inspired: Path, split: Split) -> None:
    name = {Split.TRAIN: "train.tsv", Split.VALID: "inspired-valid.jsonl"}[split]
    (small_inspired / name).write_text("")
    complaint(lambda: inspired.read(small_inspired, split), f"{name}: no dialogues")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        (OUTCOMES, "rec_survey_id"),
        (OUTCOMES, "fine_label"),
        (LINKS, "seeker_id"),
        (PERCEPTIONS, "recommender_id"),
    ],
)
def test_inspired_missing_column_of_a_survey_table_is_named(
    small_inspired: Path, name: str, column: str
) -> None:
    replace(small_inspired / name, column, "other")
    complaint(lambda: inspired.read(small_inspired, Split.TRAIN), name, column)


def test_inspired_overlong_field_is_named(small_inspired: Path) -> None:
    """What an unbalanced quote does to a table: the rest of the file is one field."""
    replace(small_inspired / "train.tsv", "Hi", "x" * 200_000)
    complaint(lambda: inspired.read(small_inspired, Split.TRAIN), "train.tsv")
