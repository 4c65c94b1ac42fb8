"""Hold a local ECR: the API, signed blob URLs and a store on disk."""
