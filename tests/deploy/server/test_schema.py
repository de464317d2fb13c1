"""Requests that the interface's own description allows, and such that it forbids, by the dozen."""

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import schemathesis
from flowers import write_model
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema
from server_process import Server

KEY = "secret"
BOUNDED = settings(
    max_examples=40,  # for each operation, to the description and against it
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def interface(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pictures: list[bytes]
) -> Iterator[OpenApiSchema]:
    """The description that a server gives of itself; half of the bytes to come are pictures."""
    schemathesis.openapi.format("binary", st.sampled_from(pictures) | st.binary())
    model = write_model(tmp_path_factory.mktemp("described") / "flowers.safetensors")
    server = Server([str(model)], {"MIXER_API_KEY": request.param})
    yield schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    server.process.terminate()
    server.ended()


def takes_anything(operation: schemathesis.APIOperation) -> bool:
    return bool(operation.path_parameters or operation.query or operation.body)


def statuses(operation: schemathesis.APIOperation, mode: GenerationMode) -> Counter[int]:
    """Send requests, check each answer against the description; return the statuses."""
    # No description says which bytes are a picture, or how many classes a model has.
    apart = [positive_data_acceptance] if mode is GenerationMode.POSITIVE else []
    found: Counter[int] = Counter()

    def check(case: schemathesis.Case) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = case.call_and_validate(headers=headers, timeout=20, excluded_checks=apart)
        found[answer.status_code] += 1

    BOUNDED(given(case=operation.as_strategy(generation_mode=mode))(check))()
    return found


@pytest.mark.parametrize("interface", [KEY], indirect=True)
def test_what_the_description_allows_is_answered_as_it_says(interface: OpenApiSchema) -> None:
    operations = [one.ok() for one in interface.get_all_operations()]
    assert {one.path for one in operations} >= {"/v1/models/{name}/predict", "/v1/models"}
    for operation in operations:
        assert statuses(operation, GenerationMode.POSITIVE)[HTTPStatus.OK], operation.path


@pytest.mark.parametrize("interface", [""], indirect=True)  # the key would be sent in any case
def test_what_the_description_forbids_is_refused_as_it_says(interface: OpenApiSchema) -> None:
    operations = [one.ok() for one in interface.get_all_operations()]
    for operation in filter(takes_anything, operations):
        assert statuses(operation, GenerationMode.NEGATIVE), operation.path
