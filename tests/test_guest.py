"""A model script is a guest: whatever it does, the command goes on, and what it built is all that comes back."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from command_line import portability

from pynn_portability.errors import RequestError
from pynn_portability.model.network import Network
from pynn_portability.run import guest
from pynn_portability.run.events import ignore
from pynn_portability.run.study import load_study

STUDY = """
[study]
name = "guest"
[model]
build = "model.py:build"
[simulation]
duration = 10.0
warmup = 0.0
seeds = [1]
{more}
[reference]
backend = "emulator"
format = "double"
"""

BUILD = """
def build(sim):
    {first}
    sim.Population(2, sim.IF_curr_exp(i_offset=1.5), label="E").record("spikes")
"""


def write(folder: Path, top: str = "", first: str = "pass", more: str = "") -> Path:
    (folder / "study.toml").write_text(STUDY.format(more=more))
    (folder / "model.py").write_text(top + BUILD.format(first=first))
    return folder / "study.toml"


def captured(study: Path) -> Network:
    return guest.captured(load_study(study), [0.1], ignore)[0.1]


ENDINGS = {
    "exit": ("import sys; sys.exit(0)", "SystemExit: 0, a model script must not end the program"),
    "exit with words": ("import sys; sys.exit('enough')", "SystemExit: enough"),
    "quit": ("raise SystemExit", "SystemExit"),
    "hard exit": ("import os; os._exit(0)", "exit code 0"),
    "hard exit, failing": ("import os; os._exit(1)", "exit code 1"),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "crash": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "base exception": ("raise BaseException('base')", "BaseException: base"),
    "own exception": ("E = type('E', (BaseException,), {}); raise E('own')", "E: own"),
    "generator exit": ("raise GeneratorExit", "GeneratorExit"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "question": ("input('name? ')", "EOFError"),
    "everything closed": ("import os; os.closerange(0, 100); os._exit(0)", "exit code 0"),
    "recursion": ("f = lambda: f(); f()", "RecursionError"),
    "memory": ("x = bytearray(10**17)", "MemoryError"),
}


@pytest.mark.parametrize("where", ["at the top", "in build"])
@pytest.mark.parametrize("name", ENDINGS)
def test_a_script_that_ends_is_a_sentence(name: str, where: str, tmp_path: Path) -> None:
    statement, words = ENDINGS[name]
    study = write(
        tmp_path, **({"top": statement} if where == "at the top" else {"first": statement})
    )
    with pytest.raises(RequestError) as caught:
        captured(study)
    sentence = str(caught.value)
    assert sentence.startswith(f"{study}: model.build: ")
    assert words in sentence
    assert "\n" not in sentence


HARMLESS = {
    "changes folder": "import os; os.chdir('/')",
    "closes its output": "import os; os.close(1); os.close(2)",
    "closes sys.stdout": "import sys; sys.stdout.close()",
    "forks": "import os; os.fork()",
    "forks and waits": "import os, time; os.fork() or time.sleep(1000)",
    "leaves a thread": "import threading, time; "
    "threading.Thread(target=time.sleep, args=(1000,)).start()",
    "leaves a process": "import subprocess; subprocess.Popen(['sleep', '1000'])",
    "prints 300 MB": "for _ in range(300): print('x' * 10**6)",
    "ignores signals": "import signal; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)]",
    "ends in the end": "import atexit, os; atexit.register(os._exit, 0)",
    "changes the environment": "import os; os.environ.clear()",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_script_that_builds_is_taken_for_what_it_builds(name: str, tmp_path: Path) -> None:
    before = Path.cwd(), dict(os.environ), set(psutil.Process().children(recursive=True))
    network = captured(write(tmp_path, first=HARMLESS[name]))
    assert [(p.label, p.size) for p in network.populations] == [("E", 2)]
    deadline = time.monotonic() + 60
    while set(psutil.Process().children(recursive=True)) - before[2]:
        assert time.monotonic() < deadline, "something is left running"
        time.sleep(0.1)
    assert (Path.cwd(), dict(os.environ)) == before[:2]


@pytest.mark.parametrize("statement", ["while True: pass", "import time; time.sleep(1000)"])
def test_a_script_that_does_not_return_has_a_time_limit(statement: str, tmp_path: Path) -> None:
    study = write(tmp_path, first=statement, more="timeout = 3.0")
    with pytest.raises(RequestError, match=r"study\.toml: model\.build: .* 3 s"):
        captured(study)


def test_what_a_script_prints_is_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captured(write(tmp_path, first=r"print('\x1b[2Jhello')"))
    out, err = capsys.readouterr()
    assert (out, err) == ("", "\\x1b[2Jhello\n")
    captured(write(tmp_path, first="print('x' * 10**6)"))
    _, err = capsys.readouterr()
    assert len(err) < 2 * guest.MOST_PRINTED
    assert "more characters of what the model script printed" in err


@pytest.mark.parametrize("command", ["run", "validate", "describe", "predict", "selftest", "map"])
def test_no_script_decides_the_exit_code(command: str, tmp_path: Path) -> None:
    write(tmp_path, top="import os; os._exit(0)")
    ended = portability(tmp_path, command, "study.toml")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert "exit code 0" in ended.stderr or command in ("predict", "selftest", "map")
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "results").glob("**/*.html"))


def test_a_guest_cannot_reach_into_the_command(tmp_path: Path) -> None:
    """What a script changes in modules is gone with its process."""
    changes = "import sys, json; json.dumps = json.loads = None; sys.modules.clear()"
    with pytest.raises(RequestError):
        captured(write(tmp_path, first=changes))
    assert "json" in sys.modules


MISTAKES = {
    "missing script": (
        "model.py:build",
        "modl.py:build",
        "model.build: ",
        "modl.py does not exist",
    ),
    "missing function": (
        "model.py:build",
        "model.py:biuld",
        "model.build: ",
        "no function 'biuld'",
    ),
    "not a function": (
        "model.py:build",
        "model.py:number",
        "model.build: ",
        "no function 'number'",
    ),
    "unknown parameter": ("[sim", "wieght = 5\n[sim", "model.wieght: ", "did you mean 'weight'"),
    "missing parameter": ("py:build", "py:needs", "model.size: ", "needs has no default for it"),
    "wrong value": ("[sim", "weight = 'x'\n[sim", "model.build: ", "model.py, line 7: TypeError"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_wrong_with_a_model_names_the_key(name: str, tmp_path: Path) -> None:
    old, new, key, words = MISTAKES[name]
    study = write(tmp_path)
    study.write_text(study.read_text().replace(old, new))
    (tmp_path / "model.py").write_text(
        "number = 3\n\ndef needs(sim, size):\n    pass\n\n"
        "def build(sim, weight=0.5):\n    return 2 / weight\n"
    )
    with pytest.raises(RequestError) as caught:
        captured(study)
    assert str(caught.value).startswith(f"{study}: {key}")
    assert words in str(caught.value)


def test_reports_need_no_script(tmp_path: Path) -> None:
    """The network that runs were made of is kept beside them; a script that is there counts."""
    study = write(tmp_path)
    study.write_text(
        study.read_text() + '[[candidate]]\nbackend = "emulator"\nformat = "float32"\n'
    )
    arguments = ("study.toml", "--out", "out")
    assert portability(tmp_path, "run", *arguments, "--exit-zero").returncode == 0
    results = (tmp_path / "out" / "results.json").read_text()
    (tmp_path / "model.py").rename(tmp_path / "elsewhere.py")
    for command in ("report", "predict"):
        ended = portability(tmp_path, command, *arguments)
        assert ended.returncode in (0, 3), ended.stderr
    assert (
        "the model script model.py is not there" in (tmp_path / "out" / "results.json").read_text()
    )
    assert "not there" not in results
    ended = portability(tmp_path, "run", *arguments)
    assert (ended.returncode, "model.py does not exist" in ended.stderr) == (2, True)
    write(tmp_path, first="import os; os._exit(0)")
    assert portability(tmp_path, "report", *arguments).returncode == 2


def test_a_network_that_was_changed_is_not_used(tmp_path: Path) -> None:
    study = write(tmp_path)
    arguments = ("study.toml", "--out", "out")
    assert portability(tmp_path, "run", *arguments, "--exit-zero").returncode == 0
    (tmp_path / "model.py").unlink()
    (file,) = (tmp_path / "out" / "networks").iterdir()
    content = file.read_bytes()
    file.write_bytes(content.replace(b"IF_curr_exp", b"IF_cond_exp"))
    assert file.read_bytes() != content
    assert portability(tmp_path, "report", *arguments).returncode == 2
    file.unlink()
    (tmp_path / "aside.npz").write_bytes(content)
    file.symlink_to(tmp_path / "aside.npz")
    assert portability(tmp_path, "report", *arguments).returncode == 2
    file.unlink()
    file.write_bytes(content)
    assert portability(tmp_path, "report", *arguments).returncode == 0
    assert study.exists()
