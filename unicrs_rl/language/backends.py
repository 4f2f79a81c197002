"""The language models by name. A real one is imported only where it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeAlias

from unicrs_rl.errors import InputError
from unicrs_rl.language.boundary import LanguageModel, LanguageModelConfig
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.memory import Memory
from unicrs_rl.registry import Registry

Maker: TypeAlias = Callable[[LanguageModelConfig, Lexicon, Memory | None], LanguageModel]

language_models: Registry[Maker] = Registry("language model")
"""Backends by name; a maker takes the settings and, for the embedded one, the world's names and a memory.

Raises:
    InputError: from a maker, if the settings do not lead to a model that can be used.
"""


@language_models.register("embedded")
def _embedded(_settings: LanguageModelConfig, lexicon: Lexicon, memory: Memory | None) -> LanguageModel:
    return EmbeddedModel(lexicon, memory)


@language_models.register("transformers")
def _transformers(settings: LanguageModelConfig, _lexicon: Lexicon, _memory: Memory | None) -> LanguageModel:
    from unicrs_rl.language.transformers_model import TransformersModel

    return TransformersModel(settings)


@language_models.register("openai")
def _openai(settings: LanguageModelConfig, _lexicon: Lexicon, _memory: Memory | None) -> LanguageModel:
    if find_spec("openai") is None or find_spec("aiohttp") is None:
        raise InputError("--llm openai: needs the extra 'openai': pip install 'unicrs-rl[openai]'")
    from unicrs_rl.language.openai_model import OpenAIModel

    return OpenAIModel(settings)
