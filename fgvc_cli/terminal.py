"""The console for tables, notes and progress: text is shown as it is, never as markup."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from fgvc_cli.streams import ReaderGone, explained_output, visible


class Console(RichConsole):
    """A console on which no text is markup, an emoji's name or a control sequence: `[/]` is three characters.

    A text that is printed alone is one line and is not wrapped.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string, also one in a table, becomes a Text here."""
        options |= {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(visible(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print strings, each a line of its own if it is the only one, or a table."""
        if all(isinstance(each, str) for each in objects):
            options.setdefault("soft_wrap", True)
        with explained_output():
            super().print(*objects, **options)

    def note(self, text: str) -> None:
        """Print a line that the user should see."""
        self.print(f"note: {text}", style="yellow")

    def on_broken_pipe(self) -> None:
        """Rich would end the program."""
        raise ReaderGone from None


def new_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A plain table; the columns named in `numbers` are right-aligned."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table
