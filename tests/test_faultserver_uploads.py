"""Uploads in parts on the fault server, as boto3 and Azure's own SDK know them."""

import time
from typing import Any

import boto3
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobBlock, ContainerClient
from botocore.config import Config
from faultserver import FaultServer, Keys

KEYS = Keys("AKID", "a/secret+")


def s3_client(server: FaultServer) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def test_boto3_finds_each_upload_once_page_by_page_until_it_ends() -> None:
    with FaultServer(keys=KEYS) as server:
        server.create_bucket("b")
        client = s3_client(server)
        began_s = time.time()
        uploads = {}
        for key in ("m/a", "m/b +", "m/b +", "m/c", "n/x"):
            upload = client.create_multipart_upload(Bucket="b", Key=key)["UploadId"]
            uploads[upload] = key
            client.upload_part(Bucket="b", Key=key, UploadId=upload, PartNumber=1, Body=b"part")
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket="b", Prefix="m/", PaginationConfig={"PageSize": 2}
        )
        found = [each for page in pages for each in page["Uploads"]]
        assert sorted((each["UploadId"], each["Key"]) for each in found) == sorted(
            (upload, key) for upload, key in uploads.items() if key.startswith("m/")
        )
        assert all(abs(each["Initiated"].timestamp() - began_s) < 60 for each in found)
        assert len(server.requests(kind="uploads")) == 2
        for upload, key in uploads.items():
            if key == "m/a":
                parts = {"Parts": [{"PartNumber": 1, "ETag": '"part-1"'}]}
                client.complete_multipart_upload(Bucket="b", Key=key, UploadId=upload, MultipartUpload=parts)
            else:
                client.abort_multipart_upload(Bucket="b", Key=key, UploadId=upload)
        assert "Uploads" not in client.list_multipart_uploads(Bucket="b")
        assert [each.key for each in server.objects("b")] == ["m/a"]


def test_azures_sdk_lists_a_blob_of_blocks_only_on_request_and_commits_it() -> None:
    with FaultServer("azure") as server:
        server.put("models", "m/1/there", b"there")
        with RequestsTransport() as transport:
            container = ContainerClient(f"{server.url}/account", "models", credential=None, transport=transport)
            blob = container.get_blob_client("m/1/x")
            for block in ("one", "two"):
                blob.stage_block(block, block.encode())
            assert [each.name for each in container.list_blobs("m/")] == ["m/1/there"]
            found = {each.name: each.size for each in container.list_blobs("m/", include=["uncommittedblobs"])}
            assert found == {"m/1/there": 5, "m/1/x": 0}
            blob.commit_block_list([BlobBlock("two"), BlobBlock("one")])
            assert blob.download_blob().readall() == b"twoone"
            assert len(list(container.list_blobs("m/", include=["uncommittedblobs"]))) == 2
        assert len(server.requests(kind="uploads")) == 2
