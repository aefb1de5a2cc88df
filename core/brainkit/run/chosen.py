"""Which of the test images are reconstructed."""

from __future__ import annotations

from brainkit.errors import UsageError


def chosen_images(
    asked: int | tuple[int, ...] | None, test_ids: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the ids of the test images to reconstruct.

    Raises:
        UsageError: an id is not among the test images, or more are asked for than there are.
    """
    if asked is None:
        return test_ids
    if isinstance(asked, int):
        if asked > len(test_ids):
            raise UsageError(f"--images is {asked}, but there are {len(test_ids)} test images")
        return test_ids[:asked]
    if unknown := [image for image in asked if image not in set(test_ids)]:
        raise UsageError(
            f"--images has {unknown[:5]}, not among the {len(test_ids)} test images "
            f"(ids such as {list(test_ids[:3])})"
        )
    return tuple(sorted(set(asked)))
