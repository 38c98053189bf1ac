"""`fgvc download-data`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.errors import BadRequest, FgvcError

if TYPE_CHECKING:
    from fgvc_cli.cli.transfer_bar import Bar
    from fgvc_cli.data.download.install import Request
    from fgvc_cli.data.download.verify import Verdict

_SHOWN = 20  # problems


def download_data(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Datasets. Default: a table.")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="The table alone: nothing is asked.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to the licences and start.")] = False,
    root: Annotated[
        Path | None,
        typer.Option("--root", "--data-dir", help="Folder for datasets. Default: $FGVC_DATA_DIR, then data/."),
    ] = None,
    from_archive: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An archive, file or folder you have already; may be repeated."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use what is here, connect to nothing.")] = False,
    mini: Annotated[bool, typer.Option("--mini", help="The small training set, where there is one: inat2021.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Look at what is here: counts, lists, every image. Nothing is fetched.")
    ] = False,
    hashes: Annotated[
        bool, typer.Option("--hash", help="With --verify: every file's checksum too, as noted when it was put there.")
    ] = False,
) -> None:
    """Get datasets, or look whether those that are here are whole.

    A download that was cut goes on where it stopped: run the same command again.
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
        _get(names, root, tuple(path.expanduser() for path in from_archive or ()), offline, mini, yes)


def _check(names: list[str], list_only: bool, given: list[Path], mini: bool, verify: bool, hashes: bool) -> None:
    """BadRequest for what cannot be meant."""
    from fgvc_cli.data.download.archives import BUNDLES

    for name in names:
        if name in ("demo", "folder", "csv"):
            what = "drawn by fgvc on first use" if name == "demo" else "your own images, given with --data-dir"
            raise BadRequest(f"{name} is nothing to download: it is {what}")
        if name not in BUNDLES:
            raise BadRequest(f"no dataset is called {name!r}; there are {', '.join(BUNDLES)}")
    if given and (len(names) != 1 or list_only or verify):
        raise BadRequest("--from-archive goes with one dataset to install: fgvc download-data NAME --from-archive FILE")
    if mini and any(bundle.mini is None for name, bundle in BUNDLES.items() if name in names):
        raise BadRequest("--mini is for inat2021 alone: the others have no smaller official set")
    if hashes and not verify:
        raise BadRequest("--hash goes with --verify: what is downloaded is compared with its checksum anyway")


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _asked() -> list[str]:
    answer = typer.prompt("Which ones? (names with spaces between, Enter for none)", default="", show_default=False)
    return str(answer).replace(",", " ").split()


def _table(root: Path | None) -> None:
    """What there is, how large, under which licence, and what is here."""
    from fgvc_cli.cli.tables import new_table, say, show
    from fgvc_cli.data.download.archives import BUNDLES
    from fgvc_cli.data.download.install import Request, by_hand
    from fgvc_cli.data.download.progress import amount
    from fgvc_cli.data.facts import CATALOG

    table = new_table("dataset", "what", "download", "licence", "here", numbers=("download",))
    for name, bundle in BUNDLES.items():
        way = bundle.ways[0]
        size = amount(way.size) if way.size else "?"
        table.add_row(
            name,
            CATALOG[name].title,
            f"{size}, by hand" if by_hand(way) else size,
            CATALOG[name].licence,
            _here(Request(name, root)),
        )
    show(table)
    say("get one: fgvc download-data NAME (by hand: it says which files to get from where)")
    say("what is here and what is wrong with it: fgvc download-data --verify")


def _here(request: Request) -> str:
    """One cell: what is here of a dataset."""
    from fgvc_cli.data.download.install import fetched
    from fgvc_cli.data.download.progress import amount
    from fgvc_cli.data.download.state import look

    found = look(request.name, request.root)
    if found is not None:
        return f"{'whole' if found.whole else 'not whole'}: {found.folder}"
    count = fetched(request)
    return f"{amount(count)} fetched so far" if count else "no"


