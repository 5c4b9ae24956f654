"""`twistd realtime_svc`: options, and the service they make. The only place that imports the global reactor."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.internet.base import ReactorBase
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.logfile import LogFile
from zope.interface import implementer

from realtime_svc import configfile
from realtime_svc.config import Config
from realtime_svc.core.instruments import Instruments
from realtime_svc.errors import ConfigError
from realtime_svc.log import LogObserver, observer
from realtime_svc.service import Prepared, RealtimeService, prepare
from realtime_svc.welcome import welcome

# Timers must not stop or fire all at once when the wall clock is set. Reactors look this up at each call.
ReactorBase.seconds = staticmethod(time.monotonic)

EX_CONFIG = 78  # sysexits.h


class Options(usage.Options):
    """The few things people change by hand; the configuration file and the environment have the rest."""

    synopsis = "[options]"
    longdesc = "Run a realtime messaging server. `realtime-svc config sample` prints every key of the configuration."
    optParameters: ClassVar = [
        ["config", "c", None, "Configuration file (TOML)."],
        ["host", None, None, "Address of listener `public`."],
        ["port", "p", None, "Port of listener `public`."],
        ["internal-port", None, None, "Port of health and metrics."],
        ["log-format", None, None, "text or json."],
        ["log-level", None, None, "debug, info, warn or error."],
    ]
    optFlags: ClassVar = [
        ["check", None, "Check the configuration and everything it names, then exit."],
        ["welcome", None, "Print addresses, development tokens and lines to try."],
    ]
    prepared: Prepared
    terminal = 2  # where twistd was started

    def postOptions(self) -> None:
        """Read and check everything now: after this, twistd may fork, and nobody would see an error."""
        from twisted.internet import reactor

        try:
            config = self.load()
            self.prepared = prepare(config, reactor)
        except ConfigError as error:
            self.die(error)
        if self["check"]:
            sys.stdout.write(f"{self.where}: the configuration is good\n")
            raise SystemExit(0)
        if not self.twistd.get("nodaemon"):
            self.terminal = os.dup(2)  # a daemon's own stderr is /dev/null

    def load(self) -> Config:
        """The configuration as file, environment and flags have it now. Raises `ConfigError`."""
        flags = {
            "listeners.public.host": self["host"],
            "listeners.public.port": self["port"],
            "internal.port": self["internal-port"],
            "log.format": self["log-format"],
            "log.level": self["log-level"],
        }
        path = Path(self["config"]) if self["config"] else None
        if path is not None:
            path = self._absolute = getattr(self, "_absolute", path.absolute())
        return configfile.load(path, os.environ, flags)

    @property
    def twistd(self) -> Any:
        """The options of twistd itself."""
        return self.parent or {}

    @property
    def where(self) -> str:
        return str(self["config"] or "configuration")

    def die(self, error: ConfigError) -> NoReturn:
        """One line on stderr, and an exit code that says: configuration."""
        self.tell(error)
        raise SystemExit(EX_CONFIG)

    def tell(self, error: ConfigError) -> None:
        """One line on the terminal where twistd was started."""
        line = f"realtime_svc: {ConfigError(error.where or self.where, error.key, error.reason)}\n"
        os.write(self.terminal, line.encode(errors="backslashreplace"))

    def started(self) -> None:
        """Nothing goes to the terminal any more."""
        if self.terminal != 2:
            os.close(self.terminal)


class _Starting(RealtimeService):
    """The service under twistd, which shows a traceback where a port is taken: one line is enough."""

    options: Options

    def privilegedStartService(self) -> None:
        self._or_die(super().privilegedStartService)

    def startService(self) -> None:
        self._or_die(super().startService)
        signal.signal(signal.SIGUSR1, lambda number, frame: self._reactor.callFromThread(self._log_observer.reopen))
        self.options.started()

    def _or_die(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ConfigError as error:
            if not self.options.twistd.get("nodaemon"):
                self.options.tell(error)
                raise  # for the process that started us and waits: it ends with 1
            _remove_pidfile(self.options.twistd.get("pidfile"))
            self.options.die(error)


def makeService(options: Options) -> RealtimeService:
    """Called by twistd, before it forks. No I/O."""
    from twisted.internet import reactor

    instruments = Instruments()
    service = _Starting(
        options.prepared,
        reactor,
        reload=options.load,
        welcome=welcome if options["welcome"] else None,
        log_observer=_LazyObserver(options, instruments),
        instruments=instruments,
    )
    service.options = options
    return service


@implementer(ILogObserver)
class _LazyObserver:
    """Opens the log at the first event: twistd has forked by then."""

    def __init__(self, options: Options, instruments: Instruments) -> None:
        self._options = options
        self._instruments = instruments
        self._file: Any = None
        self._observer: LogObserver | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        if self._observer is None:
            log = self._options.prepared.config.log
            self._file = _log_file(self._options.twistd)
            self._observer = observer(log, self._file, instruments=self._instruments)
        self._observer(event)

    def flush(self) -> None:
        if self._observer is not None:
            self._observer.flush()

    def reopen(self) -> None:
        """SIGUSR1: somebody (logrotate) has moved the file away."""
        if isinstance(self._file, LogFile):
            self._file.reopen()


def _log_file(twistd: Any) -> Any:
    """Where twistd was told to log: `--logfile`, else the terminal in the foreground, else twistd.log."""
    name = twistd.get("logfile") or ("-" if twistd.get("nodaemon") else "twistd.log")
    return sys.__stdout__ if name == "-" else LogFile.fromFullPath(name, rotateLength=0, defaultMode=0o640)


def _remove_pidfile(name: str | None) -> None:
    """twistd removes it after an ordinary start only."""
    if name:
        Path(name).unlink(missing_ok=True)
