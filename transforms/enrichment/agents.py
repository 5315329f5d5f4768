"""Which tool a user agent names, its version and the operating system it tells.

Sources: the user agents that the AWS SDKs and tools send (CloudTrail user guide, `userAgent`), and those of the tools
that say their own name. A user agent is what the caller says: a name found proves little, a missing one nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

VERSION = "1"

CLI, SDK, CONSOLE, BROWSER, IAC = "CLI", "SDK", "CONSOLE", "BROWSER", "IAC"
KUBERNETES, STORAGE_CLIENT, HTTP_CLIENT = "KUBERNETES", "STORAGE_CLIENT", "HTTP_CLIENT"
SECURITY_TESTING, AWS_SERVICE = "SECURITY_TESTING", "AWS_SERVICE"


class Agent(NamedTuple):
    """Columns of `cloud_audit_logs`."""

    caller_tool: str | None = None
    caller_tool_kind: str | None = None
    caller_tool_version: str | None = None
    caller_os: str | None = None


# The first that is found decides: what a tool is comes before the library that it is built with.
_TOOLS: tuple[tuple[str, str, str], ...] = (
    ("Pacu", SECURITY_TESTING, r"pacu"),
    ("TruffleHog", SECURITY_TESTING, r"trufflehog"),
    ("ScoutSuite", SECURITY_TESTING, r"scout ?suite"),
    ("Stratus Red Team", SECURITY_TESTING, r"stratus-red-team"),
    ("CloudFox", SECURITY_TESTING, r"cloudfox"),
    ("Prowler", SECURITY_TESTING, r"prowler"),
    ("WeirdAAL", SECURITY_TESTING, r"weirdaal"),
    ("sqlmap", SECURITY_TESTING, r"sqlmap"),
    ("Nmap", SECURITY_TESTING, r"nmap"),
    ("OpenTofu", IAC, r"opentofu"),
    ("Terraform", IAC, r"terraform(?!-provider)"),
    ("Terraform", IAC, r"terraform-provider-aws"),
    ("Pulumi", IAC, r"pulumi"),
    ("AWS CDK", IAC, r"aws-cdk"),
    ("AWS SAM", IAC, r"aws-sam-cli"),
    ("Ansible", IAC, r"ansible"),
    ("Cloud Custodian", IAC, r"cloudcustodian"),
    ("kubectl", KUBERNETES, r"kubectl"),
    ("eksctl", KUBERNETES, r"eksctl"),
    ("Helm", KUBERNETES, r"helm"),
    ("S3 Browser", STORAGE_CLIENT, r"s3 ?browser"),
    ("Cyberduck", STORAGE_CLIENT, r"cyberduck"),
    ("CloudBerry", STORAGE_CLIENT, r"cloudberry"),
    ("WinSCP", STORAGE_CLIENT, r"winscp"),
    ("rclone", STORAGE_CLIENT, r"rclone"),
    ("s3fs", STORAGE_CLIENT, r"s3fs"),
    ("Amazon S3 console", CONSOLE, r"s3console"),
    ("AWS Tools for PowerShell", CLI, r"awspowershell(?:\.[a-z]+)*"),
    ("AWS CLI", CLI, r"aws-cli"),
    ("Boto3", SDK, r"boto3"),
    ("Botocore", SDK, r"botocore"),
    ("Boto", SDK, r"boto"),
    ("AWS SDK for Go v2", SDK, r"aws-sdk-go-v2"),
    ("AWS SDK for Go", SDK, r"aws-sdk-go"),
    ("AWS SDK for Java", SDK, r"aws-sdk-java"),
    ("AWS SDK for JavaScript", SDK, r"aws-sdk-(?:js|nodejs)"),
    ("AWS SDK for .NET", SDK, r"aws-sdk-(?:dotnet|net)[a-z0-9-]*"),
    ("AWS SDK for Ruby", SDK, r"aws-sdk-ruby\d?"),
    ("AWS SDK for PHP", SDK, r"aws-sdk-php\d?"),
    ("AWS SDK for Rust", SDK, r"aws-sdk-rust"),
    ("AWS SDK for C++", SDK, r"aws-sdk-cpp"),
    ("AWS SDK for Kotlin", SDK, r"aws-sdk-kotlin"),
    ("AWS SDK for Swift", SDK, r"aws-sdk-swift"),
    ("AWS internal", AWS_SERVICE, r"aws[- ]internal"),
    ("AWS internal", AWS_SERVICE, r"coral"),
    ("curl", HTTP_CLIENT, r"curl"),
    ("Wget", HTTP_CLIENT, r"wget"),
    ("Python requests", HTTP_CLIENT, r"python-requests"),
    ("Python urllib", HTTP_CLIENT, r"python-urllib\d?"),
    ("Go HTTP client", HTTP_CLIENT, r"go-http-client"),
    ("Postman", HTTP_CLIENT, r"postmanruntime"),
    ("Apache HttpClient", HTTP_CLIENT, r"apache-httpclient"),
    ("okhttp", HTTP_CLIENT, r"okhttp"),
    # Browsers claim to be each other's like: the narrower claim first.
    ("Edge", BROWSER, r"edg(?:e|a|ios)?"),
    ("Firefox", BROWSER, r"firefox"),
    ("Chrome", BROWSER, r"(?:headless)?chrome"),
    ("Safari", BROWSER, r"safari"),
    ("Browser", BROWSER, r"mozilla"),
)

_VERSION = r"(?:[/# ]v?(?P<version>\d[\w.+-]*))?"
_LITERAL = re.compile(r"(?:[a-z0-9-](?![?*]))*")


def _beginning(pattern: str) -> str:
    """What every name of the pattern begins with: a text that does not hold it need not be searched for the name."""
    found = _LITERAL.match(pattern)
    return found[0] if found else ""


_FOUND = [
    (tool, kind, _beginning(name), re.compile(rf"(?<![a-z0-9]){name}(?![a-z0-9]){_VERSION}", re.I))
    for tool, kind, name in _TOOLS
]

# Penetration testing distributions show in the kernel's version.
_SYSTEMS: tuple[tuple[str, str], ...] = (
    ("KALI", r"(?<![a-z])kali(?![a-z])"),
    ("PARROT", r"(?<![a-z])parrot(?![a-z])"),
    ("PENTOO", r"(?<![a-z])pentoo(?![a-z])"),
    ("AMAZON_LINUX", r"\.amzn\d"),
    ("ANDROID", r"android"),
    ("IOS", r"iphone|ipad|os/ios"),
    ("WINDOWS", r"windows"),
    ("MACOS", r"darwin|mac ?os"),
    ("LINUX", r"linux"),
)
_FOUND_SYSTEMS = [(system, re.compile(pattern)) for system, pattern in _SYSTEMS]

# In place of a user agent CloudTrail has the service that made the call.
_SERVICES = {
    "console.amazonaws.com": ("AWS console", CONSOLE),
    "signin.amazonaws.com": ("AWS console", CONSOLE),
    "cloudformation.amazonaws.com": ("CloudFormation", IAC),
}
# The console of a service: console.ec2.amazonaws.com.
_CONSOLE = re.compile(r"console\.[\w-]+\.amazonaws\.com(?:\.cn)?")
_SERVICE = re.compile(r"[\w.-]+\.(?:amazonaws\.com(?:\.cn)?|aws\.internal)")

_READ = 4_096


@lru_cache(maxsize=65_536)
def agent(text: str) -> Agent:
    """The tool that a user agent names, all None where it names none we know; of long text the beginning is read."""
    text = text[:_READ].strip()
    if text in _SERVICES:
        return Agent(*_SERVICES[text])
    if _CONSOLE.fullmatch(text):
        return Agent("AWS console", CONSOLE)
    if _SERVICE.fullmatch(text):
        return Agent(text, AWS_SERVICE)
    lower = text.casefold()
    system = next((name for name, pattern in _FOUND_SYSTEMS if pattern.search(lower)), None)
    for tool, kind, beginning, pattern in _FOUND:
        if beginning in lower and (found := pattern.search(text)):
            return Agent(tool, kind, found["version"], system)
    return Agent(caller_os=system)
