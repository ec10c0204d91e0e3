"""All under deploy/ that can be held to something without a container engine."""
