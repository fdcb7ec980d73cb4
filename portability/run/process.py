"""A subprocess that is handed a specification and reports what it does, as lines of JSON.

Both ends are here: `Process` starts it, and what runs in it calls `serve`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from pynn_portability.errors import RequestError

Report = Callable[[Mapping[str, Any]], None]

_GRACE_SECONDS = 5.0  # between asking a process to end and making it
_SECONDS_BETWEEN_LOOKS = 0.2  # at what it prints
_SECONDS_FOR_THE_REST = 1.0  # of what it has printed
_LONGEST_SENTENCE = 300
_LONGEST_REPORT = 2**26
_KEPT_BYTES = 2**20
"""Of what a process prints, so much is kept of the beginning, and so much of the end."""


class Process:
    """A subprocess that runs ``main()`` of a module, which hands its work to `serve`.

    It reports JSON lines on ``pipe`` (a file descriptor), a pipe of its own. Of whatever it prints, the
    beginning and the end are kept in the file ``log``. ``variables`` are added to its environment.
    """

    def __init__(
        self,
        module: str,
        specification: Mapping[str, Any],
        scratch: Path,
        variables: Mapping[str, str],
    ) -> None:
        self.log = scratch / "log"
        self._unread = bytearray()
        self.pipe, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                # python puts the working directory first on its path, so it must be an empty one
                [sys.executable, "-c", f"from {module} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=os.environ | variables,
                pass_fds=(write_end,),
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        except BaseException:
            os.close(self.pipe)
            raise
        finally:
            os.close(write_end)
        self._printed = _Printed(self._process, self.log)
        assert self._process.stdin is not None
        # stays open: its end tells the subprocess that this process is gone
        with contextlib.suppress(OSError):
            line = json.dumps({**specification, "pipe": write_end})
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def memory(self) -> int:
        """Resident memory in bytes."""
        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return 0

    def reports(self, seconds: float | None = None) -> Iterator[Mapping[str, Any]]:
        """Reports, as soon as they come, until it closes its pipe.

        Raises TimeoutError when it has had so many ``seconds``, ValueError or RecursionError for what is no
        report.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            reports = self._next_reports(left)
            if reports is None:
                return
            yield from reports

    def _next_reports(self, seconds: float | None) -> list[Mapping[str, Any]] | None:
        """The next reports, as soon as something comes; None when it has closed its pipe."""
        # a process that never stops reporting has no more time than one that says nothing
        if seconds is not None and seconds <= 0:
            raise TimeoutError
        if not select.select([self.pipe], [], [], seconds)[0]:
            raise TimeoutError
        block = os.read(self.pipe, 2**16)
        self._unread += block
        if len(self._unread) > _LONGEST_REPORT:
            raise ValueError("a report without end")
        lines: list[bytearray] = []
        if b"\n" in block:  # a long line comes in many blocks, and is put together once
            *lines, self._unread = self._unread.split(b"\n")
        reports = [json.loads(line) for line in lines]
        if not all(isinstance(report, dict) for report in reports):
            raise ValueError("a report that is no table")
        return reports if block else None

    def wait(self) -> int:
        """The exit code of a process that has closed its pipe, as `subprocess` gives it.

        Ends what it has started and left running.
        """
        try:
            returncode = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            returncode = self._process.wait()
        self._signal(signal.SIGKILL)
        self._close()
        return returncode

    def end(self) -> None:
        """End it at once, with what it has started."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._close()

    def terminate(self) -> None:
        """Ask it to stop; it then closes its pipe."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, with what it has started, if it has not ended within the grace of `terminate`."""
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # the whole group: a simulator may have started a compiler
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.pipe)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._printed.finish()

    def printed(self) -> str:
        """What it printed, as far as it was kept."""
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""

    def last_words(self, returncode: int) -> str:
        """One sentence on why it ended without saying so itself."""
        if returncode < 0:
            name = signal.Signals(-returncode).name
            hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return f"its process was ended by the signal {name}{hint}"
        lines = [line.strip() for line in self.printed().splitlines()]
        said = next((line for line in reversed(lines) if line), "it printed nothing")
        return f"its process ended with exit code {returncode}: {said[:_LONGEST_SENTENCE]}"


