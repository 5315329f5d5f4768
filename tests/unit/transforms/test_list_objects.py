from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fault_proxy import s3_error, sqs_denied
from support.locked import lock
from support.trails import trail_key
from support.world import World

from schemas.errors import AccessError, ConfigError
from transforms.list_objects import Selection, list_objects
from transforms.stores.aws import Access
from transforms.stores.keys import facts

EVERYTHING = Selection()
ACCOUNTS = ("111122223333", "444455556666", "777788889999")
REGIONS = ("us-east-1", "eu-west-1")
DAYS = ("2025-12-31", "2026-01-01", "2026-01-02", "2026-02-01")


def keys(prefix: str = "") -> list[str]:
    return [
        trail_key("x", account=account, region=region, day=day, prefix=prefix)
        for account in ACCOUNTS
        for region in REGIONS
        for day in DAYS
    ]


def organisation_keys() -> list[str]:
    return [key.replace("AWSLogs/", "AWSLogs/o-exampleorg/", 1) for key in keys()]


LAYOUTS = {
    "account trail": keys(),
    "organisation trail": organisation_keys(),
    "control tower": keys("o-exampleorg/"),
    "custom prefix": keys("custom/prefix/"),
    "anywhere": [f"dump/{key.rsplit('/', 1)[1]}" for key in keys()],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_listed_and_pruned_in_a_bucket_and_in_a_folder(
    aws: World, tmp_path: Path, layout: list[str]
) -> None:
    aws.put_all(dict.fromkeys(layout, b"x"))
    for key in layout:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"x")
    selection = Selection(frozenset(ACCOUNTS[:2]), frozenset(REGIONS[:1]), "2025-12-31", "2026-01-01")
    wanted = sorted(
        key
        for key in layout
        if facts(key).account in selection.accounts
        and facts(key).region in selection.regions
        and "2025-12-31" <= str(facts(key).day) <= "2026-01-01"
    )
    assert len(wanted) == 4

    for location in (f"s3://{aws.bucket}", f"s3://{aws.bucket}/"):
        assert [it.key for it in list_objects(location, aws.access, EVERYTHING)] == sorted(layout)
        assert sorted(it.key for it in list_objects(location, aws.access, selection)) == wanted
    for folder in (str(tmp_path), f"file://{tmp_path}"):
        found = [str(Path(it.key).relative_to(tmp_path)) for it in list_objects(folder, Access(), selection)]
        assert sorted(found) == wanted


def test_pruned_folders_are_not_listed(faulty: World) -> None:
    layout = organisation_keys()
    faulty.put_all(dict.fromkeys(layout, b"x"))
    selection = Selection(frozenset(ACCOUNTS[:1]), frozenset(REGIONS[:1]), "2026-01-01", "2026-01-01")

    found = [it.key for it in list_objects(f"s3://{faulty.bucket}/", faulty.access, selection)]

    assert found == [key for key in layout if selection.takes_key(key)]
    listed = [it.key for it in faulty.proxy.calls("ListObjectsV2")]
    day = f"AWSLogs/o-exampleorg/{ACCOUNTS[0]}/CloudTrail/us-east-1/2026/01/01/"
    assert listed == ["", *(day[: found.end()] for found in re.finditer("/", day))]


def test_a_listing_without_a_selection_is_one_flat_call_a_thousand_keys(faulty: World) -> None:
    faulty.put_all({trail_key(f"{n:04}"): b"x" for n in range(1100)})

    assert len(list(list_objects(f"s3://{faulty.bucket}", faulty.access, EVERYTHING))) == 1100
    assert len(faulty.proxy.calls("ListObjectsV2")) == 2


def test_a_listing_tells_etag_and_size(aws: World) -> None:
    aws.put(trail_key("x"), b"hello")

    (ref,) = list_objects(f"s3://{aws.bucket}/AWSLogs", aws.access, EVERYTHING)

    assert (ref.bucket, ref.etag, ref.size) == (aws.bucket, "5d41402abc4b2a76b9719d911017c592", 5)


def test_a_dot_hides_no_object_of_a_bucket_but_an_outputs_own_files(aws: World) -> None:
    """A queue that announces them would have them read too."""
    dotted = [".x.json", "a/.b/x.json", "a/../x.json"]
    aws.put_all(dict.fromkeys([*dotted, ".trailweave/settings.json", "out/.trailweave/probe"], b"x"))
    assert sorted(it.key for it in list_objects(f"s3://{aws.bucket}", aws.access, EVERYTHING)) == sorted(dotted)


