"""One module per external system; each translates that system's failures into the proxy's own errors."""
