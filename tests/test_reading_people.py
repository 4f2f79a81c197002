"""How well people's own phrasing is read: sentences, the measure, and the dialogues of ReDial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from unicrs_rl.cli import main
from unicrs_rl.dialogue import Act, Decision, Dialogue, Reply, Strategy, Turn
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.reading import measure, preference_input
from unicrs_rl.graphs.readers.redial import HumanDialogue, HumanMessage, read_human
from unicrs_rl.graphs.world import Split
from unicrs_rl.language import phrases
from unicrs_rl.language.boundary import LanguageModel, Prompt, Raw, Task
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.lexicon import Entity, Lexicon
from unicrs_rl.language.preference_reasoner import PreferenceReasoner
from unicrs_rl.language.reading import read_dialogue
from unicrs_rl.language.tasks import Exchange, PreferenceInput, PreferenceOutput

JAWS, ALIEN, FROZEN, IT = range(4)
FILMS = Lexicon(
    "movie",
    ["Jaws (1975)", "Alien (1979)", "Frozen (2013)", "It (2017)", "The Help (2011)", "Scary Movie (2000)"],
    ["horror", "comedy"],
    ["genre", "genre"],
)
NOTHING: tuple[int, ...] = ()


def read(*lines: str) -> PreferenceOutput:
    """What is read of a conversation: the seeker's opening, then the two in turns."""
    exchanges = [
        Exchange(recommender=said, seeker=answer)
        for said, answer in zip(lines[1::2], lines[2::2], strict=True)
    ]
    return read_dialogue(FILMS, PreferenceInput(noun="movie", opening=lines[0], exchanges=exchanges))


