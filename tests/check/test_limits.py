"""Each protection holds by itself, says that it does, and says where it does not."""

import contextlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from visattn.check.child import landlock, limits, linux, main, namespaces, seccomp
from visattn.check.child.records import Spec
from visattn.check.runner import Limits, launch

PATIENT = Limits(start=60, first=60, call=60)
needs_linux = pytest.mark.skipif(not linux.HERE, reason="only Linux has namespaces, Landlock and seccomp")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Libraries start a thread for each processor, and our limits are small."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def run(tmp_path, source, layers=main.LAYERS, limits=PATIENT):
    """(what forward returned or the problem's text, isolation): the body of forward is `source`."""
    file = tmp_path / "mine.py"
    body = "".join(f"    {line}\n" for line in source.strip().splitlines())
    file.write_text(f"import os, sys, socket, ctypes, signal, time\nimport numpy as np\n\ndef forward(x):\n{body}")
    spec = Spec(str(file), name="forward", op="softmax", arguments=("x",), framework="numpy")
    with launch(spec, limits, layers=layers) as function:
        answer = function.call({"x": np.zeros(1)}, {}, None, dtype="float64", repeat=1)
    if answer.problems:
        return f"{answer.problems[0].kind}: {answer.problems[0].says}", function.isolation
    return float(answer.y[0].flat[0]), function.isolation


def says(isolation, topic):
    """What holds of one topic."""
    return next(line for line in isolation if line.startswith(topic + ":"))


def needs(topic, isolation):
    if "not isolated" in says(isolation, topic):
        pytest.skip(says(isolation, topic))


LAYERS = {"all": main.LAYERS, "no namespaces": ("landlock", "seccomp", "user"), "Landlock": ("landlock",),
          "namespaces": ("namespaces",), "seccomp": ("seccomp",), "none": ()}


@needs_linux
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_with_any_protections_an_honest_function_answers_and_each_topic_is_told(tmp_path, layers):
    got, isolation = run(tmp_path, "return x + 2", layers)
    assert got == 2
    for topic in ("network", "files", "visattn", "processes", "user", "memory", "limits", "time"):
        assert says(isolation, topic)


@needs_linux
def test_without_protections_nothing_is_claimed(tmp_path):
    _, isolation = run(tmp_path, "return x + 2", ())
    for topic in ("network", "files", "visattn"):
        assert "not isolated" in says(isolation, topic)
    assert "unless" in says(isolation, "processes")


CONNECT = """
door = socket.socket()
door.settimeout(0.2)
try:
    door.connect(("127.0.0.1", {port}))
except OSError:
    return x
return x + 1
"""


@needs_linux
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_what_is_told_of_the_network_is_true(tmp_path, layers):
    import socket

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        got, isolation = run(tmp_path, CONNECT.replace("{port}", str(server.getsockname()[1])), layers)
    reached = got == 1
    assert reached == (says(isolation, "network") == "network: not isolated")


@needs_linux
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_what_is_told_of_files_is_true(tmp_path, layers):
    keep = tmp_path / "keep.txt"
    keep.write_text("keep")
    os.chmod(keep, 0o666)
    os.chmod(tmp_path, 0o755)                               # else a copy of it is all that there is to see
    got, isolation = run(tmp_path, f"open({str(keep)!r}, 'w').write('changed')\nreturn x + 1", layers)
    changed = keep.read_text() != "keep"
    assert changed == (got == 1) == ("not isolated" in says(isolation, "files"))


@needs_linux
@pytest.mark.parametrize("layers", [LAYERS["all"], LAYERS["no namespaces"]], ids=["all", "no namespaces"])
def test_it_can_write_its_own_folder_and_nothing_else(tmp_path, layers):
    source = """
open("mine", "w").write("x")
os.mkdir("folder")
os.rename("mine", "folder/mine")
os.chmod("folder/mine", 0o700)
os.remove("folder/mine")
refused = 0
places = ["/", "/tmp", "/usr", "/etc", "/var/tmp", "/proc/self/..", os.path.dirname(os.getcwd()), __file__[:-8]]
for place in places:
    try:
        open(os.path.join(place, "visattn-was-here"), "w").close()
    except OSError:
        refused += 1
return x + len(places) - refused
"""
    got, isolation = run(tmp_path, source, layers)
    needs("files", isolation)
    assert got == 0


