"""A hub on loopback: the part of the Hugging Face hub's interface that loading needs, for small repositories in memory."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Files = dict[str, bytes]
API = re.compile(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(revision|tree|paths-info|refs)(?:/([^/]+)(?:/(.*))?)?)?")
RESOLVE = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")
REVISIONS = re.compile(r"[0-9a-f]{40}")


def files_of(folder: Path) -> Files:
    """The files of a folder by their path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@dataclass
class Repository:
    """A repository: files by commit, and commits by branch or tag. One that is gated answers 401."""

    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files: Files, *names: str) -> str:
        """Add a commit, to which `main` and other names point from now on."""
        sha = hashlib.sha1(b"".join(name.encode() + content for name, content in files.items())).hexdigest()
        self.commits[sha] = files
        self.refs |= dict.fromkeys(("main", *names), sha)
        return sha


class Hub:
    """The repositories of a hub by kind and name, the requests that it has answered, and files that break off."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.broken: set[str] = set()

    @property
    def answers(self) -> "type[Answers]":
        """What answers requests."""
        return Answers

    def add(self, kind: str, name: str, gated: bool = False) -> Repository:
        """Add an empty repository of `models` or `datasets`."""
        return self.repositories.setdefault((kind, name), Repository(gated=gated))

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve the hub; gives its address, for HF_ENDPOINT."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (self.answers,), {"repositories": self}))
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


class Answers(BaseHTTPRequestHandler):
    """Answers requests."""

    protocol_version = "HTTP/1.1"
    repositories: Hub

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def do_PUT(self) -> None:
        self.do_POST()

    def _answer(self, body: bytes = b"") -> None:
        self.repositories.requests.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if found := RESOLVE.fullmatch(path):
            self._file("datasets" if found[1] else "models", found[2], found[3], found[4])
        elif found := API.fullmatch(path):
            self._information(found[1], found[2], found[3], found[4], found[5] or "", body)
        else:
            self._refuse(404, "RepoNotFound")

    def _found(self, kind: str, name: str, revision: str | None) -> tuple[str, Files] | None:
        repository = self.repositories.repositories.get((kind, name))
        if repository is None:
            return self._refuse(401, "RepoNotFound")
        if repository.gated:
            return self._refuse(401, "GatedRepo", f"Access to model {name} is restricted.")
        sha = repository.refs.get(revision or "main", revision)
        if sha not in repository.commits:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return str(sha), repository.commits[str(sha)]

    def _information(self, kind: str, name: str, what: str | None, revision: str | None, path: str, body: bytes) -> None:
        if (found := self._found(kind, name, revision)) is None:
            return
        sha, files = found
        entries = [
            {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for file, content in files.items()
        ]
        folders = [{"type": "directory", "path": place, "oid": sha, "size": 0} for place in sorted(_folders(files))]
        if what == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
            self._json([entry for entry in [*folders, *entries] if _is_in(str(entry["path"]), path, recursive)])
        elif what == "paths-info":
            wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode()).get("paths", [])
            self._json([entry for entry in [*entries, *folders] if entry["path"] in wanted])
        elif what == "refs":
            refs = self.repositories.repositories[kind, name].refs
            branches = [{"name": name, "ref": name, "targetCommit": sha} for name, sha in refs.items()]
            self._json({"branches": branches, "tags": [], "converts": []})
        else:
            private = self.repositories.repositories[kind, name].private
            about = {"id": name, "sha": sha, "private": private, "tags": [], "downloads": 0, "likes": 0, "gated": False}
            siblings = [{"rfilename": file} for file in files]
            self._json({**about, "siblings": siblings, "lastModified": "2026-01-01T00:00:00.000Z"})

    def _file(self, kind: str, name: str, revision: str, path: str) -> None:
        if (found := self._found(kind, name, revision)) is None:
            return
        sha, files = found
        if path not in files:
            self._refuse(404, "EntryNotFound", "Entry not found", sha)
            return
        content = files[path]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(part[1]), int(part[2] or len(content) - 1)) if part else (0, len(content) - 1)
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(206 if part else 200, content[first : last + 1], headers, cut=path in self.repositories.broken)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str = "Repository not found", sha: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message, **({"X-Repo-Commit": sha} if sha else {})}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut


def _folders(files: Files) -> set[str]:
    """The folders of files."""
    return {str(parent) for file in files for parent in PurePosixPath(file).parents} - {"."}


def _is_in(path: str, folder: str, recursive: bool) -> bool:
    """Whether a path is in a folder, and directly unless `recursive`."""
    parent = str(PurePosixPath(path).parent)
    return parent == (folder or ".") or (recursive and (not folder or path.startswith(f"{folder}/")))