def items(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(FILMS.items.index(name) for name in names)


NAMED = [
    # praise and blame
    ("I loved Jaws", (JAWS,), NOTHING),
    ("I really enjoyed Jaws and Alien.", (JAWS, ALIEN), NOTHING),
    ("Jaws was great!", (JAWS,), NOTHING),
    ("jaws was so good lol", NOTHING, NOTHING),  # one lower-case word is no title
    ("My favorite movie is Jaws", (JAWS,), NOTHING),
    ("I hated Jaws", NOTHING, (JAWS,)),
    ("Jaws was terrible", NOTHING, (JAWS,)),
    ("I thought Jaws was boring", NOTHING, (JAWS,)),
    ("I saw Jaws. It was a disappointment.", NOTHING, (JAWS,)),
    # turned around
    ("I didn't like Jaws", NOTHING, (JAWS,)),
    ("I didnt like Jaws", NOTHING, (JAWS,)),
    ("I did not care for Jaws", NOTHING, (JAWS,)),
    ("I'm not a fan of Jaws", NOTHING, (JAWS,)),
    ("Jaws was not good", NOTHING, (JAWS,)),
    ("Jaws is not bad at all", (JAWS,), NOTHING),
    ("I’m not fond of movies like Jaws", NOTHING, (JAWS,)),
    ("Can't stand movies like Jaws", NOTHING, (JAWS,)),
    # several at once
    ("I loved Jaws but hated Alien", (JAWS,), (ALIEN,)),
    ("I loved Jaws but not Alien", (JAWS,), (ALIEN,)),
    ("I liked Jaws, but Alien was awful.", (JAWS,), (ALIEN,)),
    ("I loved Jaws I hated Alien", (JAWS,), (ALIEN,)),
    ("Something like Jaws but not anything like Alien", (JAWS,), (ALIEN,)),
    ("Jaws was terrible, though I enjoyed Alien", (ALIEN,), (JAWS,)),
    # examples of taste
    ("I'm looking for something like Jaws", (JAWS,), NOTHING),
    ("Do you know any movies similar to Jaws?", (JAWS,), NOTHING),
    ("I just watched Jaws last night", (JAWS,), NOTHING),
    # no opinion
    ("I haven't seen Jaws", NOTHING, NOTHING),
    ("I have not seen Jaws yet", NOTHING, NOTHING),
    ("I've never heard of Jaws", NOTHING, NOTHING),
    ("Have you seen Jaws?", NOTHING, NOTHING),
    ("Is Jaws any good?", NOTHING, NOTHING),
    ("I don't think I've seen Jaws", NOTHING, NOTHING),
    ("I have seen Jaws but not Alien", (JAWS,), NOTHING),
    ("I want a good comedy", NOTHING, NOTHING),
]


@pytest.mark.parametrize(("text", "liked", "disliked"), NAMED)
def test_what_people_say_of_a_title(text: str, liked: tuple[int, ...], disliked: tuple[int, ...]) -> None:
    found = read(text)
    assert (items(found.liked_items), items(found.disliked_items)) == (liked, disliked)


ANSWERS = [
    ("Have you seen Jaws?", "Yes, I loved it!", (JAWS,), NOTHING),
    ("Have you seen Jaws?", "I have seen that one, it was awesome", (JAWS,), NOTHING),
    ("Have you seen Jaws?", "yes it was great", (JAWS,), NOTHING),
    ("Have you seen Jaws?", "Yes. It was horrible.", NOTHING, (JAWS,)),
    ("Have you seen Jaws?", "I saw it but wasn't a fan", NOTHING, (JAWS,)),
    ("Have you seen Jaws?", "no, haven't seen that one", NOTHING, NOTHING),
    ("Have you seen Jaws?", "No I haven't", NOTHING, NOTHING),
    ("Have you seen Jaws?", "I haven't but it sounds good", (JAWS,), NOTHING),
    ("Have you seen Jaws?", "No, I'll check it out. Thank you so much!", (JAWS,), NOTHING),
    ("Have you seen Jaws?", "No I haven't I will check it out", (JAWS,), NOTHING),
    ("Have you seen Jaws?", "I've been meaning to watch that", (JAWS,), NOTHING),
    ("Try Jaws", "Sounds like a great movie, I can't wait", (JAWS,), NOTHING),
    ("Try Jaws", "not interested", NOTHING, (JAWS,)),
    ("Try Jaws", "I don't think I would like that", NOTHING, (JAWS,)),
    ("Try Jaws", "That's not really my thing", NOTHING, (JAWS,)),
    ("Try Jaws", "What is it about?", NOTHING, NOTHING),
    ("Try Jaws", "Is it good?", NOTHING, NOTHING),
    ("Try Jaws", "Have a great day!", NOTHING, NOTHING),
    ("Try Jaws", "I love horror movies", NOTHING, NOTHING),
    ("Try Jaws", "I'm looking for a good comedy", NOTHING, NOTHING),
    ("Do you like Jaws?", "Yes", (JAWS,), NOTHING),
    ("Did you like Jaws?", "Nope.", NOTHING, (JAWS,)),
    ("How about Jaws or Alien?", "Both are great!", (JAWS, ALIEN), NOTHING),
    ("How about Jaws or Alien?", "I liked Jaws, but Alien was too scary", (JAWS,), (ALIEN,)),
    ("I loved Jaws", "I saw Alien. It was awful", NOTHING, (ALIEN,)),
]


@pytest.mark.parametrize(("said", "answer", "liked", "disliked"), ANSWERS)
def test_what_people_answer_to_a_title(
    said: str, answer: str, liked: tuple[int, ...], disliked: tuple[int, ...]
) -> None:
    found = read("Hi!", said, answer)
    assert (items(found.liked_items), items(found.disliked_items)) == (liked, disliked)


def test_an_opinion_may_come_a_turn_later() -> None:
    found = read("Hi!", "Have you seen Jaws?", "Yes", "Did you like that one?", "It was awesome")
    assert items(found.liked_items) == (JAWS,)


def test_later_words_win_but_pointing_does_not_overrule_naming() -> None:
    changed = read("I loved Jaws", "Really?", "Well, I hated Jaws in the end")
    assert (items(changed.liked_items), items(changed.disliked_items)) == (NOTHING, (JAWS,))
    kept = read("I loved Jaws", "Jaws is fun.", "It was bad weather")
    assert items(kept.liked_items) == (JAWS,)


def test_thanks_for_all_suggestions_are_for_those_without_a_word_against_them() -> None:
    found = read("Hi!", "Try Jaws", "no thanks", "Then Alien", "hm", "Bye", "Thanks for the suggestions!")
    assert (items(found.liked_items), items(found.disliked_items)) == ((ALIEN,), (JAWS,))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("thanks for the help", NOTHING),
        ("I loved The Help", (4,)),
        ("any good scary movie?", NOTHING),
        ("I liked Scary Movie", (5,)),
        ("so funny It does not have to be new", NOTHING),
        ("have you seen It", (IT,)),
        ("LOVE IT", NOTHING),
        ("I saw It (2017)", (IT,)),
    ],
)
def test_what_people_just_say_is_no_title(text: str, found: tuple[int, ...]) -> None:
    named = [mention.id for mention in FILMS.mentions(text) if mention.entity is Entity.ITEM]
    assert tuple(named) == found


