"""What a run found, as one web page for people and one JSON object for machines."""

from brainkit.report.data import (
    MINIATURE_LINE,
    RANDOM_LINE,
    SMALL_LINE,
    BrainMap,
    Figure,
    Finding,
    Picture,
    ReportData,
    ReportRow,
    Way,
    metrics_json,
)
from brainkit.report.page import write_report
from brainkit.report.scores import Level, ScoreRow, read_metrics

__all__ = [
    "MINIATURE_LINE",
    "RANDOM_LINE",
    "SMALL_LINE",
    "BrainMap",
    "Figure",
    "Finding",
    "Level",
    "Picture",
    "ReportData",
    "ReportRow",
    "ScoreRow",
    "Way",
    "metrics_json",
    "read_metrics",
    "write_report",
]
