"""`/v1/models`"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.contract.resources import Model, ModelList
from service.errors import ModelNotFound, UploadInUse
from service.routes import uploads
from service.routes.parameters import AfterModel, Limit, ModelPath, ReprDigest, UploadName
from service.routes.responses import bodyless, problems
from service.services import UseServices

__all__ = ["router"]

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.post(
    "",
    operation_id="upload_model",
    summary="Upload a model",
    status_code=201,
    responses=uploads.created(Model) | uploads.UPLOAD_PROBLEMS,
    openapi_extra=uploads.UPLOAD_BODY,
)
async def upload(
    request: Request, services: UseServices, name: UploadName = None, repr_digest: ReprDigest = None
) -> Response:
    """Upload a trained model: a `.pt2` of torch.export (preferred) or an `.onnx` with its weights inside.

    The body is streamed to disk and hashed on its way. The same bytes are the same model: sending them again answers
    200 with the model that is there.
    """
    return await uploads.store_upload(request, services, "model", name, repr_digest)


@router.get("", operation_id="list_models", summary="List models", response_model=ModelList, responses=problems())
async def index(services: UseServices, after: AfterModel = None, limit: Limit = 20) -> Response:
    """Newest first."""
    return await uploads.list_uploads(services, "model", after, limit)


@router.get(
    "/{model_id}",
    operation_id="get_model",
    summary="Show a model",
    response_model=Model,
    responses=problems(ModelNotFound),
)
async def show(model_id: ModelPath, services: UseServices) -> Response:
    """`status` is `inspecting` until a worker has read the file, then `ready` with a `profile`, or `rejected` with an
    `error`.
    """
    return await uploads.show_upload(services, "model", model_id)


@router.head(
    "/{model_id}",
    operation_id="head_model",
    summary="Headers of a model",
    response_class=Response,
    responses=bodyless(problems(ModelNotFound)),
)
async def head(model_id: ModelPath, services: UseServices) -> Response:
    return await uploads.show_upload(services, "model", model_id)


@router.delete(
    "/{model_id}",
    operation_id="delete_model",
    summary="Delete a model",
    status_code=204,
    response_class=Response,
    responses=problems(ModelNotFound, UploadInUse),
)
def delete(model_id: ModelPath, services: UseServices) -> Response:
    """Refused while an unfinished job uses it. Jobs that have ended keep their results."""
    return uploads.delete_upload(services, "model", model_id)
