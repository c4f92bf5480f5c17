"""The part of cupyx that this project meets."""
