"""Images in another form than their registry has them: schema 1 made modern, layers compressed otherwise."""
