"""The registry is this folder: `get(name)` imports the module of that name and returns its `OPERATOR`.

Outside packages join through the entry-point group `dj_assets.operators`, whose entries name packages (folders) that
hold one module per operator, as this one does. Nothing else has to be edited when a file is added.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from dj_assets.errors import UnknownOperator, UnsupportedOperator
from dj_assets.operators import _upstream
from dj_assets.operators._contract import Operator
from dj_assets.operators._mapper import Mapper
from dj_assets.operators._whole import Whole

AnyOperator = Operator | Mapper | Whole

ENTRY_POINT_GROUP = "dj_assets.operators"


@cache
def locations() -> dict[str, str]:
    """Operator name -> module path, over this folder and every package that joined. Imports no operator."""
    packages = [__name__, *(entry.value for entry in entry_points(group=ENTRY_POINT_GROUP))]
    found: dict[str, str] = {}
    for package_name in packages:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                found.setdefault(module.name, f"{package_name}.{module.name}")
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Every operator that a recipe may name, sorted."""
    return tuple(locations())


@cache
def get(name: str) -> AnyOperator:
    """The operator of that name.

    Raises `UnsupportedOperator` for one of Data-Juicer's that is not run here, `UnknownOperator` with the nearest
    spellings for any other name.
    """
    module_path = locations().get(name)
    if module_path is None and (known := _upstream.find(name)):
        reason = known.reason or _upstream.NOT_BUILT
        raise UnsupportedOperator(
            f"operator {name!r} is a {_upstream.kind(name)} of Data-Juicer's ({known.does}) that is refused here: "
            f"{reason}",
            allowed="the operators that `dj-assets operators` lists",
            try_=known.instead or "take the step out",
        )
    if module_path is None:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
        raise UnknownOperator(
            f"operator {name!r} is not known",
            allowed=", ".join(names()),
            try_=f"did you mean {' or '.join(near)}?" if near else "install the package that provides it",
        )
    operator = importlib.import_module(module_path).OPERATOR
    if operator.name != name:
        raise TypeError(f"{module_path}: OPERATOR.name is {operator.name!r}, expected the module's name {name!r}")
    return operator


def measure(name: str) -> Operator:
    """What a step of that name measures of each video: the filter itself, or the measure of an operator over the whole
    dataset. Raises `UnknownOperator`, and TypeError for a mapper, which measures nothing."""
    operator = at_work(name)
    if isinstance(operator, Mapper):
        raise TypeError(f"{name} is a mapper, which measures nothing")
    return operator


def at_work(name: str) -> Operator | Mapper:
    """What works on each video for a step of that name, and may have a model: a mapper, or what `measure` gives."""
    operator = get(name)
    return operator.operator if isinstance(operator, Whole) else operator
