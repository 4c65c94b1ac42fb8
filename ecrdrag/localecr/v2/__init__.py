"""Hold /v2/, the registry HTTP API, as ECR, ECR Public or the plain specification speaks it."""
