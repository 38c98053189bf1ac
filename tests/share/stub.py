"""A hub on this machine: repositories in memory, and every way to fail."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secretSecretSecret"


class Hub:
    """What the server holds."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}  # OWNER/NAME → path → content
        self.private: set[str] = set()
        self.status: int | None = None  # every answer, if it is to fail
        self.hangs = False
        self.claimed: dict[str, int] = {}  # path → the size that is said, if it is to be a lie
        self.large: dict[str, bytes] = {}  # digest → content
        self.endpoint = ""
        self.asked: list[str] = []  # METHOD PATH of every request
        self.readable = True

    def commit(self, repository: str) -> str:
        """The commit that a repository is now."""
        words = hashlib.sha1()
        for name, content in sorted(self.files[repository].items()):
            words.update(name.encode() + content)
        return words.hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Within, the hub answers at `hub.endpoint`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.hangs:
            time.sleep(5)
            return
        if self.hub.status is not None:
            said = f"no; you sent {self.headers.get('Authorization')}"
            self._send(self.hub.status, json.dumps({"error": said}).encode(), {"X-Error-Message": said})
            return
        self._send(*self._found(path, body))

    def _found(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if path.startswith("api/models/") and self.command == "GET":
            return self._about("/".join(path.split("/")[2:4]))
        if "/resolve/" in path:
            return self._file(path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("upload/"):
            return self._json({"error": "who are you?"}, 401)
        return self._written(path, body)

    def _about(self, repository: str) -> tuple[int, bytes, dict[str, str]]:
        if repository not in self.hub.files or not self.hub.readable:
            return 404, b"", {"X-Error-Code": "RepoNotFound"}
        files = self.hub.files[repository]
        sizes = [{"rfilename": name, "size": self.hub.claimed.get(name, len(files[name]))} for name in files]
        return self._json(
            {"id": repository, "modelId": repository, "sha": self.hub.commit(repository), "siblings": sizes}
        )

    def _file(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        before, _, rest = path.partition("/resolve/")
        _, _, name = rest.partition("/")
        files = self.hub.files.get(before, {})
        if name not in files:
            return 404, b"", {"X-Error-Code": "EntryNotFound" if files else "RepoNotFound"}
        digest = hashlib.sha256(files[name]).hexdigest()
        return 200, files[name], {"ETag": f'"{digest}"', "X-Repo-Commit": self.hub.commit(before)}

    def _written(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if path == "api/repos/create":
            wanted = json.loads(body)
            repository = f"{wanted.get('organization') or 'maria'}/{wanted['name']}"
            self.hub.files.setdefault(repository, {})
            self.hub.private |= (
                {repository} if wanted.get("private") or wanted.get("visibility") == "private" else set()
            )
            return self._json({"url": f"{self.hub.endpoint}/{repository}"})
        if path == "api/validate-yaml":
            return self._json({"warnings": [], "errors": []})
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [{**file, "uploadMode": _mode(file["path"]), "shouldIgnore": False} for file in files]
            return self._json({"files": modes})
        if path.endswith("info/lfs/objects/batch"):
            return self._json(
                {"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]}
            )
        if path.startswith("upload/"):
            self.hub.large[path.removeprefix("upload/")] = body
            return 200, b"", {}
        if "/commit/" in path:
            return self._committed("/".join(path.split("/")[2:4]), body)
        return 404, b"", {}

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {**wanted, "actions": {"upload": {"href": f"{self.hub.endpoint}/upload/{wanted['oid']}", "header": {}}}}

    def _committed(self, repository: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        for line in map(json.loads, body.splitlines()):
            about = line["value"]
            if line["key"] == "file":
                self.hub.files[repository][about["path"]] = base64.b64decode(about["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[repository][about["path"]] = self.hub.large[about["oid"]]
        commit = self.hub.commit(repository)
        return self._json(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{repository}/commit/{commit}"}
        )

    def _json(self, tree: object, status: int = 200) -> tuple[int, bytes, dict[str, str]]:
        return status, json.dumps(tree).encode(), {"Content-Type": "application/json"}

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"
