"""What all pages have in common: one file with everything in it, which opens without network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from unicrs_rl.experiments.config import RunConfig, Selection, Surface
from unicrs_rl.experiments.figures import Shown
from unicrs_rl.experiments.report.learned import Learned
from unicrs_rl.experiments.run_folder import RunFolder

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.experiments.report", "."),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_MOST_VALUES = 400
"""A figure of more values has no table beside it."""


@dataclass(frozen=True)
class Drawn:
    """A figure as templates take it.

    Attributes:
        json: for plotly, without the title, which is the page's.
        rows: its values, for those who cannot see it: series, place, value, and interval where it has one.
    """

    title: str
    caption: str
    json: str
    rows: Sequence[Sequence[str]]


def page(
    template: str,
    folder: RunFolder,
    config: RunConfig,
    figures: Mapping[str, Shown],
    learned: Learned,
    **more: Any,
) -> str:
    """The page of a run, with what all have: figures, learning curves, settings and provenance."""
    learning = learned.figures()
    return render(
        template,
        {**figures, **learning},
        learning=list(learning),
        unreadable=learned.unreadable,
        selected_on_test=config.select is Selection.TEST and config.surface is Surface.SEMANTIC,
        provenance=folder.read_json(folder.provenance),
        config=folder.config_file.read_text("utf-8"),
        **more,
    )


def render(template: str, figures: Mapping[str, Shown], **more: Any) -> str:
    """A page from a template with its figures."""
    return ENVIRONMENT.get_template(template).render(
        figures={name: draw(shown) for name, shown in figures.items()},
        plotly=get_plotlyjs() if figures else "",
        **more,
    )


def draw(shown: Shown) -> Drawn:
    """A figure for a template."""
    bare = shown.figure.to_plotly_json()
    title = bare["layout"].pop("title", {}).get("text", "")
    return Drawn(title, shown.caption, to_json_plotly(bare), values(shown.figure))


def values(figure: go.Figure) -> list[list[str]]:
    """What is drawn, a line for each value; nothing of what is outlined, and of figures with too many."""
    rows: list[list[str]] = []
    for trace in figure.data:
        if trace.type == "heatmap":
            for name, line in zip(trace.y, trace.z, strict=True):
                rows += [[_text(name), _text(x), _text(z)] for x, z in zip(trace.x, line, strict=True)]
        elif trace.name is not None and trace.hoverinfo != "skip":
            ends = _ends(trace)
            x, y = list(trace.x), list(trace.y)
            rows += [
                [_text(trace.name), _text(a), _text(b), *span] for a, b, span in zip(x, y, ends, strict=True)
            ]
    return rows if len(rows) <= _MOST_VALUES else []


def _ends(trace: Any) -> list[list[str]]:
    """Ends of the interval of each value of a trace, in its own column."""
    for values, error in ((trace.x, trace.error_x), (trace.y, trace.error_y)):
        if error is not None and error.array is not None:
            return [
                [f"{_text(value - below)} to {_text(value + above)}"]
                for value, above, below in zip(values, error.array, error.arrayminus, strict=True)
            ]
    return [[] for _ in trace.x]


def _text(value: Any) -> str:
    """A value or a label without its marks."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("<br>", " ").replace("<b>", "").replace("</b>", "")
