"""Our graders inside other trainers: a file for each, which says how it is named there (docs/integrations.md)."""
