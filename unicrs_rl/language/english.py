"""Whether words are English: seekers are simulated in it, and readers and judges read nothing else.

A rule, because language identifiers are trained on whole sentences and go wrong on short ones full of
foreign titles. It leans towards yes: what it misses costs one odd turn, a false alarm a good answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import name as name_of

from unicrs_rl.language.lexicon import tokenize

FEW_WORDS, FEW_LETTERS, FEW_MARKERS = 8, 4, 2
"""Fewer words, fewer letters of another script than Latin, or fewer words that only another language has
say nothing about the language."""

_ENGLISH = frozenset(
    """
a about actually after again all already also always am an and another any anything are around as at away
back be because been before best better but by can can't could couldn't did didn't do does doesn't don't
each either else enjoy enjoyed even ever every everything feel first for found from get give go going good
great had has have haven't he hear help her here him his how i i'd i'll i'm i've if in into is isn't it
it's its just keep kind know last let let's like liked little long look looking lot love loved make many
maybe me might mind more most movie movies much my need never new next nice no not nothing now of off oh
ok okay on once one only or other our out over own please pretty quite really recommend right said say see
seems seen she should since so some someone something sounds start still such sure take tell than thank
thanks that that's the their them then there there's these they they're thing things think this those
though through time to today together tonight too try until up us very want wanted was watch watched we
we'll we're well were what what's when where which while who why will with without won't work would
wouldn't years yeah yes yet you you'd you'll you're you've your
""".split()  # noqa: SIM905  prose reads better
)
_OTHERS = frozenset(
    """
der das und ich nicht ein eine einen einem ist mit fur wie den dem von auf du dir dich sie wir auch oder
aber sehr
wenn weil dass kein keine film filme ware hast magst vielleicht gern gerne noch schon mochtest
le les des une est et vous je il elle que qui dans pour avec sur pas ne ce cette ces mais ou tres plus
votre vos
avez aimez c'est j'ai d'un d'une nous aussi peut etre
el los las una uno es y que en por para con del al lo te tu su muy mas pero como gusta esta este eso si
hay tiene
quieres prefieres pelicula peliculas creo ti mi
il lo gli di un che non per con sono ti mi piu anche questo questa della del nel perche ma come molto
piace se
o os um uma do da dos das em nao voce com mais mas seu sua isso porque muito gosta filme eu
het een de van niet ik je dat voor op aan maar ook naar bij wat deze heb hebt zou
och att det som pa av jag inte till har den du om men ar med en ett skulle og jeg ikke af pa er vil
nie jest sie na ze jak czy dla ale ten bo lubisz moze i co
bu bir ve icin cok ile da mi ne ama var
toi ban la nhung cua khong va cho mot nay vi
yang dan di ini itu untuk dengan tidak saya anda
""".split()  # noqa: SIM905
).difference(_ENGLISH, ("film", "filme", "la", "de"))
"""The commonest words of English, and those of other languages in its script that are no words of English."""
_QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"")


def looks_english(text: str, names: Iterable[str] = ()) -> bool:
    """Whether a text may be English.

    It is not if most letters are of another script than Latin, or if of eight words or more not fewer are
    among the commonest of other languages than of English. Names and quotations belong to no language.

    Args:
        names: that the text may hold.
    """
    unquoted = _QUOTED.sub(" ", text)
    words = _without(tokenize(unquoted) or tokenize(text), {tokenize(name) for name in names})
    letters = [c for word in words for c in word if c.isalpha()]
    foreign = sum(not _latin(c) for c in letters)
    if foreign >= FEW_LETTERS and 2 * foreign > len(letters):
        return False
    others = sum(word in _OTHERS for word in words)
    if len(words) < FEW_WORDS or others < FEW_MARKERS:
        return True
    return others < sum(word in _ENGLISH for word in words)


def _without(words: tuple[str, ...], names: set[tuple[str, ...]]) -> list[str]:
    """The words that are in no name; a name of nothing but common words is no name here."""
    sizes: dict[str, set[int]] = {}
    for name in names:
        if not _ENGLISH.issuperset(name):
            sizes.setdefault(name[0], set()).add(len(name))
    left: list[str] = []
    place = 0
    while place < len(words):
        found = (s for s in sizes.get(words[place], ()) if words[place : place + s] in names)
        size = max(found, default=0)
        left.extend(words[place : place + 1] if not size else ())
        place += size or 1
    return left


@lru_cache(maxsize=4096)
def _latin(letter: str) -> bool:
    return letter.isascii() or name_of(letter, "").startswith("LATIN")
