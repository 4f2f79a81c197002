"""The candidate items of many conversations at once, as ragged rows that shrink from turn to turn.

The posterior under the answers so far, kept up to date instead of computed anew: a row starts as the
owners of the volunteered attribute, an answer removes or reweighs, a declined list leaves, finished
conversations are dropped. The cost of a turn grows with the candidates that are left, never with the
size of the catalogue (:mod:`~unicrs_rl.graphs.kernels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import expit

from unicrs_rl.dialogue import State
from unicrs_rl.graphs import kernels
from unicrs_rl.graphs.belief import EXCLUDED, Reject, Scoring
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import PADDING, Past, States


class AskScore(StrEnum):
    """By what questions are ranked."""

    WEIGHTED_ENTROPY = "weighted-entropy"
    """Entropy of the answer under the belief (UNICORN's paper; default)."""
    ENTROPY = "entropy"
    """Entropy of the answer with every candidate item counting the same."""
    SIMILARITY = "similarity"
    """What UNICORN's released code does: similarity of the attribute to the seeker and the accepted
    attributes, less that to the rejected ones: ``u·p + sum of p·q over accepted q - sum of
    sigmoid(p·q) over rejected q``."""


class Question(StrEnum):
    """What a question names."""

    BINARY = "binary"
    """One attribute, yes or no (LastFM; default)."""
    ENUMERATED = "enumerated"
    """All attributes of one category of a two-layer taxonomy; the seeker says which (Yelp)."""
    MULTI_CHOICE = "multi-choice"
    """Several attributes of one kind, the most informative ones; the seeker says which (MCMIPL)."""


_CODES = {
    Reject.NONE: kernels.NONE,
    Reject.PENALTY: kernels.PENALTY,
    Reject.FILTER: kernels.FILTER,
    Reject.NOISY: kernels.NOISY,
}
_POOL = 64
"""Questions looked at where one names several attributes."""


class Switches(BaseModel):
    """How answers are believed and questions ranked; the paper's reading is the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reject: Reject = Field(Reject.FILTER, description="what a 'no' does to the candidates")
    scoring: Scoring = Field(Scoring.POSTERIOR, description="how candidates are weighed")
    ask: AskScore = Field(AskScore.WEIGHTED_ENTROPY, description="by what questions are ranked")
    question: Question = Field(Question.BINARY, description="what a question names")
    choices: int = Field(3, ge=2, le=20, description="attributes that a multi-choice question names")
    volunteered: bool = Field(
        True,
        description="weigh an item by the chance that its seeker volunteers just this attribute, "
        "one over the number of its attributes",
    )
    noise: float = Field(0.0, ge=0.0, lt=0.5, description="chance that a seeker's answer is flipped")

    @model_validator(mode="after")
    def _noisy_needs_noise(self) -> Switches:
        if self.reject is Reject.NOISY and self.noise == 0.0:
            raise ValueError("reject 'noisy' needs a noise above 0: without one every answer is certain")
        if self.reject is Reject.NOISY and self.scoring is Scoring.UNICORN:
            raise ValueError("reject 'noisy' needs scoring 'posterior': UNICORN's scores are no chances")
        return self


@dataclass(frozen=True)
class Lister:
    """Lists the best items and questions of ragged rows of candidates.

    Args:
        catalogue: of the world.
        switches: how questions are ranked and what they name.
        k: how many items and questions are listed.
        slate: how many items a recommendation shows.
    """

    catalogue: Catalogue
    switches: Switches
    k: int
    slate: int

    def states(
        self,
        past: Past,
        offsets: NDArray[np.int64],
        candidates: NDArray[np.int32],
        values: NDArray[np.float64],
        linear: bool,
        similarity: NDArray[np.float64] | None = None,
        rows: tuple[State, ...] = (),
    ) -> States:
        """The states of a batch.

        Args:
            offsets, candidates, values: the ragged rows.
            linear: values are weights, else scores.
            similarity: ``[b, attributes]`` by which questions are ranked under ``similarity``.
            rows: the dialogues, where there are any.
        """
        b, pool = len(past), self._pool
        items, item_weights = np.full((b, self.k), PADDING), np.zeros((b, self.k))
        questions, masses = np.full((b, pool), PADDING), np.zeros((b, pool))
        promise, entropies = np.zeros((b, pool)), np.zeros((b, pool))
        concentration = np.zeros(b)
        table = self.catalogue.item_attributes
        mass, count, touched = self._workspace
        kernels.look(
            offsets,
            candidates,
            values,
            linear,
            past.asked,
            table.indptr,
            table.indices,
            self._askable,
            self.switches.ask is not AskScore.ENTROPY,
            mass,
            count,
            touched,
            items,
            item_weights,
            questions,
            promise,
            masses,
            entropies,
            concentration,
        )
        if self.switches.ask is AskScore.SIMILARITY:
            assert similarity is not None
            questions, masses, entropies = _ranked(similarity, questions, masses, entropies)
        named = questions[:, : self.k, None]
        if self.switches.question is not Question.BINARY:
            questions, masses, entropies, named = self._grouped(questions, masses, entropies, past)
        return States(
            past=past,
            catalogue=self.catalogue,
            offsets=offsets,
            candidates=candidates,
            values=values,
            linear=linear,
            items=items,
            item_weights=item_weights,
            attributes=np.ascontiguousarray(questions[:, : self.k]),
            entropies=entropies[:, : self.k],
            masses=masses[:, : self.k],
            named=named,
            concentration=concentration,
            slate=self.slate,
            removes=self.switches.reject in (Reject.FILTER, Reject.NOISY),
            rows=rows,
        )

    @cached_property
    def width(self) -> int:
        """How many attributes a question names at most."""
        if self.switches.question is Question.ENUMERATED:
            return max(map(len, self.catalogue.members))
        return self.switches.choices if self.switches.question is Question.MULTI_CHOICE else 1

    @property
    def _pool(self) -> int:
        """How many single attributes are looked at to list ``k`` questions."""
        if self.switches.ask is AskScore.SIMILARITY:
            return max(self.k, self.catalogue.n_attributes)
        return self.k if self.switches.question is Question.BINARY else max(self.k, _POOL)

    @cached_property
    def _askable(self) -> NDArray[np.bool_]:
        askable = np.zeros(self.catalogue.n_attributes, dtype=bool)
        askable[self.catalogue.askable] = True
        return askable

    @cached_property
    def _workspace(self) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
        n = self.catalogue.n_attributes
        return np.zeros(n), np.zeros(n, dtype=np.int32), np.zeros(n, dtype=np.int32)

    def _grouped(
        self,
        questions: NDArray[np.int64],
        masses: NDArray[np.float64],
        entropies: NDArray[np.float64],
        past: Past,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """One question for each group of attributes: heads, chances of a yes to those, bits, and names.

        A group is worth the sum of the entropies of what it names, which bounds the entropy of the
        joint answer from above.
        """
        groups = self.catalogue.groups
        group = np.where(questions >= 0, groups[np.maximum(questions, 0)], PADDING)
        whole = self.switches.question is Question.ENUMERATED
        b = len(questions)
        heads, named = np.full((b, self.k), PADDING), np.full((b, self.k, self.width), PADDING)
        head_masses, bits = np.zeros((b, self.k)), np.zeros((b, self.k))
        for row in range(b):
            found: dict[int, list[int]] = {}
            for place, of in enumerate(group[row].tolist()):
                if of >= 0:
                    found.setdefault(of, []).append(place)
            if not whole:
                found = {of: places[: self.width] for of, places in found.items()}
            worth = {of: float(entropies[row, places].sum()) for of, places in found.items()}
            for column, of in enumerate(sorted(found, key=lambda g: (-worth[g], g))[: self.k]):
                first = found[of][0]
                heads[row, column], head_masses[row, column] = questions[row, first], masses[row, first]
                bits[row, column] = worth[of]
                chosen = questions[row, found[of]].tolist()
                if whole:
                    asked = set(past.asked[row].tolist())
                    rest = [a for a in self.catalogue.members[of] if a not in chosen and a not in asked]
                    chosen += rest
                named[row, column, : len(chosen)] = chosen
        return heads, head_masses, bits, named


class Candidates:
    """Candidate items of a batch of conversations that began together.

    Args:
        catalogue: of the world.
        switches: how answers are believed and questions ranked.
        embeddings: for ``unicorn`` scoring, ``penalty`` and ``similarity``.
        k: how many items and questions are listed.
        slate: how many items a recommendation shows.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        switches: Switches | None = None,
        embeddings: Embeddings | None = None,
        k: int = 10,
        slate: int = 10,
    ) -> None:
        self.catalogue = catalogue
        self.switches = switches or Switches()
        self.lister = Lister(catalogue, self.switches, max(k, slate), slate)
        needs = (
            self.switches.scoring is Scoring.UNICORN
            or self.switches.reject is Reject.PENALTY
            or self.switches.ask is AskScore.SIMILARITY
        )
        if needs and embeddings is None:
            raise ValueError("unicorn scoring, penalties and similarity need embeddings")
        nothing = np.zeros((1, 1), dtype=np.float32)
        self._item_vectors = embeddings.items if embeddings is not None else nothing
        self._attribute_vectors = embeddings.attributes if embeddings is not None else nothing
        self._linear = self.switches.scoring is Scoring.POSTERIOR
        degrees = np.diff(catalogue.item_attributes.indptr)
        weigh = self.switches.volunteered and self._linear
        self._share = -np.log(np.maximum(degrees, 1)) if weigh else np.zeros(catalogue.n_items)

    def begin(
        self,
        volunteered: NDArray[np.int64],
        scores: NDArray[np.float64],
        seekers: NDArray[np.float32] | None = None,
    ) -> None:
        """Start a batch.

        Args:
            volunteered: ``[b]`` the attribute each seeker began with.
            scores: ``[b, items]`` log-prior, or UNICORN's ``u·v``.
            seekers: ``[b, dim]`` their vectors, for ``similarity``.
        """
        owners = self.catalogue.attribute_items
        size = kernels.count_owners(owners.indptr, volunteered)
        self.offsets = np.zeros(len(volunteered) + 1, dtype=np.int64)
        self.items = np.empty(size, dtype=np.int32)
        self.values = np.empty(size, dtype=np.float64)
        kernels.begin(
            volunteered,
            scores,
            EXCLUDED / 2,
            self._share,
            owners.indptr,
            owners.indices,
            self.offsets,
            self.items,
            self.values,
            self._linear,
        )
        asked = volunteered[:, None]
        wanted = np.full_like(asked, kernels.YES)
        if not self._linear:  # UNICORN's scores count the volunteered attribute as an accepted one
            self._take_up(asked, wanted)
        if self.switches.ask is AskScore.SIMILARITY:
            assert seekers is not None
            self._similarity = (seekers @ self._attribute_vectors.T).astype(np.float64)
            self._move_similarity(asked, wanted)

    def answer(self, attributes: NDArray[np.int64], answers: NDArray[np.int64]) -> None:
        """Take up the answers (``[b, m]``, 1 yes, 2 no, else no evidence) about attributes (``[b, m]``)."""
        self._take_up(attributes, answers)
        if self.switches.ask is AskScore.SIMILARITY:
            self._move_similarity(attributes, answers)

    def strike(self, shown: NDArray[np.int64], at_least: int = 0) -> None:
        """Remove declined lists (``[b, slate]``, -1 for none) from rows of more than ``at_least``."""
        kernels.strike(self.offsets, self.items, self.values, shown, at_least)

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Go on with some of the conversations only (``[b]`` of bool)."""
        rows = kernels.drop_rows(self.offsets, self.items, self.values, kept)
        self.offsets = self.offsets[: rows + 1]
        if self.switches.ask is AskScore.SIMILARITY:
            self._similarity = self._similarity[kept]

    def states(self, past: Past) -> States:
        """What a policy sees of them; valid until the conversations go on."""
        similarity = self._similarity if self.switches.ask is AskScore.SIMILARITY else None
        return self.lister.states(past, self.offsets, self.items, self.values, self._linear, similarity)

    def _take_up(self, attributes: NDArray[np.int64], answers: NDArray[np.int64]) -> None:
        table = self.catalogue.item_attributes
        kernels.apply_answers(
            self.offsets,
            self.items,
            self.values,
            attributes,
            answers,
            table.indptr,
            table.indices,
            _CODES[self.switches.reject],
            self._linear,
            self.switches.noise,
            self._item_vectors,
            self._attribute_vectors,
        )

    def _move_similarity(self, attributes: NDArray[np.int64], answers: NDArray[np.int64]) -> None:
        vectors = self._attribute_vectors
        for column in range(attributes.shape[1]):
            for code in (kernels.YES, kernels.NO):
                rows = np.flatnonzero((answers[:, column] == code) & (attributes[:, column] >= 0))
                product = vectors[attributes[rows, column]] @ vectors.T
                self._similarity[rows] += product if code == kernels.YES else -expit(product)


def _ranked(
    scores: NDArray[np.float64],
    questions: NDArray[np.int64],
    masses: NDArray[np.float64],
    entropies: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Questions in the order of falling score, with what is known of each."""
    key = np.where(questions >= 0, np.take_along_axis(scores, np.maximum(questions, 0), axis=1), -np.inf)
    order = np.argsort(-key, axis=1, kind="stable")
    return (
        np.take_along_axis(questions, order, axis=1),
        np.take_along_axis(masses, order, axis=1),
        np.take_along_axis(entropies, order, axis=1),
    )
