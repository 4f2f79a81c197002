"""A probe: can the target be told from what a policy is given before its first turn?

Some of it can, honestly: the history makes items likelier, and the attribute that the seeker volunteers
is the target's. So a probe has to do better than that. The target is put into a *line-up* with look-alikes:
items drawn, like itself, from the prior of this seeker's history, with which the same seeker would have
opened in the very same words. Given history and opening all members are exchangeable by construction: each
is as likely to be the one that the seeker was really given. Now the policy's inputs are formed by the
product's own perception, and a logistic regression learns, on other seekers, to tell from them which
attributes a target has; it ranks the line-up by what it expects. Without a leak the target's rank is
uniform, its AUC over the look-alikes exactly 1/2, whatever the regression has learned. With one, it is not.

**Inputs**: the key and the history as names; the opening's words; of the policy's graph (as ``unified``
has it) each node in its role, the features of all candidates and of the conversation, and the weight of
the listed items pooled by attribute. What else a policy has at this turn is made of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import softmax
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from unicrs_rl import draws
from unicrs_rl.dialogue import Dialogue
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.controls.hidden import openings
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.experiments.statistics import interval_of_mean
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Session, Split
from unicrs_rl.language.lexicon import tokenize
from unicrs_rl.policy.graph_state import ROLES, Layout, build

CANDIDATES = 60
"""Items drawn from the prior for each line-up; those that open alike are in it."""
ATTRIBUTES = 16
"""Attributes that the regression learns: those whose presence is the least certain."""
FOLDS = 5
LISTED = 10


@dataclass(frozen=True)
class LineUps:
    """Targets among look-alikes, and what a policy is given with each.

    Attributes:
        inputs: of each of ``n`` conversations, by name.
        seekers: ``[n]``.
        members: item ids in each line-up, the target first.
    """

    inputs: list[dict[str, float]]
    seekers: list[str]
    members: list[NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found.

    Attributes:
        dialogues: line-ups.
        lookalikes: beside the target, on average.
        auc: of the target's rank over its look-alikes, averaged over line-ups; 1/2 without a leak.
        low, high: its 95% interval.
        p: one-sided, of a rank as good as that without a leak.
        honest: AUC of the regression for the attributes of targets against those of other dialogues'
            targets: what history and opening tell honestly.
    """

    dialogues: int
    lookalikes: float
    auc: float
    low: float
    high: float
    p: float
    honest: float


def line_ups(components: Components, count: int, seed: int = 0) -> LineUps:
    """Put targets among look-alikes, and form what a policy is given.

    Args:
        count: conversations; those in which nothing looks like the target are left out.
    """
    sessions = components.world.sessions(Split.TEST, count, seed)
    chances = softmax(components.prior.log_scores(sessions), axis=1)
    rng = np.random.default_rng(draws.key("line-ups", seed))
    drawn = np.stack([rng.choice(len(row), CANDIDATES, p=row) for row in chances])
    conversations = Conversations(components)
    tried = [
        _wanting(session, item) for session, row in zip(sessions, drawn, strict=True) for item in row.tolist()
    ]
    said = np.array(openings(conversations.seekers, tried), dtype=object).reshape(drawn.shape)
    alike = said == said[:, :1]
    rows = [row for row in range(count) if len(set(drawn[row, alike[row]].tolist())) > 1]
    told = [_wanting(sessions[row], int(drawn[row, 0])) for row in rows]
    states = _first_states(conversations, told)
    return LineUps(
        inputs_of(states), [session.seeker for session in told], [drawn[row, alike[row]] for row in rows]
    )


def _wanting(session: Session, item: int) -> Session:
    return Session(
        session.index, session.seeker, item, session.history, session.key, session.split, session.copy
    )


def _first_states(conversations: Conversations, sessions: Sequence[Session]) -> States:
    """What a policy sees before its first turn."""
    components, rows = conversations.components, np.arange(len(sessions))
    volunteered = conversations.seekers.reset(sessions)
    first = conversations.seekers.first_words(rows, volunteered)
    episodes = [
        Episode(session, Dialogue(str(session.index), opening))
        for session, opening in zip(sessions, first, strict=True)
    ]
    onlooker = components.policy("max-entropy", 0)
    return conversations.decide(onlooker, episodes, components.prior.log_scores(sessions))[0]


def inputs_of(states: States) -> list[dict[str, float]]:
    """All that policies are given of each conversation, by name; see the module's description."""
    catalogue = states.catalogue
    layout = Layout(min(LISTED, states.items.shape[1]), catalogue.n_items)
    batch = build(states, layout)
    roles = layout.roles()
    listed = np.maximum(states.items, 0)
    pooled = np.zeros((len(states), catalogue.n_attributes))
    for row in range(len(states)):
        pooled[row] = states.item_weights[row] @ catalogue.item_attributes[listed[row]]
    found = []
    for row, state in enumerate(states.rows):
        named = {f"key {state.key}": 1.0}
        named |= {f"knows {item}": 1.0 for item in state.history}
        named |= {f"word {word}": 1.0 for _, text in state.utterances for word in tokenize(text)}
        for role, node in zip(roles.tolist(), batch.nodes[row].tolist(), strict=True):
            if node >= 0:
                named[f"{ROLES[role]} {node}"] = 1.0
        for part, values in (("feature", batch.features[row]), ("context", batch.context[row])):
            named |= {f"{part} {place}": value for place, value in enumerate(values.flatten().tolist())}
        named |= {f"pooled {a}": float(pooled[row, a]) for a in np.flatnonzero(pooled[row])}
        found.append(named)
    return found


def probe(line: LineUps, owned: NDArray[np.bool_]) -> Probed:
    """Learn to tell attributes from inputs, and rank each line-up by that.

    Args:
        owned: ``[items, attributes]``, who has what.
    """
    targets = np.array([members[0] for members in line.members])
    has = owned[targets]
    spread = has.mean(axis=0) * (1 - has.mean(axis=0))
    chosen = np.sort(np.argsort(-spread, kind="stable")[:ATTRIBUTES])
    chosen = chosen[spread[chosen] > 0]
    table = DictVectorizer().fit_transform(line.inputs)
    folds = GroupKFold(FOLDS)
    scores = np.zeros((len(targets), len(chosen)))
    for column, attribute in enumerate(chosen.tolist()):
        model = make_pipeline(MaxAbsScaler(), LogisticRegression(solver="liblinear"))
        scores[:, column] = cross_val_predict(
            model, table, has[:, attribute], groups=line.seekers, cv=folds, method="decision_function"
        )
    expected = [row @ owned[members][:, chosen].T for row, members in zip(scores, line.members, strict=True)]
    ranks = np.array([_rank(row) for row in expected])
    low, high = interval_of_mean(ranks) or (0.0, 1.0)
    test = stats.permutation_test(
        (ranks - 0.5,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=4_999,
        rng=np.random.default_rng(draws.key("probe")),
    )
    honest = [roc_auc_score(has[:, a], scores[:, column]) for column, a in enumerate(chosen.tolist())]
    return Probed(
        len(targets),
        float(np.mean([len(members) - 1 for members in line.members])),
        float(ranks.mean()),
        low,
        high,
        float(test.pvalue),
        float(np.mean(honest)),
    )


def _rank(expected: NDArray[np.float64]) -> float:
    """Share of the look-alikes that the target is ranked above; ties count half."""
    target, others = expected[0], expected[1:]
    return float(np.mean((target > others) + 0.5 * (target == others)))
