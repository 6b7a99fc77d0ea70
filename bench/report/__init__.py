"""Reports: what was measured of a bundle, for people: HTML, Markdown, and a trace of its stages."""
