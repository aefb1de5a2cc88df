"""Time what is typed most against an empty Python program, in processor seconds."""

from __future__ import annotations

import os
import subprocess
import sys

RUNS = 9
COMMANDS = (["--help"], ["list-plugins"], ["show", "unibrain"])


def cheapest(words: list[str]) -> float:
    """Return the processor seconds of the cheapest of several whole processes."""
    seconds = []
    for _ in range(RUNS):
        child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{' '.join(words)} ended with {child.returncode}")
        seconds.append(used.ru_utime + used.ru_stime)
    return min(seconds)


def main() -> None:
    """Print a table: command, milliseconds, multiple of an empty program."""
    empty = cheapest(["-c", "pass"])
    print(f"{'python -c pass':<24} {empty * 1e3:6.0f} ms")
    for words in COMMANDS:
        took = cheapest(["-m", "brainkit", *words])
        print(
            f"{' '.join(['brainkit', *words]):<24} {took * 1e3:6.0f} ms  {took / empty:5.1f} times"
        )


if __name__ == "__main__":
    main()
