"""Whatever body comes, an answer comes: generated requests by the description, and forms with damage."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tdt.serving.asking import FIELDS

from .scripted import client_of, said
from .serving import HELLO, PATH, Served, form, served

if TYPE_CHECKING:
    from collections.abc import Iterator

# `TDT_FORMS=5000` for a long run.
FORMS = int(os.environ.get("TDT_FORMS", "400"))
ONE = said("Hello world.")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("--queue", "8", "--max-mb", "1") as found:
        yield found


# --- by the description -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_requests_made_from_the_description_are_answered_as_it_says(server: Served) -> None:
    schema = schemathesis.openapi.from_url(server.url + "/openapi.json")
    seen: set[tuple[str, int]] = set()
    for operation in (result.ok() for result in schema.get_all_operations()):

        @given(case=operation.as_strategy())
        @settings(max_examples=60, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        def ask(case: Any) -> None:
            answer = case.call(timeout=30)
            case.validate_response(
                answer, excluded_checks=[positive_data_acceptance, not_a_server_error]
            )  # which bytes are sound, it cannot say
            assert answer.status_code < 500 or answer.status_code == 501, answer.text
            seen.add((case.path, answer.status_code))

        ask()
    assert {("/health", 200), ("/v1/models", 200), ("/v1/audio/translations", 501), (PATH, 400)} <= seen


# --- with damage ------------------------------------------------------------------------------------------------------


def damaged(number: int) -> tuple[bytes, str]:
    """Return a form with damage, and its content type: a function of its number."""
    dice = random.Random(number)
    names = dice.sample(list(FIELDS), dice.randint(0, 3))
    values = ["json", "srt", "true", "0", "word", "", "\0", "é" * 50, "verbose_json", "[]"]
    fields = {dice.choice([name, name + "[]", name.upper()]): dice.choice(values) for name in names if name != "file"}
    body, kind = form(HELLO[: dice.choice([0, 10, 2000, len(HELLO)])], **fields)
    raw = bytearray(body)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(min(len(raw), 700)) if raw else 0
        match dice.randint(0, 6):
            case 0:
                raw[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del raw[at : at + dice.randint(1, 40)]
            case 2:
                raw[at:at] = dice.randbytes(dice.randint(1, 40))
            case 3:
                raw[at:at] = dice.choice([b"\r\n", b"--edge", b"--edge--", b"\r\n\r\n", b'"', b"=", b";", b"\\"])
            case 4:
                del raw[at:]
            case 5:
                raw += raw[at:]
            case 6:
                kind = dice.choice([kind, kind + "x", kind[:-4], kind.replace("edge", ""), kind + '; boundary="'])
    return bytes(raw), kind


def test_forms_with_damage_end_in_answers() -> None:
    client, engine = client_of(ONE)
    statuses: dict[int, int] = {}
    with client:
        for number in range(FORMS):
            body, kind = damaged(number)
            answer = client.post(PATH, content=body, headers={"content-type": kind})
            assert answer.status_code in {200, 400, 404}, (number, answer.text)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code != 200:
                assert answer.json()["error"]["code"], number
        assert engine.admission.under_way == 0
    # The damage is neither too light nor too heavy to mean something.
    assert statuses[200] > FORMS / 50
    assert statuses[400] > FORMS / 5


@given(st.binary(max_size=300), st.sampled_from(["", "; boundary=edge", '; boundary="e', "; charset=nothing"]))
@settings(max_examples=100)
def test_any_bytes_are_no_form(body: bytes, parameters: str) -> None:
    client, engine = client_of(ONE)
    with client:
        answer = client.post(PATH, content=body, headers={"content-type": "multipart/form-data" + parameters})
    assert answer.status_code == 400
    assert engine.heard == []


@pytest.mark.slow
def test_a_server_lives_through_forms_with_damage(server: Served) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for number in range(FORMS // 2):
        body, kind = damaged(number)
        connection.request("POST", PATH, body, {"content-type": kind})
        answer = connection.getresponse()
        answer.read()
        assert answer.status in {200, 400, 404, 413}, number
    connection.close()
    assert server.under_way() == 0
    assert server.post()[0] == 200