class _Printed:
    """Keeps the beginning and the end of what a process prints in a file, however much it is."""

    def __init__(self, process: subprocess.Popen[bytes], file: Path) -> None:
        assert process.stdout is not None
        self._stream = process.stdout
        self._file = file
        self._done = threading.Event()
        # a daemon: something that the process started and that we cannot end may hold the stream open
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        head, tail, dropped = 0, b"", 0
        descriptor = self._stream.fileno()
        with contextlib.suppress(OSError, ValueError), self._file.open("wb", buffering=0) as file:
            while not self._done.is_set():
                if not select.select([descriptor], [], [], _SECONDS_BETWEEN_LOOKS)[0]:
                    continue
                block = os.read(descriptor, 2**16)
                if not block:
                    break
                room = max(0, _KEPT_BYTES - head)
                file.write(block[:room])
                head += len(block[:room])
                tail += block[room:]
                dropped += max(0, len(tail) - _KEPT_BYTES)
                tail = tail[-_KEPT_BYTES:]
            if dropped:
                file.write(b"\n... (%d bytes are left out)\n" % dropped)
            file.write(tail)

    def finish(self) -> None:
        """Take what is there, and let go of the stream."""
        self._thread.join(_SECONDS_FOR_THE_REST)
        self._done.set()
        self._thread.join()
        self._stream.close()


def ask(
    module: str,
    specification: Mapping[str, Any],
    progress: Callable[[Mapping[str, Any]], None],
    seconds: float | None = None,
    printed: Callable[[str], None] = lambda text: None,
) -> Any:
    """The ``result`` that ``main()`` of a module reports from a process of its own.

    The module hands `serve` what to do with the specification (plain JSON values); ``progress`` is given
    every report until there is a result, after which the process is ended. What the process printed goes to
    ``printed``. Raises ``RequestError``, in one sentence, when there is no result, for instance within so many
    ``seconds``.
    """
    with tempfile.TemporaryDirectory(prefix="portability-", ignore_cleanup_errors=True) as scratch:
        process = Process(module, specification, Path(scratch), {})
        try:
            result, error = _answer(process, progress, seconds)
        except BaseException:
            process.end()
            raise
        if result is None and error is None:
            error = process.last_words(process.wait())
        else:
            process.end()
        printed(process.printed())
        if result is None:
            raise RequestError(str(error))
    return result


def _answer(
    process: Process, progress: Callable[[Mapping[str, Any]], None], seconds: float | None
) -> tuple[Any, str | None]:
    """The first result, or error, that a process reports; neither if it ends without."""
    try:
        for report in process.reports(seconds):
            progress(report)
            if "result" in report or "error" in report:
                return report.get("result"), report.get("error", "it has no result")
    except TimeoutError:
        return None, (
            f"there is no result after {seconds:g} s; simulation.timeout in the study file allows more"
        )
    except (ValueError, RecursionError):
        return None, "what its process reported is no report"
    return None, None


# --- In the subprocess ---


def serve(work: Callable[[Mapping[str, Any], Report], None]) -> None:
    """Do ``work`` as a subprocess: a specification comes in, reports go out on the pipe it names.

    Whatever the work raises, even to end the program, is reported as an error.
    """
    specification = json.loads(sys.stdin.readline())
    # the working directory changes, and modules must not come from it
    sys.path[:] = [folder for folder in sys.path if folder]
    _end_with_parent()
    os.set_inheritable(specification["pipe"], False)  # compilers need not hold it open
    with os.fdopen(specification["pipe"], "w", buffering=1) as pipe:

        def report(message: Mapping[str, Any]) -> None:
            with contextlib.suppress(Exception):  # who reads it may end this process then
                sys.stdout.flush()
            print(json.dumps(message), file=pipe)

        try:
            work(specification, report)
        except BaseException as error:
            with contextlib.suppress(Exception):  # standard error may be closed
                traceback.print_exc()  # into the log
            report({"error": _sentence(error)})
            sys.exit(1)


def _sentence(error: BaseException) -> str:
    words = " ".join(str(error).split()) or "no message"
    if len(words) > _LONGEST_SENTENCE:
        words = words[: _LONGEST_SENTENCE - 3] + "..."
    return words if isinstance(error, RequestError) else f"{type(error).__name__}: {words}"


def _end_with_parent() -> None:
    """End this process, and what it started, when standard input ends: who started it is gone.

    What else reads standard input finds it empty.
    """
    watched = os.dup(0)
    os.set_inheritable(watched, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(watched, 1):
                pass
            if os.getpgrp() == os.getpid():  # the group is ours, and nobody else would end it
                os.killpg(0, signal.SIGKILL)
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
