"""The names of the labels in NSD's ROI volumes, for downloads without the colour tables."""

from __future__ import annotations

_EARLY = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")

# Names and order: NSD data manual; a colour table (`.mgz.ctab`) in the download wins over these.
ATLASES: dict[str, tuple[str, ...]] = {
    "nsdgeneral": ("nsdgeneral",),
    "prf-visualrois": _EARLY,
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": (
        *("early", "midventral", "midlateral", "midparietal", "ventral", "lateral"),
        "parietal",
    ),
    "Kastner2015": (
        *_EARLY,
        *("VO1", "VO2", "PHC1", "PHC2", "MST", "hMT", "LO2", "LO1", "V3b", "V3a"),
        *(f"IPS{number}" for number in range(6)),
        *("SPL1", "FEF"),
    ),
}


def built_in_names(volume: str) -> dict[int, str]:
    """Return label number to name for a known volume; empty for an unknown one.

    >>> built_in_names("floc-places")
    {1: 'OPA', 2: 'PPA', 3: 'RSC'}
    """
    return dict(enumerate(ATLASES.get(volume, ()), start=1))


def volume_of(label: str) -> str | None:
    """Return the volume that has a label of this name; the first one when several do.

    >>> volume_of("FFA-1"), volume_of("V1"), volume_of("V9")
    ('floc-faces', 'prf-visualrois', None)
    """
    for volume, names in ATLASES.items():
        if any(matches(label, name) for name in names):
            return volume
    return None


def matches(asked: str, label: str) -> bool:
    """Say whether a label is meant by a name; "V1" means both "V1v" and "V1d".

    >>> matches("V1", "V1d"), matches("V3", "V3a"), matches("hV4", "hV4")
    (True, False, True)
    """
    return label in {asked, f"{asked}v", f"{asked}d"}
