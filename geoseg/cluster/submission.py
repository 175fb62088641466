"""Jobs of a cluster: sent to its dashboard, named, followed, and what became of them."""

import asyncio
import logging
import os
import re
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

import geoseg
from geoseg.cluster.dashboard import ADDRESS_VARIABLE, Dashboard, refuse_others
from geoseg.cluster.parcel import Parcel
from geoseg.errors import GeosegError, StoppedError
from geoseg.io.addresses import shown
from geoseg.runner import one_line

_T = TypeVar("_T")

_LOOK_S = 0.3
"""Between looks at a job that has nothing to say."""

_PATIENCE_S = 60.0
"""How long a dashboard that answered before may stay away."""

_TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Modules of Ray's client that tell of each upload and each end."""

_OVER = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})

_NOT_FOUND = frozenset({126, 127})
"""A shell's exit codes for a command that is not there."""


class Jobs:
    """The jobs of one cluster.

    Args:
        dashboard: Where it takes them.

    Raises:
        GeosegError: It wants another token, is none, or has another version of Ray.
        StoppedError: Nothing answers.
    """

    def __init__(self, dashboard: Dashboard) -> None:
        refuse_others(dashboard)
        self._dashboard = dashboard
        # Ray's client goes where these variables say, whatever address it is given.
        os.environ[ADDRESS_VARIABLE] = dashboard.address
        for module in _TALKATIVE:
            logging.getLogger(module).setLevel(logging.WARNING)
        self._client = JobSubmissionClient(dashboard.address, headers=dashboard.headers, verify=dashboard.verify)

    def all(self) -> list[JobDetails]:
        """All that were submitted, the last one first."""
        found = self._ask(self._client.list_jobs)
        return sorted(
            (job for job in found if job.submission_id), key=lambda job: job.start_time or 0, reverse=True
        )

    def job(self, name: str) -> JobDetails:
        """One job.

        Raises:
            GeosegError: There is none of that name.
            StoppedError: The dashboard does not answer any more.
        """
        return self._ask(lambda: self._client.get_job_info(name), name)

    def log(self, name: str) -> str:
        """All that a job wrote so far.

        Raises:
            GeosegError: There is none of that name.
            StoppedError: The dashboard does not answer any more.
        """
        return self._ask(lambda: self._client.get_job_logs(name), name)

    def cancel(self, name: str) -> bool:
        """End a job, and wait until it has; returns whether it was running.

        Raises:
            GeosegError: There is none of that name.
            StoppedError: The dashboard does not answer any more.
        """
        stopped = self._ask(lambda: self._client.stop_job(name), name)
        while stopped and not is_over(self.job(name)):
            time.sleep(_LOOK_S)
        return bool(stopped)

    def running(self, parcel: Parcel) -> str | None:
        """The name of the job that does what a parcel asks for, if it is at work.

        Raises:
            GeosegError: Another job is at work on the same output.
        """
        for job in self.all():
            if is_over(job):
                continue
            if attempt_of(job.submission_id, parcel.fingerprint) is not None:
                return str(job.submission_id)
            if parcel.output is not None and (job.metadata or {}).get("output") == shown(parcel.output):
                raise GeosegError(
                    f"job {job.submission_id} is at work on {shown(parcel.output)} with another configuration: "
                    f"wait for it, or end it with: geoseg jobs cancel {job.submission_id}"
                )
        return None

    def submit(self, parcel: Parcel, folder: Path, python: str) -> str:
        """Send a job; returns its name, which counts the attempts at it.

        Args:
            parcel: The job.
            folder: What it takes along.
            python: The cluster's interpreter that has geoseg.

        Raises:
            GeosegError: The cluster does not take it.
            StoppedError: The dashboard does not answer any more.
        """
        attempts = [attempt_of(job.submission_id, parcel.fingerprint) or 0 for job in self.all()]
        name = f"{parcel.fingerprint}-{max(attempts, default=0) + 1}"
        words = [python, "-m", "geoseg", "--submitted-by", geoseg.__version__, *parcel.words]
        self._ask(
            lambda: self._client.submit_job(
                entrypoint=shlex.join(words),
                submission_id=name,
                # Files that travelled start from the job's folder, wherever the nodes' own data lie.
                runtime_env={"working_dir": str(folder), "env_vars": _environment(parcel)},
                metadata={
                    "geoseg": geoseg.__version__,
                    "kind": parcel.kind,
                    **({} if parcel.output is None else {"output": shown(parcel.output)}),
                },
            )
        )
        return name

    def follow(self, name: str, show: Callable[[str], None]) -> JobDetails:
        """Show what a job writes, from its beginning, until it ends.

        Args:
            name: The job.
            show: Called with each line.

        Returns:
            What became of it.

        Raises:
            GeosegError: There is none of that name.
            StoppedError: The dashboard does not answer any more; the job may go on.
        """
        tail = _Tail(show)
        while not is_over(self._patiently(lambda: self.job(name), name)):
            # A line that breaks: what is missing of the log comes when it is back.
            with suppress(OSError, RuntimeError, aiohttp.ClientError):
                asyncio.run(tail.read(self._client, name))
            time.sleep(_LOOK_S)
        tail.end(self._patiently(lambda: self.log(name), name))
        return self._patiently(lambda: self.job(name), name)

    def _patiently(self, question: Callable[[], _T], name: str) -> _T:
        """An answer about a job, though the dashboard may be gone for a moment."""
        since_s = time.monotonic()
        while True:
            try:
                return question()
            except StoppedError as error:
                if time.monotonic() - since_s > _PATIENCE_S:
                    raise StoppedError(
                        f"{error}; the job may go on: follow it with: geoseg jobs logs --follow {name}"
                    ) from error
                time.sleep(_LOOK_S)

    def _ask(self, question: Callable[[], Any], name: str | None = None) -> Any:  # noqa: ANN401  # whatever Ray gives
        """Ray's answer, or why there is none, in words."""
        address = self._dashboard.address
        try:
            return question()
        except AuthenticationError as error:
            raise GeosegError(f"{address} does not take the token any more: {one_line(error)[:200]}") from error
        except OSError as error:  # that of `requests`, too
            raise StoppedError(f"the dashboard at {address} does not answer ({type(error).__name__})") from error
        except RuntimeError as error:
            if name is not None and "status code 404" in str(error):
                raise GeosegError(
                    f"no job is named {name} at {address}: geoseg jobs list shows those that there are"
                ) from error
            raise GeosegError(f"the cluster at {address} refused: {one_line(error)[-300:]}") from error


