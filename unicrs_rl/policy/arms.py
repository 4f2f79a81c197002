"""Arms by name.

Learners: ``unified``, ``unified-ppo``, ``rso``. Rules: ``random``, ``greedy``, ``max-entropy`` (also known
as ``weighted-entropy``), ``few-left``, ``halving``, ``minicorn``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from unicrs_rl.errors import InputError
from unicrs_rl.policy.base import Learner, Policy
from unicrs_rl.policy.rules import FewLeft, Greedy, Halving, MaxEntropy, Minicorn, Random
from unicrs_rl.registry import Registry

arms: Registry[Callable[[], type[Policy]]] = Registry("arm")
"""Policy classes by arm name, behind a call because some take seconds to import."""

arms.register("random")(lambda: Random)
arms.register("greedy")(lambda: Greedy)
arms.register("max-entropy")(lambda: MaxEntropy)
arms.register("weighted-entropy")(lambda: MaxEntropy)  # the same by the name that MCR papers use
arms.register("few-left")(lambda: FewLeft)
arms.register("halving")(lambda: Halving)
arms.register("minicorn")(lambda: Minicorn)


@arms.register("unified")
def _unified() -> type[Policy]:
    from unicrs_rl.policy.unified import Unified

    return Unified


@arms.register("unified-ppo")
def _unified_ppo() -> type[Policy]:
    from unicrs_rl.policy.unified_ppo import UnifiedPpo

    return UnifiedPpo


@arms.register("rso")
def _rso() -> type[Policy]:
    from unicrs_rl.policy.rso import Rso  # late: imports transformers

    return Rso


def learns(arm: str) -> bool:
    """Whether an arm has to be trained.

    Raises:
        InputError: if there is no such arm.
    """
    return issubclass(arms[arm](), Learner)


def check_settings(arm: str, settings: Mapping[str, Any]) -> None:
    """Settings of an arm, checked before anything is run.

    Raises:
        InputError: naming the arm and the setting at fault.
    """
    try:
        arms[arm]().Config.model_validate(settings)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(("arm", arm, *map(str, problem["loc"])))
        raise InputError(f"{name}: {problem['msg']}") from None
