"""What a reader other than boto3 needs for one bucket."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from transforms.stores.aws import Access, client, credentials
from transforms.stores.aws_faults import calling


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """Where a bucket is, and the credentials as they are now."""

    region: str
    endpoint_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


def bucket_access(bucket: str, access: Access) -> BucketAccess:
    """Region and endpoint of the bucket itself, with frozen credentials; they do not refresh.

    Raises CallFault when the bucket does not exist or s3:ListBucket is denied.
    """
    s3 = client("s3", access)
    with calling("s3:ListBucket", f"s3://{bucket}", access):
        region = s3.head_bucket(Bucket=bucket).get("BucketRegion") or s3.meta.region_name
    frozen = credentials(access)
    # A client of the bucket's own region knows that region's endpoint, or the one that overrides it.
    endpoint_url = client("s3", replace(access, region=region)).meta.endpoint_url
    return BucketAccess(region, endpoint_url, frozen.access_key, frozen.secret_key, frozen.token)
