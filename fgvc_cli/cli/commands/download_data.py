"""`fgvc download-data`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import expanded
from fgvc_cli.streams import say, tell

if TYPE_CHECKING:
    from fgvc_cli.api.catalog import Dataset
    from fgvc_cli.data.download.install import Request
    from fgvc_cli.data.download.state import Here
    from fgvc_cli.data.download.verify import Verdict

_SHOWN = 20  # problems


def download_data(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Datasets. Default: show a table.")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Show only the table, without a prompt.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences and start.")] = False,
    root: Annotated[
        Path | None,
        typer.Option("--root", "--data-dir", help="Folder for datasets. Default: $FGVC_DATA_DIR, then data/."),
    ] = None,
    from_archive: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An archive, file or folder that you already have; may be repeated."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use local files only, no network connection.")] = False,
    mini: Annotated[bool, typer.Option("--mini", help="The smaller official training set (inat2021 only).")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check local datasets: counts, lists, every image. Nothing is downloaded.")
    ] = False,
    hashes: Annotated[
        bool, typer.Option("--hash", help="With --verify: also compare every file's checksum with the recorded one.")
    ] = False,
) -> None:
    """Download datasets, or check that local ones are complete.

    To continue an interrupted download where it stopped, run the same command again.
    """
    _check(names or [], list_only, from_archive or [], mini, verify, hashes)
    if verify:
        _verify(names or [], root, hashes)
        return
    if list_only or not names:
        _table(root)
        names = [] if list_only or not _at_a_terminal() else _asked()
        _check(names, list_only, from_archive or [], mini, verify, hashes)
    if names:
        _get(names, root, tuple(map(expanded, from_archive or ())), offline, mini, yes)


def _check(names: list[str], list_only: bool, given: list[Path], mini: bool, verify: bool, hashes: bool) -> None:
    """BadRequest for unknown names and for flags that do not go together."""
    from fgvc_cli.api.catalog.downloading import requested

    for name in names:
        requested(name, None, mini=mini)
    if given and (len(names) != 1 or list_only or verify):
        raise BadRequest("--from-archive needs exactly one dataset: fgvc download-data NAME --from-archive FILE")
    if hashes and not verify:
        raise BadRequest("--hash needs --verify: a download is always compared with its checksum")


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _asked() -> list[str]:
    answer = typer.prompt("Which datasets? (names separated by spaces, Enter for none)", default="", show_default=False)
    return str(answer).replace(",", " ").split()


def _table(root: Path | None) -> None:
    """Print the datasets with title, download size, licence and local state."""
    from fgvc_cli.api import catalog
    from fgvc_cli.cli.tables import show
    from fgvc_cli.data.download.progress import amount
    from fgvc_cli.terminal import new_table

    table = new_table("dataset", "what", "download", "licence", "here", numbers=("download",))
    for name, one in catalog.datasets(root).items():
        if one.downloadable:
            size = amount(one.size) if one.size else "?"
            text = f"{size}, by hand" if one.by_hand else size
            table.add_row(name, one.facts.title, text, one.facts.licence, _here(one))
    show(table)
    say("download one: fgvc download-data NAME (by hand: the command says which files to get and where)")
    say("check the local datasets: fgvc download-data --verify")


def _here(dataset: Dataset) -> str:
    """The table cell with the local state of a dataset."""
    from fgvc_cli.data.download.progress import amount

    found, count = dataset.state, dataset.fetched
    if found is not None:
        return f"{'complete' if found.whole else 'incomplete'}: {found.folder}"
    return f"{amount(count)} downloaded so far" if count else "no"


def _get(names: list[str], root: Path | None, given: tuple[Path, ...], offline: bool, mini: bool, yes: bool) -> None:
    """Show the licences, then install one dataset after the other; a failure does not stop the rest."""
    from fgvc_cli.api.catalog.downloading import download, free_of_consent, requested
    from fgvc_cli.machine.interrupt import Stopped

    names = list(dict.fromkeys(names))
    requests = [requested(name, root, given, offline=offline, mini=mini) for name in names]
    for request in requests:
        _introduce(request)
    if not (yes or given or offline or all(map(free_of_consent, requests))):
        _agree()
    failures: list[FgvcError] = []
    for name in names:
        try:
            here = download(name, yes=True, root=root, from_archive=given, offline=offline, mini=mini)
            say(*_done(name, here))
        except KeyboardInterrupt:
            raise Stopped(
                "stopped; the downloaded part is kept: run the same command again to continue from there"
            ) from None
        except FgvcError as error:
            failures.append(error)
    for failed in failures[:-1]:
        tell(f"fgvc: {failed}")
    if failures:
        raise failures[-1]


def _introduce(request: Request) -> None:
    """Print title, licence, target folder and download size; for a download by hand, the steps."""
    from fgvc_cli.data.download.install import by_hand
    from fgvc_cli.data.download.progress import amount
    from fgvc_cli.data.facts import CATALOG

    facts = CATALOG[request.name]
    say(f"{request.name}: {facts.title} ({facts.home})", f"  licence: {facts.licence}", f"  folder: {request.target}")
    if by_hand(request.way) and not request.given:
        say("  to download by hand:")
        for number, step in enumerate(request.bundle.by_hand, start=1):
            say(f"  {number}. {step}")
    elif not request.given:
        say(f"  to download: {amount(request.way.size)}")


def _agree() -> None:
    if not sys.stdin.isatty():
        raise BadRequest("there is no terminal to ask whether you accept the licence above: add --yes if you do")
    if not typer.confirm("Do you accept the licence and want to start the download?"):
        raise typer.Abort


def _done(name: str, here: Here) -> tuple[str, ...]:
    if here.whole:
        return (f"{name} is complete: {here.folder}",)
    return f"{name} is installed in part, from the files given: {here.folder}", f"  {here.note}"


def _verify(names: list[str], root: Path | None, hashes: bool) -> None:
    """Check the named datasets, or all local ones. FgvcError if anything is wrong."""
    from fgvc_cli.api import catalog
    from fgvc_cli.data.catalog import data_roots, require

    local = [name for name, one in catalog.datasets(root).items() if one.downloadable and one.folder]
    if not names and not local:
        raise BadRequest(f"no dataset is in {' or '.join(map(str, data_roots(root)))}; give another folder with --root")
    for name in names:
        require(name, root)  # what is missing is said before what takes minutes
    damaged = []
    for name in names or local:
        verdict = catalog.verify(name, root=root, hashes=hashes)
        _tell(verdict)
        if verdict.problems or verdict.doubts:
            damaged.append(name)
    if damaged:
        raise FgvcError(
            f"{', '.join(damaged)}: problems found, see above; repair it, or move the folder away and download it "
            f"again with `fgvc download-data {damaged[0]}`"
        )


def _tell(found: Verdict) -> None:
    counts = f"{found.classes} classes, {found.train} training and {found.test} test images"
    wrong = found.problems + found.doubts
    sound = "complete" if found.full else "a part, without errors"
    state = "damaged" if found.problems else "its lists contradict each other" if found.doubts else sound
    say(f"{found.name}: {state}: {found.folder}", f"  {counts}; {found.decoded} images decoded")
    for note in found.notes:
        say(f"  {note}")
    for problem in wrong[:_SHOWN]:
        say(f"  PROBLEM {problem}")
    if len(wrong) > _SHOWN:
        say(f"  and {len(wrong) - _SHOWN} more problems")
