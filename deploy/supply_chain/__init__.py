"""What the images consist of: pinned requirements, SBOMs, and known vulnerabilities."""
