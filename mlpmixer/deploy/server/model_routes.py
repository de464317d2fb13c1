"""What is asked of the models: which there are, predictions, and what these rest on."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel

from mlpmixer.data.picture import UnreadableImage
from mlpmixer.deploy.server.batching import CutOff, Overloaded
from mlpmixer.deploy.server.deadline import Deadline
from mlpmixer.deploy.server.description import ModelDescription
from mlpmixer.deploy.server.explain import Explanation
from mlpmixer.deploy.server.limits import Limits
from mlpmixer.deploy.server.openapi import EXAMPLE, body, name_of
from mlpmixer.deploy.server.problems import Problem, responses
from mlpmixer.deploy.server.served_model import ServedModel, TooLarge
from mlpmixer.deploy.server.uploads import Upload, read_uploads
from mlpmixer.deploy.server.weight_pictures import MOST_BLOCKS

DEFAULT_K = 5


class ClassProbability(BaseModel):
    """A class, and how probable it is."""

    label: str
    index: int
    probability: float


class PictureAnswer(BaseModel):
    """What is in a picture, or why that cannot be said."""

    name: str
    classes: list[ClassProbability] | None = None
    error: str | None = None


class Png(Response):
    """A picture."""

    media_type = "image/png"


class PredictionAnswer(BaseModel):
    """The answer to a request."""

    model: str
    milliseconds: float
    pictures: list[PictureAnswer]


_BLOCK = InPath(
    description="Counted from 0; below the model's `weight_pictures`.",
    json_schema_extra={"minimum": 0, "maximum": MOST_BLOCKS - 1},
)
_TOP = Query(description="How many classes to name.", json_schema_extra={"minimum": 1})


def model_routes(
    models: Mapping[str, ServedModel], limits: Limits, explaining: Executor
) -> APIRouter:
    """Return the paths below /v1/models.

    Args:
        models: by the names that clients call them by.
        limits: what is taken on.
        explaining: computes what predictions rest on.
    """
    router = APIRouter()
    named = InPath(description="The model.", json_schema_extra=name_of(models))

    def found(name: str) -> ServedModel:
        if name not in models:
            raise Problem(404, f"there is no model of that name. There are: {', '.join(models)}.")
        return models[name]

    @router.get("/v1/models", summary="The models", responses=responses(401))
    async def list_models() -> list[ModelDescription]:
        return [one.description for one in models.values()]

    @router.post(
        "/v1/models/{name}/predict",
        summary="Name what is in pictures",
        description="The body is an image, or a multipart form with files.",
        openapi_extra=body(limits.files),
        response_model=PredictionAnswer,
        responses={
            200: {"content": {"application/json": {"example": EXAMPLE}}},
            **responses(400, 401, 404, 408, 413, 415, 422, 503, 504),
        },
    )
    async def predict(
        request: Request,
        name: Annotated[str, named],
        k: Annotated[int | None, _TOP] = None,
    ) -> Response:
        begun, deadline, model = time.monotonic(), Deadline(limits.seconds), found(name)
        request.state.model = name
        most = model.predictor.model.num_classes
        wanted = min(DEFAULT_K, most) if k is None else k
        if not 1 <= wanted <= most:
            raise Problem(400, f"k = {wanted}: the model has {most} classes, give 1 to {most}.")
        with _admitted(model, 1):  # before the body is read: a full server shall not read it
            uploads = await deadline.read(read_uploads(request, limits))
            pictures = await _answered(model, uploads, wanted, deadline)
        if all(one.error for one in pictures):
            raise Problem(422, "; ".join(one.error or "" for one in pictures[:3]))
        taken = (time.monotonic() - begun) * 1000
        answer = PredictionAnswer(model=name, milliseconds=round(taken, 2), pictures=pictures)
        return Response(answer.model_dump_json(), media_type="application/json")

    @router.post(
        "/v1/models/{name}/explain",
        summary="Show what the answer for a picture rests on",
        description="The body is one image. A gradient estimates what is lost with each patch.",
        openapi_extra=body(1),
        responses=responses(400, 401, 404, 408, 413, 415, 422, 503, 504),
    )
    async def explain(request: Request, name: Annotated[str, named]) -> Explanation:
        deadline, model = Deadline(limits.seconds), found(name)
        request.state.model = name
        if not model.description.explains:
            raise Problem(404, "this model was exported: it has no gradients to explain by.")
        with _admitted(model, 1):
            uploads = await deadline.read(read_uploads(request, limits))
            if len(uploads) != 1:
                raise Problem(400, f"{len(uploads)} pictures: send one.")
            work = asyncio.get_running_loop().run_in_executor(
                explaining, model.explain, uploads[0].content, uploads[0].name
            )
            try:
                return await deadline.answer(work)
            except (UnreadableImage, TooLarge) as error:
                raise Problem(422, str(error)) from error

    @router.get(
        "/v1/models/{name}/weights/{block}",
        summary="Show what a block's token mixing has learned",
        description="Each tile shows what a hidden unit takes from each patch.",
        response_class=Png,
        responses=responses(400, 401, 404, 503, 504),
    )
    async def weights(name: Annotated[str, named], block: Annotated[int, _BLOCK]) -> Response:
        model = found(name)
        if not 0 <= block < model.description.weight_pictures:
            raise Problem(404, f"block {block} of this model has no token mixing to show.")
        with _admitted(model, 1):
            work = asyncio.get_running_loop().run_in_executor(explaining, model.weights, block)
            return Png(await Deadline(limits.seconds).answer(work))

    return router


async def _answered(
    model: ServedModel, uploads: list[Upload], k: int, deadline: Deadline
) -> list[PictureAnswer]:
    with _admitted(model, len(uploads) - 1):  # the first one has its place
        works = [asyncio.create_task(_one(model, upload, k)) for upload in uploads]
        try:
            return list(await deadline.answer(asyncio.gather(*works)))
        finally:
            for one in works:  # where one is refused, nobody waits for the others
                one.cancel()


@contextmanager
def _admitted(model: ServedModel, pictures: int) -> Iterator[None]:
    """Hold a place for pictures while they are on their way."""
    busy = Problem(503, "too much is on its way: try again.", {"Retry-After": "1"})
    try:
        model.admit(pictures)
    except Overloaded:
        raise busy from None
    try:
        yield
    except Overloaded:
        raise busy from None
    except CutOff:
        raise Problem(
            503, "the computation was cut off: try again.", {"Retry-After": "1"}
        ) from None
    finally:
        model.dismiss(pictures)


async def _one(model: ServedModel, upload: Upload, k: int) -> PictureAnswer:
    predictor, answer = model.answer(upload.content, upload.name)
    try:
        probabilities = await asyncio.wrap_future(answer)
    except (UnreadableImage, TooLarge) as error:
        return PictureAnswer(name=upload.name, error=str(error))
    k = min(k, len(probabilities))  # the model may have been replaced by one of fewer classes
    (best,) = predictor.best(probabilities[None], k)
    classes = [
        ClassProbability(label=one.label, index=one.index, probability=one.probability)
        for one in best
    ]
    return PictureAnswer(name=upload.name, classes=classes)
