"""manifest.json: the machine-readable list of the pictures in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from os.path import lexists
from pathlib import Path
from typing import Any

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import explained, make_parent, write_json
from fgvc_cli.runs.schema import Pictures, read_file

PAGE = "gallery-"


@dataclass
class Manifest:
    """The pictures of a folder by file name. Entries of earlier pictures are kept."""

    folder: Path
    kind: str
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def of(cls, folder: Path, kind: str, *, force: bool = False) -> Manifest:
        """The folder's manifest, empty if there is none yet. BadRequest if it cannot be read, unless forced."""
        file = folder / "manifest.json"
        if not lexists(file):
            return cls(folder, kind)
        try:
            entries = {entry["file"]: entry for entry in read_file(file, Pictures)["pictures"]}
        except FgvcError as error:
            if not force:
                raise BadRequest(f"{error}: --force replaces it, --out names a folder") from None
            entries = {}
        return cls(folder, kind, {name: entry for name, entry in entries.items() if (folder / name).is_file()})

    def must_be_free(self, names: list[str]) -> None:
        """BadRequest if one of these files already exists."""
        there = [name for name in names if (self.folder / name).exists()]
        if there:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise BadRequest(
                f"{self.folder / there[0]}{more} already exists: --force replaces it, --out names a folder"
            )

    def pages(self) -> list[str]:
        """File names of an earlier gallery's sheets."""
        return sorted(path.name for path in self.folder.glob(PAGE + "*.png"))

    def remove_pages(self) -> None:
        """Delete an earlier gallery, as a new one may have fewer sheets."""
        for name in self.pages():
            with explained(str(self.folder)):
                (self.folder / name).unlink()
            self.entries.pop(name, None)

    def add(self, file: str, facts: dict[str, Any]) -> None:
        """Add the entry of a written picture."""
        self.entries[file] = {"file": file, "kind": self.kind, **facts}
        self.changed = True

    def write(self) -> None:
        """Write the file atomically, unless no picture was added."""
        if self.changed:
            ordered = [self.entries[name] for name in sorted(self.entries)]
            make_parent(self.folder / "manifest.json")
            write_json(self.folder / "manifest.json", {"pictures": ordered})
