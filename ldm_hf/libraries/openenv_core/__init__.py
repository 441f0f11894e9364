"""OpenEnv: environments behind a server."""
