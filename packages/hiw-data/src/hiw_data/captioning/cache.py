"""Answers that were paid for, kept in one SQLite file by what was asked, so that nothing is asked twice.

An answer's name is the SHA-256 of everything that decides it (see ``questions.request_key``). Before a question is sent
it is taken under a lease, in the same file: whoever else wants it, in this or another process, waits for the answer. A
lease ends with its owner: at once if its process on this machine is dead, else when its time is over.

SQLite's rollback journal is used, not its write-ahead log, so that the file may lie on a network folder with working
locks. An answer that was committed stays, whatever is killed.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hiw_data.captioning.problems import CacheError

SCHEMA = 1
_BUSY_SECONDS = 60.0
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, made REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    key TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
"""


class AnswerCache:
    """Kept answers; safe for threads and for processes at the same time.

    Args:
        path: The file; made with its folder if it is not there.
        time: Seconds since 1970, for leases.

    Raises:
        CacheError: The file is no such cache, damaged, or of another version.
    """

    def __init__(self, path: Path | str, time: Callable[[], float] = time.time) -> None:
        self.path, self._time, self._lock = Path(path), time, threading.Lock()
        self._host = socket.gethostname()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        version = self._run("PRAGMA user_version")[0][0]
        tables = {name for (name,) in self._run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version not in (0, SCHEMA) or (version == 0 and tables - {"answers", "leases"}):
            raise CacheError(
                f"Expected {self.path} to be a file of kept answers, version {SCHEMA}, got a database of version "
                f"{version} with {', '.join(sorted(tables)) or 'nothing'} in it. Name another file with --cache."
            )
        if version == 0:
            self._run("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";")[:-1]:
                self._run(statement)
            self._run(f"PRAGMA user_version = {SCHEMA}")
            self._run("COMMIT")

    def get(self, key: str) -> dict[str, Any] | None:
        """The kept answer, or None."""
        rows = self._run("SELECT answer FROM answers WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keeps an answer; the first one stays."""
        self._run("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", key, json.dumps(answer), self._time())

    def take(self, key: str, seconds: float) -> str | None:
        """Takes the right to ask a question for so long.

        Returns:
            The lease's name, for ``renew`` and ``release``; None if somebody else is asking, or the answer is there.
        """
        owner = uuid.uuid4().hex
        with self._lock:
            self._execute("BEGIN IMMEDIATE")
            try:
                if self._execute("SELECT 1 FROM answers WHERE key = ?", key):
                    return None
                held = self._execute("SELECT host, pid, until FROM leases WHERE key = ?", key)
                if held and self._stands(*held[0]):
                    return None
                row = (key, self._host, os.getpid(), owner, self._time() + seconds)
                self._execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", *row)
            finally:
                self._execute("COMMIT")
        return owner

    def renew(self, key: str, owner: str, seconds: float) -> None:
        """Prolongs a lease."""
        self._run("UPDATE leases SET until = ? WHERE key = ? AND owner = ?", self._time() + seconds, key, owner)

    def release(self, key: str, owner: str) -> None:
        """Gives a lease back."""
        self._run("DELETE FROM leases WHERE key = ? AND owner = ?", key, owner)

    def _stands(self, host: str, pid: int, until: float) -> bool:
        return until > self._time() and (host != self._host or _is_running(pid))

    def __len__(self) -> int:
        return int(self._run("SELECT count(*) FROM answers")[0][0])

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._execute(statement, *values)

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> CacheError:
        return CacheError(
            f"Expected {self.path} to be a file of kept answers that can be written, got: {error}. "
            "Put back a copy of it, or name another file with --cache."
        )


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
