"""A repository of the hub: what is in it, and one commit that replaces it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, constants
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from ftlit.errors import UserError
from ftlit.exports.card.card import CARD
from ftlit.exports.push.contents import Contents
from ftlit.exports.push.refusals import LOG_IN, in_sentences

KEPT = ".gitattributes"  # which the hub makes, and needs for large files


@dataclass(frozen=True)
class State:
    """What a repository holds.

    Args:
        exists: Whether the repository exists.
        branch: Whether its branch does.
        commit: The commit to build on; None for a new repository.
        files: Files at this commit.
    """

    exists: bool
    branch: bool
    commit: str | None
    files: frozenset[str]


class Repository:
    """A repository to push to.

    Args:
        name: Its name, `user/name`.
        revision: Branch of the commit; it is made if it does not exist. Defaults to `main`.
        public: Whether everybody may read it.
    """

    def __init__(self, name: str, revision: str | None = None, public: bool = False) -> None:
        self.name, self.revision, self.public, self.api = name, revision, public, HfApi()

    @property
    def link(self) -> str:
        """The address of the branch for browsers."""
        page = f"{constants.ENDPOINT}/{self.name}"
        return page if self.revision is None else f"{page}/tree/{self.revision}"

    def state(self, overwrite: bool) -> State:
        """What the repository holds, after checking that the user may write there.

        Args:
            overwrite: Whether files in it may be replaced.

        Raises:
            UserError: The token may only read, the repository is less private than was asked for, or has files.
        """
        with in_sentences(self.name):
            account = self.api.whoami()
            role = ((account.get("auth") or {}).get("accessToken") or {}).get("role")
            if role == "read":
                raise UserError(f"the token of {account.get('name')} may only read; {LOG_IN}")
            found = self._state()
        if found.branch and found.files - {KEPT} and not overwrite:
            raise UserError(
                f"{self.name} has files already ({', '.join(sorted(found.files - {KEPT})[:3])}, ...); replace all of them with "
                "--overwrite, or choose another --repo or --revision"
            )
        return found

    def _state(self) -> State:
        try:
            about = self.api.model_info(self.name)
        except RepositoryNotFoundError:
            return State(False, False, None, frozenset())
        self._check_privacy(bool(about.private))
        branch = True
        try:
            found = about if self.revision is None else self.api.model_info(self.name, revision=self.revision)
        except RevisionNotFoundError:
            found, branch = about, False
        files = frozenset(file.rfilename for file in found.siblings or [])
        return State(True, branch, found.sha, files)

    def _check_privacy(self, private: bool) -> None:
        if private == self.public:
            found, remedy = ("private", "remove --public") if private else ("public", "add --public")
            raise UserError(
                f"{self.name} is {found}; {remedy}, change this in its settings on the hub, or choose another --repo"
            )

    def replace(self, contents: Contents, state: State, message: str) -> None:
        """Make the files of a branch those of a folder, by one commit.

        Args:
            contents: The files.
            state: What the repository held when it was checked.
            message: Message of the commit.

        Raises:
            UserError: The hub refuses the card or the commit, or cannot be reached.
        """
        with in_sentences(self.name):
            self._check_card(contents.card)
            if not state.exists:
                self.api.create_repo(self.name, private=not self.public)
        created = "" if state.exists else f" ({self.name} was created and is empty)"
        with in_sentences(self.name, created):
            if self.revision is not None and not state.branch:
                self.api.create_branch(self.name, branch=self.revision, revision=state.commit)
            # `upload_folder` may make several commits of a folder, so that others could open half of it.
            self.api.create_commit(
                self.name,
                operations(contents.files, state.files),
                commit_message=message,
                revision=self.revision,
                parent_commit=state.commit,
            )

    def _check_card(self, text: str) -> None:
        """Let the hub check the metadata of the model card.

        Raises:
            UserError: It finds a mistake.
        """
        try:
            ModelCard(text).validate()
        except ValueError as error:
            raise UserError(f"the hub refuses the metadata in {CARD}: {messages(str(error))}; nothing was pushed") from error


def messages(answer: str) -> str:
    """The errors in an answer of the hub about a card, which is JSON or a text."""
    try:
        return "; ".join(str(error["message"]) for error in json.loads(answer)["errors"])
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.split())


def operations(files: Mapping[str, Path | bytes], present: frozenset[str]) -> list[CommitOperationAdd | CommitOperationDelete]:
    """The changes that make the files of a repository those of a folder.

    Args:
        files: Files of the folder by path.
        present: Files of the repository.
    """
    added = [CommitOperationAdd(name, one if isinstance(one, bytes) else str(one)) for name, one in files.items()]
    return [*added, *(CommitOperationDelete(name) for name in sorted(present - set(files) - {KEPT}))]
