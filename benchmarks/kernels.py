"""Which means lists a turn's best items and questions fastest: a compiled loop, NumPy, SciPy or torch.

Usage: python benchmarks/kernels.py --items 7432,70000 --attributes 590 --batch 256 --runs 7

The work of one turn, for a batch of conversations whose candidates are rows of different lengths: the
posterior mass of every attribute, the ten heaviest items, and the ten questions whose answer is most
uncertain. Every variant gets the same rows (the owners of the attribute that was volunteered, weighed
by popularity, in a synthetic world) and must find the same weights and uncertainties, or the command
fails. Printed are medians, on one thread, and ratios to the compiled loop, which the engine uses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from synthetic_world import world as synthetic

from unicrs_rl.graphs import kernels
from unicrs_rl.graphs.candidates import Candidates
from unicrs_rl.graphs.world import Split
from unicrs_rl.simulators.mcr import McrSeekers
from unicrs_rl.simulators.seekers import SeekerContext

K = 10
Listing = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Shares of the heaviest items and uncertainties (half less the distance to half) of the best questions,
falling: each ``[rows, K]``, zero where there are fewer."""


@dataclass(frozen=True)
class Rows:
    """What every variant starts from.

    Attributes:
        offsets: ``[rows + 1]``, row ``r`` is ``offsets[r]:offsets[r + 1]`` of the next two.
        items, weights: candidates and their weights.
        table: ``[items, attributes]`` of 0/1.
        askable: ``[attributes]`` of bool.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float64]
    table: sparse.csr_array
    askable: NDArray[np.bool_]

    @property
    def row_of(self) -> NDArray[np.int64]:
        """The row of each candidate."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def make(n_items: int, n_attributes: int, batch: int, seed: int) -> Rows:
    """Conversations that have just begun."""
    world = synthetic(n_items, n_attributes, users=400, seed=seed)
    catalogue = world.catalogue
    volunteered = McrSeekers(SeekerContext(world)).reset(world.sessions(Split.TEST, batch, seed))
    popularity = np.log1p(np.bincount(world.likes[:, 1], minlength=n_items))
    candidates = Candidates(catalogue)
    candidates.begin(volunteered, np.broadcast_to(popularity, (batch, n_items)))
    askable = np.zeros(n_attributes, dtype=bool)
    askable[catalogue.askable] = True
    return Rows(candidates.offsets, candidates.items, candidates.values, catalogue.item_attributes, askable)


def compiled(rows: Rows) -> Listing:
    """The engine's own: one pass over the candidates, compiled by Numba."""
    b, n = len(rows.offsets) - 1, rows.table.shape[1]
    ids = np.full((2, b, K), -1)
    shares, promise, masses, bits = np.zeros((4, b, K))
    kernels.look(
        rows.offsets,
        rows.items,
        rows.weights,
        True,
        np.full((b, 1), -1),
        rows.table.indptr,
        rows.table.indices,
        rows.askable,
        True,
        np.zeros(n),
        np.zeros(n, dtype=np.int32),
        np.zeros(n, dtype=np.int32),
        ids[0],
        shares,
        ids[1],
        promise,
        masses,
        bits,
        np.zeros(b),
    )
    return shares, promise


def by_numpy(rows: Rows) -> Listing:
    """Attributes of all candidates laid one after the other, counted by bincount; rows are partitioned."""
    b, n = len(rows.offsets) - 1, rows.table.shape[1]
    starts, lengths = rows.table.indptr[rows.items], np.diff(rows.table.indptr)[rows.items]
    ends = np.cumsum(lengths)
    places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    cells = np.repeat(rows.row_of * n, lengths) + rows.table.indices[places]
    mass = np.bincount(cells, np.repeat(rows.weights, lengths), b * n).reshape(b, n)
    return _heaviest(rows), _uncertain(mass, rows)


def by_scipy(rows: Rows) -> Listing:
    """Attribute masses as a product of sparse matrices; rows are partitioned."""
    b, n_items = len(rows.offsets) - 1, rows.table.shape[0]
    weights = sparse.csr_array((rows.weights, rows.items, rows.offsets), shape=(b, n_items))
    return _heaviest(rows), _uncertain((weights @ rows.table).toarray(), rows)


