"""`python -m brainkit`."""

from brainkit.cli import main

main()
