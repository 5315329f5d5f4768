"""Country, location and autonomous system of an address, from databases in MaxMind's format that a user supplies.

Without one for countries there is the country that an address is assigned to: the package `iptocc`.

Read are the names that MaxMind's GeoIP and GeoLite databases use, and those of IPinfo.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import maxminddb
from iptocc import country_code

from schemas.errors import ConfigError


class Asn(NamedTuple):
    """Columns of `cloud_audit_logs`."""

    caller_ip_asn: int | None = None
    caller_ip_asn_org: str | None = None


class Place(NamedTuple):
    """Columns of `cloud_audit_logs`: country as ISO 3166-1 alpha-2, degrees north and east."""

    caller_ip_geolocation: str | None = None
    caller_ip_latitude: float | None = None
    caller_ip_longitude: float | None = None


class Registries:
    """What AFRINIC, APNIC, ARIN, LACNIC and RIPE NCC say: to which country an address is assigned.

    That is where who has it is registered. It may be used elsewhere, above all in a cloud.
    """

    version = version("iptocc")

    def place(self, address: str) -> Place:
        """The country; none of what is no public address."""
        return Place(country_code(address))


class Database:
    """One database, mapped into memory: the pages that are asked for are read, not the file."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a file that is none."""
        try:
            self._reader = maxminddb.open_database(path, maxminddb.MODE_AUTO)
        except (OSError, maxminddb.InvalidDatabaseError, ValueError) as error:
            raise ConfigError(f"{path} is no database in MaxMind's format (.mmdb): {error}") from error

    @property
    def version(self) -> str:
        """Type and build date, such as `GeoLite2-Country/2026-10-27`."""
        told = self._reader.metadata()
        return f"{told.database_type}/{self.built.date().isoformat()}".replace(" ", "-")

    @property
    def built(self) -> datetime:
        """When the database was built, UTC."""
        return datetime.fromtimestamp(self._reader.metadata().build_epoch, UTC)

    def place(self, address: str) -> Place:
        """Where the address is; a country also where it is registered only. Databases of cities have locations."""
        found = self._get(address)
        location = found.get("location")
        inner = location if isinstance(location, dict) else {}
        latitude, longitude = (_degrees(inner.get(name)) for name in ("latitude", "longitude"))
        if latitude is None or longitude is None:
            latitude = longitude = None
        return Place(_country(found), latitude, longitude)

    def asn(self, address: str) -> Asn:
        """Number and organization."""
        found = self._get(address)
        number = found.get("autonomous_system_number", found.get("asn"))
        if isinstance(number, str):
            number = int(number[2:]) if number[:2].upper() == "AS" and number[2:].isdecimal() else None
        organization = found.get("autonomous_system_organization", found.get("as_name"))
        return Asn(number if isinstance(number, int) else None, _text(organization))

    def _get(self, address: str) -> dict[str, Any]:
        get: Callable[[str], Any] = self._reader.get
        try:
            found = get(address)
        except ValueError:  # an address of version 6 in a database of version 4
            return {}
        return found if isinstance(found, dict) else {}


def _country(found: dict[str, Any]) -> str | None:
    for name in ("country", "registered_country"):
        place = found.get(name)
        if isinstance(place, dict) and isinstance(place.get("iso_code"), str):
            return str(place["iso_code"])
    return _text(found.get("country_code"))


def _degrees(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
