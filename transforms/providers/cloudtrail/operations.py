"""What a call did: its normalized verb, and the noun it did it to, from the name of the operation.

A name is split into its words, the first of which decides; a list of exact names goes before. Nothing is matched
inside of words: `DeleteListener` is DELETE.

Source of the words: the operation names of all AWS API models, and CloudTrail's documented non-API events.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

CREATE, READ, LIST, UPDATE, DELETE = "CREATE", "READ", "LIST", "UPDATE", "DELETE"
ATTACH, DETACH, START, STOP, EXECUTE = "ATTACH", "DETACH", "START", "STOP", "EXECUTE"
LOGIN, LOGOUT, ASSUME, OTHER = "LOGIN", "LOGOUT", "ASSUME", "OTHER"


class Operation(NamedTuple):
    """The verb (one of the constants) and the noun as UPPER_SNAKE in the singular, None where there is none."""

    verb: str
    noun: str | None


_VERBS: dict[str, str] = {
    word: verb
    for verb, words in {
        CREATE: """Create Allocate Bundle Clone Copy Import Issue Launch Provision Purchase Register Request Reserve
            Run Upload Instantiate Install Define Open Reimport Claim Invite Insert Derive""",
        READ: """Get Describe Head Read Lookup Search Query Scan Select Check Download Preview Retrieve View Count
            Estimate Discover Resolve Compare Contains Is Evaluate Validate Verify Test Simulate Calculate Decode
            Decrypt Receive Poll Sample Filter Introspect Export Detect Analyze Recognize Translate Predict Infer
            Forecast Classify Suggest Autocomplete Geocode Snap""",
        LIST: "List",
        UPDATE: """Update Modify Put Set Change Add Remove Tag Untag Edit Write Replace Rename Reset Restore Rotate
            Enable Disable Activate Deactivate Configure Apply Upgrade Move Merge Increase Decrease Extend Promote
            Transfer Accept Approve Reject Decline Confirm Authorize Revoke Grant Assign Unassign Share Unshare
            Refresh Renew Resize Rollback Suspend Archive Unarchive Lock Unlock Override Populate Rebuild Reorder
            Complete Convert Migrate Optimize Swap Sync Synchronize Backtrack Deprecate Undeprecate Subscribe
            Unsubscribe Replicate Redact Re Label Unlabel Mark Save Manage Allow Deny Disallow Split Shrink
            Failover Switchover Amend Retire Finalize Commit Index Ingest Deploy Undeploy Schedule Setup Advertise
            Acknowledge Respond Dismiss Opt Expire Regenerate Invalidate Clear Flush Reverse Recall Monitor
            Unmonitor Leave Join Abort Group Ungroup Distribute Rebalance Resync Initialize Initiate Upsert""",
        DELETE: """Delete Deregister Unregister Release Deprovision Purge Forget Dispose Withdraw Discard Evict
            Destroy Drop Terminate""",
        ATTACH: "Attach Associate Connect Link Peer",
        DETACH: "Detach Disassociate Dissociate Disconnect Unlink Unpeer",
        START: "Start Resume Reboot Restart Begin Continue Retry Redrive",
        STOP: "Stop Cancel Pause End Shutdown Close Drain Exit",
        EXECUTE: """Execute Invoke Send Resend Deliver Publish Post Submit Notify Signal Converse Chat Push Process
            Render Sign Encrypt Generate""",
        LOGIN: "Login Authenticate Federate",
        LOGOUT: "Logout Signout",
        ASSUME: "Assume",
    }.items()
    for word in words.split()
}

# Words that stand before the verb and say how, not what.
_ADVERBS = frozenset({"Batch", "Admin", "Bulk", "Transact", "Global", "Internal"})

# Names whose first word misleads, or that are not verbs at all: sign-in events and credentials.
_EXACT: dict[str, Operation] = {
    "ConsoleLogin": Operation(LOGIN, "CONSOLE"),
    "CheckMfa": Operation(LOGIN, "MFA"),
    "SwitchRole": Operation(ASSUME, "ROLE"),
    "ExitRole": Operation(LOGOUT, "ROLE"),
    "RenewRole": Operation(ASSUME, "ROLE"),
    "UserAuthentication": Operation(LOGIN, "USER"),
    "CredentialChallenge": Operation(LOGIN, "CREDENTIAL"),
    "CredentialVerification": Operation(LOGIN, "CREDENTIAL"),
    "ExternalIdPDirectoryLogin": Operation(LOGIN, "DIRECTORY"),
    "GetSigninToken": Operation(LOGIN, "SIGNIN_TOKEN"),
    "CreateOAuth2Token": Operation(LOGIN, "OAUTH2_TOKEN"),
    "GetSessionToken": Operation(ASSUME, "SESSION_TOKEN"),
    "GetFederationToken": Operation(ASSUME, "FEDERATION_TOKEN"),
    "GetRoleCredentials": Operation(ASSUME, "ROLE_CREDENTIAL"),
    "PasswordUpdated": Operation(UPDATE, "PASSWORD"),
    "PasswordRecoveryRequested": Operation(UPDATE, "PASSWORD"),
    "PasswordRecoveryCompleted": Operation(UPDATE, "PASSWORD"),
    "EmailUpdated": Operation(UPDATE, "EMAIL"),
}

_PREPOSITIONS = frozenset({"By", "For", "From", "In", "Into", "Of", "On", "To", "With"})

_SAME = ("Alias", "Analytics", "Cors", "Dns", "Efs", "Es", "Https", "Lens", "Ls", "Nfs", "Series", "Statistics", "Ts")
_IRREGULAR: dict[str, str] = dict(zip(_SAME, _SAME, strict=True)) | {
    "Aliases": "Alias",
    "Analyses": "Analysis",
    "Apis": "Api",
    "Buses": "Bus",
    "Caches": "Cache",
    "Gpus": "Gpu",
    "Indices": "Index",
    "Lenses": "Lens",
    "Statuses": "Status",
}

_WORD = re.compile(r"[A-Z]+[0-9]+(?![a-z0-9])|[A-Z]+(?![a-z0-9])|[A-Z]?[a-z0-9]+")
_API_VERSION = re.compile(r"(?:20[0-9]{6}|20[0-9]{2}_[0-9]{2}_[0-9]{2})(?:v[0-9]+)?$")


def words(name: str) -> list[str]:
    """The words of a CamelCase name, without an API version at its end (`CreateFunction20150331v2`)."""
    return _WORD.findall(_API_VERSION.sub("", name))


@lru_cache(maxsize=4096)
def operation(name: str | None, read_only: bool | None) -> Operation:
    """Verb and noun of an operation; where the verb is not known, a read-only call is READ."""
    if not name:
        return Operation(OTHER, None)
    exact = _EXACT.get(name)
    if exact:
        return exact
    head, *rest = words(name) or [name]
    while head in _ADVERBS and rest:
        head, *rest = rest
    verb = _VERBS.get(head[:1].upper() + head[1:])
    if verb is None:
        return Operation(READ if read_only else OTHER, _noun([head, *rest]))
    return Operation(verb, _noun(rest))


def _noun(rest: list[str]) -> str | None:
    """The words up to a preposition: what a role is removed from is not what is removed."""
    end = next((index for index, word in enumerate(rest) if index and word in _PREPOSITIONS), len(rest))
    return "_".join([*rest[: end - 1], _singular(rest[end - 1])]).upper() if rest else None


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and not word.isupper():
        return word[:-1]
    return word
