"""Folders of generators: the user's own, or repositories of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inout_generators.common.checkpoints import PathLike

_FILES = ("*.json", "*.safetensors")


def fetched(
    path: PathLike, revision: str | None = None, *, shipped: Path | None = None, more: Sequence[str] = ()
) -> Path:
    """Return a folder: the user's, one that comes with the package, or one fetched from the Hub.

    Args:
        path: Of a folder, or a name.
        revision: Of a repository.
        shipped: Where the folders that come with the package are; None if there are none.
        more: Patterns of files to fetch beside JSON and safetensors.

    Raises:
        FileNotFoundError: There is no such folder, and it is no name of a repository.
    """
    name, there = str(path), Path(path)
    if there.is_dir():
        return there
    known = sorted(folder.name for folder in shipped.iterdir() if folder.is_dir()) if shipped else []
    if shipped is not None and name in known:
        return shipped / name
    if there.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        ours = f", none of the generators that come with the package ({', '.join(known)})," if known else ","
        raise FileNotFoundError(f"{name} is no folder{ours} and no repository of the Hugging Face Hub (owner/name)")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=[*_FILES, *more]))
