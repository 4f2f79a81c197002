"""Sentence templates, kept as TOML files beside the code that speaks them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from unicrs_rl import draws

_COMMON = """
about absolutely across after again all along already also always am among an and answers any
anything anyway appreciate are around as ask at avoid away back based be beat beats because been
before behind best big but by bye came can can't cannot care cared cast catalogue chat check
child choice choose choosing close closer come comes common confirm consider could counts cover
craving day decide definitely did didn't difference differently directed director dislike do
does doesn't dog doing don't down each easy either enjoy enjoyed enough evening ever every
exactly facts fan far favorite favourite feel feeling feelings few field find fine first fit
fits for found from fun funny genre get gets getting give glad go going good goodbye got great
guess had haha half hard has hate hated have hello help helps here hey hi hm hmm hoping how
hurry i'll i'm ideally ideas if in indifferent into involving is isn't it its just keep kind
knocked know last lately leave let like liked line lines list listen little long look looking
lot love loved lovely loves make makes many matched matching matter maybe me mean mention mind
moment month mood more much my myself nah narrow narrows neighbour neither never next nice night
no none nope not notes nothing of oh ok okay old on once one open opinion other otherwise out
over own part pass perfect perhaps person personally phase phone pick picks place plant please
point preference probably put question questions quick quickly quite raining rang rather really
record regret remember represented right rules running rush said same say says see seem settle
should sick similar single skip so soft sold something sorry sound sounds spent spot stars start
stayed still stop street strike strong suggest suggestion suit suppose sure surprised take
taking talk talked talking taste tell telling thank thanks that that's the them theme themes
then there these thing think thinking this those through time tired to today told tonight too
tried trust try trying turn understood up us want wanted was waste watch way we weekend welcome
well went were what whatever when where whole why will with without won't wonderful word words
work works worth would wouldn't written wrote yeah year yep yes yesterday you you're younger
your yourself yup
"""
COMMON_WORDS = frozenset(_COMMON.split())
"""Words of the templates and of the rules that read them: no name by themselves (a test keeps this whole)."""


@cache
def load(package: str, name: str) -> dict[str, Any]:
    """A package's phrase file."""
    return tomllib.loads(resources.files(package).joinpath(name).read_text("utf-8"))


def choose(lines: list[str], key: int, turn: int, purpose: str) -> str:
    """One of several lines, always the same for the same conversation, turn and purpose."""
    return lines[draws.pick(key, turn, purpose, len(lines))]


def with_article(noun: str) -> str:
    """A noun with "a" or "an", by its first letter."""
    return f"{'an' if noun[:1].casefold() in set('aeiou') else 'a'} {noun}"


def listing(names: list[str], last: str = "and") -> str:
    """Names as an English list."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"
