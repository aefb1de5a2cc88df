"""What a download has, lacks and contradicts, without reading anything large whole."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from brainkit.errors import BrainkitError
from brainkit.nsd.atlases import ATLASES
from brainkit.nsd.betas import SessionGrid, inspect, looks_cut
from brainkit.nsd.design import (
    SPLITS,
    Design,
    check_presentations,
    load_design,
    load_presentations,
)
from brainkit.nsd.files import (
    CURATED,
    PREPARATIONS,
    Subject,
    annotation_paths,
    betas_folder,
    curated_path,
    exists,
    flaw,
    growing,
    listed,
    require_root,
    responses_path,
    roi_folder,
    stimuli_path,
    stimulus_table_path,
    subject_name,
    told,
)
from brainkit.nsd.layout import LAYOUT_FILE, Layout, read_layout
from brainkit.nsd.nifti import inflates
from brainkit.nsd.noise import NCSNR
from brainkit.nsd.roi import load_roi_volume
from brainkit.nsd.sessions import FORMATS, left_over_sessions, present_sessions, session_path
from brainkit.nsd.stimuli import count_stimuli
from brainkit.nsd.tables import load_stimulus_table
from brainkit.nsd.twins import leak, repeated_photographs, same_files
from brainkit.schema import DataFindings
from brainkit.tables import Block, Title, laid_out

Found = TypeVar("Found")


@dataclass(frozen=True)
class Report:
    """What `check_data` found, as sentences.

    Attributes:
        root: the folder looked at.
        present: what is there and usable.
        lacking: what is not there; only some methods need all of it.
        contradictions: what is there and wrong, each with what to do.
        warnings: what is valid, but makes scores mean less.
    """

    root: Path
    present: tuple[str, ...]
    lacking: tuple[str, ...]
    contradictions: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the report for people, one finding a line."""
        return laid_out(self.blocks())

    def blocks(self) -> list[Block]:
        """Return what `check-data` prints."""
        parts: list[str] = [str(self.root)]
        for title, lines in (
            ("has", self.present),
            ("lacks", self.lacking),
            ("contradictions", self.contradictions),
        ):
            parts += ["", Title(f"{title}:"), *(f"  {line}" for line in lines or ("nothing",))]
        if self.warnings:
            parts += ["", Title("warnings:"), *(f"  {line}" for line in self.warnings)]
        return [*parts]

    def json(self) -> DataFindings:
        """Return the report for programs."""
        return {
            "root": str(self.root),
            "present": list(self.present),
            "lacking": list(self.lacking),
            "contradictions": list(self.contradictions),
            "warnings": list(self.warnings),
        }


@dataclass
class _Findings:
    present: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def attempt(self, make: Callable[[], Found]) -> Found | None:
        try:
            return make()
        except BrainkitError as error:
            self.contradictions.append(str(error))
            return None


def check_data(root: Path, subject: Subject | None = None, layout: Layout | None = None) -> Report:
    """Say what an NSD download has, lacks and contradicts, and what makes its scores mean less.

    Reads headers, small tables, and one row of pixels of each picture that a subject saw.

    Args:
        root: folder that holds `nsddata/` and `nsddata_betas/`.
        subject: look at this subject only; all that have a folder by default.
        layout: sizes to check against; the download's own by default.

    Raises:
        DataError: the folder does not exist or is no NSD download.
        UsageError: there is no such subject.
    """
    layout = layout or read_layout(require_root(root))
    findings = _Findings()
    if exists(root / LAYOUT_FILE):
        whose = f"the data {layout.dataset!r}, imported" if layout.dataset else "sizes of its own"
        findings.present.append(f"{LAYOUT_FILE}: {whose} instead of the release's")
    for section in (_check_table, _check_pictures):
        findings.attempt(partial(section, root, layout, findings))
    comparable = not findings.contradictions
    findings.attempt(partial(_check_captions, root, layout, findings))
    numbers = [subject] if subject is not None else _subjects(root, layout)
    if not numbers:
        findings.lacking.append("every subject: no subjNN folder below nsddata or nsddata_betas")
    presented = None
    if not layout.dataset and flaw(stimulus_table_path(root)) is None:
        presented = findings.attempt(
            partial(load_presentations, root, [int(each) for each in numbers])
        )
    for number in numbers:
        design = _check_design(root, number, layout, findings)
        if design is not None and presented is not None:
            shown = presented[int(number)]
            findings.attempt(partial(check_presentations, root, number, design, shown))
        if design is not None and comparable:
            findings.attempt(partial(_check_leaks, root, number, layout, design, findings))
        _check_subject(root, number, layout, design, findings)
    return Report(
        root,
        tuple(findings.present),
        tuple(findings.lacking),
        tuple(findings.contradictions),
        tuple(findings.warnings),
    )