def by_torch(rows: Rows) -> Listing:
    """Attribute masses by index_add, the best by topk over padded rows."""
    b, n = len(rows.offsets) - 1, rows.table.shape[1]
    row_of, weights = torch.from_numpy(rows.row_of), torch.from_numpy(rows.weights)
    offsets, items = torch.from_numpy(rows.offsets), torch.from_numpy(rows.items)
    indptr, indices = torch.from_numpy(rows.table.indptr), torch.from_numpy(rows.table.indices)
    starts, lengths = indptr[items].long(), (indptr[1:] - indptr[:-1])[items].long()
    ends = torch.cumsum(lengths, 0)
    places = torch.arange(int(ends[-1])) + torch.repeat_interleave(starts - (ends - lengths), lengths)
    cells = torch.repeat_interleave(row_of * n, lengths) + indices[places]
    mass = torch.zeros(b * n, dtype=torch.float64)
    mass = mass.index_add_(0, cells, torch.repeat_interleave(weights, lengths)).view(b, n)
    width = max(int((offsets[1:] - offsets[:-1]).max()), K)
    padded = torch.zeros(b, width, dtype=torch.float64)
    padded[row_of, torch.arange(len(items)) - offsets[row_of]] = weights
    total = padded.sum(1, keepdim=True)
    doubt = (0.5 - (mass / total - 0.5).abs()) * torch.from_numpy(rows.askable)
    return (padded.topk(K).values / total).numpy(), doubt.clamp(min=0.0).topk(K).values.numpy()


def _heaviest(rows: Rows) -> NDArray[np.float64]:
    found = np.zeros((len(rows.offsets) - 1, K))
    for row in range(len(found)):
        weights = rows.weights[rows.offsets[row] : rows.offsets[row + 1]]
        best = weights if len(weights) <= K else weights[np.argpartition(-weights, K)[:K]]
        found[row, : len(best)] = -np.sort(-best)
    return found / np.add.reduceat(rows.weights, rows.offsets[:-1])[:, None]


def _uncertain(mass: NDArray[np.float64], rows: Rows) -> NDArray[np.float64]:
    total = np.add.reduceat(rows.weights, rows.offsets[:-1])[:, None]
    doubt = (0.5 - np.abs(mass / total - 0.5)) * rows.askable
    best = np.take_along_axis(doubt, np.argpartition(-doubt, K, axis=1)[:, :K], axis=1)
    return np.maximum(-np.sort(-best, axis=1), 0.0)


VARIANTS: dict[str, Callable[[Rows], Listing]] = {
    "numba": compiled,
    "numpy": by_numpy,
    "scipy": by_scipy,
    "torch": by_torch,
}


def measure(rows: Rows, runs: int) -> dict[str, float]:
    """Median milliseconds of each variant, after one run that is only checked.

    Raises:
        SystemExit: if a variant finds something else.
    """
    expected, found = compiled(rows), {}
    for name, variant in VARIANTS.items():
        for ours, theirs in zip(expected, variant(rows), strict=True):
            if not np.allclose(ours, theirs, rtol=1e-9, atol=2e-12):
                sys.exit(f"{name}: finds something else than the compiled loop")
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            variant(rows)
            seconds.append(time.perf_counter() - started)
        found[name] = 1e3 * statistics.median(seconds)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", default="1000,7432,70000", help="sizes of catalogues, with commas")
    parser.add_argument("--attributes", type=int, default=590)
    parser.add_argument("--batch", type=int, default=256, help="conversations at once")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = []
    for n_items in map(int, asked.items.split(",")):
        rows = make(n_items, asked.attributes, asked.batch, asked.seed)
        times = measure(rows, asked.runs)
        found.append({"items": n_items, "candidates": round(len(rows.items) / asked.batch, 1), "ms": times})
    if asked.json:
        print(json.dumps({"attributes": asked.attributes, "batch": asked.batch, "rows": found}))
        return
    print(
        f"{asked.attributes} attributes, {asked.batch} conversations; "
        f"medians of {asked.runs} runs, one thread"
    )
    print("| items | candidates | " + " | ".join(f"{name}, ms" for name in VARIANTS) + " |")
    print("|" + "---|" * (2 + len(VARIANTS)))
    for row in found:
        cells = [
            f"{one:.2f}" + ("" if name == "numba" else f" (×{one / row['ms']['numba']:.1f})")
            for name, one in row["ms"].items()
        ]
        print(f"| {row['items']:,} | {row['candidates']:,.1f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
