"""What may be called how: parts, methods, features, checkpoints and subjects."""

import re

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SHARED_FOLDERS = ("decoded", "features", "latents", "mean", "noise", "runs", "weights")
"""What lies in a subject's folder, where earlier releases had those of methods."""
COMMANDS = (
    *("check-data", "check-plugin", "checkpoints", "compare", "doctor", "evaluate", "fetch"),
    *("figure", "import-data", "list-plugins", "map", "new-plugin", "report", "run", "runs"),
    *("show", "verify"),
)
"""The commands; a method of such a name would read like one."""
Subject = int | str
"""A subject of NSD by its number, one of another dataset by its name."""
NAME_OF_SUBJECT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


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


def subject_name(subject: Subject) -> str:
    """Return the folder name of a subject.

    >>> subject_name(1), subject_name("sub-CSI1")
    ('subj01', 'sub-CSI1')
    """
    return f"subj{subject:02d}" if isinstance(subject, int) else subject


def unfit_subject(name: str) -> str | None:
    """Return a clause on why a text cannot name a subject, or None.

    >>> unfit_subject("sub-CSI1"), unfit_subject("subj01") is None
    (None, False)
    """
    if not NAME_OF_SUBJECT.fullmatch(name):
        return f"{name!r:.60}, expected a letter, then letters, digits, - and _, at most 40 in all"
    if re.fullmatch(r"subj\d+", name):
        return f"{name!r}, which stands for a number; give {int(name[4:])}, or another name"
    return None
