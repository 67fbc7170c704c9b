"""Files to copy and change."""
