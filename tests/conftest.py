"""What tests share: one thread, the shared data, and worlds that are built once."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import RunConfig, resolve
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import EmbeddingConfig, Embeddings, pretrain
from unicrs_rl.graphs.states import Past, padded
from unicrs_rl.graphs.world import World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.language.lexicon import Lexicon

if TYPE_CHECKING:
    from serving import Proxy

torch.set_num_threads(1)
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept between commands without a run folder is kept apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and recorded fixtures, beside the project."""
    if not SHARED.is_dir():
        pytest.skip("needs the shared data beside the project (../shared); a user's clone has none")
    return SHARED


@pytest.fixture(scope="session")
def movies() -> World:
    return make_world("movies")


@pytest.fixture(scope="session")
def movies_embeddings(movies: World) -> Embeddings:
    return pretrain(movies, EmbeddingConfig(epochs=2), seed=0)


@pytest.fixture(scope="session")
def components(movies: World, movies_embeddings: Embeddings) -> Components:
    """Shared components on ``movies`` with latent seekers and default settings."""
    return build(resolve({}), movies, movies_embeddings)


@pytest.fixture(scope="session")
def lexicon(movies: World) -> Lexicon:
    return lexicon_of(movies.catalogue)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """The folder of a real network that answers the project's prompts in format; under a minute to train."""
    import serving  # late: imports transformers

    return serving.tiny_model(tmp_path_factory.mktemp("models") / "tiny", components)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[str]:
    """The base URL of a real server with the tiny model, which is known there by its folder's path."""
    import serving

    with serving.serve(tiny_model, tmp_path_factory.mktemp("server")) as base_url:
        yield base_url


@pytest.fixture
def proxy(served: str) -> Iterator[Proxy]:
    """A proxy before the real server, without faults yet."""
    import serving

    with serving.Proxy(served) as standing:
        yield standing


def lexicon_of(catalogue: Catalogue) -> Lexicon:
    return Lexicon(catalogue.noun, catalogue.items, catalogue.attributes, catalogue.kinds)


def catalogue_of(
    owned: NDArray[np.bool_],
    taxonomy: dict[str, tuple[int, ...]] | None = None,
    kinds: Sequence[str] | None = None,
) -> Catalogue:
    """A catalogue from ``[items, attributes]`` of bool."""
    n_items, n_attributes = owned.shape
    return Catalogue(
        noun="thing",
        items=tuple(f"item {i}" for i in range(n_items)),
        attributes=tuple(f"attribute {a}" for a in range(n_attributes)),
        kinds=tuple(kinds or ("tag",) * n_attributes),
        relations=("tag",),
        edges=np.array([(i, 0, a) for i, a in np.argwhere(owned)], dtype=np.int64).reshape(-1, 3),
        taxonomy=taxonomy or {},
    )


def past_of(asked: Sequence[Sequence[int]], turn: int = 0, limit: int = 15) -> Past:
    """A past in which nothing matters but what needs no question any more."""
    b = len(asked)
    zeros, nothing = np.zeros(b, dtype=np.int64), np.full((b, 1), -1)
    return Past(
        keys=np.arange(b, dtype=np.uint64),
        turn=zeros + turn,
        limit=limit,
        wanted=nothing,
        unwanted=nothing,
        indifferent=nothing,
        declined=nothing,
        events=nothing,
        strategies=nothing,
        mood=zeros,
        streak=zeros,
        asked=padded(asked),
    )


def components_for(config: RunConfig, world: World, embeddings: Embeddings) -> Components:
    return build(config, world, embeddings)


ITEMS = """id,name,cuisine,mood
1,Blue Door,thai|vegan,quiet
2,Golden Fork,italian,lively
3,Old Mill,italian|vegan,quiet
4,Red Lantern,thai,lively
5,Corner Table,french,quiet
6,Sea View,french|italian,romantic
"""
INTERACTIONS = "user,item,rating\n" + "".join(
    f"u{user},{1 + (user * 2 + step) % 6},{5 if step < 3 else 1}\n" for user in range(12) for step in range(4)
)


@pytest.fixture
def bistros(tmp_path: Path) -> Path:
    """A small catalogue of one's own: six restaurants, twelve users."""
    root = tmp_path / "bistros"
    root.mkdir()
    (root / "items.csv").write_text(ITEMS)
    (root / "interactions.csv").write_text(INTERACTIONS)
    (root / "world.toml").write_text('[world]\nname = "bistros"\nnoun = "restaurant"\n')
    return root
