"""Arms by name.

Learners: ``unified``, ``unified-ppo``, ``unified-reinforce``, ``rso``, ``rso-ppo``. Rules: ``random``,
``greedy``, ``max-entropy`` (also known as ``weighted-entropy``), ``few-left``, ``halving``, ``minicorn``.
Prompted: ``llm``, ``intercrs``, ``pccrs``. Trained on human dialogues alone: ``recsim``.

``NAME@VARIANT`` is the arm ``NAME`` once more, with settings of its own over those of ``NAME``: so one
run compares an arm with itself. ``grid`` is whatever its switches say; ``grid@NAME`` with a name in
:data:`~unicrs_rl.policy.control.POINTS` has that point's by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from unicrs_rl.errors import InputError, explain
from unicrs_rl.policy.base import Learner, Policy
from unicrs_rl.policy.control import POINTS
from unicrs_rl.policy.prompted import Intercrs, Llm, Pccrs
from unicrs_rl.policy.recsim import Recsim
from unicrs_rl.policy.rules import FewLeft, Greedy, Halving, MaxEntropy, Minicorn, Random
from unicrs_rl.registry import PlugIn, Registry


def _plugged(plug: PlugIn) -> Callable[[], type[Policy]]:
    """An arm of another package."""

    def load() -> type[Policy]:
        found = plug.load()
        if not (isinstance(found, type) and issubclass(found, Policy)):
            raise plug.unfit("is no class derived from unicrs_rl.policy.base.Policy")
        if missing := sorted(found.__abstractmethods__):
            raise plug.unfit(f"does not define {', '.join(missing)}")
        return found

    return load


arms: Registry[Callable[[], type[Policy]]] = Registry("arm", _plugged)
"""Policy classes by arm name, behind a call because some take seconds to import."""

arms.register("random")(lambda: Random)
arms.register("greedy")(lambda: Greedy)
arms.register("max-entropy")(lambda: MaxEntropy)
arms.register("weighted-entropy")(lambda: MaxEntropy)  # the same by the name that MCR papers use
arms.register("few-left")(lambda: FewLeft)
arms.register("halving")(lambda: Halving)
arms.register("minicorn")(lambda: Minicorn)
arms.register("llm")(lambda: Llm)
arms.register("intercrs")(lambda: Intercrs)
arms.register("pccrs")(lambda: Pccrs)
arms.register("recsim")(lambda: Recsim)


@arms.register("unified")
def _unified() -> type[Policy]:
    from unicrs_rl.policy.unified import Unified

    return Unified


@arms.register("unified-ppo")
def _unified_ppo() -> type[Policy]:
    from unicrs_rl.policy.unified_ppo import UnifiedPpo

    return UnifiedPpo


@arms.register("unified-reinforce")
def _unified_reinforce() -> type[Policy]:
    from unicrs_rl.policy.unified_reinforce import UnifiedReinforce

    return UnifiedReinforce


@arms.register("grid")
def _grid() -> type[Policy]:
    from unicrs_rl.policy.grid import Grid

    return Grid


@arms.register("rso")
def _rso() -> type[Policy]:
    from unicrs_rl.policy.rso import Rso  # late: imports transformers

    return Rso


@arms.register("rso-ppo")
def _rso_ppo() -> type[Policy]:
    from unicrs_rl.policy.rso_ppo import RsoPpo

    return RsoPpo


_VARIANT = re.compile(r"[a-z0-9][a-z0-9.-]*")


def kind(arm: str) -> str:
    """The registered name of an arm: that of ``rso@no-planner`` is ``rso``."""
    return arm.partition("@")[0]


def policy_class(arm: str) -> type[Policy]:
    """What decides for an arm, or for a variant of it.

    Raises:
        InputError: if there is no such arm, or the variant's name cannot be part of a file's.
    """
    name, at, variant = arm.partition("@")
    if at and not _VARIANT.fullmatch(variant):
        raise InputError(f"arm {arm!r}: a variant is named in small letters, digits, '.' and '-'")
    return arms[name]()


def given(arm: str) -> dict[str, Any]:
    """The settings that an arm has by its name alone: the switches of a named point of the grid."""
    name, _, variant = arm.partition("@")
    if name != "grid" or variant not in POINTS:
        return {}
    return POINTS[variant].model_dump(mode="json")


def learns(arm: str) -> bool:
    """Whether an arm has to be trained.

    Raises:
        InputError: if there is no such arm.
    """
    return issubclass(policy_class(arm), Learner)


def check_settings(arm: str, settings: Mapping[str, Any]) -> None:
    """Settings of an arm, checked before anything is run.

    Raises:
        InputError: naming the arm and the setting at fault.
    """
    try:
        policy_class(arm).Config.model_validate(settings)
    except ValidationError as error:
        name = ".".join(("arm", arm, *map(str, error.errors()[0]["loc"])))
        raise InputError(f"{name}: {explain(error)}") from None