def _subjects(root: Path, layout: Layout) -> list[Subject]:
    tops = (root / "nsddata/ppdata", root / "nsddata_betas/ppdata")
    return [each for each in layout.known if any(exists(top / subject_name(each)) for top in tops)]


def _check_table(root: Path, layout: Layout, findings: _Findings) -> None:
    table = stimulus_table_path(root)
    if _there(table, findings):
        rows = findings.attempt(lambda: len(load_stimulus_table(root).coco_ids))
        _compare(findings, str(table), rows, layout.stimuli, "rows")


def _check_pictures(root: Path, layout: Layout, findings: _Findings) -> None:
    pictures = stimuli_path(root)
    if _there(pictures, findings):
        count = findings.attempt(lambda: count_stimuli(root))
        _compare(findings, str(pictures), count, layout.stimuli, "pictures")


def _check_captions(root: Path, layout: Layout, findings: _Findings) -> None:
    captions = [path for path in annotation_paths(root) if exists(path)]
    if layout.dataset and not captions:
        findings.lacking.append("captions (optional; only parts that read them need any)")
        return
    for path in captions or annotation_paths(root)[:2]:
        if _there(path, findings) and findings.attempt(partial(_whole_json, path, findings)):
            findings.present.append(f"{path.name} (COCO captions)")
    if layout.dataset:
        return
    if curated_path(root) is None:
        findings.lacking.append(f"{CURATED} (optional; COCO's captions serve instead)")
    else:
        findings.present.append(f"{CURATED} (curated captions)")


def _check_design(
    root: Path, subject: Subject, layout: Layout, findings: _Findings
) -> Design | None:
    layout.subject(subject)
    design = findings.attempt(partial(load_design, root, subject, layout))
    if design is not None:
        table = "trials.tsv" if layout.dataset else "nsd_expdesign.mat"
        findings.present.append(f"{subject_name(subject)}: {table}, {len(design.image_ids)} trials")
    return design


def _check_leaks(
    root: Path, subject: Subject, layout: Layout, design: Design, findings: _Findings
) -> None:
    sessions = range(1, layout.subject(subject).sessions + 1)
    photographs = repeated_photographs(root, design.image_ids)
    for split in SPLITS:
        sides = [design.presented(sessions, test=side, split=split) for side in (False, True)]
        sentence = leak(photographs, split, *sides)
        if sentence:
            findings.warnings.append(f"{subject_name(subject)}: {sentence}")


def _check_subject(
    root: Path, subject: Subject, layout: Layout, design: Design | None, findings: _Findings
) -> None:
    if not layout.dataset:
        findings.attempt(partial(_check_responses, root, subject, findings))
    findings.attempt(partial(_check_rois, root, subject, layout, findings))
    for preparation in dict.fromkeys(map(layout.preparation, PREPARATIONS)):
        check = partial(_check_preparation, root, subject, preparation, layout, design, findings)
        findings.attempt(check)


def _check_responses(root: Path, subject: Subject, findings: _Findings) -> None:
    name = subject_name(subject)
    if exists(responses_path(root, subject)):
        findings.present.append(f"{name}: responses.tsv")
    else:
        findings.lacking.append(f"{name}: responses.tsv (optional; guards against mixed subjects)")


def _check_rois(root: Path, subject: Subject, layout: Layout, findings: _Findings) -> None:
    folder = roi_folder(root, subject, layout.resolution)
    names = [path.name.removesuffix(".nii.gz") for path in listed(folder, ".nii.gz")]
    _check_packed(folder, findings)
    whole = [each for each in names if not each.startswith(("lh.", "rh."))]
    usable = []
    for each in whole:
        volume = findings.attempt(partial(load_roi_volume, root, subject, each, layout))
        if volume is None:
            continue
        n_voxels = int((volume.labels > 0).sum())
        usable.append(f"{each} ({n_voxels})")
        if n_voxels == 0:
            findings.contradictions.append(
                f"{volume.path} has no voxels above 0; download it again"
            )
    if usable:
        findings.present.append(
            f"{subject_name(subject)}: ROI volumes (voxels) {', '.join(usable)}"
        )
    missing = [each for each in ATLASES if each not in whole]
    if missing and not layout.dataset:
        findings.lacking.append(f"{subject_name(subject)}: ROI volumes {', '.join(missing)}")