def _get(names: list[str], root: Path | None, given: tuple[Path, ...], offline: bool, mini: bool, yes: bool) -> None:
    """Licences first, then one dataset after the other; what fails does not stop the rest."""
    from fgvc_cli.cli.tables import say
    from fgvc_cli.cli.transfer_bar import Bar
    from fgvc_cli.data.download.install import Request, by_hand

    requests = [Request(name, root, given, offline, mini) for name in dict.fromkeys(names)]
    for request in requests:
        _introduce(request)
    if not (yes or given or offline or all(by_hand(request.way) for request in requests)):
        _agree()
    failures: list[FgvcError] = []
    with Bar() as bar:
        for request in requests:
            try:
                say(_done(request, bar))
            except KeyboardInterrupt:
                bar.say("stopped; what has arrived is kept: run the same command again and it goes on from there")
                raise
            except FgvcError as error:
                failures.append(error)
    for failed in failures[:-1]:
        typer.echo(f"fgvc: {failed}", err=True)
    if failures:
        raise failures[-1]


def _introduce(request: Request) -> None:
    """What it is, its licence, how much comes and whereto; for what is to be got by hand the steps."""
    from fgvc_cli.cli.tables import say
    from fgvc_cli.data.download.install import by_hand
    from fgvc_cli.data.download.progress import amount
    from fgvc_cli.data.facts import CATALOG

    facts = CATALOG[request.name]
    say(f"{request.name}: {facts.title} ({facts.home})\n  licence: {facts.licence}\n  folder: {request.target}")
    if by_hand(request.way) and not request.given:
        say("  to be got by hand:")
        for number, step in enumerate(request.bundle.by_hand, start=1):
            say(f"  {number}. {step}")
    elif not request.given:
        say(f"  to download: {amount(request.way.size)}")


def _agree() -> None:
    if not sys.stdin.isatty():
        raise BadRequest("nobody is here to agree to the licence above: add --yes if you do")
    if not typer.confirm("Do you agree to the licence, and shall it be downloaded?"):
        raise typer.Abort


def _done(request: Request, bar: Bar) -> str:
    from fgvc_cli.data.download.install import install

    here = install(request, bar)
    if here.whole:
        return f"{request.name} is here and whole: {here.folder}"
    return f"{request.name} is here, as far as it was given: {here.folder}\n  {here.note}"


def _verify(names: list[str], root: Path | None, hashes: bool) -> None:
    """A long look at the datasets named, or at all that are here. FgvcError if anything is wrong."""
    from fgvc_cli.cli.transfer_bar import Bar
    from fgvc_cli.data.catalog import data_roots, locate, require
    from fgvc_cli.data.download.archives import BUNDLES
    from fgvc_cli.data.download.verify import verify

    folders = {name: require(name, root) for name in names}
    folders = folders or {name: found for name in BUNDLES if (found := locate(name, root))}
    if not folders:
        raise BadRequest(f"no dataset is in {' or '.join(map(str, data_roots(root)))}; --root names another folder")
    damaged = []
    with Bar() as bar:
        for name, folder in folders.items():
            verdict = verify(name, folder, hashes=hashes, progress=bar)
            _tell(verdict)
            if verdict.problems or verdict.doubts:
                damaged.append(name)
    if damaged:
        raise FgvcError(
            f"{', '.join(damaged)}: not sound, as said above; repair it, or move the folder away and get it again with "
            f"`fgvc download-data {damaged[0]}`"
        )


def _tell(found: Verdict) -> None:
    from fgvc_cli.cli.tables import say

    counts = f"{found.classes} classes, {found.train} training and {found.test} test images"
    wrong = found.problems + found.doubts
    sound = "whole" if found.full else "a sound part"
    state = "damaged" if found.problems else "its lists contradict each other" if found.doubts else sound
    say(f"{found.name}: {state}: {found.folder}\n  {counts}; {found.decoded} images decoded")
    for note in found.notes:
        say(f"  {note}")
    for problem in wrong[:_SHOWN]:
        say(f"  PROBLEM {problem}")
    if len(wrong) > _SHOWN:
        say(f"  and {len(wrong) - _SHOWN} more problems")
