"""The way in for admins: a WireGuard interface, a firewall around it, and a gate to the admin addresses."""
