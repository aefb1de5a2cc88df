"""The straight line from NSD files to the report.

NSD files - load - encode - fit - predict - condition and sample - decode - score - report
"""

from __future__ import annotations

from pathlib import Path

from brainkit.checkpoints import CheckpointStore
from brainkit.console import Say
from brainkit.errors import UsageError
from brainkit.plugins import Registry
from brainkit.run.artefact import write_text
from brainkit.run.config import RunConfig
from brainkit.run.machine import quick_device, resolved_dtype
from brainkit.run.shared import SOURCES, Run, run_file
from brainkit.run.step import Artefact, Work

__all__ = ["Run", "chosen_store", "default_home", "place_of", "prepare", "run"]


def prepare(
    config: RunConfig, registry: Registry, say: Say, *, dry: bool = False, generating: bool = True
) -> Run:
    """Check everything that can be checked before work begins.

    Args:
        config: what is asked for.
        registry: of the installed parts.
        say: shows one line.
        dry: only say what would be done.
        generating: whether pictures or captions will be made; without, as before a training, the
            weights of encoders are enough.

    Raises:
        BrainkitError: a wrong name, option, path, device or missing weights.
    """
    from brainkit.nsd.files import require_root

    config = config.check()
    method = config.applied(registry.get)
    device = quick_device(config.device)
    store = chosen_store(config, device)
    if config.nsd is not None:
        require_root(config.nsd)
    method.check_checkpoints(store, generating=generating)
    if config.difficulty and config.nsd is not None:
        raise UsageError(
            "options miniature.* are of the simulated subject; leave out --nsd or them"
        )
    nsd = config.nsd if config.nsd is not None else made_miniature(config, say)
    root = config.work / place_of(config) / f"subj{config.subject:02d}"
    prepared = Run(config, method, registry, Work(root, say, dry), store, nsd)
    # Looks at every file's header and at the ids asked for, before anything is computed.
    _ = prepared.chosen
    return prepared


def chosen_store(config: RunConfig, device: str) -> CheckpointStore:
    """Give the store with the weights that are asked for."""
    dtype = resolved_dtype(config.dtype, device)
    if config.networks == "random":
        from brainkit.weights.random import RandomStore

        return RandomStore(default_home() / "random", device, dtype)
    return CheckpointStore(
        root=config.checkpoints or default_home() / "checkpoints",
        device=device,
        dtype=dtype,
        miniature=config.networks == "miniature",
    )


def place_of(config: RunConfig) -> str:
    """Name the folder for results of these data and weights, so that no two kinds mix.

    "miniature" and "nsd" are the usual ones, each with its own weights.
    """
    usual = RunConfig(config.method, nsd=config.nsd).networks
    return config.data if config.networks == usual else f"{config.data}-{config.networks}"


def made_miniature(config: RunConfig, say: Say) -> Path:
    """Give the NSD folder of the miniature, made on first use.

    Raises:
        UsageError: another subject than the miniature's, or a wrong difficulty, is asked for.
    """
    from brainkit.miniature import is_made, miniature
    from brainkit.miniature.brain import Difficulty
    from brainkit.options import replaced

    if config.subject != 1:
        raise UsageError(
            f"--subject is {config.subject}, but the miniature has subject 1 only; give --nsd"
        )
    difficulty = replaced(Difficulty(), config.difficulty, "miniature")
    if not is_made(difficulty=difficulty):
        say("miniature: making the simulated subject (once)")
    return miniature(difficulty=difficulty).nsd


def default_home() -> Path:
    """Give the folder for caches and weights: BRAINKIT_HOME, or the user's cache folder."""
    from brainkit.checkpoints.home import home

    return home()


def run(run: Run) -> Path:
    """Do every step that is not current and give the path of the report."""
    from brainkit.run import regress as steps
    from brainkit.run import sample as generate
    from brainkit.run.publish import publish

    work, method = run.work, run.method
    with work.held():
        trials = steps.load(run)
        features = {name: steps.encode(run, name) for name in method.encoders}
        predicted = {name: steps.predict(run, name, trials, features[name]) for name in features}
        made: dict[str, dict[str, list[Artefact]]] = {}
        for source in SOURCES if run.config.ceiling else SOURCES[:1]:
            read = predicted if source == "brain" else features
            latents = generate.sample(run, source, read)
            made[source] = generate.decode(run, source, latents)
            if source == "brain" and "image" in latents:
                generate.strips(run, latents["image"])
        if not work.dry:
            write_text(run.folder / "run.toml", run_file(run))
        path = publish(run, trials, features, made)
    summary = f"{len(work.computed)} steps {'to compute' if work.dry else 'computed'}"
    work.say(f"{summary}, {len(work.kept)} kept")
    return path
