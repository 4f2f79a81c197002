"""unicrs-rl: unified and decomposed conversational recommenders, tested head to head."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("unicrs-rl")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
