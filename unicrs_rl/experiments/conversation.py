"""One turn, and who decides what: the loop in which a policy meets its seekers.

::

    perceive   Preference Reasoner reads the words         the same for all arms
    decide     the policy plans                            the only place where arms differ
    ground     Fact Retriever lays out candidates, facts   the same
    say        Actor commits to an action and words it     the same
    answer     the seeker replies
    judge      the judge scores; a learner is rewarded     the same

At the semantic surface (``words=False``) nothing is said: preferences come from the seeker's acts,
the judge is silent, and what a plan leaves open is decided by the embedded Actor's rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import Call, Decision, Dialogue, Fact, Plan, Reply, Score, State, Turn, View
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import JudgeWhen
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Session
from unicrs_rl.judging.judge import Judgement
from unicrs_rl.judging.metrics import outcome_of, rapport
from unicrs_rl.judging.reward import Signal, scaled, task_rewards
from unicrs_rl.language.experts import Planning
from unicrs_rl.language.preference_reasoner import perceive_acts
from unicrs_rl.language.wording import choose_act, choose_targets, warmest
from unicrs_rl.policy.base import Learner, Policy
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.intentions import Belief, Intentions
from unicrs_rl.simulators.populations import make_seekers, seeker_kind
from unicrs_rl.simulators.seekers import Actions, SeekerContext, Seekers

SEEN = 5
"""Likeliest items and most informative questions that a view keeps."""


@dataclass(slots=True)
class Episode:
    """One conversation with what nobody in it may see.

    Attributes:
        session: who asked for what.
        dialogue: what was said and done.
        latents: the seeker's hidden variables, at first and after each turn.
        beliefs: after each turn, what it believed of the item considered last, if it says.
        goals: what it was after, at first and after each turn; empty where it is not tracked.
        ratings: what it thought of the recommender in the end, by question, where it rates.
        intentions: the watching intention for the last recommended item, asked at the end.
        score: the latest that the judge gave, maybe not of the last turn; rewards are changes of it.
        failure: why it broke off, because a language model could not be reached; empty where it did not.
    """

    session: Session
    dialogue: Dialogue
    latents: list[dict[str, float]] = field(default_factory=list)
    beliefs: list[Belief | None] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    ratings: Mapping[str, float] = field(default_factory=dict)
    intentions: Intentions | None = None
    score: Score | None = None
    failure: str = ""
    rapport: float | None = None
    """What its seeker thought of the recommender before a word was said, where it rates."""
    turned_to: int | None = None
    """The item that the seeker wanted in the end, if it changed its mind."""

    @property
    def wanted(self) -> int:
        """The item that the seeker wanted in the end."""
        return self.session.target if self.turned_to is None else self.turned_to

    @property
    def over(self) -> bool:
        """Whether the seeker accepted or left, or it broke off."""
        if self.failure:
            return True
        turns = self.dialogue.turns
        return bool(turns) and (turns[-1].reply.accepted is not None or turns[-1].reply.left)


@dataclass(frozen=True, slots=True)
class Move:
    """A decision with its words."""

    decision: Decision
    utterance: str = ""
    facts: tuple[Fact, ...] = ()
    calls: tuple[Call, ...] = ()
    invented: tuple[str, ...] = ()


class Conversations:
    """Holds conversations for a policy, a batch at a time.

    Args:
        components: what all arms share, with the experts of the arm.
        words: whether to talk (text surface) or only to act (semantic surface).
    """

    def __init__(self, components: Components, words: bool = True) -> None:
        self.components = components
        self.words = words
        config = components.config
        # who has to be talked to is met as a latent seeker where nothing is said: to fit a threshold
        user = config.user if words or not seeker_kind(config.user).spoken else "latent"
        model = components.model if words else None
        context = SeekerContext(components.world, config.seekers, config.noise, model)
        self.seekers: Seekers = make_seekers(user, context)

    def hold(
        self,
        policy: Policy,
        sessions: Sequence[Session],
        learning: bool = False,
        answering: Sequence[Session] | None = None,
    ) -> list[Episode]:
        """Hold one conversation for each session to its end.

        Args:
            learning: the policy is a learner that explores and is told its rewards.
            answering: whose seekers answer, where these are others than the policy is told of: a control
                that looks for leaks exchanges what is hidden.
        """
        limit = self.components.config.limit
        prior = self.components.prior.log_scores(sessions)
        volunteered = self.seekers.reset(sessions if answering is None else answering)
        rows = np.arange(len(sessions))
        openings = self._open(rows, volunteered)
        episodes = [
            Episode(session, Dialogue(str(session.index), opening), failure=_lost(opening.calls))
            for session, opening in zip(sessions, openings, strict=True)
        ]
        for row, episode in enumerate(episodes):
            self._look_inside(row, episode)
            episode.rapport = rapport(self.seekers.ratings(row) or {})
        live = np.array([row for row in rows if not episodes[row].failure], dtype=int)
        for turn in range(limit):
            if not len(live):
                break
            self._turn(policy, episodes, live, prior[live], learning, last=turn == limit - 1)
            live = np.array(
                [row for row in live if not self._ended(policy, episodes[row], learning)], dtype=int
            )
        for row, episode in enumerate(episodes):
            self._close(row, episode)
        return episodes

    def _open(self, rows: NDArray[np.int64], volunteered: NDArray[np.int64]) -> list[Reply]:
        if self.words:
            return self.seekers.first_words(rows, volunteered)
        return [Reply(liked=(attribute,)) for attribute in volunteered.tolist()]

    def _look_inside(self, row: int, episode: Episode) -> None:
        """Note what is hidden from the recommender."""
        episode.latents.append(self.seekers.latents(row))
        goal = self.seekers.goal(row) if self.words else None
        if goal is not None:
            episode.goals.append(goal)

    def _turn(
        self,
        policy: Policy,
        episodes: list[Episode],
        live: NDArray[np.int64],
        prior: NDArray[np.float64],
        learning: bool,
        last: bool,
    ) -> None:
        """One turn of every live conversation."""
        now = [episodes[row] for row in live]
        states, read, plans, moves = self.decide(policy, now, prior, learning)
        decisions = [move.decision for move in moves]
        views = [None] * len(now) if learning or not self.words else views_of(states, decisions)
        actions = Actions.of(
            decisions,
            [move.facts for move in moves],
            [move.utterance for move in moves] if self.words else (),
        )
        answers = self.seekers.respond(live, actions)
        replies = self.seekers.replies(live, decisions, answers, self.words)
        for row, episode, plan, move, reply, call, view in zip(
            live.tolist(), now, plans, moves, replies, read, views, strict=True
        ):
            calls = (call, *move.calls) if call else move.calls
            turn = Turn(
                move.decision,
                move.utterance,
                reply,
                move.facts,
                plan,
                calls=calls,
                invented=move.invented,
                view=view,
            )
            episode.dialogue.turns.append(turn)
            self._look_inside(row, episode)
            episode.beliefs.append(self.seekers.belief(row))
            episode.failure = _lost((*calls, *reply.calls))
        self._judge(policy, live, now, last, learning)

    def decide(
        self, policy: Policy, episodes: list[Episode], prior: NDArray[np.float64], learning: bool = False
    ) -> tuple[States, list[Call | None], list[Plan], list[Move]]:
        """What the policy makes of conversations as they stand: perceive, decide, ground, say.

        Returns:
            The states it saw, the calls that reading took, what it planned, and what it then did.
        """
        states, read = self._perceive(episodes, prior)
        plans = policy.act(states) if learning and isinstance(policy, Learner) else policy.decide(states)
        if self.components.experts.planner is Planning.OFF:
            plans = [replace(plan, strategy=None) for plan in plans]
        return states, read, plans, self._speak(states, plans) if self.words else self._act(states, plans)

    def _perceive(
        self, episodes: list[Episode], prior: NDArray[np.float64]
    ) -> tuple[States, list[Call | None]]:
        """The states, and the calls that reading the words took."""
        dialogues = [episode.dialogue for episode in episodes]
        calls: list[Call | None] = [None] * len(dialogues)
        if self.words:
            readings = self.components.reasoner.perceive(dialogues)
            known, calls = [reading[0] for reading in readings], [reading[1] for reading in readings]
        else:
            known = [perceive_acts(d.opening, [turn.reply for turn in d.turns]) for d in dialogues]
        rows = [
            State(
                key=episode.session.key,
                history=episode.session.history,
                preferences=preferences,
                utterances=dialogue.utterances() if self.words else (),
                decisions=tuple(turn.decision for turn in dialogue.turns),
                limit=self.components.config.limit,
                copy=episode.session.copy,
            )
            for episode, dialogue, preferences in zip(episodes, dialogues, known, strict=True)
        ]
        return self.components.beliefs.states(rows, prior), calls

    def _speak(self, states: States, plans: Sequence[Plan]) -> list[Move]:
        groundings = self.components.retriever.ground(states, plans)
        spoken = self.components.actor.speak(states.rows, plans, groundings)
        return [
            Move(
                said.decision,
                said.utterance,
                self._voiced(said.utterance, ground.facts or ()),
                said.calls if ground.call is None else (ground.call, *said.calls),
                said.invented,
            )
            for said, ground in zip(spoken, groundings, strict=True)
        ]

    def _act(self, states: States, plans: Sequence[Plan]) -> list[Move]:
        """Decisions without words: open columns by the rule of the embedded Actor."""
        moves = []
        for row, plan in enumerate(plans):
            items = tuple(item for item in states.items[row, : states.slate].tolist() if item >= 0)
            questions = tuple(a for a in states.attributes[row].tolist() if a >= 0)
            confidence = float(states.confidence[row])
            act, strategy = plan.act, plan.strategy or warmest(states.rows[row].turn)
            if act is None:
                threshold = self.components.recommend_above
                last = states.rows[row].turn + 1 == states.rows[row].limit
                act = choose_act(strategy, confidence, bool(items), bool(questions), threshold, last)
            listed, asked = choose_targets(act, plan.items, plan.attributes, items, questions)
            moves.append(Move(Decision(act, strategy, asked, listed)))
        return moves

    def _voiced(self, utterance: str, facts: Sequence[Fact]) -> tuple[Fact, ...]:
        """The facts that the Actor used: their value is in its words, other than as part of a title."""
        titles = self.components.world.catalogue.items
        said = utterance.casefold()
        for item in {fact.item for fact in facts}:
            said = said.replace(titles[item].casefold(), "")
        return tuple(fact for fact in facts if fact.value.casefold() in said)

    def _judge(
        self, policy: Policy, live: NDArray[np.int64], episodes: list[Episode], last: bool, learning: bool
    ) -> None:
        """Score the conversations, reward the last turn, and tell a learner."""
        judgements = self._judgements(episodes, last, learning)
        turns = [episode.dialogue.turns[-1] for episode in episodes]
        accepted = np.array([turn.reply.accepted is not None for turn in turns])
        task = accepted.astype(np.float64)
        if self.components.config.reward.signal is not Signal.SUCCESS:
            task = task_rewards(
                act=np.array([turn.decision.act for turn in turns]),
                wanted=np.array([bool(turn.reply.liked) for turn in turns]),
                accepted=accepted,
                ended=np.array([last or turn.reply.left for turn in turns]),
            )
        for episode, turn, judged, worth in zip(episodes, turns, judgements, task.tolist(), strict=True):
            score = judged.score
            reward = self._reward(policy, episode.score, score, worth)
            episode.score = score or episode.score
            judged_turn = replace(turn, score=score, reward=reward, judge_calls=judged.calls)
            episode.dialogue.turns[-1] = judged_turn
        if self.components.config.reward.rapport_weight:
            self._reward_rapport(policy, live, episodes, last, learning)
        if learning and isinstance(policy, Learner):
            policy.observe(
                [episode.session.key for episode in episodes],
                [episode.dialogue.turns[-1].reward for episode in episodes],
                [last or self._ended(policy, episode, learning) for episode in episodes],
            )

    def _reward_rapport(
        self, policy: Policy, live: NDArray[np.int64], episodes: list[Episode], last: bool, learning: bool
    ) -> None:
        """Add to the last turn of a conversation by how much its seeker likes the recommender better.

        The change, not the rating itself: that would be a bonus for ending, which is worth more the sooner.
        """
        for row, episode in zip(live.tolist(), episodes, strict=True):
            if last or self._ended(policy, episode, learning):
                felt = rapport(self.seekers.ratings(row) or {})
                turn = episode.dialogue.turns[-1]
                gain = (felt or 0.0) - (episode.rapport or 0.0)
                worth = turn.reward + self.components.config.reward.rapport_weight * gain
                episode.dialogue.turns[-1] = replace(turn, reward=worth)

    def _judgements(self, episodes: Sequence[Episode], last: bool, learning: bool) -> list[Judgement]:
        """What the judge says; nothing where nothing is said, of what broke off, or before it is wanted."""
        judgements = [Judgement(None)] * len(episodes)
        now = self.words and (last or learning or self.components.config.judge_when is JudgeWhen.TURN)
        rows = [
            row
            for row, episode in enumerate(episodes)
            if not episode.failure and (now or (self.words and episode.over))
        ]
        judged = self.components.judge.judge([episodes[row].dialogue for row in rows]) if rows else []
        for row, judgement in zip(rows, judged, strict=True):
            judgements[row] = judgement
            episodes[row].failure = _lost(judgement.calls)
        return judgements

    def _reward(self, policy: Policy, before: Score | None, after: Score | None, task: float) -> float:
        """The reward of a turn under the configured signal; a missing score adds nothing."""
        settings = self.components.config.reward
        if settings.signal is Signal.PUBLISHED:
            if not policy.rewarded_by_judge:
                return task
            latest = after or before  # a judge that failed has not scored: its last score holds
            return scaled(latest.value) if latest else 0.0
        if after is None or settings.signal is Signal.SUCCESS:
            return task
        gain = scaled(after.value) - (scaled(before.value) if before else 0.0)
        return task + settings.judge_weight * gain

    def _ended(self, policy: Policy, episode: Episode, learning: bool) -> bool:
        """Accepted or left; and, as published, an RSO training dialogue ends once the judge is content."""
        settings = self.components.config.reward
        content = (
            learning
            and settings.signal is Signal.PUBLISHED
            and policy.rewarded_by_judge
            and episode.score is not None
            and episode.score.value > settings.satisfied_above
        )
        return episode.over or content

    def _close(self, row: int, episode: Episode) -> None:
        dialogue = episode.dialogue
        if episode.failure:
            return
        dialogue.outcome = outcome_of(dialogue)
        if any(turn.reply.withdrawn for turn in dialogue.turns):
            episode.turned_to = int(self.seekers.targets[row])
        episode.ratings = self.seekers.ratings(row) or {}
        lists = [turn for turn in dialogue.turns if turn.decision.items]
        if lists:
            accepted = dialogue.outcome.item
            item = lists[-1].decision.items[0] if accepted is None else accepted
            episode.intentions = self.seekers.intentions(row, item)


def views_of(states: States, decisions: Sequence[Decision]) -> list[View]:
    """What each conversation of a batch showed before these decisions."""
    past = states.past
    columns = zip(
        decisions,
        states.entropy.tolist(),
        states.left.tolist(),
        states.confidence.tolist(),
        _pairs(states.items[:, :SEEN], states.item_weights[:, :SEEN]),
        _pairs(states.attributes, states.entropies, states.masses),
        past.wanted.tolist(),
        past.unwanted.tolist(),
        strict=True,
    )
    return [
        View(
            entropy,
            left,
            confidence,
            tuple(items),
            (*questions[:SEEN], *(entry for entry in questions[SEEN:] if entry[0] in decision.attributes)),
            tuple(attribute for attribute in wanted if attribute >= 0),
            tuple(attribute for attribute in unwanted if attribute >= 0),
        )
        for decision, entropy, left, confidence, items, questions, wanted, unwanted in columns
    ]


def _pairs(ids: NDArray[np.int64], *values: NDArray[np.float64]) -> list[list[tuple[Any, ...]]]:
    """Of each row, its ids with their values, without the padding."""
    lists = (ids.tolist(), *(value.tolist() for value in values))
    return [[entry for entry in zip(*row, strict=True) if entry[0] >= 0] for row in zip(*lists, strict=True)]


def _lost(calls: Sequence[Call]) -> str:
    """Why the first call that got no answer got none; empty where all were answered."""
    return next((f"{call.task}: {call.failure}" for call in calls if call.lost), "")
