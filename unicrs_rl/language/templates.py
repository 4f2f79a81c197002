"""Prompts as text: templates in ``prompts/*.jinja``, filled with data that stays data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.language", "prompts"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701  prompts are plain text
)


def render(name: str, variables: Mapping[str, Any]) -> str:
    """The prompt ``prompts/<name>.jinja`` with its variables filled in."""
    return _TEMPLATES.get_template(f"{name}.jinja").render(variables)
