"""The guard kills all descendants of a killed driver, and leaves those of a driver that ends by itself alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.driver.guard import descendants
from tests.helpers.search.processes import command, is_alive, wait_until

# The grandchild is in a session of its own and its parent has gone: nothing but the guard still knows it.
DRIVER = """
import subprocess, sys, time
from search.driver.guard import guarded
with guarded():
    child = subprocess.Popen([sys.executable, "-c", '''
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(grandchild.pid, flush=True)
time.sleep(float(sys.argv[1]))
''', sys.argv[1]])
    sys.stdin.readline()
"""


@pytest.fixture
def driver():
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, "600"],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.fault
def test_killing_the_driver_kills_children_and_grandchildren(driver: subprocess.Popen[str]) -> None:
    grandchild = int(driver.stdout.readline())
    # The guard looks once a second; a process younger than that has a lifeline instead.
    wait_until(lambda: len(descendants(driver.pid)) == 3, "guard, child and grandchild")
    below = {pid for pid, _ in descendants(driver.pid)}
    assert grandchild in below
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(timeout=2.5)

    driver.send_signal(signal.SIGKILL)

    wait_until(lambda: not any(is_alive(pid) for pid in below), "an end to all of them", within_s=5)


LATE = """
import os, signal, subprocess, sys
from search.driver.guard import guarded
with guarded():
    child = subprocess.Popen([sys.executable, "-c", '''
import subprocess, sys, time
sys.stdin.readline()
if sys.argv[1] == "orphan":
    print(subprocess.check_output(["sh", "-c", "sleep 600 > /dev/null & echo $!"], text=True), end="", flush=True)
else:
    print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, flush=True)
time.sleep(600)
''', sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    print(child.pid, flush=True)
    child.stdin.write(sys.stdin.readline())
    child.stdin.flush()
    print(child.stdout.readline(), end="", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault
@pytest.mark.parametrize("born", ["child", "orphan"])
def test_processes_started_since_the_last_scan_end_too(born: str) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", LATE, born],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(driver.stdout.readline())
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(timeout=2.5)  # the guard looks once a second: by now it knows the child

    out, _ = driver.communicate("now\n", timeout=60)

    assert driver.returncode == -signal.SIGKILL
    late = int(out)
    wait_until(lambda: not is_alive(child) and not is_alive(late), "an end to both", within_s=5)


LAST_WORDS = """
import os, sys
from search.driver.guard import guarded
with guarded("go on by 'carsearch resume x'") as guard:
    if sys.argv[1] == "said":
        guard.kill_on_close()
    if sys.argv[1] != "ends":
        os._exit(3)
"""


@pytest.mark.parametrize(("how", "words"), [("dies", "go on by 'carsearch resume x'\n"), ("said", ""), ("ends", "")])
def test_the_guard_prints_the_last_words_of_a_killed_driver(how: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORDS, how],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0 if how == "ends" else 3, words)


@pytest.mark.fault
def test_orphans_of_the_driver_are_killed_too(driver: subprocess.Popen[str]) -> None:
    grandchild = int(driver.stdout.readline())
    wait_until(lambda: len(descendants(driver.pid)) == 3, "guard, child and grandchild")
    below = {pid for pid, _ in descendants(driver.pid)}
    guard = next(pid for pid in below if "guard.py" in command(pid))
    child = next(iter(below - {guard, grandchild}))
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(timeout=2.5)  # the guard looks once a second
    os.kill(child, signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(timeout=2.5)
    assert is_alive(grandchild)

    driver.send_signal(signal.SIGKILL)

    wait_until(lambda: not any(is_alive(pid) for pid in below), "an end to all of them", within_s=5)


def test_a_driver_that_ends_by_itself_leaves_its_descendants_alone(driver: subprocess.Popen[str]) -> None:
    grandchild = int(driver.stdout.readline())
    below = {pid for pid, _ in descendants(driver.pid)}

    driver.stdin.write("go\n")
    driver.stdin.flush()
    driver.wait(timeout=30)

    survivors = {pid for pid in below if is_alive(pid)}
    assert driver.returncode == 0
    assert grandchild in survivors
    assert len(survivors) == 2, "the guard has ended"
    for pid in survivors:
        subprocess.run(["kill", "-9", str(pid)], check=True)


def test_descendants_are_identified_by_their_start_time() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        found = descendants(child.pid), [start for pid, start in descendants(os.getpid()) if pid == child.pid]
    finally:
        child.kill()
        child.wait()
    assert found[0] == frozenset()
    assert len(found[1]) == 1
    assert int(found[1][0]) > 0


# Like a container's entrypoint: process 1, without a parent.
ENTRYPOINT = """
import os, subprocess, sys
from search.driver.guard import descendants, guarded
with guarded():
    child = subprocess.Popen(["sleep", "600"])
    guard, = {pid for pid, _ in descendants(1)} - {child.pid}
    for line in sys.stdin:
        fields = open(f"/proc/{guard}/stat").read().rpartition(")")[2].split()
        print(os.getpid(), sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK"), flush=True)
    child.kill()
"""


def namespace(*more: str) -> list[str]:
    """A command prefix that runs the rest as process 1 of a new PID namespace."""
    command = ["unshare", "--pid", "--fork", "--kill-child", *more]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespace can be made here")
    return command


@pytest.mark.fault
def test_the_guard_of_process_1_sleeps_between_scans() -> None:
    driver = subprocess.Popen(
        [*namespace("--mount-proc"), sys.executable, "-c", ENTRYPOINT],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        spent_s: list[float] = []
        while len(spent_s) < 2:
            driver.stdin.write("how much?\n")
            driver.stdin.flush()
            pid, seconds = driver.stdout.readline().split()
            assert pid == "1"
            spent_s.append(float(seconds))
            if len(spent_s) == 1:
                with pytest.raises(subprocess.TimeoutExpired):
                    driver.wait(timeout=4)
        assert spent_s[1] - spent_s[0] < 0.5, "CPU seconds within four seconds"
    finally:
        driver.communicate()
    assert driver.returncode == 0, "it released its guard, which has ended"


def test_a_proc_of_another_namespace_has_no_descendants() -> None:
    """There, process ids name other processes, and the descendants of process 1 would be all of the machine's."""
    asked = "from search.driver.guard import descendants; import os; print(os.getpid(), len(descendants(1)))"
    done = subprocess.run(
        [*namespace(), sys.executable, "-c", asked],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "1 0\n"
