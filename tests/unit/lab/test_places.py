"""Names of a lab's places: never two the same, never too long."""

import pytest

from nospof.errors import WrongInput
from nospof.lab.places import Places, interface_name, mac_address


@pytest.mark.parametrize("name", ["", "Shop", "a.b", "a/b", "..", "x" * 41, "a\n"])
def test_name_that_could_leave_its_place_is_refused(name: str) -> None:
    with pytest.raises(WrongInput):
        Places(name)


def test_places_of_different_labs_and_hosts_never_meet() -> None:
    one, other = Places("a").host("b-c"), Places("a-b").host("c")
    assert one.namespace != other.namespace
    assert one.of.namespace not in (other.namespace, other.of.namespace)
    assert one.machine != other.machine
    assert one.leavings != other.leavings


def test_interface_name_is_readable_where_it_fits_and_never_longer_than_linux_allows() -> None:
    assert interface_name("p", "web1") == "p-web1"
    assert interface_name("p", "thirteen-char") == "p-thirteen-char"
    long = [interface_name("p", f"application-server-{number}") for number in range(100)]
    assert max(map(len, long)) <= 15
    assert len(set(long)) == 100


def test_machine_name_is_a_host_name() -> None:
    assert len(Places("x" * 40).host("y" * 63).machine) <= 64


def test_hardware_address_follows_the_address() -> None:
    assert mac_address("198.18.1.255") == "02:00:c6:12:01:ff"