def is_over(job: JobDetails) -> bool:
    """Whether a job has ended, however."""
    return str(job.status) in _OVER


def attempt_of(name: str | None, fingerprint: str) -> int | None:
    """Which attempt a job's name says that it is, if it is one at what has this fingerprint."""
    found = re.fullmatch(rf"{fingerprint}-([0-9]{{1,9}})", name or "")
    return int(found[1]) if found else None


def exit_code(job: JobDetails) -> int:
    """The exit code of a job's command.

    Args:
        job: One that has ended.

    Raises:
        GeosegError: The cluster could not run the command at all.
        StoppedError: It was ended from outside.
    """
    name, code, message = job.submission_id, job.driver_exit_code, job.message or ""
    again = "submit it again to go on where it stopped"
    if str(job.status) == "SUCCEEDED":
        return 0
    if str(job.status) == "STOPPED":
        raise StoppedError(f"job {name} was cancelled: {again}")
    if code in _NOT_FOUND or "No module named geoseg" in message:
        raise GeosegError(
            f"the cluster has no geoseg (job {name}: {message.strip().splitlines()[-1]}): install geoseg "
            f"{geoseg.__version__} there, and name its interpreter with --python where it is not the first on PATH"
        )
    if code is None:
        raise StoppedError(f"job {name} did not come to its end: {' '.join(message.split())[:300]}: {again}")
    if code < 0 or code > 130 or code in {128, 129}:
        raise StoppedError(f"the process of job {name} was killed (exit code {code}): {again}")
    return int(code)


def _environment(parcel: Parcel) -> dict[str, str]:
    return {} if parcel.kind == "train" else {"GEOSEG_DATA": ""}


class _Tail:
    """A log, of which each line is shown once however often it is read from the beginning."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = 0
        self._line = ""

    async def read(self, client: JobSubmissionClient, name: str) -> None:
        """Read a log from its beginning, as long as the job writes."""
        read = 0
        async for text in client.tail_job_logs(name):
            self._take(text, read)
            read += len(text)

    def end(self, log: str) -> None:
        """Show what is left of the whole log, and the last line, which no other follows."""
        self._take(log, 0)
        if self._line:
            self._show(self._line)
            self._line = ""

    def _take(self, text: str, start: int) -> None:
        """Show what is new of a part of the log that begins after so many letters."""
        *lines, self._line = (self._line + text[max(0, self._shown - start) :]).split("\n")
        self._shown = max(self._shown, start + len(text))
        for line in lines:
            self._show(line)
