"""`brainkit` and `python -m brainkit`."""

import sys


def main() -> None:
    """Run the command line; `list-plugins` alone goes without the machinery of options."""
    if sys.argv[1:] in (["list-plugins"], ["list-plugins", "--json"]):
        # Scripts and shells ask this often: parsing it through typer would double its time.
        from brainkit.cli.plugins import show_plugins
        from brainkit.ending import ended
        from brainkit.plugins import Registry

        with ended():
            show_plugins(Registry.installed(), as_json="--json" in sys.argv)
        return
    from brainkit.cli import main as whole

    whole()


if __name__ == "__main__":
    main()
