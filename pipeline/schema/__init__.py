"""Jobs with their fields and rules, and settings: the YAML files that users write."""
