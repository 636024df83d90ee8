import io, csv
import pytest, schemathesis
from hypothesis import HealthCheck, settings, strategies as st
from serving import serve
from pathlib import Path

@pytest.fixture(scope="session", params=["bundle_dir", "mixed_dir"])
def contract(request):
    with serve(request.getfixturevalue(request.param)) as base:
        schemathesis.openapi.media_type("text/csv", st.just(b"a"))
        schemathesis.openapi.format("binary", st.just(b"a"))
        yield schemathesis.openapi.from_url(base + "/openapi.json")

schema = schemathesis.pytest.from_fixture("contract")

@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_contract(case):
    case.call_and_validate()
