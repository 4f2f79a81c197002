"""Whether an utterance is English: other languages are noticed, English is never taken for one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.world import Split
from unicrs_rl.language.english import FEW_WORDS, looks_english
from unicrs_rl.language.lexicon import tokenize

NAMES = ("Heat (1995)", "Heat", "Al Pacino", "Le Fabuleux Destin d'Amélie Poulain", "Das Leben der Anderen")
FOREIGN = {
    "German": "Ich würde dir Heat empfehlen, weil du spannende Filme mit Al Pacino magst.",
    "German question": "Magst du lieber Komödien oder eher etwas Ernstes für heute Abend?",
    "French": "Je vous recommande ce film, car vous aimez les comédies et les histoires d'amour.",
    "French question": "Est-ce que vous préférez les films d'action ou les drames historiques ?",
    "Spanish": "Te recomiendo esta película porque te gustan las historias de amor y la aventura.",
    "Spanish question": "¿Prefieres una comedia o algo más serio para ver esta noche con tu familia?",
    "Italian": "Ti consiglio questo film perché ti piacciono le storie d'amore e di avventura.",
    "Portuguese": "Eu recomendo este filme para você porque gosta de histórias de amor e aventura.",
    "Dutch": "Ik zou je deze film aanraden, want het is een van de beste die ik ooit heb gezien.",
    "Polish": "Polecam ten film, bo lubisz romantyczne historie i dobre aktorstwo, to jest świetne.",
    "Swedish": "Jag skulle rekommendera den här filmen eftersom du gillar spännande historier.",
    "Turkish": "Bu filmi size öneririm çünkü macera ve aşk hikayelerini seviyorsunuz.",
    "Vietnamese": "Tôi giới thiệu bộ phim này vì bạn thích những câu chuyện tình yêu.",
    "Chinese": "你好,我推荐你看这部电影,因为你喜欢动作片。",
    "Chinese question": "你喜欢什么类型的电影?",
    "Japanese": "この映画をお勧めします。",
    "Korean": "이 영화를 추천합니다. 정말 재미있어요.",
    "Russian": "Я рекомендую вам этот фильм, потому что вы любите комедии.",
    "Russian question": "Вам нравятся комедии?",
    "Arabic": "أوصيك بمشاهدة هذا الفيلم لأنك تحب الكوميديا.",
    "Hindi": "हम आपको यह फिल्म देखने की सलाह देते हैं।",
    "Greek": "Σας προτείνω αυτή την ταινία γιατί σας αρέσουν οι κωμωδίες.",
}


@pytest.mark.parametrize("language", FOREIGN)
def test_other_languages_are_noticed(language: str) -> None:
    assert not looks_english(FOREIGN[language], NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "Heat!",
        "Sí?",
        "How about Le Fabuleux Destin d'Amélie Poulain?",
        "You could try “花样年华” or “Андрей Рублёв”.",
        "Try 花样年华, Das Leben der Anderen, Le Fabuleux Destin d'Amélie Poulain and Heat tonight.",
        "Jesse Eisenberg, Woody Harrelson, Emma Stone, Abigail Breslin, Ana de Armas.",
        "",
    ],
)
def test_names_and_few_words_say_nothing(text: str) -> None:
    assert looks_english(text, (*NAMES, "花样年华"))


def test_names_do_not_make_a_text_english() -> None:
    text = "Ich mag The Lord of the Rings und auch When Harry Met Sally, weil die Figuren mir nahe sind."
    assert not looks_english(text, ["The Lord of the Rings", "When Harry Met Sally"])


def test_human_recommenders_are_never_taken_for_foreign(shared: Path) -> None:
    """All utterances of INSPIRED's recommenders with eight words or more; no names are given."""
    said = []
    for split in ("train", "valid"):
        lines = (shared / "data" / "inspired" / f"inspired-{split}.jsonl").read_text("utf-8").splitlines()
        said += [
            turn["text"].replace("QUOTATION_MARK", '"')
            for line in lines
            for turn in json.loads(line)["dialog"]
            if turn["speaker"] == "RECOMMENDER" and len(tokenize(turn["text"])) >= FEW_WORDS
        ]
    assert len(said) > 5000
    assert [text for text in said if not looks_english(text)] == []


def test_the_embedded_actor_is_never_taken_for_foreign(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 40, 0)
    for arm in ("random", "max-entropy"):
        for episode in Conversations(components).hold(components.policy(arm, 0), sessions):
            for turn in episode.dialogue.turns:
                assert looks_english(turn.utterance)
                assert not [call for call in turn.calls if call.retries or call.failure]
