"""Copies directories into a bucket, manifests last, as soon as the server at AWS_ENDPOINT_URL answers.

usage: into_bucket.py BUCKET DIRECTORY…
"""

import os
import sys
import time
import urllib.error
import urllib.request

from pyarrow import fs

endpoint = os.environ["AWS_ENDPOINT_URL"]
bucket, *directories = sys.argv[1:]
for _ in range(600):
    try:
        urllib.request.urlopen(endpoint).close()
        break
    except urllib.error.HTTPError:
        break
    except OSError:
        time.sleep(0.1)
s3 = fs.S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True)
s3.create_dir(bucket)
for directory in directories:
    # A file and the manifest that names it are copied in this order.
    entries = fs.LocalFileSystem().get_file_info(fs.FileSelector(directory, recursive=True))
    for entry in sorted(entries, key=lambda entry: "/_manifests/" in entry.path):
        if entry.is_file:
            fs.copy_files(entry.path, f"{bucket}/{entry.path}", destination_filesystem=s3)
