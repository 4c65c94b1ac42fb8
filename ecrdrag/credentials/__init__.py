"""Who we are at registries: docker's config and credential helpers, and ours."""