def test_what_is_offered_is_accepted_or_turned_down_and_not_an_opinion() -> None:
    exchange = Exchange(recommender="Try Jaws", offered=["Jaws (1975)"], seeker="No, I hated it.")
    found = read_dialogue(FILMS, PreferenceInput(noun="movie", opening="Hi", exchanges=[exchange]))
    assert (found.rejected_items, found.disliked_items) == (["Jaws (1975)"], [])


def test_an_item_spoken_against_is_not_recommended() -> None:
    dialogue = Dialogue("d", Reply("I hated Jaws, and Alien was great"))
    dialogue.turns.append(Turn(Decision(Act.CHAT, Strategy.NO_STRATEGY), "I see.", Reply("ok")))
    ((known, _),) = PreferenceReasoner(EmbeddedModel(FILMS), FILMS).perceive([dialogue])
    assert (known.liked_items, known.rejected_items) == ((ALIEN,), (JAWS,))


def test_small_talk_of_simulated_seekers_speaks_against_nothing() -> None:
    sections = phrases.load("unicrs_rl.simulators", "seeker_phrases.toml")
    lines = [*(line for style in sections["chat"].values() for line in style), *sections["leave"]["lines"]]
    for line in lines:
        answer = line.format(noun="movie", a_noun="a movie")
        assert read("Hi!", "I liked Jaws (1975) myself.", answer).disliked_items == [], answer


# --- the measure ---


def talk(*messages: tuple[str, str, tuple[int, ...]], **opinions: bool | None) -> HumanDialogue:
    return HumanDialogue(
        "d",
        tuple(
            HumanMessage(who == "s", text, text.replace(" (1975)", ""), named, ())
            for who, text, named in messages
        ),
        {int(name[1:]): liked for name, liked in opinions.items()},
    )


def test_messages_in_a_row_are_one_exchange() -> None:
    dialogue = talk(
        ("s", "Hi", ()),
        ("s", "Help", ()),
        ("r", "Try Jaws (1975)", (JAWS,)),
        ("s", "ok", ()),
        ("r", "bye", ()),
    )
    found = preference_input(dialogue, "movie", years=False)
    assert found.opening == "Hi\nHelp"
    assert [(e.recommender, e.seeker) for e in found.exchanges] == [("Try Jaws", "ok"), ("bye", "")]
    assert all(not e.asked and not e.offered for e in found.exchanges)


