"""A small Hugging Face Hub on loopback: what the real client needs to push and to pull models, and faults on demand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

REPO = "somebody/tiny"
WRITER, READER = "hf_writer", "hf_reader"
DEPRECATED = "ignore:Use 'content=:DeprecationWarning"  # how the client sends large files
LARGE = (".onnx", ".safetensors", ".png")


@dataclass
class Repository:
    """Commits by their hash: names to contents; branches and tags to hashes."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str = "", branch: str = "main") -> str:
        """Put ``branch`` at a new commit that holds exactly ``files``."""
        parent = self.refs.get(branch, "")
        content = "".join(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
        sha = hashlib.sha1(f"{parent}\n{len(self.messages)}\n{message}\n{content}".encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[branch] = sha
        self.messages.append(message)
        return sha

    def find(self, revision: str) -> str | None:
        """The hash of a branch, a tag or a commit."""
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Hub:
    """The state of a server, in reach of a test.

    log: each request as "METHOD /path". agents: the User-Agent of each, with its path.
    cut: by name of a file, how its next downloads break: after so many bytes, "close" or "reset".
    damage: by name of a file, how many of its next downloads have a wrong byte.
    hold: names of files whose downloads stop half-way for good, and "METHOD part" of paths that are never answered;
        ``held`` is set when one is met.
    status: answer everything with it, where it is set. says: the same for JSON. silent: answer nothing.
    silence: how many seconds a connection without a response stays open.
    missing: parts of paths that this server does not have, as some mirrors.
    wrong: what no client may do and one did.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    agents: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    cut: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    damage: dict[str, int] = field(default_factory=dict)
    hold: set[str] = field(default_factory=set)
    held: threading.Event = field(default_factory=threading.Event)
    status: int | None = None
    says: Any = None
    silent: bool = False
    silence: float = 30
    missing: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def publish(self, repo: str, directory: Path, *, branch: str = "main", **options: Any) -> str:
        """Put the files of ``directory`` there as a commit; its hash."""
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
        return self.repositories.setdefault(repo, Repository(**options)).commit(files, branch=branch)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """The contents of a repository."""
        repository = self.repositories[repo]
        return repository.commits[str(repository.find(revision))]


@contextlib.contextmanager
def serving_hub() -> Iterator[Hub]:
    """A Hub that answers until the block ends."""
    hub = Hub()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is no error of the server."""

    server = Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _route(self) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length else self._chunks()
        hub.agents.append((path, self.headers.get("User-Agent", "")))
        if path == "/api/agent-harnesses":  # asked by some versions of the client, once a day, for their own statistics
            return self._error(404, "", "")
        hub.log.append(f"{self.command} {unquote(path)}")
        if hub.silent:
            hub.closing.wait(hub.silence)
            return
        if hub.hold & {f"{self.command} {part}" for part in path.split("/")}:
            hub.held.set()
            hub.closing.wait(hub.silence)
            return
        if hub.missing & set(path.split("/")):
            return self._error(404, "", "")
        if hub.status:
            return self._error(hub.status, "", "")
        if hub.says is not None:
            return self._json(hub.says)
        if self._token() not in (None, WRITER, READER):
            return self._error(401, "", "Invalid credentials in Authorization header")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        for pattern, method, answer in (
            (r"/lfs/(?P<oid>\w{64})/(?P<name>.+)", "GET HEAD", self._object),
            (r"/lfs/(?P<oid>\w{64})", "PUT", self._upload),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "GET", self._info),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)", "GET", self._tree),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/settings", "PUT", self._settings),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "POST", self._branch),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "POST", self._preupload),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "POST", self._commit),
            (r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "POST", self._batch),
            (r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "GET HEAD", self._resolve),
        ):
            if (match := re.fullmatch(pattern, path)) and self.command in method.split():
                return answer(body, **{key: unquote(value or "main") for key, value in match.groupdict().items()})
        self._error(404, "", f"no route for {self.path}")

    # Reading

    def _info(self, _: bytes, repo: str, revision: str) -> None:
        if found := self._find(repo, revision):
            repository, sha = found
            siblings = [{"rfilename": name} for name in repository.commits[sha]]
            self._json({"id": repo, "sha": sha, "private": repository.private, "siblings": siblings})

    def _tree(self, _: bytes, repo: str, revision: str) -> None:
        if found := self._find(repo, revision):
            repository, sha = found
            files = []
            for name, content in repository.commits[sha].items():
                blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                file: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob}
                if name.endswith(LARGE):
                    digest = hashlib.sha256(content).hexdigest()
                    file["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
                files.append(file)
            self._json(files)

    def _resolve(self, _: bytes, repo: str, revision: str, name: str) -> None:
        if not (found := self._find(repo, revision)):
            return
        repository, sha = found
        commit = {"X-Repo-Commit": sha}
        if repository.gated and self._token() != WRITER:
            return self._error(403 if self._token() else 401, "GatedRepo", "Access to this model is restricted.")
        content = repository.commits[sha].get(name)
        if content is None:
            return self._error(404, "EntryNotFound", "Entry not found", commit)
        if not name.endswith(LARGE):
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._content(name, content, {"ETag": f'"{oid}"', **commit})
        oid = hashlib.sha256(content).hexdigest()
        self.hub.objects[oid] = content
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
        elsewhere = self.hub.address.replace("127.0.0.1", "localhost")  # another host, as the real Hub's storage is
        self._send(302, b"", {"Location": f"{elsewhere}/lfs/{oid}/{name}", **linked, **commit})

    def _object(self, _: bytes, oid: str, name: str) -> None:
        if self._token() is not None:
            self.hub.wrong.append("A token was taken to another host.")
        self._content(name, self.hub.objects[oid], {"ETag": f'"{oid}"'})

    def _content(self, name: str, content: bytes, headers: dict[str, str]) -> None:
        """A file or, where a range is asked for, what follows from there; with the faults that a test wants."""
        hub, status = self.hub, 200
        if self.command == "GET" and hub.damage.get(name):
            hub.damage[name] -= 1
            content = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            hub.ranges.append(f"{name} {wanted[0]}")
            start = int(wanted[1])
            headers = headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            content, status = content[start:], 206
        if self.command == "GET" and hub.cut.get(name):
            after, how = hub.cut[name].pop(0)
            self._send(status, content, headers, until=after)
            if how == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            return
        if self.command == "GET" and name in hub.hold:
            self._send(status, content, headers, until=len(content) // 2)
            hub.held.set()
            hub.closing.wait(hub.silence)
            return
        self._send(status, content, headers)

    # Writing

    def _create(self, wish: dict[str, Any]) -> None:
        repo = f"{wish['organization']}/{wish['name']}"
        if not self._may_write():
            return
        if repo in self.hub.repositories:
            return self._json({"url": f"{self.hub.address}/{repo}", "error": "You already created this"}, 409)
        private = wish.get("private") or wish.get("visibility") == "private"
        self.hub.repositories[repo] = made = Repository(private=bool(private))
        made.commit({".gitattributes": b"*.onnx filter=lfs\n"}, "initial commit")
        self._json({"url": f"{self.hub.address}/{repo}"})

    def _settings(self, body: bytes, repo: str) -> None:
        if self._may_write():
            wish = json.loads(body)
            self.hub.repositories[repo].private = wish.get("private") or wish.get("visibility") == "private"
            self._json({})

    def _validate(self, card: str) -> None:
        try:
            head = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else {}
        except yaml.YAMLError as error:
            return self._json({"errors": [{"message": str(error)}], "warnings": []}, 400)
        warnings = [] if head else [{"message": "empty or missing yaml metadata in repo card"}]
        self._json({"errors": [], "warnings": warnings})

    def _branch(self, _: bytes, repo: str, revision: str) -> None:
        if self._may_write() and (found := self._find(repo, "main")):
            exists = revision in found[0].refs
            found[0].refs.setdefault(revision, found[1])
            self._json({}, 409 if exists else 200)

    def _preupload(self, body: bytes, repo: str, revision: str) -> None:
        if self._may_write(repo) and self._find(repo, revision):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})

    def _batch(self, body: bytes, repo: str) -> None:
        if self._may_write(repo):
            objects = [
                wish | {"actions": {"upload": {"href": f"{self.hub.address}/lfs/{wish['oid']}"}}}
                for wish in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})

    def _upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._error(400, "", "not what was announced")
        self.hub.objects[oid] = body
        self._send(200, b"", {})

    def _commit(self, body: bytes, repo: str, revision: str) -> None:
        if not self._may_write(repo) or not (found := self._find(repo, revision)):
            return
        repository, parent = found
        files, message = dict(repository.commits[parent]), ""
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    message = value["summary"]
                    if value.get("parentCommit", parent) != parent:
                        return self._error(412, "", "the branch has moved")
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        sha = repository.commit(files, message, revision)
        self._json({"commitUrl": f"{self.hub.address}/{repo}/commit/{sha}", "commitOid": sha})

    # What they share

    def _find(self, repo: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.private and self._token() is None):
            self._error(404 if self._token() else 401, "RepoNotFound", "Repository not found")
        elif sha := repository.find(revision):
            return repository, sha
        else:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _may_write(self, repo: str = "") -> bool:
        token = self._token()
        if token != WRITER:
            self._error(403 if token else 401, "", "You don't have the rights to do that." if token else "Unauthorized")
        return token == WRITER

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _chunks(self) -> bytes:
        """The body of a request that does not announce its length."""
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": message}
        self._send(status, b"", {**{key: value for key, value in told.items() if value}, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str], until: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:until])
            self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Requests are in ``Hub.log``."""
