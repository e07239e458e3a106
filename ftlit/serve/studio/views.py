"""The pages of the studio."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ftlit.runs.files import PREDICTIONS
from ftlit.serve.page.rendering import HEADERS, STYLE_INSIDE, html
from ftlit.serve.problems import ProblemError
from ftlit.serve.studio.confusion import confusion
from ftlit.serve.studio.curves import HEIGHT, WIDTH, charts
from ftlit.serve.studio.examples import Shelf, Wanted
from ftlit.serve.studio.runs import Line, StudioRun, line, metrics_table, told
from ftlit.serve.studio.studies import readable, report_text, study
from ftlit.serve.studio.tree import Tree, own_file

HOME = "/studio/"
SIZE = 25  # examples of a page
LINES = 100  # runs of a page
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Studio:
    """The pages about the runs and studies below a folder.

    Args:
        folder: The folder.
        models: Whether the server has models, too, whose page is linked.
    """

    def __init__(self, folder: Path, models: bool) -> None:
        self.tree, self.models, self.shelf = Tree(folder), models, Shelf()

    def routes(self) -> list[Route]:
        """The paths of the studio."""
        pages = {"run": self.run, "curves": self.curves, "examples": self.examples, "study": self.study, "report": self.report}
        inner = [Route(f"{HOME}{name}/{{path:path}}", page) for name, page in pages.items()]
        return [Route(HOME, self.list_all), Route(HOME.rstrip("/"), self.home), *inner]

    async def home(self, request: Request) -> Response:
        """The way to the list."""
        return RedirectResponse(HOME)

    async def list_all(self, request: Request) -> Response:
        """The runs and studies, newest first."""
        words = request.query_params.get("q", "")
        found = await asyncio.to_thread(self._lines)
        chosen = [one for one in found if all(word in " ".join(map(str, one)).lower() for word in words.lower().split())]
        return self._html("studio.html.j2", request, lines=self._part(request, chosen, LINES), all=len(found), words=words)

    def _lines(self) -> list[Line]:
        places = list(self.tree.found())
        studies = [Line(self.tree.path(folder), folder.name, study=True) for folder, is_study in places if is_study]
        runs = readable(self.tree, (folder for folder, is_study in places if not is_study))
        found = [*studies, *map(line, runs)]
        return sorted(found, key=lambda one: (one.study, one.started), reverse=True)

    async def run(self, request: Request) -> Response:
        """A run: metrics, curves, confusion matrices, config."""
        run = self._run(request)
        return await asyncio.to_thread(self._run_page, request, run)

    def _run_page(self, request: Request, run: StudioRun) -> Response:
        metrics, problem = told(lambda: metrics_table(run))
        config, wrong = told(run.config_text)
        matrices = {split: told(partial(confusion, run, split)) for split in run.splits()}
        values = {"metrics": metrics or ([], []), "config": config, "problems": [one for one in (problem, wrong) if one]}
        return self._html("run.html.j2", request, run=run, matrices=matrices, **self._curves(run), **values)

    async def curves(self, request: Request) -> Response:
        """The curves of a run and its state, which a script fetches again as long as it runs."""
        run = self._run(request)
        return self._html("curves.html.j2", request, run=run, **await asyncio.to_thread(self._curves, run))

    def _curves(self, run: StudioRun) -> dict[str, Any]:
        found, problem = told(lambda: charts(run))
        progress = told(lambda: run.progress)[0] if run.live else None
        return {"charts": found or [], "curves_problem": problem, "progress": progress or {}, "width": WIDTH, "height": HEIGHT}

    async def examples(self, request: Request) -> Response:
        """The examples of a split, those that were wrong first of all."""
        run, given = self._run(request), request.query_params
        splits = run.splits()
        split = given.get("split") or next(iter(splits), "")
        if split not in splits:
            raise ProblemError(404, f"the run {run.path!r} has no predictions of {split or 'any split'}")
        return await asyncio.to_thread(self._examples_page, request, run, split)

    def _examples_page(self, request: Request, run: StudioRun, split: str) -> Response:
        path = own_file(run.folder, PREDICTIONS, f"{split}.jsonl")
        assert path is not None
        found, problem = told(partial(self.shelf.open, path, run.known.get("evidence")))
        if found is None:
            raise ProblemError(422, problem or "")
        given = request.query_params
        only = given.get("only", "wrong" if found.judged else "all")
        label, prediction, words = (given.get(name, "") for name in ("label", "prediction", "q"))
        wanted = Wanted(only, label, prediction, words, given.get("sort", "row"))
        rows = self._part(request, found.find(wanted), SIZE)
        rows["items"] = [found.example(i) for i in rows["items"]]
        return self._html("examples.html.j2", request, run=run, split=split, found=found, wanted=wanted, rows=rows)

    async def study(self, request: Request) -> Response:
        """A study: its state, its runs, and its report."""
        found = await asyncio.to_thread(study, self.tree, self.tree.folder(request.path_params["path"]))
        return self._html("study.html.j2", request, style=STYLE_INSIDE, study=found)

    async def report(self, request: Request) -> Response:
        """The report of a study, which may run nothing."""
        text = await asyncio.to_thread(report_text, self.tree, self.tree.folder(request.path_params["path"]))
        return Response(text, headers={**HEADERS, "content-security-policy": REPORT_POLICY}, media_type="text/html")

    # Parts

    def _run(self, request: Request) -> StudioRun:
        path = request.path_params["path"]
        return StudioRun(self.tree.folder(path), path)

    def _part(self, request: Request, found: Sequence[Any], size: int) -> dict[str, Any]:
        """One page of a list.

        Args:
            request: The request, in which `page` counts from 1.
            found: The whole list.
            size: Number of elements of a page.
        """
        asked = request.query_params.get("page", "1")
        pages = max(-(-len(found) // size), 1)
        page = min(max(int(asked), 1), pages) if asked.isdecimal() and len(asked) < 10 else 1
        items = list(found[(page - 1) * size : page * size])
        return {"items": items, "page": page, "pages": pages, "count": len(found)}

    def _html(self, template: str, request: Request, **values: Any) -> Response:
        return html(template, home=HOME, models=self.models, link=link, here=changed(request), **values)


def link(page: str, path: str, **query: str) -> str:
    """The address of a page about a folder."""
    return f"{HOME}{page}/{quote(path)}{f'?{urlencode(query)}' if query else ''}"


def changed(request: Request) -> Callable[..., str]:
    """A function that gives the address of a request with other values in its query."""
    given = dict(request.query_params)
    return lambda **values: f"?{urlencode({**given, **values})}"
