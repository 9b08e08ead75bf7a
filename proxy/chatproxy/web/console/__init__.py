"""The console: what the owner sees and changes, as pages rendered here. Reachable inside the VPN only."""
