"""What the proxy does, free of HTTP frameworks and drivers."""
