"""Files of the Hugging Face hub: which commit has them, what the caches hold, how they come.

The hub's own library answers all questions (HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are
honoured, files land in its cache); bytes are moved by `download`, since the library begins a killed
download anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.checkpoints.record import listed
from brainkit.errors import CheckpointError
from brainkit.fetch.client import TIMEOUT, unusable_proxy
from brainkit.fetch.download import Remote, begun, download, unreachable
from brainkit.weights import Origin, RemoteFile

if TYPE_CHECKING:
    from huggingface_hub.file_download import HfFileMetadata

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MOVED = {
    "bert-base-cased": "google-bert/bert-base-cased",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "gpt2": "openai-community/gpt2",
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "shi-labs/versatile-diffusion-model": "shi-labs/versatile-diffusion",
}
"""Ids that changed since papers and programs named them -> those of the same files now."""


def moved(repository: str) -> str:
    """Return the id that a repository has now, which is its own when it never moved.

    >>> moved("runwayml/stable-diffusion-v1-5")
    'stable-diffusion-v1-5/stable-diffusion-v1-5'
    >>> moved("openai/clip-vit-large-patch14")
    'openai/clip-vit-large-patch14'
    """
    return MOVED.get(repository, repository)


def names(repository: str) -> tuple[str, ...]:
    """Return every id a repository had, the present one first; caches may know it by an old one.

    >>> names("gpt2")
    ('openai-community/gpt2', 'gpt2')
    """
    present = moved(repository)
    return present, *(old for old, new in MOVED.items() if new == present)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, found.

    Attributes:
        repository: its present id.
        path: in the repository.
        commit: that has it.
        size: bytes, 0 when unknown.
        cached: where it lies already; None when it has to come.
        etag: what the hub calls its content; empty when it is cached.
        sha256: that is published for it, maybe only the first digits.
    """

    repository: str
    path: str
    commit: str
    size: int
    cached: Path | None = None
    etag: str = ""
    sha256: str = ""

    @property
    def missing(self) -> int:
        """Bytes that have to come."""
        return 0 if self.cached else max(self.size - begun(self.blob), 0)

    @property
    def blob(self) -> Path:
        """Where the hub's library looks for its content."""
        return cache_folder() / cached_repository(self.repository) / "blobs" / self.etag

    @property
    def lock(self) -> Path:
        """The file by which downloads of it, also the library's own, wait for each other."""
        return cache_folder() / ".locks" / cached_repository(self.repository) / f"{self.etag}.lock"


def forbidden() -> bool:
    """Say whether HF_HUB_OFFLINE forbids connections."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached_repository(repository: str) -> str:
    """Return the name of the folder that a cache has a repository's files in."""
    from huggingface_hub.file_download import repo_folder_name

    return str(repo_folder_name(repo_id=repository, repo_type="model"))


def cache_folder() -> Path:
    """Return the folder that downloaded files of the hub lie in."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def find(origin: Origin, *, connect: bool) -> list[HubFile]:
    """Find an origin's files in the cache or on the hub, all of one commit.

    Args:
        origin: has a repository.
        connect: whether the hub may be asked.

    Raises:
        CheckpointError: a file is not to be had; says why and what to do.
    """
    cached = _all_cached(origin)
    if cached:
        return cached
    if not connect:
        raise _not_cached(origin)
    found: list[HubFile] = []
    for file in origin.files:
        found.append(_asked(origin, file, found[0].commit if found else origin.revision or "main"))
    return found


def fetch(file: HubFile, progress: Callable[[int, int], Any] = lambda done, size: None) -> Path:
    """Return the path of a file in the hub's cache, where it is put when it is not there.

    Raises:
        CheckpointError: it cannot be had, or has another hash than is published.
    """
    if file.cached:
        return file.cached
    from huggingface_hub import hf_hub_download, hf_hub_url

    lfs, git = SHA256.fullmatch(file.etag), COMMIT.fullmatch(file.etag)
    if lfs or git:
        remote = Remote(
            hf_hub_url(file.repository, file.path, revision=file.commit),
            file.size,
            sha256=file.etag if lfs else file.sha256,
            git=file.etag if git else "",
            headers=_headers(),
        )
        download(remote, file.blob, progress, lock=file.lock)
    try:
        return Path(
            hf_hub_download(file.repository, file.path, revision=file.commit, etag_timeout=TIMEOUT)
        )
    except Exception as error:
        raise _explained(error, file.repository, file.path, file.commit) from error


def _headers() -> dict[str, str]:
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def snapshot(path: Path, file: HubFile) -> Path:
    """Return the folder that stands for the repository, from the path of one of its files."""
    return path.parents[len(Path(file.path).parts) - 1]


def _all_cached(origin: Origin) -> list[HubFile]:
    """Return all of an origin's files if the cache has them from one commit, otherwise none."""
    for repository in names(origin.repository):
        for commit in [origin.revision] if origin.revision else _cached_commits(repository):
            found = [_cached(repository, file, commit) for file in origin.files]
            if all(found):
                return [each for each in found if each]
    return []


def _cached(repository: str, file: RemoteFile, commit: str) -> HubFile | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, file.path, revision=commit)
    if not isinstance(path, str) or not _published(Path(path), file):
        return None
    return HubFile(repository, file.path, commit, Path(path).stat().st_size, Path(path))


