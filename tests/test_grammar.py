"""The embedded Actor's grammar: what its lines stand for, how they are walked, how varied the words are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import lexicon_of
from hypothesis import given
from hypothesis import strategies as st

from unicrs_rl.dialogue import STRATEGIES, Strategy
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import resolve
from unicrs_rl.graphs.world import World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.judging.metrics import distinct
from unicrs_rl.judging.rubric import shows
from unicrs_rl.language import phrases
from unicrs_rl.language.credible import CriticInput, criticise
from unicrs_rl.language.grammar import SILENCE, Form, expand, forms, pick
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.tasks import ActorInput
from unicrs_rl.language.wording import act_and_speak

TURNS = 15
ALWAYS = {"noun", "a_noun"}
GIVEN = {"ask": ALWAYS | {"attribute"}, "recommend": ALWAYS | {"item", "others"}, "chat": ALWAYS}
"""Slots that can always be filled, by act."""
SAID = {
    "noun": "movie",
    "a_noun": "a movie",
    "item": "Alien (1979)",
    "others": "Jaws (1975) or Emma (2020)",
    "attribute": "horror",
    "liked": "comedy",
    "value": "Sigourney Weaver",
    "relation": "cuisine",
    "fact": "It stars Sigourney Weaver.",
}


def sections() -> Iterator[tuple[tuple[str, ...], str]]:
    """The sections of the phrase file that hold lines but no facts, each with the act it is for."""
    file = phrases.load("unicrs_rl.language", "actor_phrases.toml")
    for strategy, acts in file["strategy"].items():
        yield from ((("strategy", strategy, act), act) for act in acts)
    yield from ((("act", "ask", kind, "lines"), "ask") for kind in file["act"]["ask"])
    yield from ((("act", "recommend", part), "recommend") for part in file["act"]["recommend"])
    yield ("act", "chat", "lines"), "chat"


SECTIONS = [pytest.param(section, act, id=" ".join(section)) for section, act in sections()]
RELATIONS = sorted(phrases.load("unicrs_rl.language", "actor_phrases.toml")["fact"])
SPARE = {
    ("strategy", "Credibility", "recommend"),
    *(("strategy", "No Strategy", act) for act in GIVEN),
}
"""Sections of one line: a fact, or nothing."""


def well_formed(text: str) -> bool:
    """Whether a text is made of sentences, each with one capital, one end sign and single spaces."""
    sentence = r"[A-Z][^.!?:{}\[\]|]*(?:: [^.!?:{}\[\]|]*)?[.!?:]"
    sentences = re.split(r"(?<=[.!?])\s", text)
    untidy = re.search(r"\s\s|\s[.,!?:]|[,:][,.]", text)
    return not untidy and all(re.fullmatch(sentence, part) for part in sentences)


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("Plain.", ("Plain.",)),
        ("[a|b] c.", ("a c.", "b c.")),
        ("a[ b|].", ("a b.", "a.")),
        ("[a|b] [c|d]", ("a c", "a d", "b c", "b d")),
        ("[a [b|c]|d]", ("a b", "a c", "d")),
        ("[a|a]", ("a",)),
        ("", ("",)),
    ],
)
def test_a_line_stands_for_every_choice_of_its_alternatives(line: str, sentences: tuple[str, ...]) -> None:
    assert sorted(expand(line)) == sorted(sentences)


@pytest.mark.parametrize(("section", "act"), SECTIONS)
def test_every_sentence_is_well_formed_whatever_is_known(section: tuple[str, ...], act: str) -> None:
    lines = forms(*section)
    assert all(any(form.slots <= GIVEN[act] for form in line) for line in lines) or section in SPARE
    for form in (form for line in lines for form in line):
        assert form.slots <= GIVEN[act] | {"liked", "fact"}
        assert well_formed(form.text.format(**SAID)) or form.text == ""


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_fact_is_well_formed(relation: str) -> None:
    for (form,) in forms("fact", relation):
        assert form.slots == ({"value", "relation"} if relation == "other" else {"value"})
        assert well_formed(form.text.format(**SAID))


def test_there_are_lines_enough_for_a_dialogue_and_none_stands_twice() -> None:
    counts = Counter(line for section, _ in sections() if section not in SPARE for line in forms(*section))
    assert {line for line, count in counts.items() if count > 1} == set()
    assert {s for s, _ in sections() if len(forms(*s)) < TURNS} == SPARE


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("act", GIVEN)
def test_every_opening_shows_its_strategy_to_the_judge(strategy: Strategy, act: str) -> None:
    for form in (form for line in forms("strategy", strategy.value, act) for form in line):
        assert shows(strategy, form.text.format(**SAID))


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_fact_is_credible_to_the_judge(relation: str) -> None:
    assert all(shows(Strategy.CREDIBILITY, form.text.format(**SAID)) for (form,) in forms("fact", relation))


# --- reading back ---


def sentences_of_the_grammar() -> Iterator[str]:
    """Every sentence but the facts, with a name of no world in its slots."""
    slots = dict.fromkeys(SAID, "Zzyzx") | {"noun": "movie", "a_noun": "a movie", "fact": ""}
    for section, _ in sections():
        yield from (form.text.format(**slots) for line in forms(*section) for form in line)


def test_no_sentence_names_anything_by_accident(lexicon: Lexicon) -> None:
    for text in sentences_of_the_grammar():
        assert not lexicon.mentions(text), text


def test_no_sentence_names_one_of_six_thousand_movies_by_accident(shared: Path) -> None:
    names = lexicon_of(make_world("redial", shared / "data" / "redial").catalogue)
    for text in sentences_of_the_grammar():
        assert not names.mentions(text), text
    for text in (
        form.text.format(value="Zzyzx", relation="cuisine")
        for relation in RELATIONS
        for (form,) in forms("fact", relation)
    ):
        assert not names.mentions(text), text


@pytest.mark.parametrize(("section", "act"), SECTIONS)
def test_names_in_the_slots_are_found_again(lexicon: Lexicon, section: tuple[str, ...], act: str) -> None:
    """With each of some names in each of the sentences, the names found are those of the slots."""
    rng = np.random.default_rng(0)
    items, attributes = lexicon.items, lexicon.attributes
    for form in (form for line in forms(*section) for form in line):
        for _ in range(10):
            first, *others = rng.choice(len(items), 3, replace=False).tolist()
            asked, liked = rng.choice(len(attributes), 2, replace=False).tolist()
            slots = {
                "item": items[first],
                "others": phrases.listing([items[item] for item in others], "or"),
                "attribute": attributes[asked],
                "liked": attributes[liked],
                "fact": "",
            }
            meant = {"item": [first], "others": others, "attribute": [asked], "liked": [liked]}
            found = [mention.id for mention in lexicon.mentions(form.text.format(**(SAID | slots)))]
            assert sorted(found) == sorted(i for slot in form.slots & set(meant) for i in meant[slot])


def test_every_wording_of_every_fact_is_a_claim_that_is_right(components: Components) -> None:
    catalogue = components.world.catalogue
    rng = np.random.default_rng(1)
    for item, relation, attribute in rng.choice(catalogue.edges, 60, replace=False).tolist():
        name, value = catalogue.items[item], catalogue.attributes[attribute]
        for (form,) in forms("fact", catalogue.relations[relation]):
            said = f"Have a look at {name}. {form.text.format(value=value)}"
            assert [(claim.item, claim.right) for claim in components.claims.claims(said)] == [(item, True)]
    for item in range(0, catalogue.n_items, 25):
        for (form,) in forms("fact", "year"):
            for year, right in ((catalogue.details["year"][item], True), ("1801", False)):
                said = f"Have a look at {catalogue.items[item]}. {form.text.format(value=year)}"
                assert {claim.right for claim in components.claims.claims(said)} == {right}


def test_the_critic_reads_every_fact_and_nothing_else(lexicon: Lexicon) -> None:
    item = lexicon.items[0]
    for relation in RELATIONS:
        for (form,) in forms("fact", relation):
            told = form.text.format(value="Zzyzx", relation=relation)
            utterance = f"Have a look at {item}. {told}"
            for known, wrong in (("Zzyzx", []), ("Somebody Else", [told])):
                inputs = CriticInput(noun="movie", utterance=utterance, facts={item: {relation: [known]}})
                assert [found.claim for found in criticise(lexicon, inputs).wrong] == wrong
    for text in sentences_of_the_grammar():
        utterance = f"Have a look at {item}. {text}"
        inputs = CriticInput(noun="movie", utterance=utterance, facts={item: {}})
        assert criticise(lexicon, inputs).wrong == []


# --- the walk ---


@given(
    count=st.integers(1, 20),
    key=st.integers(0, 1 << 40),
    first=st.integers(0, 100),
    purpose=st.text(max_size=5),
)
def test_a_walk_says_every_line_before_it_repeats_one(count: int, key: int, first: int, purpose: str) -> None:
    lines = [(Form(str(line), frozenset()),) for line in range(count)]
    said = [pick(lines, frozenset(), key, step, purpose).text for step in range(first, first + 2 * count)]
    assert len(set(said[:count])) == count
    assert said[:count] == said[count:]
    assert said[0] == pick(lines, frozenset(), key, first, purpose).text


def test_what_is_known_is_said_and_what_is_not_known_gives_way() -> None:
    wish, plain = Form("{liked}", frozenset({"liked"})), Form("plain", frozenset())
    for key in range(20):
        assert pick([(plain, wish)], frozenset({"liked"}), key, 0, "") == wish
        assert pick([(plain, wish)], frozenset(), key, 0, "") == plain
        assert pick([(wish,), (plain,)], frozenset(), key, 0, "") == plain
        assert pick([(wish,)], frozenset(), key, 0, "") == SILENCE
    alike = (Form("a", frozenset()), Form("b", frozenset()))
    assert {pick([alike], frozenset(), key, 0, "").text for key in range(20)} == {"a", "b"}


# --- dialogues ---


def speak(strategy: Strategy, act: str, turn: int, variant: int, **more: Any) -> str:
    """What is said in a turn in which everything but the turn is as always."""
    slots: dict[str, Any] = {
        "items": ["Alien (1979)", "Jaws (1975)"] if act == "recommend" else [],
        "attributes": ["horror"] if act == "ask" else [],
        "liked": ["comedy"],
        "facts": [],
    }
    inputs = ActorInput(
        noun="movie",
        dialogue=[],
        turn=turn,
        limit=TURNS,
        strategy=strategy.value,
        strategies={},
        preferences="",
        act=act,
        candidate_items=[],
        candidate_attributes=["horror"],
        attribute_kinds=["genre"],
        confidence=0.5,
        recommend_above=0.5,
        variant=variant,
        **(slots | more),
    )
    return act_and_speak(inputs).utterance


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("act", GIVEN)
def test_no_sentence_comes_twice_in_fifteen_turns(strategy: Strategy, act: str) -> None:
    """Although nothing changes from turn to turn, not even what is asked or recommended."""
    for variant in range(0, 1000, 50):
        said = [speak(strategy, act, turn, variant) for turn in range(TURNS)]
        sentences = [sentence for text in said for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z])", text)]
        names = {"Alien (1979).", "Alien (1979)?", "Jaws (1975).", "Jaws (1975)?"}
        counts = Counter(sentence for sentence in sentences if sentence not in names)
        assert [sentence for sentence, count in counts.items() if count > 1] == []
        assert said == [speak(strategy, act, turn, variant) for turn in range(TURNS)]


def test_a_question_whose_subject_was_just_named_does_not_name_it_again() -> None:
    for variant in range(50):
        for strategy in STRATEGIES:
            assert speak(strategy, "ask", 0, variant).count("horror") == 1


def test_conversations_differ_in_their_words() -> None:
    said = {speak(Strategy.ENCOURAGEMENT, "ask", 0, variant) for variant in range(300)}
    assert len(said) > 100


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("act", ["ask", "chat"])
def test_words_vary_even_where_the_strategy_never_does(movies: World, strategy: Strategy, act: str) -> None:
    """The worst case: fifteen turns of one strategy and nothing recommended, whose cues have to come back."""
    names = [movies.catalogue.attributes[a] for a in movies.catalogue.askable.tolist()]
    shares = []
    for variant in range(20):
        asked = [names[(31 * variant + 7 * turn) % len(names)] for turn in range(TURNS)]
        said = [
            speak(strategy, act, turn, variant, attributes=[name] if act == "ask" else [])
            for turn, name in enumerate(asked)
        ]
        shares.append(distinct(said) or 0.0)
    assert np.mean(shares) > 0.82


def test_every_arm_varies_its_words(tmp_path: Path) -> None:
    """Dist-2 of whole dialogues, each arm trained and run as in a comparison."""
    arms = "unified,rso,max-entropy,greedy,random,llm,intercrs,pccrs"
    settings = {"arms": arms, "dialogues": 24, "train_dialogues": 16, "embeddings": {"epochs": 2}}
    found, _ = compare(resolve(settings), tmp_path / "run")
    shares = {arm: measured["metrics"]["dist2"] for arm, measured in found["arms"].items()}
    assert set(shares) == set(arms.split(","))
    assert {arm: share for arm, share in shares.items() if share < 0.9} == {}
