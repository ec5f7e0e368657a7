"""A local stand-in for the Hugging Face hub's HTTP API, as huggingface_hub 1.33 uses it to push a model.

GET /api/whoami-v2; POST /api/repos/create, /api/validate-yaml, /api/models/REPO/preupload/REVISION,
/REPO.git/info/lfs/objects/batch (git LFS, basic transfer), /api/models/REPO/commit/REVISION; PUT of an LFS object.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"


class Hub:
    """Its repositories (files by path), and the requests that it got. `status`: answers of a path's start."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.status: dict[str, int] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def do_PUT(self) -> None:
                self._answer("PUT")

            def _answer(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.requests.append(f"{method} {self.path}")
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                status, document = hub.handle(method, self.path, body, token)
                status = next((s for start, s in hub.status.items() if self.path.startswith(start)), status)
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        if path.startswith("/lfs/"):  # presigned, without a token
            self.objects[path.rpartition("/")[2]] = body
            return 200, {}
        if token != TOKEN:
            return 401, {"error": "Invalid credentials"}
        if path == "/api/whoami-v2":
            return 200, {"name": "someone", "type": "user"}
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body))
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "someone":
                return 403, {"error": "You don't have the rights"}
            if name in self.repos:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            self.repos[name] = {}
            return 200, {"url": f"{self.url}/{name}", "name": name}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            large = (".safetensors", ".bin")
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(large) else "regular"} for f in files
            ]
            return 200, {"files": [m | {"shouldIgnore": False, "oid": None} for m in modes]}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            upload = [{**o, "actions": {"upload": {"href": f"{self.url}/lfs/{o['oid']}"}}} for o in objects]
            return 200, {"transfer": "basic", "objects": upload}
        if "/commit/" in path and method == "POST":
            return self._commit(path, body)
        return 404, {"error": f"{method} {path} is unknown"}

    def _validate(self, asked: Any) -> tuple[int, Any]:
        """The metadata must be YAML, and results need what the hub's `model-index` requires."""
        import yaml

        errors = []
        try:
            metadata = yaml.safe_load(asked["content"].split("---")[1])
        except yaml.YAMLError as err:
            return 400, {"errors": [{"message": str(err)}], "warnings": []}
        for entry in metadata.get("model-index", []):
            for result in entry["results"]:
                if not {"task", "dataset", "metrics"} <= result.keys() or not entry.get("name"):
                    errors.append({"message": "model-index is incomplete"})
        return (400 if errors else 200), {"errors": errors, "warnings": []}

    def _commit(self, path: str, body: bytes) -> tuple[int, Any]:
        repo = path.removeprefix("/api/models/").partition("/commit/")[0]
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.repos[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.objects[value["oid"]]
                if hashlib.sha256(content).hexdigest() != value["oid"]:
                    return 400, {"error": "the object has another hash"}
                self.repos[repo][value["path"]] = content
        oid = hashlib.sha1(body).hexdigest()
        return 200, {"success": True, "commitOid": oid, "commitUrl": f"{self.url}/{repo}/commit/{oid}"}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
