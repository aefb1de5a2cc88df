"""Check what a training needs of a run: the same data, parts and work folder, but no generator."""

from __future__ import annotations

from brainkit.checkpoints import CheckpointStore
from brainkit.config import RunConfig
from brainkit.devices import quick_device, resolved_dtype
from brainkit.errors import CheckpointError
from brainkit.method import Method
from brainkit.plugins import Registry
from brainkit.progress import Say
from brainkit.run import Run, default_home, made_miniature
from brainkit.work import Work


def prepare(config: RunConfig, registry: Registry, say: Say) -> Run:
    """Prepare a run up to its regressors, as `brainkit run` with the same settings would.

    Raises:
        BrainkitError: a wrong name, option, path or device, or an encoder lacks its weights.
    """
    from brainkit.nsd.files import require_root

    config = config.check()
    method = config.applied(registry.get)
    device = quick_device(config.device)
    miniature = config.nsd is None
    store = CheckpointStore(
        root=config.checkpoints or default_home() / "checkpoints",
        device=device,
        dtype=resolved_dtype(config.dtype, device),
        miniature=miniature,
    )
    if config.nsd is not None:
        require_root(config.nsd)
    _require_encoders(method, store)
    place = "miniature" if miniature else "nsd"
    root = config.work / place / f"subj{config.subject:02d}"
    nsd = config.nsd if config.nsd is not None else made_miniature(config, say)
    prepared = Run(config, method, registry, Work(root, say), store, nsd)
    # Looks at every file's header before anything is computed.
    _ = prepared.plan
    return prepared


def _require_encoders(method: Method, store: CheckpointStore) -> None:
    needed = {c.name: c for encoder in method.encoders.values() for c in encoder.checkpoints}
    missing = [name for name, each in needed.items() if not store.has(each)]
    if missing:
        raise CheckpointError(
            f"{method.name} lacks the weights of {', '.join(missing)} in {store.root}; place each "
            "there as NAME/model.safetensors with NAME/config.json, or leave out --nsd"
        )


def fit_mappers(run: Run) -> None:
    """Load, encode and fit what is not current, and predict the test images.

    A later `brainkit run` with the same settings and work folder finds all of it current.
    """
    from brainkit import steps

    with run.work.held():
        trials = steps.load(run)
        for name in run.method.encoders:
            steps.predict(run, name, trials, steps.encode(run, name))
