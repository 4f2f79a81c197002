"""The experiments of the RSO paper: one TOML file each, by name."""
