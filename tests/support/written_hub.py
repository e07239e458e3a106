"""A hub on loopback that takes what is pushed: accounts, new repositories and branches, large files, and commits."""

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tests.support.hub import Answers, Files, Hub, Repository

WRITTEN = re.compile(r"/api/models/([\w.-]+/[\w.-]+)/(preupload|commit|branch)/(.+)")
BATCH = re.compile(r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch")
LARGE = (".safetensors", ".onnx")
LICENSES = ("apache-2.0", "mit", "other", "cc-by-4.0")


class WrittenHub(Hub):
    """A hub with accounts.

    Each token has a user and a role, `write` or `read`. A request whose path has a part of `failing` gets that status.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[str, tuple[str, str]] = {}
        self.failing: dict[str, int] = {}
        self.large: Files = {}
        self.messages: list[str] = []
        self.authorized: set[str] = set()

    @property
    def answers(self) -> type[Answers]:
        return WritingAnswers

    def files(self, name: str, branch: str = "main") -> Files:
        """The files of a branch."""
        repository = self.repositories["models", name]
        return repository.commits[repository.refs[branch]]

    def new(self, name: str, private: bool) -> Repository:
        """A repository with what the hub puts into a new one."""
        repository = self.add("models", name)
        repository.private = private
        repository.commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return repository


class WritingAnswers(Answers):
    """Answers requests that write, too."""

    repositories: WrittenHub

    def _answer(self, body: bytes = b"") -> None:
        hub, path = self.repositories, unquote(urlsplit(self.path).path)
        if failed := next((status for part, status in hub.failing.items() if part in path), None):
            hub.requests.append(f"{self.command} {self.path}")
            self._refuse(failed, "", "this hub fails")
        elif (answer := self._route(path)) is not None:
            hub.requests.append(f"{self.command} {self.path}")
            answer(body)
        else:
            super()._answer(body)

    def _route(self, path: str) -> Any:
        known = {"/api/whoami-v2": self._whoami, "/api/repos/create": self._create, "/api/validate-yaml": self._validate}
        if path in known:
            return known[path]
        if found := WRITTEN.fullmatch(path):
            return lambda body: self._write(found[1], found[2], found[3], body)
        if BATCH.fullmatch(path):
            return self._batch
        return self._upload if path.startswith("/large/") else None

    @property
    def _account(self) -> tuple[str, str] | None:
        return self.repositories.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _found(self, kind: str, name: str, revision: str | None) -> tuple[str, Files] | None:
        repository = self.repositories.repositories.get((kind, name))
        if repository is not None and repository.private and (self._account or ("",))[0] != name.split("/")[0]:
            return self._refuse(401, "RepoNotFound")
        return super()._found(kind, name, revision)

    # Accounts and repositories

    def _whoami(self, body: bytes) -> None:
        if self._account is None:
            self._refuse(401, "", "Invalid username or password.")
            return
        name, role = self._account
        self._json({"type": "user", "name": name, "orgs": [], "auth": {"accessToken": {"role": role}}})

    def _create(self, body: bytes) -> None:
        given = json.loads(body)
        name = f"{given['organization']}/{given['name']}"
        if not self._may_write(name):
            self._refuse(403, "", f"You don't have the rights to create a model under the namespace {given['organization']}")
        elif ("models", name) in self.repositories.repositories:
            self._refuse(409, "", "You already created this model repo")
        else:
            self.repositories.new(name, given["visibility"] == "private")
            self._json({"url": f"http://{self.headers['Host']}/{name}"})

    def _may_write(self, name: str) -> bool:
        return self._account is not None and self._account == (name.split("/")[0], "write")

    def _validate(self, body: bytes) -> None:
        found = problems(json.loads(body)["content"])
        self._send(
            400 if found else 200, json.dumps({"errors": [{"message": one} for one in found], "warnings": []}).encode(), {}
        )

    # Files

    def _write(self, name: str, what: str, revision: str, body: bytes) -> None:
        if not self._may_write(name):
            self._refuse(403, "", "Forbidden: you must use a write token")
            return
        {"preupload": self._preupload, "commit": self._commit, "branch": self._branch}[what](name, revision, body)

    def _preupload(self, name: str, revision: str, body: bytes) -> None:
        files = [file["path"] for file in json.loads(body)["files"]]
        modes = [{"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular"} for path in files]
        self._json({"files": [{**mode, "shouldIgnore": False, "oid": None} for mode in modes]})

    def _batch(self, body: bytes) -> None:
        host = f"http://{self.headers['Host']}"
        objects = [
            {**one, "actions": {"upload": {"href": f"{host}/large/{one['oid']}"}}} for one in json.loads(body)["objects"]
        ]
        self._json({"objects": objects, "transfer": "basic"})

    def _upload(self, body: bytes) -> None:
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(body).hexdigest() == oid
        self.repositories.large[oid] = body
        self._json({})

    def _branch(self, name: str, branch: str, body: bytes) -> None:
        repository = self.repositories.repositories["models", name]
        repository.refs[branch] = json.loads(body or b"{}").get("startingPoint") or repository.refs["main"]
        self._json({})

    def _commit(self, name: str, branch: str, body: bytes) -> None:
        repository, lines = self.repositories.repositories["models", name], map(json.loads, body.splitlines())
        files, main = dict(repository.commits[repository.refs[branch]]), repository.refs["main"]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                if value.get("parentCommit", repository.refs[branch]) != repository.refs[branch]:
                    self._refuse(412, "", "A commit has happened since")
                    return
                self.repositories.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.repositories.large[value["oid"]]
            else:
                assert line["key"] == "deletedFile"
                del files[value["path"]]
        sha = repository.commit(files, branch)
        repository.refs["main"] = sha if branch == "main" else main
        self._json({"success": True, "commitOid": sha, "commitUrl": f"http://{self.headers['Host']}/{name}/commit/{sha}"})


def problems(card: str) -> list[str]:
    """What the hub finds wrong with the metadata of a card: the keys that it verifies."""
    found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    try:
        data = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        return [f"bad indentation: {error}"]
    wrong = [] if data.get("license", "mit") in LICENSES else [f'"license" must be one of {", ".join(LICENSES)}']
    if "datasets" in data and not all(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) for name in data["datasets"]):
        wrong.append('"datasets" must be names of the hub')
    for model in data.get("model-index", []):
        for result in model["results"]:
            needed = [model["name"], result["task"]["type"], result["dataset"]["type"], result["dataset"]["name"]]
            needed += [metric["type"] for metric in result["metrics"]]
            values = [metric["value"] for metric in result["metrics"]]
            if not all(isinstance(name, str) and name for name in needed) or not all(isinstance(v, float) for v in values):
                wrong.append('"model-index" lacks a required key')
    return wrong
