"""Presets by name: METHOD-DATASET, or RECIPE-DATASET for any method. Docstrings name source, command and result."""

from __future__ import annotations

from collections.abc import Callable

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import AUTO
from fgvc_cli.spec.presets import apcnn, baseline, clan, light, modern, probe, reaps, scapnet, tdsa
from fgvc_cli.spec.run import RunSpec

Preset = Callable[[], RunSpec]


def _table(*presets: Preset) -> dict[str, Preset]:
    return {preset.__name__.replace("_", "-"): preset for preset in presets}


RECIPES: dict[str, Preset] = _table(light.light_folder, *modern.MODERN)  # those for any method
PRESETS: dict[str, Preset] = (
    _table(
        baseline.baseline_cub,
        baseline.baseline_cars,
        baseline.baseline_aircraft,
        baseline.baseline_demo,
        baseline.baseline_folder,
        reaps.reaps_cub,
        reaps.reaps_cars,
        reaps.reaps_aircraft,
        reaps.reaps_demo,
        reaps.reaps_folder,
        apcnn.apcnn_cub,
        apcnn.apcnn_cars,
        apcnn.apcnn_aircraft,
        apcnn.apcnn_demo,
        apcnn.apcnn_folder,
        scapnet.scapnet_cub,
        scapnet.scapnet_cars,
        scapnet.scapnet_aircraft,
        scapnet.scapnet_veg200,
        scapnet.scapnet_fru92,
        scapnet.scapnet_vegfru,
        scapnet.scapnet_demo,
        scapnet.scapnet_folder,
        clan.clan_cub,
        clan.clan_cars,
        clan.clan_aircraft,
        clan.clan_demo,
        clan.clan_folder,
        tdsa.tdsa_cub,
        tdsa.tdsa_cars,
        tdsa.tdsa_aircraft,
        tdsa.tdsa_flowers,
        tdsa.tdsa_demo,
        tdsa.tdsa_folder,
        tdsa.mc_cub,
        tdsa.mc_cars,
        tdsa.mc_aircraft,
        tdsa.mc_flowers,
        tdsa.mc_demo,
        tdsa.mc_folder,
        probe.probe_demo,
        probe.probe_folder,
    )
    | RECIPES
)
_NEW_RATE = 3.0  # of what begins at random, relative to the trained network (docs/results.md: at 10 some diverge)
_CLIP = 10.0  # norm of the gradients: SCAPNet's are 50 to 140 then, and grow until they are not finite
OWN_PHOTOS = "folder"  # dataset for which every method has a preset


def load_preset(name: str, method: str | None = None) -> RunSpec:
    """The run spec of a preset.

    Args:
        name: its name.
        method: with this method. One of `RECIPES` takes every method, with the settings of its preset for photos.

    Raises:
        BadRequest: there is no preset of that name, or it is the recipe of another method.
    """
    if name not in PRESETS:
        raise BadRequest(f"no preset is called {name!r}; `fgvc presets` lists them")
    spec = PRESETS[name]()
    left_open = {"mean", "std", "interpolation"} - spec.data.model_fields_set  # they are those of whatever weights
    data = spec.data.model_copy(update=dict.fromkeys(left_open, AUTO))
    spec = spec.model_copy(update={"preset": name, "data": data})
    if method in (None, spec.method.name):
        return spec
    if name not in RECIPES:
        raise BadRequest(f"preset {name} is for method {spec.method.name}, not {method}: leave one of them out")
    return _with_method(spec, PRESETS[f"{method}-{OWN_PHOTOS}"]())


def _with_method(recipe: RunSpec, own: RunSpec) -> RunSpec:
    """A recipe with the method of `own`: what was chosen for the recipe's single classifier is left out."""
    backbone, optim, regularise = recipe.backbone, recipe.optim, recipe.regularise
    if own.method.at_once:
        backbone = backbone.model_copy(update={"freeze": "all", "probe_first": False})
    elif backbone.probe_first and not own.method.behind:
        backbone = backbone.model_copy(update={"probe_first": own.method.fitted_first})
        optim = optim.model_copy(update={"head_lr": _NEW_RATE, "clip_norm": _CLIP})
        regularise = regularise.model_copy(update={"mixup_alpha": 0.0})  # chosen for the classifier alone
    parts = {"method": own.method, "backbone": backbone, "optim": optim, "regularise": regularise}
    return recipe.model_copy(update=parts)
