"""Score pictures and captions that any program made, under the rules that runs are scored by."""

from brainkit.evaluate.evaluation import Evaluation, Request, evaluate

__all__ = ["Evaluation", "Request", "evaluate"]
