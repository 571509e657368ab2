"""Claims on cells: several runs on one folder of records."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from bbh_bench.errors import RecordError
from bbh_bench.running.claim import FOLDER, SIZE, claim_file, decoded, read_claims
from bbh_bench.running.claims import Claims
from bbh_bench.running.process_identity import this_process

CELL = Path("line/v1/straight/seed0.json")
OTHER = Path("line/v1/straight/seed1.json")
NOW = 1e9
"""Some time, in seconds since 1970."""


@pytest.fixture
def file(tmp_path):
    """Of the first claim on a cell."""
    return claim_file(tmp_path, CELL, 1)


def rewrite(file, **changes):
    """Change what a claim says about its process."""
    content = decoded(file.read_bytes())
    process = msgspec.structs.replace(content.process, **changes)
    file.write_bytes(msgspec.structs.replace(content, process=process).encode())


def abandon(file):
    """Let a claim look as if its run had ended long ago on another machine."""
    rewrite(file, machine="elsewhere", host="far")
    os.utime(file, (NOW, NOW))


def test_one_of_two_runs_gets_a_cell_until_it_releases_it(tmp_path):
    first, second = Claims(tmp_path), Claims(tmp_path)
    assert first.acquire(CELL)
    assert first.acquire(CELL)  # it has it already
    assert not second.acquire(CELL)
    assert second.acquire(OTHER)
    first.release(CELL)
    assert second.acquire(CELL)


def test_a_claim_says_who_works_on_a_cell_and_what_it_is_doing(tmp_path, file):
    first, second = Claims(tmp_path), Claims(tmp_path)
    first.acquire(CELL)
    claim = second.owner(CELL)
    assert (claim.path, claim.file, claim.pid, claim.run) == (CELL, file, os.getpid(), first.run)
    assert claim.host == this_process().host
    assert claim.began.endswith("Z")
    assert (claim.stage, claim.fraction, claim.loss, claim.stale) == ("starting", None, None, False)
    assert first.owner(CELL) is None  # it is nobody else's
    first.update(CELL, "fit", 0.25, 1.5)
    assert second.owner(CELL).stage == "starting"  # in memory until the next heartbeat
    first.renew()
    claim = second.owner(CELL)
    assert (claim.stage, claim.fraction, claim.loss) == ("fit", 0.25, 1.5)
    first.update(CELL, "x" * 1000, None, float("nan"))
    first.renew()
    assert second.owner(CELL).stage == "x" * 100
    assert second.owner(CELL).loss is None  # JSON has no NaN
    assert file.stat().st_size == SIZE


def test_all_claims_of_a_folder_are_listed_with_those_of_this_run(tmp_path):
    first, second = Claims(tmp_path), Claims(tmp_path)
    first.acquire(OTHER)
    second.acquire(CELL)
    assert [claim.path for claim in first.all()] == [CELL, OTHER]
    assert [claim.path for claim in read_claims(tmp_path, NOW)] == [CELL, OTHER]
    assert read_claims(tmp_path / "nothing", NOW) == []


def test_the_heartbeat_renews_a_claim(tmp_path, file):
    with Claims(tmp_path, interval=0.02) as claims:
        claims.acquire(CELL)
        os.utime(file, (NOW, NOW))
        claims.update(CELL, "fit", 0.5, 2.0)
        renewed = threading.Event()
        for _ in range(1000):
            if file.stat().st_mtime > NOW and claims.all()[0].stage == "fit":
                break
            renewed.wait(0.02)
        assert file.stat().st_mtime > NOW
        assert claims.all()[0].fraction == 0.5


def test_nothing_is_left_of_released_claims(tmp_path):
    with Claims(tmp_path) as claims:
        claims.acquire(CELL)
        claims.acquire(OTHER)
        claims.release(OTHER)
        claims.release(OTHER)  # ignored
        assert [claim.path for claim in claims.all()] == [CELL]
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_another_run_stays(tmp_path, file):
    other = Claims(tmp_path)
    other.acquire(CELL)
    with Claims(tmp_path) as claims:
        claims.acquire(OTHER)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_claim_without_a_heartbeat_is_taken_over(tmp_path, file):
    dead, run = Claims(tmp_path), Claims(tmp_path)
    dead.acquire(CELL)
    rewrite(file, machine="elsewhere")
    assert not run.acquire(CELL)  # it was renewed just now
    os.utime(file, (NOW, NOW))
    assert run.owner(CELL) is None
    assert run.all()[0].stale
    assert run.acquire(CELL)
    assert [(claim.run, claim.stale, claim.generation) for claim in run.all()] == [(run.run, False, 2)]
    assert not file.exists()


def test_a_run_that_was_suspended_cannot_disturb_the_one_that_took_its_cell_over(tmp_path, file):
    suspended, run = Claims(tmp_path), Claims(tmp_path)
    suspended.acquire(CELL)
    abandon(file)
    assert run.acquire(CELL)
    suspended.update(CELL, "fit", 0.5)
    suspended.renew()
    suspended.release(CELL)
    assert [(claim.run, claim.stage) for claim in run.all()] == [(run.run, "starting")]
    run.release(CELL)
    assert run.all() == []


def test_a_run_whose_claims_were_deleted_claims_its_cell_again(tmp_path, file):
    claims = Claims(tmp_path)
    claims.acquire(CELL)
    file.unlink()
    claims.renew()
    assert claims.all()[0].run == claims.run


def test_the_claim_of_a_dead_process_of_this_machine_is_stale_at_once(tmp_path):
    code = f"from pathlib import Path; from bbh_bench.running.claims import Claims; Claims(Path({str(tmp_path)!r})).acquire"
    subprocess.run([sys.executable, "-c", f"{code}(Path({str(CELL)!r}))"], check=True, timeout=300)
    run = Claims(tmp_path)
    assert run.all()[0].stale
    assert run.acquire(CELL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times are read from /proc")
def test_a_process_that_got_the_identifier_of_a_dead_one_does_not_keep_its_claim(tmp_path, file):
    Claims(tmp_path).acquire(CELL)
    run = Claims(tmp_path)
    assert not run.acquire(CELL)
    rewrite(file, started="1")
    assert run.acquire(CELL)


@pytest.mark.skipif(os.name == "nt", reason="os.kill ends processes there")
def test_without_proc_a_process_is_looked_up_by_its_identifier(monkeypatch):
    monkeypatch.setattr("bbh_bench.running.process_identity._state_and_start", lambda pid: (None, None))
    here = this_process()
    assert not here.ended
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=300)
    assert msgspec.structs.replace(here, pid=ended.pid).ended
    assert not msgspec.structs.replace(here, pid=ended.pid, machine="elsewhere").ended


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="states are read from /proc")
def test_a_process_that_has_ended_but_was_not_waited_for_counts_as_ended():
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    child.stdout.read()  # until it ends
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    identity = msgspec.structs.replace(this_process(), pid=child.pid, started=started)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identity.ended
    child.stdout.close()
    child.wait()


def test_ages_are_measured_by_the_clock_of_the_file_system(tmp_path, file, monkeypatch):
    Claims(tmp_path).acquire(CELL)
    rewrite(file, machine="elsewhere")
    monkeypatch.setattr("time.time", lambda: 2 * NOW)  # this machine's clock is years ahead
    run = Claims(tmp_path)
    assert not run.acquire(CELL)
    assert run.owner(CELL).age < 60


def test_a_half_written_claim_counts_until_it_is_old(tmp_path, file):
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"process"')
    run = Claims(tmp_path)
    assert not run.acquire(CELL)
    assert (run.all()[0].host, run.all()[0].pid, run.all()[0].stage) == ("unknown", None, "unknown")
    os.utime(file, (NOW, NOW))
    assert run.acquire(CELL)


def test_stale_claims_and_what_killed_runs_left_are_cleared(tmp_path, file):
    Claims(tmp_path).acquire(CELL)
    abandon(file)
    live = Claims(tmp_path)
    live.acquire(OTHER)
    old, new = tmp_path / FOLDER / ".clock.old", tmp_path / FOLDER / ".clock.new"
    old.touch()
    new.touch()
    os.utime(old, (NOW, NOW))
    assert [claim.path for claim in Claims(tmp_path).clear_stale()] == [CELL]
    assert [claim.path for claim in live.all()] == [OTHER]
    assert new.exists()
    assert not old.exists()
    live.release(OTHER)
    new.unlink()
    assert Claims(tmp_path).clear_stale() == []
    assert not (tmp_path / FOLDER).exists()


def test_a_claim_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / FOLDER).write_text("a file where a folder should be")
    with (
        Claims(tmp_path) as claims,
        pytest.raises(RecordError, match=r"'line/v1/.*cannot be claimed.*Make room") as error,
    ):
        claims.acquire(CELL)
    assert str(tmp_path / FOLDER) in str(error.value)


def test_a_full_disk_leaves_no_half_written_claim(tmp_path, file, monkeypatch):
    claims = Claims(tmp_path)
    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(RecordError, match="No space left on device"):
        claims.acquire(CELL)
    assert not file.exists()


def full(*arguments, **options):
    raise OSError(28, "No space left on device")


def test_heartbeats_and_releases_that_fail_do_not_end_a_run(tmp_path, monkeypatch):
    claims = Claims(tmp_path)
    claims.acquire(CELL)
    claims.update(CELL, "fit")
    for name in ("open", "read_bytes", "unlink"):
        monkeypatch.setattr(f"pathlib.Path.{name}", full)
    claims.renew()
    claims.release(CELL)
    monkeypatch.undo()
    assert claims.all()[0].stage == "starting"


def test_a_fork_of_a_run_leaves_its_claims_alone(tmp_path, monkeypatch):
    with Claims(tmp_path) as claims:
        claims.acquire(CELL)
        pid = os.getpid()
        monkeypatch.setattr("os.getpid", lambda: pid + 1)
        claims.release(CELL)
        claims.__exit__(None, None, None)
        assert [claim.path for claim in claims.all()] == [CELL]
        monkeypatch.undo()


def test_of_many_runs_that_take_a_stale_claim_over_at_most_one_has_the_cell_at_a_time(tmp_path, file):
    Claims(tmp_path).acquire(CELL)
    abandon(file)
    runs = [Claims(tmp_path) for _ in range(8)]
    start, lock = threading.Barrier(len(runs)), threading.Lock()
    holders, most, successes = [], [], []

    def compete(run):
        start.wait(timeout=60)
        for _ in range(30):
            if run.acquire(CELL):
                with lock:
                    holders.append(run)
                    most.append(len(holders))
                    successes.append(run)
                with lock:
                    holders.remove(run)
                run.release(CELL)
            else:
                run.clear_stale()

    threads = [threading.Thread(target=compete, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert Claims(tmp_path).all() == []
