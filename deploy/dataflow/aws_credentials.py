"""AWS credentials for the Google service account of this machine, as AWS's `credential_process` wants them.

    [default]
    credential_process = python /opt/trailweave/aws_credentials.py arn:aws:iam::123456789012:role/collector trailweave

The second argument is the audience that the role's trust policy asks for. Google's metadata server signs who this
machine is, and AWS gives credentials of the role for that, for an hour; whoever asked asks again before they end.
"""

from __future__ import annotations

import json
import os
import sys
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config


def identity(audience: str) -> str:
    """The token in which Google says which service account this machine has."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    asked = urlencode({"audience": audience, "format": "full"})
    path = f"computeMetadata/v1/instance/service-accounts/default/identity?{asked}"
    request = Request(f"http://{host}/{path}", headers={"Metadata-Flavor": "Google"})
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        return str(answer.read().decode())


def credentials(role_arn: str, token: str) -> dict[str, object]:
    """Credentials of the role, in the form of `credential_process`."""
    # Keys that nobody looks at: to look for real ones would run this program again.
    sts = botocore.session.Session().create_client(
        "sts",
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        aws_access_key_id="unused",
        aws_secret_access_key="unused",  # noqa: S106
        config=Config(signature_version=UNSIGNED),
    )
    given = sts.assume_role_with_web_identity(RoleArn=role_arn, RoleSessionName="trailweave", WebIdentityToken=token)[
        "Credentials"
    ]
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    return {"Version": 1, **{name: given[name] for name in names}, "Expiration": given["Expiration"].isoformat()}


if __name__ == "__main__":
    print(json.dumps(credentials(sys.argv[1], identity(sys.argv[2]))))
