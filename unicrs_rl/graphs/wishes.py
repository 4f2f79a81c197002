"""What a reference-free seeker knows of its target: attributes, and never the item.

After Interplay (Ramos et al., 2026, arXiv 2603.18573): a summary of what the seeker has liked, and
attributes of what it wants. The same for the dialogues that simulators are trained on and for the
conversations that they hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.language.lexicon import tokenize
from unicrs_rl.language.roles import Wish

WANTED = 6
"""Attributes of the target that a seeker knows, at most."""
TASTE = 3
"""Attributes that sum up what it has liked, at most."""


def wanted_of(catalogue: Catalogue, item: int, said: Collection[int] = ()) -> tuple[int, ...]:
    """Attributes of an item that a seeker looks for, most common in the catalogue first.

    Args:
        said: attributes that come before all others, because a person asked for them.
    """
    mine: list[int] = catalogue.attributes_of(item).tolist()
    mine.sort(key=lambda attribute: (attribute not in said, -int(catalogue.degrees[attribute]), attribute))
    return tuple(mine[:WANTED])


def taste_of(catalogue: Catalogue, liked: Sequence[int]) -> tuple[int, ...]:
    """Attributes that sum up items: those that most of them have; rarer ones of the catalogue last."""
    counts = Counter(attribute for item in liked for attribute in catalogue.attributes_of(item).tolist())
    ordered = sorted(counts, key=lambda a: (-counts[a], -int(catalogue.degrees[a]), a))
    return tuple(ordered[:TASTE])


def wish_of(catalogue: Catalogue, target: int, liked: Sequence[int], said: Collection[int] = ()) -> Wish:
    """What a seeker is told of its target, of which nothing is called like the target itself."""
    return wish_in_words(
        catalogue, wanted_of(catalogue, target, said), taste_of(catalogue, liked), catalogue.items[target]
    )


def wish_in_words(catalogue: Catalogue, wanted: Sequence[int], taste: Sequence[int], title: str = "") -> Wish:
    """Attributes as names, without those in which the title stands (a film called like its genre)."""

    def names(attributes: Sequence[int]) -> tuple[str, ...]:
        called = (catalogue.attributes[attribute] for attribute in attributes)
        return tuple(name for name in called if not (title and stands_in(title, name)))

    return Wish(names(taste), names(wanted))


def wishes_met(catalogue: Catalogue, wish: Wish, item: int) -> tuple[str, ...]:
    """Which of a seeker's wishes an item meets, in the wish's order."""
    has = {catalogue.attributes[attribute] for attribute in catalogue.attributes_of(item)}
    return tuple(name for name in wish.wanted if name in has)


def stands_in(title: str, text: str) -> bool:
    """Whether a text has a title, with its year or without, in whatever case, accents and signs."""
    words = tokenize(text)
    forms = {tokenize(title), tokenize(title.rpartition(" (")[0] or title)} - {()}
    return any(
        words[start : start + len(form)] == form
        for form in forms
        for start in range(len(words) - len(form) + 1)
    )
