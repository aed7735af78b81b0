"""The description of the API, complete: every answer, problems included."""

from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.contract.resources import JobRequest, Problem

__all__ = ["DESCRIPTION", "TAGS", "install_openapi", "openapi_yaml"]

DESCRIPTION = """\
Secateur prunes trained neural networks and proves what the pruning cost.

Upload a model and, if there is one, a dataset; submit a job; follow it; download what it made. All errors are
`application/problem+json`. Lists are read page by page: pass `next_cursor` as `after` until it is `null`.
"""

TAGS = [
    {"name": "models", "description": "Trained models, as they were uploaded."},
    {"name": "datasets", "description": "Samples to measure, train and judge with."},
    {"name": "jobs", "description": "Prunings: submit, follow, cancel."},
    {"name": "artifacts", "description": "What a job made."},
    {"name": "catalogue", "description": "What can be asked for, and what can go wrong."},
    {"name": "operations", "description": "For those who run the service."},
]

_REF = "#/components/schemas/{model}"


def install_openapi(app: FastAPI) -> None:
    """Describe the application with the schemas that no signature shows."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way


def openapi_yaml(app: FastAPI) -> str:
    """The description as YAML, the same text for the same code."""
    text: str = yaml.safe_dump(app.openapi(), sort_keys=False, allow_unicode=True, width=120)
    return text


def _describe(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        separate_input_output_schemas=False,
    )
    _, extra = models_json_schema([(JobRequest, "validation"), (Problem, "validation")], ref_template=_REF)
    schemas = schema["components"]["schemas"]
    schemas.update(extra["$defs"])
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schema["components"]["schemas"] = dict(sorted(schemas.items()))
    return schema
