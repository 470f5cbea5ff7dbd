"""Named recipes, one TOML file each: a title, its source, what it needs, and the config it sets."""
