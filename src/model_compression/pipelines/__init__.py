"""The named pipelines: thin wiring of nodes that call the rooms below."""
