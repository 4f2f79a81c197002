"""Arms by name: ``unified``, ``rso``, and the rules ``random``, ``greedy``, ``max-entropy``."""

from __future__ import annotations

from collections.abc import Callable

from unicrs_rl.policy.base import ArmContext, Policy
from unicrs_rl.policy.rules import Greedy, MaxEntropy, Random
from unicrs_rl.registry import Registry

arms: Registry[Callable[[ArmContext], Policy]] = Registry("arm")
"""Makers of policies by arm name."""

arms.register("random")(Random)
arms.register("greedy")(Greedy)
arms.register("max-entropy")(MaxEntropy)


@arms.register("unified")
def _unified(context: ArmContext) -> Policy:
    from unicrs_rl.policy.unified import Unified

    return Unified(context)


@arms.register("rso")
def _rso(context: ArmContext) -> Policy:
    from unicrs_rl.policy.rso import Rso  # late: transformers takes seconds to import

    return Rso(context)
