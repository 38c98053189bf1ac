"""A token is in no message."""

from __future__ import annotations

import pytest

from fgvc_cli.hub.client import without_token


@pytest.mark.parametrize(
    "text",
    ["token hf_abcdefghijkl was refused", "Authorization: Bearer abc.def-ghi", "it is oauth-odd-one here"],
)
def test_tokens_are_cut_out(text: str) -> None:
    said = without_token(text, {"HF_TOKEN": "oauth-odd-one"})
    assert "[token]" in said
    assert not any(part in said for part in ("abcdef", "abc.def", "odd-one"))


def test_other_text_stays() -> None:
    assert without_token("hf_hub_download failed for maria/hf_x", {}) == "hf_hub_download failed for maria/hf_x"
