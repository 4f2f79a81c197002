"""``unicrs-rl strategies``."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from unicrs_rl.cli.options import (
    opt,
)


@dataclasses.dataclass(frozen=True)
class Strategies:
    """List the conversational strategies, with category and meaning, and the maps between label sets."""

    json: Annotated[bool, opt("print one JSON object")] = False


def run(verb: Strategies) -> None:
    """Print them."""
    from unicrs_rl.experiments.inventory import strategies

    found = strategies()
    if verb.json:
        print(json.dumps(found))
        return
    print("Strategies (RSO, Table I)")
    for entry in found["strategies"]:
        print(f"  {entry['name']:<23}  {entry['category']:<22}  {entry['description']}")
    print("Labels of INSPIRED")
    for entry in found["labels"]:
        print(f"  {entry['name']:<23}  {entry['raw']}")
    print("Label maps")
    for name, label_map in found["maps"].items():
        merged = ", ".join(f"{label} -> {target}" for label, target in label_map["merged"].items())
        print(f"  {name:<8}  {len(label_map['labels'])} labels  {merged or 'all as they are'}")
