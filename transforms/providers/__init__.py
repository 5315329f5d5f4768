"""The registry of log kinds. A provider is told by content; another one is one file and one entry here."""

from __future__ import annotations

from transforms.providers.base import SPINE, Provider, RawRecord
from transforms.providers.cloudtrail import CLOUDTRAIL

PROVIDERS: tuple[Provider, ...] = (CLOUDTRAIL,)
PROVIDERS_BY_NAME: dict[str, Provider] = {provider.name: provider for provider in PROVIDERS}


def provider_of(record: RawRecord) -> Provider | None:
    """The first provider that recognises the record; None for a record of no known kind."""
    return next((provider for provider in PROVIDERS if provider.recognises(record)), None)


__all__ = ["PROVIDERS", "PROVIDERS_BY_NAME", "SPINE", "Provider", "RawRecord", "provider_of"]
