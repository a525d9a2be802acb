"""Amazon S3 Metadata: the live inventory table of a bucket, which S3 keeps in Iceberg."""
