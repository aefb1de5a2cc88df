"""Bring released weights into the checkpoint store: say what will happen, then do it.

`plan` asks what there is and what would come, and moves nothing; `carry_out` downloads and converts
origin by origin, so that a file which holds several networks is downloaded and read once.
"""

from brainkit.fetch.command import Asked, fetch, foretold
from brainkit.fetch.inventory import stored
from brainkit.fetch.listing import blocks, text, values
from brainkit.fetch.plan import FetchPlan, Item, check_disks, plan
from brainkit.fetch.work import alone, carry_out, from_path

__all__ = [
    "Asked",
    "FetchPlan",
    "Item",
    "alone",
    "blocks",
    "carry_out",
    "check_disks",
    "fetch",
    "foretold",
    "from_path",
    "plan",
    "stored",
    "text",
    "values",
]
