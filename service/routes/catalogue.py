"""What can be asked for, and what can go wrong."""

import inspect

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from service.contract.methods import Catalogue, methods
from service.errors import ProblemError, ProblemTypeNotFound, problem_type, problem_types
from service.failures import FAILURES
from service.routes.parameters import Slug
from service.routes.responses import answer, problems

__all__ = ["ProblemExplanation", "explanations", "router"]

router = APIRouter(prefix="/v1", tags=["catalogue"])


class ProblemExplanation(BaseModel):
    """A kind of problem. `status` is null for those that jobs end with, not requests."""

    type: str
    code: str
    title: str
    status: int | None
    explanation: str


class ProblemList(BaseModel):
    object: str = "list"
    data: list[ProblemExplanation]


@router.get(
    "/methods",
    operation_id="get_methods",
    summary="What a recipe may ask for",
    response_model=Catalogue,
    responses=problems(),
)
async def catalogue() -> Response:
    """Criteria, schedules, gates and formats, and the JSON Schema of recipes: enough to build a form."""
    return answer(methods(), headers={"Cache-Control": "public, max-age=300"})


@router.get(
    "/problems",
    operation_id="list_problems",
    summary="All kinds of problems",
    response_model=ProblemList,
    responses=problems(),
)
async def index() -> Response:
    return answer(ProblemList(data=list(explanations().values())))


@router.get(
    "/problems/{slug}",
    operation_id="get_problem",
    summary="Explain a kind of problem",
    response_model=ProblemExplanation,
    responses=problems(ProblemTypeNotFound),
)
async def show(slug: Slug) -> Response:
    """Where the `type` of a problem leads."""
    found = explanations().get(slug)
    if found is None:
        raise ProblemTypeNotFound(f"There is no problem type {slug!r}; /v1/problems lists them all.")
    return answer(found)


def explanations() -> dict[str, ProblemExplanation]:
    """Every kind of problem by its slug: of requests, then of jobs."""
    of_jobs = {
        code: ProblemExplanation(
            type=problem_type(code), code=code, title=failure.title, status=None, explanation=failure.explanation
        )
        for code, failure in FAILURES.items()
    }
    return of_jobs | {kind.slug: _explain(kind) for kind in problem_types()}


def _explain(kind: type[ProblemError]) -> ProblemExplanation:
    explanation = inspect.cleandoc(kind.__doc__ or kind.title)
    return ProblemExplanation(
        type=problem_type(kind.slug), code=kind.slug, title=kind.title, status=kind.status, explanation=explanation
    )
