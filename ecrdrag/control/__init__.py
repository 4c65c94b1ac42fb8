"""What is done with registries, repositories and images that moves no layer."""
