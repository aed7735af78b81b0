"""`/v1/datasets`"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.contract.resources import Dataset, DatasetList
from service.errors import DatasetNotFound, UploadInUse
from service.routes import uploads
from service.routes.parameters import AfterDataset, DatasetPath, Limit, ReprDigest, UploadName
from service.routes.responses import bodyless, problems
from service.services import UseServices

__all__ = ["router"]

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.post(
    "",
    operation_id="upload_dataset",
    summary="Upload a dataset",
    status_code=201,
    responses=uploads.created(Dataset) | uploads.UPLOAD_PROBLEMS,
    openapi_extra=uploads.UPLOAD_BODY,
)
async def upload(
    request: Request, services: UseServices, name: UploadName = None, repr_digest: ReprDigest = None
) -> Response:
    """Upload data: an `.npz`, or a zip or tar of images in one folder per class.

    The body is streamed to disk and hashed on its way. The same bytes are the same dataset: sending them again answers
    200 with the dataset that is there.
    """
    return await uploads.store_upload(request, services, "dataset", name, repr_digest)


@router.get("", operation_id="list_datasets", summary="List datasets", response_model=DatasetList, responses=problems())
async def index(services: UseServices, after: AfterDataset = None, limit: Limit = 20) -> Response:
    """Newest first."""
    return await uploads.list_uploads(services, "dataset", after, limit)


@router.get(
    "/{dataset_id}",
    operation_id="get_dataset",
    summary="Show a dataset",
    response_model=Dataset,
    responses=problems(DatasetNotFound),
)
async def show(dataset_id: DatasetPath, services: UseServices) -> Response:
    """`status` is `inspecting` until a worker has read the file, then `ready` with a `profile`, or `rejected` with an
    `error`.
    """
    return await uploads.show_upload(services, "dataset", dataset_id)


@router.head(
    "/{dataset_id}",
    operation_id="head_dataset",
    summary="Headers of a dataset",
    response_class=Response,
    responses=bodyless(problems(DatasetNotFound)),
)
async def head(dataset_id: DatasetPath, services: UseServices) -> Response:
    return await uploads.show_upload(services, "dataset", dataset_id)


@router.delete(
    "/{dataset_id}",
    operation_id="delete_dataset",
    summary="Delete a dataset",
    status_code=204,
    response_class=Response,
    responses=problems(DatasetNotFound, UploadInUse),
)
def delete(dataset_id: DatasetPath, services: UseServices) -> Response:
    """Refused while an unfinished job uses it. Jobs that have ended keep their results."""
    return uploads.delete_upload(services, "dataset", dataset_id)
