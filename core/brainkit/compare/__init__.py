"""Several results side by side: means over subjects, paired tests, a page, published numbers."""

from brainkit.compare.comparison import Comparison, Composition, Difference, Line, compared
from brainkit.compare.results import Results, read_results

__all__ = [
    "Comparison",
    "Composition",
    "Difference",
    "Line",
    "Results",
    "compared",
    "read_results",
]