def test_a_link_to_a_folder_is_not_followed_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.json").write_bytes(b"x")
    (tmp_path / "in" / "back").symlink_to(tmp_path / "in")
    found = [it.key for it in list_objects(str(tmp_path / "in"), Access(), EVERYTHING)]
    assert found == [f"{tmp_path}/in/x.json"]
    (told,) = caplog.messages
    assert f"{tmp_path}/in/back is a link to a folder; name it as a --source of its own" in told


def test_what_can_be_no_trail_is_left_out(aws: World, tmp_path: Path) -> None:
    good = trail_key("x")
    others = [
        good.replace("CloudTrail/", "CloudTrail-Digest/").replace("_CloudTrail_", "_CloudTrail-Digest_"),
        "AWSLogs/111122223333/Config/us-east-1/2026/1/12/x.json.gz",
        "AWSLogs/111122223333/vpcflowlogs/us-east-1/2026/01/12/x.log.gz",
        "AWSLogs/111122223333/CloudTrail-Lake/Query/2026/01/12/0a0a/result_1.csv.gz",
        "AWSLogs/",
        "x.parquet",
    ]
    aws.put_all(dict.fromkeys([good, *others], b"x"))
    aws.put("empty.json", b"")

    for selection in (EVERYTHING, Selection(accounts=frozenset({"111122223333"}))):
        assert [it.key for it in list_objects(f"s3://{aws.bucket}", aws.access, selection)] == [good]


def test_a_key_that_does_not_say_is_selected(aws: World) -> None:
    aws.put("anything.json", b"{}")
    selection = Selection(frozenset({"111122223333"}), frozenset({"us-east-1"}), "2026-01-01", "2026-01-01")

    assert [it.key for it in list_objects(f"s3://{aws.bucket}", aws.access, selection)] == ["anything.json"]


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("s3:///x", "names no bucket; write s3://BUCKET/PREFIX"),
        ("az://b/x", "'az'"),
        ("/no/such/folder", "'/no/such/folder' is no folder, no file and no s3:// or gs:// location"),
    ],
)
def test_a_location_that_is_none_is_refused_with_the_remedy(location: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        list(list_objects(location, Access(), EVERYTHING))


def test_a_listing_that_is_denied_names_call_resource_and_principal(faulty: World) -> None:
    faulty.proxy.when("ListObjectsV2").do(s3_error(403, "AccessDenied", "Access Denied"))
    faulty.proxy.when("GetCallerIdentity").do(sqs_denied("sts:GetCallerIdentity"))

    with pytest.raises(
        AccessError, match=rf"s3:ListBucket on arn:aws:s3:::{faulty.bucket} was refused to an unknown"
    ):
        list(list_objects(f"s3://{faulty.bucket}", faulty.access, EVERYTHING))


@given(
    accounts=st.frozensets(st.sampled_from(ACCOUNTS)),
    regions=st.frozensets(st.sampled_from(REGIONS)),
    first=st.none() | st.sampled_from(DAYS),
    last=st.none() | st.sampled_from(DAYS),
    key=st.sampled_from([key for layout in LAYOUTS.values() for key in layout]),
)
def test_no_folder_above_a_selected_key_is_passed_over(
    accounts: frozenset[str], regions: frozenset[str], first: str | None, last: str | None, key: str
) -> None:
    selection = Selection(accounts, regions, first, last)

    if selection.takes_key(key):
        assert all(selection.enters(key[: found.end()]) for found in re.finditer("/", key))


@pytest.mark.parametrize("below", ["", "aws_s3_raw", "aws_s3_raw/account_id=111122223333/day=2026-01-12"])
def test_regions_cannot_be_asked_of_a_raw_tree(tmp_path: Path, below: str) -> None:
    file = tmp_path / "aws_s3_raw/account_id=111122223333/day=2026-01-12/00000001.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")

    with pytest.raises(ConfigError, match="--region cannot be asked of a raw tree"):
        list(list_objects(str(tmp_path / below), Access(), Selection(regions=frozenset({"us-east-1"}))))
    (ref,) = list_objects(str(tmp_path / below), Access(), Selection(accounts=frozenset({"111122223333"})))
    assert ref.key == str(file)


def test_a_folder_that_cannot_be_listed_is_told_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "x.json").write_text("{}")
    locked = lock(tmp_path / "shut", monkeypatch)

    with pytest.raises(AccessError, match=f"{locked} cannot be listed: Permission denied; let this user read it"):
        list(list_objects(str(tmp_path), Access(), EVERYTHING))
