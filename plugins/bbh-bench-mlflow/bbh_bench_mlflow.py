"""Every finished cell becomes a run of MLflow: hyperparameters, scores, costs, and why a cell failed.

It logs where ``MLFLOW_TRACKING_URI`` says; without it, into the folder ``mlruns``. The experiment is the name of the task.
"""

import mlflow

from bbh_bench import hookimpl


@hookimpl
def bbh_cell_finished(cell, record):
    """One run of MLflow. Characters that MLflow refuses in names become dashes."""
    mlflow.set_experiment(f"{record.task.name} v{record.task.version}")
    with mlflow.start_run(run_name=f"{record.method.name} seed {record.seed}"):
        mlflow.set_tags({"status": record.status, "fingerprint": record.task.fingerprint, "record": str(record.path)})
        mlflow.log_params({"method": record.method.name, "seed": record.seed, **record.method.hyperparameters})
        values = record.scores | {f"cost/{name}": value for name, value in record.cost.items()}
        mlflow.log_metrics({name.replace("@", "-at-"): value for name, value in values.items()})
        if record.error:
            mlflow.set_tag("error", f"{record.error.type}: {record.error.message}")
            mlflow.end_run("FAILED")
