"""What all arms share: one world, one language model, one perception, retrieval, Actor and judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import Dialogue
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.graphs.belief import EXCLUDED, Scoring
from unicrs_rl.graphs.beliefs import Beliefs
from unicrs_rl.graphs.embeddings import Embeddings, pretrain
from unicrs_rl.graphs.fact_retriever import FactRetriever
from unicrs_rl.graphs.prior import Prior
from unicrs_rl.graphs.readers import inspired
from unicrs_rl.graphs.world import Session, Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.judging.claims import ClaimChecker
from unicrs_rl.judging.judge import Judge
from unicrs_rl.judging.judges import judges
from unicrs_rl.language.actor import Actor, actors
from unicrs_rl.language.backends import language_models
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.experts import Experts
from unicrs_rl.language.memory import Memory
from unicrs_rl.language.preference_reasoner import PreferenceReasoner
from unicrs_rl.policy.arms import policy_class
from unicrs_rl.policy.base import ArmContext, Policy
from unicrs_rl.simulators.engine import Engine
from unicrs_rl.simulators.populations import make_seekers, seeker_kind
from unicrs_rl.simulators.seekers import SeekerContext

LISTED = 10
"""K: items and questions that a state lists by default."""


@dataclass(frozen=True)
class Components:
    """The same objects for every arm of a run; only the policy differs."""

    config: RunConfig
    world: World
    embeddings: Embeddings
    prior: Prior
    beliefs: Beliefs
    model: LanguageModel
    reasoner: PreferenceReasoner
    retriever: FactRetriever
    actor: Actor
    judge: Judge
    claims: ClaimChecker
    recommend_above: float
    experts: Experts

    def recommending_above(self, threshold: float) -> Components:
        """The same components with another confidence for recommending."""
        return replace(self, recommend_above=threshold).with_experts(self.experts)

    def of(self, arm: str) -> Components:
        """The same components with the experts that an arm works with."""
        return self.with_experts(self.config.experts_of(arm))

    def with_experts(self, experts: Experts) -> Components:
        """The same components with these experts."""
        reasoner, retriever, actor = _crew(
            experts, self.model, self.world, self.config.slate, self.recommend_above
        )
        return replace(self, experts=experts, reasoner=reasoner, retriever=retriever, actor=actor)

    def engine(self) -> Engine:
        """The batched engine for ``mcr`` seekers."""
        config = self.config
        return Engine(
            self.world,
            self._similarities if config.scoring is Scoring.UNICORN else self.prior.log_scores,
            config.switches,
            protocol=config.protocol,
            limit=config.limit,
            k=self.beliefs.k,
            slate=config.slate,
            embeddings=self.embeddings,
        )

    def _similarities(self, sessions: Sequence[Session]) -> NDArray[np.float64]:
        """UNICORN's scores at first, ``u·v``: ``[batch, items]``."""
        seekers = self.embeddings.fold_in([session.history for session in sessions])
        scores = (seekers @ self.embeddings.items.T).astype(np.float64)
        if self.config.exclude_history:
            for row, session in enumerate(sessions):
                scores[row, list(session.history)] = EXCLUDED
        return scores

    def policy(
        self,
        arm: str,
        seed: int,
        dialogues: int | None = None,
        progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> Policy:
        """A new policy of an arm, untrained.

        Args:
            dialogues: training conversations it is going to lead, maybe none; ``None`` if it is not to
                be trained, but restored or only looked at, and so needs no corpus.
        """
        policy = policy_class(arm)
        return policy(
            ArmContext(
                catalogue=self.world.catalogue,
                embeddings=self.embeddings,
                seed=seed,
                limit=self.config.limit,
                slate=self.config.slate,
                sociable=seeker_kind(self.config.met).strategic,
                recommend_above=self.recommend_above,
                dialogues=dialogues or 0,
                corpus=read_corpus(self.config) if dialogues is not None and policy.reads_corpus else (),
                options=self.config.settings(arm),
                progress=progress,
            )
        )


def read_world(config: RunConfig) -> World:
    """The world of a configuration, with conversations in the splits that will be used.

    Raises:
        InputError: if the world cannot be read, or a split is empty.
    """
    world = make_world(config.world, config.data, config.world_seed)
    for split in (Split.TRAIN, Split.TEST):
        if not world.targets[split]:
            raise InputError(f"world {world.name!r} has no {split} conversations: the split is empty")
    return world


def read_language_model(config: RunConfig, world: World) -> LanguageModel:
    """The language model of a configuration; weights are not loaded before they are needed.

    Raises:
        InputError: if it cannot be used.
    """
    memory = _memory(world, config.misremembered) if config.llm == EmbeddedModel.name else None
    return language_models[config.llm](config.language_model, world.catalogue.lexicon, memory)


def read_corpus(config: RunConfig) -> tuple[Dialogue, ...]:
    """The human dialogues of a configuration, if it names any.

    Raises:
        InputError: if they cannot be read.
    """
    return () if config.corpus is None else inspired.read(config.corpus, Split.TRAIN).dialogues


def starting_points(config: RunConfig) -> dict[str, Path]:
    """The files that trainings of a configuration start from, by arm.

    Raises:
        InputError: naming the setting, if one is missing, or something else that a training needs.
    """
    found = {}
    for arm in filter(config.trains, config.arms):
        try:
            for path in policy_class(arm).files(config.settings(arm)):
                found[arm] = path
        except InputError as error:
            raise InputError(f"arm.{arm}.{error}") from None
    return found


def _listed(config: RunConfig) -> int:
    """How many items and questions a state lists: enough for the slate and for every arm."""
    tables = [*config.arm.values(), *(own.get("settings", {}) for own in config.arm.values())]  # of the grid
    return max(config.slate, LISTED, *(int(own.get("k", 0)) for own in tables))


def _memory(world: World, mistaken: float) -> Memory:
    """What the embedded language model remembers of a world where it is shown nothing."""
    catalogue = world.catalogue
    return Memory(
        catalogue.items,
        catalogue.attributes,
        catalogue.relations,
        catalogue.edges,
        np.asarray(world.interactions.sum(axis=0), dtype=np.float64).ravel(),
        mistaken,
    )


def _crew(
    experts: Experts, model: LanguageModel, world: World, slate: int, recommend_above: float
) -> tuple[PreferenceReasoner, FactRetriever, Actor]:
    """The experts that speak through a language model."""
    catalogue = world.catalogue
    lexicon = catalogue.lexicon
    return (
        PreferenceReasoner(model, lexicon, experts.reasoner),
        FactRetriever(model, catalogue, experts.retriever, experts.volunteer),
        actors[experts.actor](model, lexicon, recommend_above, slate, catalogue.facts_about),
    )


def build(
    config: RunConfig,
    world: World,
    embeddings: Embeddings | None = None,
    recommend_above: float = 0.3,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Components:
    """All shared components.

    Args:
        embeddings: of an earlier run; trained here if ``None``.
        recommend_above: confidence above which the best simple rule recommends.
        progress: of the embeddings' training, as (epochs done, epochs).
    """
    model = read_language_model(config, world)  # first, because a complaint should not keep one waiting
    make_seekers(config.user, SeekerContext(world, config.seekers, config.noise, model))
    for arm in config.arms:
        policy_class(arm).check(config.settings(arm), world.catalogue)
    if embeddings is None:
        embeddings = pretrain(world, config.embeddings, config.world_seed, progress)
    catalogue = world.catalogue
    reasoner, retriever, actor = _crew(config.experts, model, world, config.slate, recommend_above)
    return Components(
        config=config,
        world=world,
        embeddings=embeddings,
        prior=Prior(world, embeddings, config.prior, config.exclude_history),
        beliefs=Beliefs(catalogue, config.switches, _listed(config), config.slate, embeddings),
        model=model,
        reasoner=reasoner,
        retriever=retriever,
        actor=actor,
        judge=judges[config.judge](catalogue, model, config.judge_samples),
        claims=ClaimChecker(catalogue, catalogue.lexicon),
        recommend_above=recommend_above,
        experts=config.experts,
    )
