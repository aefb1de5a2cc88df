"""`brainkit` and `python -m brainkit`."""

import sys
from contextlib import suppress


def main() -> None:
    """Run the command line; `list-plugins` alone goes without the machinery of options."""
    if sys.argv[1:] in (["list-plugins"], ["list-plugins", "--json"]):
        # Scripts and shells ask this often: parsing it through typer would double its time.
        from brainkit.cli.plugins import listed
        from brainkit.console import any_character
        from brainkit.plugins import Registry

        any_character()
        with suppress(BrokenPipeError):
            print(listed(Registry.installed(), as_json="--json" in sys.argv), flush=True)
        return
    from brainkit.cli import main as whole

    whole()


if __name__ == "__main__":
    main()
