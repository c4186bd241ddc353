"""A contributor withdraws consent: what on this disk holds their images or was trained on them, and its deletion."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from groupshap.errors import UserError
from groupshap.store import RECORD_NAME, Store, StoreRun

__all__ = ["UnknownContributorError", "WithdrawalConfig", "delete_traces", "list_traces"]

logger = logging.getLogger(__name__)


class UnknownContributorError(UserError, ValueError):
    """Nobody of this name is known."""


class WithdrawalConfig(BaseModel):
    """Parameters of the pipeline ``withdrawal``."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    contributor: str | None = Field(default=None, description="Who withdraws; the name as in contributors.csv.")
    delete: bool = Field(default=False, description="False: only list; true: delete what is listed.")


def list_traces(
    name: str | None, contributors: pd.DataFrame, on_everybody: list[Path], coalitions: Store, pictures: list[Path]
) -> pd.DataFrame:
    """Everything that holds a contributor's images or was computed from them.

    Numbers measured on generated images (utilities, values) are not listed: they are results, not data.

    Args:
        name: The contributor.
        contributors: One row per player.
        on_everybody: Folders and files made from everybody's images: packs, tables, models, reference statistics.
        coalitions: Store of the coalitions' models; those with this member are listed.
        pictures: Folders whose pictures and pages may show their images.

    Returns:
        Columns ``what``, ``path`` (absolute), ``size_bytes``; one row per file or coalition folder.

    Raises:
        UnknownContributorError: no such contributor, neither now nor in any stored coalition.
    """
    own = list(_coalitions_with(name, coalitions))
    known = sorted({*contributors["contributor"], *(member for _, members in own for member in members)})
    if name is None or name not in known:
        raise UnknownContributorError(
            f"`withdrawal.contributor` is {name!r}: expected one of {', '.join(known)}. For example: "
            "kedro run --pipelines withdrawal --params withdrawal.contributor=NAME"
        )
    rows = [("made from everybody's images", path) for root in on_everybody for path in _files(root)]
    rows += [(f"model of {len(members)} contributors, theirs among them", folder) for folder, members in own]
    rows += [("may show their images", path) for root in pictures for path in _files(root) if _is_shown(path)]
    return pd.DataFrame(
        {
            "what": [what for what, _ in rows],
            "path": [str(path) for _, path in rows],
            "size_bytes": [_size_bytes(path) for _, path in rows],
        }
    )


def delete_traces(traces: pd.DataFrame) -> None:
    """Delete everything in a table of :func:`list_traces`."""
    for text in traces["path"]:
        path = Path(text)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    logger.warning(
        "Deleted %d files and folders, %.1f MiB. Their original images are wherever you keep them: remove them there, "
        "or leave the contributor out with data_grouping.leave_out, and run again.",
        len(traces), traces["size_bytes"].sum() / 2**20,
    )  # fmt: skip


def _coalitions_with(name: str | None, coalitions: Store) -> Iterator[tuple[Path, list[str]]]:
    """Folder and members of each stored coalition that has the contributor, of whatever recipe."""
    for folder in sorted(path.parent for path in coalitions.root.glob(f"*/*/{RECORD_NAME}")):
        record = (
            StoreRun(folder.parent).record(folder.name) if StoreRun(folder.parent).is_committed(folder.name) else {}
        )
        members = record.get("members") or []
        if name in members:
            yield folder, members


def _files(root: Path) -> list[Path]:
    """The files below a folder, or the file itself."""
    if root.is_file():
        return [root]
    return sorted(path for path in root.rglob("*") if path.is_file())


def _is_shown(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".html", ".jpg", ".svg", ".pdf")


def _size_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))
