"""The built-in methods: one file each, in the order paper, hyperparameters, ``fit``, posterior."""

from bbh_bench.api import Method
from bbh_bench.hookspecs import hookimpl


@hookimpl
def bbh_methods() -> list[Method]:
    """The built-in methods. They are imported here, so that importing this package is cheap."""
    from bbh_bench.methods.bbb import Bbb
    from bbh_bench.methods.bbh import LAYER_WISE, SINGLE, SLICED
    from bbh_bench.methods.dropout import Dropout
    from bbh_bench.methods.ensemble import Ensemble
    from bbh_bench.methods.map import Map
    from bbh_bench.methods.mnf import Mnf

    return [Map(), Ensemble(), Dropout(), Bbb(), Mnf(), LAYER_WISE, SLICED, SINGLE]
