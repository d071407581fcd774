"""What the server of a store's page takes and refuses."""

from __future__ import annotations

import pytest
from hiw_data.browsing.requests import byte_range, host_is_local


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:8000"])
def test_names_of_this_machine_are_taken(host: str) -> None:
    assert host_is_local(host, 8000)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example:8000",
        "localhost.evil.example:8000",
        "127.0.0.1.evil.example:8000",
        "localhost:8001",
        "localhost",
        "localhost:8000\n",
        "localhost:8000, evil.example",
        "user@localhost:8000",
        "localhost:٨٠٠٠",
        "0.0.0.0:8000",
    ],
)
def test_other_names_and_ports_are_refused(host: str | None) -> None:
    assert not host_is_local(host, 8000)


def test_a_host_without_a_port_means_port_80() -> None:
    assert host_is_local("localhost", 80)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-5000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-5000", (0, 100)),
        ("bytes=-", None),
        ("bytes=20-10", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=--1", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_a_range_is_within_the_file(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="expected bytes within 0 to 99"):
        byte_range(header, 100)
