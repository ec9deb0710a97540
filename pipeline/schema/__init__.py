"""What people write: jobs, fields, rules and settings."""
