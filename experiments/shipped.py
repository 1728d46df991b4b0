"""The configurations that come with the project: in configs/ of a clone, inside the package once installed."""

from pathlib import Path

__all__ = ["configurations", "found"]

_PACKAGE = Path(__file__).parent


def configurations() -> list[Path]:
    """Files of `configs/` in the current folder or, where there are none, those that were installed."""
    folders = (Path("configs"), _PACKAGE / "configs", _PACKAGE.parent / "configs")
    return next((files for folder in folders if (files := sorted(folder.glob("*.toml")))), [])


def found(path: Path) -> Path:
    """The file itself or, for the bare name of a shipped configuration that is no file here, that configuration."""
    if path.exists() or path.parent != Path():
        return path
    return next((file for file in configurations() if path.name in (file.name, file.stem)), path)
