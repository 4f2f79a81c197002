"""Sphinx configuration: MyST pages, furo, nothing else."""

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]

project = "unicrs-rl"
author = "The unicrs-rl developers"
project_copyright = "The unicrs-rl developers"
version = release = _PROJECT["version"]

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
nitpicky = True

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"unicrs-rl {release}"
html_copy_source = False
html_show_sphinx = False
