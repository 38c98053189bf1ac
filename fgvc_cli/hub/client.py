"""Files of the Hugging Face hub, by huggingface_hub. Every failure is one line that never holds a token."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.machine.imports import quick_imports

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?i:bearer)\s+\S+")
_LONGEST = 160  # characters of a reason
_SENDING = 6  # times as long as for other answers
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


class Unreachable(FgvcError):
    """The hub does not answer, or this machine is offline. What was fetched before may be used."""


def library() -> Any:
    """huggingface_hub, whose requests end when the hub does not answer. BadRequest if it is not installed."""
    try:
        with quick_imports():
            hub: Any = import_module("huggingface_hub")
    except ImportError:
        raise BadRequest("the hub needs the package huggingface_hub: pip install 'fgvc[hub]'") from None
    import_module("huggingface_hub.errors")
    import_module("huggingface_hub.utils").disable_progress_bars()
    _wait(_seconds())
    return hub


def _modern() -> Any:
    """The library, if it is not of the versions that cannot be told how long to wait."""
    hub = library()
    if str(hub.__version__).startswith("0."):
        raise BadRequest(f"huggingface_hub {hub.__version__} is too old: pip install --upgrade 'fgvc[hub]'")
    return hub


def _wait(seconds: float) -> None:
    """How long the hub may be silent; by default the library waits for ever."""
    import_module("huggingface_hub.utils").get_session().timeout = seconds


def _seconds() -> float:
    from huggingface_hub import constants

    return float(constants.HF_HUB_ETAG_TIMEOUT)


def fetch(
    repository: str, file: str, revision: str | None, what: str, *, local: bool = False, into: Path | None = None
) -> Path | None:
    """A file of a repository; None if there is none.

    Args:
        repository: OWNER/NAME.
        file: its path there.
        revision: branch, tag or commit; None: main.
        what: is fetched, for messages.
        local: of what was fetched before.
        into: a folder to write it to, at the same path; None: it is kept in the library's cache.

    Raises:
        BadRequest: there is no such repository or revision, or it may not be read.
        FgvcError: the hub failed; `Unreachable` if it does not answer.
    """
    hub = library()
    with explained(what, repository, revision):
        try:
            found = hub.hf_hub_download(repository, file, revision=revision, local_files_only=local, local_dir=into)
        except hub.errors.EntryNotFoundError as error:
            if isinstance(error, hub.errors.LocalEntryNotFoundError) and not local:  # the hub did not answer
                raise
            return None
    return Path(found)


def listing(repository: str, revision: str | None, what: str) -> tuple[str, dict[str, int | None]]:
    """The commit that a revision is now, and the size of each file in bytes. Errors as `fetch`."""
    hub = _modern()
    with explained(what, repository, revision):
        found = hub.HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=_seconds())
    return str(found.sha), {file.rfilename: file.size for file in found.siblings or ()}


def send(repository: str, folder: Path, message: str, *, private: bool = False) -> str:
    """Send all files of a folder as one commit, to a repository that is made if there is none.

    Returns:
        The repository's address.

    Raises:
        BadRequest: who sends is not known to the hub, or may not write there.
        FgvcError: the hub failed; `Unreachable` if it does not answer.
    """
    hub = _modern()
    _wait(_SENDING * _seconds())  # the hub answers when all is stored
    with explained(repository, repository, None, writes=True):
        api = hub.HfApi()
        address = api.create_repo(repository, private=private or None, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return str(address)


@contextmanager
def explained(what: str, repository: str, revision: str | None, *, writes: bool = False) -> Iterator[None]:
    """Within, every failure of the library becomes one line that says what to do."""
    try:
        with _silent(), _by_http():
            yield
    except FgvcError:
        raise
    except Exception as error:  # the libraries for the network have types of their own
        raise _trouble(error, what, repository, revision, writes=writes) from None


def _trouble(error: Exception, what: str, repository: str, revision: str | None, *, writes: bool) -> FgvcError:
    from huggingface_hub import errors as hub

    if isinstance(error, hub.HFValidationError):
        return BadRequest(f"{what}: {repository!r} is no name on the hub: give OWNER/NAME")
    if isinstance(error, hub.GatedRepoError):
        page = f"accept them on the page of {repository} and {_LOG_IN}"
        return BadRequest(f"{what} is only for those who accepted its terms: {page}")
    if isinstance(error, hub.RevisionNotFoundError):
        return BadRequest(f"{what}: {repository} has no revision {revision!r}")
    if isinstance(error, hub.LocalTokenNotFoundError):
        return BadRequest(f"{what}: the hub does not know who you are: {_LOG_IN}")
    answer = getattr(error, "response", None)
    if isinstance(error, hub.HfHubHTTPError) and answer is not None:
        return _refused(int(answer.status_code), what, repository, writes=writes)
    if _of_network(error):
        return _unreachable(error, what)
    return FgvcError(f"{what}: what the hub answered is not understood ({_reason(error)})")


def _of_network(error: BaseException | None) -> bool:
    """Whether a connection failed. The library wraps the errors of its own libraries, which differ by version."""
    while error is not None:
        home = type(error).__module__.partition(".")[0]
        if home.startswith(("httpx", "httpcore", "requests", "urllib3")) or isinstance(error, OSError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refused(status: int, what: str, repository: str, *, writes: bool) -> FgvcError:
    """What an answer of the hub with this status means."""
    if status == 401 and writes:
        return BadRequest(f"{what}: the hub does not know who you are: {_LOG_IN}")
    if status in (401, 404) and not writes:
        return BadRequest(
            f"{what}: the hub has no {repository}, or it is private: check the name; for what is yours, {_LOG_IN}"
        )
    if status in (401, 403):
        may = "write to" if writes else "read"
        return BadRequest(f"{what}: the hub says that you may not {may} {repository}: use a token that may ({_LOG_IN})")
    if status == 404:
        return BadRequest(f"{what}: the hub has no place for {repository}: check the owner's name")
    if status == 429:
        return FgvcError(f"{what}: too many requests: the hub asks to wait some minutes")
    return FgvcError(f"{what}: the hub failed (it answered {status}): try again later")


def _unreachable(error: Exception, what: str) -> Unreachable:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Unreachable(f"{what}: offline mode is on: unset HF_HUB_OFFLINE to reach the hub")
    return Unreachable(
        f"{what}: the hub at {constants.ENDPOINT} does not answer ({_reason(error)}): check the connection, try again"
    )


def _reason(error: Exception) -> str:
    """The first line of an error, or of its cause, without a token."""
    cause = error.__cause__ or error.__context__ or error
    name = type(cause).__name__
    if "timeout" in name.lower():
        return f"nothing came for {_seconds():g} s"
    line = (str(cause).strip() or name).splitlines()[0]
    return without_token(line)[:_LONGEST]


def without_token(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text without anything that is, or looks like, a token of the hub."""
    known = (environment or os.environ).get("HF_TOKEN")
    text = text.replace(known, "[token]") if known else text
    return _TOKEN.sub("[token]", text)


@contextmanager
def _by_http() -> Iterator[None]:
    """Without the library's own protocol for large files, which goes on for minutes when nothing answers."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextmanager
def _silent() -> Iterator[None]:
    """Without the library's line for each of its attempts: the last one's error is told."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
