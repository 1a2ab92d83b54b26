"""The page's files as they are served: types, headers that keep it to itself, and no others."""

from __future__ import annotations

import pytest

from tdt.serving.faces import FILES, HEADERS, PAGE

from .scripted import client_of


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_served_as_it_is(name: str) -> None:
    client, _ = client_of(api_keys=("secret",))
    with client:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        file, media_type = FILES[name]
        assert answer.content == (PAGE / file).read_bytes()
        assert answer.headers["content-type"] == media_type
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS


def test_nothing_else_of_the_folder_or_the_machine_is_served() -> None:
    client, _ = client_of()
    with client:
        for path in (
            "/index.htm",
            "/page/index.html",
            "/../engine.py",
            "/%2e%2e/engine.py",
            "/faces.py",
        ):
            assert client.get(path).status_code == 404
        assert client.post("/").status_code == 405
