"""The scripts of docs/scaling.md are run with stand-ins for the commands of a cluster, and its numbers are computed again."""

import os
import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from costs_of_cells import section

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "scaling.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SCRIPTS = [text for kind, text in BLOCKS if kind == "bash"]
STAND_INS = {
    "ray": 'echo "ray $*" >> log',
    "bbh-bench": 'echo "bbh-bench $*" >> log',
    "kubectl": 'echo "kubectl $*" >> log',
    "srun": 'echo "srun $*" >> log; while [ "$1" != ray ]; do shift; done; "$@"',
    "scontrol": "printf '127.0.0.1\\nsecond\\n'",
}


@pytest.fixture
def run(tmp_path):
    """Run a script with the stand-ins; the lines that they wrote."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, body in STAND_INS.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)

    def run(script, **environment):
        environment |= {"PATH": f"{commands}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path)}
        subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path, env=os.environ | environment, timeout=60)
        lines = (tmp_path / "log").read_text().splitlines()
        (tmp_path / "log").unlink()
        return [shlex.split(line) for line in lines]

    return run


def script(sign):
    (found,) = [text for text in SCRIPTS if sign in text]
    return found


def test_the_script_for_an_allocation_starts_a_head_then_workers_then_the_run(run):
    with socket.create_server(("127.0.0.1", 0)) as head:  # it answers as a head node does
        port = head.getsockname()[1]
        text = script("ray start --head").replace("$((20000 + SLURM_JOB_ID % 10000))", str(port))
        nodes = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "32"}
        lines = run(f"{text}\nwait", SLURM_JOB_ID="7", **nodes)
    (head_line,) = [line for line in lines if line[:3] == ["ray", "start", "--head"]]
    (worker_line,) = [line for line in lines if line[:2] == ["ray", "start"] and "--head" not in line]
    (run_line,) = [line for line in lines if line[:2] == ["bbh-bench", "run"]]
    assert {f"--port={port}", "--num-cpus=32", "--block"} <= set(head_line)
    assert {f"--address=127.0.0.1:{port}", "--num-cpus=32", "--block"} <= set(worker_line)
    assert run_line[run_line.index("--address") + 1] == f"127.0.0.1:{port}"
    steps = {tuple(line[2:5]) for line in lines if line[0] == "srun"}
    assert steps == {
        ("--nodes=1", "--ntasks=1", "--nodelist=127.0.0.1"),
        ("--nodes=1", "--ntasks=1", "--exclude=127.0.0.1"),
    }


def test_the_script_for_a_job_array_is_one_run_of_many_processes(run):
    (line,) = run(script("--array"), SLURM_CPUS_PER_TASK="32")
    assert line[:2] == ["bbh-bench", "run"]
    assert line[line.index("--jobs") + 1] == "32"


def test_the_commands_of_a_cloud_name_files_of_the_page(run):
    names = re.findall(r"^# (\S+\.yaml)$", TEXT, re.MULTILINE)
    assert names == ["cluster.yaml", "rayjob.yaml"]
    for sign, name in (("ray up", names[0]), ("kubectl", names[1])):
        assert name in run(script(sign))[0]


def test_the_files_of_clusters_are_yaml_and_run_the_suite():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with Ray")
    cloud, job = (yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml")
    assert cloud["head_node_type"] in cloud["available_node_types"]
    assert "bbh_bench[ray]" in cloud["setup_commands"][-1]
    cluster = job["spec"]["rayClusterSpec"]
    mounts = [
        mount["mountPath"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        for container in group["template"]["spec"]["containers"]
        for mount in container["volumeMounts"]
    ]
    assert mounts == ["/shared", "/shared"]
    assert job["spec"]["entrypoint"].startswith(
        "bbh-bench run --task mnist-short --seeds 0-124 --executor ray --address auto"
    )


def test_the_costs_of_a_thousand_cells_follow_from_the_published_records():
    """``python tests/costs_of_cells.py`` writes them into the document."""
    assert section() in TEXT
