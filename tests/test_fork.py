"""A forked child computes, whatever the parent's threads were doing."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

START = """
import concurrent.futures, contextlib, ctypes, multiprocessing, os, signal, sys, threading, time, warnings
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
    "others queue updates": """
ps = [param(np.zeros(3)) for _ in range(4)]
def queue(p):
    update(p, 1.0)
    fluxrs._core.queued()
    fluxrs._core.discard(fluxrs._core.queue_position())
def read():
    for p in ps:
        a = np.asarray(p)
        assert (a == a[0]).all(), a
    check()
with contextlib.ExitStack() as beside:
    for p in ps:
        beside.enter_context(Beside(lambda p=p: queue(p)))
    for _ in range(30):
        assert ends_well(forked(read))
""",
    "all at once, at random": """
import random, tempfile, traceback
sys.setswitchinterval(1e-4)
draw = random.Random(int(os.environ.get("SEED", "1")))
until = time.monotonic() + float(os.environ.get("SECONDS", "3"))
mine, children, wrong = os.getpid(), [], []
folder = tempfile.mkdtemp()
shared = param(np.zeros(1000, "float32"))
turn = param(np.zeros(4))
big = fluxrs.rand(600, 600)
product = np.asarray(big @ big).tobytes()

def whole(p):
    a = np.asarray(p)
    assert (a == a.flat[0]).all(), a

def trains():
    p, q = param(np.zeros(2000, "float32")), param(np.zeros(2000, "float32"))
    opt = fluxrs.ADAM([p, q], 0.1)
    def step():
        back(((p - 1) * (p + q - 2)).sum())
        opt()
        whole(p)
        whole(q)
    return step

def reads():
    whole(shared)
    assert np.asarray(big @ big).tobytes() == product

def adds():
    update(shared, 1.0)
    whole(shared * 2)

def queues():
    update(turn, 1.0)

def saves():
    path = os.path.join(folder, f"{os.getpid()}-{threading.get_ident()}")
    fluxrs.save(path, shared=shared, big=big[:20])
    whole(fluxrs.load(path)["shared"])

def computes():
    check()
    for act in (reads, adds, queues, saves, trains()):
        act()
    assert np.asarray(turn).std() == 0

def noting(act):
    def run():
        try:
            act()
        except BaseException:
            wrong.append(traceback.format_exc())
    return run

def handler(*_):
    if os.getpid() != mine:
        return
    try:
        draw.choice([reads, adds, queues, lambda: None])()
    except ValueError as error:
        assert "while this thread computes another" in str(error)
    child = os.fork()
    if child:
        children.append(child)
    else:
        inside.append(True)

inside = []
signal.signal(signal.SIGUSR1, handler)
armed = []

def kills():
    time.sleep(armed[-1] if armed else 0.001)
    if armed:
        armed.pop()
        signal.pthread_kill(main, signal.SIGUSR1)

main = threading.main_thread().ident
saves()  # what Python imports at its first use it does not import in a child of that moment
kinds = [kills, trains(), trains(), reads, adds, queues, saves, saves, check]
with contextlib.ExitStack() as beside:
    for act in kinds:
        beside.enter_context(Beside(noting(act)))
    while time.monotonic() < until and not wrong:
        before = len(children)
        if draw.random() < 0.5:
            children.append(forked(computes))
        else:
            armed.append(draw.uniform(0, 0.03))
            while len(children) == before and not inside:
                try:
                    got = np.asarray(big @ big)
                    assert got.tobytes() == product
                except KeyboardInterrupt:
                    assert inside, "only in a child is it cut short"
                except BaseException:
                    wrong.append(traceback.format_exc())
                    break
            if inside:
                signal.alarm(60)
                try:
                    computes()
                except BaseException:
                    print(traceback.format_exc(), flush=True)
                    os._exit(1)
                os._exit(0)
        if len(children) > 6:
            assert ends_well(children.pop(0))
assert all([ends_well(child) for child in children])
assert not wrong, wrong[0]
print("children done")
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