def test_the_measure_counts_by_hand() -> None:
    dialogues = [
        talk(
            ("s", "I loved Jaws (1975)", (JAWS,)),
            ("r", "Alien or Frozen?", (ALIEN, FROZEN)),
            ("s", "I hated Alien", ()),
            i0=True,
            i1=False,
            i2=True,
        ),
        talk(("s", "I liked Jaws (1975)", (JAWS,)), i0=False),
        talk(("s", "I liked Jaws (1975)", (JAWS,)), i0=None),
    ]
    found = measure(EmbeddedModel(FILMS), FILMS, dialogues)["conditions"]["with years"]["all"]
    seeker = found["entities"]["items, seeker's messages"]
    assert (seeker["recall"]["value"], seeker["recall"]["n"]) == (1.0, 3)
    assert (seeker["precision"]["value"], seeker["precision"]["n"]) == (0.75, 4)  # Alien was not linked
    polarity = found["polarity"]
    assert polarity["movies"] == {"liked": 2, "not liked": 2}
    assert polarity["did not say"] == 1
    assert polarity["read as"]["liked"] == {"not liked": 0, "liked": 1, "unread": 1}
    assert polarity["read as"]["not liked"] == {"not liked": 1, "liked": 1, "unread": 0}
    assert polarity["coverage"]["value"] == 0.75
    assert polarity["always liked"] == 0.5
    accuracies = {among: polarity[among]["accuracy"]["value"] for among in ("covered", "all", "strict")}
    assert accuracies == {"covered": 0.6667, "all": 0.75, "strict": 0.5}
    assert polarity["covered"]["balanced accuracy"]["value"] == 0.75  # (1/1 + 1/2) / 2
    assert polarity["strict"]["recall of liked"]["value"] == 0.5


class Scripted(LanguageModel):
    """Says the same to every prompt of a task, as a real model might."""

    name = "scripted"

    def __init__(self, **answers: str) -> None:
        self.scripts = answers

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        return [Raw(self.scripts[task.name], 1, 1) for _ in prompts]


def test_any_model_is_measured_by_the_names_it_gives() -> None:
    link = json.dumps({"items": ["Jaws", "Made Up (2001)"]})
    reading = json.dumps({"liked_items": ["Jaws (1975)", "Alien"], "disliked_items": ["Alien (1979)"]})
    dialogue = talk(("s", "I loved Jaws (1975)", (JAWS,)), ("r", "Alien!", (ALIEN,)), i0=True, i1=True)
    model = Scripted(entity_linker=link, preference_reasoner=reading)
    found = measure(model, FILMS, [dialogue])["conditions"]["with years"]["all"]
    assert found["entities"]["items, all messages"]["recall"]["value"] == 0.5
    assert found["entities"]["items, all messages"]["precision"]["value"] == 0.5  # made-up names are dropped
    assert found["polarity"]["read as"]["liked"] == {"not liked": 0, "liked": 1, "unread": 1}  # both: unread


def test_a_failure_finds_nothing_and_is_counted() -> None:
    dialogue = talk(("s", "I loved Jaws (1975)", (JAWS,)), i0=True)
    model = Scripted(entity_linker="no", preference_reasoner="no")
    found = measure(model, FILMS, [dialogue])["conditions"]["with years"]["all"]
    assert found["failures"] == 2
    assert found["entities"]["items, all messages"]["recall"]["value"] == 0.0
    assert found["polarity"]["coverage"]["value"] == 0.0
    assert found["polarity"]["strict"]["accuracy"]["value"] == 0.0
    assert found["polarity"]["covered"]["accuracy"]["value"] is None


# --- the human dialogues ---


@pytest.fixture(scope="module")
def redial(shared: Path) -> Path:
    return shared / "data" / "redial"


