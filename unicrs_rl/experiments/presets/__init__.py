"""Published systems as settings: one TOML file each, by name."""
