"""Whatever is asked for, the answer is a valid spec or one readable line a field."""

from __future__ import annotations

import json
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.build import build_spec, validate
from fgvc_cli.spec.presets import PRESETS, load_preset
from fgvc_cli.spec.run import RunSpec


def leaves(tree: dict, path: str = "") -> list[str]:
    """Dotted paths of a spec's plain values and sections."""
    found = []
    for key, value in tree.items():
        found.append(path + key)
        if isinstance(value, dict):
            found += leaves(value, f"{path}{key}.")
    return found


PATHS = sorted({path for name in PRESETS for path in leaves(load_preset(name).model_dump(mode="json"))})
NAMES = st.one_of(
    st.sampled_from(PATHS),
    st.sampled_from(PATHS).map(lambda path: path[:-1] or "x"),
    st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 512),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=12),
    st.sampled_from(
        [
            "cosine",
            "step",
            "multistep",
            "adamw",
            "sgd",
            "tiny",
            "resnet50",
            "timm:x",
            "cpu",
            "cuda:0",
            "bf16",
            "reaps",
            "cub",
            "none",
        ]
    ),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "every", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def at(tree: dict, path: str):
    """The value at a dotted path, None where there is none."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


TREES = [load_preset(name).model_dump(mode="json") for name in sorted(PRESETS)]
SANE = st.builds(lambda path, tree: (path, at(tree, path)), st.sampled_from(PATHS), st.sampled_from(TREES)).filter(
    lambda pair: pair[1] is not None and pair[0].partition(".")[0] != "method"
)
CHANGES = st.one_of(st.lists(SANE, min_size=1, max_size=4), st.lists(SANE | st.tuples(NAMES, VALUES), max_size=4)).map(
    dict
)
LINE = re.compile(r"[a-z_0-9.]+: \S.*|--set takes .*|this spec has schema version .*|no (method|dataset) is called .*")


@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(PRESETS)), CHANGES)
def test_valid_or_one_readable_line_a_field(preset: str, changes: dict) -> None:
    sets = [f"{path}={json.dumps(value)}" for path, value in changes.items()]
    try:
        spec = build_spec(preset=preset, sets=sets)
    except BadRequest as error:
        lines = str(error).splitlines()
        fields = [line.partition(": ")[0] for line in lines]
        assert all(LINE.fullmatch(line) for line in lines), lines
        assert len(fields) == len(set(fields)), lines
        assert not any("pydantic" in line or "http" in line for line in lines), lines
    else:
        assert isinstance(spec, RunSpec)
        assert validate(json.loads(spec.model_dump_json())) == spec
