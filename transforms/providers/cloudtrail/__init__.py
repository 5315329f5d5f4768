"""AWS CloudTrail: event versions 1.0 to 1.11, all event types and categories."""

from __future__ import annotations

from transforms.providers.cloudtrail.provider import CLOUDTRAIL

__all__ = ["CLOUDTRAIL"]
