"""What an image is made of, read from its documents and configs alone: no layer moves."""
