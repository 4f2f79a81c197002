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


def wanted_of(catalogue: Catalogue, targets: Sequence[int], said: Collection[int] = ()) -> tuple[int, ...]:
    """Attributes that a seeker looks for: those that most targets have, the catalogue's most common first.

    Args:
        said: attributes that come before all others, because a person asked for them.
    """
    counts = _counts(catalogue, targets)
    return tuple(
        sorted(counts, key=lambda a: (a not in said, -counts[a], -int(catalogue.degrees[a]), a))[:WANTED]
    )


def taste_of(catalogue: Catalogue, liked: Sequence[int], said: Sequence[int] = ()) -> tuple[int, ...]:
    """Attributes that sum up what a seeker likes: those it names, then those that most liked items have."""
    counts = _counts(catalogue, liked)
    ordered = sorted(counts, key=lambda a: (-counts[a], -int(catalogue.degrees[a]), a))
    return tuple(dict.fromkeys((*said, *ordered)))[:TASTE]


def _counts(catalogue: Catalogue, items: Sequence[int]) -> Counter[int]:
    """How many of the items have each attribute."""
    return Counter(attribute for item in items for attribute in catalogue.attributes_of(item).tolist())


def wish_of(
    catalogue: Catalogue, targets: Sequence[int], liked: Sequence[int], said: Sequence[int] = ()
) -> Wish:
    """What a seeker is told of its targets, in which no title of theirs stands.

    Args:
        targets: one of a simulated seeker; all that a person took.
        liked: other items that it likes.
        said: attributes that a person asked for: what the targets have of them is wanted, the rest is taste.
    """
    wanted = wanted_of(catalogue, targets, said) if targets else tuple(said[:WANTED])
    taste = taste_of(catalogue, liked, [attribute for attribute in said if attribute not in wanted])

    def names(attributes: Sequence[int]) -> tuple[str, ...]:
        called = (catalogue.attributes[attribute] for attribute in attributes)
        titles = [catalogue.items[item] for item in targets]
        return tuple(name for name in called if not any(stands_in(title, name) for title in titles))

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