def _published(path: Path, file: RemoteFile) -> bool:
    """Say whether a cached file can be the published one; large ones are named by their hash."""
    name = path.resolve().name
    if file.sha256 and SHA256.fullmatch(name) and not name.startswith(file.sha256):
        return False
    return file.size in (0, path.stat().st_size)


def _cached_commits(repository: str) -> list[str]:
    """Return the commits that the cache has files of, the newest of its main branch first."""
    folder = cache_folder() / cached_repository(repository)
    main, snapshots = folder / "refs" / "main", folder / "snapshots"
    first = [main.read_text(encoding="utf-8").strip()] if main.is_file() else []
    folders = listed(snapshots) if snapshots.is_dir() else []
    there = [each.name for each in folders]
    return [*first, *(each for each in there if each not in first)]


def _asked(origin: Origin, file: RemoteFile, revision: str) -> HubFile:
    repository = moved(origin.repository)
    try:
        told = _metadata(repository, file, revision)
        commit, etag, size = told.commit_hash, told.etag, told.size or 0
    except Exception as error:
        raise _explained(error, repository, file.path, origin.revision) from error
    if not commit or not etag:
        raise CheckpointError(
            f"{_endpoint()} did not answer as the Hugging Face hub does; check HF_ENDPOINT and the "
            "proxy, or give the files with --from PATH"
        )
    _agree(file, etag, size, f"{repository}/{file.path}")
    here = _cached(repository, file, commit)
    return here or HubFile(repository, file.path, commit, size, None, etag, file.sha256)


def _agree(file: RemoteFile, etag: str, size: int, name: str) -> None:
    """Refuse a file that is not the published one before a byte is moved.

    Raises:
        CheckpointError: the hub tells another size or hash than the release does.
    """
    wrong = ""
    if file.size and size and size != file.size:
        wrong = f"{size} bytes, expected {file.size}"
    elif file.sha256 and SHA256.fullmatch(etag) and not etag.startswith(file.sha256):
        wrong = f"the SHA-256 {etag}, expected {file.sha256}"
    if wrong:
        raise CheckpointError(
            f"{name} on the hub has {wrong}: another file has taken its place; give the published "
            "one with --from PATH, or another origin with --origin"
        )


def _metadata(repository: str, file: RemoteFile, revision: str) -> HfFileMetadata:
    """Ask the hub; a commit that is gone is no loss where the file is known by its hash."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return get_hf_file_metadata(
            hf_hub_url(repository, file.path, revision=revision), timeout=TIMEOUT
        )
    except RevisionNotFoundError:
        if not file.sha256:
            raise
        return get_hf_file_metadata(
            hf_hub_url(repository, file.path, revision="main"), timeout=TIMEOUT
        )


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _not_cached(origin: Origin) -> CheckpointError:
    repository = moved(origin.repository)
    wanted = ", ".join(file.path for file in origin.files)
    revision = f" at revision {origin.revision}" if origin.revision else ""
    return CheckpointError(
        f"{cache_folder()} does not have {wanted} of {repository}{revision}, and no connection may "
        "be made; run brainkit fetch on a machine with a connection and copy its checkpoint store "
        "or this cache, or give the files with --from PATH"
    )


def _explained(error: Exception, repository: str, path: str, revision: str) -> Exception:
    """Say in one sentence what an error of the hub's library means for the user."""
    from huggingface_hub import errors, get_token

    page = f"{_endpoint()}/{repository}"
    by_hand = "or give the files with --from PATH"
    if isinstance(error, CheckpointError):
        return error
    if isinstance(error, errors.GatedRepoError):
        ask = "set HF_TOKEN to a token of yours or run `hf auth login`"
        if get_token():
            ask = "wait for access or use the token of the account that has it"
        return CheckpointError(
            f"{repository} is given only to those who accepted its terms; do so at {page}, then "
            f"{ask} and fetch again, {by_hand}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        token = "" if get_token() else " with HF_TOKEN set if it is private"
        return CheckpointError(
            f"the hub has no repository {repository} any more, or hides it; look at {page}, try "
            f"again{token}, take another origin with --origin, {by_hand}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(
            f"{repository} has no revision {revision or 'main'} any more; see {page}/commits for "
            f"what became of {path}, {by_hand}"
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return CheckpointError(_no_entry(repository, path, page))
    return _network(error, page)


def _no_entry(repository: str, path: str, page: str) -> str:
    return (
        f"{repository} has no file {path} any more; see {page}/tree/main for where it went, or "
        "give the file with --from PATH"
    )


def _network(error: Exception, page: str) -> Exception:
    # What a client of the hub's library raises of a proxy that it does not know.
    if isinstance(error, ImportError) or (type(error) is ValueError and "proxy" in str(error)):
        return unusable_proxy(error)
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status in (401, 403):
        return CheckpointError(
            f"the hub refused {page} ({status}): the token it was shown is not valid or lacks "
            "rights; set HF_TOKEN to a working one, or give the files with --from PATH"
        )
    if status:
        return CheckpointError(
            f"the hub answered {status} for {page}; try again later, which goes on where it "
            "stopped, or give the files with --from PATH"
        )
    if isinstance(error, OSError) and error.filename:
        return CheckpointError(
            f"{error.filename} cannot be written ({error.strerror}); make room or set HF_HOME"
        )
    return unreachable(page, error)