@needs_linux
@pytest.mark.parametrize("layers", [LAYERS["all"], LAYERS["no namespaces"]], ids=["all", "no namespaces"])
def test_a_home_and_other_peoples_files_cannot_be_read(tmp_path, layers):
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_text("secret")
    os.chmod(secret, 0o644)
    (tmp_path / "student").mkdir()
    got, isolation = run(tmp_path / "student", f"return x + len(open({str(secret)!r}).read())", layers)
    needs("files", isolation)
    assert "raised" in got


@needs_linux
@pytest.mark.parametrize("layers", [LAYERS["all"], LAYERS["no namespaces"]], ids=["all", "no namespaces"])
def test_it_has_no_privileges(tmp_path, layers):
    source = """
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
return x + int(status["CapEff"], 16) + int(status["CapPrm"], 16) + (int(status["NoNewPrivs"]) != 1)
"""
    got, _ = run(tmp_path, source, layers)
    assert got == 0


@needs_linux
def test_privileges_cannot_be_had_again_in_a_namespace(tmp_path):
    got, _ = run(tmp_path, "return x + (ctypes.CDLL(None).unshare(0x10000000) == 0)")
    assert got == 0


@needs_linux
def test_what_is_faked_does_nothing(tmp_path):
    """Where there are no namespaces, leaving the group and changing permissions say that they were done."""
    keep = tmp_path / "keep.txt"
    keep.write_text("keep")
    mode = keep.stat().st_mode
    got, _ = run(tmp_path, f"group = os.getpgid(0)\nos.chmod({str(keep)!r}, 0o777)\n"
                           "if os.fork() == 0:\n    os.setsid()\n    os._exit(os.getpgid(0) != group)\n"
                           "return x + os.waitstatus_to_exitcode(os.wait()[1])", LAYERS["seccomp"])
    assert got == 0
    assert keep.stat().st_mode == mode


@needs_linux
@pytest.mark.parametrize("name", ["ptrace", "unshare", "mount", "io_uring_setup", "bpf", "setns"])
def test_a_system_call_that_is_never_needed_is_refused(tmp_path, name):
    number = seccomp.NUMBERS[name][0 if linux.MACHINE == "x86_64" else 1]
    got, _ = run(tmp_path, f"libc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall({number}, 0, 0, 0, 0, 0)\n"
                           "return x + ctypes.get_errno()", LAYERS["seccomp"])
    assert got == seccomp.EPERM


@pytest.mark.parametrize(("source", "wanted"), [
    ("while True: pass", "did not answer within 1 s"),
    ("time.sleep(3600)", "did not answer within 1 s"),
], ids=["busy", "asleep"])
def test_time_is_limited(tmp_path, source, wanted):
    got, _ = run(tmp_path, source, limits=PATIENT._replace(first=1))
    assert wanted in got


@needs_linux
def test_memory_of_a_process_is_limited(tmp_path):
    got, _ = run(tmp_path, "return np.ones(1 << 30)", limits=PATIENT._replace(memory=1 << 30))
    assert got.startswith("resource: ")
    assert "emory" in got


@needs_linux
@pytest.mark.parametrize("layers", [LAYERS["all"], LAYERS["no namespaces"]], ids=["all", "no namespaces"])
def test_memory_of_all_processes_together_is_limited(tmp_path, layers):
    source = """
for _ in range(8):
    if os.fork() == 0:
        kept = np.ones(1 << 25)
        time.sleep(60)
time.sleep(60)
"""
    got, _ = run(tmp_path, source, layers, PATIENT._replace(memory=1 << 30))
    assert got == "resource: it used more memory than 1 GiB"


@needs_linux
@pytest.mark.parametrize("layers", [LAYERS["all"], LAYERS["no namespaces"]], ids=["all", "no namespaces"])
def test_processes_are_limited(tmp_path, layers):
    source = """
for i in range(60):
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError:
        return x + i
time.sleep(60)
"""
    got, _ = run(tmp_path, source, layers, PATIENT._replace(processes=20, first=20))
    assert got == "resource: it started more than 20 processes" or 0 < got < 60


