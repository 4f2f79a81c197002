"""The judges by name."""

from __future__ import annotations

from collections.abc import Callable

from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.judging.judge import Judge
from unicrs_rl.judging.prompted import PromptedJudge
from unicrs_rl.judging.rubric import Rubric
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.registry import Registry

judges: Registry[Callable[[Catalogue, LanguageModel, int], Judge]] = Registry("judge")
"""A maker takes the catalogue, the run's language model and how many answers a score averages."""
judges.register(PromptedJudge.name)(PromptedJudge)


@judges.register(Rubric.name)
def _rubric(catalogue: Catalogue, _model: LanguageModel, _samples: int) -> Judge:
    return Rubric(catalogue, catalogue.lexicon)
