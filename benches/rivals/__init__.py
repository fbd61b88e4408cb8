"""What an office would otherwise have: our own re-implementations, honest and as small as they would be."""
