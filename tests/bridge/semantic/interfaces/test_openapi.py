"""The interface holds what its OpenAPI document promises, whatever is sent to it: schemathesis, over ASGI."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bridge.semantic.access import Access
from bridge.semantic.asking import Asking
from bridge.semantic.audit import AuditLog
from bridge.semantic.rest.service import make_service
from tests.bridge.semantic.interfaces.conftest import NAME, PlainScene

TOKEN = {"authorization": "Bearer a secret", "host": "127.0.0.1"}
EXAMPLES = 8
"""Of each operation: each reads guest memory, so there is no need for many at every run."""
_ENDLESS = "/events"


def test_what_is_sent_never_breaks_it_and_what_comes_back_is_as_promised(
    access: Access, scene: PlainScene, audit: AuditLog
) -> None:
    service = make_service(access, Asking(access), scene, audit, {"a secret": "tester"}, rate_per_s=1e6, burst=1e6)
    schema = schemathesis.openapi.from_asgi("/openapi.json", service, headers=TOKEN)
    operations = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
    assert len(operations) >= 20
    tried = set()
    for operation in operations:
        if operation.path == _ENDLESS:
            continue
        tried.add((operation.method, operation.path))
        _hold(operation)
    assert len(tried) == len(operations) - 1


def _hold(operation: Any) -> None:
    known = st.booleans()

    @given(case=operation.as_strategy(), of_ours=known)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def hold(case: Any, of_ours: bool) -> None:
        if of_ours and case.path_parameters and "machine" in case.path_parameters:
            case.path_parameters["machine"] = NAME  # else nothing but 404 would be tried
        response = case.call(headers=TOKEN)
        case.validate_response(
            response,
            checks=[
                not_a_server_error,
                status_code_conformance,
                content_type_conformance,
                response_schema_conformance,
            ],
        )

    hold()
