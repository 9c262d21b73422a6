"""A forked child computes, whatever the parent's threads were doing."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

START = """
import concurrent.futures, ctypes, multiprocessing, os, signal, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
READ = []
os.register_at_fork(before=lambda: [float((x + 1).sum()) for x in READ])
import numpy as np
import fluxrs
from fluxrs import back, param, update

fluxrs.seed(1)
x = fluxrs.rand(300, 300)

def work(_=None):
    y = fluxrs.relu(x @ x) * 1e-2
    z = fluxrs.sort(y.reshape(-1))
    return [float(v) for v in (y.sum(), z[5], y.max(0).sum(), fluxrs.solve(x + 9, y)[0, 0], y.std())]

want = work()

def forked(task):
    child = os.fork()
    if child:
        return child
    signal.alarm(60)
    try:
        task()
    except BaseException as e:
        print(repr(e), flush=True)
        os._exit(1)
    os._exit(0)

def ends_well(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def check():
    assert work() == want

class Beside(threading.Thread):
    def __init__(self, task):
        super().__init__(daemon=True)
        self.task, self.ends = task, False
        self.start()
    def run(self):
        while not self.ends:
            self.task()
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.ends = True
        self.join()
"""

PROGRAMS = {
    "children, grandchildren": """
def twice():
    check()
    assert ends_well(forked(check))
    check()
for _ in range(5):
    assert ends_well(forked(twice))
    check()
""",
    "a pool": """
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(work, range(12)) == [want] * 12
check()
""",
    "an executor": """
fork = multiprocessing.get_context("fork")
with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:
    assert list(pool.map(work, range(12))) == [want] * 12
check()
""",
    "another thread evaluates": """
with Beside(check):
    for _ in range(25):
        assert ends_well(forked(check))
""",
    "several threads, children at once": """
with Beside(check), Beside(check):
    for _ in range(10):
        assert all([ends_well(child) for child in [forked(check) for _ in range(4)]])
""",
    "another thread trains: its steps are whole": """
p, q = param(np.zeros(100_000, "float32")), param(np.zeros(100_000, "float32"))
def step():
    back((p + q).sum())
    update(p, p.grad)
    update(q, q.grad)
    float(p[0])
def whole():
    a, b = np.asarray(p), np.asarray(q)
    assert (a == a[0]).all() and (b == a[0]).all(), (a.min(), a.max(), b.min(), b.max())
    step()
    assert float(q[7]) == a[0] + 1
with Beside(step):
    for _ in range(25):
        assert ends_well(forked(whole))
""",
    "the main thread evaluates at length": """
children = []
def fork_some():
    for _ in range(8):
        children.append(forked(check))
        time.sleep(0.03)
side = threading.Thread(target=fork_some)
big = fluxrs.rand(1200, 1200)
side.start()
while side.is_alive():
    float((big @ big @ big).sum())
side.join()
assert len(children) == 8 and all([ends_well(child) for child in children])
check()
""",
    "an update waits on another thread": """
p = param(np.zeros(5))
def queue():
    update(p, 1.0)
    queued.set()
    done.wait()
queued, done = threading.Event(), threading.Event()
side = threading.Thread(target=queue)
side.start()
queued.wait()
def read():
    assert float(p.sum()) == 5
assert ends_well(forked(read))
read()
done.set()
side.join()
""",
    "a signal handler forks in the middle of an evaluation": """
children, mine = [], os.getpid()
def handler(*_):
    if os.getpid() == mine:
        children.append(os.fork())
signal.signal(signal.SIGALRM, handler)
big = fluxrs.rand(1000, 1000)
expected = float((big @ big @ big).sum())
for k in range(10):
    signal.setitimer(signal.ITIMER_REAL, 0.02 + 0.004 * k)
    before = len(children)
    try:
        got = float((big @ big @ big).sum())
    except KeyboardInterrupt:
        got = None
    while len(children) == before:
        time.sleep(0.001)
    if os.getpid() != mine:
        os._exit(0 if got in (None, expected) and work() == want else 1)
    assert got == expected
assert all([ends_well(child) for child in children])
""",
    "what is run before a fork evaluates": """
READ.append(x)
with Beside(check):
    for _ in range(20):
        assert ends_well(forked(check))
""",
    "native code forks": """
fork = ctypes.PyDLL(None).fork
def ready():
    try:
        check()
    except ValueError as e:
        assert "forked by native code" in str(e)
with Beside(check):
    for _ in range(20):
        child = fork()
        if child == 0:
            signal.alarm(60)
            ready()
            os._exit(0)
        assert ends_well(child)
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_fork_when(name):
    run(PROGRAMS[name])


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_results_have_the_same_bits_in_a_child(threads):
    run("assert ends_well(forked(check))\nprint(want)", RAYON_NUM_THREADS=threads)


def run(program, **env):
    child = subprocess.run(
        [sys.executable, "-c", START + program],
        env=os.environ | env,
        timeout=150,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


def test_the_number_of_threads_changes_no_bit():
    assert len({run("print(want)", RAYON_NUM_THREADS=n) for n in "1237"}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits threads as Linux does")
def test_threads_that_cannot_be_had_are_done_without():
    program = """
import resource
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""
    if os.getuid() != 0:
        program = "import resource\n"
    program = START.replace(
        "fluxrs.seed(1)",
        program
        + "hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]\nresource.setrlimit(resource.RLIMIT_NPROC, (1, hard))\nfluxrs.seed(1)",
    )
    program += """
def threads():
    return len(os.listdir("/proc/self/task"))
assert threads() == 1, threads()
check()
resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
for _ in range(10):
    check()
assert threads() == 4, threads()
"""
    env = os.environ | {"RAYON_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", program], env=env, timeout=60, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stdout + child.stderr