def _check_preparation(
    root: Path,
    subject: Subject,
    preparation: str,
    layout: Layout,
    design: Design | None,
    findings: _Findings,
) -> None:
    folder = betas_folder(root, subject, preparation=preparation, resolution=layout.resolution)
    label = f"{subject_name(subject)}: {preparation}"
    total = layout.subject(subject).sessions
    lengths, volume = layout.lengths(subject), layout.subject(subject).volume
    there = present_sessions(folder, total, FORMATS["auto"])
    _check_packed(folder, findings)
    for suffix in FORMATS["auto"]:
        good = []
        for session in present_sessions(folder, total, (suffix,)):
            path = session_path(folder, session, suffix)
            grid = SessionGrid(volume, lengths[session - 1], layout.units)
            if findings.attempt(partial(_check_session, path, grid, findings)):
                good.append(session)
        findings.attempt(partial(_check_copies, folder, good, suffix, findings))
        if good:
            tests = f", {_tests(design, good)}" if design else ""
            findings.present.append(f"{label}: sessions {ranges(good)} as {suffix}{tests}")
    unfinished = left_over_sessions(folder, total)
    if unfinished:
        findings.contradictions.append(
            f"{label}: only partial downloads of sessions {ranges(unfinished)}; download them again"
        )
    missing = [session for session in range(1, total + 1) if session not in there]
    if missing:
        findings.lacking.append(f"{label}: sessions {ranges(missing)}")
    if there and not exists(folder / NCSNR):
        findings.lacking.append(f"{label}: {NCSNR} (optional; needed for the noise ceiling)")


def _check_copies(folder: Path, sessions: list[int], suffix: str, findings: _Findings) -> None:
    for twins in same_files([session_path(folder, session, suffix) for session in sessions]):
        others = f" (likewise {len(twins) - 2} more)" if twins[2:] else ""
        findings.contradictions.append(
            f"{twins[1]} is the same as {twins[0].name}{others}; only one of them can be of its "
            "session, download them again"
        )


def _check_packed(folder: Path, findings: _Findings) -> None:
    unpacked = [path for path in listed(folder, ".nii") if not exists(path.with_suffix(".nii.gz"))]
    if unpacked:
        others = f" and {len(unpacked) - 1} more are" if len(unpacked) > 1 else " is"
        findings.contradictions.append(f"{unpacked[0]}{others} not packed; pack them with `gzip`")


def _check_session(path: Path, grid: SessionGrid, findings: _Findings) -> bool:
    header = inspect(path, grid)
    if header is None or not looks_cut(path, header) or inflates(path, header.n_bytes):
        return True
    findings.contradictions.append(
        f"{path} seems truncated ({path.stat().st_size} bytes; its ending does not fit its header);"
        f" download it again{growing(path)}"
    )
    return False


def _tests(design: Design, sessions: list[int]) -> str:
    shared, others = (len(design.presented(sessions, test=True, split=each)) for each in SPLITS)
    return f"{shared} test images ({others} with split {SPLITS[1]})"


def _there(path: Path, findings: _Findings) -> bool:
    if not exists(path) and not path.is_symlink():
        findings.lacking.append(str(path))
        return False
    said = flaw(path)
    if said:
        findings.contradictions.append(f"{path} {said}")
    return said is None


def _whole_json(path: Path, findings: _Findings) -> bool:
    with told(path), path.open("rb") as file:
        first = file.read(4).removeprefix(BOM_UTF8)[:1]
        file.seek(max(-64, -path.stat().st_size), 2)
        last = file.read().rstrip()[-1:]
    if (first, last) == (b"{", b"}"):
        return True
    findings.contradictions.append(
        f"{path} is truncated or no JSON ({path.stat().st_size} bytes); download it again"
    )
    return False


def _compare(findings: _Findings, what: str, found: int | None, expected: int, of: str) -> None:
    if found is None:
        return
    if found == expected:
        findings.present.append(f"{Path(what).name}: {found} {of}")
    else:
        findings.contradictions.append(
            f"{what} has {found} {of}, expected {expected}; download it again"
        )


def ranges(numbers: list[int]) -> str:
    """Write ascending numbers as ranges.

    >>> ranges([1, 2, 3, 7, 9, 10])
    '1-3, 7, 9-10'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
