"""What commands print with --json: every field, its type and its meaning; docs/json.md lists them.

A field is added, never renamed or given another meaning; one that is not known is null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

Path = Annotated[str, "absolute, or as it was given"]
Bytes = Annotated[int, "bytes"]


Outcome = Literal["kept", "broken", "excused", "left out"]


class Offer(TypedDict):
    """A part or method that a plugin registers."""

    kind: Annotated[str, "encoder, regressor, conditioner, sampler, decoder or method"]
    name: Annotated[str, "what `--use` or `run` takes"]
    summary: Annotated[str, "one sentence"]


class PluginEntry(TypedDict):
    """A plugin."""

    name: Annotated[str, "of its entry point"]
    distribution: Annotated[str, "name and version of what was installed"]
    broken: Annotated[str | None, "why it cannot be used; null when it can"]
    disputed: Annotated[list[str], "names that another distribution registers, too"]
    slow: Annotated[str | None, "with --check, what of its loading takes long"]
    offers: Annotated[list[Offer], "what it registers, in its order"]


class CheckEntry(TypedDict):
    """What came of one promise."""

    subject: Annotated[str, "plugin, KIND.NAME of a part or method, or checkpoint.NAME"]
    check: Annotated[str | None, "the promise; null when none of the subject's could be checked"]
    outcome: Annotated[Outcome, "kept, broken, excused by the plugin, or left out"]
    why: Annotated[str | None, "the fault, the excuse, or what is lacking"]


class PluginChecked(TypedDict):
    """A plugin and which of its promises it keeps."""

    name: Annotated[str, "of its entry point, or of its file"]
    distribution: Annotated[str, "name and version of what was installed, or the file"]
    broken: Annotated[int, "promises that are broken"]
    checks: Annotated[list[CheckEntry], "in the order they were made"]


class OptionEntry(TypedDict):
    """An option of a part."""

    address: Annotated[str, "what `-o` takes before the equals sign"]
    value: Annotated[Any, "with the preset and the options asked for"]
    help: Annotated[str, "what it is for"]
    allowed: Annotated[str, "limits or words; empty when any value of its type is"]


class PartEntry(TypedDict):
    """A part of a method."""

    address: Annotated[str, "what `--use` takes before the equals sign"]
    name: Annotated[str | None, "of the part; null for the selection, which is none"]
    summary: Annotated[str, "one sentence"]
    options: Annotated[list[OptionEntry], "in the order of their declaration"]
    weights: Annotated[list[str], "names of the checkpoints it loads"]


class MethodShown(TypedDict):
    """A method."""

    name: Annotated[str, "what `run` takes"]
    summary: Annotated[str, "one line"]
    source: Annotated[str, "the paper, and the code it was checked against"]
    papers: Annotated[list[str], "what to cite, a line of a reference list each"]
    samples: Annotated[int, "reconstructions of each image"]
    scores: Annotated[list[str], "groups of scores beside the standard ones"]
    parts: Annotated[list[PartEntry], "in the order of a run"]
    presets: Annotated[dict[str, dict[str, Any]], "options by address, by name of the preset"]
    notes: Annotated[list[str], "how the method deviates from its paper"]


State = Literal["whole", "missing", "damaged", "placed by hand"]


class CheckpointEntry(TypedDict):
    """A checkpoint and what the store has of it."""

    name: Annotated[str, "what `fetch` takes"]
    state: Annotated[State, "whole, missing, damaged, or placed by hand"]
    why: Annotated[str | None, "what is wrong, of damaged ones"]
    faults: Annotated[list[str], "what is wrong with what its plugin says of it"]
    size: Annotated[Bytes, "bytes on disk"]
    miniature: Annotated[bool, "whether a plugin ships small weights of it"]
    licence: Annotated[str | None, "of what was fetched"]
    origin: Annotated[str | None, "where it was fetched"]
    revision: Annotated[str | None, "commit there"]
    layout: Annotated[str | None, "how the published file names its tensors"]
    methods: Annotated[list[str], "that need it"]
    scores: Annotated[bool, "whether scores read it"]


class LeftoverEntry(TypedDict):
    """Something in the store that belongs to no checkpoint."""

    path: Annotated[Path, "of the file or folder"]
    size: Annotated[Bytes, "bytes"]
    why: Annotated[str, "what it is"]


class StoreEntry(TypedDict):
    """The checkpoint store."""

    store: Annotated[Path, "its folder"]
    size: Annotated[Bytes, "bytes of all checkpoints"]
    checkpoints: Annotated[list[CheckpointEntry], "each known one"]
    leftovers: Annotated[list[LeftoverEntry], "what else lies there"]


class FileEntry(TypedDict):
    """A file that is downloaded."""

    path: Annotated[str, "in its repository or below its address"]
    size: Annotated[Bytes | None, "bytes; null when nobody says"]
    missing: Annotated[Bytes | None, "bytes that have to come; null when that is not known"]
    origin: Annotated[str, "repository and commit, or address"]
    licence: Annotated[str, "under which it is published"]


class FetchEntry(TypedDict):
    """A checkpoint that is wanted."""

    name: Annotated[str, "of the checkpoint"]
    state: Annotated[State, "what the store has of it"]
    scores: Annotated[bool, "whether only scores read it, which can do without"]
    files: Annotated[list[FileEntry], "that would be downloaded, or were if they could be had"]
    problem: Annotated[str | None, "why it cannot be had"]


class DiskEntry(TypedDict):
    """A file system that is written."""

    folder: Annotated[Path, "on it"]
    needed: Annotated[Bytes, "bytes that are written"]
    free: Annotated[Bytes, "bytes that are free"]


class FetchPlanEntry(TypedDict):
    """What a fetch would do."""

    store: Annotated[Path, "folder of the checkpoint store"]
    checkpoints: Annotated[list[FetchEntry], "all that are wanted"]
    download: Annotated[Bytes, "bytes to download, of files whose size is known"]
    disks: Annotated[list[DiskEntry], "that are written"]


class DataFindings(TypedDict):
    """What a download has, lacks and contradicts."""

    root: Annotated[Path, "the folder looked at"]
    present: Annotated[list[str], "what is there and usable, a sentence each"]
    lacking: Annotated[list[str], "what is not there; only some methods need all of it"]
    contradictions: Annotated[list[str], "what is there and wrong, each with what to do"]
    warnings: Annotated[list[str], "what is valid, but makes scores mean less"]


class DamagedFile(TypedDict):
    """A file that is not what was written."""

    file: Annotated[Path, "of the file"]
    what: Annotated[str, "what is wrong with it"]


class VerificationEntry(TypedDict):
    """Whether files of results are as they were written."""

    folder: Annotated[Path, "that was looked through"]
    sound: Annotated[int, "files whose content is that of their record"]
    unrecorded: Annotated[list[Path], "whole files without a record"]
    damaged: Annotated[list[DamagedFile], "all others"]


class DeviceEntry(TypedDict):
    """A device that torch sees."""

    name: Annotated[str, "what `--device` takes"]
    model: Annotated[str, "what it calls itself"]
    memory: Annotated[Bytes | None, "bytes; null for the CPU"]


class Diagnosis(TypedDict):
    """What a bug report needs."""

    versions: Annotated[dict[str, str], "of Python and libraries; absent for none"]
    system: Annotated[str, "operating system and processor"]
    threads: Annotated[int, "that torch uses"]
    processors: Annotated[int, "there are"]
    devices: Annotated[list[DeviceEntry], "the CPU first"]
    plugins: Annotated[list[PluginEntry], "all that are installed"]
    home: Annotated[Path, "folder of caches and weights"]
    home_size: Annotated[Bytes | None, "bytes; null when it is absent"]
    store: Annotated[StoreEntry, "the released weights"]


class StepNeed(TypedDict):
    """What one step holds in memory, foretold."""

    step: Annotated[str, "which"]
    batch: Annotated[int, "images, or draws, at once"]
    weights: Annotated[Bytes, "bytes of its networks"]
    memory: Annotated[Bytes, "bytes at most, weights and activations"]
    unknown: Annotated[str, "why nothing is known; empty when it is"]


class RunPlan(TypedDict):
    """What a run would do."""

    method: Annotated[str, "its name"]
    data: Annotated[Path, "folder of the data"]
    subject: Annotated[str, "number or name"]
    weights: Annotated[str, "miniature, released or random"]
    training_images: Annotated[int, "that regressors learn from"]
    test_images: Annotated[int, "there are"]
    reconstructed: Annotated[int, "test images that are reconstructed"]
    samples: Annotated[int, "of each"]
    split: Annotated[str, "which images the test images are"]
    device: Annotated[str, "of the networks"]
    dtype: Annotated[str, "of the networks"]
    batch_size: Annotated[int, "images sampled at once"]
    reads: Annotated[Bytes, "bytes of betas"]
    folder: Annotated[Path, "of the run"]
    computed: Annotated[list[str], "steps that would be computed"]
    kept: Annotated[list[str], "steps whose files are there and current"]
    memory: Annotated[list[StepNeed], "of each step; empty on the miniature"]
    disk: Annotated[dict[str, Bytes], "bytes of each kind of file; empty on the miniature"]


class ReportEntry(TypedDict):
    """A report that was written."""

    folder: Annotated[Path, "of the run"]
    report: Annotated[Path, "of the report"]
    metrics: Annotated[Path, "of the scores; docs/evaluation.md explains every key"]


class RunDone(ReportEntry):
    """What a run left and did."""

    computed: Annotated[list[str], "steps that were computed"]
    kept: Annotated[list[str], "steps whose files were current"]


class ComparedColumn(TypedDict):
    """Runs of one composition, one a subject."""

    label: Annotated[str, "heading of the column"]
    method: Annotated[str, "name of the method"]
    runs: Annotated[dict[str, Path], "where each subject's lies, by subject"]
    settings: Annotated[dict[str, Any], "in what it differs from the other columns"]


class ComparedScore(TypedDict):
    """A row of a comparison."""

    key: Annotated[str, "of the score, as in metrics.json"]
    name: Annotated[str, "of the score"]
    group: Annotated[str, "pictures, captions or features"]
    unit: Annotated[str, "what the numbers are"]
    higher_is_better: Annotated[bool, "whether larger means closer"]
    values: Annotated[dict[str, float | None], "mean over the subjects, by column"]


class Compared(TypedDict):
    """Results side by side."""

    layout: Annotated[int, "version of the keys"]
    subjects: Annotated[list[str], "whose runs"]
    images: Annotated[list[Any], "ids that all runs have"]
    columns: Annotated[list[ComparedColumn], "what is compared"]
    scores: Annotated[list[ComparedScore], "rows"]
    differences: Annotated[list[dict[str, Any]], "paired differences; docs/compare.md"]
    published: Annotated[list[dict[str, Any]], "numbers of papers; docs/compare.md"]
    notes: Annotated[list[str], "what a reader has to know"]


class RegionEntry(TypedDict):
    """A named region of the brain in a map."""

    volume: Annotated[str, "of labels that names it"]
    name: Annotated[str, "of the region"]
    voxels: Annotated[int, "of it that are mapped"]
    mean: Annotated[float, "over them"]


class FeatureMapEntry(TypedDict):
    """A map of one feature in numbers."""

    feature: Annotated[str, "name of the feature"]
    kind: Annotated[str, "weight or selected; docs/map.md"]
    voxels: Annotated[int, "that are mapped"]
    mean: Annotated[float, "over them"]
    max: Annotated[float, "of the map"]
    regions: Annotated[list[RegionEntry], "that the data name"]


class MapEntry(TypedDict):
    """The maps of a run."""

    folder: Annotated[Path, "of the run"]
    maps: Annotated[list[FeatureMapEntry], "of each feature that was mapped"]
    files: Annotated[list[Path], "that were written, or are current"]


class RunEntry(TypedDict):
    """A run of a folder of results."""

    name: Annotated[str, "of its folder"]
    method: Annotated[str, "name of the method"]
    differs: Annotated[list[str], "what differs from the method's defaults"]
    subject: Annotated[str, "folder of the subject"]
    data: Annotated[str, "folder of the data"]
    images: Annotated[int, "that are scored"]
    more_images: Annotated[int, "that have pictures or captions and are not scored"]
    test_images: Annotated[str, "which those are taken from; empty when it is not finished"]
    date: Annotated[str, "when it was scored, ISO 8601; empty when it is not finished"]
    seconds: Annotated[float, "that its steps took"]
    scores: Annotated[dict[str, float | None], "by name"]
    problem: Annotated[str, "why it has no scores; empty when it has"]
    folder: Annotated[Path, "of the run"]


COMMANDS: dict[str, Any] = {
    "run": RunDone,
    "run --dry-run": RunPlan,
    "evaluate": ReportEntry,
    "report": list[ReportEntry],
    "map": list[MapEntry],
    "runs": list[RunEntry],
    "compare": Compared,
    "list-plugins": list[PluginEntry],
    "check-plugin": PluginChecked,
    "show": MethodShown,
    "fetch --dry-run": FetchPlanEntry,
    "checkpoints": StoreEntry,
    "check-data": DataFindings,
    "import-data": DataFindings,
    "verify": VerificationEntry,
    "doctor": Diagnosis,
}
"""What each command prints with --json."""
