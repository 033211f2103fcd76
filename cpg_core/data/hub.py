"""Where the files of a parquet source lie; fetched from the Hugging Face hub if they are nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cpg_core.data.fields import AS_USUAL, Splits
from cpg_core.data.shards import matching, problem_of
from cpg_core.errors import CpgError

DOWNLOADS = Path("data/raw")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_ADDRESS = re.compile(r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)?datasets/([^?#]+)(?:[?#].*)?")
HUB_PAGES = re.compile(r"/(tree|blob|resolve|viewer|discussions)/.*")


def hub_name(repo: str) -> str:
    """The name of a data set on the hub, from its name or the address of its page."""
    address = HUB_ADDRESS.fullmatch(repo.strip())
    name = HUB_PAGES.sub("", address[1] + "/").strip("/") if address else repo.strip()
    if not HUB_NAME.fullmatch(name):
        raise ValueError(f"expected a data set of the Hugging Face hub, such as uoft-cs/cifar100, got {repo!r}")
    return name


def find_folder(subfolder: str, env: str | None, repo: str | None, splits: Splits = AS_USUAL) -> Path:
    """The folder that holds the files, which are downloaded if they are nowhere. A download that broke off goes on.

    Args:
        subfolder: its name in each place that is looked in.
        env: the variable that names the first place.
        repo: the data set on the hub to download.
        splits: what the files of its parts begin with.

    Raises:
        CpgError: they are nowhere, and cannot be downloaded.
    """
    target = DOWNLOADS / subfolder
    roots = [os.environ[env]] if env and os.environ.get(env) else []
    places = [*(Path(root).expanduser() / subfolder for root in roots), target]
    files = " with ".join(f"{name}-*.parquet" for name in splits.names)
    looked = f"found no {files} in " + " or ".join(map(str, places))
    for place in places:
        if all(matching(place, name, splits) for name in splits.names):
            if repo is None or place != target or (problem := problem_of(place, splits)) is None:
                return place
            looked = problem
    if repo is None:
        raise CpgError(f"{looked}; put them there, or name a repo to download them from")
    return _download(repo, target, looked)


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
