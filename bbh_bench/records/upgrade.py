"""Reads records of schemas 1 and 2 as records of schema 3. Every score keeps its value, to the bit; names change.

Schema 2 identified methods and attacks by Python class paths, and a task by a hash that contained them. Schema 3 identifies
them by name, version and fields. The arrays beside a record stay as they are.
"""

from collections.abc import Mapping
from typing import Any

FINGERPRINTS = {
    "d994e1875af4015e": "eafef3d28a25d1df",  # digits5, version 2
    "618e10407683ac80": "e93bcb66ba367334",  # mnist, version 2
    "d7d8d886e51d0121": "6fcd4a0adb628f38",  # mnist-short, version 2
    "cab12ae93f2b4928": "9a6a8c632c915e4d",  # toy, version 1, on processors with AVX-512
    "fcea6211f3334f01": "9a6a8c632c915e4d",  # toy, version 1, on processors with AVX2
}
"""Fingerprint of schema 2 -> fingerprint of schema 3 of the same task definition; tests/test_upgrade.py compares the two
definitions part by part. A task of a third party keeps its old fingerprint, which equals none of schema 3."""

SCORES = {"outlier": "ood", "accuracy_area": "robust_accuracy_auc"}
"""Parts of score names."""
COLUMNS = {"own_accuracy": "attacker_accuracy", "flagged": "detection_auroc", "moved": "mean_perturbation"}
"""Columns of the curves of attacks."""
COSTS = {"fit/fits": "fit/relative", "attack/fits": "attack/relative"}
AUDIT = {"fresh_draws": "fresh_samples", "more_draws": "more_samples"}
HYPERPARAMETERS = {"likelihood_draws": "likelihood_samples", "kl_draws": "kl_samples"}
ALGORITHMS = {
    "DeepFoolL2": "DeepFool",
    "CarliniWagnerL2": "CarliniWagner",
    "Transfer": "PlainPgd",
    "NoiseLinf": "Noise",
}
ATTACK_FIELDS = ("name", "version", "norm", "epsilons", "samples", "access", "images", "surrogate")


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a record file as schema 3. Raises what a damaged file provokes: ``KeyError``, ``TypeError``, ..."""
    if content["schema"] >= 3:
        return content
    provenance = _provenance(content["provenance"])
    return {
        "schema": 3,
        "status": content["status"],
        "task": _task(content["task"], content["scores"]),
        "method": _method(content["method"], provenance),
        "seed": content["seed"],
        "scores": {_score(name): value for name, value in content["scores"].items()},
        "directions": _directions(content["better"], content["scores"]),
        "curves": {_score(name): _curve(name, curve) for name, curve in content["curves"].items()},
        "audit": {AUDIT.get(name, name): _check(check) for name, check in content.get("audit", {}).items()},
        "cost": {_cost(name): value for name, value in content["cost"].items()},
        "warnings": [],
        "predictions": content["predictions"] or None,
        "provenance": provenance,
        "error": {**content["error"], "location": ""} if content["error"] else None,
    }


def _directions(better: Mapping[str, str], scores: Mapping[str, float]) -> dict[str, str]:
    """Those of the record's own scores: schema 2 stored those of all kinds of tasks."""
    used = {name.rpartition("/")[2] for name in scores}
    return {SCORES.get(name, name): direction for name, direction in better.items() if name in used}


def _task(task: dict[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
    regression = any(name.startswith("inside/") for name in [*scores, task["headline"]])
    return {
        "name": task["name"],
        "version": task["version"],
        "kind": "regression" if regression else "classification",
        "title": task["title"],
        "headline": _score(task["headline"]),
        "fingerprint": FINGERPRINTS.get(task["fingerprint"], task["fingerprint"]),
        "attacks": [attack(old) for old in task.get("attacks", [])],
        "threat_model": task.get("threat_model"),
    }


def attack(old: Mapping[str, Any]) -> dict[str, Any]:
    """An attack as schema 3 describes it: what all attacks have, and the settings of its algorithm."""
    fields = {"draws": 1, "access": "white", "images": None, "surrogate": None} | dict(old)
    fields["samples"] = fields.pop("draws")
    if fields["surrogate"] is not None:
        fields["surrogate"] = {"version": 1} | _fields(fields["surrogate"])
    algorithm = {key: value for key, value in fields.items() if key not in (*ATTACK_FIELDS, "class", "minimises")}
    name = old["class"].rpartition(".")[2]
    described = {"type": ALGORITHMS.get(name, name)} | algorithm
    return {key: fields[key] for key in ATTACK_FIELDS} | {"algorithm": described}


def _method(method: dict[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    name = method["distribution"]
    own = name == "bbh-bench"
    return {
        "name": method["name"],
        "version": 1,
        "description": method["line"],
        "hyperparameters": {
            k: v for k, v in _fields(method["hyperparameters"]).items() if k not in ("name", "version")
        },
        "package": {
            "name": name,
            "version": provenance["packages"].get(name),
            "commit": provenance["commit"] if own else None,
            "dirty": provenance["dirty"] if own else None,
        },
        "source": None,
    }


def _fields(described: Any) -> Any:
    """Hyperparameters without Python paths. A nested method gets the version that all methods of schema 2 have."""
    if isinstance(described, Mapping):
        fields = {HYPERPARAMETERS.get(k, k): _fields(v) for k, v in described.items() if k != "class"}
        if "class" not in described:
            return fields
        named = {"version": 1} if "name" in fields else {"type": described["class"].rpartition(".")[2]}
        return named | fields
    if isinstance(described, list):
        return [_fields(value) for value in described]
    return described


def _provenance(provenance: dict[str, Any]) -> dict[str, Any]:
    fields = {"diff": None} | provenance
    fit = fields.get("fit")
    fields["hardware"] = {"vector": None} | fields["hardware"]
    return fields | {"fit": _provenance({k: v for k, v in fit.items() if k != "fit"}) if fit else None}


def _check(check: dict[str, Any]) -> dict[str, Any]:
    names = {"figure": "value", "line": "description"}
    return {names.get(key, key): value for key, value in check.items()}


def _curve(name: str, curve: dict[str, list[float]]) -> dict[str, list[float]]:
    if not name.startswith("attack/"):
        return curve
    return {COLUMNS.get(column, column): values for column, values in curve.items()}


def _score(name: str) -> str:
    return "/".join(SCORES.get(part, part) for part in name.split("/"))


def _cost(name: str) -> str:
    return COSTS.get(name, name.replace("stage/judge/", "stage/evaluate/"))
