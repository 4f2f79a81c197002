"""What tests share: one thread, the shared data, and worlds that are built once."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import pytest
import torch

from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import RunConfig, resolve
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import EmbeddingConfig, Embeddings, pretrain
from unicrs_rl.graphs.world import World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.language.lexicon import Lexicon

torch.set_num_threads(1)
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


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


def lexicon_of(catalogue: Catalogue) -> Lexicon:
    return Lexicon(catalogue.noun, catalogue.items, catalogue.attributes, catalogue.kinds)


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
