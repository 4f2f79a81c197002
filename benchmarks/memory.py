"""Peak memory of a command, summed over all its processes (proportional set size where available).

Usage: python benchmarks/memory.py -- COMMAND [ARGUMENT ...]
"""

from __future__ import annotations

import subprocess
import sys
import time

import psutil


def footprint(process: psutil.Process) -> int:
    """Bytes of a process: shared pages counted by share (Linux), else resident."""
    full = process.memory_full_info()
    return int(getattr(full, "pss", 0) or full.rss)


def main() -> None:
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    if not command:
        sys.exit(__doc__)
    child = subprocess.Popen(command)
    root, peak = psutil.Process(child.pid), 0
    while child.poll() is None:
        total = 0
        for process in [root, *root.children(recursive=True)]:
            try:
                total += footprint(process)
            except psutil.Error:  # it ended meanwhile
                continue
        peak = max(peak, total)
        time.sleep(0.25)
    print(f"peak memory: {peak / 2**20:,.0f} MiB (exit code {child.returncode})", file=sys.stderr)
    sys.exit(child.returncode)


if __name__ == "__main__":
    main()
