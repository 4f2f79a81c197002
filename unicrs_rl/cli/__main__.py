"""``python -m unicrs_rl.cli``."""

import sys

from unicrs_rl.cli import main

sys.exit(main())
