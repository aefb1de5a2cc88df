"""The straight line from NSD files to the report.

NSD files - load - encode - fit - predict - condition and sample - decode - score - report
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from brainkit.checkpoints import CheckpointStore
from brainkit.console import Say
from brainkit.disk import UnwritableError, require_utf8
from brainkit.errors import BrainkitError, UsageError
from brainkit.locks import locked
from brainkit.names import subject_name
from brainkit.plugins import Registry
from brainkit.run.artefact import Artefact, Taken, write_text
from brainkit.run.composition import made_with, told_of
from brainkit.run.config import MINIATURE, RunConfig
from brainkit.run.folder import REMEDY, Source, lock_of, older, older_runs, subject_folder
from brainkit.run.machine import quick_device, resolved_dtype
from brainkit.run.orphans import remove_orphans
from brainkit.run.own import fitted
from brainkit.run.owner import claim, require_own
from brainkit.run.presence import present
from brainkit.run.shared import Predictions, Run, Work, data_of, run_file
from brainkit.run.sources import SIDES, controls_of, of_source, require_controls, sources_of

T = TypeVar("T")

__all__ = ["Run", "at_work", "chosen_store", "default_home", "predictions", "prepare", "run"]


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
    require_utf8(config.work, "--work")
    method = config.applied(registry.get)
    for sentence in config.lost(registry.get):
        say(sentence)
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
    method = fitted(method, config, nsd, say)
    root = subject_folder(config.work, data_of(config, nsd), config.unusual, config.subject)
    prepared = _parted(Run(config, method, registry, Work(root, say, dry), store, nsd))
    require_controls(prepared)
    # Looks at every file's header and at the ids asked for, before anything is computed.
    _ = prepared.chosen
    require_own(prepared)
    if "other-subject" in controls_of(prepared):
        _ = _other_subject(prepared)
    return prepared


def _parted(run: Run) -> Run:
    """Return a run that knows its test images: those of clusters are only known once CLIP read."""
    if run.method.selection.split != "clusters":
        return run
    from brainkit.run.clusters import held_out

    return replace(run, held_out=at_work(run, held_out))


def chosen_store(config: RunConfig, device: str) -> CheckpointStore:
    """Return the store with the weights that are asked for."""
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


def made_miniature(config: RunConfig, say: Say) -> Path:
    """Return the NSD folder of the miniature with the run's subject, made on first use.

    Raises:
        UsageError: another subject than the miniature's, or a wrong difficulty, is asked for.
    """
    from brainkit.miniature import is_made, miniature
    from brainkit.miniature.brain import Difficulty
    from brainkit.miniature.people import VOXELS
    from brainkit.options import replaced

    if config.subject not in VOXELS:
        raise UsageError(
            f"--subject is {config.subject}, but the miniature has subjects 1, 2, 5 and 7; choose "
            "one of these, or give --nsd"
        )
    difficulty, subjects = Difficulty(), [config.subject]
    for name, value in config.difficulty.items():
        with told_of(config.origins.get(f"{MINIATURE}{name}")):
            difficulty = replaced(difficulty, {name: value}, "miniature")
    if not is_made(difficulty=difficulty, subjects=subjects):
        say("miniature: making the simulated subject (once)")
    return miniature(difficulty=difficulty, subjects=subjects).nsd


def default_home() -> Path:
    """Return the folder for caches and weights: BRAINKIT_HOME, or the user's cache folder."""
    from brainkit.checkpoints.home import home

    return home()


def predictions(run: Run) -> Predictions:
    """Do the first half of the line: load, encode, fit and predict."""
    from brainkit.run import encode, load, regress

    if not run.work.dry:
        _begin(run)
    trials = load.load(run)
    features = {name: encode.encode(run, name) for name in run.method.encoders}
    weights = {name: regress.fit(run, name, trials, of) for name, of in features.items()}
    decoded = {
        name: regress.predict(run, name, trials, of, weights[name]) for name, of in features.items()
    }
    return Predictions(trials, features, weights, decoded)


def _begin(run: Run) -> None:
    """Take the run's folder, with a run file in it from the start."""
    claim(run)
    if not run.folder.run_file.exists():
        with locked(lock_of(run.folder.run_file), "the run file", run.work.say, remedy=REMEDY):
            _keep_settings(run)


def at_work(run: Run, do: Callable[[Run], T]) -> T:
    """Do steps of a run, and say so: other processes may work beside, but remove nothing.

    A folder that cannot be written, as on a read-only or full disk, serves when all is current.

    Raises:
        UnwritableError: something is to be written, but cannot be.
    """
    if run.work.dry:
        return do(run)
    with ExitStack() as stack:
        with suppress(UnwritableError):
            stack.enter_context(present(run.work.root, run.work.say))
            count = remove_orphans(run.work.root, run.folder.others)
            if count:
                run.work.say(f"{count} files that a killed run left over are removed")
        return do(run)


