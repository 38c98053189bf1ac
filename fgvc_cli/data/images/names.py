"""Which files and folders are taken for a user's images, by their names: the one rule for every command."""

from __future__ import annotations

from pathlib import PurePath

_JPEG_NAMES = {".jpg", ".jpeg", ".jpe", ".jfif", ".jp2"}
_OTHER_NAMES = {".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"}
_PHONE_NAMES = {".avif", ".heic", ".heif", ".hif"}
EXTENSIONS = frozenset(_JPEG_NAMES | _OTHER_NAMES | _PHONE_NAMES)

_SYSTEM = frozenset(  # what archives, operating systems, file servers and Python leave among photos; in lower case
    {
        "__macosx",
        "@eadir",  # thumbnails of a Synology server
        "#recycle",
        "@recycle",
        "@recently-snapshot",
        "#snapshot",
        "@tmp",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "network trash folder",
        "temporary items",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "__pycache__",
    }
)


def has_image_ending(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return name[name.rfind(".") :].lower() in EXTENSIONS  # without a dot: the last letter, which is none


def is_system(name: str) -> bool:
    """Whether a file or folder of this name was left by the system, a file server or an archive."""
    return name.lower() in _SYSTEM


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden or the system's: it is never read when its folder is named."""
    return name[:1] == "." or name.lower() in _SYSTEM


def is_image_path(path: PurePath) -> bool:
    """Whether a file below a folder, with its path relative to that folder, is taken for one of the user's images."""
    return has_image_ending(path.name) and not any(map(is_passed_over, path.parts))
