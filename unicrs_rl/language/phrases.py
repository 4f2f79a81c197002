"""Sentence templates, kept as TOML files beside the code that speaks them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from unicrs_rl import draws

_COMMON = """
about above absolutely accident actually across add advice after afterwards again ago agree alike all
allow alone along already also always am among an and another answer answers any anyone anything
anyway anywhere appeal appreciate are argue around as ask asked asking at avoid away back bad
based be beat beats because been before behind being believe best better big bit bold both
brings brought but by bye came can can't cannot care cared cast catalogue chance change changed
changes chat check checked cheered child choice choices choose choosing chose circles clear
clears close closer closest come comes coming common compare completely confirm consider costs
could count counts course cover craving crowd curious dare day days decide decided decides
definitely depends deserves did didn't difference differently directed direction directly
director dislike divides do does doesn't dog doing don't done doubt doubts down draw dull each
ease easier easy either else end ended enjoy enjoyed enough even evening evenings ever every
everyone everything exactly expect expected fact facts failing fair fairly fan fans far favorite
favourite feel feeling feelings feels fell few field find finding finds fine first fit fits
follow fondness for forget found frank free freely friend from fun funny further gather gave genre get
gets getting give given glad go goes going good goodbye got great grow grows guess guide had
haha half halfway halve halves hand happy hard has hate hated have hear heard hearing heart
hello help helps here hey hi high highly hint hm hmm hold holds honest hoping how hurry i'll i'm
idea ideally ideas if impression impressions in indifferent instead interest into involve involving is
isn't it its judged just keep keeps kept key kind knocked know knows last lately latest lead
leading leads learned leave left less let like liked likely likes line lines list listen lists
little long look looked looking lose lot loud love loved lovely loves low luck made make makes
many match matched matches matching matter matters may maybe me mean means meant mention might
mind minds mine minute miss misses moment month mood more most move moved much my myself nah
narrow narrows need neighbour neither never new next nice night nights no nobody none nope not
note noted notes nothing now nowhere numbers odd of off offered often oh ok okay old on once one
only open openly opens opinion or order other otherwise our out over own page paid part pass
pause pays people perfect perhaps person personally phase phone pick picking picks place plain
plans plant play please pleases point points praise prefer preference press probably problem
proud proved pure purpose put question questions quick quickly quite raining rang rank rate
rather read ready really reason record regret remember repeat represented reserve rest rests
reward right rightly round rules running runs rush rushing said same say says search second see
seem sets settle settled several shall sharing should show sick side sides similar simple since
single sit skip slow slowly small smile so soft sold some someone something somewhere soon sorry
sort sound sounds speak special spent spot stand stands stars start started stayed still stop
straight street strike strong stuck such suggest suggestion suit suits sum suppose sure surely
surprise surprised surprises swear swears take takes taking talk talked talking taste tell
telling tells tempt tempted tempts than thank thanked thanks that that's the them theme themes
then there these thing things think thinking this those thought through time times tire tired
tiring to today told tone tonight too top touch track tried trust try trying turn turned twice
two understood unless until up us usual value very view wait want wanted wanting wants was waste
wasted watch way we week weekend weighed welcome well went were what whatever when whenever
where whether which while who whoever whole why wide will win wish wishes with without won won't
wonderful word words work works worth would wouldn't written wrong wrote yeah year years yep yes
yesterday yet you you'll you're younger your yourself yup
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
