"""Tests of the pages in a real Chromium: a package, so that its modules share one browser and one server."""
