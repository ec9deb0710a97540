"""Packages as pip would leave them: a folder with modules and the entry points that they bring."""

from collections.abc import Mapping
from pathlib import Path


def installed(
    site: Path, name: str, points: Mapping[str, Mapping[str, str]], modules: Mapping[str, str], version: str = "1.0"
) -> Path:
    """`points` maps groups to names to "module:Class", `modules` file names to their text. Returns `site`."""
    site.mkdir(parents=True, exist_ok=True)
    for file, text in modules.items():
        (site / file).write_text(text, "utf-8")
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in of.items()) for group, of in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site
