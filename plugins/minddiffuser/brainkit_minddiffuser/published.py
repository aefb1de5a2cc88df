"""Numbers that were printed for MindDiffuser and for Takagi & Nishimoto."""

from brainkit.papers import Published

SCREENSHOT = "Table 2 of arXiv 2303.14139, read from a picture of it"
UNKNOWN = (
    "Which CLIP, picture size and SSIM were used is not known, so that neither compares with a "
    "run's scores of these names."
)
LATER = "Table 2 of Neuro-Vision to Language, arXiv 2404.19438"
FOUR = "mean of subj01, 02, 05, 07"


def _table(system: str, clip: float, ssim: float, pcc: float) -> Published:
    return Published(
        system=system,
        scores={"CLIP similarity": clip, "SSIM": ssim, "PCC": pcc},
        source=SCREENSHOT,
        doubt=UNKNOWN,
    )


MINDDIFFUSER = (
    _table("MindDiffuser", 0.765, 0.354, 0.278),
    _table("MindDiffuser without its second stage", 0.597, 0.253, 0.183),
    _table("MindDiffuser without z", 0.616, 0.292, 0.066),
)
TAKAGI = (
    Published(
        system="Takagi & Nishimoto",
        scores={"AlexNet(2)": 83.0, "AlexNet(5)": 83.0, "Inception": 76.0, "CLIP": 77.0},
        subjects=FOUR,
        n=982,
        source=LATER,
        doubt="Quoted by a later paper, in percent. The method's own evaluation identifies stimuli "
        "among reconstructions and reads other layers.",
    ),
    Published(
        system="Takagi & Nishimoto, computed again from 40 sessions",
        scores={
            **{"PixCorr": 0.246, "SSIM": 0.410, "AlexNet(2)": 78.9, "AlexNet(5)": 85.6},
            **{"Inception": 83.8, "CLIP": 82.1, "EffNet-B": 0.811, "SwAV": 0.504},
        },
        subjects=FOUR,
        n=1000,
        source="Table 1 of MindEye2, arXiv 2403.11207",
        doubt="By other hands, with more sessions than the method's paper; profile mindeye2.",
    ),
    Published(
        system="Takagi & Nishimoto, z and c",
        scores={
            **{"CLIP, early": 0.755, "CLIP, mid": 0.71, "CLIP, late": 0.765},
            **{"CNN, early": 0.81, "CNN, mid": 0.815, "CNN, late": 0.815},
        },
        subjects="four subjects pooled",
        source="Figure 5 of the CVPR paper, read off bars within about 0.01",
        doubt="Identification of stimuli among reconstructions; which layers are early, mid and "
        "late is not said.",
    ),
    Published(
        system="Takagi & Nishimoto, as MindDiffuser's authors reproduced it",
        scores={"CLIP similarity": 0.642, "SSIM": 0.300, "PCC": 0.175},
        source=SCREENSHOT,
        doubt=f"A variant of the method by other hands. {UNKNOWN}",
    ),
)
