"""Where the page stands: its root, its settings, the jobs as they are now. What every page asks for first."""

import functools
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ConfigError
from pipeline.schema.job import Job, load_job, load_jobs
from pipeline.schema.settings import Settings
from pipeline.system import filesystem
from web.data.page_images import PageImages
from web.data.question_client import QuestionClient

SETTINGS = "SCANMILL_WEB"  # the settings of this server, as JSON, in its own environment
CONFIG = "SCANMILL_WEB_CONFIG"  # and the file that they came from


@dataclass(frozen=True)
class WebContext:
    """One root as the page sees it."""

    settings: Settings
    config: Path | None = None

    @property
    def whereabouts(self) -> list[str]:
        """What makes a command of `run_batch.py` that asks no job work on this root, as this server does."""
        config = ["--config", str(self.config)] if self.config else []
        return ["--root", str(self.settings.root), *config]

    @property
    def arguments(self) -> list[str]:
        """The same for `run` and `watch`."""
        return [*self.whereabouts, "--jobs", str(self.settings.jobs)]

    @functools.cached_property
    def page_images(self) -> PageImages:
        """What decodes pages for the eye, in guarded processes."""
        return PageImages(self.settings)

    @property
    def root(self) -> Path:
        """Raises StorageError where the root is not there, so that a share that went away is told in words."""
        return filesystem.folder(self.settings.root)

    def jobs(self) -> dict[str, Job]:
        """The jobs by name, as the files are now. Raises ConfigError."""
        folder = self.settings.jobs
        found = sorted((path.name, path.lstat().st_mtime_ns) for path in folder.glob("*.y*ml"))
        return _jobs(folder, tuple(found))

    def job(self, name: str) -> Job | None:
        """The job of this name, also while the file of another job is broken. Raises ConfigError where it may be its
        own.
        """
        try:
            return self.jobs().get(name)
        except ConfigError:
            for path in sorted(self.settings.jobs.glob("*.y*ml")):
                with suppress(ConfigError):
                    if (job := load_job(path)).name == name:
                        return job
            raise


@functools.lru_cache(maxsize=4)
def _jobs(folder: Path, state: tuple[tuple[str, int], ...]) -> dict[str, Job]:
    return {job.name: job for job in load_jobs(folder)}


@functools.cache
def current_context() -> WebContext:
    """The place of this server."""
    config = os.environ.get(CONFIG)
    return WebContext(Settings.model_validate_json(os.environ[SETTINGS]), Path(config) if config else None)


def configure(settings: Settings, config: Path | None = None) -> None:
    """Says for this process which root the page is about; before it is served, and once."""
    whole = settings.model_copy(update={"root": settings.root.absolute(), "jobs": settings.jobs.absolute()})
    os.environ[SETTINGS] = whole.model_dump_json()
    if config is not None:
        os.environ[CONFIG] = str(config.absolute())


def current_user() -> str | None:
    """Who sits before the page that is being made, as far as the login or the proxy says."""
    import streamlit as st

    from web.auth.middleware import user_of

    return user_of(st.context.headers.items())


def visitor() -> str:
    """Whose conversations the page shows: those of this browser, which the gate gave a name."""
    import streamlit as st

    from web.auth.middleware import VISITOR

    return f"browser {st.context.cookies.get(VISITOR, 'unknown')}"


@functools.cache
def question_client_of(root: Path) -> QuestionClient:
    """The desk of this server."""
    import atexit

    place = current_context()
    desk = QuestionClient(root, place.jobs, place.arguments, place.settings.sinks)
    atexit.register(desk.close)
    return desk
