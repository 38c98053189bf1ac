"""Names of repositories on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fgvc_cli.errors import BadRequest
from fgvc_cli.values import brief

_PREFIX = re.compile("hf:/+")  # a path drops the second slash
_PART = re.compile("[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


@dataclass(frozen=True)
class HubName:
    """A repository, and the revision that is meant."""

    owner: str
    name: str
    revision: str | None = None  # branch, tag or commit; None: main

    @property
    def repository(self) -> str:
        """OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_hub_name(text: str) -> bool:
    """Whether a text says that it names a repository: it begins with hf://."""
    return _PREFIX.match(text) is not None


def hub_name(text: str) -> HubName:
    """The repository that OWNER/NAME or hf://OWNER/NAME names, with @REVISION or without.

    Raises:
        BadRequest: it is no such name.
    """
    plain = _PREFIX.sub("", text, count=1) if is_hub_name(text) else text
    path, at, revision = plain.partition("@")
    owner, slash, name = path.partition("/")
    sound = _fits(owner) and _fits(name) and not name.endswith(".git")
    if not slash or not sound or (at and (not _REVISION.fullmatch(revision) or ".." in revision)):
        raise BadRequest(
            f"{brief(text)} is no name on the hub: give OWNER/NAME, such as maria/finches: letters, digits, - _ ."
        )
    return HubName(owner, name, revision or None)


def _fits(part: str) -> bool:
    return _PART.fullmatch(part) is not None and "--" not in part and ".." not in part
