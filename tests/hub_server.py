"""A local server with as much of the Hub's protocol as huggingface_hub needs to create, fill, list and read repos.

Run it in a thread with `serve`; a client needs ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_DISABLE_XET=1`` in its
environment before it imports huggingface_hub.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """Repos are ``{(kind, id): {path: bytes}}`` in the server's memory; every repo has one revision."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, body=b"", status=200, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(data)))
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, code="RepoNotFound"):
        self.reply({"error": code}, 404, X_Error_Code=code, X_Error_Message=code)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        path, body = unquote(urlsplit(self.path).path), self.body()
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization") or "someone", asked["name"].split("/")[-1])))
            kind = f"{asked.get('type') or 'model'}s"
            self.server.repos.setdefault((kind, name), {})
            return self.reply({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        if path.startswith("/api/validate-yaml"):
            return self.reply({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)/preupload/[^/]+", path):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if name.endswith((".safetensors", ".parquet")) else "regular" for name in names]
            files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in zip(names, modes, strict=True)]
            return self.reply({"files": files})
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            upload = [{**o, "actions": {"upload": {"href": f"{self.server.url}/blob/{o['oid']}"}}} for o in objects]
            return self.reply({"transfer": "basic", "objects": upload})
        if match := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)/commit/[^/]+", path):
            repo = self.server.repos[match.group(1), match.group(2)]
            for line in filter(None, body.splitlines()):
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    repo[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    repo[value["path"]] = self.server.blobs[value["oid"]]
            place = "" if match.group(1) == "models" else f"{match.group(1)}/"
            url = f"{self.server.url}/{place}{match.group(2)}/commit/{COMMIT}"
            return self.reply({"success": True, "commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None})
        return self.missing()

    def do_PUT(self):
        self.server.blobs[self.path.rsplit("/", 1)[1]] = self.body()
        self.reply()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if path == "/api/whoami-v2":
            return self.reply({"name": "someone", "type": "user", "orgs": []})
        if match := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            repo = self.server.repos.get(match.groups())
            if repo is None:
                return self.missing()
            siblings = [{"rfilename": name} for name in sorted(repo)]
            return self.reply(
                {"id": match.group(2), "sha": COMMIT, "private": False, "siblings": siblings, "tags": []}
            )
        if match := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)/tree/[^/]+(?:/(.*))?", path):
            return self.tree(self.server.repos.get(match.groups()[:2]), match.group(3) or "")
        if match := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            repo = self.server.repos.get((match.group(1) or "models", match.group(2)))
            if repo is None:
                return self.missing()
            if match.group(3) not in repo:
                return self.missing("EntryNotFound")
            if self.command == "GET":
                self.server.fetched.add(match.group(3))
            return self.file(repo[match.group(3)])
        return self.missing()

    do_HEAD = do_GET

    def tree(self, repo, folder):
        if repo is None:
            return self.missing()
        prefix = f"{folder}/" if folder else ""
        files = [name for name in sorted(repo) if name.startswith(prefix)]
        if folder and not files:
            return self.missing("EntryNotFound")
        recursive = "recursive=true" in self.path.lower()
        rows, folders = [], set()
        for name in files:
            below = name[len(prefix) :]
            parents = [prefix + "/".join(below.split("/")[:depth]) for depth in range(1, below.count("/") + 1)]
            folders.update(parents if recursive else parents[:1])
            if recursive or "/" not in below:
                oid = hashlib.sha1(repo[name]).hexdigest()
                rows.append({"type": "file", "path": name, "size": len(repo[name]), "oid": oid})
        return self.reply(
            [*({"type": "directory", "path": f, "size": 0, "oid": COMMIT} for f in sorted(folders)), *rows]
        )

    def file(self, data):
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, stop = int(match.group(1)), int(match.group(2) or len(data) - 1) + 1
            part = data[start:stop]
            span = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
            return self.reply(part, 206, Content_Range=span, Content_Type="application/octet-stream", **headers)
        return self.reply(data, Content_Type="application/octet-stream", **headers)


@contextmanager
def serve():
    """Yields a running server: ``url``, what it holds in ``repos``, and the names of files that were ``fetched``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.fetched = set()
    server.repos, server.blobs, server.url = {}, {}, f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
