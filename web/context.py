"""The server's settings, jobs and shared clients, and the user of the current request."""

import atexit
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

SETTINGS = "SCANMILL_WEB"  # environment variable: the settings of this server as JSON
CONFIG = "SCANMILL_WEB_CONFIG"  # environment variable: the config file


@dataclass(frozen=True)
class WebContext:
    """The settings of this server, and what is loaded from them."""

    settings: Settings
    config: Path | None = None

    @property
    def root_arguments(self) -> list[str]:
        """Command-line options that select this root and config."""
        config = ["--config", str(self.config)] if self.config else []
        return ["--root", str(self.settings.root), *config]

    @property
    def run_arguments(self) -> list[str]:
        """Command-line options of `run` and `watch` for this root, config and jobs."""
        return [*self.root_arguments, "--jobs", str(self.settings.jobs)]

    @functools.cached_property
    def page_images(self) -> PageImages:
        """Renders page images in guarded processes."""
        return PageImages(self.settings)

    @property
    def root(self) -> Path:
        """The root folder. Raises StorageError if it is missing, as with a share that was unmounted."""
        return filesystem.folder(self.settings.root)

    def jobs(self) -> dict[str, Job]:
        """The jobs by name, read again when a file has changed. Raises ConfigError."""
        folder = self.settings.jobs
        found = sorted((path.name, path.lstat().st_mtime_ns) for path in folder.glob("*.y*ml"))
        return _jobs(folder, tuple(found))

    def job(self, name: str) -> Job | None:
        """The job of this name, or None. An invalid file of another job does not matter.

        Raises ConfigError if the job is not found and some file is invalid.
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
    """The context of this server."""
    config = os.environ.get(CONFIG)
    return WebContext(Settings.model_validate_json(os.environ[SETTINGS]), Path(config) if config else None)


def configure(settings: Settings, config: Path | None = None) -> None:
    """Set the root and settings of this process. Call it once, before serving."""
    absolute = settings.model_copy(update={"root": settings.root.absolute(), "jobs": settings.jobs.absolute()})
    os.environ[SETTINGS] = absolute.model_dump_json()
    if config is not None:
        os.environ[CONFIG] = str(config.absolute())


def current_user() -> str | None:
    """The name of the current user, from the login or the proxy, or None."""
    import streamlit as st

    from web.auth.middleware import user_of

    return user_of(st.context.headers.items())


def current_browser() -> str:
    """The owner of conversations: the browser, identified by its cookie."""
    import streamlit as st

    from web.auth.response_headers import BROWSER_COOKIE

    return f"browser {st.context.cookies.get(BROWSER_COOKIE, 'unknown')}"


@functools.cache
def question_client_of(root: Path) -> QuestionClient:
    """The question client of this server."""
    context = current_context()
    client = QuestionClient(root, context.jobs, context.run_arguments, context.settings.sinks)
    atexit.register(client.close)
    return client
