"""Names of repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.hub.names import HubName, hub_name, is_hub_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("maria/finches", HubName("maria", "finches")),
        ("hf://maria/finches", HubName("maria", "finches")),
        (str(Path("hf://maria/finches@v1.0")), HubName("maria", "finches", "v1.0")),  # hf:/maria/finches
        ("a/b_c.d-e@refs/pr/1", HubName("a", "b_c.d-e", "refs/pr/1")),
    ],
)
def test_names(text: str, name: HubName) -> None:
    assert hub_name(text) == name
    assert hub_name(str(name)) == name


NONE = """a|a/b/c|a/..|a/b.|a/.b|a--b/c|a/b..c|a b/c|a/b.git|a/b@|a/b@../c|a/b@-x|á/b|hf://|hf://a|https://x.y/a/b"""


@pytest.mark.parametrize("text", [*NONE.split("|"), "a/b\n", "a/" + "b" * 97])
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadRequest, match="is no name on the hub: give OWNER/NAME") as caught:
        hub_name(text)
    assert "\n" not in str(caught.value)


def test_paths_are_none() -> None:
    assert not any(map(is_hub_name, ("maria/finches", "runs/x", "/hf:/x", "hf/x")))