def run(run: Run) -> Path:
    """Do every step that is not current and return the path of the report."""
    work = run.work
    if old := older_runs(run.folder, run.config.unusual):
        work.say(f"{older(old)}, in {run.folder.root}")
    path = at_work(run, _walked)
    summary = f"{len(work.computed)} steps {'to compute' if work.dry else 'computed'}"
    work.say(f"{summary}, {len(work.kept)} kept")
    return path


def _walked(run: Run) -> Path:
    from brainkit.run import decode, publish, sample

    known = predictions(run)
    latents: dict[Source, Mapping[str, Sequence[Artefact]]] = {}
    made: dict[Source, Mapping[str, Sequence[Artefact]]] = {}
    means = cache(partial(_means, run, known))
    for source in sources_of(run):
        features, of = _features(run, source, known, means), of_source(run, source)
        if source in controls_of(run):
            known = replace(known, controls={**known.controls, source: features})
        latents[source] = sample.sample(of, source, features, known.features)
        made[source] = decode.decode(of, source, latents[source], known.features)
    if "image" in latents["brain"]:
        decode.strips(run, latents["brain"]["image"], known.features)
    with ExitStack() as stack:
        if not run.work.dry:
            # Settings, scores and report are of one process. Without rights all has to be current.
            with suppress(UnwritableError):
                lock, what = lock_of(run.folder.run_file), f"the report of {run.name}"
                stack.enter_context(locked(lock, what, run.work.say))
            _keep_settings(run)
        return publish.publish(run, known, latents, made)


def _features(
    run: Run, source: Source, known: Predictions, means: Callable[[], Mapping[str, Artefact]]
) -> Mapping[str, Artefact]:
    """Return the features that a source reconstructs from; `means` are those of the null."""
    if source == "null":
        return means()
    if source == "noise":
        return _noise(run, known)
    if source == "other-subject":
        return _of_other_subject(run)
    if source in SIDES:
        encoders, first = run.method.encoders, (0,) * len(run.image_ids[1])
        return {
            name: known.decoded[name]
            if encoders[name].reads == SIDES[source]
            else Taken(mean.path, mean.recipe, first)
            for name, mean in means().items()
        }
    return known.decoded if source == "brain" else known.features


def _means(run: Run, known: Predictions) -> Mapping[str, Artefact]:
    from brainkit.run import regress

    of = known.features.items()
    return {name: regress.mean(run, name, known.trials, features) for name, features in of}


def _of_other_subject(run: Run) -> Mapping[str, Artefact]:
    """Return what another subject's regressors predict for the same images from its own brain."""
    other = _other_subject(run)
    known = at_work(other, predictions)
    whose = subject_name(other.config.subject)
    run.work.computed += [f"{whose}/{step}" for step in other.work.computed]
    rows = tuple(other.test_rows(run.image_ids[1].tolist()).tolist())
    return {name: Taken(file.path, file.recipe, rows) for name, file in known.decoded.items()}


def _other_subject(run: Run) -> Run:
    """Return the run of the first other subject who saw all test images.

    Raises:
        UsageError: there is none.
    """
    from brainkit.miniature.people import VOXELS

    wanted = set(run.image_ids[1].tolist())
    numbers = VOXELS if run.miniature else range(1, 9)
    shared = run.method.selection.split == "shared" and not run.dataset
    for subject in (each for each in numbers if shared and each != run.config.subject):
        config = replace(run.config, subject=subject, images=None, name=None, controls=None)
        # One without data is passed over for the next.
        with suppress(BrainkitError):
            other = prepare(config, run.registry, run.work.say, dry=run.work.dry, generating=False)
            if wanted <= set(other.image_ids[1].tolist()):
                return other
    raise UsageError(
        f"--controls is other-subject, but no other subject in {run.nsd} has all {len(wanted)} "
        "test images of this run; add the data of one (split shared), or leave it out"
    )


def _noise(run: Run, known: Predictions) -> Mapping[str, Artefact]:
    from brainkit.run import regress

    return {
        name: regress.noise(run, name, known.trials, features, known.decoded[name])
        for name, features in known.features.items()
    }


def _keep_settings(run: Run) -> None:
    """Write the run file, unless it says the same already."""
    path, text = run.folder.run_file, _kept_file(run)
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_text(path, text)


def _kept_file(run: Run) -> str:
    """Return the text of `run.toml`: the settings, and the plugins that it was run with."""
    import tomli_w

    return f"{run_file(run)}\n{tomli_w.dumps({'plugins': made_with(run.method, run.registry)})}"
