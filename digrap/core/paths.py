"""Paths in a clone of the repository."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / "configs"
OUTPUTS = REPO / "outputs"
PUBLISHED = REPO / "docs" / "results"
DATA = REPO / "data"
SHIPPED = (DATA / "mini", DATA / "splits")  # part of the repository, though they lie in the data's folder


def data_root_option(data_root: Path) -> list[str]:
    """The argument that a command needs to find the data there; none for the project's own folder."""
    return [] if data_root.absolute() == DATA else [f"data_root={data_root}"]


def places(data_root: str, data: str, repo: str) -> list[tuple[str, str]]:
    """(folder, its name anywhere) for the paths of this machine: `data` stands for the data root, `repo` for the
    repository. The first folder that a path lies in counts: what is shipped is the repository's."""
    shipped = [(str(folder), f"{repo}/{folder.relative_to(REPO).as_posix()}") for folder in SHIPPED]
    return [*shipped, (data_root.rstrip("/") or "/", data), (str(REPO), repo)]
