"""The inner loops over candidate items, compiled: one pass over ragged rows, no memory of their own.

All candidates of a batch lie one conversation after the other in flat arrays; row ``r`` is
``offsets[r]:offsets[r + 1]``. Updates compact in place, because what is written never overtakes what
is read. Item -> attribute tables are CSR with ascending ids. Compiled once and kept on disk.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Floats = NDArray[np.float64]

NONE, PENALTY, FILTER, NOISY = 0, 1, 2, 3
"""What a "no" does; see :class:`~unicrs_rl.graphs.belief.Reject`."""
YES, NO = 1, 2
"""Answers that are evidence; every other value is none."""


@njit(cache=True, nogil=True, inline="always")
def has(indptr: Ids, ids: Ids, item: int, attribute: int) -> bool:
    """Whether an item has an attribute: by halving while many are left, then one by one."""
    low, high = indptr[item], indptr[item + 1]
    while high - low > 8:
        middle = (low + high) // 2
        if ids[middle] > attribute:
            high = middle
        else:
            low = middle
    for place in range(low, high):
        if ids[place] >= attribute:
            return bool(ids[place] == attribute)
    return False


@njit(cache=True, nogil=True, inline="always")
def sigmoid(x: float) -> float:
    """``1 / (1 + exp(-x))``."""
    return 1.0 / (1.0 + math.exp(-x))


@njit(cache=True, nogil=True)
def owned(indptr: Ids, ids: Ids, items: Ints, attributes: Ints) -> NDArray[np.bool_]:
    """Whether each item (``[n]``) has each of its attributes (``[n, m]``, -1 is none): ``[n, m]``."""
    found = np.zeros(attributes.shape, dtype=np.bool_)
    for row in range(len(items)):
        for column in range(attributes.shape[1]):
            attribute = attributes[row, column]
            found[row, column] = attribute >= 0 and has(indptr, ids, items[row], attribute)
    return found


@njit(cache=True, nogil=True)
def count_owners(indptr: Ids, attributes: Ints) -> int:
    """How many items have the attributes of the rows, together."""
    total = 0
    for attribute in attributes:
        total += indptr[attribute + 1] - indptr[attribute]
    return total


@njit(cache=True, nogil=True)
def begin(
    first: Ints,
    scores: Floats,
    lowest: float,
    share: Floats,
    owners_indptr: Ids,
    owners: Ids,
    offsets: Ints,
    items: Ids,
    values: Floats,
    linear: bool,
) -> None:
    """Candidates at first: the owners of the volunteered attribute that are not excluded.

    Args:
        first: ``[rows]`` attributes.
        scores: ``[rows, items]`` log-scores; at or below ``lowest`` an item is excluded.
        share: ``[items]`` added to the log-score.
        offsets, items, values: filled.
        linear: values are ``exp(score - largest of the row)`` instead of the score.
    """
    place = 0
    offsets[0] = 0
    for row in range(len(first)):
        top = -np.inf
        for at in range(owners_indptr[first[row]], owners_indptr[first[row] + 1]):
            item = owners[at]
            if scores[row, item] > lowest:
                items[place] = item
                values[place] = scores[row, item] + share[item]
                top = max(top, values[place])
                place += 1
        if linear:
            for at in range(offsets[row], place):
                values[at] = math.exp(values[at] - top)
        offsets[row + 1] = place


@njit(cache=True, nogil=True)
def apply_answers(
    offsets: Ints,
    items: Ids,
    values: Floats,
    attributes: Ints,
    answers: Ints,
    indptr: Ids,
    ids: Ids,
    mode: int,
    linear: bool,
    noise: float,
    item_vectors: NDArray[np.float32],
    attribute_vectors: NDArray[np.float32],
) -> None:
    """Take up the answers to the questions of each row, compacting in place.

    Args:
        attributes: ``[rows, m]`` asked about, -1 for none.
        answers: ``[rows, m]``, :data:`YES`, :data:`NO` or no evidence.
        mode: what a "no" does.
        linear: values are weights (posterior), else scores (UNICORN's arithmetic).
        noise: chance that an answer is flipped (``NOISY``, which has weights).
    """
    place, odds = 0, noise / (1.0 - noise)
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        offsets[row] = place
        top = 0.0
        for at in range(start, stop):
            item, value, kept = items[at], values[at], True
            for column in range(attributes.shape[1]):
                attribute, answer = attributes[row, column], answers[row, column]
                if attribute < 0 or not (answer == YES or answer == NO):
                    continue
                owns = has(indptr, ids, item, attribute)
                if mode == NOISY:
                    if owns != (answer == YES):
                        value *= odds
                elif answer == YES:
                    kept = owns
                    if kept and not linear:
                        value += affinity(item_vectors, attribute_vectors, item, attribute)
                elif owns:
                    if mode == FILTER:
                        kept = False
                    elif mode == PENALTY:
                        lost = sigmoid(affinity(item_vectors, attribute_vectors, item, attribute))
                        value = value * math.exp(-lost) if linear else value - lost
                if not kept:
                    break
            if kept:
                items[place] = item
                values[place] = value
                top = max(top, value)
                place += 1
        if mode == NOISY and top > 0.0:  # nothing is removed, so that weights would shrink to zero in time
            for at in range(offsets[row], place):
                values[at] /= top
    offsets[len(offsets) - 1] = place


@njit(cache=True, nogil=True, inline="always")
def affinity(
    item_vectors: NDArray[np.float32], attribute_vectors: NDArray[np.float32], item: int, attribute: int
) -> float:
    """``v·p``."""
    total = np.float32(0.0)
    for d in range(item_vectors.shape[1]):
        total += item_vectors[item, d] * attribute_vectors[attribute, d]
    return float(total)


@njit(cache=True, nogil=True)
def strike(offsets: Ints, items: Ids, values: Floats, shown: Ints, at_least: int) -> None:
    """Remove declined items ``shown`` (``[rows, slate]``, -1 for none), compacting in place.

    Args:
        at_least: rows with no more candidates than this keep them (the released UNICORN code).
    """
    place = 0
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        offsets[row] = place
        keeps = shown[row, 0] < 0 or stop - start <= at_least
        for at in range(start, stop):
            item = items[at]
            gone = False
            if not keeps:
                for column in range(shown.shape[1]):
                    if shown[row, column] == item:
                        gone = True
                        break
            if not gone:
                items[place] = item
                values[place] = values[at]
                place += 1
    offsets[len(offsets) - 1] = place


@njit(cache=True, nogil=True)
def drop_rows(offsets: Ints, items: Ids, values: Floats, kept: NDArray[np.bool_]) -> int:
    """Remove whole rows in place; the number of rows left."""
    place, rows = 0, 0
    for row in range(len(kept)):
        start, stop = offsets[row], offsets[row + 1]
        if not kept[row]:
            continue
        offsets[rows] = place
        for at in range(start, stop):
            items[place] = items[at]
            values[place] = values[at]
            place += 1
        rows += 1
    offsets[rows] = place
    return rows


@njit(cache=True, nogil=True, inline="always")
def insert(keys: Floats, ids: Ints, length: int, key: float, id_: int) -> int:
    """Put an entry into a short list sorted by falling key, then rising id; the new length."""
    size = len(keys)
    if length == size and (key < keys[size - 1] or (key == keys[size - 1] and id_ > ids[size - 1])):
        return length
    place = min(length, size - 1)
    while place > 0 and (keys[place - 1] < key or (keys[place - 1] == key and ids[place - 1] > id_)):
        keys[place] = keys[place - 1]
        ids[place] = ids[place - 1]
        place -= 1
    keys[place] = key
    ids[place] = id_
    return min(length + 1, size)


@njit(cache=True, nogil=True, inline="always")
def bits(p: float) -> float:
    """Entropy of a yes/no answer."""
    if p <= 0.0 or p >= 1.0:
        return 0.0
    return -p * math.log2(p) - (1.0 - p) * math.log2(1.0 - p)


@njit(cache=True, nogil=True)
def look(
    offsets: Ints,
    items: Ids,
    values: Floats,
    linear: bool,
    closed: Ints,
    indptr: Ids,
    ids: Ids,
    askable: NDArray[np.bool_],
    weighted: bool,
    mass: Floats,
    count: Ids,
    touched: Ids,
    best_items: Ints,
    best_weights: Floats,
    questions: Ints,
    promise: Floats,
    masses: Floats,
    entropies: Floats,
    concentration: Floats,
) -> None:
    """What each row's candidates suggest: the heaviest items and the most informative questions.

    Args:
        closed: ``[rows, c]`` attributes that need no question, -1 for none.
        askable: ``[attributes]`` worth a question at all.
        weighted: rank questions by the entropy of their weight, else of their count.
        mass, count, touched: working memory of length ``attributes``, zero at first and again at last.
        best_items, best_weights: ``[rows, k]``, filled; weights are shares of the row's total.
        questions, promise, masses, entropies: ``[rows, k]``, filled; the chance of a yes, in bits.
        concentration: ``[rows]``, filled: sum of squared shares.
    """
    k = best_items.shape[1]
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        total, squares, n_touched, listed, asked = 0.0, 0.0, 0, 0, 0
        for at in range(start, stop):
            item = items[at]
            weight = values[at] if linear else sigmoid(values[at])
            total += weight
            squares += weight * weight
            # UNICORN ranks by the score itself: sigmoids of large scores are equal in floating point
            listed = insert(best_weights[row], best_items[row], listed, values[at], item)
            for j in range(indptr[item], indptr[item + 1]):
                attribute = ids[j]
                if count[attribute] == 0:
                    touched[n_touched] = attribute
                    n_touched += 1
                count[attribute] += 1
                mass[attribute] += weight
        for column in range(closed.shape[1]):
            if closed[row, column] >= 0:
                mass[closed[row, column]] = -1.0
        n = stop - start
        for t in range(n_touched):
            attribute = touched[t]
            if askable[attribute] and mass[attribute] >= 0.0 and count[attribute] < n and total > 0.0:
                share = mass[attribute] / total if weighted else count[attribute] / n
                gain = 0.5 - abs(share - 0.5)  # falls with entropy, and is cheaper
                gain = math.floor(gain * 1e12 + 0.5) * 1e-12  # the last bits must not decide between equals
                if gain > 0.0:
                    asked = insert(promise[row], questions[row], asked, gain, attribute)
        for place in range(asked):
            masses[row, place] = min(mass[questions[row, place]] / total, 1.0)
            entropies[row, place] = bits(masses[row, place])
        for t in range(n_touched):
            mass[touched[t]] = 0.0
            count[touched[t]] = 0
        for column in range(closed.shape[1]):
            if closed[row, column] >= 0:
                mass[closed[row, column]] = 0.0
        for place in range(listed):
            weight = best_weights[row, place] if linear else sigmoid(best_weights[row, place])
            best_weights[row, place] = weight / total if total > 0.0 else 0.0
        for place in range(listed, k):
            best_weights[row, place] = 0.0
        concentration[row] = squares / (total * total) if total > 0.0 else 0.0


@njit(cache=True, nogil=True, inline="always")
def named_by(indptr: Ids, ids: Ids, item: int, column_of: Ids) -> int:
    """Which of a row's questions an item says yes to, as bits; ``column_of`` is -1 for other attributes."""
    flags = 0
    for j in range(indptr[item], indptr[item + 1]):
        column = column_of[ids[j]]
        if column >= 0:
            flags |= 1 << column
    return flags


@njit(cache=True, nogil=True)
def hit_after_answer(
    offsets: Ints,
    items: Ids,
    values: Floats,
    linear: bool,
    questions: Ints,
    slate: int,
    listed: Ints,
    listed_weights: Floats,
    removes: bool,
    indptr: Ids,
    ids: Ids,
    column_of: Ids,
    hits: Floats,
) -> None:
    """Expected weight of the best list after the answer to each question: ``hits [rows, k]``, filled.

    The answer splits the candidates; whichever part the target is in, its ``slate`` heaviest would be
    listed. The weights of the two lists add up to the chance that one question and one list hit. Where
    a "no" removes nothing, what would be listed after it is what would be now.

    Args:
        listed, listed_weights: ``[rows, >= slate]`` the heaviest items and their shares.
        removes: a "no" removes the items that have the attribute.
        questions: ``[rows, k]`` attributes, -1 for none; at most 62.
        column_of: working memory of length ``attributes``, -1 at first and again at last.
    """
    k = questions.shape[1]
    best = np.zeros((k, 2, slate))
    ranks = np.zeros((k, 2, slate), dtype=np.int64)
    lengths = np.zeros((k, 2), dtype=np.int64)
    for row in range(len(offsets) - 1):
        lengths[:] = 0
        for column in range(k):
            if questions[row, column] >= 0:
                column_of[questions[row, column]] = column
        total = 0.0
        for at in range(offsets[row], offsets[row + 1]):
            weight = values[at] if linear else sigmoid(values[at])
            total += weight
            flags = named_by(indptr, ids, items[at], column_of)
            for column in range(k):
                part = (flags >> column) & 1
                if part == 0 and not removes:
                    continue
                length = lengths[column, part]
                if length == slate and weight <= best[column, part, slate - 1]:
                    continue
                lengths[column, part] = insert(best[column, part], ranks[column, part], length, weight, at)
        for column in range(k):
            hits[row, column] = 0.0
            if questions[row, column] >= 0:
                column_of[questions[row, column]] = -1
                for part in range(2):
                    for place in range(lengths[column, part]):
                        hits[row, column] += best[column, part, place] / total
                for place in range(0 if removes else slate):
                    item = listed[row, place]
                    if item >= 0 and not has(indptr, ids, item, questions[row, column]):
                        hits[row, column] += listed_weights[row, place]


@njit(cache=True, nogil=True)
def disagreement(
    offsets: Ints,
    items: Ids,
    values: Floats,
    linear: bool,
    questions: Ints,
    doubts: Floats,
    indptr: Ids,
    ids: Ids,
    column_of: Ids,
    gains: Floats,
) -> None:
    """How much an ensemble disagrees about each question: ``gains [rows, k]`` in bits, filled.

    Member ``m`` weighs item ``v`` by its weight times ``doubts[v, m]``. What is returned is the entropy
    of the members' mean chance of a yes, less their mean entropy: what asking would teach about which
    member is right.

    Args:
        questions: ``[rows, k]`` attributes, -1 for none; at most 62.
        column_of: working memory of length ``attributes``, -1 at first and again at last.
    """
    k, members = questions.shape[1], doubts.shape[1]
    total, share = np.zeros(members), np.zeros((k, members))
    for row in range(len(offsets) - 1):
        total[:] = 0.0
        share[:] = 0.0
        for column in range(k):
            if questions[row, column] >= 0:
                column_of[questions[row, column]] = column
        for at in range(offsets[row], offsets[row + 1]):
            item = items[at]
            weight = values[at] if linear else sigmoid(values[at])
            for m in range(members):
                total[m] += weight * doubts[item, m]
            for j in range(indptr[item], indptr[item + 1]):
                column = column_of[ids[j]]
                if column >= 0:
                    for m in range(members):
                        share[column, m] += weight * doubts[item, m]
        for column in range(k):
            gains[row, column] = 0.0
            if questions[row, column] < 0:
                continue
            column_of[questions[row, column]] = -1
            mean, entropy = 0.0, 0.0
            for m in range(members):
                p = share[column, m] / total[m] if total[m] > 0.0 else 0.0
                mean += p / members
                entropy += bits(p) / members
            gains[row, column] = bits(mean) - entropy


@njit(cache=True, nogil=True)
def posterior_entropy(offsets: Ints, values: Floats, linear: bool) -> Floats:
    """Entropy of the posterior over the candidates of each row, in bits: ``[rows]``; 0 without any.

    ``log2 W - sum_v w_v log2 w_v / W`` with ``W = sum_v w_v``, summed in order, so that a row's value
    does not depend on the rows beside it.
    """
    found = np.zeros(len(offsets) - 1)
    for row in range(len(found)):
        total, spread = 0.0, 0.0
        for at in range(offsets[row], offsets[row + 1]):
            weight = values[at] if linear else sigmoid(values[at])
            if weight > 0.0:
                total += weight
                spread += weight * math.log2(weight)
        if total > 0.0:
            found[row] = max(0.0, math.log2(total) - spread / total)
    return found


@njit(cache=True, nogil=True)
def link(
    nodes: Ints, item_slots: Ints, attribute_slots: Ints, n_items: int, indptr: Ids, ids: Ids
) -> NDArray[np.bool_]:
    """Which items among the nodes have which attributes among them: ``[rows, item slots, attribute slots]``.

    Args:
        nodes: ``[rows, slots]`` node ids: items, then attributes after ``n_items`` of them; -1 if empty.
    """
    links = np.zeros((len(nodes), len(item_slots), len(attribute_slots)), dtype=np.bool_)
    for row in range(len(nodes)):
        for i in range(len(item_slots)):
            item = nodes[row, item_slots[i]]
            if item < 0:
                continue
            for j in range(len(attribute_slots)):
                node = nodes[row, attribute_slots[j]]
                if node >= 0 and has(indptr, ids, item, node - n_items):
                    links[row, i, j] = True
    return links
