"""What every tier runs: an engine that knows no HTTP, and the HTTP around it."""
