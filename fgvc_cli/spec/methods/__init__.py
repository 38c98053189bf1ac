"""The list of the methods' specs; one line in the union adds a method."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.clan import ClanSpec
from fgvc_cli.spec.methods.probe import ProbeSpec
from fgvc_cli.spec.methods.reaps import ReapsSpec
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from fgvc_cli.spec.methods.tdsa import McSpec, TdsaSpec

AnyMethodSpec = Annotated[
    BaselineSpec | ReapsSpec | ApCnnSpec | ScapNetSpec | ClanSpec | TdsaSpec | McSpec | ProbeSpec,
    Field(discriminator="name"),
]

METHOD_SPECS: dict[str, type[MethodSpec]] = {
    spec.model_fields["name"].default: spec for spec in get_args(get_args(AnyMethodSpec)[0])
}


def method_spec(name: str) -> type[MethodSpec]:
    """The spec class of a method by name. Raises BadRequest if there is none."""
    if name not in METHOD_SPECS:
        raise BadRequest(f"no method is called {name!r}; there are {', '.join(METHOD_SPECS)}")
    return METHOD_SPECS[name]
