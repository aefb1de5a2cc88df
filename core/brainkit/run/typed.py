"""Settings that are typed in a form of their own: images, the subject and controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from brainkit.errors import UsageError


def images(text: Any) -> Any:
    """Return a count, ids, or None for all; what is no text is returned as it is.

    Raises:
        UsageError: the text is neither.
    """
    if not isinstance(text, str) or text == "all":
        return None if text == "all" else text
    try:
        numbers = tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise UsageError(
            f"--images is {text!r}, expected a count such as 10 or ids such as 3,17,52"
        )
    # "3," is the one way to ask for a single id.
    return numbers if "," in text else numbers[0]


def subject(text: Any) -> Any:
    """Return the number that a text is, or what is given as it is."""
    return int(text) if isinstance(text, str) and text.isdecimal() else text


READ: Mapping[str, Callable[[Any], Any]] = {
    "images": images,
    "subject": subject,
    "controls": lambda text: tuple(text.split(",")) if isinstance(text, str) else text,
}
"""How each of these settings is read."""
