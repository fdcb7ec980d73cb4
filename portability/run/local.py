"""Running jobs on this machine: a subprocess each, as many at once as cores and memory allow."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from pynn_portability.files import own_folder, remove
from pynn_portability.run.environment import available_cores
from pynn_portability.run.events import Advanced, Began, Ended, Event, Listener
from pynn_portability.run.outcome import Job, Outcome
from pynn_portability.run.process import Process
from pynn_portability.run.store import Store

_SECONDS_BETWEEN_LOOKS = 1.0  # at free memory, which others may need as well


class LocalExecutor:
    """Runs jobs in subprocesses of this one.

    At most ``jobs`` run at once. One takes as many cores as it has threads, because simulator threads
    spin at barriers and slow down several times over when they share a core; it waits until its cores
    and its memory are free. A job that needs more than there is runs alone.
    """

    def __init__(self, store: Store, listener: Listener, jobs: int | None = None) -> None:
        self._store = store
        self._listener = listener
        self._cores = available_cores()
        self._most = jobs if jobs is not None else self._cores
        self._running: dict[Job, Process | None] = {}
        self._waiting: list[Job] = []  # in the order they came
        self._changed = threading.Condition()
        self._closed = False
        # as many threads wait for room as there can be jobs that run beside them
        self._pool = ThreadPoolExecutor(2 * self._most, thread_name_prefix="run")

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            processes = [process for process in self._running.values() if process]
            self._changed.notify_all()
        for process in processes:
            process.terminate()
        for process in processes:  # one that does not listen would be waited for in vain
            process.kill()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a job as soon as there is room; of jobs that fit, the one that came first begins."""
        with self._changed:
            self._waiting.append(job)
        return self._pool.submit(self._run, job)

    def _run(self, job: Job) -> Outcome:
        self._wait_for_room(job)
        try:
            if self._closed:
                return Outcome(job.task.run, job.key, None, "interrupted")
            return self._made(job)
        except Exception as error:  # whatever it is, other runs go on
            sentence = f"the run could not be made: {type(error).__name__}: {error}"
            return Outcome(job.task.run, job.key, None, sentence)
        finally:
            with self._changed:
                del self._running[job]
                self._changed.notify_all()

    def _made(self, job: Job) -> Outcome:
        self._tell(Began(job.name, 1.0))
        scratch = None
        lease = self._store.lease(job.key)
        try:
            while not lease.take():
                if self._closed:
                    return Outcome(job.task.run, job.key, None, "interrupted")
                self._tell(Advanced(job.name, phase=f"waiting for {lease.holder()}"))
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            if record := self._store.find(job.key):  # which somebody else made meanwhile
                return Outcome(job.task.run, job.key, record, reused=True)
            scratch = self._store.make_scratch(job.key)
            error, log = self._simulate(job, scratch)
            record = self._store.find(job.key)
            if record is None:
                return Outcome(job.task.run, job.key, None, error, self._keep(job, log))
            if not self._log(job).parent.is_symlink():
                self._log(job).unlink(missing_ok=True)  # of an earlier attempt
            return Outcome(job.task.run, job.key, record)
        finally:
            if scratch:
                shutil.rmtree(scratch, ignore_errors=True)
            lease.release()
            self._tell(Ended(job.name))

    def _tell(self, event: Event) -> None:
        """Tell the listener, whose troubles (a closed terminal, say) are none of a run's."""
        with suppress(Exception):
            self._listener(event)

    def _simulate(self, job: Job, scratch: Path) -> tuple[str, Path]:
        """Let a subprocess make the run; what it says went wrong, should it have, and its log."""
        threads = str(job.task.threads)
        variables = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
        process = Process("pynn_portability.run.worker", job.specification, scratch, variables)
        with self._changed:
            self._running[job] = process
            if self._closed:  # meanwhile
                process.terminate()
        try:
            error, ends = self._follow(job, process)
        except BaseException:
            process.end()
            raise
        if ends:
            returncode = process.wait()  # so that all that it printed is in the log
            error = error or process.last_words(returncode)
        else:
            process.end()
        return error or "", process.log

    def _follow(self, job: Job, process: Process) -> tuple[str | None, bool]:
        """Tell what a run reports; what went wrong, if it is known, and whether the run ends by itself."""
        phase = "starting"
        try:
            for report in process.reports(job.seconds):
                phase = str(report.get("phase", phase))
                self._tell(Advanced(job.name, report.get("fraction"), phase))
                if (error := report.get("error")) is not None:
                    return str(error), True
        except TimeoutError:
            sentence = f"the run was ended after {job.seconds:g} s, {phase}; "
            return sentence + "simulation.timeout in the study file allows more", False
        except (ValueError, RecursionError):
            return "what the run reported is no report", False
        return None, True

    def _wait_for_room(self, job: Job) -> None:
        with self._changed:
            while not (self._closed or job is next(filter(self._fits, self._waiting), None)):
                self._changed.wait(_SECONDS_BETWEEN_LOOKS)
            self._waiting.remove(job)
            self._running[job] = None
            self._changed.notify_all()  # what comes next may fit as well

    def _fits(self, job: Job) -> bool:
        if not self._running:
            return True
        if len(self._running) >= self._most:
            return False
        taken = sum(min(other.task.threads, self._cores) for other in self._running)
        if min(job.task.threads, self._cores) > self._cores - taken:
            return False
        # running simulations will still grow to what they were estimated to need
        growth = sum(
            max(0.0, other.task.estimate.memory_bytes - (process.memory() if process else 0))
            for other, process in self._running.items()
        )
        free = psutil.virtual_memory().available - growth
        return job.task.estimate.memory_bytes <= free

    def _log(self, job: Job) -> Path:
        return self._store.folder / "logs" / f"{job.key}.log"

    def _keep(self, job: Job, log: Path) -> Path | None:
        """Where the log of a run that failed stays, None if there is no room for it."""
        kept = self._log(job)
        try:
            own_folder(kept.parent)
            remove(kept)  # a folder or a link to one would be moved into
            shutil.move(log, kept)
        except OSError:
            return None
        return kept
