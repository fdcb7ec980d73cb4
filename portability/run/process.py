"""A subprocess that is handed a specification and reports what it does, as lines of JSON.

Both ends are here: `Process` starts it, and what runs in it calls `serve`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from pynn_portability.errors import RequestError

Report = Callable[[Mapping[str, Any]], None]

_GRACE_SECONDS = 5.0  # between asking a process to end and making it
_LONGEST_SENTENCE = 300


class Process:
    """A subprocess that runs ``main()`` of a module, which hands its work to `serve`.

    It reports JSON lines on ``pipe`` (a file descriptor), a pipe of its own; whatever it prints goes
    to the file ``log``. ``variables`` are added to its environment.
    """

    def __init__(
        self,
        module: str,
        specification: Mapping[str, Any],
        scratch: Path,
        variables: Mapping[str, str],
    ) -> None:
        self.log = scratch / "log"
        self._unread = b""
        self.pipe, write_end = os.pipe()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                # python puts the working directory first on its path, so it must be an empty one
                [sys.executable, "-c", f"from {module} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=os.environ | variables,
                pass_fds=(write_end,),
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        os.close(write_end)
        assert self._process.stdin is not None
        # stays open: its end tells the subprocess that this process is gone
        with contextlib.suppress(BrokenPipeError):
            line = json.dumps({**specification, "pipe": write_end})
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def memory(self) -> int:
        """Resident memory in bytes."""
        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return 0

    def reports(self) -> list[Mapping[str, Any]] | None:
        """The next reports, as soon as something comes; None when it has closed its pipe."""
        block = os.read(self.pipe, 2**16)
        *lines, self._unread = (self._unread + block).split(b"\n")
        return [json.loads(line) for line in lines] if block else None

    def wait(self) -> int:
        """The exit code of a process that has closed its pipe, as `subprocess` gives it."""
        try:
            returncode = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            returncode = self._process.wait()
        os.close(self.pipe)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return returncode

    def terminate(self) -> None:
        """Ask it to stop; it then closes its pipe."""
        # the whole group: a simulator may have started a compiler
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it, with what it has started, if it has not ended within the grace of `terminate`."""
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self, returncode: int) -> str:
        """One sentence on why it ended without saying so itself."""
        if returncode < 0:
            name = signal.Signals(-returncode).name
            hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return f"the simulation was ended by the signal {name}{hint}"
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        said = next((line for line in reversed(lines) if line), "it printed nothing")
        return f"the simulation ended with exit code {returncode}: {said[:_LONGEST_SENTENCE]}"


def ask(
    module: str,
    specification: Mapping[str, Any],
    progress: Callable[[Mapping[str, Any]], None],
) -> Any:
    """The ``result`` that ``main()`` of a module reports from a process of its own.

    The module hands `serve` what to do with the specification (plain JSON values); ``progress`` is given
    every report. Raises ``RequestError``, in one sentence, when there is no result.
    """
    result, error = None, None
    with tempfile.TemporaryDirectory(prefix="portability-") as scratch:
        process = Process(module, specification, Path(scratch), {})
        try:
            while (reports := process.reports()) is not None:
                for report in reports:
                    result, error = report.get("result", result), report.get("error", error)
                    progress(report)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        returncode = process.wait()
        if result is None:
            raise RequestError(error or process.last_words(returncode))
    return result


# --- In the subprocess ---


def serve(work: Callable[[Mapping[str, Any], Report], None]) -> None:
    """Do ``work`` as a subprocess: a specification comes in, reports go out on the pipe it names."""
    specification = json.loads(sys.stdin.readline())
    # the working directory changes, and modules must not come from it
    sys.path[:] = [folder for folder in sys.path if folder]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.set_inheritable(specification["pipe"], False)  # compilers need not hold it open
    with os.fdopen(specification["pipe"], "w", buffering=1) as pipe:

        def report(message: Mapping[str, Any]) -> None:
            print(json.dumps(message), file=pipe)

        try:
            work(specification, report)
        except Exception as error:
            traceback.print_exc()  # into the log
            report({"error": _sentence(error)})
            sys.exit(1)


def _sentence(error: BaseException) -> str:
    words = " ".join(str(error).split()) or "no message"
    if len(words) > _LONGEST_SENTENCE:
        words = words[: _LONGEST_SENTENCE - 3] + "..."
    return words if isinstance(error, RequestError) else f"{type(error).__name__}: {words}"


def _end_with_parent() -> None:
    """End this process when standard input ends: the process that started this one is gone."""
    # not sys.stdin.read(): its lock, held by this thread, would abort the interpreter's shutdown
    while os.read(0, 1):
        pass
    os._exit(1)


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    # Linux hands getrusage's maximum on to child processes, it would include the parent's
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(
            int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")
        )
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
