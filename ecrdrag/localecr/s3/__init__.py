"""Hold what S3 is to ECR: signed links to blobs, and the answers behind them."""
