"""Is what a record says of its method, attacks, cost and origin possible? Each function returns phrases, none if it is."""

import hashlib
import math
import re
from collections.abc import Mapping

import numpy as np

from bbh_bench.api import TaskDescription
from bbh_bench.plugins import Plugins
from bbh_bench.records.identity import describe, hyperparameters
from bbh_bench.records.record import Record
from bbh_bench.running.commits import exists

TOLERANCE = 1e-6
"""Relative, of sums and ratios of costs."""
FASTEST_STEP = 1e-5
"""Seconds of a training step of plain MAP that no machine has been seen to reach."""
OWN = "bbh-bench"
"""The package of the built-in methods, which all have gradients."""


def method_faults(record: Record, plugins: Plugins) -> list[str]:
    """A method that is installed in the same version must have the fields that the record claims."""
    registered = plugins.methods.entries.get(record.method.name)
    if registered is None:
        return []
    installed, claimed = registered.value, record.method
    if claimed.package.name == registered.package and claimed.version != installed.version:
        return [f"its method has version {claimed.version}, and {installed.version} is installed"]
    fields = hyperparameters(installed)
    if claimed.version == installed.version and claimed.hyperparameters != fields:
        names = sorted(
            k for k in fields.keys() | claimed.hyperparameters.keys() if fields.get(k) != claimed.hyperparameters.get(k)
        )
        return [f"its method has other hyperparameters than the installed one ({', '.join(names)})"]
    return []


def attack_faults(record: Record, described: TaskDescription) -> list[str]:
    """All of the task's own attacks must be listed; a built-in method must have been attacked with gradients."""
    listed = [attack["name"] for attack in record.task.attacks if "name" in attack]
    wrong = [
        f"it lacks the attack {attack.name}"
        for attack in described.attacks
        if describe(attack) not in record.task.attacks
    ]
    if len(set(listed)) < len(listed):
        wrong.append("it lists an attack twice")
    white = [attack.name for attack in described.attacks if attack.access == "white"]
    if record.method.package.name == OWN and any(f"attack/{name}" not in record.curves for name in white):
        wrong.append("a built-in method has no results of attacks with gradients")
    threat_model = None if described.threat_model is None else describe(dict(described.threat_model))
    if record.task.threat_model != threat_model:
        wrong.append("its threat model is not that of the task")
    return wrong


def cost_faults(record: Record) -> list[str]:
    """Costs that their parts do not add up to, negative ones, and those that are faster than any machine."""
    cost = record.cost
    wrong = [f"the cost {name} is negative or not finite" for name, value in cost.items() if not 0 <= value < math.inf]
    for kind in ("seconds", "processor_seconds"):
        parts = [value for name, value in cost.items() if name.startswith("fit/part/") and name.endswith(f"/{kind}")]
        if parts and not math.isclose(sum(parts), cost.get(f"fit/{kind}", math.nan), rel_tol=TOLERANCE):
            wrong.append(f"the cost fit/{kind} is not the sum of its parts")
    stages = sum(value for name, value in cost.items() if name.startswith("stage/"))
    if "total/seconds" in cost and stages > cost["total/seconds"] * (1 + TOLERANCE):
        wrong.append("the stages take longer than the whole cell")
    if "reference/step_processor_seconds" in cost and cost["reference/step_processor_seconds"] < FASTEST_STEP:
        wrong.append("the reference workload is faster than on any machine")
    if "fit/relative" in cost and not _ratios_agree(cost):
        wrong.append("the relative cost does not follow from the seconds of the fit and of the reference workload")
    return wrong


def _ratios_agree(cost: Mapping[str, float]) -> bool:
    """Whether every part of the fit has the same number of training steps, in units of which costs are relative."""
    step, attack = cost.get("reference/step_processor_seconds", 0.0), cost.get("attack/processor_seconds", 0.0)
    parts = {
        name.removesuffix("/step_seconds")
        for name in cost
        if name.startswith("fit/part/") and name.endswith("/step_seconds")
    }
    if not parts or step <= 0 or attack <= 0 or cost.get("attack/relative", 0.0) <= 0:
        return True  # nothing to compare with
    steps = attack / step / cost["attack/relative"]
    fit = sum(cost[f"{part}/processor_seconds"] / cost[f"{part}/step_seconds"] for part in parts) / steps
    return math.isclose(fit, cost["fit/relative"], rel_tol=1e-3)


def origin_faults(record: Record) -> list[str]:
    """Code that cannot be looked up. Where the suite runs from a whole clone, its commits must be there."""
    run = record.provenance
    if run.dirty:
        return ["it was made with uncommitted changes of bbh_bench; commit them, and run the cell again"]
    if run.commit is None:
        return ["the commit of bbh_bench that made it is not known; use a clone, a wheel, or pip install git+..."]
    if not re.fullmatch("[0-9a-f]{40,64}", run.commit) or exists(run.commit) is False:
        return [
            f"the repository of bbh_bench has no commit '{run.commit[:12]}'; push it, or run the cell with one that it has"
        ]
    return []


def prediction_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of the predictions of a cell, without names: two cells with the same one are copies.

    OOD scores are part of it: methods may differ in these only, on the same networks.
    """
    keys = sorted(key for key in arrays if key.endswith(("log_odds", "outputs", "ood_score")))
    content = hashlib.sha256()
    for key in keys:
        content.update(arrays[key].tobytes())
    return content.hexdigest() if keys else ""
