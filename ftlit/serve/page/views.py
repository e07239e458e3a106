"""The page on which models are tried: a form for each model, and a file up and down."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ftlit.serve.models import Model, Models
from ftlit.serve.page.fields import fields
from ftlit.serve.page.files import static
from ftlit.serve.page.rendering import STATIC, html

SHOWN_LABELS = 12  # in the line below the name of a model


class Page:
    """The page of a server.

    Args:
        models: The models.
        studio: The address of the studio, if the server has one.
    """

    def __init__(self, models: Models, studio: str | None) -> None:
        self.models, self.studio = models, studio

    async def page(self, request: Request) -> Response:
        """The page; that of the studio where there is no model."""
        if not self.models and self.studio:
            return RedirectResponse(self.studio)
        shown = [shown_model(model) for model in self.models.values()]
        for one in shown:
            one["others"] = [other["name"] for other in shown if other is not one and _same_rows(one, other)]
        title = shown[0]["name"] if len(shown) == 1 else f"{len(shown)} models"
        return html("page.html.j2", title=title, models=shown, studio=self.studio)

    def routes(self) -> list[Route]:
        """The paths of the page and of its files."""
        return [Route("/", self.page), Route(f"{STATIC}{{name}}", static)]


def shown_model(model: Model) -> dict[str, Any]:
    """What the page shows of a model."""
    schema = model.schema()
    labels = schema.get("labels", [])
    more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
    return {
        "name": model.name,
        "task": schema["task"],
        "labels": f"{', '.join(map(str, labels[:SHOWN_LABELS]))}{more}",
        "chat": schema["chat"],
        "fields": fields(schema),
        "schema": schema,
        "json": json.dumps(schema),
    }


def _same_rows(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two models take the same rows, so that their answers can be compared."""
    return all(one["schema"][key] == other["schema"][key] for key in ("columns", "required"))
