"""What may be called how: names of parts, methods, features and checkpoints."""

import re

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SHARED_FOLDERS = ("decoded", "features", "latents", "runs", "weights")
"""What lies in a subject's folder, where earlier releases had those of methods."""
COMMANDS = (
    *("check-data", "check-plugin", "checkpoints", "compare", "doctor", "evaluate", "fetch"),
    *("import-data", "list-plugins", "map", "new-plugin", "report", "run", "runs", "show"),
    *("verify",),
)
"""The commands; a method of such a name would read like one."""


def unfit(name: object) -> str:
    """Say why a name cannot be typed or name a file; "" when it can.

    Names are typed, and files and folders are called by them.

    >>> unfit("clip-vit-l14"), unfit("../evil")
    ('', "'../evil', expected a word of letters, digits, - and _, neither of these in front")
    """
    if isinstance(name, str) and WORD.fullmatch(name):
        return ""
    expected = "a word of letters, digits, - and _, neither of these in front"
    return f"{name!r:.60}, expected {expected}"


def unfit_method(name: str) -> str:
    """Say why a name cannot be a method's; "" when it can."""
    if name.lower() in SHARED_FOLDERS:
        return f"{name!r}, which is a folder that methods share; choose another"
    if name.lower() in COMMANDS:
        return f"{name!r}, which is a command of brainkit; choose another"
    return unfit(name)