@needs_linux
@pytest.mark.parametrize("layers", [LAYERS["all"], LAYERS["no namespaces"]], ids=["all", "no namespaces"])
def test_files_are_limited(tmp_path, layers):
    source = """
written = 0
try:
    for i in range(100):
        with open(f"part{i}", "wb") as file:
            file.write(bytes(1 << 20))
        written += 1
        time.sleep(0.02)
except OSError:
    pass
return x + written
"""
    got, _ = run(tmp_path, source, layers, PATIENT._replace(disk=8 << 20))
    assert got == "resource: it wrote more than 8 MiB of files" or got <= 8


def test_one_file_is_limited(tmp_path):
    got, _ = run(tmp_path, "open('large', 'wb').write(bytes(3 << 20))", limits=PATIENT._replace(file=1 << 20))
    assert "raised" in got or "crash" in got


def test_processor_time_is_limited_in_the_process_itself():
    """Should the watch be gone, the system ends it."""
    code = ("import sys; sys.path.insert(0, sys.argv[1])\nfrom child import limits\n"
            "limits.bound(limits.Limits(start=0, total=0), addresses=True, counted=100000)\nimport resource\n"
            "print(resource.getrlimit(resource.RLIMIT_CPU)[0] <= 16, resource.getrlimit(resource.RLIMIT_CORE)[0])")
    if os.name != "posix":
        pytest.skip("this system has no limits that could be set")
    folder = os.path.dirname(os.path.dirname(limits.__file__))
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]


@needs_linux
@pytest.mark.parametrize("layers", [*LAYERS.values()], ids=[*LAYERS])
def test_nothing_is_left_when_the_check_itself_is_killed(tmp_path, layers):
    file = tmp_path / "mine.py"
    file.write_text("import time\ndef forward(x): time.sleep(3600)\n")
    code = f"""
import numpy as np
from visattn.check.child.records import Spec
from visattn.check.runner import launch
function = launch(Spec({str(file)!r}, op="softmax", arguments=("x",), framework="numpy"), layers={layers!r})
print(function.temporary, flush=True)
function.call({{"x": np.zeros(2)}}, {{}}, None, dtype="float64")
"""
    check = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with check:
        folder = check.stdout.readline().strip()
        assert folder
        assert there(folder)
        check.kill()
    deadline = time.monotonic() + 30
    while there(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = there(folder)
    subprocess.run(["rm", "-rf", folder], check=True)
    assert left == []


def there(folder):
    """Processes whose environment names this folder."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if folder.encode() in file.read():
                found.append(name)
    return found


def test_sizes_and_ends_are_said_in_words():
    assert limits.size(8 << 30) == "8 GiB"
    assert limits.size(1536) == "1.5 KiB"
    assert limits.how_it_ended(0) == "it ended its process with exit status 0"
    assert limits.how_it_ended(128 + 9) == "it was ended by SIGKILL"
    assert limits.reason(limits.CROWD, Limits(processes=7)) == "it started more than 7 processes"
    assert limits.reason(1, Limits()) == ""


@needs_linux
def test_filter_jumps_stay_within_the_filter():
    """A jump past the end would be refused by the kernel only where it is set."""
    for no_net in (False, True):
        for stay in (False, True):
            steps = seccomp.steps(no_net, stay, True, (10, -10 & seccomp.EVERYBODY))
            assert len(steps) < 4096
            for at, step in enumerate(steps):
                if step.code in (seccomp.EQUAL, seccomp.AT_LEAST):
                    assert at + 1 + max(step.yes, step.no) < len(steps)
            assert steps[-1].k == seccomp.ALLOW


@needs_linux
def test_this_system_has_what_its_kernel_says(tmp_path):
    """Where the kernel has it, it is used: a protection that fails silently would show here."""
    _, isolation = run(tmp_path, "return x")
    if landlock.version():
        assert "not isolated" not in says(isolation, "files")
    if os.path.exists("/proc/sys/kernel/seccomp"):
        assert "not isolated" not in says(isolation, "network")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from child import namespaces as n; print(sorted(n.leave()))"
    folder = os.path.dirname(os.path.dirname(namespaces.__file__))
    probe = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    if "'net'" in probe.stdout:
        assert says(isolation, "network") == "network: none, in a namespace of its own"