@pytest.mark.slow
def test_the_embedded_model_reads_people(redial: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The goals, by the command; accuracy where even a movie without a reading counts as wrong."""
    assert main(["read", "--corpus", "redial", "--data", str(redial), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["dialogues"]) == ("embedded", 1000)
    for parts in found["conditions"].values():
        for part in ("all", "even", "odd"):
            entities, polarity = parts[part]["entities"], parts[part]["polarity"]
            assert entities["items, seeker's messages"]["recall"]["ci95"][0] >= 0.9
            assert entities["items, all messages"]["recall"]["ci95"][0] >= 0.9
            assert entities["items, all messages"]["precision"]["value"] >= 0.9
            assert polarity["strict"]["accuracy"]["value"] >= 0.75
            assert polarity["covered"]["accuracy"]["ci95"][0] >= 0.75
            assert polarity["covered"]["balanced accuracy"]["ci95"][0] > 0.6


def test_every_linked_title_stands_in_the_text(redial: Path) -> None:
    catalogue, dialogues = read_human(redial)
    messages = [message for dialogue in dialogues for message in dialogue.messages]
    assert sum(len(message.items) for message in messages) == 6261
    assert not any("@" in message.text and message.text.split("@")[-1][:1].isdigit() for message in messages)
    assert not any("  " in catalogue.items[item] for message in messages for item in message.items)
    assert any("(1980)" in message.text and "(1980)" not in message.yearless for message in messages)
    answers = [liked for dialogue in dialogues for liked in dialogue.opinions.values()]
    assert {True, False, None} == set(answers)


@pytest.fixture
def broken(redial: Path, tmp_path: Path) -> Path:
    """The graph's files by link, and dialogues of one's own."""
    for path in redial.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["{"], "line 1: not valid JSON"),
        (['{"initiatorWorkerId": 1, "initiatorQuestions": []}', "[]"], "line 2: an object is expected"),
        (['{"messages": []}'], "line 1: field initiatorWorkerId is missing"),
        (['{"initiatorWorkerId": 1, "messages": [{}]}'], "line 1: a message without text"),
        (['{"initiatorWorkerId": 1, "messages": 1}'], "line 1: field messages: a list is expected"),
        (
            ['{"initiatorWorkerId": 1, "movieMentions": 3}'],
            "line 1: field movieMentions: an object is expected",
        ),
        (['{"initiatorWorkerId": 1, "initiatorQuestions": 3}'], "line 1: field initiatorQuestions"),
        ([""], "there is no dialogue in it"),
    ],
)
def test_broken_dialogues_are_named(broken: Path, lines: list[str], complaint: str) -> None:
    (broken / "valid_data.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        read_human(broken, Split.VALID)
    assert str(broken / "valid_data.jsonl") in str(error.value)
    assert complaint in str(error.value)


def test_empty_forms_and_mentions_may_be_lists(broken: Path) -> None:
    record = {"initiatorWorkerId": 1, "initiatorQuestions": [], "movieMentions": [], "messages": []}
    (broken / "valid_data.jsonl").write_text(json.dumps(record))
    _, (dialogue,) = read_human(broken)
    assert (dialogue.messages, dialogue.opinions) == ((), {})


def test_the_command_complains_in_one_line(
    redial: Path, broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [
        (["--data", str(tmp_path / "nowhere")], "no such folder"),
        ([], "--data DIR"),
        (["--data", str(broken)], "neither valid_data.jsonl nor valid_data_dbpedia.jsonl is there"),
        (["--data", str(redial), "--split", "test"], "choose another --split"),
        (["--data", str(redial), "--corpus", "redail"], "did you mean redial"),
        (["--data", str(redial), "--dialogues", "0"], "--dialogues: at least 1"),
        (["--data", str(redial), "--llm", "embeded"], "did you mean embedded"),
        (["--data", str(redial), "--split", "dev"], "--split"),
    ]
    for arguments, complaint in cases:
        assert main(["read", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert complaint in said
    (broken / "item_ids.json").unlink()
    assert main(["read", "--data", str(broken)]) == 2
    assert "item_ids.json" in capsys.readouterr().err
    shutil.copy(redial / "item_ids.json", broken)


def test_a_few_dialogues_as_tables(redial: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "--data", str(redial), "--dialogues", "1"]) == 0
    out = capsys.readouterr().out
    assert "embedded on 1 human dialogues (redial, valid)" in out
    assert "Liked or not, titles without years" in out
