"""Where the files of a parquet source lie; fetched from the Hugging Face hub if they are nowhere."""

from __future__ import annotations

import os
from pathlib import Path

from cpg_core.data.fields import ParquetSource
from cpg_core.data.shards import matching
from cpg_core.errors import CpgError

DOWNLOADS = Path("data/raw")


def find_folder(source: ParquetSource) -> Path:
    """The folder that holds the files, which are downloaded if they are nowhere."""
    if source.folder is not None:
        return source.folder
    assert source.subfolder is not None  # the model has checked it
    target = DOWNLOADS / source.subfolder
    roots = [os.environ[source.env]] if source.env and os.environ.get(source.env) else []
    places = [*(Path(root).expanduser() / source.subfolder for root in roots), target]
    for place in places:
        if all(matching(place, part) for part in ("train", "test")):
            return place
    looked = "found no train-*.parquet with test-*.parquet in " + " or ".join(map(str, places))
    if source.repo is None:
        raise CpgError(f"{looked}; put them there, or name a repo to download them from")
    return _download(source.repo, target, looked)


def _download(repo: str, target: Path, looked: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repo, repo_type="dataset", local_dir=target, allow_patterns="*.parquet")
    except Exception as error:  # of the net, of the hub, of the disk, or of what the hub's client makes of a name
        raise CpgError(
            f"{looked}, and cannot download the data set '{repo}' ({type(error).__name__}: {error}); "
            "check its name and the network, or put the files there by hand"
        ) from error
    return target
